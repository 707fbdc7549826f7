// One map of the cells: pan, zoom, lasso, and the cell under the pointer.

import type { Cells } from "../data/cells";
import { choice, el, oncePerFrame, svg, button } from "../lib/dom";
import { pixel, resolve } from "../lib/colours";
import { PanZoom, UNMOVED } from "../lib/panzoom";
import { selection } from "../lib/store";
import type { Colouring } from "./colouring";
import { inside, union, type Polygon } from "./lasso";
import { both, ofLasso, polygon, simplified } from "./recipe";
import { cellImage, radiusOf, type Placement } from "./paint";

const PAD = 10;
/** Farther from a cell than this, px, the pointer means none. */
const NEAR = 7;
/** Greatest zoom. */
const CLOSEST = 40;

export interface PanelHost {
  readonly cells: Cells;
  colours(): { colouring: Colouring; order: Uint32Array };
  mode(): "select" | "move";
  hover(cell: number): void;
}

export class Panel {
  readonly element: HTMLElement;
  readonly select: HTMLSelectElement;
  readonly #host: PanelHost;
  readonly #index: number;
  readonly #canvas = el("canvas", { class: "cell-canvas" });
  readonly #line = svg("path", { class: "lasso", d: "" });
  readonly #labels = svg("g");
  readonly #zoom: PanZoom;
  readonly #about = el("p", { class: "soft map-about" });
  readonly paint = oncePerFrame(() => this.#paint());
  #map: number;

  constructor(host: PanelHost, index: number, map: number, onmap: (map: number) => void) {
    this.#host = host;
    this.#index = index;
    this.#map = map;
    const maps = host.cells.head.maps;
    const pick = choice("Map", maps.map((m, i) => [String(i), m.title] as const), (value) => onmap(Number(value)));
    this.select = pick.select;
    this.#zoom = new PanZoom(this.#canvas, {
      onlySideways: false, drags: () => host.mode() === "move", most: () => CLOSEST,
      bounds: () => ({ left: 0, right: this.#canvas.clientWidth, top: 0, bottom: this.#canvas.clientHeight }),
      onmove: () => this.paint(),
    });
    this.element = el("div", { class: "cell-panel" },
      el("div", { class: "tools" }, pick.box, el("span", { class: "grow" }),
        button("+", () => this.#zoom.by(1.6), { "aria-label": "Zoom in on this map" }), button("\u2212", () => this.#zoom.by(1 / 1.6), { "aria-label": "Zoom out of this map" }),
        button("Fit", () => this.#zoom.set(UNMOVED), { "aria-label": "Fit: show the whole map" })),
      el("div", { class: "square" }, this.#canvas, svg("svg", { class: "over", "aria-hidden": "true" }, this.#labels, this.#line)),
      this.#about);
    this.#canvas.setAttribute("role", "img");
    this.#listen();
    this.show(map);
  }

  /** Show another map, or the same after a change of size. */
  show(map: number): void {
    this.#map = Math.min(Math.max(0, map), this.#host.cells.head.maps.length - 1);
    this.select.value = String(this.#map);
    const about = this.#host.cells.head.maps[this.#map];
    this.#canvas.setAttribute("aria-label", `${about?.title ?? "Map"} of ${this.#host.cells.n} cells. The legend's buttons select cells by keyboard.`);
    this.#about.textContent = about?.about ?? "";
    this.paint();
  }

  #listen(): void {
    const canvas = this.#canvas;
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) this.#host.hover(this.#nearest(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("pointerleave", () => this.#host.hover(-1));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || event.ctrlKey || this.#host.mode() !== "select" || (event.pointerType === "touch" && !event.isPrimary)) return;
      this.#lasso(event);
    });
  }

  #lasso(start: PointerEvent): void {
    const canvas = this.#canvas, points = [start.offsetX, start.offsetY];
    canvas.setPointerCapture(start.pointerId);
    const move = (event: PointerEvent): void => {
      const n = points.length;
      if (Math.hypot(event.offsetX - points[n - 2]!, event.offsetY - points[n - 1]!) < 3) return;
      points.push(event.offsetX, event.offsetY);
      this.#line.setAttribute("d", `M${points.join(" ")}Z`);
    };
    const end = (event: PointerEvent): void => {
      canvas.removeEventListener("pointermove", move);
      this.#line.setAttribute("d", "");
      if (event.type === "pointerup") this.#take(points, start.shiftKey);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end, { once: true });
    canvas.addEventListener("pointercancel", end, { once: true });
  }

  #take(points: Polygon, more: boolean): void {
    // A click without a line clears.
    if (points.length < 8) return selection.set(null, "");
    performance.mark("lasso-start");
    const at = this.#placement(1);
    const line = points.map((v, i) => (v - (i % 2 ? at.y : at.x)) / at.scale);
    // The cells are those of the line as the address has it, so that whoever opens the address sees the same ones.
    const recipe = ofLasso(this.#map, simplified(line, 0.5 / at.scale));
    const found = inside(polygon(recipe.slice(recipe.indexOf(".") + 1)) ?? [], this.#host.cells.map(this.#map));
    if (more && selection.cells) selection.set(union(selection.cells, found), `${selection.name} and a lasso`, both(selection.recipe, recipe));
    else selection.set(found, "lasso", recipe);
    performance.measure("lasso", "lasso-start");
  }

  /** The map's place in the panel in px, times `ratio`. */
  #placement(ratio: number): Placement {
    const size = Math.min(this.#canvas.clientWidth, this.#canvas.clientHeight) - 2 * PAD, { x, y, k } = this.#zoom.placed;
    const left = (this.#canvas.clientWidth - size) / 2, top = (this.#canvas.clientHeight - size) / 2;
    return { x: (x + k * left) * ratio, y: (y + k * top) * ratio, scale: k * size * ratio };
  }

  #nearest(x: number, y: number): number {
    const places = this.#host.cells.map(this.#map), at = this.#placement(1);
    const px = (x - at.x) / at.scale, py = (y - at.y) / at.scale;
    let best = -1, least = (NEAR / at.scale) ** 2;
    for (let i = 0; i < places.length; i += 2) {
      const d = (places[i]! - px) ** 2 + (places[i + 1]! - py) ** 2;
      if (d < least) [best, least] = [i / 2, d];
    }
    return best;
  }

  #paint(): void {
    const canvas = this.#canvas, ratio = devicePixelRatio;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    const { colouring, order } = this.#host.colours(), cells = this.#host.cells;
    performance.mark("cells-start");
    canvas.width = width;
    canvas.height = height;
    const dim = pixel(resolve(selection.cells ? "var(--faint)" : "var(--dim)"));
    const scene = {
      places: cells.map(this.#map), order, colours: colouring, dim, selected: selection.cells, radius: radiusOf(cells.n, this.#zoom.placed.k, ratio),
    };
    canvas.getContext("2d")!.putImageData(cellImage(scene, this.#placement(ratio), width, height), 0, 0);
    performance.measure(`paint-cells-${this.#index}`, "cells-start");
    this.#drawTiles();
  }

  #drawTiles(): void {
    const at = this.#placement(1), tiles = this.#host.cells.head.maps[this.#map]?.tiles ?? [];
    this.#labels.replaceChildren(...tiles.map((t) =>
      svg("text", { x: at.x + at.scale * t.x + 2, y: at.y + at.scale * (1 - t.y - t.h) + 11 }, t.label)));
  }
}
