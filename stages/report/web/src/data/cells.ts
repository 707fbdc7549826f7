// Chunk `cells`: what is known of every cell, its place on the maps, and counts of some genes.

import { chunk } from "../lib/chunks";
import type { Chunk, Header } from "../lib/unpack";

export interface CellColumn {
  readonly key: string;
  readonly title: string;
  readonly kind: "category" | "number";
  readonly labels?: readonly string[];
}

/** A patient's own map in the square of all, 0 to 1, y upward. */
export interface Tile { readonly label: string; readonly x: number; readonly y: number; readonly w: number; readonly h: number }

export interface CellMap { readonly key?: string; readonly title: string; readonly about?: string; readonly tiles?: readonly Tile[] }

export interface CellsHeader extends Header {
  readonly n: number;
  readonly columns: readonly CellColumn[];
  readonly maps: readonly CellMap[];
  /** Genes with counts, as indices into chunk `genes`. */
  readonly genes: readonly number[];
  readonly sides?: readonly string[];
  readonly file?: string | null;
}

/** Target sum that a cell's counts are scaled to before the logarithm of one plus them. */
const TARGET = 10_000;

export class Cells {
  readonly head: CellsHeader;
  readonly n: number;
  readonly #chunk: Chunk<CellsHeader>;
  readonly #packed: Map<number, number>;
  readonly #maps = new Map<number, Float32Array>();
  #ids: string[] | null = null;

  constructor(source: Chunk<CellsHeader>) {
    this.#chunk = source;
    this.head = source.head;
    this.n = source.head.n;
    this.#packed = new Map(source.head.genes.map((gene, k) => [gene, k]));
  }

  column(key: string): CellColumn | undefined {
    return this.head.columns.find((c) => c.key === key);
  }

  /** Code of each cell's label; a code beyond the labels is none. */
  codes(key: string): Uint8Array | Uint16Array {
    return this.#chunk.stored(`c_${key}`) as Uint8Array | Uint16Array;
  }

  numbers(key: string): Float32Array {
    return this.#chunk.values(`n_${key}`);
  }

  /** x, y of each cell from 0 to 1, y downward as on a screen; NaN where it is not on this map. */
  map(index: number): Float32Array {
    let found = this.#maps.get(index);
    if (!found) {
      const spec = this.#chunk.spec(`xy${index}`), stored = this.#chunk.stored(`xy${index}`);
      found = new Float32Array(stored.length);
      for (let i = 0; i < stored.length; i += 2) {
        const none = spec.missing !== undefined && stored[i] === spec.missing;
        found[i] = none ? NaN : stored[i]! / 65534;
        found[i + 1] = none ? NaN : 1 - stored[i + 1]! / 65534;
      }
      this.#maps.set(index, found);
    }
    return found;
  }

  id(cell: number): string {
    if (!this.#ids) this.#ids = this.#chunk.has("ids") ? this.#chunk.text("ids").split("\n") : [];
    return this.#ids[cell] ?? "";
  }

  isPacked(gene: number): boolean {
    return this.#packed.has(gene);
  }

  /** log1p of counts per 10,000; NaN where the page holds no counts of the cell. Null without the gene. */
  expression(gene: number): Float32Array | null {
    const k = this.#packed.get(gene);
    if (k === undefined) return null;
    const counts = this.counts(k);
    const totals = this.column("total_counts") ? this.numbers("total_counts") : null;
    if (totals) for (let i = 0; i < this.n; i++) counts[i] = Math.log1p((counts[i]! / totals[i]!) * TARGET);
    else for (let i = 0; i < this.n; i++) counts[i] = Math.log1p(counts[i]!);
    return counts;
  }

  /** Counts of the k-th packed gene. */
  counts(k: number): Float32Array {
    const pointers = this.#chunk.stored("gptr"), gaps = this.#chunk.stored("ggap"), counts = this.#chunk.stored("gcount");
    const seen = this.#chunk.has("gseen") ? this.#chunk.stored("gseen") : null;
    const out = new Float32Array(this.n);
    if (seen) for (let i = 0; i < this.n; i++) out[i] = seen[i] ? 0 : NaN;
    for (let e = pointers[k]!, cell = 0; e < pointers[k + 1]!; e++) {
      cell += gaps[e]!;
      if (counts[e]!) out[cell] = counts[e]!;
    }
    return out;
  }

  /** 1 for each cell with this label. */
  withLabel(key: string, label: string): Uint8Array {
    const code = this.column(key)?.labels?.indexOf(label) ?? -1;
    const out = new Uint8Array(this.n);
    if (code < 0) return out;
    const codes = this.codes(key);
    for (let i = 0; i < this.n; i++) if (codes[i] === code) out[i] = 1;
    return out;
  }

  /** 1 for each cell of a group of the genome view: by its index there, else by the labels. */
  ofGroup(index: number, patient: string, clone: string): Uint8Array {
    if (index < 0 || !this.#chunk.has("group")) return this.#byLabels(patient, clone);
    const groups = this.#chunk.stored("group"), out = new Uint8Array(this.n);
    for (let i = 0; i < this.n; i++) if (groups[i] === index) out[i] = 1;
    return out;
  }

  #byLabels(patient: string, clone: string): Uint8Array {
    const labels = this.column("cnv_clone")?.labels ?? [];
    if (labels.includes(`${patient} ${clone}`)) return this.withLabel("cnv_clone", `${patient} ${clone}`);
    const out = this.withLabel("patient", patient);
    if (!labels.length) return out;
    const codes = this.codes("cnv_clone");
    for (let i = 0; i < this.n; i++) if (codes[i]! < labels.length) out[i] = 0;
    return out;
  }
}

let loaded: Promise<Cells> | null = null;

/** The page's cells, unpacked once. */
export function cells(): Promise<Cells> {
  loaded ??= chunk<CellsHeader>("cells").then((c) => new Cells(c));
  return loaded;
}
