// Painting of cells as small discs straight into an image: 80,000 of them take milliseconds without a GPU.

import type { Colouring } from "./colouring";

/** Place of a map in its panel: pixels = offset + scale x value, for values from 0 to 1. */
export interface Placement { readonly x: number; readonly y: number; readonly scale: number }

/** Offsets of a disc's pixels and how much of each it covers, 0 to 256. */
interface Disc { readonly dx: Int8Array; readonly dy: Int8Array; readonly cover: Uint16Array; readonly reach: number }

export interface Scene {
  readonly places: Float32Array;
  readonly order: Uint32Array;
  readonly colours: Colouring;
  /** Pixel of cells that are not selected, or have no value. */
  readonly dim: number;
  readonly selected: Uint8Array | null;
  readonly radius: number;
}

/** Radius of a cell in device pixels: less where there are more of them. */
export function radiusOf(n: number, zoom: number, ratio: number): number {
  const base = n < 2000 ? 2.6 : n < 8000 ? 2 : n < 30_000 ? 1.5 : 1.1;
  return Math.min(5, base * Math.sqrt(zoom)) * ratio;
}

function disc(radius: number): Disc {
  const reach = Math.ceil(radius);
  const dx: number[] = [], dy: number[] = [], cover: number[] = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const share = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y)));
      if (share <= 0.05) continue;
      dx.push(x);
      dy.push(y);
      cover.push(Math.round(share * 256));
    }
  }
  return { dx: Int8Array.from(dx), dy: Int8Array.from(dy), cover: Uint16Array.from(cover), reach };
}

/** The image of a scene. */
export function cellImage(scene: Scene, at: Placement, width: number, height: number): ImageData {
  const image = new ImageData(width, height), out = new Uint32Array(image.data.buffer);
  const stamp = disc(scene.radius), { colours, selected, dim } = scene;
  const hasColour = (cell: number): boolean => colours.codes[cell]! < colours.pixels.length;
  // What is not asked about lies below the rest.
  draw(out, width, height, scene, at, stamp, (cell) => (!hasColour(cell) || (selected !== null && !selected[cell]) ? dim : -1));
  draw(out, width, height, scene, at, stamp, (cell) => (hasColour(cell) && (selected === null || selected[cell]) ? colours.pixels[colours.codes[cell]!]! : -1));
  return image;
}

function draw(
  out: Uint32Array, width: number, height: number, scene: Scene, at: Placement, stamp: Disc, colourOf: (cell: number) => number,
): void {
  const { places, order } = scene, { dx, dy, cover, reach } = stamp, n = dx.length;
  for (let i = 0; i < order.length; i++) {
    const cell = order[i]!, colour = colourOf(cell);
    if (colour < 0) continue;
    const x = Math.round(at.x + at.scale * places[2 * cell]!), y = Math.round(at.y + at.scale * places[2 * cell + 1]!);
    // False for NaN too: the cell is not on this map.
    if (!(x >= reach && y >= reach && x < width - reach && y < height - reach)) continue;
    for (let k = 0; k < n; k++) {
      const p = (y + dy[k]!) * width + x + dx[k]!;
      out[p] = cover[k] === 256 ? colour : blend(out[p]!, colour, cover[k]!);
    }
  }
}

/** `colour` over a pixel, which may still be empty. */
function blend(under: number, colour: number, cover: number): number {
  const alpha = under >>> 24;
  if (alpha === 0) return ((colour & 0xffffff) | ((cover - 1) << 24)) >>> 0;
  const rest = 256 - cover;
  const rb = (((under & 0xff00ff) * rest + (colour & 0xff00ff) * cover) >>> 8) & 0xff00ff;
  const g = (((under & 0x00ff00) * rest + (colour & 0x00ff00) * cover) >>> 8) & 0x00ff00;
  return ((Math.max(alpha, cover - 1) << 24) | rb | g) >>> 0;
}
