// The gene view: what was found of one gene, how far to trust it, and the numbers behind it.

import { genes as loadGenes, type Genes, type Point } from "../data/genes";
import { ofGroup } from "../cells/recipe";
import { cells as loadCells } from "../data/cells";
import { genome as loadGenome } from "../data/genome";
import { chunk, hasChunk } from "../lib/chunks";
import { button, byId, el, goTo, onWidth, type svg } from "../lib/dom";
import { counted, fixed, locus, whole } from "../lib/format";
import { selection, store } from "../lib/store";
import { classTag, fromLog, geneColumns, ofGene, type ContrastsHeader } from "../table/genes";
import { DataTable } from "../table/table";
import { classColour, patientColour } from "./chart";
import { remarks, sentence } from "./evidence";
import { forest } from "./forest";
import { held, heldBack } from "./heldback";
import { locusChart } from "./locus";
import { scatter } from "./scatter";

/** Clones that get a button to their cells. */
const MOST_CLONES = 6;

type Drawn = ReturnType<typeof svg> | SVGSVGElement;

/** Open a gene, as a step that Back undoes, and go to its view. */
export function openGene(name: string): void {
  store.set({ gene: name }, "push");
  const section = byId("gene");
  if (!section) return;
  goTo(section);
  section.querySelector<HTMLElement>("h2")?.focus({ preventScroll: true });
}

export async function geneView(section: HTMLElement, body: HTMLElement): Promise<void> {
  const genes = await loadGenes();
  const heading = section.querySelector("h2");
  heading?.setAttribute("tabindex", "-1");
  const host = el("div", { class: "gene-body" });
  const live = el("p", { class: "sr", "aria-live": "polite" });
  body.replaceChildren(live, host);
  const draw = (): void => drawGene(genes, host, heading, live);
  store.on(["gene"], draw);
  onWidth(body, draw);
}

function drawGene(genes: Genes, host: HTMLElement, heading: Element | null, live: HTMLElement): void {
  const asked = store.state.gene, g = asked ? genes.indexOf(asked) : genes.byEvidence()[0];
  if (g === undefined) {
    heading?.replaceChildren("Gene");
    host.replaceChildren(el("p", { class: "note warning" }, `No gene of this page is called ${asked}.`));
    return;
  }
  const name = genes.name(g);
  heading?.replaceChildren("Gene ", el("span", { class: "gene-name" }, name));
  if (asked) live.textContent = `${name}: ${genes.className(g)}`;
  const all = genes.points(g), points = all.filter((p) => !p.alone);
  host.replaceChildren(head(genes, g), trust(genes, g, points), charts(genes, g, points, host.clientWidth, all.length - points.length), behind(genes, g, all));
  void cellsButton(genes, g, host);
}

function head(genes: Genes, g: number): HTMLElement {
  const order = genes.byEvidence(), rank = order.indexOf(g);
  const step = (by: number, text: string, label: string): HTMLButtonElement => {
    const other = order[rank + by];
    const press = button(text, () => other !== undefined && store.set({ gene: genes.name(other) }, "push"), { "aria-label": label });
    press.disabled = other === undefined;
    return press;
  };
  const place = el("a", { href: "#genome", class: "locus", "data-tip": "Show this place in the genome view" }, locus(genes.chromosome(g), genes.start(g), genes.end(g)));
  place.addEventListener("click", (event) => {
    event.preventDefault();
    void showPlace(genes, g);
  });
  const placed = genes.chromosome(g) && byId("genome") ? place : el("span", { class: "locus" }, locus(genes.chromosome(g), genes.start(g), genes.end(g)));
  return el("div", { class: "gene-head" },
    el("p", { class: "say" }, classTag(genes.className(g)), " ", placed, " ", el("span", { class: "sentence" }, sentence(genes, g))),
    el("div", { class: "tools" },
      el("span", { class: "soft" }, `${whole(rank + 1)} of ${whole(genes.n)} by evidence`),
      step(-1, "\u2039 better", "Gene with the next better evidence of escape"), step(1, "next \u203a", "Gene with the next weaker evidence of escape")));
}

async function showPlace(genes: Genes, g: number): Promise<void> {
  const middle = (genes.start(g) + genes.end(g)) / 2e6, chromosome = genes.chromosome(g);
  // Ten million bases to either side, or what the chromosome has windows for.
  store.set({ genome: { chromosome, from: Math.max(0, Math.round(middle - 10)), to: Math.round(middle + 10) } }, "push");
  const section = byId("genome");
  if (section) goTo(section);
  await loadGenome();
}

