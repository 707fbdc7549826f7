// The page used as a reader does: by clicks and keys.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Page } from "playwright-core";
import { tableAt } from "../../src/table/static";
import { cellsOf, chunkOf, demoPage, downloaded, genesOf, genomeOf, open, pixels, quit, shown } from "./harness";

after(quit);

const path = demoPage();
const heading = (page: Page): Promise<string> => page.locator("#gene h2").innerText();
const address = (page: Page): Promise<string> => page.evaluate(() => decodeURIComponent(location.hash));

test("a gene is found by keys alone", async () => {
  const genes = await genesOf(path), wanted = genes.name(genes.byEvidence()[2]!);
  const { page } = await open(path);
  await page.keyboard.press("/");
  await page.keyboard.type(wanted.toLowerCase());
  await page.locator("#hits li").first().waitFor();
  assert.match(await page.locator("#hits li").first().innerText(), new RegExp(`^${wanted}`));
  assert.equal(await page.locator("#q").getAttribute("aria-activedescendant"), await page.locator("#hits [aria-selected=true]").getAttribute("id"));
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.waitForFunction((name) => document.querySelector("#gene h2")?.textContent === `Gene ${name}`, wanted);
  assert.equal(await address(page), `#gene=${wanted}`);
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H2");
  await page.context().close();
});

test("a name that no gene has is said so", async () => {
  const { page } = await open(path);
  await page.locator("#q").fill("no such gene");
  assert.equal(await page.locator("#hits").innerText(), "No gene of this name");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#hits").isVisible(), false);
  await page.context().close();
  const other = await open(path, "#gene=NOSUCHGENE");
  await shown(other.page, "gene");
  assert.match(await other.page.locator("#gene .view-body").innerText(), /No gene of this page is called NOSUCHGENE/);
  await other.page.context().close();
});

test("a place in the search opens the genome view there", async () => {
  const { page } = await open(path);
  await page.locator("#q").fill("chr2:20-90");
  await page.locator("#hits li").first().waitFor();
  await page.keyboard.press("Enter");
  await shown(page, "genome");
  assert.match(await address(page), /genome=chr2:20-90/);
  await page.context().close();
});

test("genes of the first screen and of tables open the gene's view, and Back returns", async () => {
  const genes = await genesOf(path);
  const { page } = await open(path);
  const links = page.locator("#answer table.tops tbody th a");
  if (await links.count()) {
    const name = await links.first().innerText();
    await links.first().click();
    await shown(page, "gene");
    assert.equal(await heading(page), `Gene ${name}`);
  }
  await shown(page, "all-genes");
  const [first, second] = [genes.name(genes.byEvidence()[0]!), genes.name(genes.byEvidence()[1]!)];
  await page.locator("#all-genes tbody th a", { hasText: new RegExp(`^${first}$`) }).click();
  assert.equal(await heading(page), `Gene ${first}`);
  await page.getByRole("button", { name: /next weaker evidence/ }).click();
  assert.equal(await heading(page), `Gene ${second}`);
  await page.goBack();
  await page.waitForFunction((name) => document.querySelector("#gene h2")?.textContent === `Gene ${name}`, first);
  await page.context().close();
});

test("an address restores the view", async () => {
  const genes = await genesOf(path), genome = await genomeOf(path), cells = await cellsOf(path);
  const name = genes.name(genes.byEvidence()[1]!), patient = genome.head.patients[1] ?? genome.head.patients[0]!;
  const maps = cells.head.maps.length > 1 ? "&maps=1,0" : "";
  const { page } = await open(path, `#gene=${name}&colour=patient${maps}&genome=chr3&patient=${patient}&rows=clones`);
  for (const id of ["gene", "genome", "cells"]) await shown(page, id);
  assert.equal(await heading(page), `Gene ${name}`);
  if (genome.head.patients.length > 1) assert.equal(await page.locator("#genome select").first().inputValue(), patient);
  assert.equal(await page.locator("#cells select").first().inputValue(), "patient");
  if (maps) assert.equal(await page.locator(".cell-panel select").first().inputValue(), "1");
  assert.deepEqual(await page.locator(".heat-axis button").allInnerTexts(), ["3"]);
  const zoomed = await pixels(page, ".heat-canvas");
  await page.getByRole("button", { name: "Whole genome" }).click();
  assert.notEqual(await pixels(page, ".heat-canvas"), zoomed);
  await page.waitForFunction(() => !location.hash.includes("genome="));
  await page.context().close();
});

