// The genome view: copy number of cells or clones along the genome, on a canvas that zooms, with the cells' labels
// beside it. A click on a clone's name selects its cells in every view.

import { ofGroup } from "../cells/recipe";
import { cells as loadCells, type Cells } from "../data/cells";
import { genes as loadGenes } from "../data/genes";
import { genome as loadGenome, type Genome } from "../data/genome";
import { hasChunk } from "../lib/chunks";
import { button, choice, el, oncePerFrame, onWidth } from "../lib/dom";
import { counted, fixed, whole } from "../lib/format";
import { PanZoom, UNMOVED, type Placed } from "../lib/panzoom";
import { selection, store } from "../lib/store";
import { onTheme } from "../lib/theme";
import { drawAxis } from "./axis";
import { BAR, BAR_GAP, MARGIN, paintLines, paintMargin, paintSides, type Scene } from "./marks";
import { average, heatImage, type Averaged } from "./paint";
import { bandAt, layout as layOut, rowsAt, type Band, type Layout } from "./layout";

const CLOSEST = 6; // Windows that fill the view at the closest.
const USUAL_SIDES = ["cnv_clone", "cnv_malignant", "cell_type", "sample"];

/** Titles that fit beside a bar. */
const SHORT_TITLES: Readonly<Record<string, string>> = { cnv_clone: "clone", cnv_malignant: "malignant", cnv_leiden: "cluster", cell_type: "cell type", cancer_vs_normal: "cancer" };

export async function genomeView(body: HTMLElement): Promise<void> {
  const [genome, cells] = await Promise.all([loadGenome(), hasChunk("cells") ? loadCells() : null]);
  new GenomeView(body, genome, cells);
}

class GenomeView {
  readonly #genome: Genome;
  readonly #cells: Cells | null;
  readonly #canvas = el("canvas", { class: "heat-canvas", tabindex: 0, role: "application" });
  readonly #names = el("div", { class: "heat-names", role: "group", "aria-label": "Clones: press one to select its cells" });
  readonly #axis = el("div", { class: "heat-axis", role: "group", "aria-label": "Chromosomes: press one to zoom to it" });
  readonly #box = el("div", { class: "heat-box" });
  readonly #cross = el("div", { class: "heat-cross", hidden: true });
  readonly #read = el("output", { class: "heat-read" }, "\u00a0");
  readonly #sides: readonly string[];
  readonly #zoom: PanZoom;
  readonly #paintSoon = oncePerFrame(() => this.#paint());
  #layout: Layout;
  #averaged: Averaged | null = null;
  #marker: { window: number; name: string } | null = null;
  #telling = false;

