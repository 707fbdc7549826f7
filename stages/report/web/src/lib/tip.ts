// One small label that follows the pointer over anything with `data-tip`.

import { el } from "./dom";

export function startTips(): void {
  const tip = el("div", { id: "tip", role: "presentation", hidden: true });
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    if (!target) {
      tip.hidden = true;
      return;
    }
    const text = target.getAttribute("data-tip")!;
    if (tip.textContent !== text) tip.textContent = text;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 6);
    const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 10}px`;
  });
  const hide = (): void => void (tip.hidden = true);
  document.addEventListener("pointerleave", hide);
  document.addEventListener("pointerdown", hide);
  addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("keydown", hide);
}
