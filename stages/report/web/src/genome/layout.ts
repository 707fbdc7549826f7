// Where the rows of the heatmap lie: groups of rows from top to bottom, cells or clone means.

import type { Genome } from "../data/genome";

/** A band of rows. `first` and `rows` are rows of the heatmap, or the profile where clones are shown. */
export interface Band {
  readonly patient: number;
  readonly clone: string;
  readonly malignant: boolean;
  readonly n: number;
  readonly first: number;
  readonly rows: number;
  readonly top: number;
  readonly height: number;
}

/** `dense`: too many bands to name each; the patients are named. */
export interface Layout { readonly bands: readonly Band[]; readonly height: number; readonly means: boolean; readonly dense: boolean }

const LEAST = 15;
const LEAST_DENSE = 5;
/** Bands beyond which a name each would make the page endless. */
const MOST_NAMED = 120;
const LEAST_TOTAL = 400;
/** Normal cells have little to show: a row of theirs is a quarter as high. */
const NORMAL_WEIGHT = 0.25;
const BETWEEN_PATIENTS = 5;

/** Bands of the patients asked for (`patient` < 0: all); heights in px. */
export function layout(genome: Genome, patient: number, means: boolean): Layout {
  const list = means || genome.rows === 0
    ? genome.head.profiles.map((p, first) => ({ ...p, first, rows: 1 }))
    : withFirst(genome.head.groups);
  const kept = list.filter((g) => g.rows > 0 && (patient < 0 || g.patient === patient));
  const flat = means || genome.rows === 0;
  const weight = (g: { malignant: boolean; rows: number }): number => (flat ? 1 : g.rows * (g.malignant ? 1 : NORMAL_WEIGHT));
  const total = kept.reduce((sum, g) => sum + weight(g), 0);
  const dense = kept.length > MOST_NAMED, least = dense ? LEAST_DENSE : LEAST;
  const spare = flat || dense ? 0 : Math.max(0, LEAST_TOTAL - least * kept.length, 8 * kept.length);
  const bands: Band[] = [];
  let top = 0;
  kept.forEach((g, i) => {
    if (i && kept[i - 1]!.patient !== g.patient) top += BETWEEN_PATIENTS;
    const height = Math.round(least + (total ? (spare * weight(g)) / total : 0));
    bands.push({ patient: g.patient, clone: g.clone, malignant: g.malignant, n: g.n, first: g.first, rows: g.rows, top, height });
    top += height;
  });
  return { bands, height: Math.max(top, LEAST), means: flat, dense };
}

function withFirst<T extends { readonly rows: number }>(groups: readonly T[]): (T & { first: number })[] {
  let first = 0;
  return groups.map((g) => {
    const out = { ...g, first };
    first += g.rows;
    return out;
  });
}

export function bandAt(layout: Layout, y: number): Band | undefined {
  return layout.bands.find((b) => y >= b.top && y < b.top + b.height);
}

/** Rows [from, to) of a band that a stretch of its height shows; at least one. */
export function rowsAt(band: Band, y: number, step: number): [number, number] {
  const from = Math.floor(((y - band.top) / band.height) * band.rows);
  const to = Math.ceil(((y + step - band.top) / band.height) * band.rows - 1e-9);
  const first = Math.min(Math.max(0, from), band.rows - 1);
  return [band.first + first, band.first + Math.max(first + 1, Math.min(to, band.rows))];
}
