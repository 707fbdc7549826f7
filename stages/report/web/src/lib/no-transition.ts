// Stands for d3-transition and d3-interpolate, which d3-zoom brings for animated zooming. The page zooms at
// once (`duration(0)`), so that there is nothing to interrupt and nothing to interpolate.

import { selection } from "d3-selection";

(selection.prototype as unknown as { interrupt: () => unknown }).interrupt = function (this: unknown) {
  return this;
};

export function interrupt(): void {
  // No transition runs.
}

export function interpolateZoom(): never {
  throw new Error("the page's zooms are not animated");
}
