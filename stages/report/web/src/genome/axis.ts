// The heatmap's axis: names of chromosomes, which zoom to them, places within a wide one, titles of the bars.

import { button, el } from "../lib/dom";
import { fixed } from "../lib/format";
import { store } from "../lib/store";
import { BAR, BAR_GAP, placeOf, type Scene } from "./marks";

/** Width from which a chromosome has room for places, and of a place, px. */
const WIDE = 260;
const PLACE = 110;
/** Lines that names step up to where they would touch, and the height of one, px. */
const LEVELS = 4;
const LINE = 13;

/** Draw the axis anew; `offset` is the canvas' left edge in it. The name that has the focus keeps it. */
export function drawAxis(axis: HTMLElement, scene: Scene, offset: number, titles: readonly (readonly [full: string, short: string])[]): void {
  const ends = Array.from({ length: LEVELS }, () => -99);
  const names: HTMLButtonElement[] = [], places: HTMLElement[] = [];
  for (const span of scene.genome.spans) {
    const a = Math.max(scene.left, placeOf(scene, span.from)), b = Math.min(scene.right, placeOf(scene, span.to));
    if (b - a < 1) continue;
    const wide = b - a > WIDE;
    if (wide) places.push(...placesWithin(scene, Math.max(span.from, scene.from), Math.min(span.to, scene.to), b - a, offset));
    const text = span.name.replace(/^chr/, ""), half = 2 + text.length * 3.5, middle = (a + b) / 2;
    const level = ends.findIndex((end, i) => middle - half >= end && (i > 0 || !wide));
    if (level < 0) continue;
    ends[level] = middle + half;
    const press = button(text, () => store.set({ genome: { chromosome: span.name } }, "push"), { "aria-label": `Chromosome ${text}` });
    press.style.left = `${offset + middle}px`;
    press.style.bottom = `${level * LINE}px`;
    names.push(press);
  }
  const bars = titles.map(([full, short], s) => el("span", { style: `left:${offset + s * (BAR + BAR_GAP)}px`, "data-tip": `Bar: ${full}` }, short));
  const focused = [...axis.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement);
  axis.replaceChildren(...bars, ...places, ...names);
  if (focused >= 0) names[Math.min(focused, names.length - 1)]?.focus({ preventScroll: true });
}

/** Middles of windows, in Mb, evenly along the axis: windows hold equal numbers of genes, not of bases. */
function placesWithin(scene: Scene, from: number, to: number, width: number, offset: number): HTMLElement[] {
  const count = Math.max(2, Math.floor(width / PLACE)), { genome } = scene;
  const windows = Array.from({ length: count }, (_, i) => Math.floor(from + ((to - from) * (i + 0.5)) / count));
  return [...new Set(windows)].filter((w) => w >= 0 && w < genome.windows).map((w) => {
    const mb = (genome.start(w) + genome.end(w)) / 2e6;
    return el("i", { style: `left:${offset + placeOf(scene, w + 0.5)}px` }, `${fixed(mb, mb < 10 ? 1 : 0)} Mb`);
  });
}
