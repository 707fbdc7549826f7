// What the selected cells consist of, beside all cells.

import type { Cells } from "../data/cells";
import { choice, el, save } from "../lib/dom";
import { button } from "../lib/dom";
import { percent, short, whole } from "../lib/format";
import { selection } from "../lib/store";
import { DataTable } from "../table/table";

export interface Share { readonly label: string; readonly here: number; readonly all: number }

/** Cells of each label: selected, and all. */
export function composition(cells: Cells, key: string, chosen: Uint8Array): Share[] {
  const labels = [...(cells.column(key)?.labels ?? []), "none"], codes = cells.codes(key), last = labels.length - 1;
  const here = new Uint32Array(labels.length), all = new Uint32Array(labels.length);
  for (let i = 0; i < cells.n; i++) {
    const code = Math.min(codes[i]!, last);
    all[code]!++;
    here[code]! += chosen[i]!;
  }
  return labels.map((label, i) => ({ label: label || "(empty)", here: here[i]!, all: all[i]! })).filter((s) => s.all > 0);
}

/** Middle value; NaN of none. */
export function median(values: Float32Array): number {
  const sorted = values.filter(Number.isFinite).sort(), n = sorted.length;
  return n ? (sorted[(n - 1) >> 1]! + sorted[n >> 1]!) / 2 : NaN;
}

export class Composition {
  readonly element = el("div", { class: "composition" });
  readonly #cells: Cells;
  readonly #said = el("p", { class: "say", "aria-live": "polite" });
  readonly #tables = el("div", { class: "two-tables" });
  readonly #clear = button("Clear selection", () => selection.set(null, ""), { class: "clear" });
  readonly #save = button("Download these cells", () => this.#download());
  readonly #pick;
  #by: string;

  constructor(cells: Cells) {
    this.#cells = cells;
    const keys = cells.head.columns.filter((c) => c.kind === "category");
    this.#by = (keys.find((c) => c.key === "cell_type") ?? keys[0])?.key ?? "";
    this.#pick = choice("Composition by", keys.map((c) => [c.key, c.title] as const), (key) => {
      this.#by = key;
      this.draw();
    });
    this.#pick.select.value = this.#by;
    this.element.append(el("div", { class: "tools" }, this.#said, this.#clear, this.#save, this.#pick.box), this.#tables);
    this.draw();
  }

  draw(): void {
    const chosen = selection.cells, tools = [this.#clear, this.#save, this.#pick.box];
    for (const tool of tools) tool.hidden = !chosen;
    if (!chosen) {
      this.#said.textContent = "Draw around cells, press a label or a clone's name: the same cells show in both maps and the heatmap, and are compared here with all.";
      this.#tables.replaceChildren();
      return;
    }
    this.#said.textContent = `${whole(selection.count)} of ${whole(this.#cells.n)} cells selected (${selection.name}).`;
    this.#tables.replaceChildren(...(this.#by ? [this.#labels(chosen)] : []), this.#numbers(chosen));
  }

  #labels(chosen: Uint8Array): HTMLElement {
    const shares = composition(this.#cells, this.#by, chosen).sort((a, b) => b.here - a.here), { count } = selection, n = this.#cells.n;
    const enrichment = (s: Share): number => s.here / count / (s.all / n);
    return new DataTable({
      name: `selected_by_${this.#by}`, label: "Composition of the selected cells", rows: shares.length, columns: [
        { key: "label", title: this.#cells.column(this.#by)!.title, numeric: false, value: (i) => shares[i]!.label, show: (i) => shares[i]!.label },
        { key: "selected", title: "Selected", numeric: true, value: (i) => shares[i]!.here, show: (i) => whole(shares[i]!.here) },
        { key: "share_selected", title: "Of selected", numeric: true, value: (i) => shares[i]!.here / count, show: (i) => percent(shares[i]!.here / count) },
        { key: "share_all", title: "Of all cells", numeric: true, value: (i) => shares[i]!.all / n, show: (i) => percent(shares[i]!.all / n) },
        { key: "ratio", title: "Ratio", numeric: true, about: "Share among the selected over share among all", value: (i) => enrichment(shares[i]!), show: (i) => short(enrichment(shares[i]!)) },
      ],
    }).element;
  }

  #numbers(chosen: Uint8Array): HTMLElement {
    const rows = this.#cells.head.columns.filter((c) => c.kind === "number").map((c) => {
      const values = this.#cells.numbers(c.key);
      return { title: c.title, here: median(values.filter((_, i) => chosen[i])), rest: median(values.filter((_, i) => !chosen[i])) };
    });
    return new DataTable({
      name: "selected_medians", label: "Medians of the selected cells", rows: rows.length, columns: [
        { key: "number", title: "Median of", numeric: false, value: (i) => rows[i]!.title, show: (i) => rows[i]!.title },
        { key: "selected", title: "Selected", numeric: true, value: (i) => rows[i]!.here, show: (i) => short(rows[i]!.here) },
        { key: "others", title: "Others", numeric: true, value: (i) => rows[i]!.rest, show: (i) => short(rows[i]!.rest) },
      ],
    }).element;
  }

  #download(): void {
    const { columns } = this.#cells.head, lines = [["cell", ...columns.map((c) => c.key)].join("\t")];
    for (let i = 0; i < this.#cells.n; i++) {
      if (!selection.cells?.[i]) continue;
      const values = columns.map((c) => {
        if (c.kind === "category") return c.labels?.[this.#cells.codes(c.key)[i]!] ?? "";
        const value = this.#cells.numbers(c.key)[i]!;
        return Number.isFinite(value) ? String(value) : "";
      });
      lines.push([this.#cells.id(i), ...values].join("\t"));
    }
    save("selected_cells.tsv", `${lines.join("\n")}\n`);
  }
}