function trust(genes: Genes, g: number, points: readonly Point[]): HTMLElement {
  const found = remarks(genes, g, points);
  if (!found.length) return el("div");
  const words = { for: "for it", against: "against it", note: "note" } as const, signs = { for: "+", against: "!", note: "\u00b7" } as const;
  return el("div", { class: "trust" }, el("h3", {}, "How far to trust it"),
    el("ul", {}, ...found.map((r) => el("li", { class: `says-${r.tone}` },
      el("span", { class: "sign", "aria-hidden": "true" }, signs[r.tone]), el("span", { class: "sr" }, `${words[r.tone]}: `), r.text))));
}

function figure(title: string, drawn: Drawn | null, ...captions: (Node | string)[]): HTMLElement {
  return el("figure", {}, el("h3", {}, title), drawn ?? el("p", { class: "soft" }, "Nothing to draw."), ...captions.filter(Boolean).map((c) => (typeof c === "string" ? el("figcaption", {}, c) : c)));
}

function charts(genes: Genes, g: number, points: readonly Point[], width: number, alone: number): HTMLElement {
  const columns = width >= 820 ? 2 : 1, each = Math.floor((width - (columns - 1) * 24) / columns);
  const fits = forest(genes, g, points, each), back = heldBack(genes, g, points, each);
  const place = locusChart(genes, g, each, (other) => store.set({ gene: genes.name(other) }, "push"));
  const clones = points.filter((p) => p.malignant).length, normal = points.length - clones;
  const caption = points.length
    ? `${counted(clones, "clone")} (circles, area by cells)${normal ? ` and ${counted(normal, "group")} of normal cells (squares)` : ""}, one standard error. Line and band: the fitted slope and its 95 % interval. The gene itself takes no part in its local copy number.${Number.isFinite(genes.value("level", g)) ? " The tumour level is what malignant cells express more or less whatever their copies." : ""}`
    : "";
  const without = (normal: boolean): string => [...new Set(points.filter((p) => !p.toNormal && genes.hasNormal(p.group) === normal).map((p) => p.patient))].join(", ");
  const few = without(true), none = without(false);
  const notes = [
    alone ? `${counted(alone, "group")} alone in ${alone === 1 ? "its" : "their"} patient and cell type ${alone === 1 ? "has" : "have"} nothing to be compared with and ${alone === 1 ? "is" : "are"} not drawn.` : "",
    few ? `Normal cells of ${few} have too few counts of it: there copy number and expression are relative to the clones' mean.` : "",
    none ? `${none} ${none.includes(",") ? "have" : "has"} no normal cells of the tumour's type: there copy number and expression are relative to the clones' mean, and a change that all clones share does not count.` : "",
  ].filter(Boolean).join(" ");
  const left = el("div", {},
    figure("Expression against local copy number", points.length ? scatter(genes, g, points, each) : el("p", { class: "soft" }, "No clone has enough counts of this gene.") as never, points.length ? patientKey(genes, points) : "", caption, notes),
    Number.isFinite(genes.value("slope", g)) ? figure("Slope by patient", fits.figure, fits.caption, fits.note) : el("div"));
  const right = el("div", {},
    place ? figure("Its place on the chromosome", place, classKey(genes), neighbours(genes, g)) : el("p", { class: "soft" }, "Its place in the genome is not known."),
    back ? figure("Which cells hold it back", back.figure, `Right of the dashed line: expression stays nearer to ${points.some((p) => p.toNormal) ? "the normal level" : "the clones' mean"} than full dosage predicts (log ratio, one standard error).`, back.note, toCells(genes, points)) : el("div"));
  return el("div", { class: columns === 2 ? "gene-grid" : "gene-grid one" }, left, right);
}

/** From the clones that hold it back to their cells. */
function toCells(genes: Genes, points: readonly Point[]): HTMLElement | string {
  const section = byId("cells"), moved = held(points, genes.altered).filter((h) => h.moved && h.by > 0);
  const clones = [...new Map(moved.map(({ point }) => [`${point.patient} ${point.clone}`, point])).entries()].slice(0, MOST_CLONES);
  if (!section || !hasChunk("cells") || !clones.length) return "";
  return el("div", { class: "tools" }, el("span", { class: "soft" }, "Show the cells of"), ...clones.map(([name, p]) => button(name, () => {
    void selectClone(p.patient, p.clone).then(() => goTo(section));
  })));
}

async function selectClone(patient: string, clone: string): Promise<void> {
  const [cells, genome] = await Promise.all([loadCells(), hasChunk("genome") ? loadGenome() : null]);
  const index = genome?.head.groups.findIndex((g) => genome.head.patients[g.patient] === patient && g.clone === clone) ?? -1;
  selection.set(cells.ofGroup(index, patient, clone), `${patient} ${clone}`, ofGroup(index));
}

function patientKey(genes: Genes, points: readonly Point[]): HTMLElement {
  const there = genes.head.patients.filter((p) => points.some((point) => point.patient === p));
  return el("ul", { class: "keys" }, ...there.map((p) => el("li", {}, el("i", { style: `background:${patientColour(genes.head.patients, p)}` }), p)));
}

