// What is being looked at, kept in the page's address so that a view can be sent and Back works.

/** A stretch of a chromosome, in Mb; ends are undefined for the whole of it. */
export interface Region { readonly chromosome: string; readonly from?: number; readonly to?: number }

export interface State {
  /** Gene of the gene view. */
  readonly gene: string;
  /** Column that cells are coloured by, or `gene:NAME`. */
  readonly colour: string;
  /** Maps of the two panels. */
  readonly maps: readonly [number, number];
  /** What the genome view shows; null is all of it. */
  readonly genome: Region | null;
  /** Patient of the genome view; empty is all. */
  readonly patient: string;
  /** Rows of the genome view: `cells` or `clones`. */
  readonly rows: string;
  /** How the selected cells were chosen (`cells/recipe.ts`); empty where none is. */
  readonly cells: string;
}

export const START: State = { gene: "", colour: "", maps: [0, 1], genome: null, patient: "", rows: "cells", cells: "" };

export function regionText(region: Region): string {
  const place = region.from === undefined || region.to === undefined ? "" : `:${trim(region.from)}-${trim(region.to)}`;
  return region.chromosome + place;
}

const trim = (mb: number): string => String(Math.round(mb * 1000) / 1000);

/** `chr13`, `13:60-110`, `chr13:60.5-61` (Mb), or in bp as browsers write it; null where it is none. */
export function parseRegion(text: string): Region | null {
  const match = /^\s*(chr)?([0-9]{1,2}|[XYM]|MT)(?:\s*:\s*([\d.,]+)\s*[-\u2013]\s*([\d.,]+))?\s*$/i.exec(text);
  if (!match) return null;
  const chromosome = `chr${match[2]!.toUpperCase()}`;
  if (match[3] === undefined || match[4] === undefined) return { chromosome };
  let [from, to] = [match[3], match[4]].map((part) => Number(part.replaceAll(",", ""))) as [number, number];
  // No chromosome has 1,000 Mb: larger numbers are bases.
  if (to > 1000) [from, to] = [from / 1e6, to / 1e6];
  return Number.isFinite(from) && to > from ? { chromosome, from, to } : null;
}

/** The address' fragment of a state, without `#`; only what differs from the start. */
export function writeAddress(state: State): string {
  const parts: [string, string][] = [];
  if (state.gene) parts.push(["gene", state.gene]);
  if (state.colour) parts.push(["colour", state.colour]);
  if (state.maps.join() !== START.maps.join()) parts.push(["maps", state.maps.join()]);
  if (state.genome) parts.push(["genome", regionText(state.genome)]);
  if (state.patient) parts.push(["patient", state.patient]);
  if (state.rows !== START.rows) parts.push(["rows", state.rows]);
  if (state.cells) parts.push(["cells", state.cells]);
  const text = (value: string): string => encodeURIComponent(value).replaceAll("%3A", ":").replaceAll("%2C", ",");
  return parts.map(([key, value]) => `${key}=${text(value)}`).join("&");
}

/** The state of a fragment; what it does not name is as at the start. Null for a plain anchor. */
export function readAddress(fragment: string): State | null {
  const text = fragment.replace(/^#/, "");
  if (!text.includes("=")) return null;
  const given = new URLSearchParams(text.replaceAll("+", "%2B"));
  const maps = (given.get("maps") ?? "").split(",").map(Number);
  const pair = maps.length === 2 && maps.every((m) => Number.isInteger(m) && m >= 0);
  return {
    gene: given.get("gene") ?? "",
    colour: given.get("colour") ?? "",
    maps: pair ? [maps[0]!, maps[1]!] : START.maps,
    genome: parseRegion(given.get("genome") ?? ""),
    patient: given.get("patient") ?? "",
    rows: given.get("rows") === "clones" ? "clones" : "cells",
    cells: given.get("cells") ?? "",
  };
}

const OWN = { page: true };

type Key = keyof State;

/** The state, who listens to which part of it, and the browser's history. */
export class Store {
  #state: State = START;
  readonly #listeners: { keys: readonly Key[]; call: () => void }[] = [];
  #writing = 0;

  get state(): State {
    return this.#state;
  }

  /** Call back after any of `keys` changed. */
  on(keys: readonly Key[], call: () => void): void {
    this.#listeners.push({ keys, call });
  }

  /** Change the state. `push` makes a step that Back undoes; else the present one is rewritten. */
  set(change: Partial<State>, step: "push" | "replace" = "replace"): void {
    const changed = this.#apply({ ...this.#state, ...change });
    if (!changed) return;
    if (step === "push") {
      this.#write("push");
    } else {
      // Zooming changes the state with every frame, and browsers refuse too many entries a second.
      clearTimeout(this.#writing);
      this.#writing = window.setTimeout(() => this.#write("replace"), 150);
    }
  }

  /** Follow the address, now and on Back and Forward. A plain anchor leaves the state as it is. */
  follow(): void {
    const given = location.hash.length < 2 ? START : readAddress(location.hash);
    if (given) this.#apply(given);
  }

  #write(step: "push" | "replace"): void {
    clearTimeout(this.#writing);
    const fragment = `#${writeAddress(this.#state)}`;
    // Entries with a state are the page's own: on the way back to them the browser keeps the place by itself.
    if (step === "push") history.pushState(OWN, "", fragment);
    else history.replaceState(OWN, "", fragment);
  }

  #apply(next: State): boolean {
    const before = this.#state;
    const changed = (Object.keys(next) as Key[]).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(next[key]));
    this.#state = next;
    for (const { keys, call } of this.#listeners) if (keys.some((key) => changed.includes(key))) call();
    return changed.length > 0;
  }
}

/** Cells picked out in one view and shown in all. */
export class Selection {
  /** 1 for each cell that is selected; null where none is. */
  cells: Uint8Array | null = null;
  count = 0;
  /** What it is, in words. */
  name = "";
  /** How to make it again, as in the address; empty where that cannot be said. */
  recipe = "";
  readonly #listeners: (() => void)[] = [];

  on(call: () => void): void {
    this.#listeners.push(call);
  }

  set(cells: Uint8Array | null, name: string, recipe = ""): void {
    let count = 0;
    if (cells) for (const one of cells) count += one;
    this.cells = count ? cells : null;
    this.count = count;
    this.name = count ? name : "";
    this.recipe = count ? recipe : "";
    for (const call of this.#listeners) call();
  }
}

export const store = new Store();
export const selection = new Selection();
