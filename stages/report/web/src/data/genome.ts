// Chunk `genome`: copy number of cells and clones in windows along the genome.

import { chunk } from "../lib/chunks";
import type { Region } from "../lib/store";
import type { Chunk, Header } from "../lib/unpack";

/** Rows of the heatmap that belong together. `patient` is an index. */
export interface RowGroup {
  readonly patient: number;
  readonly clone: string;
  readonly malignant: boolean;
  readonly rows: number;
  readonly n: number;
}

export interface Profile {
  readonly patient: number;
  readonly clone: string;
  readonly n: number;
  readonly malignant: boolean;
}

export interface GenomeHeader extends Header {
  readonly limit: number;
  readonly chroms: readonly string[];
  readonly patients: readonly string[];
  readonly groups: readonly RowGroup[];
  readonly profiles: readonly Profile[];
}

/** Windows [from, to) of a chromosome. */
export interface ChromosomeSpan { readonly name: string; readonly from: number; readonly to: number }

export class Genome {
  readonly head: GenomeHeader;
  readonly windows: number;
  readonly rows: number;
  readonly spans: readonly ChromosomeSpan[];
  readonly #chunk: Chunk<GenomeHeader>;

  constructor(source: Chunk<GenomeHeader>) {
    this.#chunk = source;
    this.head = source.head;
    this.windows = source.spec("wchrom").s[0] ?? 0;
    this.rows = source.has("heat") ? source.spec("heat").s[0] ?? 0 : 0;
    this.spans = spans(source.stored("wchrom"), source.head.chroms);
  }

  /** Log ratios as stored, to be multiplied by `scale`; `missing` is no value. */
  heat(): { values: Int8Array; scale: number; missing: number } {
    const spec = this.#chunk.spec("heat");
    return { values: this.#chunk.stored("heat") as Int8Array, scale: spec.scale ?? 1, missing: spec.missing ?? -128 };
  }

  profiles(): Float32Array {
    return this.#chunk.values("profiles");
  }

  /** The cell of each row, as an index into chunk `cells`. */
  cells(): Uint32Array | null {
    return this.#chunk.has("cells") ? this.#chunk.stored("cells") as Uint32Array : null;
  }

  span(chromosome: string): ChromosomeSpan | undefined {
    return this.spans.find((s) => s.name === chromosome);
  }

  chromosomeOf(window: number): string {
    return this.head.chroms[this.#chunk.stored("wchrom")[window] ?? -1] ?? "";
  }

  start(window: number): number {
    return this.#chunk.stored("wstart")[window] ?? 0;
  }

  end(window: number): number {
    return this.#chunk.stored("wend")[window] ?? 0;
  }

  /** The window whose middle is nearest to a base; -1 where the chromosome has none. */
  windowAt(chromosome: string, base: number): number {
    const span = this.span(chromosome);
    if (!span) return -1;
    let best = span.from, least = Infinity;
    for (let w = span.from; w < span.to; w++) {
      const distance = Math.abs((this.start(w) + this.end(w)) / 2 - base);
      if (distance < least) [best, least] = [w, distance];
    }
    return best;
  }

  /** First and last position on the axis of windows that a region takes; null for a chromosome without windows. */
  extent(region: Region): [number, number] | null {
    const span = this.span(region.chromosome);
    if (!span) return null;
    if (region.from === undefined || region.to === undefined) return [span.from, span.to];
    const from = this.windowAt(region.chromosome, region.from * 1e6);
    const to = this.windowAt(region.chromosome, region.to * 1e6) + 1;
    return [from, Math.max(to, from + 1)];
  }

  /** The region between two positions on the axis of windows; null where it is more than one chromosome. */
  regionOf(from: number, to: number): Region | null {
    const first = Math.max(0, Math.floor(from + 1e-6)), last = Math.min(this.windows, Math.ceil(to - 1e-6)) - 1;
    const chromosome = this.chromosomeOf(first), span = this.span(chromosome);
    if (!span || this.chromosomeOf(last) !== chromosome) return null;
    if (first === span.from && last === span.to - 1) return { chromosome };
    const middle = (w: number): number => (this.start(w) + this.end(w)) / 2e6;
    return { chromosome, from: round(middle(first)), to: round(Math.max(middle(last), middle(first) + 0.001)) };
  }
}

const round = (mb: number): number => Math.round(mb * 1000) / 1000;

function spans(codes: ArrayLike<number>, names: readonly string[]): ChromosomeSpan[] {
  const out: ChromosomeSpan[] = [];
  for (let w = 0; w < codes.length; w++) {
    const name = names[codes[w]!] ?? "?";
    const last = out[out.length - 1];
    if (last && last.name === name) out[out.length - 1] = { ...last, to: w + 1 };
    else out.push({ name, from: w, to: w + 1 });
  }
  return out;
}

let loaded: Promise<Genome> | null = null;

/** The page's copy numbers, unpacked once. */
export function genome(): Promise<Genome> {
  loaded ??= chunk<GenomeHeader>("genome").then((c) => new Genome(c));
  return loaded;
}