test("zooming changes the pixels, by buttons, keys, wheel and drag, and the whole genome comes back the same", async () => {
  const { page } = await open(path);
  await shown(page, "genome");
  const canvas = ".heat-canvas", whole = await pixels(page, canvas), names = await page.locator(".heat-axis button").allInnerTexts();
  const seen = [whole];
  const changed = async (how: string): Promise<void> => {
    const now = await pixels(page, canvas);
    assert.ok(!seen.includes(now), `${how} did not change the picture`);
    seen.push(now);
  };
  await page.locator("#genome").getByRole("button", { name: "Zoom in", exact: true }).click();
  await changed("the button");
  await page.locator(canvas).focus();
  await page.keyboard.press("+");
  await changed("a key");
  await page.keyboard.press("ArrowRight");
  await changed("an arrow");
  const box = (await page.locator(canvas).boundingBox())!, x = box.x + box.width / 2, y = box.y + Math.min(60, box.height / 2);
  await page.mouse.move(x, y);
  await page.keyboard.down("Control");
  await page.mouse.wheel(0, -120);
  await page.keyboard.up("Control");
  await changed("the wheel with Ctrl");
  await page.mouse.down();
  await page.mouse.move(x - 80, y, { steps: 4 });
  await page.mouse.up();
  await changed("a drag");
  const before = await page.evaluate(() => scrollY);
  await page.mouse.wheel(0, 200);
  await page.waitForFunction((from) => scrollY !== from, before);
  assert.equal(await pixels(page, canvas), seen[seen.length - 1], "a plain wheel scrolls the page and leaves the picture");
  await page.locator(canvas).focus();
  await page.keyboard.press("0");
  assert.equal(await pixels(page, canvas), whole);
  assert.deepEqual(await page.locator(".heat-axis button").allInnerTexts(), names);
  await page.locator(".heat-axis button").nth(1).click();
  await changed("a chromosome's name");
  assert.deepEqual(await page.locator(".heat-axis button").allInnerTexts(), [names[1]]);
  await page.context().close();
});

test("a point of the scatter says what its row of the table says", async () => {
  const genes = await genesOf(path), name = genes.name(genes.byEvidence()[0]!);
  const { page } = await open(path, `#gene=${name}`);
  await shown(page, "gene");
  await page.locator("#gene details.fold summary", { hasText: "The numbers behind it" }).click();
  const mark = page.locator("#gene svg g.clone").first();
  await mark.hover();
  const tip = await page.locator("#tip").innerText();
  const said = /^(.*?), (.*): .* cells?, (.*) counts\nlog copy ratio (.*)\nlog expression (.*) \u00b1 (.*)$/.exec(tip);
  assert.ok(said, `the point says: ${tip}`);
  const rows = await page.locator("#gene details.fold .data-table").first().locator("tbody tr").allInnerTexts();
  const row = rows.map((r) => r.split("\t")).find((r) => r[0] === said![1] && r[1] === said![2]);
  assert.ok(row, `no row of ${said![1]}`);
  assert.deepEqual([row![3], row![5], row![6], row![7]], [said![3], said![4], said![5], said![6]]);
  // And the same as the file holds.
  const point = genes.points(genes.byEvidence()[0]!).find((p) => `${p.patient} ${p.clone}` === said![1] && p.type === said![2])!;
  assert.equal(point.copy.toFixed(3), said![4]!.replace("\u2212", "-").replace(/^0\.000$/, point.copy.toFixed(3)));
  await page.context().close();
});

