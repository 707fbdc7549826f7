// Chunk `genes`: every gene with its slope, why it was or was not tested, and the clones behind it.

import { chunk } from "../lib/chunks";
import type { Chunk, Header } from "../lib/unpack";

/** Cells of one clone (or the normal cells) of one type and patient: a point of the regression. */
export interface Group {
  readonly patient: string;
  readonly type: string;
  readonly clone: string;
  readonly n: number;
  readonly malignant: boolean;
  readonly library: number;
  readonly size_factor?: number;
}

export interface GenesHeader extends Header {
  readonly names: readonly string[];
  readonly classes: readonly string[];
  readonly chroms: readonly string[];
  readonly lengths?: readonly number[];
  readonly patients: readonly string[];
  readonly reasons: readonly string[];
  readonly sources?: readonly string[];
  readonly groups: readonly Group[];
  readonly fdr?: number;
  readonly insensitive_below?: number;
  readonly altered?: number;
  readonly tested: number;
  readonly escape: number;
  readonly contrast?: { readonly title: string } | null;
  /** Whether the set that `held` is about is established beyond doubt. */
  readonly set_established?: boolean;
  readonly file?: string;
}

/** A group with a gene's numbers: `copy` and `y` are natural logarithms, `se` one standard error of `y`. */
export interface Point extends Group {
  readonly group: number;
  /** The only group of its patient and cell type here: there is nothing to compare it with, and it weighs nothing. */
  readonly alone: boolean;
  /** Whether its patient and cell type have normal cells here; else `copy` and `y` are relative to the clones' mean. */
  readonly toNormal: boolean;
  readonly copy: number;
  readonly y: number;
  readonly se: number;
  readonly count: number;
}

export interface PatientSlope {
  readonly patient: number;
  readonly slope: number;
  readonly se: number;
  readonly below: number;
  readonly q: number;
}

/** Numbers of a gene by their name in the chunk. */
export type GeneColumn =
  | "slope" | "se" | "lo" | "hi" | "post" | "p_ins" | "q" | "q0" | "q1" | "spread" | "het" | "level"
  | "n_pat" | "n_agree" | "n_clones" | "dlfc" | "dq" | "held" | "start" | "end";

/** Used where no stage tells the page its parameters. */
const USUAL = { altered: 0.1, fdr: 0.05, bound: 0.5 } as const;

const stratum = (g: Group): string => `${g.patient}\t${g.type}`;

export class Genes {
  readonly head: GenesHeader;
  readonly #chunk: Chunk<GenesHeader>;
  readonly #index: Map<string, number>;
  readonly #lower: string[];
  readonly #copies: Float32Array | null;
  readonly #places = new Map<number, number[]>();
  #normals: readonly (readonly number[])[] | null = null;
  #order: Uint32Array | null = null;

  constructor(source: Chunk<GenesHeader>) {
    this.#chunk = source;
    this.head = source.head;
    this.#copies = source.optional("copy");
    this.#index = new Map(source.head.names.map((name, i) => [name, i]));
    this.#lower = source.head.names.map((name) => name.toLowerCase());
  }

  get n(): number {
    return this.head.names.length;
  }

  /** Log copy ratio from which a clone counts as changed at a gene. */
  get altered(): number {
    return this.head.altered ?? USUAL.altered;
  }

  get fdr(): number {
    return this.head.fdr ?? USUAL.fdr;
  }

  /** Slope below which a gene is called insensitive. */
  get bound(): number {
    return this.head.insensitive_below ?? USUAL.bound;
  }

  name(gene: number): string {
    return this.head.names[gene] ?? "";
  }

  lower(gene: number): string {
    return this.#lower[gene] ?? "";
  }

  indexOf(name: string): number | undefined {
    return this.#index.get(name);
  }

  has(column: GeneColumn): boolean {
    return this.#chunk.has(column);
  }

  /** NaN where the gene has no value or the page no such column. */
  value(column: GeneColumn, gene: number): number {
    return this.#chunk.optional(column)?.[gene] ?? NaN;
  }

  column(column: GeneColumn): Float32Array | null {
    return this.#chunk.optional(column);
  }

  classCode(gene: number): number {
    return this.#chunk.stored("cls")[gene] ?? 0;
  }

  className(gene: number): string {
    return this.head.classes[this.classCode(gene)] ?? "";
  }

  escapes(gene: number): boolean {
    const name = this.className(gene);
    return name === "insensitive" || name === "over-compensated";
  }

  isTested(gene: number): boolean {
    return this.className(gene) !== "untested";
  }

  reason(gene: number): string {
    return this.#chunk.has("reason") ? this.head.reasons[this.#chunk.stored("reason")[gene] ?? 0] ?? "" : "";
  }

  source(gene: number): string {
    return this.#chunk.has("source") ? this.head.sources?.[this.#chunk.stored("source")[gene] ?? 0] ?? "" : "";
  }

