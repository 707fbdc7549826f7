// A table of any length: pages of rows, sorted by a click on a head, filtered, columns hidden and shown, and
// downloaded whole. Its first column stays in sight.

import { button, choice, el, oncePerFrame, save } from "../lib/dom";
import { whole } from "../lib/format";
import { filter } from "./filter";

export interface Column {
  readonly key: string;
  readonly title: string;
  /** Unit, in the head below the title. */
  readonly unit?: string;
  /** What the column is, on hover and for screen readers. */
  readonly about?: string;
  readonly numeric: boolean;
  /** Hidden until asked for. */
  readonly hidden?: boolean;
  /** Long text, which may wrap. */
  readonly long?: boolean;
  /** Best values are small (p-values): the first click sorts them up. */
  readonly upFirst?: boolean;
  /** As stored: NaN or "" is missing, and stays last. */
  value(row: number): number | string;
  /** As shown. */
  show(row: number): string | Node;
  /** As downloaded; `value` if not given. */
  raw?(row: number): string;
}

/** A choice above the table that keeps the rows of one label. */
export interface Facet { readonly title: string; readonly labels: readonly string[]; label(row: number): string }

export interface TableOptions {
  /** Name of the downloaded file, without its ending. */
  readonly name: string;
  readonly label: string;
  readonly rows: number;
  readonly columns: readonly Column[];
  /** Rows in the order before any sorting; as stored if not given. */
  readonly order?: ArrayLike<number>;
  readonly notes?: readonly string[];
  readonly facet?: Facet;
  readonly placeholder?: string;
}

const PAGE = 20;
const SMALL = 8;

export const isMissing = (value: number | string): boolean => (typeof value === "number" ? Number.isNaN(value) : value === "" || value === "NA");

export class DataTable {
  readonly element: HTMLElement;
  readonly #options: TableOptions;
  readonly #shown: Set<string>;
  readonly #body = el("tbody");
  readonly #head = el("thead");
  readonly #where = el("span", { class: "table-foot", "aria-live": "polite" });
  readonly #search: HTMLInputElement;
  readonly #texts: (string | undefined)[] = [];
  readonly #back: HTMLButtonElement;
  readonly #next: HTMLButtonElement;
  #facet = "";
  #page = 0;
  #sort: { key: string; down: boolean } | null = null;
  #view: number[] = [];

