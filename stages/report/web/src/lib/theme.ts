// Light, dark, or as the system says. Canvases have no style sheet, so they are told of changes.

import { byId, paintNow } from "./dom";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const KEY = "clcc-theme";

const listeners: (() => void)[] = [];

/** Call after the colours have changed. */
export function onTheme(call: () => void): void {
  listeners.push(call);
}

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // Some browsers refuse storage to files.
  }
}

function remember(theme: Theme): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // As above: the choice lasts as long as the page.
  }
}

const tell = (): void => listeners.forEach((call) => call());

function apply(theme: Theme, button: HTMLElement): void {
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  button.textContent = `Theme: ${theme}`;
  tell();
}

/** Show the button and follow it, the system and the printer, which gets light colours. */
export function startTheme(): void {
  const button = byId("theme");
  if (!button) return;
  const asked = /(?:^#|&)theme=(\w+)/.exec(location.hash)?.[1] ?? remembered();
  let theme: Theme = THEMES.find((t) => t === asked) ?? "auto";
  button.hidden = false;
  apply(theme, button);
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    remember(theme);
    apply(theme, button);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  addEventListener("beforeprint", () => {
    document.documentElement.setAttribute("data-theme", "light");
    tell();
    paintNow();
  });
  addEventListener("afterprint", () => apply(theme, button));
}
