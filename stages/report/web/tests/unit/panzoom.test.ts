// Places after moving and zooming.

import assert from "node:assert/strict";
import { test } from "node:test";
import { within, zoomed, type Bounds } from "../../src/lib/panzoom";

const BOUNDS: Bounds = { left: 40, right: 240, top: 0, bottom: 100 };

test("what lies at the point of a zoom stays there", () => {
  const before = { x: -30, y: 5, k: 2 }, after = zoomed(before, 1.5, 100, 50, 40);
  assert.equal(after.k, 3);
  const base = (100 - before.x) / before.k;
  assert.equal(after.x + after.k * base, 100);
});

test("the zoom has its limits, and at the limit nothing moves", () => {
  assert.deepEqual(zoomed({ x: -30, y: 0, k: 4 }, 2, 100, 50, 4), { x: -30, y: 0, k: 4 });
  assert.equal(zoomed({ x: 0, y: 0, k: 1 }, 0.5, 100, 50, 4).k, 1);
});

test("the picture fills its bounds", () => {
  // At k = 2 the left edge lies at x + 80 and must not be right of 40, the right one at x + 480 not left of 240.
  assert.deepEqual(within({ x: 50, y: 9, k: 2 }, BOUNDS, 40), { k: 2, x: -40, y: 0 });
  assert.deepEqual(within({ x: -900, y: -900, k: 2 }, BOUNDS, 40), { k: 2, x: -240, y: -100 });
  assert.deepEqual(within({ x: 7, y: 7, k: 0.2 }, BOUNDS, 40), { k: 1, x: 0, y: 0 });
});
