// What the cells are coloured by: a label, a number, or a gene, as a code for each cell and a colour for each code.

import type { Cells } from "../data/cells";
import type { Genes } from "../data/genes";
import { categoryColour, numberRamp, pixel, resolve } from "../lib/colours";

/** Code of a cell that has no value. */
export const NO_CODE = 65535;
const SHADES = 64;

export interface Colouring {
  readonly key: string;
  readonly title: string;
  readonly codes: Uint8Array | Uint16Array;
  /** Pixels by code. */
  readonly pixels: Uint32Array;
  /** CSS colours of labels, or of the shades from low to high. */
  readonly css: readonly string[];
  readonly labels: readonly string[] | null;
  /** Values and the ends of the scale, for numbers. */
  readonly values: Float32Array | null;
  readonly ends: readonly [number, number] | null;
  /** In which order to draw: numbers from low to high, so that rare high ones are seen. */
  readonly ordered: boolean;
}

/** The colouring of a key of the address (`cnv_clone`, `gene:SLPI`); null where the page has no such. */
export function colouring(cells: Cells, genes: Genes | null, key: string): Colouring | null {
  if (key.startsWith("gene:")) {
    const gene = genes?.indexOf(key.slice(5));
    const values = gene === undefined ? null : cells.expression(gene);
    return values && numeric(key, `${key.slice(5)}, log of counts per 10,000`, values);
  }
  const column = cells.column(key);
  if (!column) return null;
  if (column.kind === "number") return numeric(key, column.title, cells.numbers(key));
  const labels = column.labels ?? [];
  const css = labels.map((label, i) => categoryColour(i, label));
  return {
    key, title: column.title, codes: cells.codes(key), pixels: Uint32Array.from(css, (c) => pixel(resolve(c))), css, labels,
    values: null, ends: null, ordered: false,
  };
}

/** Ends of the scale are the 1st and 99th percentile: one wild cell must not take all colours. */
function numeric(key: string, title: string, values: Float32Array): Colouring {
  const sorted = values.filter(Number.isFinite).sort();
  const low = sorted[Math.floor(sorted.length * 0.01)] ?? 0, high = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 1;
  const span = high > low ? high - low : 1;
  const codes = new Uint16Array(values.length);
  for (let i = 0; i < codes.length; i++) {
    const v = values[i]!;
    codes[i] = v === v ? Math.min(SHADES - 1, Math.max(0, Math.floor(((v - low) / span) * SHADES))) : NO_CODE;
  }
  const shades = numberRamp(SHADES);
  return {
    key, title, codes, pixels: Uint32Array.from(shades, pixel), css: shades.map((c) => `rgb(${c.map(Math.round).join()})`),
    labels: null, values, ends: [low, high], ordered: true,
  };
}

/** The order to draw cells in: mixed for labels, so that no group hides another by its place in the file. */
export function drawOrder(colours: Colouring, mixed: Uint32Array): Uint32Array {
  if (!colours.ordered) return mixed;
  const counts = new Uint32Array(SHADES + 2), slot = (cell: number): number => (colours.codes[cell] === NO_CODE ? 0 : colours.codes[cell]! + 1);
  for (const cell of mixed) counts[slot(cell) + 1]!++;
  for (let i = 1; i < counts.length; i++) counts[i]! += counts[i - 1]!;
  const out = new Uint32Array(mixed.length);
  for (const cell of mixed) out[counts[slot(cell)]!++] = cell;
  return out;
}

/** All cells in a fixed mixed order: steps of a length that shares no divisor with their number. */
export function mixedOrder(n: number): Uint32Array {
  const divisor = (a: number, b: number): number => (b ? divisor(b, a % b) : a);
  let step = Math.max(1, Math.round(n * 0.6180339887));
  while (n > 1 && divisor(step, n) !== 1) step++;
  return Uint32Array.from({ length: n }, (_, i) => (i * step) % n);
}
