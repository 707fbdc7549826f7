// What is painted over and beside the heatmap: borders, the gene, bars of labels, the margin of the selection.

import type { Cells } from "../data/cells";
import type { Genome } from "../data/genome";
import { categoryColour, resolve } from "../lib/colours";
import { selection } from "../lib/store";
import { rowsAt, type Band, type Layout } from "./layout";

/** Width of a bar of labels and the gap after it, and of the margin at the right, px. */
export const BAR = 11;
export const BAR_GAP = 2;
export const MARGIN = 10;

/** What is in view: windows [from, to) between `left` and `right`, px of the canvas. */
export interface Scene {
  readonly genome: Genome;
  readonly layout: Layout;
  readonly from: number;
  readonly to: number;
  readonly left: number;
  readonly right: number;
}

/** Place of a window on the canvas. */
export function placeOf({ from, to, left, right }: Scene, window: number): number {
  return left + ((window - from) / (to - from)) * (right - left);
}

const colour = (name: string): string => `rgb(${resolve(name).map(Math.round).join()})`;

export function paintLines(context: CanvasRenderingContext2D, scene: Scene, marker: { window: number; name: string } | null): void {
  const { layout, left, right, genome } = scene;
  context.fillStyle = colour("var(--line)");
  layout.bands.forEach((band, i) => {
    if (i && layout.bands[i - 1]!.patient === band.patient) context.fillRect(left, band.top, right - left, 1);
  });
  context.fillStyle = colour("var(--soft)");
  for (const span of genome.spans) {
    const at = placeOf(scene, span.from);
    if (span.from > 0 && at > left && at < right) context.fillRect(Math.round(at), 0, 1, layout.height);
  }
  if (marker) paintMarker(context, scene, marker);
}

function paintMarker(context: CanvasRenderingContext2D, scene: Scene, marker: { window: number; name: string }): void {
  const at = placeOf(scene, marker.window + 0.5);
  if (at < scene.left || at > scene.right) return;
  context.strokeStyle = context.fillStyle = colour("var(--accent)");
  context.setLineDash([4, 3]);
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(at, 0);
  context.lineTo(at, scene.layout.height);
  context.stroke();
  context.setLineDash([]);
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = at > scene.right - 80 ? "right" : "left";
  context.lineWidth = 3;
  context.strokeStyle = colour("var(--card)");
  const where = at + (context.textAlign === "left" ? 4 : -4);
  context.strokeText(marker.name, where, 12);
  context.fillText(marker.name, where, 12);
}

/** Bars at the left with the labels of each row's cell, one a column of `sides`. */
export function paintSides(context: CanvasRenderingContext2D, { genome, layout }: Scene, cells: Cells, sides: readonly string[]): void {
  const rows = genome.cells();
  if (!rows || layout.means) return;
  sides.forEach((key, s) => {
    const codes = cells.codes(key), colours = (cells.column(key)!.labels ?? []).map((label, i) => colour(categoryColour(i, label)));
    for (const band of layout.bands) {
      for (let y = band.top; y < band.top + band.height; y++) {
        const own = colours[codes[rows[rowsAt(band, y, 1)[0]]!]!];
        if (!own) continue;
        context.fillStyle = own;
        context.fillRect(s * (BAR + BAR_GAP), y, BAR, 1);
      }
    }
  });
}

/** At the right: which rows hold selected cells. */
export function paintMargin(context: CanvasRenderingContext2D, { genome, layout, right }: Scene, nameOf: (band: Band) => string): void {
  const rows = genome.cells(), chosen = selection.cells;
  if (!chosen) return;
  context.fillStyle = colour("var(--accent)");
  for (const band of layout.bands) {
    if (layout.means || !rows) {
      if (selection.name === nameOf(band)) context.fillRect(right + 3, band.top, MARGIN - 4, band.height);
      continue;
    }
    for (let y = band.top; y < band.top + band.height; y++) {
      const [from, to] = rowsAt(band, y, 1);
      let n = 0;
      for (let row = from; row < to; row++) n += chosen[rows[row]!]!;
      if (!n) continue;
      context.globalAlpha = 0.3 + (0.7 * n) / (to - from);
      context.fillRect(right + 3, y, MARGIN - 4, 1);
    }
    context.globalAlpha = 1;
  }
}