test("hover over a clone's mean says the file's value", async () => {
  const genome = await genomeOf(path);
  const { page } = await open(path, "#rows=clones&genome=chr2:0-240");
  await shown(page, "genome");
  await page.locator(".heat-canvas").hover({ position: { x: 300, y: 8 } });
  const said = /^(.*), mean of .* \u00b7 (chr\w+):([\d,]+)-([\d,]+) \u00b7 log ratio (.*)$/.exec(await page.locator(".heat-read").innerText());
  assert.ok(said, await page.locator(".heat-read").innerText());
  const start = Number(said![3]!.replaceAll(",", ""));
  const window = Array.from({ length: genome.windows }, (_, w) => w).find((w) => genome.chromosomeOf(w) === said![2] && genome.start(w) === start)!;
  const value = genome.profiles()[window]!;
  assert.equal(Number(said![5]!.replace("\u2212", "-")), Math.round(value * 1000) / 1000);
  await page.context().close();
});

test("a clone's name selects exactly its cells, in all views", async () => {
  const genome = await genomeOf(path), cells = await cellsOf(path);
  const index = genome.head.groups.findIndex((g) => g.malignant && g.rows > 0), group = genome.head.groups[index]!;
  const name = `${genome.head.patients[group.patient]} ${group.clone}`;
  const { page } = await open(path);
  await shown(page, "genome");
  await shown(page, "cells");
  const before = [await pixels(page, ".cell-canvas", 0), await pixels(page, ".heat-canvas")];
  await page.locator(".heat-names button", { hasText: new RegExp(`^${name}$`) }).click();
  assert.match(await page.locator(".composition .say").innerText(), new RegExp(`^${group.n.toLocaleString("en")} of .* cells selected \\(${name}\\)`));
  assert.notEqual(await pixels(page, ".cell-canvas", 0), before[0]);
  assert.notEqual(await pixels(page, ".heat-canvas"), before[1]);
  const text = await downloaded(page, () => page.getByRole("button", { name: "Download these cells" }).click());
  const ids = text.trimEnd().split("\n").slice(1).map((line) => line.split("\t")[0]);
  const wanted = [...cells.ofGroup(index, genome.head.patients[group.patient]!, group.clone)].flatMap((one, i) => (one ? [cells.id(i)] : []));
  assert.deepEqual(ids, wanted);
  await page.locator(".heat-names button[aria-pressed=true]").click();
  assert.deepEqual([await pixels(page, ".cell-canvas", 0), await pixels(page, ".heat-canvas")], before);
  await page.context().close();
});

async function lasso(page: Page, index: number): Promise<void> {
  const canvas = page.locator(".cell-canvas").nth(index);
  await canvas.scrollIntoViewIfNeeded();
  const box = (await canvas.boundingBox())!;
  const at = (x: number, y: number): [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.02, 0.02));
  await page.mouse.down();
  for (const [x, y] of [[0.98, 0.02], [0.98, 0.5], [0.5, 0.55], [0.02, 0.5], [0.02, 0.03]] as const) await page.mouse.move(...at(x, y), { steps: 4 });
  await page.mouse.up();
}

test("a lasso in one map shows in the other, in the heatmap and in the composition", async () => {
  const cells = await cellsOf(path);
  const { page } = await open(path);
  await shown(page, "genome");
  await shown(page, "cells");
  const other = cells.head.maps.length > 1 ? 1 : 0;
  const before = [await pixels(page, ".cell-canvas", other), await pixels(page, ".heat-canvas")];
  await lasso(page, 0);
  const said = /^([\d,]+) of ([\d,]+) cells selected \(lasso\)/.exec(await page.locator(".composition .say").innerText());
  const count = Number(said![1]!.replaceAll(",", ""));
  assert.ok(count > 0 && count < cells.n, `${count} of ${cells.n}`);
  assert.notEqual(await pixels(page, ".cell-canvas", other), before[0]);
  assert.notEqual(await pixels(page, ".heat-canvas"), before[1]);
  const selected = await page.locator(".composition table").first().locator("tbody tr td:nth-child(2)").allInnerTexts();
  assert.equal(selected.reduce((sum, v) => sum + Number(v.replaceAll(",", "")), 0), count, "the composition sums to the selection");
  await page.getByRole("button", { name: "Clear selection" }).click();
  assert.deepEqual([await pixels(page, ".cell-canvas", other), await pixels(page, ".heat-canvas")], before);
  await page.context().close();
});

