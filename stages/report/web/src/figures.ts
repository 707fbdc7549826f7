// Figures of the folds: their drawings lie packed, and are put in when their fold opens.

import { chunk, hasChunk } from "./lib/chunks";
import { el, SVG_NAMESPACE, whenNear } from "./lib/dom";
import type { Chunk, Header } from "./lib/unpack";

interface FiguresHeader extends Header { readonly figures: readonly { readonly id: string; readonly title: string; readonly file: string }[] }

/** After so long the page has what it shows at first. */
const IDLE_MS = 3000;
const FORBIDDEN = "script, foreignObject, iframe, animate, set, a";
const PICTURE = "data:image/png;base64,";

/** The drawing of a text. It is read as XML and what could act is taken out: data runs nothing. */
export function safeDrawing(text: string): Element {
  const named = text.includes("xmlns=") ? text : text.replace("<svg", `<svg xmlns="${SVG_NAMESPACE}"`);
  const parsed = new DOMParser().parseFromString(named, "image/svg+xml");
  const root = parsed.documentElement;
  if (root.nodeName !== "svg") throw new Error("the drawing is no SVG");
  root.querySelectorAll(FORBIDDEN).forEach((node) => (node.nodeName === "a" ? node.replaceWith(...node.childNodes) : node.remove()));
  root.querySelectorAll("image").forEach((node) => (node.getAttribute("href") ?? "").startsWith(PICTURE) || node.remove());
  for (const node of [root, ...root.querySelectorAll("*")]) {
    for (const attribute of [...node.attributes]) {
      const refers = /href$/i.test(attribute.name) && !attribute.value.startsWith("#") && !attribute.value.startsWith(PICTURE);
      if (/^on/i.test(attribute.name) || refers) node.removeAttribute(attribute.name);
    }
  }
  return document.importNode(root, true);
}

function put(source: Chunk<FiguresHeader>, figure: HTMLElement): void {
  const index = Number(figure.dataset["figure"]), host = figure.querySelector(".drawing");
  if (!host || !Number.isInteger(index)) return;
  const pointers = source.stored("ptr"), all = source.stored("svg") as Uint8Array;
  const text = new TextDecoder().decode(all.subarray(pointers[index]!, pointers[index + 1]!));
  const drawing = safeDrawing(text);
  host.replaceChildren(drawing);
  // A wide drawing scrolls sideways in its box, so the box must take the keyboard.
  host.setAttribute("tabindex", "0");
  host.setAttribute("role", "region");
  host.setAttribute("aria-label", `Figure: ${figure.querySelector("h4")?.textContent ?? index}`);
}

export function startFigures(): void {
  if (!hasChunk("figures")) return;
  const figures = [...document.querySelectorAll<HTMLElement>("figure[data-figure]")];
  const draw = (source: Chunk<FiguresHeader>, figure: HTMLElement): void => {
    if (figure.dataset["drawn"]) return;
    figure.dataset["drawn"] = "yes";
    try {
      put(source, figure);
    } catch (error) {
      figure.append(el("p", { class: "note warning" }, `The figure cannot be shown: ${(error as Error).message}`));
    }
  };
  for (const figure of figures) whenNear(figure, () => void chunk<FiguresHeader>("figures").then((source) => draw(source, figure), console.error));
  // A printer waits for nothing, so that what it would need is unpacked while nobody waits.
  let unpacked: Chunk<FiguresHeader> | null = null;
  setTimeout(() => void chunk<FiguresHeader>("figures").then((source) => (unpacked = source), console.error), IDLE_MS);
  addEventListener("beforeprint", () => unpacked && figures.forEach((figure) => draw(unpacked!, figure)));
}
