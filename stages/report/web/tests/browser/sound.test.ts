// What must hold of the whole page: accessible, readable at any width, nothing fetched, nothing run from data,
// whole without scripts and on paper.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, test } from "node:test";
import type { Page } from "playwright-core";
import { demoPage, isMadeUp, madeUp, open, picture, quit, showAll, shown, VIEWS, written } from "./harness";

after(quit);

const path = demoPage();
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Violation { id: string; impact: string; nodes: { target: string[]; failureSummary?: string }[] }

/** Violations of WCAG 2.2 A and AA and of axe's best practice that are serious or critical. */
async function violations(page: Page): Promise<Violation[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run: (context: unknown, options: unknown) => Promise<{ violations: Violation[] }> } };
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    // Clones' names are as high as their rows: pointers smaller than 24 px have the legend as another way.
    const found = await axe.run(document, { runOnly: { type: "tag", values: tags }, rules: { "target-size": { enabled: false } } });
    return found.violations.filter((v) => v.impact === "serious" || v.impact === "critical");
  });
}

const told = (found: readonly Violation[]): string => found.map((v) => `${v.id} (${v.impact}): ${v.nodes.slice(0, 4).map((n) => `${n.target.join(" ")} ${n.failureSummary ?? ""}`).join(" | ")}`).join("\n");

for (const [name, options] of [
  ["light", { colorScheme: "light" }], ["dark", { colorScheme: "dark" }], ["390 px", { viewport: { width: 390, height: 844 }, colorScheme: "light" }],
] as const) {
  test(`axe finds nothing serious: ${name}`, async () => {
    const { page, faults } = await open(path, "", options);
    await showAll(page);
    assert.equal(told(await violations(page)), "");
    assert.deepEqual(faults, []);
    // The control: what is seeded is found.
    await page.evaluate(() => {
      const button = document.createElement("button"), words = document.createElement("p");
      words.textContent = "Hardly to be read";
      words.style.cssText = "color:#999;background:#aaa";
      document.querySelector("main")!.append(button, words);
    });
    const seeded = (await violations(page)).map((v) => v.id);
    assert.ok(seeded.includes("button-name") && seeded.includes("color-contrast"), `found ${seeded.join()}`);
    await page.context().close();
  });
}

