// How a selection of cells was made, as a text that stands in the address: any of them can be made again from it.
//
// Parts are joined by `~`, and a cell is selected if any of them holds it:
// `c.KEY.0.3` labels of a column by their codes; `g.5` a group of the heatmap; `l0.POINTS` a lasso on a map, whose
// points have six letters each, three for x and three for y.

import type { Cells } from "../data/cells";
import { inside, union, type Polygon } from "./lasso";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** A lasso may leave the map, which lies from 0 to 1, by this much on either side. */
const MARGIN = 0.25;
const STEPS = 64 ** 3 - 1;
/** Corners of a lasso in the address. */
const MOST_POINTS = 64;

/** A column's key without the letters that part a recipe. */
const quoted = (key: string): string => encodeURIComponent(key).replaceAll(".", "%2E").replaceAll("~", "%7E");

export const ofLabels = (key: string, codes: readonly number[]): string => (codes.length ? `c.${quoted(key)}.${[...codes].sort((a, b) => a - b).join(".")}` : "");
export const ofGroup = (index: number): string => (index < 0 ? "" : `g.${index}`);
export const ofLasso = (map: number, polygon: Polygon): string => `l${map}.${polygon.map(letters).join("")}`;
export const both = (a: string, b: string): string => (a && b ? `${a}~${b}` : "");

function letters(value: number): string {
  const step = Math.round(((Math.min(Math.max(value, -MARGIN), 1 + MARGIN) + MARGIN) / (1 + 2 * MARGIN)) * STEPS);
  return LETTERS[step >> 12]! + LETTERS[(step >> 6) & 63]! + LETTERS[step & 63]!;
}

/** The polygon of a text; null where it is none. */
export function polygon(text: string): Polygon | null {
  if (text.length < 18 || text.length % 6) return null;
  const out: number[] = [];
  for (let i = 0; i < text.length; i += 3) {
    const [a, b, c] = [0, 1, 2].map((k) => LETTERS.indexOf(text[i + k]!)) as [number, number, number];
    if (a < 0 || b < 0 || c < 0) return null;
    out.push(((a * 4096 + b * 64 + c) / STEPS) * (1 + 2 * MARGIN) - MARGIN);
  }
  return out;
}

/** Codes of the column's labels that a selection is made of; none where it is made otherwise. */
export function labelCodes(recipe: string, key: string): number[] {
  const parts = recipe.split("."), start = ofLabels(key, [0]).slice(0, -1);
  return !recipe.includes("~") && recipe.startsWith(start) ? parts.slice(2).map(Number) : [];
}

/** The cells of a recipe, and what they are in words; null where it names nothing that this page has. */
export function follow(recipe: string, cells: Cells, groupName: (index: number) => string): { cells: Uint8Array; name: string } | null {
  let found: Uint8Array | null = null;
  const names: string[] = [];
  for (const part of recipe.split("~")) {
    const one = followPart(part, cells, groupName);
    if (!one) return null;
    found = union(found, one.cells);
    names.push(one.name);
  }
  return found && { cells: found, name: names.join(" and a ") };
}

function followPart(part: string, cells: Cells, groupName: (index: number) => string): { cells: Uint8Array; name: string } | null {
  const [kind = "", ...rest] = part.split(".");
  if (/^l\d+$/.test(kind)) {
    const map = Number(kind.slice(1)), line = polygon(rest.join("."));
    return line && map < cells.head.maps.length ? { cells: inside(line, cells.map(map)), name: "lasso" } : null;
  }
  const numbers = rest.slice(kind === "c" ? 1 : 0).map(Number);
  if (!numbers.length || !numbers.every((n) => Number.isInteger(n) && n >= 0)) return null;
  if (kind === "g") return numbers.length === 1 && groupName(numbers[0]!) ? { cells: cells.ofGroup(numbers[0]!, "", ""), name: groupName(numbers[0]!) } : null;
  const column = kind === "c" ? cells.column(plain(rest[0]!)) : undefined;
  if (!column?.labels) return null;
  const codes = cells.codes(column.key), wanted = new Set(numbers);
  const out = Uint8Array.from(codes, (code) => Number(code < column.labels!.length && wanted.has(code)));
  return { cells: out, name: `${column.title}: ${numbers.map((n) => column.labels![n] ?? "").join(", ")}` };
}

function plain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** The line with as few corners as the address takes, none farther than `near` from it; more where it has too many. */
export function simplified(line: Polygon, near: number): Polygon {
  for (let tolerance = near; ; tolerance *= 1.5) {
    const kept = new Uint8Array(line.length / 2), last = kept.length - 1;
    kept[0] = kept[last] = 1;
    thin(line, 0, last, tolerance, kept);
    const out = line.filter((_, i) => kept[i >> 1]);
    if (out.length <= 2 * MOST_POINTS || tolerance > 1) return out;
  }
}

/** Douglas and Peucker: keeps the corner that is farthest from the line between two kept ones, if it is far. */
function thin(line: Polygon, first: number, last: number, tolerance: number, kept: Uint8Array): void {
  const [x, y] = [line[2 * first]!, line[2 * first + 1]!], dx = line[2 * last]! - x, dy = line[2 * last + 1]! - y, length = Math.hypot(dx, dy);
  let farthest = -1, most = tolerance;
  for (let i = first + 1; i < last; i++) {
    const [px, py] = [line[2 * i]! - x, line[2 * i + 1]! - y];
    const far = length > 0 ? Math.abs(dx * py - dy * px) / length : Math.hypot(px, py);
    if (far > most) [farthest, most] = [i, far];
  }
  if (farthest < 0) return;
  kept[farthest] = 1;
  thin(line, first, farthest, tolerance, kept);
  thin(line, farthest, last, tolerance, kept);
}