test("a lasso stands in the address: it can be sent, and Back undoes it", async () => {
  const { page } = await open(path);
  await shown(page, "cells");
  const said = (p: Page): Promise<string> => p.locator(".composition .say").innerText(), before = await pixels(page, ".cell-canvas", 0);
  await lasso(page, 0);
  const selected = await said(page), drawn = await pixels(page, ".cell-canvas", 0);
  assert.match(selected, /cells selected \(lasso\)/);
  const fragment = await page.evaluate(() => location.hash);
  assert.match(fragment, /cells=l0\.[\w-]+$/);
  assert.ok(fragment.length < 450, `${fragment.length} letters`);
  const text = await downloaded(page, () => page.getByRole("button", { name: "Download these cells" }).click());
  const other = await open(path, fragment);
  await shown(other.page, "cells");
  await other.page.waitForFunction(() => /selected/.test(document.querySelector(".composition .say")!.textContent!));
  assert.equal(await said(other.page), selected);
  assert.equal(await pixels(other.page, ".cell-canvas", 0), drawn);
  assert.equal(await downloaded(other.page, () => other.page.getByRole("button", { name: "Download these cells" }).click()), text);
  assert.deepEqual(other.faults, []);
  await other.page.context().close();
  await page.goBack();
  await page.waitForFunction(() => !/selected/.test(document.querySelector(".composition .say")!.textContent!));
  assert.equal(await pixels(page, ".cell-canvas", 0), before);
  await page.goForward();
  await page.waitForFunction((t) => document.querySelector(".composition .say")!.textContent === t, selected);
  await page.context().close();
  const wrong = await open(path, "#cells=l0.<b>~c.nothing.1");
  await shown(wrong.page, "cells");
  assert.doesNotMatch(await said(wrong.page), /selected/);
  assert.deepEqual(wrong.faults, []);
  await wrong.page.context().close();
});

test("the legend selects by keyboard, adds, and counts as the file does", async () => {
  const cells = await cellsOf(path), column = cells.column("patient")!, codes = cells.codes("patient");
  const { page } = await open(path, "#colour=patient");
  await shown(page, "cells");
  const count = (label: number): number => [...codes].filter((c) => c === label).length;
  const buttons = page.locator(".cell-legend .press button");
  assert.equal(await buttons.count(), column.labels!.length);
  await buttons.nth(0).focus();
  await page.keyboard.press("Enter");
  assert.match(await page.locator(".composition .say").innerText(), new RegExp(`^${count(0).toLocaleString("en")} of `));
  assert.equal(await buttons.nth(0).getAttribute("aria-pressed"), "true");
  if (column.labels!.length > 2) {
    await buttons.nth(1).click();
    assert.match(await page.locator(".composition .say").innerText(), new RegExp(`^${(count(0) + count(1)).toLocaleString("en")} of `));
    const other = await open(path, await page.evaluate(() => location.hash));
    await shown(other.page, "cells");
    await other.page.waitForFunction(() => document.querySelectorAll(".cell-legend [aria-pressed=true]").length === 2);
    assert.equal(await other.page.locator(".composition .say").innerText(), await page.locator(".composition .say").innerText());
    await other.page.context().close();
  }
  await page.context().close();
});