  chromosomeCode(gene: number): number {
    const code = this.#chunk.stored("chrom")[gene] ?? 255;
    return code < this.head.chroms.length ? code : -1;
  }

  chromosome(gene: number): string {
    return this.head.chroms[this.chromosomeCode(gene)] ?? "";
  }

  /** Bases, as stored: an f32 would lose the last digits. 0 is unknown. */
  start(gene: number): number {
    return this.#chunk.stored("start")[gene] ?? 0;
  }

  end(gene: number): number {
    return this.#chunk.stored("end")[gene] ?? 0;
  }

  /** Log copy ratio of a group at a gene. */
  copy(group: number, gene: number): number {
    return this.#copies?.[group * this.n + gene] ?? NaN;
  }

  /** Genes of a chromosome in order of place. */
  onChromosome(code: number): readonly number[] {
    let found = this.#places.get(code);
    if (!found) {
      found = [];
      for (let g = 0; g < this.n; g++) if (this.chromosomeCode(g) === code && this.start(g)) found.push(g);
      found.sort((a, b) => this.start(a) - this.start(b));
      this.#places.set(code, found);
    }
    return found;
  }

  /** The groups that a gene's slope rests on. */
  points(gene: number): Point[] {
    const at = (name: string, group: number): number => this.#chunk.optional(name)?.[group * this.n + gene] ?? NaN;
    const points = this.head.groups
      .map((g, group) => ({
        ...g, group, alone: false, toNormal: true, copy: at("copy", group), y: at("y", group), se: at("yse", group),
        count: this.#chunk.has("counts") ? this.#chunk.stored("counts")[group * this.n + gene] ?? 0 : NaN,
      }))
      .filter((p) => Number.isFinite(p.copy) && Number.isFinite(p.y));
    const strata = new Map<string, Point[]>();
    for (const p of points) strata.set(stratum(p), [...(strata.get(stratum(p)) ?? []), p]);
    return points.map((p) => {
      const others = strata.get(stratum(p))!;
      return { ...p, alone: others.length === 1, toNormal: others.some((o) => !o.malignant) };
    });
  }

  /** Whether there are normal cells of a group's patient and type at all. */
  hasNormal(group: number): boolean {
    this.#normals ??= this.head.groups.map((g) => this.head.groups.flatMap((o, i) => (!o.malignant && stratum(o) === stratum(g) ? [i] : [])));
    return this.#normals[group]!.length > 0;
  }

  /**
   * Log copy ratio on the group's usual scale: to its normal cells, or to the mean of its clones where there are none.
   * NaN where the normal cells have too few counts of this gene alone, and it would be relative to something else.
   */
  copyAsUsual(group: number, gene: number): number {
    if (!this.hasNormal(group)) return this.copy(group, gene);
    return this.#normals![group]!.some((i) => Number.isFinite(this.copy(i, gene))) ? this.copy(group, gene) : NaN;
  }

  /** Slopes of the patients that have one of their own. */
  patientSlopes(gene: number): PatientSlope[] {
    if (!this.#chunk.has("pat_gene")) return [];
    const genes = this.#chunk.stored("pat_gene");
    let low = 0, high = genes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (genes[middle]! < gene) low = middle + 1;
      else high = middle;
    }
    const out: PatientSlope[] = [];
    const at = (name: string, i: number): number => this.#chunk.optional(name)?.[i] ?? NaN;
    for (let i = low; i < genes.length && genes[i] === gene; i++) {
      const patient = this.#chunk.stored("pat_patient")[i]!;
      out.push({ patient, slope: at("pat_slope", i), se: at("pat_se", i), below: at("pat_p", i), q: at("pat_q", i) });
    }
    return out;
  }

  /** All genes by evidence of escape, best first; untested ones last, along the genome. */
  byEvidence(): Uint32Array {
    this.#order ??= this.#chunk.has("order") ? this.#chunk.stored("order") as Uint32Array : this.#rank();
    return this.#order;
  }

  #rank(): Uint32Array {
    const last = (value: number): number => (Number.isFinite(value) ? value : 2);
    const keys = Array.from({ length: this.n }, (_, g) => [
      this.escapes(g) ? 0 : this.isTested(g) ? 1 : 2,
      this.isTested(g) ? last(this.value("q", g)) : 0,
      this.isTested(g) ? -this.value("p_ins", g) || 0 : 0,
      this.isTested(g) ? last(this.value("q1", g)) : 0,
    ]);
    const order = Uint32Array.from({ length: this.n }, (_, g) => g);
    return order.sort((a, b) => {
      for (let k = 0; k < 4; k++) {
        const difference = keys[a]![k]! - keys[b]![k]!;
        if (difference) return difference;
      }
      return a - b;
    });
  }
}

let loaded: Promise<Genes> | null = null;

/** The page's genes, unpacked once. */
export function genes(): Promise<Genes> {
  loaded ??= chunk<GenesHeader>("genes").then((c) => new Genes(c));
  return loaded;
}
