// The run's record, which the engine puts into the page: facts, inputs, nodes, parameters.

import { byId, el } from "./lib/dom";
import { short } from "./lib/format";

type Json = Record<string, unknown>;

function words(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const asObject = (value: unknown): Json => (value && typeof value === "object" && !Array.isArray(value) ? (value as Json) : {});
const asList = (value: unknown): Json[] => (Array.isArray(value) ? value.map(asObject) : []);

function table(label: string, head: readonly string[], rows: readonly (readonly (string | number)[])[]): HTMLElement {
  const cell = (v: string | number, c: number): HTMLElement =>
    c === 0 ? el("th", { scope: "row" }, String(v)) : el("td", typeof v === "number" ? { class: "num" } : {}, typeof v === "number" ? short(v) : v);
  return el("div", { class: "scroll table-scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {}, head.length ? el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col" }, h)))) : null,
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map(cell))))));
}

function facts(run: Json): [string, string | number][] {
  const parts = ["workflow", "program", "machine", "summary"].flatMap((part) =>
    Object.entries(asObject(run[part])).map(([k, v]) => [`${part} ${k}`, words(v)] as [string, string]));
  const own = ["run", "started", "seconds"].filter((k) => run[k] !== undefined)
    .map((k) => [k, typeof run[k] === "number" ? (run[k] as number) : words(run[k])] as [string, string | number]);
  return [...parts, ...own].filter(([, value]) => value !== "");
}

const measured = (node: Json, key: string): unknown => asObject(node["measured"])[key];

const job = (node: Json, key: string): unknown => asObject(measured(node, "job"))[key];

/** What was used of what a job of a batch system had asked for; empty where the node was no job. */
function used(value: unknown, asked: unknown): string {
  return typeof value === "number" && typeof asked === "number" && asked > 0 ? `${Math.round((100 * value) / asked)} %` : "";
}

const COLUMNS: readonly (readonly [string, (node: Json) => string | number])[] = [
  ["node", (n) => words(n["id"])],
  ["status", (n) => words(n["status"])],
  ["seconds", (n) => (typeof measured(n, "seconds") === "number" ? (measured(n, "seconds") as number) : "")],
  ["memory, MB", (n) => (typeof measured(n, "peak_rss_bytes") === "number" ? Math.round((measured(n, "peak_rss_bytes") as number) / 1e6) : "")],
  ["of memory asked", (n) => used(measured(n, "peak_rss_bytes"), job(n, "asked_memory"))],
  ["of time asked", (n) => used(measured(n, "seconds"), job(n, "asked_seconds"))],
  ["waited, s", (n) => (typeof job(n, "waited_seconds") === "number" ? (job(n, "waited_seconds") as number) : "")],
  ["job", (n) => words(job(n, "id"))],
  ["device", (n) => words(measured(n, "device"))],
  ["version", (n) => words(measured(n, "version"))],
  ["key", (n) => words(n["key"]).slice(0, 12)],
  ["needs", (n) => (Array.isArray(n["needs"]) ? n["needs"].join(", ") : "")],
  ["warnings", (n) => (Array.isArray(n["warnings"]) && n["warnings"].length ? n["warnings"].join("; ") : words(n["error"]))],
];

/** One line for all jobs of a batch system: what they used of what they had asked for, and how long they waited. */
function efficiency(nodes: readonly Json[]): Node[] {
  const number = (value: unknown): number => (typeof value === "number" ? value : 0);
  const jobs = nodes.filter((node) => typeof job(node, "asked_memory") === "number");
  if (!jobs.length) return [];
  const sum = (of: (node: Json) => unknown): number => jobs.reduce((total, node) => total + number(of(node)), 0);
  const memory = used(sum((n) => measured(n, "peak_rss_bytes")), sum((n) => job(n, "asked_memory")));
  const time = used(sum((n) => measured(n, "seconds")), sum((n) => job(n, "asked_seconds")));
  const waited = short(sum((n) => job(n, "waited_seconds")) / jobs.length);
  return [el("p", {}, `${jobs.length} ${jobs.length === 1 ? "node was" : "nodes were"} made by jobs of a batch system: they used ${memory} of the memory and ${time} of the time that they had asked for, and waited ${waited} s on average (efficiency.tsv).`)];
}

function nodesTable(nodes: readonly Json[]): Node[] {
  const tally = new Map<string, number>();
  for (const node of nodes) tally.set(words(node["status"]), (tally.get(words(node["status"])) ?? 0) + 1);
  const summary = [...tally].sort().map(([status, n]) => `${n} ${status}`).join(", ");
  const columns = COLUMNS.filter(([, of]) => nodes.some((node) => of(node) !== ""));
  return [
    el("h3", {}, `${nodes.length} nodes: ${summary}`),
    ...efficiency(nodes),
    table("Nodes of the run", columns.map(([title]) => title), nodes.map((node) => columns.map(([, of]) => of(node)))),
  ];
}

function parameters(nodes: readonly Json[]): HTMLElement | null {
  const seen = new Map<string, [string, string]>();
  for (const node of nodes) {
    const text = JSON.stringify(node["params"] ?? {}, null, 1), stage = words(node["stage"]);
    if (text !== "{}") seen.set(stage + text, [stage, text]);
  }
  if (!seen.size) return null;
  return el("details", { class: "fold" }, el("summary", {}, "Parameters of every stage"),
    ...[...seen.values()].flatMap(([stage, text]) => [el("h4", {}, stage), el("pre", { tabindex: 0, role: "region", "aria-label": `Parameters of ${stage}` }, text)]));
}

export function startProvenance(): void {
  const source = byId("run-provenance"), view = byId("provenance-view");
  if (!source || !view) return;
  const run = asObject(JSON.parse(source.textContent ?? "{}")), nodes = asList(run["nodes"]), inputs = asList(run["inputs"]);
  const found = facts(run);
  const parts: (Node | null)[] = [
    found.length ? table("The run", [], found) : null,
    ...(inputs.length ? [el("h3", {}, "Inputs"), table("Inputs", ["name", "path or built-in", "format", "digest"],
      inputs.map((i) => [words(i["name"]), words(i["path"] ?? i["builtin"]), words(i["format"]), words(i["digest"]).slice(0, 16)]))] : []),
    ...(nodes.length ? nodesTable(nodes) : []),
    parameters(nodes),
  ];
  view.replaceChildren(...parts.filter((part): part is Node => part !== null));
}