test("cells are coloured by a label, a number and a gene, and the map can be changed and moved", async () => {
  const cells = await cellsOf(path), genes = await genesOf(path);
  const { page } = await open(path);
  await shown(page, "cells");
  const seen = new Set([await pixels(page, ".cell-canvas", 0)]);
  const values = ["cell_type", "total_counts", ...(cells.head.genes.length ? [`gene:${genes.name(cells.head.genes[0]!)}`] : [])].filter((v) => v.startsWith("gene:") || cells.column(v));
  for (const value of values) {
    await page.locator("#cells select").first().selectOption(value);
    seen.add(await pixels(page, ".cell-canvas", 0));
    await page.waitForFunction((v) => decodeURIComponent(location.hash).includes(`colour=${v}`), value);
  }
  assert.equal(seen.size, values.length + 1);
  if (cells.head.maps.length > 1) {
    await page.locator(".cell-panel select").first().selectOption("1");
    seen.add(await pixels(page, ".cell-canvas", 0));
    assert.equal(seen.size, values.length + 2);
  }
  await page.getByRole("button", { name: "Move" }).click();
  const box = (await page.locator(".cell-canvas").first().boundingBox())!;
  const before = await pixels(page, ".cell-canvas", 0);
  await page.getByRole("button", { name: "Zoom in on this map" }).first().click();
  const zoomed = await pixels(page, ".cell-canvas", 0);
  assert.notEqual(zoomed, before);
  await page.mouse.move(box.x + 100, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + 160, box.y + 130, { steps: 3 });
  await page.mouse.up();
  assert.notEqual(await pixels(page, ".cell-canvas", 0), zoomed);
  assert.equal(await page.locator(".composition .say").innerText().then((t) => /selected/.test(t)), false, "moving selects nothing");
  await page.getByRole("button", { name: "Fit: show the whole map" }).first().click();
  assert.equal(await pixels(page, ".cell-canvas", 0), before);
  await page.context().close();
});

test("a gene leads to the cells of the clones that hold it back", async () => {
  const genes = await genesOf(path), g = genes.byEvidence()[0]!;
  const { page } = await open(path, `#gene=${genes.name(g)}`);
  await shown(page, "gene");
  const buttons = page.locator("#gene .tools", { hasText: "Show the cells of" }).getByRole("button");
  if (!(await buttons.count())) return;
  const name = await buttons.first().innerText();
  await buttons.first().click();
  await shown(page, "cells");
  await page.waitForFunction((n) => document.querySelector(".composition .say")!.textContent!.includes(`selected (${n})`), name);
  const cells = Number((await page.locator(".composition .say").innerText()).split(" ")[0]!.replaceAll(",", ""));
  assert.ok(cells >= genes.points(g).find((p) => `${p.patient} ${p.clone}` === name)!.n, `${cells} cells`);
  await page.context().close();
});

test("the gene's button colours the cells", async () => {
  const cells = await cellsOf(path), genes = await genesOf(path);
  if (!cells.head.genes.length) return;
  const name = genes.name(cells.head.genes[0]!);
  const { page } = await open(path, `#gene=${encodeURIComponent(name)}`);
  await shown(page, "gene");
  await page.getByRole("button", { name: `Colour the cells by ${name}` }).click();
  await shown(page, "cells");
  assert.equal(await page.locator("#cells select").first().inputValue(), `gene:${name}`);
  await page.context().close();
});

test("the set that some cells hold back shows in the cells, in a gene's words and in its row", async () => {
  const cells = await cellsOf(path), genes = await genesOf(path), column = genes.column("held");
  if (!column || !cells.column("prob_discordant")) return;
  const { page } = await open(path);
  await page.locator("#answer .lead.second a").first().click();
  await page.waitForFunction(() => (document.activeElement as HTMLDetailsElement).open && /hold back a set of genes/.test(document.activeElement!.textContent!));
  await shown(page, "cells");
  const before = await pixels(page, ".cell-canvas", 0);
  await page.locator("#cells select").first().selectOption("prob_discordant");
  assert.notEqual(await pixels(page, ".cell-canvas", 0), before);
  assert.match(await page.locator(".cell-legend h3").innerText(), /hold the set of genes back|hold a set of genes back/);
  const g = [...genes.byEvidence()].find((at) => Number.isFinite(column[at]!) && Number.isFinite(genes.value("slope", at)))!;
  await page.goto(`file://${path}#gene=${encodeURIComponent(genes.name(g))}`);
  await page.waitForFunction((name) => document.querySelector("#gene h2")?.textContent === `Gene ${name}`, genes.name(g));
  const said = /Probability ([\d.]+) to be in the set of genes that some cells hold back/.exec(await page.locator("#gene .trust").innerText());
  assert.equal(Boolean(said), genes.head.set_established);
  if (said) assert.ok(Math.abs(Number(said[1]) - column[g]!) < 0.006, said[0]);
  await page.locator("#gene details.fold summary", { hasText: "The numbers behind it" }).click();
  const row = page.locator("#gene dl.row div", { hasText: "P(held back)" }).locator("dd");
  assert.ok(Math.abs(Number(await row.innerText()) - column[g]!) < 0.006, await row.innerText());
  await page.context().close();
});