  constructor(options: TableOptions) {
    this.#options = options;
    this.#shown = new Set(options.columns.filter((c) => !c.hidden).map((c) => c.key));
    this.#search = el("input", { type: "search", placeholder: options.placeholder ?? "Filter: words, or column<0.05", "aria-label": `Filter ${options.label}` });
    this.#search.addEventListener("input", oncePerFrame(() => this.#update()));
    this.#back = button("\u2039", () => this.#turn(-1), { "aria-label": "Previous page" });
    this.#next = button("\u203a", () => this.#turn(1), { "aria-label": "Next page" });
    this.element = el("div", { class: "data-table" }, this.#tools(),
      el("div", { class: "scroll table-scroll", tabindex: 0, role: "region", "aria-label": options.label },
        el("table", { class: "sticky" }, this.#head, this.#body)));
    this.#drawHead();
    this.#update();
  }

  /** Rows that pass the filter, in order. */
  get view(): readonly number[] {
    return this.#view;
  }

  /** Put a query into the filter. */
  query(text: string): void {
    this.#search.value = text;
    this.#update();
  }

  #tools(): HTMLElement {
    const { facet, rows, columns } = this.#options, small = rows <= SMALL;
    const tools = el("div", { class: "tools table-tools" });
    if (!small) {
      tools.append(this.#search);
      if (facet) {
        const counts = new Map<string, number>();
        for (let r = 0; r < rows; r++) counts.set(facet.label(r), (counts.get(facet.label(r)) ?? 0) + 1);
        const labels = facet.labels.filter((l) => counts.has(l));
        const options = [["", `all (${whole(rows)})`], ...labels.map((l) => [l, `${l} (${whole(counts.get(l)!)})`])] as [string, string][];
        tools.append(choice(facet.title, options, (label) => {
          this.#facet = label;
          this.#update();
        }).box);
      }
      if (rows > PAGE) tools.append(this.#back, this.#where, this.#next);
      else tools.append(this.#where);
    }
    if (columns.length > 4) tools.append(this.#columnMenu());
    tools.append(button("Download TSV", () => this.#download()));
    return tools;
  }

  #columnMenu(): HTMLElement {
    const boxes = this.#options.columns.slice(1).map((c) => {
      const box = el("input", { type: "checkbox", checked: this.#shown.has(c.key) });
      box.addEventListener("change", () => {
        if (box.checked) this.#shown.add(c.key);
        else this.#shown.delete(c.key);
        this.#drawHead();
        this.#draw();
      });
      return el("label", {}, box, ` ${c.title}${c.unit ? ` (${c.unit})` : ""}`);
    });
    const menu = el("details", { class: "menu" }, el("summary", {}, "Columns"), el("div", { class: "menu-list", role: "group", "aria-label": "Columns shown" }, ...boxes));
    menu.addEventListener("toggle", () => {
      const list = menu.querySelector<HTMLElement>(".menu-list")!;
      list.style.left = "0";
      // Near the right edge it opens to the left.
      if (menu.open) list.style.left = `${Math.min(0, document.documentElement.clientWidth - 8 - list.getBoundingClientRect().right)}px`;
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary")!.focus();
    });
    document.addEventListener("pointerdown", (event) => {
      if (!menu.contains(event.target as Node)) menu.open = false;
    });
    return menu;
  }

  get #columns(): Column[] {
    return this.#options.columns.filter((c) => this.#shown.has(c.key));
  }

  #drawHead(): void {
    this.#head.replaceChildren(el("tr", {}, ...this.#columns.map((c) => {
      const sorted = this.#sort?.key === c.key ? (this.#sort.down ? "descending" : "ascending") : null;
      const press = button(c.title, () => this.#sortBy(c), { "data-tip": c.about, "data-key": c.key });
      if (c.unit) press.append(el("small", {}, c.unit));
      return el("th", { scope: "col", class: c.numeric ? "num" : "", "aria-sort": sorted }, press);
    })));
  }

  #sortBy(column: Column): void {
    const same = this.#sort?.key === column.key;
    this.#sort = { key: column.key, down: same ? !this.#sort!.down : column.numeric && !column.upFirst };
    this.#drawHead();
    this.#update();
    // The head was drawn anew; the reader's place in it stays.
    this.#head.querySelector<HTMLElement>(`button[data-key="${CSS.escape(column.key)}"]`)?.focus();
  }

  #text(row: number): string {
    return (this.#texts[row] ??= this.#options.columns.map((c) => {
      // A place is a number to sort by and a text to look for; other numbers are found by bounds.
      if (c.numeric && !c.raw) return "";
      return String(c.raw?.(row) ?? c.value(row));
    }).join("\t").toLowerCase());
  }

  #update(): void {
    const { rows, columns, order, facet } = this.#options;
    const byKey = new Map(columns.filter((c) => c.numeric).map((c) => [c.key, c]));
    const passes = filter(this.#search.value, [...byKey.keys()], {
      text: (row) => this.#text(row),
      number: (key, row) => Number(byKey.get(key)?.value(row)),
    });
    const view: number[] = [];
    for (let i = 0; i < rows; i++) {
      const row = order ? order[i]! : i;
      if ((!this.#facet || facet!.label(row) === this.#facet) && passes(row)) view.push(row);
    }
    this.#view = view;
    const column = columns.find((c) => c.key === this.#sort?.key);
    if (column) sortRows(view, column, this.#sort!.down);
    this.#page = 0;
    this.#draw();
  }

  #turn(by: number): void {
    this.#page += by;
    this.#draw();
  }

  #draw(): void {
    const view = this.#view, pages = Math.max(1, Math.ceil(view.length / PAGE));
    this.#page = Math.min(Math.max(0, this.#page), pages - 1);
    const from = this.#page * PAGE, columns = this.#columns;
    this.#body.replaceChildren(...view.slice(from, from + PAGE).map((row) =>
      el("tr", {}, ...columns.map((c, i) => {
        const kind = [c.numeric ? "num" : "", c.long ? "long" : ""].join(" ").trim();
        return i === 0 ? el("th", { scope: "row", class: kind || null }, c.show(row)) : el("td", { class: kind || null }, c.show(row));
      }))));
    if (!view.length) this.#body.append(el("tr", {}, el("td", { colspan: columns.length }, "No row passes the filter.")));
    this.#where.textContent = view.length ? `${whole(from + 1)}\u2013${whole(Math.min(view.length, from + PAGE))} of ${whole(view.length)}` : "0 rows";
    this.#back.disabled = this.#page === 0;
    this.#next.disabled = this.#page >= pages - 1;
  }

  #download(): void {
    save(`${this.#options.name}.tsv`, toTsv(this.#options, this.#view));
  }
}

/** Sort in place; missing values stay last either way. */
export function sortRows(rows: number[], column: Column, down: boolean): void {
  const sign = down ? -1 : 1;
  rows.sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    const missing = Number(isMissing(x)) - Number(isMissing(y));
    if (missing || isMissing(x)) return missing;
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * String(x).localeCompare(String(y), "en", { numeric: true });
  });
}

/** Notes as comments, then all columns, hidden ones too, of the rows of the view. */
export function toTsv(options: TableOptions, rows: readonly number[]): string {
  const cell = (c: Column, row: number): string => {
    const value = c.raw?.(row) ?? c.value(row);
    return (typeof value === "number" ? (Number.isFinite(value) ? String(value) : "") : value).replace(/[\t\n\r]+/g, " ");
  };
  const lines = [
    ...(options.notes ?? []).map((note) => `# ${note}`),
    options.columns.map((c) => c.key).join("\t"),
    ...rows.map((row) => options.columns.map((c) => cell(c, row)).join("\t")),
  ];
  return `${lines.join("\n")}\n`;
}