  constructor(body: HTMLElement, genome: Genome, cells: Cells | null) {
    this.#genome = genome;
    this.#cells = cells;
    const wanted = cells?.head.sides ?? USUAL_SIDES;
    this.#sides = cells && genome.cells() ? wanted.filter((key) => cells.column(key)?.kind === "category") : [];
    this.#layout = layOut(genome, this.#patient, store.state.rows === "clones");
    this.#canvas.setAttribute("aria-label", "Heatmap of copy number along the genome. Arrow keys move, plus and minus zoom, 0 shows the whole genome.");
    this.#box.append(this.#names, this.#canvas, this.#cross);
    // Names and reading stay in sight while a tall heatmap scrolls below them.
    const top = el("div", { class: "heat-top" }, this.#read, this.#axis);
    body.replaceChildren(this.#tools(), top, this.#box, this.#legend());
    this.#zoom = new PanZoom(this.#canvas, {
      onlySideways: true, drags: () => true, most: () => genome.windows / CLOSEST,
      bounds: () => ({ left: this.#edges[0], right: this.#edges[1], top: 0, bottom: 1 }),
      onmove: (_, byReader) => {
        this.#paintSoon();
        if (byReader) this.#tell();
      },
    });
    this.#listen();
    onWidth(this.#box, () => this.#relayout());
  }

  get #patient(): number {
    return this.#genome.head.patients.indexOf(store.state.patient);
  }

  /** Left and right edge of the heatmap in the canvas, px. */
  get #edges(): [number, number] {
    const bars = this.#layout.means ? 0 : this.#sides.length;
    return [bars ? bars * (BAR + BAR_GAP) + 3 : 0, this.#canvas.clientWidth - MARGIN];
  }

  /** Windows in view. */
  get #range(): [number, number] {
    const [left, right] = this.#edges, t = this.#zoom.placed;
    const window = (px: number): number => (((px - t.x) / t.k - left) / (right - left)) * this.#genome.windows;
    return [window(left), window(right)];
  }

  #tools(): HTMLElement {
    const patients = this.#genome.head.patients;
    const patient = choice("Patient", [["", `all ${patients.length}`], ...patients.map((p) => [p, p] as const)], (p) => store.set({ patient: p }, "push"));
    const rows = choice("Rows", [["cells", "cells"], ["clones", "clone means"]], (r) => store.set({ rows: r }, "push"));
    const follow = (): void => {
      patient.select.value = patients.includes(store.state.patient) ? store.state.patient : "";
      rows.select.value = this.#layout.means ? "clones" : store.state.rows;
    };
    store.on(["patient", "rows"], follow);
    follow();
    const toGene = button("To the gene", () => this.#toGene(), { class: "to-gene" });
    return el("div", { class: "tools" },
      patients.length > 1 && patient.box, this.#genome.rows > 0 && this.#genome.head.profiles.length > 0 && rows.box,
      button("+", () => this.#zoom.by(2), { "aria-label": "Zoom in" }), button("\u2212", () => this.#zoom.by(0.5), { "aria-label": "Zoom out" }),
      hasChunk("genes") && toGene, button("Whole genome", () => this.#whole(), { class: "whole" }));
  }

  #legend(): HTMLElement {
    const { limit } = this.#genome.head, titles = this.#sides.map((key) => this.#cells!.column(key)!.title);
    return el("div", { class: "heat-foot" },
      el("p", { class: "legend" },
        el("span", {}, `loss \u2212${limit.toFixed(2)}`), el("span", { class: "ramp copy" }), el("span", {}, `gain ${limit.toFixed(2)}`),
        el("span", {}, "log ratio, the same colours everywhere on this page")),
      el("p", { class: "legend" }, [
        titles.length ? `The bars at the left, ${titles.join(", ")}, say their values on hover.` : "",
        "Drag to move, Ctrl and wheel or two fingers to zoom; press a chromosome to zoom to it, a clone to select its cells. Rows that share a pixel are averaged.",
      ].join(" ")));
  }

  #listen(): void {
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#hover(event));
    this.#canvas.addEventListener("pointerleave", () => {
      this.#cross.hidden = true;
      this.#read.textContent = "\u00a0";
    });
    store.on(["patient", "rows"], () => this.#relayout());
    store.on(["genome"], () => this.#follow());
    store.on(["gene"], () => void this.#mark());
    selection.on(() => {
      this.#drawNames();
      this.#paintSoon();
    });
    onTheme(this.#paintSoon);
    void this.#mark();
  }

  #relayout(): void {
    this.#layout = layOut(this.#genome, this.#patient, store.state.rows === "clones");
    this.#averaged = null;
    this.#box.style.height = `${this.#layout.height}px`;
    this.#canvas.style.height = `${this.#layout.height}px`;
    this.#drawNames();
    this.#follow();
    this.#paintSoon();
  }

  /** Go where the state says, unless it says what the reader just did. */
  #follow(): void {
    if (this.#telling) return;
    const region = store.state.genome, extent = region && this.#genome.extent(region);
    const [left, right] = this.#edges, size = right - left, n = this.#genome.windows;
    let placed: Placed = UNMOVED;
    if (extent) {
      const k = Math.min(n / (extent[1] - extent[0]), Math.max(1, n / CLOSEST)), middle = (extent[0] + extent[1]) / 2;
      placed = { k, x: (left + right) / 2 - (left + (middle / n) * size) * k, y: 0 };
    }
    this.#zoom.set(placed);
  }

  /** Tell the state where the reader has gone. It names whole windows; the view keeps the reader's place. */
  #tell(): void {
    const [from, to] = this.#range;
    this.#telling = true;
    store.set({ genome: this.#zoom.placed.k <= 1.001 ? null : this.#genome.regionOf(from, to) });
    this.#telling = false;
  }

  #whole(): void {
    store.set({ genome: null });
    this.#follow();
  }

  #toGene(): void {
    if (!this.#marker) return;
    const chromosome = this.#genome.chromosomeOf(this.#marker.window), base = this.#genome.start(this.#marker.window) / 1e6;
    store.set({ genome: { chromosome, from: Math.max(0, Math.round(base - 15)), to: Math.round(base + 15) } }, "push");
    this.#follow();
  }

  async #mark(): Promise<void> {
    if (!hasChunk("genes")) return;
    const genes = await loadGenes();
    const g = store.state.gene ? genes.indexOf(store.state.gene) : genes.byEvidence()[0];
    const window = g === undefined ? -1 : this.#genome.windowAt(genes.chromosome(g), (genes.start(g) + genes.end(g)) / 2);
    this.#marker = g !== undefined && window >= 0 ? { window, name: genes.name(g) } : null;
    const press = this.#box.parentElement?.querySelector<HTMLButtonElement>(".to-gene");
    if (press) {
      press.disabled = !this.#marker;
      press.textContent = this.#marker ? `To ${this.#marker.name}` : "To the gene";
    }
    this.#paintSoon();
  }

  #key(event: KeyboardEvent): void {
    const step = (this.#edges[1] - this.#edges[0]) / 8;
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.#zoom.pan(step), ArrowRight: () => this.#zoom.pan(-step),
      "+": () => this.#zoom.by(2), "=": () => this.#zoom.by(2), "-": () => this.#zoom.by(0.5), "0": () => this.#whole(),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }

  #bandName(band: Band): string {
    return `${this.#genome.head.patients[band.patient] ?? ""} ${band.clone}`.trim();
  }

  #drawNames(): void {
    if (this.#layout.dense) return this.#drawPatients();
    this.#names.replaceChildren(...this.#layout.bands.map((band) => {
      const name = this.#bandName(band);
      const press = button(name, () => this.#select(band), {
        "aria-pressed": selection.name === name ? "true" : "false", class: band.malignant ? "clone" : "", "data-tip": `${name}: ${counted(band.n, "cell")}`,
      });
      press.style.top = `${band.top}px`;
      press.style.height = `${band.height}px`;
      press.disabled = !this.#cells;
      return press;
    }));
  }

  /** One name a patient, which shows the patient alone. */
  #drawPatients(): void {
    const ends = new Map<number, [number, number]>();
    for (const band of this.#layout.bands) ends.set(band.patient, [ends.get(band.patient)?.[0] ?? band.top, band.top + band.height]);
    this.#names.replaceChildren(...[...ends].map(([patient, [top, end]]) => {
      const name = this.#genome.head.patients[patient] ?? "";
      const press = button(name, () => store.set({ patient: name }, "push"), { "aria-label": `Show ${name} alone`, class: "clone" });
      press.style.top = `${top}px`;
      press.style.height = `${end - top}px`;
      return press;
    }));
  }

  #select(band: Band): void {
    const name = this.#bandName(band);
    if (selection.name === name) return selection.set(null, "");
    const patient = this.#genome.head.patients[band.patient] ?? "";
    const group = this.#genome.head.groups.findIndex((g) => g.patient === band.patient && g.clone === band.clone);
    selection.set(this.#cells!.ofGroup(group, patient, band.clone), name, ofGroup(group));
  }

  #hover(event: PointerEvent): void {
    const box = this.#canvas.getBoundingClientRect(), [left, right] = this.#edges;
    const x = event.clientX - box.left, y = event.clientY - box.top, band = bandAt(this.#layout, y);
    this.#cross.hidden = !band || x < left || x > right;
    if (!band || x > right) return;
    if (x < left) {
      this.#read.textContent = this.#sideText(band, x, y);
      return;
    }
    const [from, to] = this.#range;
    const window = Math.min(this.#genome.windows - 1, Math.max(0, Math.floor(from + ((to - from) * (x - left)) / (right - left))));
    this.#cross.style.left = `${this.#canvas.offsetLeft + x}px`;
    this.#read.textContent = this.#valueText(band, y, window);
  }

  #valueText(band: Band, y: number, window: number): string {
    const [from, to] = rowsAt(band, y, 1 / devicePixelRatio);
    const line = Math.min(Math.floor(y * devicePixelRatio), (this.#averaged?.lines ?? 1) - 1);
    const value = this.#averaged?.values[line * this.#genome.windows + window] ?? NaN;
    const who = this.#layout.means ? `mean of ${counted(band.n, "cell")}` : to - from > 1 ? `mean of ${counted(to - from, "row")}` : this.#cells?.id(this.#genome.cells()?.[from] ?? -1) ?? "";
    const place = `${this.#genome.chromosomeOf(window)}:${whole(this.#genome.start(window))}-${whole(this.#genome.end(window))}`;
    return `${this.#bandName(band)}${who ? `, ${who}` : ""} \u00b7 ${place} \u00b7 log ratio ${fixed(value, 3)}`;
  }

  #sideText(band: Band, x: number, y: number): string {
    const key = this.#sides[Math.floor(x / (BAR + BAR_GAP))], cells = this.#cells, rows = this.#genome.cells();
    if (!key || !cells || !rows) return "\u00a0";
    const column = cells.column(key)!, cell = rows[rowsAt(band, y, 1)[0]]!;
    return `${column.title}: ${column.labels?.[cells.codes(key)[cell]!] ?? "none"}`;
  }

  /** Title of each bar, in full and as it fits. */
  #sideTitles(): [full: string, short: string][] {
    return this.#layout.means ? [] : this.#sides.map((key) => {
      const { title } = this.#cells!.column(key)!;
      return [title, SHORT_TITLES[key] ?? title];
    });
  }

  #paint(): void {
    performance.mark("genome-start");
    const ratio = devicePixelRatio, canvas = this.#canvas, width = canvas.clientWidth;
    const [left, right] = this.#edges;
    if (right - left < 20) return;
    this.#averaged ??= average(this.#genome, this.#layout, ratio);
    canvas.width = Math.round(width * ratio);
    canvas.height = this.#averaged.lines;
    const context = canvas.getContext("2d")!;
    const [from, to] = this.#range, size = Math.round((right - left) * ratio);
    context.putImageData(heatImage(this.#averaged, from, to, size, this.#genome.head.limit), Math.round(left * ratio), 0);
    context.scale(ratio, ratio);
    const scene: Scene = { genome: this.#genome, layout: this.#layout, from, to, left, right };
    paintLines(context, scene, this.#marker);
    if (this.#cells) paintSides(context, scene, this.#cells, this.#sides);
    paintMargin(context, scene, (band) => this.#bandName(band));
    drawAxis(this.#axis, scene, this.#canvas.offsetLeft, this.#sideTitles());
    performance.measure("paint-genome", "genome-start");
  }
}
