// Tables that the page holds as HTML with a few rows: all rows lie packed as JSON, and this makes the whole.

import { chunk, hasChunk } from "../lib/chunks";
import { el, whenNear } from "../lib/dom";
import { NONE, pValue, short, whole } from "../lib/format";
import type { Chunk, Header } from "../lib/unpack";
import { geneLink } from "./genes";
import { DataTable, type Column } from "./table";

type Kind = "text" | "int" | "num" | "p" | "pos";

export interface StaticTable {
  readonly name: string;
  readonly notes?: readonly string[];
  readonly header: readonly string[];
  readonly numeric: readonly boolean[];
  readonly classes?: readonly string[];
  readonly units?: readonly string[];
  readonly kinds?: readonly Kind[];
  readonly about?: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Heads of first columns that hold genes: they open the gene's view. */
const GENE_HEADS = new Set(["names", "gene"]);

/** A value of the file as a reader sees it. */
export function shown(text: string, kind: Kind): string {
  if (text === "" || text === "NA") return NONE;
  if (kind === "pos") return text.replace(/\d{4,}/g, (digits) => whole(Number(digits)));
  const value = Number(text);
  if (kind === "text" || Number.isNaN(value)) return text;
  if (kind === "int") return whole(value);
  return kind === "p" ? pValue(value) : short(value);
}

export function columnsOf(table: StaticTable, linked = false): Column[] {
  return table.header.map((key, c): Column => {
    const kind = table.kinds?.[c] ?? (table.numeric[c] ? "num" : "text");
    const numeric = kind !== "text" && kind !== "pos";
    const text = (row: number): string => table.rows[row]?.[c] ?? "";
    const number = (row: number): number => (text(row) === "" ? NaN : Number(text(row)));
    return {
      key, title: key.replaceAll("_", " "), numeric, upFirst: kind === "p", long: /long/.test(table.classes?.[c] ?? ""),
      ...(table.units?.[c] ? { unit: table.units[c] } : {}), ...(table.about?.[c] ? { about: table.about[c] } : {}),
      value: numeric ? number : text, raw: text,
      show: (row) => (linked && c === 0 && GENE_HEADS.has(key) ? geneLink(text(row)) : shown(text(row), kind)),
    };
  });
}

/** A table of the chunk `tables` by its place there. */
export function tableAt(source: Chunk<Header>, index: number): StaticTable {
  const pointers = source.stored("ptr"), all = source.stored("json") as Uint8Array;
  return JSON.parse(new TextDecoder().decode(all.subarray(pointers[index]!, pointers[index + 1]!))) as StaticTable;
}

async function replace(box: HTMLElement): Promise<void> {
  const old = box.querySelector<HTMLElement>(".table-scroll, .scroll"), index = Number(box.dataset["table"]);
  if (!old || !Number.isInteger(index)) return;
  const table = tableAt(await chunk<Header>("tables"), index);
  const label = old.getAttribute("aria-label") ?? box.querySelector("h3, h4")?.textContent ?? table.name;
  const made = new DataTable({
    name: table.name, label, rows: table.rows.length, columns: columnsOf(table, hasChunk("genes")), ...(table.notes ? { notes: table.notes } : {}),
  });
  old.replaceWith(made.element);
}

/** Take over all tables of the page, each when it comes near. */
export function startStaticTables(): void {
  for (const box of document.querySelectorAll<HTMLElement>("div.table")) {
    // Until then it scrolls sideways, which the keyboard must reach.
    const scroll = box.querySelector(".table-scroll");
    scroll?.setAttribute("tabindex", "0");
    scroll?.setAttribute("role", "region");
    scroll?.setAttribute("aria-label", box.querySelector("h3, h4")?.textContent ?? "Table");
    whenNear(box, () => void replace(box).catch((error: Error) => {
      box.append(el("p", { class: "note warning" }, `This table cannot be shown in full: ${error.message}`));
    }));
  }
}