/** WCAG's relative luminance and contrast. */
function contrast(a: readonly number[], b: readonly number[]): number {
  const luminance = (c: readonly number[]): number => {
    const [r, g, bl] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * bl!;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
}

test("the style's colours have their contrast in both themes (axe cannot judge text in SVG or canvas)", async () => {
  // Text 4.5; marks that carry meaning 3.
  const text = ["--ink", "--soft", "--accent", "--warn", "--t1", "--t2", "--t3", "--fig-ink", "--fig-axis"];
  const marks = ["--loss", "--gain", "--high", "--low", "--edge", ...Array.from({ length: 16 }, (_, i) => `--p${i}`)];
  for (const colorScheme of ["light", "dark"] as const) {
    const { page } = await open(path, "", { colorScheme });
    const colours = await page.evaluate((names) => {
      const context = document.createElement("canvas").getContext("2d")!;
      return Object.fromEntries(names.map((name) => {
        context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        context.fillRect(0, 0, 1, 1);
        return [name, [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)];
      }));
    }, [...text, ...marks, "--card", "--ground", "--warn-bg"]);
    const poor: string[] = [];
    const check = (name: string, on: string, least: number): void => {
      const found = contrast(colours[name]!, colours[on]!);
      if (found < least) poor.push(`${colorScheme} ${name} on ${on}: ${found.toFixed(2)}, ${least} wanted`);
    };
    for (const name of text) for (const on of ["--card", "--ground"]) check(name, on, 4.5);
    check("--warn", "--warn-bg", 4.5);
    check("--card", "--accent", 4.5);
    for (const name of marks) check(name, "--card", 3);
    assert.deepEqual(poor, []);
    await page.context().close();
  }
  assert.ok(contrast([0, 0, 0], [255, 255, 255]) > 20.9 && contrast([119, 119, 119], [255, 255, 255]) < 4.5);
});

for (const width of [1280, 768, 390, 320]) {
  test(`nothing makes the page scroll sideways at ${width} px`, async () => {
    const { page } = await open(path, "", { viewport: { width, height: 800 } });
    await showAll(page);
    const wide = await page.evaluate(() => {
      const limit = document.documentElement.clientWidth;
      // What a box scrolls or cuts off is its own affair.
      const inBox = (node: Element): boolean => {
        for (let box = node.parentElement; box && box !== document.body; box = box.parentElement) {
          if (getComputedStyle(box).overflowX !== "visible") return true;
        }
        return false;
      };
      return {
        scrolls: document.documentElement.scrollWidth - limit,
        who: [...document.querySelectorAll("main *")].filter((n) => n.checkVisibility() && !inBox(n) && n.getBoundingClientRect().right > limit + 1).slice(0, 5).map((n) => `${n.tagName}.${n.className} ${n.getBoundingClientRect().right}`),
      };
    });
    assert.deepEqual(wide, { scrolls: 0, who: [] });
    for (const id of ["answer", ...VIEWS, "figures", "tables", "run"]) {
      if (!(await page.locator(`#${id}`).count())) continue;
      await page.evaluate((name) => document.getElementById(name)!.scrollIntoView(), id);
      await page.waitForTimeout(60);
      await picture(page, `${isMadeUp() ? "made-up" : "page"}-${width}-${id}`);
    }
    await page.context().close();
  });
}

test("the page asks nothing of the network or of other files, and reports no fault", async () => {
  const { page, asked, faults } = await open(path);
  await showAll(page);
  assert.deepEqual(asked, []);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("figures are drawn when their fold opens, pictures and all", async () => {
  const { page } = await open(path);
  const figures = page.locator("figure[data-figure]");
  if (!(await figures.count())) return;
  await page.evaluate(() => document.querySelectorAll("details").forEach((fold) => (fold.open = true)));
  const first = figures.first();
  await first.scrollIntoViewIfNeeded();
  await first.locator(".drawing svg").waitFor();
  const box = (await first.locator(".drawing svg").boundingBox())!;
  assert.ok(box.height > 60 && box.width > 60, `${box.width} x ${box.height}`);
  const heat = isMadeUp() ? page.locator("#figure-0") : page.locator("figure[data-figure][id^=cnv-heatmap]").first();
  if (await heat.count()) {
    await heat.scrollIntoViewIfNeeded();
    await heat.locator(".drawing svg").waitFor();
    assert.ok((await heat.locator(".drawing svg").boundingBox())!.height > 60);
    assert.ok(await heat.locator("image").count());
  }
  await page.context().close();
});

test("without scripts the answer is there, and each view says what it needs", async () => {
  const { page } = await open(path, "", { javaScriptEnabled: false });
  assert.ok(await page.locator("#answer .lead strong").isVisible());
  for (const id of ["gene", "genome", "cells"]) {
    if (await page.locator(`#${id}`).count()) assert.ok(await page.locator(`#${id} .needs-script`).isVisible(), id);
  }
  assert.equal(await page.locator("#theme").isVisible(), false);
  assert.equal(await page.locator("#q").isVisible(), false);
  await picture(page, "no-scripts");
  await page.context().close();
});

test("on paper: light, without tools, folds open, canvases kept", async () => {
  const { page } = await open(path, "", { colorScheme: "dark" });
  await showAll(page);
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator("nav").isVisible(), false);
  assert.equal(await page.locator("#q").isVisible(), false);
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--card").trim()), "#fff");
  const pdf = await page.pdf({ format: "A4" });
  assert.ok(pdf.length > 20_000, `a document of ${pdf.length} bytes`);
  await page.context().close();
});

test("data runs nothing: hostile names, labels and drawings are text", async () => {
  const { page, faults } = await open(madeUp(), "#colour=cell_type");
  await showAll(page);
  await page.waitForFunction(() => document.querySelectorAll("figure .drawing svg").length === 2);
  await page.locator("#q").fill("<i onclick");
  await page.locator("#hits li").first().click();
  assert.match(await page.locator("#gene h2").innerText(), /<i onclick=/);
  await page.locator("#figure-1 svg rect").click();
  assert.ok((await page.locator(".cell-legend").innerText()).includes("<img"));
  assert.equal(await page.evaluate(() => (window as unknown as { hostile?: number }).hostile), undefined);
  assert.equal(await page.locator("figure .drawing script, figure .drawing [onclick], #figure-1 image").count(), 0);
  assert.equal(await page.locator("#figure-0 image").count(), 1);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("a damaged chunk spoils its own view alone, and says so", async () => {
  const html = readFileSync(madeUp(), "utf8").replace(/(id="chunk-genome">)[^<]{40}/, "$1AAAA");
  const { page } = await open(written("damaged", html));
  await page.evaluate(() => document.getElementById("genome")!.scrollIntoView());
  await page.locator("#genome .note.warning").waitFor();
  assert.match(await page.locator("#genome .note.warning").innerText(), /the page's data of `genome` cannot be read/);
  await shown(page, "gene");
  assert.ok(await page.locator("#gene svg").count());
  await page.context().close();
});

test("a page without some of its parts has the others", async () => {
  let html = readFileSync(madeUp(), "utf8");
  for (const name of ["genes", "cells", "contrasts", "enrichment", "figures"]) html = html.replace(new RegExp(`<script type="text/plain" id="chunk-${name}">[^<]*</script>`), "");
  for (const id of ["gene", "cells", "enrichment"]) html = html.replace(new RegExp(`<section id="${id}"[\\s\\S]*?</section>`), "");
  html = html.replace(/<div class="view" data-chunk="\w+" id="(all-genes|contrasts)">.*?<\/div><\/div>/g, "").replace(/<div class="find"[\s\S]*?<\/ul><\/div>/, "");
  const { page, faults } = await open(written("parts", html));
  await shown(page, "genome");
  assert.ok((await page.locator(".heat-names button").count()) > 3);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("the run's record is shown", async () => {
  const { page } = await open(path);
  const record = page.locator("#run-provenance"), view = page.locator("#provenance-view");
  if (await record.count()) {
    assert.ok((await view.locator("tbody tr").count()) > 0);
    const nodes = (JSON.parse((await record.textContent()) ?? "{}") as { nodes?: { measured?: { job?: unknown } }[] }).nodes ?? [];
    const byJobs = nodes.filter((node) => node.measured?.job).length;
    assert.equal(await view.locator("th", { hasText: "of memory asked" }).count(), byJobs ? 1 : 0);
    assert.equal(await view.locator("p", { hasText: "made by jobs of a batch system" }).count(), byJobs ? 1 : 0);
  }
  await page.context().close();
});
