// How a selection stands in the address.

import assert from "node:assert/strict";
import { test } from "node:test";
import { both, follow, labelCodes, ofGroup, ofLabels, ofLasso, polygon, simplified } from "../../src/cells/recipe";
import type { Cells } from "../../src/data/cells";

/** Four cells in the corners of a map; the last lies on no map. */
const cells = {
  head: { maps: [{ title: "map" }], columns: [] },
  n: 5,
  map: () => Float32Array.from([0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9, NaN, NaN]),
  column: (key: string) => (key === "a.b~c" ? { key, title: "Type", kind: "category", labels: ["T", "B"] } : undefined),
  codes: () => Uint8Array.from([0, 1, 0, 255, 1]),
  ofGroup: (index: number) => Uint8Array.from([0, 0, 0, 0, 0].map((_, i) => Number(i === index))),
} as unknown as Cells;

const groupName = (index: number): string => (index < 5 ? `P1 clone ${index}` : "");
const made = (recipe: string): [number[], string] | null => {
  const found = follow(recipe, cells, groupName);
  return found && [[...found.cells], found.name];
};

test("labels, groups and lassos are made again, alone and together", () => {
  const left = ofLasso(0, [0, 0, 0.5, 0, 0.5, 1, 0, 1]);
  assert.deepEqual(made(left), [[1, 0, 1, 0, 0], "lasso"]);
  assert.equal(left.length, 3 + 4 * 6);
  const label = ofLabels("a.b~c", [1]);
  assert.deepEqual(made(label), [[0, 1, 0, 0, 1], "Type: B"]);
  assert.deepEqual(labelCodes(ofLabels("a.b~c", [1, 0]), "a.b~c"), [0, 1]);
  assert.deepEqual(labelCodes(both(label, left), "a.b~c"), []);
  assert.deepEqual(made(ofGroup(3)), [[0, 0, 0, 1, 0], "P1 clone 3"]);
  assert.deepEqual(made(both(ofGroup(3), left)), [[1, 0, 1, 1, 0], "P1 clone 3 and a lasso"]);
  assert.equal(ofGroup(-1), "");
  assert.equal(both("", left), "");
});

test("corners keep their place to a hundred-thousandth of the map, beyond its border too", () => {
  const line = [-0.2, 1.2, 0.123456, 0.654321, 0.5, 0.5];
  polygon(ofLasso(0, line).slice(3))!.forEach((v, i) => assert.ok(Math.abs(v - line[i]!) < 5e-6, `${v}`));
});

test("what is no recipe of this page selects nothing", () => {
  for (const wrong of ["x", "l0.", "l0.AAA", `l7.${"A".repeat(24)}`, `l0.${"<".repeat(24)}`, "g.9", "g.-1", "g.1.2", "c.nothing.0", "c.a%2Eb%7Ec.x", "c.%E0%A4%A.0", "~", "g.1~"]) assert.equal(made(wrong), null, wrong);
});

test("a line keeps its corners and its shape with fewer points", () => {
  const square: number[] = [];
  for (const [x, y, dx, dy] of [[0, 0, 1, 0], [1, 0, 0, 1], [1, 1, -1, 0], [0, 1, 0, -1]] as const) for (let i = 0; i < 64; i++) square.push(x + (dx * i) / 64, y + (dy * i) / 64);
  const few = simplified(square, 0.001);
  assert.deepEqual(few, [0, 0, 1, 0, 1, 1, 0, 1, 0, 1 / 64]);
  // However ragged the line, the address stays short.
  const ragged = Array.from({ length: 4000 }, (_, i) => Math.abs(Math.sin(i * 12.9898) * 43758.5453) % 1);
  assert.ok(simplified(ragged, 1e-6).length <= 128);
});