test("another patient shows its clones alone", async () => {
  const genome = await genomeOf(path);
  if (genome.head.patients.length < 2) return;
  const { page } = await open(path);
  await shown(page, "genome");
  const before = await pixels(page, ".heat-canvas"), patient = genome.head.patients[1]!;
  await page.locator("#genome select").first().selectOption(patient);
  assert.notEqual(await pixels(page, ".heat-canvas"), before);
  const names = await page.locator(".heat-names button").allInnerTexts();
  const wanted = genome.head.groups.filter((g) => g.patient === 1 && g.rows > 0).map((g) => `${patient} ${g.clone}`);
  assert.deepEqual(names, wanted);
  assert.match(await address(page), new RegExp(`patient=${patient}`));
  await page.goBack();
  await page.waitForFunction((n) => document.querySelectorAll(".heat-names button").length > n, wanted.length);
  await page.context().close();
});

test("the table of genes sorts, filters, hides columns and downloads the whole", async () => {
  const genes = await genesOf(path);
  const { page } = await open(path);
  await shown(page, "all-genes");
  const table = page.locator("#all-genes"), column = async (n: number): Promise<string[]> => table.locator(`tbody tr > :nth-child(${n})`).allInnerTexts();
  const heads = (await table.locator("thead th").allInnerTexts()).map((h) => h.split("\n")[0]!), at = heads.indexOf("Slope") + 1;
  assert.equal((await column(1))[0], genes.name(genes.byEvidence()[0]!));
  await table.getByRole("button", { name: "Slope", exact: true }).click();
  const down = (await column(at)).map((v) => Number(v.replace("\u2212", "-")));
  assert.deepEqual(down, [...down].sort((a, b) => b - a));
  assert.equal(await table.locator("th[aria-sort=descending]").count(), 1);
  await table.getByRole("button", { name: "Slope", exact: true }).click();
  const up = (await column(at)).map((v) => Number(v.replace("\u2212", "-")));
  assert.deepEqual(up, [...up].sort((a, b) => a - b));
  assert.ok(up[0]! < down[0]!);
  await table.locator("input[type=search]").fill("slope<0 chr1:");
  const wanted = Array.from({ length: genes.n }, (_, g) => g).filter((g) => genes.value("slope", g) < 0 && genes.chromosome(g) === "chr1").length;
  await page.waitForFunction((n) => document.querySelector("#all-genes .table-foot")!.textContent!.endsWith(`of ${n.toLocaleString("en")}`), wanted);
  const filtered = await downloaded(page, () => table.getByRole("button", { name: "Download TSV" }).click());
  assert.equal(filtered.trimEnd().split("\n").filter((l) => !l.startsWith("#")).length, wanted + 1);
  await table.locator("input[type=search]").fill("");
  await page.waitForFunction((n) => document.querySelector("#all-genes .table-foot")!.textContent!.endsWith(`of ${n.toLocaleString("en")}`), genes.n);
  const whole = (await downloaded(page, () => table.getByRole("button", { name: "Download TSV" }).click())).trimEnd().split("\n").filter((l) => !l.startsWith("#"));
  assert.equal(whole.length, genes.n + 1);
  assert.ok(whole[0]!.split("\t").includes("reason"), "hidden columns are downloaded too");
  assert.ok(!heads.includes("Standard error"));
  await table.locator(".menu summary").click();
  await table.locator(".menu-list label", { hasText: "Standard error" }).locator("input").check();
  assert.ok((await table.locator("thead th").allInnerTexts()).some((h) => h.startsWith("Standard error")));
  await table.locator("select").first().selectOption("sensitive");
  assert.deepEqual([...new Set(await column(heads.indexOf("Class") + 1))], ["sensitive"]);
  await page.context().close();
});

