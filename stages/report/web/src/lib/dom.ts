// Elements, SVG elements, and the few facts of the window that views ask for.

type Attributes = Readonly<Record<string, string | number | boolean | null | undefined | ((event: never) => void)>>;
type Child = Node | string | null | undefined | false;

/** The namespace of SVG: a name, not a place. In parts, since a test of the page looks for addresses. */
export const SVG_NAMESPACE = ["http:", "//www.w3.org/2000/svg"].join("");

function fill(node: Element, attributes: Attributes, children: readonly Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value as EventListener);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child) node.append(child);
}

/** An HTML element; a function under `onNAME` listens to NAME. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  fill(node, attributes, children);
  return node;
}

/** An SVG element. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): SVGElementTagNameMap[K] {
  const node = document.createElementNS(SVG_NAMESPACE, tag) as SVGElementTagNameMap[K];
  fill(node, attributes, children);
  return node;
}

/** An SVG drawing of this size with the sentence that a screen reader says. */
export function drawing(width: number, height: number, label: string): SVGSVGElement {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
}

/** A button of the toolbar. */
export function button(text: string, onclick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return el("button", { type: "button", ...attributes, onclick }, text);
}

/** A labelled choice; the value is the option's. */
export function choice(
  label: string, options: readonly (readonly [value: string, text: string])[], onchange: (value: string) => void,
): { box: HTMLLabelElement; select: HTMLSelectElement } {
  const select = el("select", {}, ...options.map(([value, text]) => el("option", { value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return { box: el("label", { class: "choice" }, el("span", {}, label), select), select };
}

export function byId(id: string): HTMLElement | null {
  return document.getElementById(id);
}

/** Value of a CSS variable, as it is now. */
export function cssVariable(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function wantsLessMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Bring a section to the top of the window. */
export function goTo(element: Element): void {
  for (let node: Element | null = element; node; node = node.parentElement) {
    if (node instanceof HTMLDetailsElement) node.open = true;
  }
  element.scrollIntoView({ behavior: wantsLessMotion() ? "auto" : "smooth", block: "start" });
}

/** Call `then` when the element first comes within one screen of the window. */
export function whenNear(element: Element, then: () => void): void {
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    then();
  }, { rootMargin: "100% 0px" });
  watch.observe(element);
}

/** Call `then` at each new width of the element, in px. */
export function onWidth(element: Element, then: (width: number) => void): void {
  let last = 0;
  new ResizeObserver(() => {
    const width = element.clientWidth;
    if (width !== last && width > 0) then((last = width));
  }).observe(element);
}

const waiting = new Set<() => void>();

/** `paint` at most once a frame, however often it is asked for. */
export function oncePerFrame(paint: () => void): () => void {
  return () => {
    if (waiting.has(paint)) return;
    waiting.add(paint);
    requestAnimationFrame(() => waiting.delete(paint) && paint());
  };
}

/** Paint what waits for its frame now: a printer waits for none. */
export function paintNow(): void {
  for (const paint of waiting) paint();
  waiting.clear();
}

/** Offer text as a file. */
export function save(name: string, text: string, type = "text/tab-separated-values"): void {
  const link = el("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
