// The cells view: two linked maps, coloured by anything, and what a selection consists of.

import { cells as loadCells, type Cells } from "../data/cells";
import { genes as loadGenes, type Genes } from "../data/genes";
import { hasChunk } from "../lib/chunks";
import { button, el, onWidth } from "../lib/dom";
import { short } from "../lib/format";
import { selection, store } from "../lib/store";
import { onTheme } from "../lib/theme";
import { colouring, drawOrder, mixedOrder, type Colouring } from "./colouring";
import { Composition } from "./composition";
import { Legend } from "./legend";
import { Panel, type PanelHost } from "./panel";

const USUAL = ["cnv_clone", "cnv_malignant", "cell_type", "patient"];

export async function cellsView(body: HTMLElement): Promise<void> {
  const [cells, genes] = await Promise.all([loadCells(), hasChunk("genes") ? loadGenes() : null]);
  new CellsView(body, cells, genes);
}

class CellsView implements PanelHost {
  readonly cells: Cells;
  readonly #genes: Genes | null;
  readonly #mixed: Uint32Array;
  readonly #panels: Panel[];
  readonly #legend: Legend;
  readonly #composition: Composition;
  readonly #colour = el("select");
  readonly #read = el("output", { class: "cell-read" }, "\u00a0");
  #mode: "select" | "move" = matchMedia("(pointer: coarse)").matches ? "move" : "select";
  #current: { colouring: Colouring; order: Uint32Array } | null = null;

  constructor(body: HTMLElement, cells: Cells, genes: Genes | null) {
    this.cells = cells;
    this.#genes = genes;
    this.#mixed = mixedOrder(cells.n);
    this.#legend = new Legend(cells);
    this.#composition = new Composition(cells);
    const count = Math.min(2, cells.head.maps.length);
    this.#panels = Array.from({ length: count }, (_, i) => new Panel(this, i, store.state.maps[i]!, (map) => {
      const maps: [number, number] = [...store.state.maps];
      maps[i] = map;
      store.set({ maps });
    }));
    const maps = el("div", { class: `cell-maps n${count}` }, ...this.#panels.map((p) => p.element));
    body.replaceChildren(this.#tools(body), el("div", { class: "cells-grid" }, maps, el("div", { class: "cell-side" }, this.#legend.element)), this.#read, this.#composition.element);
    this.#fillColours();
    store.on(["colour"], () => this.#recolour());
    store.on(["gene"], () => this.#fillColours());
    store.on(["maps"], () => this.#panels.forEach((p, i) => p.show(store.state.maps[i]!)));
    selection.on(() => this.#reselect());
    onTheme(() => this.#recolour());
    onWidth(maps, () => this.#repaint());
    this.#recolour();
  }

  colours(): { colouring: Colouring; order: Uint32Array } {
    return this.#current!;
  }

  mode(): "select" | "move" {
    return this.#mode;
  }

  hover(cell: number): void {
    this.#read.textContent = cell < 0 ? "\u00a0" : this.#describe(cell);
  }

  #describe(cell: number): string {
    const key = this.#current!.colouring.key, shown = [...USUAL, key].filter((k, i, all) => all.indexOf(k) === i);
    const parts = shown.map((k) => {
      const column = this.cells.column(k);
      if (!column) return "";
      if (column.kind === "category") return column.labels?.[this.cells.codes(k)[cell]!] ?? "";
      return `${column.title} ${short(this.cells.numbers(k)[cell]!)}`;
    });
    if (key.startsWith("gene:")) parts.push(`${key.slice(5)} ${short(this.#current!.colouring.values![cell]!)}`);
    return [this.cells.id(cell), ...parts.filter((part, i, all) => part && all.indexOf(part) === i)].filter(Boolean).join(" \u00b7 ");
  }

  #tools(body: HTMLElement): HTMLElement {
    this.#colour.addEventListener("change", () => store.set({ colour: this.#colour.value }, "push"));
    const modes = (["select", "move"] as const).map((mode) => button(mode === "select" ? "Select" : "Move", () => setMode(mode)));
    const setMode = (mode: "select" | "move"): void => {
      this.#mode = mode;
      body.dataset["mode"] = mode;
      modes.forEach((m, i) => m.setAttribute("aria-pressed", String((i === 0) === (mode === "select"))));
      // A finger scrolls the page until the reader has chosen to draw with it.
      body.classList.toggle("drawing", mode === "select");
    };
    setMode(this.#mode);
    return el("div", { class: "tools" }, el("label", { class: "choice" }, el("span", {}, "Colour by"), this.#colour),
      el("span", { class: "seg", role: "group", "aria-label": "What dragging does" }, ...modes));
  }

  #fillColours(): void {
    const { columns, genes } = this.cells.head;
    const group = (label: string, items: readonly (readonly [string, string])[]): HTMLElement | null =>
      items.length ? el("optgroup", { label }, ...items.map(([value, text]) => el("option", { value }, text))) : null;
    const names = genes.map((g) => this.#genes?.name(g) ?? "").filter(Boolean);
    const groups = [
      group("Labels", columns.filter((c) => c.kind === "category").map((c) => [c.key, c.title])),
      group("Numbers", columns.filter((c) => c.kind === "number").map((c) => [c.key, c.title])),
      group("Genes", names.map((name) => [`gene:${name}`, name])),
    ].filter((g) => g !== null);
    this.#colour.replaceChildren(...groups);
    if (this.#current) this.#colour.value = this.#current.colouring.key;
  }

  #recolour(): void {
    const usual = USUAL.find((key) => this.cells.column(key)?.labels?.length) ?? this.cells.head.columns[0]!.key;
    const made = colouring(this.cells, this.#genes, store.state.colour || usual) ?? colouring(this.cells, this.#genes, usual)!;
    this.#current = { colouring: made, order: drawOrder(made, this.#mixed) };
    this.#colour.value = made.key;
    this.#legend.draw(made);
    this.#repaint();
  }

  #reselect(): void {
    this.#legend.draw(this.#current!.colouring);
    this.#composition.draw();
    this.#repaint();
  }

  #repaint(): void {
    for (const panel of this.#panels) panel.paint();
  }
}
