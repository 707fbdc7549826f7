// Expression against local copy number: a point for each clone, the fitted line with its band, and the
// lines of full and of no dosage.

import { extent } from "d3-array";
import { linear, type Scale } from "../lib/scale";
import type { Genes, Point } from "../data/genes";
import { drawing, svg } from "../lib/dom";
import { counted, fixed, whole } from "../lib/format";
import { Labels, patientColour, xAxis, yAxis, type Frame } from "./chart";
import { sentence } from "./evidence";

const HEIGHT = 370;
const MOST_LABELS = 24;

export function pointText(p: Point): string {
  return `${p.patient} ${p.clone}, ${p.type}: ${counted(p.n, "cell")}, ${whole(p.count)} counts\nlog copy ratio ${fixed(p.copy, 3)}\nlog expression ${fixed(p.y, 3)} \u00b1 ${fixed(p.se, 3)}`;
}

export function scatter(genes: Genes, g: number, points: readonly Point[], width: number): SVGSVGElement {
  const frame: Frame = { left: 44, right: width - 10, top: 8, bottom: HEIGHT - 36 };
  const [x, y] = scales(points, frame);
  const label = `${genes.name(g)}: log expression of ${points.length} groups of cells against their log copy ratio. ${sentence(genes, g)}`;
  const out = drawing(width, HEIGHT, label);
  out.append(
    xAxis(x, frame, `local log copy ratio${points.every((p) => p.toNormal) ? " to normal cells" : ""} (loss left, gain right)`),
    yAxis(y, frame, expressionTitle(genes, g, points)),
    lines(genes, g, x, y, frame));
  const labels = new Labels(frame);
  // The two lines' names stand at the right edge.
  labels.block(frame.right - 30, y(x.domain[1]), 30);
  labels.block(frame.right - 30, y(0), 22);
  const clones = points.filter((p) => p.malignant), most = Math.max(...clones.map((p) => p.n), 1);
  const largest = clones.length > 16 ? 7 : 10;
  const radius = (p: Point): number => (p.malignant ? Math.max(3, largest * Math.sqrt(p.n / most)) : 4);
  for (const p of points) labels.block(x(p.copy), y(p.y), radius(p));
  const large = [...points].sort((a, b) => b.n - a.n);
  for (const p of large) out.append(mark(p, patientColour(genes.head.patients, p.patient), x, y, radius(p)));
  for (const p of large.filter((one) => one.malignant).slice(0, MOST_LABELS)) {
    const text = `${p.patient} ${p.clone.replace("clone ", "c")}`;
    const at = labels.place(text, x(p.copy), y(p.y), radius(p));
    if (at) out.append(svg("text", { x: at.x, y: at.y, "text-anchor": at.anchor, class: "name" }, text));
  }
  return out;
}

function expressionTitle(genes: Genes, g: number, points: readonly Point[]): string {
  if (!points.some((p) => p.toNormal)) return "log expression to the clones' mean";
  return `log expression to normal cells${Number.isFinite(genes.value("level", g)) ? ", less the tumour level" : ""}`;
}

function scales(points: readonly Point[], frame: Frame): [Scale, Scale] {
  const [left, right] = extent([-0.3, 0.3, ...points.map((p) => p.copy)]) as [number, number];
  const pad = (right - left) * 0.07;
  const ends = points.flatMap((p) => [p.y - (p.se || 0), p.y + (p.se || 0)]);
  const [low, high] = extent([left * 0.6, right * 0.6, ...ends]) as [number, number];
  const margin = (high - low) * 0.05;
  return [
    linear([left - pad, right + pad], [frame.left, frame.right]),
    linear([low - margin, high + margin], [frame.bottom, frame.top]),
  ];
}

/** Cut a line y = slope x to the part of the frame that shows it. */
function within(slope: number, x: Scale, y: Scale): [number, number][] {
  const [x0, x1] = x.domain, [y0, y1] = y.domain;
  const bounds = slope === 0 ? [x0, x1] : [y0 / slope, y1 / slope].sort((a, b) => a - b);
  const from = Math.max(x0, bounds[0]!), to = Math.min(x1, bounds[1]!);
  return [[from, from * slope], [to, to * slope]];
}

function line(slope: number, x: Scale, y: Scale, style: Record<string, string | number>): SVGLineElement {
  const [[ax, ay], [bx, by]] = within(slope, x, y) as [[number, number], [number, number]];
  return svg("line", { x1: x(ax), y1: y(ay), x2: x(bx), y2: y(by), ...style });
}

function lines(genes: Genes, g: number, x: Scale, y: Scale, frame: Frame): SVGGElement {
  const slope = genes.value("slope", g), lo = genes.value("lo", g), hi = genes.value("hi", g);
  const out = svg("g");
  if (Number.isFinite(lo) && Number.isFinite(hi)) out.append(band(lo, hi, x, y, frame));
  out.append(
    line(0, x, y, { stroke: "var(--soft)", "stroke-dasharray": "2 3" }),
    line(1, x, y, { stroke: "var(--soft)", "stroke-dasharray": "6 4" }));
  if (Number.isFinite(slope)) out.append(line(slope, x, y, { stroke: "var(--accent)", "stroke-width": 2.2, class: "fit" }));
  const [, end] = within(1, x, y) as [[number, number], [number, number]];
  out.append(
    svg("text", { class: "ax", x: x(end[0]) - 12, y: Math.max(frame.top + 10, y(end[1]) + 2), "text-anchor": "end" }, "full dosage, slope 1"),
    svg("text", { class: "ax", x: frame.right - 4, y: y(0) + 12, "text-anchor": "end" }, "no dosage, slope 0"));
  return out;
}

/** Between the interval's two lines, as a polygon kept in the frame by sampling. */
function band(lo: number, hi: number, x: Scale, y: Scale, frame: Frame): SVGPolygonElement {
  const [x0, x1] = x.domain;
  const inFrame = (v: number): number => Math.min(frame.bottom, Math.max(frame.top, v));
  const upper: string[] = [], lower: string[] = [];
  for (let i = 0; i <= 60; i++) {
    const at = x0 + ((x1 - x0) * i) / 60, ends = [lo * at, hi * at];
    upper.push(`${x(at).toFixed(1)},${inFrame(y(Math.max(...ends))).toFixed(1)}`);
    lower.unshift(`${x(at).toFixed(1)},${inFrame(y(Math.min(...ends))).toFixed(1)}`);
  }
  return svg("polygon", { points: [...upper, ...lower].join(" "), fill: "var(--accent)", "fill-opacity": 0.13 });
}

function mark(p: Point, colour: string, x: Scale, y: Scale, radius: number): SVGGElement {
  const cx = x(p.copy), cy = y(p.y), out = svg("g", { "data-tip": pointText(p), class: p.malignant ? "clone" : "normal" });
  if (Number.isFinite(p.se)) {
    out.append(svg("line", { x1: cx, x2: cx, y1: y(p.y - p.se), y2: y(p.y + p.se), stroke: colour, "stroke-width": 1.5, "stroke-opacity": p.malignant ? 1 : 0.6 }));
  }
  out.append(p.malignant
    ? svg("circle", { cx, cy, r: radius, fill: colour, "fill-opacity": 0.9, stroke: "var(--card)" })
    : svg("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, fill: "var(--card)", stroke: colour, "stroke-width": 1.8 }));
  return out;
}
