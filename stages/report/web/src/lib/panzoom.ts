// Moving and zooming of a canvas: drag, two fingers, Ctrl and wheel, double click. A plain wheel and one finger up
// or down scroll the page.

/** Where the unmoved picture lies now: px = offset + k x px before. */
export interface Placed { readonly x: number; readonly y: number; readonly k: number }

export const UNMOVED: Placed = { x: 0, y: 0, k: 1 };

/** Edges that the picture has to fill, px. */
export interface Bounds { readonly left: number; readonly right: number; readonly top: number; readonly bottom: number }

export interface PanZoomOptions {
  bounds(): Bounds;
  /** Greatest zoom. */
  most(): number;
  /** Whether a drag moves; it may do something else. */
  drags(): boolean;
  readonly onlySideways: boolean;
  /** After each move; `byReader` tells it from one that the page asked for. */
  onmove(placed: Placed, byReader: boolean): void;
}

/** Limit the zoom, and keep the picture over its bounds. */
export function within(placed: Placed, bounds: Bounds, most: number): Placed {
  const k = Math.min(Math.max(1, placed.k), Math.max(1, most));
  const keep = (offset: number, low: number, high: number): number => Math.min(low - k * low, Math.max(high - k * high, offset));
  return { k, x: keep(placed.x, bounds.left, bounds.right), y: keep(placed.y, bounds.top, bounds.bottom) };
}

/** Zoom by a factor so that what lies at a point stays there. */
export function zoomed(placed: Placed, factor: number, x: number, y: number, most: number): Placed {
  const k = Math.min(Math.max(1, placed.k * factor), Math.max(1, most)), by = k / placed.k;
  return { k, x: x - (x - placed.x) * by, y: y - (y - placed.y) * by };
}

export class PanZoom {
  placed: Placed = UNMOVED;
  readonly #options: PanZoomOptions;
  readonly #element: HTMLElement;
  readonly #pointers = new Map<number, { x: number; y: number }>();

  constructor(element: HTMLElement, options: PanZoomOptions) {
    this.#element = element;
    this.#options = options;
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
      element.addEventListener(end, (event) => this.#pointers.delete((event as PointerEvent).pointerId));
    }
    element.addEventListener("dblclick", (event) => {
      if (options.drags()) this.#to(zoomed(this.placed, event.shiftKey ? 0.5 : 2, event.offsetX, event.offsetY, options.most()), true);
    });
  }

  /** Place the picture; the page's own wish unless `byReader`. */
  set(placed: Placed, byReader = false): void {
    this.#to(placed, byReader);
  }

  /** Zoom about the middle, as the reader's buttons and keys do. */
  by(factor: number): void {
    const { left, right, top, bottom } = this.#options.bounds();
    this.#to(zoomed(this.placed, factor, (left + right) / 2, (top + bottom) / 2, this.#options.most()), true);
  }

  pan(dx: number, dy = 0): void {
    this.#to({ ...this.placed, x: this.placed.x + dx, y: this.placed.y + dy }, true);
  }

  #to(placed: Placed, byReader: boolean): void {
    const kept = within(placed, this.#options.bounds(), this.#options.most());
    this.placed = this.#options.onlySideways ? { ...kept, y: 0 } : kept;
    this.#options.onmove(this.placed, byReader);
  }

  #wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    // Lines, pages or px; a trackpad's pinch comes as small steps with Ctrl.
    const steps = -event.deltaY * (event.deltaMode === 1 ? 0.05 : event.deltaMode ? 1 : 0.01);
    this.#to(zoomed(this.placed, 2 ** Math.min(1, Math.max(-1, steps)), event.offsetX, event.offsetY, this.#options.most()), true);
  }

  #down(event: PointerEvent): void {
    const touch = event.pointerType === "touch";
    if (event.button || event.ctrlKey || (!touch && !this.#options.drags())) return;
    this.#pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.#element.setPointerCapture(event.pointerId);
  }

  #move(event: PointerEvent): void {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.offsetX, y: event.offsetY };
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (!other) {
      if (this.#options.drags()) this.pan(now.x - before.x, now.y - before.y);
      return;
    }
    const span = (p: { x: number; y: number }): number => Math.max(20, Math.hypot(p.x - other.x, p.y - other.y));
    const spread = zoomed(this.placed, span(now) / span(before), (now.x + other.x) / 2, (now.y + other.y) / 2, this.#options.most());
    // The middle of two fingers moves by half of what one does.
    this.#to({ ...spread, x: spread.x + (now.x - before.x) / 2, y: spread.y + (now.y - before.y) / 2 }, true);
  }
}
