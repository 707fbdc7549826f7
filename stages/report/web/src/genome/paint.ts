// Painting of the heatmap. Rows that share a pixel are averaged once a layout; zooming only resamples columns.

import type { Genome } from "../data/genome";
import { copyRamp, pixel } from "../lib/colours";
import { bandAt, rowsAt, type Layout } from "./layout";

const SHADES = 255;

/** Mean log ratio of each pixel's rows in each window; NaN between bands. */
export interface Averaged { readonly values: Float32Array; readonly lines: number; readonly windows: number }

export function average(genome: Genome, layout: Layout, ratio: number): Averaged {
  const windows = genome.windows, lines = Math.round(layout.height * ratio);
  const values = new Float32Array(lines * windows).fill(NaN);
  const read = layout.means ? readProfiles(genome) : readHeat(genome);
  for (let line = 0; line < lines; line++) {
    const y = line / ratio, band = bandAt(layout, y);
    if (!band) continue;
    const [from, to] = rowsAt(band, y, 1 / ratio);
    read(from, to, values.subarray(line * windows, (line + 1) * windows));
  }
  return { values, lines, windows };
}

type Reader = (from: number, to: number, out: Float32Array) => void;

function readProfiles(genome: Genome): Reader {
  const profiles = genome.profiles(), n = genome.windows;
  return (from, _, out) => out.set(profiles.subarray(from * n, (from + 1) * n));
}

function readHeat(genome: Genome): Reader {
  const { values, scale, missing } = genome.heat(), n = genome.windows;
  const seen = new Uint16Array(n);
  return (from, to, out) => {
    out.fill(0);
    seen.fill(0);
    for (let row = from; row < to; row++) {
      for (let w = 0, at = row * n; w < n; w++, at++) {
        const v = values[at]!;
        if (v === missing) continue;
        out[w] = out[w]! + v;
        seen[w] = seen[w]! + 1;
      }
    }
    for (let w = 0; w < n; w++) out[w] = seen[w] ? (out[w]! * scale) / seen[w]! : NaN;
  };
}

/** The image of windows [from, to) at this width; `limit` has full colour. */
export function heatImage(averaged: Averaged, from: number, to: number, width: number, limit: number): ImageData {
  const { values, lines, windows } = averaged;
  const shades = Uint32Array.from(copyRamp(SHADES), pixel);
  const image = new ImageData(width, lines), out = new Uint32Array(image.data.buffer);
  const first = new Int32Array(width), last = new Int32Array(width);
  for (let x = 0; x < width; x++) {
    const a = from + ((to - from) * x) / width, b = from + ((to - from) * (x + 1)) / width;
    first[x] = Math.min(windows - 1, Math.max(0, Math.floor(a)));
    last[x] = Math.min(windows, Math.max(first[x]! + 1, Math.floor(b)));
  }
  const middle = (SHADES - 1) / 2;
  for (let line = 0; line < lines; line++) {
    const row = line * windows;
    for (let x = 0, at = line * width; x < width; x++, at++) {
      let sum = 0, n = 0;
      for (let w = first[x]!; w < last[x]!; w++) {
        const v = values[row + w]!;
        if (v === v) {
          sum += v;
          n++;
        }
      }
      if (!n) continue;
      const share = Math.min(1, Math.max(-1, sum / n / limit));
      out[at] = shades[Math.round(middle + share * middle)]!;
    }
  }
  return image;
}
