// Colours of categories and numbers. They are CSS variables, so that themes and print change them; painters
// of canvases ask for them as numbers.

import { cssVariable } from "./dom";

export type Rgb = readonly [number, number, number];

const CATEGORIES = 16;

/** Values that mean the same on every page have a colour of their own, also in the static figures. */
const NAMED: Readonly<Record<string, string>> = {
  Malignant: "--high", Cancer: "--high", discordant: "--high", tumour: "--high",
  Normal: "--low", concordant: "--low", normal: "--low",
  intermediate: "--dim", "": "--dim",
};

/** A CSS colour of the category at this place. */
export function categoryColour(index: number, label = "\0"): string {
  const named = NAMED[label];
  if (named) return `var(${named})`;
  if (index < CATEGORIES) return `var(--p${index})`;
  // Beyond the palette: hues a golden angle apart, which no two neighbours share.
  return `hsl(${Math.round((index * 137.508) % 360)} 55% var(--far-light))`;
}

const probe = ((): ((colour: string) => Rgb) => {
  let context: CanvasRenderingContext2D | null = null;
  return (colour) => {
    context ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
      .getContext("2d", { willReadFrequently: true })!;
    context.fillStyle = "#000";
    context.fillStyle = colour;
    context.clearRect(0, 0, 1, 1);
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
    return [r!, g!, b!];
  };
})();

/** A CSS colour, variables included, as it is in the present theme. */
export function resolve(colour: string): Rgb {
  return probe(colour.replace(/var\((--[\w-]+)\)/g, (_, name: string) => cssVariable(name)));
}

export function mix(a: Rgb, b: Rgb, t: number): Rgb {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}

/** `steps` colours from the lowest to the highest number. */
export function numberRamp(steps: number): Rgb[] {
  const stops = [0, 1, 2, 3, 4].map((i) => resolve(`var(--r${i})`));
  return ramp(stops, steps);
}

/** `steps` colours from full loss over nothing to full gain; nothing has the ground's colour. */
export function copyRamp(steps: number): Rgb[] {
  return ramp([resolve("var(--loss)"), resolve("var(--card)"), resolve("var(--gain)")], steps);
}

function ramp(stops: readonly Rgb[], steps: number): Rgb[] {
  return Array.from({ length: steps }, (_, i) => {
    const at = (i / (steps - 1)) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    return mix(stops[k]!, stops[k + 1]!, at - k);
  });
}

/** The colour as one little-endian pixel. */
export function pixel([r, g, b]: Rgb): number {
  return ((255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r)) >>> 0;
}
