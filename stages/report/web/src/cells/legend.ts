// The legend of the cells: labels to press, which select their cells, or the scale of a number.

import type { Cells } from "../data/cells";
import { button, el } from "../lib/dom";
import { short, whole } from "../lib/format";
import { selection } from "../lib/store";
import { NO_CODE, type Colouring } from "./colouring";
import { labelCodes, ofLabels } from "./recipe";

export class Legend {
  readonly element = el("div", { class: "cell-legend" });
  readonly #cells: Cells;

  constructor(cells: Cells) {
    this.#cells = cells;
  }

  draw(colours: Colouring): void {
    const title = el("h3", {}, colours.title);
    if (!colours.labels) {
      this.element.replaceChildren(title, ...scale(colours));
      return;
    }
    // A selection made elsewhere releases the legend's buttons.
    const pressed = new Set(labelCodes(selection.recipe, colours.key));
    const counts = new Uint32Array(colours.labels.length + 1), n = colours.labels.length;
    for (let i = 0; i < this.#cells.n; i++) counts[Math.min(colours.codes[i]!, n)]!++;
    const items = colours.labels.map((label, code) => ({ label, code, n: counts[code]! })).filter((item) => item.n);
    const focused = document.activeElement?.getAttribute("data-code");
    this.element.replaceChildren(title, el("ul", { class: "keys press" }, ...items.map((item) => el("li", {}, this.#button(colours, item, pressed)))));
    if (counts[n]) this.element.append(el("p", { class: "soft" }, el("i", { class: "none" }), ` none: ${whole(counts[n]!)}`));
    if (focused) this.element.querySelector<HTMLElement>(`[data-code="${focused}"]`)?.focus();
  }

  #button(colours: Colouring, item: { label: string; code: number; n: number }, pressed: ReadonlySet<number>): HTMLElement {
    const press = button("", () => this.#press(colours, item.code), { "aria-pressed": String(pressed.has(item.code)), "data-code": item.code });
    press.append(el("i", { style: `background:${colours.css[item.code]}` }), el("span", {}, item.label || "(empty)"), el("small", {}, whole(item.n)));
    return press;
  }

  #press(colours: Colouring, code: number): void {
    const pressed = new Set(labelCodes(selection.recipe, colours.key));
    if (!pressed.delete(code)) pressed.add(code);
    const chosen = new Uint8Array(this.#cells.n);
    for (let i = 0; i < chosen.length; i++) if (pressed.has(colours.codes[i]!)) chosen[i] = 1;
    const names = [...pressed].map((c) => colours.labels![c] ?? "");
    selection.set(pressed.size ? chosen : null, `${colours.title}: ${names.join(", ")}`, ofLabels(colours.key, [...pressed]));
  }
}

function scale(colours: Colouring): Node[] {
  const [low, high] = colours.ends!, middle = (low + high) / 2;
  let missing = 0;
  for (const code of colours.codes) if (code === NO_CODE) missing++;
  return [
    el("div", { class: "ramp", style: `background:linear-gradient(to right,${colours.css.filter((_, i) => i % 8 === 0 || i === colours.css.length - 1).join(",")})` }),
    el("div", { class: "ends" }, el("span", {}, short(low)), el("span", {}, short(middle)), el("span", {}, short(high))),
    el("p", { class: "soft" }, `Colours from the 1st to the 99th percentile.${missing ? ` Grey: ${whole(missing)} cells without a value.` : ""}`),
  ];
}
