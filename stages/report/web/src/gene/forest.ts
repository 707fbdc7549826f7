// The slope in each patient beside that of all: does the call rest on one of them?

import { linear, type Scale } from "../lib/scale";
import type { Genes, Point } from "../data/genes";
import { drawing, svg } from "../lib/dom";
import { counted, fixed, probability } from "../lib/format";
import { patientColour } from "./chart";

const ROW = 20;
const MOST = 24;

interface Row { text: string; slope: number; lo: number; hi: number; colour: string; below: number; tip: string }

function rows(genes: Genes, g: number, points: readonly Point[]): Row[] {
  const clones = (patient: string): number => points.filter((p) => p.malignant && p.patient === patient).length;
  const all: Row = {
    text: "all patients", slope: genes.value("slope", g), lo: genes.value("lo", g), hi: genes.value("hi", g), colour: "var(--accent)",
    below: genes.value("p_ins", g), tip: "",
  };
  const of = genes.patientSlopes(g).map((p): Row => {
    const name = genes.head.patients[p.patient] ?? "";
    return {
      text: `${name}, ${counted(clones(name), "clone")}`, slope: p.slope, lo: p.slope - 1.96 * p.se, hi: p.slope + 1.96 * p.se,
      colour: patientColour(genes.head.patients, name), below: p.below, tip: "",
    };
  });
  // The surest first where there are too many to show.
  if (of.length > MOST) of.sort((a, b) => a.hi - a.lo - (b.hi - b.lo)).length = MOST;
  return [all, ...of].map((r) => ({ ...r, tip: `${r.text}: slope ${fixed(r.slope)}, 95 % ${fixed(r.lo)} to ${fixed(r.hi)}` }));
}

/** The drawing, what it shows and what it leaves out, in words. */
export function forest(genes: Genes, g: number, points: readonly Point[], width: number): { figure: SVGSVGElement; caption: string; note: string } {
  const shown = rows(genes, g, points).filter((r) => Number.isFinite(r.slope));
  const left = Math.min(170, width * 0.36), right = width - 62;
  const lowest = Math.max(-3, Math.min(-0.6, ...shown.map((r) => r.lo))), highest = Math.min(4, Math.max(1.6, ...shown.map((r) => r.hi)));
  const x = linear([lowest, highest], [left, right], true);
  const height = shown.length * ROW + 38;
  const figure = drawing(width, height, `Slope by patient. ${shown.map((r) => r.tip).join("; ")}`);
  for (const t of x.ticks(Math.max(3, Math.round((right - left) / 70)))) {
    figure.append(svg("text", { class: "ax", x: x(t), y: height - 4, "text-anchor": "middle" }, fixed(t, Number.isInteger(t) ? 0 : 1)));
  }
  for (const [at, dash] of [[0, "2 3"], [1, "6 4"]] as const) {
    figure.append(svg("line", { x1: x(at), x2: x(at), y1: 14, y2: height - 18, stroke: "var(--soft)", "stroke-dasharray": dash }));
  }
  const told = shown.some((r) => Number.isFinite(r.below));
  if (told) figure.append(svg("text", { class: "ax", x: width - 2, y: 10, "text-anchor": "end" }, `P(slope < ${genes.bound})`));
  shown.forEach((row, i) => figure.append(mark(row, i, x, left, width)));
  const caption = `Dotted: no dosage (0); dashed: full dosage (1).${told ? ` At the right: probability of a slope below ${genes.bound}.` : ""}`;
  return { figure, caption, note: leftOut(genes, g) };
}

function mark(row: Row, i: number, x: Scale, left: number, width: number): SVGGElement {
  const y = 16 + i * ROW + ROW / 2;
  const out = svg("g", { "data-tip": row.tip },
    svg("rect", { x: 0, y: y - ROW / 2, width, height: ROW, fill: "transparent" }),
    svg("text", { x: left - 8, y: y + 4, "text-anchor": "end", class: i ? "" : "strong" }, row.text),
    svg("line", { x1: x(row.lo), x2: x(row.hi), y1: y, y2: y, stroke: row.colour, "stroke-width": i ? 2 : 3 }),
    svg("text", { class: "ax", x: width - 2, y: y + 4, "text-anchor": "end" }, Number.isFinite(row.below) ? probability(row.below) : ""));
  const [low, high] = x.domain;
  // An arrow where the interval goes on beyond the axis.
  if (row.lo < low) out.append(arrow(x(low), y, -1, row.colour));
  if (row.hi > high) out.append(arrow(x(high), y, 1, row.colour));
  if (row.slope >= low && row.slope <= high) out.append(svg("circle", { cx: x(row.slope), cy: y, r: i ? 4 : 5, fill: row.colour, stroke: "var(--card)" }));
  return out;
}

function arrow(x: number, y: number, side: -1 | 1, colour: string): SVGPathElement {
  return svg("path", { d: `M${x + side * 7},${y} l${-side * 7},-4 v8 z`, fill: colour });
}

function leftOut(genes: Genes, g: number): string {
  const slopes = genes.patientSlopes(g), without = genes.head.patients.length - slopes.length;
  const parts: string[] = [];
  if (slopes.length > MOST) parts.push(`the ${MOST} surest of ${slopes.length} are drawn`);
  if (without > 0 && slopes.length) parts.push(`${counted(without, "patient")} without a slope of ${without === 1 ? "its" : "their"} own: too few clones, or no change of copy number between them`);
  if (!slopes.length) parts.push("no patient has a slope of its own: too few clones, or no change of copy number between them");
  return parts.length ? `${parts.join("; ")}.`.replace(/^./, (c) => c.toUpperCase()) : "";
}