test("pages of a table turn, and its first column stays in sight", async () => {
  const { page } = await open(path, "", { viewport: { width: 500, height: 800 } });
  await shown(page, "all-genes");
  const table = page.locator("#all-genes"), first = await table.locator("tbody th").first().innerText();
  await table.getByRole("button", { name: "Next page" }).click();
  assert.notEqual(await table.locator("tbody th").first().innerText(), first);
  assert.match(await table.locator(".table-foot").innerText(), /^21/);
  const left = async (): Promise<number> => (await table.locator("tbody th").first().boundingBox())!.x;
  const before = await left();
  await table.locator(".table-scroll").evaluate((box) => (box.scrollLeft = 300));
  assert.ok(Math.abs((await left()) - before) < 2);
  await page.context().close();
});

test("contrasts switch and link to genes; static tables take over whole", async () => {
  const { page } = await open(path);
  if (await page.locator("#contrasts").count()) {
    await shown(page, "contrasts");
    const select = page.locator("#contrasts select").first(), first = await page.locator("#contrasts tbody").innerText();
    const options = await select.locator("option").count();
    if (options > 1) {
      await select.selectOption("1");
      assert.notEqual(await page.locator("#contrasts tbody").innerText(), first);
    }
  }
  const box = page.locator("div.table").first();
  if (!(await box.count())) return;
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
  await box.scrollIntoViewIfNeeded();
  await box.locator(".data-table").waitFor();
  const table = tableAt(await chunkOf(path, "tables"), Number(await box.getAttribute("data-table"))), rows = table.rows.length;
  assert.equal(await box.locator("tbody tr").count(), Math.min(20, rows));
  const units = (table.units ?? []).filter(Boolean), heads = (await box.locator("thead th").allInnerTexts()).join("\n");
  for (const unit of units) assert.ok(heads.includes(unit), `the heads ${heads} lack ${unit}`);
  await page.context().close();
});

test("the theme's button goes through light and dark and repaints the canvases", async () => {
  const { page } = await open(path);
  await shown(page, "cells");
  const light = await pixels(page, ".cell-canvas"), ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground(), button = page.locator("#theme");
  await button.click();
  assert.equal(await button.innerText(), "Theme: light");
  assert.equal(await ground(), before);
  await button.click();
  assert.equal(await button.innerText(), "Theme: dark");
  assert.notEqual(await ground(), before);
  assert.notEqual(await pixels(page, ".cell-canvas"), light);
  await button.click();
  assert.equal(await button.innerText(), "Theme: auto");
  await page.context().close();
});

test("two fingers zoom the heatmap, and one up or down scrolls the page", async () => {
  const { page } = await open(path, "", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await shown(page, "genome");
  const canvas = page.locator(".heat-canvas"), whole = await pixels(page, ".heat-canvas"), box = (await canvas.boundingBox())!;
  const session = await page.context().newCDPSession(page);
  const touch = (type: string, ...points: [number, number][]): Promise<unknown> =>
    session.send("Input.dispatchTouchEvent", { type: type as "touchStart", touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  const x = box.x + box.width / 2, y = Math.max(box.y, 200) + 60;
  await touch("touchStart", [x - 20, y], [x + 20, y]);
  for (let i = 1; i <= 5; i++) await touch("touchMove", [x - 20 - 8 * i, y], [x + 20 + 8 * i, y]);
  await touch("touchEnd");
  assert.notEqual(await pixels(page, ".heat-canvas"), whole);
  await page.getByRole("button", { name: "Whole genome" }).click();
  assert.equal(await pixels(page, ".heat-canvas"), whole);
  const before = await page.evaluate(() => scrollY);
  await touch("touchStart", [x, y + 100]);
  for (let i = 1; i <= 8; i++) await touch("touchMove", [x, y + 100 - 15 * i]);
  await touch("touchEnd");
  await page.waitForFunction((from) => scrollY > from + 20, before);
  assert.equal(await pixels(page, ".heat-canvas"), whole);
  await page.context().close();
});