function classKey(genes: Genes): HTMLElement {
  const classes = genes.head.classes.filter((c) => c !== "untested");
  return el("ul", { class: "keys" }, ...classes.map((c) => el("li", {}, el("i", { style: `background:${classColour(c)}` }), c)),
    el("li", {}, "lines: copy number of the clones, coloured by patient"));
}

/** Buttons to the neighbours with a slope: the keyboard's way along the chromosome. */
function neighbours(genes: Genes, g: number): HTMLElement {
  const here = genes.onChromosome(genes.chromosomeCode(g)).filter((other) => other === g || genes.isTested(other));
  const at = here.indexOf(g), out = el("div", { class: "tools" });
  for (const [other, sign] of [[here[at - 1], "\u2190"], [here[at + 1], "\u2192"]] as const) {
    if (other === undefined || at < 0) continue;
    out.append(button(sign === "\u2190" ? `${sign} ${genes.name(other)}` : `${genes.name(other)} ${sign}`,
      () => store.set({ gene: genes.name(other) }, "push"), { "aria-label": `Next tested gene ${sign === "\u2190" ? "to the left" : "to the right"}: ${genes.name(other)}` }));
  }
  return out;
}

/** The numbers behind the figures and the gene's row of every table. */
function behind(genes: Genes, g: number, points: readonly Point[]): HTMLElement {
  const fold = el("details", { class: "fold" }, el("summary", {}, "The numbers behind it"));
  const fill = (): void => {
    if (fold.childElementCount > 1) return;
    fold.append(el("h3", {}, "Groups of cells"), pointTable(genes, g, points).element, el("h3", {}, "In the tables"), row(genes, g));
    void contrastsOf(g, fold);
  };
  fold.addEventListener("toggle", () => fold.open && fill());
  return fold;
}

function pointTable(genes: Genes, g: number, points: readonly Point[]): DataTable {
  const number = (key: keyof Point, title: string, show: (v: number) => string, unit = "") => ({
    key, title, ...(unit ? { unit } : {}), numeric: true, value: (i: number) => points[i]![key] as number, show: (i: number) => show(points[i]![key] as number),
  });
  const text = (key: keyof Point, title: string) => ({ key, title, numeric: false, value: (i: number) => String(points[i]![key]), show: (i: number) => String(points[i]![key]) });
  const three = (v: number): string => fixed(v, 3);
  return new DataTable({
    name: `${genes.name(g)}_clones`, label: `Groups of cells behind the slope of ${genes.name(g)}`, rows: points.length,
    columns: [
      { key: "group", title: "Group", numeric: false, value: (i) => `${points[i]!.patient} ${points[i]!.clone}`, show: (i) => `${points[i]!.patient} ${points[i]!.clone}` },
      text("type", "Cell type"), number("n", "Cells", whole), number("count", "Counts", whole), number("library", "Library", whole),
      number("copy", "Copy ratio", three, "ln"), number("y", "Expression", three, "ln"), number("se", "Standard error", three, "ln"),
    ],
  });
}

function row(genes: Genes, g: number): HTMLElement {
  return el("dl", { class: "row" }, ...geneColumns(genes).map((c) => el("div", {}, el("dt", { "data-tip": c.about }, c.title), el("dd", {}, c.show(g)))));
}

async function contrastsOf(g: number, fold: HTMLElement): Promise<void> {
  if (!hasChunk("contrasts")) return;
  const source = await chunk<ContrastsHeader>("contrasts");
  const found = ofGene(source, g).filter((c) => Number.isFinite(c.lfc));
  if (!found.length) return;
  fold.append(el("h3", {}, "In the contrasts"), new DataTable({
    name: "contrasts", label: "This gene in each contrast", rows: found.length,
    columns: [
      { key: "contrast", title: "Contrast", numeric: false, value: (i) => found[i]!.contrast.title, show: (i) => found[i]!.contrast.title },
      { key: "log2fc", title: "Fold change", unit: "log2", numeric: true, value: (i) => found[i]!.lfc, show: (i) => fixed(found[i]!.lfc) },
      { key: "qval", title: "q", numeric: true, upFirst: true, value: (i) => 10 ** -found[i]!.nlq, show: (i) => fromLog(found[i]!.nlq) },
    ],
  }).element);
}

async function cellsButton(genes: Genes, g: number, host: HTMLElement): Promise<void> {
  const section = byId("cells");
  if (!section || !hasChunk("cells")) return;
  const cells = await loadCells(), head = host.querySelector(".gene-head .tools");
  if (!head || !cells.isPacked(g) || head.querySelector(".colour-cells")) return;
  head.prepend(button(`Colour the cells by ${genes.name(g)}`, () => {
    store.set({ colour: `gene:${genes.name(g)}` }, "push");
    goTo(section);
  }, { class: "colour-cells" }));
}
