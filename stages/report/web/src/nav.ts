// Links of the bar and of genes: they move within the page and keep what the address holds.

import { openGene } from "./gene/view";
import { byId, goTo } from "./lib/dom";
import { readAddress, store } from "./lib/store";

/** The section in sight is marked in the bar. */
function markSections(): void {
  const links = new Map([...document.querySelectorAll<HTMLAnchorElement>("nav a")].map((a) => [a.hash.slice(1), a]));
  const sections = [...links.keys()].map((id) => byId(id)).filter((s): s is HTMLElement => s !== null);
  const seen = new Set<string>();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target.id);
      else seen.delete(target.id);
    }
    const here = sections.find((s) => seen.has(s.id));
    for (const [id, link] of links) {
      if (id === here?.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const link = here && links.get(here.id), bar = link?.parentElement;
    // Only the bar itself may scroll: the page is moving already.
    if (link && bar && bar.scrollWidth > bar.clientWidth) bar.scrollLeft = link.offsetLeft - bar.clientWidth / 2 + link.offsetWidth / 2;
  }, { rootMargin: "-12% 0px -60% 0px" });
  sections.forEach((s) => watch.observe(s));
}

function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = (event.target as Element).closest?.<HTMLAnchorElement>('a[href^="#"]');
  if (!link || link.classList.contains("skip")) return;
  const fragment = link.getAttribute("href")!, given = readAddress(fragment);
  if (given?.gene) {
    event.preventDefault();
    openGene(given.gene);
    return;
  }
  const target = byId(decodeURIComponent(fragment.slice(1)));
  if (!target) return;
  event.preventDefault();
  goTo(target);
  target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
}

/** The view that an address speaks of. */
function placeOf(fragment: string): HTMLElement | null {
  const given = readAddress(fragment);
  if (!given) return fragment.length > 1 ? byId(decodeURIComponent(fragment.slice(1))) : null;
  return (given.gene && byId("gene")) || ((given.genome || given.patient) && byId("genome")) || ((given.colour || given.cells) && byId("cells")) || null;
}

export function startNavigation(): void {
  markSections();
  document.addEventListener("click", follow);
  const arrive = (): void => {
    store.follow();
    const place = placeOf(location.hash);
    if (place) goTo(place);
  };
  // An address typed or pasted; Back and Forward are below.
  addEventListener("hashchange", () => history.state === null && arrive());
  addEventListener("popstate", () => store.follow());
  arrive();
}
