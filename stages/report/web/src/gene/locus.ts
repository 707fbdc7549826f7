// The gene's place: slopes of its chromosome's genes above the clones' copy number. A gene that escapes among
// neighbours that follow is another claim than a whole arm that does not.

import { extent } from "d3-array";
import { linear, type Scale } from "../lib/scale";
import type { Genes } from "../data/genes";
import { drawing, svg } from "../lib/dom";
import { fixed } from "../lib/format";
import { classColour, patientColour, yTitle, type Frame } from "./chart";

const HEIGHT = 230;
const TOP: Omit<Frame, "left" | "right"> = { top: 8, bottom: 112 };
const BELOW: Omit<Frame, "left" | "right"> = { top: 128, bottom: HEIGHT - 24 };

export function locusChart(genes: Genes, g: number, width: number, go: (gene: number) => void): SVGSVGElement | null {
  const code = genes.chromosomeCode(g);
  const here = code < 0 ? [] : genes.onChromosome(code);
  if (here.length < 2 || !genes.start(g)) return null;
  const left = 42, right = width - 10;
  const x = linear([genes.start(here[0]!), genes.start(here[here.length - 1]!)], [left, right]);
  const out = drawing(width, HEIGHT, `${genes.chromosome(g)}: slopes of its tested genes above the copy number of the clones, with ${genes.name(g)} marked at ${(genes.start(g) / 1e6).toFixed(1)} Mb`);
  slopes(out, genes, g, here, x, { left, right, ...TOP }, go);
  copies(out, genes, here, x, { left, right, ...BELOW });
  out.append(svg("line", { x1: x(genes.start(g)), x2: x(genes.start(g)), y1: 2, y2: HEIGHT - 20, stroke: "var(--accent)", "stroke-dasharray": "3 2", "pointer-events": "none" }));
  for (const t of x.ticks(Math.max(3, Math.round(width / 90))).filter((tick) => x(tick) > left + 12)) {
    out.append(svg("text", { class: "ax", x: x(t), y: HEIGHT - 6, "text-anchor": "middle" }, (t / 1e6).toFixed(0)));
  }
  out.append(svg("text", { class: "ax", x: left - 4, y: HEIGHT - 6, "text-anchor": "end" }, "Mb"));
  return out;
}

function slopes(
  out: SVGSVGElement, genes: Genes, gene: number, here: readonly number[], x: Scale, frame: Frame, go: (gene: number) => void,
): void {
  const y = linear([-1.5, 2.5], [frame.bottom, frame.top], true);
  for (const t of [0, 1]) {
    out.append(
      svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(t), y2: y(t) }),
      svg("text", { class: "ax", x: frame.left - 5, y: y(t) + 3, "text-anchor": "end" }, String(t)));
  }
  out.append(yTitle(frame, "slope"));
  const tested = here.filter((g) => genes.isTested(g) || g === gene).filter((g) => Number.isFinite(genes.value("slope", g)));
  // What escapes, and the gene itself, lie on top.
  tested.sort((a, b) => Number(a === gene) - Number(b === gene) || genes.classCode(a) - genes.classCode(b));
  for (const g of tested) {
    const colour = classColour(genes.className(g)), at = x(genes.start(g)), slope = genes.value("slope", g);
    const mark = svg("g", { class: "go", "data-gene": genes.name(g), "data-tip": `${genes.name(g)}: slope ${fixed(slope)} (95 % ${fixed(genes.value("lo", g))} to ${fixed(genes.value("hi", g))}), ${genes.className(g)}` },
      svg("line", { x1: at, x2: at, y1: y(genes.value("lo", g)), y2: y(genes.value("hi", g)), stroke: colour, "stroke-opacity": g === gene || genes.escapes(g) ? 0.8 : 0.25 }),
      svg("circle", { cx: at, cy: y(slope), r: g === gene ? 5.5 : genes.escapes(g) ? 4 : 2.6, fill: colour, stroke: "var(--card)", "stroke-width": 0.7 }));
    mark.addEventListener("click", () => go(g));
    out.append(mark);
  }
}

function copies(out: SVGSVGElement, genes: Genes, here: readonly number[], x: Scale, frame: Frame): void {
  const clones = genes.head.groups.map((group, i) => ({ ...group, i })).filter((group) => group.malignant);
  const all = clones.flatMap((c) => here.map((g) => genes.copyAsUsual(c.i, g))).filter(Number.isFinite);
  const [low, high] = extent([-0.3, 0.3, ...quantileEnds(all)]) as [number, number];
  const y = linear([low, high], [frame.bottom, frame.top], true);
  out.append(
    svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(0), y2: y(0) }),
    ...[0, ...y.ticks(3)].filter((t, i, list) => list.indexOf(t) === i).map((t) =>
      svg("text", { class: "ax", x: frame.left - 5, y: y(t) + 3, "text-anchor": "end" }, fixed(t, t ? 1 : 0))),
    yTitle(frame, "log copy"));
  const every = Math.max(1, Math.floor(here.length / (clones.length > 60 ? 80 : 300)));
  for (const clone of clones) {
    const places = here.map((g) => [x(genes.start(g)), y(genes.copyAsUsual(clone.i, g))] as const)
      .filter(([, v]) => Number.isFinite(v)).filter((_, i) => i % every === 0);
    if (places.length < 2) continue;
    out.append(svg("polyline", {
      points: places.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" "), fill: "none",
      stroke: patientColour(genes.head.patients, clone.patient), "stroke-width": clones.length > 15 ? 1 : 1.5, "stroke-opacity": 0.85,
      "data-tip": `${clone.patient} ${clone.clone}, ${clone.type}`,
    }));
  }
}

/** Nearly all of the values: one wild gene must not flatten the profiles. */
function quantileEnds(values: number[]): number[] {
  if (!values.length) return [];
  const sorted = Float64Array.from(values).sort(), at = Math.floor(sorted.length * 0.002);
  return [sorted[at]!, sorted[sorted.length - 1 - at]!];
}
