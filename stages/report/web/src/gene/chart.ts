// What the charts of a gene share: axes, colours of patients, labels that do not touch.

import { categoryColour } from "../lib/colours";
import { fixed } from "../lib/format";
import { svg } from "../lib/dom";
import type { Scale } from "../lib/scale";

/** Inner edges of a plot, in px. */
export interface Frame { readonly left: number; readonly right: number; readonly top: number; readonly bottom: number }

export function patientColour(patients: readonly string[], patient: string): string {
  return categoryColour(Math.max(0, patients.indexOf(patient)));
}

/** Colour of a class, also used by tags. */
export function classColour(name: string): string {
  const known: Record<string, string> = {
    insensitive: "var(--t1)", "over-compensated": "var(--t2)", sensitive: "var(--t3)", unresolved: "var(--soft)",
  };
  return known[name] ?? "var(--dim)";
}

const digitsOf = (ticks: readonly number[]): number => {
  const step = Math.abs((ticks[1] ?? 1) - (ticks[0] ?? 0));
  return step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
};

export function xAxis(scale: Scale, frame: Frame, title: string, lines = true): SVGGElement {
  const ticks = scale.ticks(Math.max(3, Math.round((frame.right - frame.left) / 80)));
  const digits = digitsOf(ticks);
  return svg("g", {},
    ...ticks.flatMap((t) => [
      lines && svg("line", { class: "grid", x1: scale(t), x2: scale(t), y1: frame.top, y2: frame.bottom }),
      svg("text", { class: "ax", x: scale(t), y: frame.bottom + 14, "text-anchor": "middle" }, fixed(t, digits)),
    ]),
    svg("text", { class: "ax", x: (frame.left + frame.right) / 2, y: frame.bottom + 29, "text-anchor": "middle" }, title));
}

export function yAxis(scale: Scale, frame: Frame, title: string): SVGGElement {
  const ticks = scale.ticks(6), digits = digitsOf(ticks);
  return svg("g", {},
    ...ticks.flatMap((t) => [
      svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: scale(t), y2: scale(t) }),
      svg("text", { class: "ax", x: frame.left - 6, y: scale(t) + 3, "text-anchor": "end" }, fixed(t, digits)),
    ]),
    yTitle(frame, title));
}

export function yTitle(frame: Frame, title: string): SVGTextElement {
  const middle = (frame.top + frame.bottom) / 2;
  return svg("text", { class: "ax", transform: `translate(11 ${middle}) rotate(-90)`, "text-anchor": "middle" }, title);
}

interface Box { readonly x: number; readonly y: number; readonly w: number; readonly h: number }

const touches = (a: Box, b: Box): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/** Places labels beside points; one that has no free place is left out, since its point says it on hover. */
export class Labels {
  readonly #taken: Box[] = [];
  readonly #frame: Frame;

  constructor(frame: Frame) {
    this.#frame = frame;
  }

  /** Keep labels off a point. */
  block(x: number, y: number, radius: number): void {
    this.#taken.push({ x: x - radius, y: y - radius, w: 2 * radius, h: 2 * radius });
  }

  place(text: string, x: number, y: number, radius: number): { x: number; y: number; anchor: string } | null {
    const w = text.length * 6.1, h = 12, gap = radius + 3;
    const places = [
      { x: x + gap, y: y - h / 2, anchor: "start" }, { x: x - gap - w, y: y - h / 2, anchor: "end" },
      { x: x + gap - 2, y: y - gap - h + 4, anchor: "start" }, { x: x + gap - 2, y: y + gap - 4, anchor: "start" },
      { x: x - gap - w + 2, y: y - gap - h + 4, anchor: "end" }, { x: x - gap - w + 2, y: y + gap - 4, anchor: "end" },
    ];
    for (const p of places) {
      const box = { x: p.x, y: p.y, w, h };
      const inside = p.x >= this.#frame.left && p.x + w <= this.#frame.right && p.y >= this.#frame.top && p.y + h <= this.#frame.bottom;
      if (!inside || this.#taken.some((other) => touches(box, other))) continue;
      this.#taken.push(box);
      return { x: p.anchor === "start" ? p.x : p.x + w, y: p.y + h - 3, anchor: p.anchor };
    }
    return null;
  }
}
