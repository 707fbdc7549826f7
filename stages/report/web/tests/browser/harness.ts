// A headless Chromium, pages opened in it, and what tests read off them.

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { Cells, type CellsHeader } from "../../src/data/cells";
import { Genes, type GenesHeader } from "../../src/data/genes";
import { Genome, type GenomeHeader } from "../../src/data/genome";
import { unpack, type Chunk, type Header } from "../../src/lib/unpack";
import { pageOf } from "../fixture/page";
import { DEMO, LARGE } from "../fixture/tumours";

const ROOT = process.cwd();
const SHOTS = process.env["CLCC_SHOTS"];
let browser: Promise<Browser> | null = null;

export function launch(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  browser ??= chromium.launch({ executablePath, args: ["--no-sandbox", "--enable-precise-memory-info"] });
  return browser;
}

export async function quit(): Promise<void> {
  await (await browser)?.close();
}

const folder = mkdtempSync(join(tmpdir(), "clcc-page-"));

/** A made-up page, or one changed from it, as a file. */
export function written(name: string, html: string): string {
  const path = join(folder, `${name}.html`);
  writeFileSync(path, html);
  return path;
}

let demo: string | null = null;

/** The page that tests look at: of the program where CLCC_PAGE names one, else a made-up one of the demo's size. */
export function demoPage(): string {
  demo ??= process.env["CLCC_PAGE"] ?? written("demo", pageOf(DEMO, join(ROOT, "dist")));
  return demo;
}

export const isMadeUp = (): boolean => process.env["CLCC_PAGE"] === undefined;

export function madeUp(): string {
  return written("demo-made-up", pageOf(DEMO, join(ROOT, "dist")));
}

export function largePage(): string {
  return written("large", pageOf(LARGE, join(ROOT, "dist")));
}

export interface Opened {
  readonly page: Page;
  /** Whatever the page asked for beside itself. */
  readonly asked: string[];
  readonly faults: string[];
}

export async function open(path: string, fragment = "", options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await (await launch()).newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...options });
  const page = await context.newPage(), asked: string[] = [], faults: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith("file://") && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) asked.push(request.url());
    else if (request.url().startsWith("file://") && !request.isNavigationRequest()) asked.push(request.url());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.setDefaultTimeout(30_000);
  await page.goto(`file://${path}${fragment}`);
  return { page, asked, faults };
}

/** Scroll a view near and wait until it is drawn. */
export async function shown(page: Page, id: string): Promise<void> {
  await page.evaluate((name) => document.getElementById(name)!.scrollIntoView(), id);
  await page.waitForFunction((name) => performance.getEntriesByName(`ready-${name}`).length > 0, id);
  // Two frames: what was asked for while drawing has been painted.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

export const VIEWS = ["gene", "genome", "cells", "enrichment", "all-genes", "contrasts"];

/** Draw everything that the page has, and open its folds. */
export async function showAll(page: Page): Promise<void> {
  for (const id of VIEWS) if (await page.locator(`#${id}`).count()) await shown(page, id);
  await page.evaluate(() => document.querySelectorAll("details.fold").forEach((fold) => ((fold as HTMLDetailsElement).open = true)));
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  for (let y = 0; y < height; y += 700) {
    await page.evaluate((top) => scrollTo(0, top), y);
    await page.waitForTimeout(40);
  }
  await page.evaluate(() => scrollTo(0, 0));
}

/** A digest of what a canvas shows. */
export function pixels(page: Page, selector: string, index = 0): Promise<string> {
  return page.evaluate(async ([which, at]) => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const canvas = document.querySelectorAll<HTMLCanvasElement>(which as string)[at as number]!;
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    let hash = 2166136261;
    for (const byte of data) hash = Math.imul(hash ^ byte, 16777619);
    return `${canvas.width}x${canvas.height}:${(hash >>> 0).toString(16)}`;
  }, [selector, index] as const);
}

/** The chunks of a page's file, read without a browser. */
export function chunkOf<H extends Header>(path: string, name: string): Promise<Chunk<H>> {
  const text = new RegExp(`id="chunk-${name}">([^<]*)<`).exec(readFileSync(path, "utf8"))?.[1];
  if (text === undefined) throw new Error(`${path} has no chunk ${name}`);
  return unpack<H>(text);
}

export const genesOf = async (path: string): Promise<Genes> => new Genes(await chunkOf<GenesHeader>(path, "genes"));
export const genomeOf = async (path: string): Promise<Genome> => new Genome(await chunkOf<GenomeHeader>(path, "genome"));
export const cellsOf = async (path: string): Promise<Cells> => new Cells(await chunkOf<CellsHeader>(path, "cells"));

/** Text of a file that pressing a button downloads. */
export async function downloaded(page: Page, press: () => Promise<void>): Promise<string> {
  const [download] = await Promise.all([page.waitForEvent("download"), press()]);
  return readFileSync((await download.path())!, "utf8");
}

/** Keep a picture where CLCC_SHOTS names a folder. */
export async function picture(page: Page, name: string): Promise<void> {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}
