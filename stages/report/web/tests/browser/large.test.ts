// A page of 80,576 cells, 18,965 genes and 40 clones: how fast it is. Times are the best of several, since other
// programs may be at work; the bounds are far from what was measured.

import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { after, test } from "node:test";
import { largePage, open, picture, quit, shown } from "./harness";

after(quit);

const MOST_PAINT_MS = 100;
const MOST_TRIES = 60;

test("a large page: first paint, gene view, paints, memory", async (t) => {
  const path = largePage();
  const { page, faults } = await open(path);
  const first = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN);
  await shown(page, "gene");
  const ready = await page.evaluate(() => [performance.getEntriesByName("page-ready")[0]!.startTime, performance.getEntriesByName("ready-gene")[0]!.startTime]);
  for (const id of ["genome", "cells", "all-genes"]) await shown(page, id);
  await page.evaluate(() => document.getElementById("cells")!.scrollIntoView());
  const best = (name: string): Promise<number> => page.evaluate((n) => Math.min(...performance.getEntriesByName(n).map((e) => e.duration)), name);
  // At least six paints of each map, more where other programs take the processor.
  for (let i = 0; i < MOST_TRIES && (i < 6 || (await best("paint-cells-0")) > MOST_PAINT_MS || (await best("paint-cells-1")) > MOST_PAINT_MS); i++) {
    for (const panel of [0, 1]) await page.getByRole("button", { name: i % 2 ? "Fit: show the whole map" : "Zoom in on this map" }).nth(panel).click();
  }
  const box = (await page.locator(".cell-canvas").first().boundingBox())!;
  for (let k = 0; k < 3; k++) {
    await page.mouse.move(box.x + 20, box.y + 20);
    await page.mouse.down();
    for (const [x, y] of [[0.9, 0.05], [0.9, 0.6], [0.1, 0.6]] as const) await page.mouse.move(box.x + x * box.width, box.y + y * box.height, { steps: 5 });
    await page.mouse.up();
  }
  await page.getByRole("button", { name: "Clear selection" }).click();
  await page.evaluate(() => document.getElementById("genome")!.scrollIntoView());
  for (let i = 0; i < 6; i++) await page.locator("#genome").getByRole("button", { name: i % 2 ? "Zoom out" : "Zoom in", exact: true }).click();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const times = await page.evaluate(() => {
    const sorted = (name: string): number[] => performance.getEntriesByName(name).map((e) => e.duration).sort((a, b) => a - b);
    return { cells: sorted("paint-cells-0"), other: sorted("paint-cells-1"), lasso: sorted("lasso"), genome: sorted("paint-genome") };
  });
  // A gene's view from a click to its frame.
  await page.evaluate(() => document.getElementById("all-genes")!.scrollIntoView());
  const clicked: number[] = [];
  for (let i = 0; i < 5; i++) {
    clicked.push(await page.evaluate(async (n) => {
      const from = performance.now();
      document.querySelectorAll<HTMLElement>("#all-genes tbody th a")[n]!.click();
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return performance.now() - from;
    }, i));
  }
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = (await session.send("Performance.getMetrics")) as { metrics: { name: string; value: number }[] };
  const heap = metrics.find((m) => m.name === "JSHeapUsedSize")!.value;
  const buffers = await page.evaluate(() => (performance as unknown as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? NaN);
  const show = (list: readonly number[]): string => `best ${list[0]?.toFixed(0)}, middle ${list[list.length >> 1]?.toFixed(0)}, worst ${list[list.length - 1]?.toFixed(0)} ms of ${list.length}`;
  t.diagnostic(`page of ${(statSync(path).size / 1e6).toFixed(1)} MB: first paint ${first.toFixed(0)} ms, script done ${ready[0]!.toFixed(0)} ms, gene view ${ready[1]!.toFixed(0)} ms`);
  t.diagnostic(`paint of 80,576 cells, left map: ${show(times.cells)}; right map: ${show(times.other)}`);
  t.diagnostic(`lasso over them: ${show(times.lasso)}; heatmap of 4,010 rows: ${show(times.genome)}`);
  t.diagnostic(`from a click on a gene to its view: ${show([...clicked].sort((a, b) => a - b))}`);
  t.diagnostic(`memory with everything unpacked: ${(heap / 1e6).toFixed(0)} MB of objects, ${(buffers / 1e6).toFixed(0)} MB with arrays`);
  await picture(page, "large-genes");
  assert.ok(times.cells[0]! < MOST_PAINT_MS && times.other[0]! < MOST_PAINT_MS, `cells painted in ${times.cells[0]} and ${times.other[0]} ms`);
  assert.deepEqual(faults, []);
  await page.context().close();
});
