// Which cells hold the gene back: for each clone with a change of copy number, how far expression stays
// nearer to the normal level than full dosage predicts.

import { linear } from "../lib/scale";
import type { Genes, Point } from "../data/genes";
import { drawing, svg } from "../lib/dom";
import { counted, fixed } from "../lib/format";
import { patientColour } from "./chart";

const ROW = 20;
const MOST = 24;

export interface Held { readonly point: Point; readonly by: number; readonly moved: boolean }

/** Clones by how far they hold back; unchanged ones last. */
export function held(points: readonly Point[], altered: number): Held[] {
  return points.filter((p) => p.malignant)
    .map((point) => ({ point, by: Math.sign(point.copy) * (point.copy - point.y), moved: Math.abs(point.copy) >= altered }))
    .sort((a, b) => Number(b.moved) - Number(a.moved) || b.by - a.by);
}

export function heldBack(genes: Genes, g: number, points: readonly Point[], width: number): { figure: SVGSVGElement; note: string } | null {
  const all = held(points, genes.altered), moved = all.filter((h) => h.moved).slice(0, MOST);
  const shown = moved.length ? moved : all.slice(0, 6);
  if (!shown.length) return null;
  const left = Math.min(186, width * 0.42), right = width - 14;
  const ends = shown.flatMap((h) => [h.by - h.point.se, h.by + h.point.se]).filter(Number.isFinite);
  const x = linear([Math.min(-0.3, ...ends), Math.max(0.3, ...ends)], [left, right]);
  const height = shown.length * ROW + 24;
  const said = shown.map((h) => `${h.point.patient} ${h.point.clone} ${fixed(h.by)}`).join("; ");
  const figure = drawing(width, height, `How far each clone holds ${genes.name(g)} back from full dosage: ${said}`);
  figure.append(svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height - 18, stroke: "var(--soft)", "stroke-dasharray": "6 4" }));
  for (const t of x.ticks(Math.max(3, Math.round((right - left) / 80)))) {
    figure.append(svg("text", { class: "ax", x: x(t), y: height - 4, "text-anchor": "middle" }, fixed(t, 1)));
  }
  shown.forEach((h, i) => {
    const y = i * ROW + ROW / 2, p = h.point, colour = h.moved ? patientColour(genes.head.patients, p.patient) : "var(--soft)";
    const change = h.moved ? (p.copy > 0 ? "gain" : "loss") : "no change";
    figure.append(svg("g", { "data-tip": `${p.patient} ${p.clone}, ${p.type}: held back by ${fixed(h.by)} \u00b1 ${fixed(p.se)}; ${change}, log copy ratio ${fixed(p.copy)}` },
      svg("rect", { x: 0, y: y - ROW / 2, width, height: ROW, fill: "transparent" }),
      svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, `${p.patient} ${p.clone}, ${change}`),
      svg("line", { x1: x(h.by - p.se), x2: x(h.by + p.se), y1: y, y2: y, stroke: colour, "stroke-width": 2 }),
      svg("circle", { cx: x(h.by), cy: y, r: 4.5, fill: colour, stroke: "var(--card)" })));
  });
  const unmoved = all.filter((h) => !h.moved && !shown.includes(h)).length, more = all.length - shown.length - unmoved;
  const notes = [
    unmoved ? `${counted(unmoved, "clone")} without a change of copy number here ${unmoved === 1 ? "is" : "are"} not drawn.` : "",
    more ? `${counted(more, "clone")} that hold it back less ${more === 1 ? "is" : "are"} not drawn.` : "",
  ];
  return { figure, note: notes.filter(Boolean).join(" ") };
}
