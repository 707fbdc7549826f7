// The search of genes: a combobox that `/` focuses. A place such as `chr13:60-110` opens the genome view.

import { genes as loadGenes, type Genes } from "./data/genes";
import { byId, el, goTo } from "./lib/dom";
import { fixed } from "./lib/format";
import { parseRegion, regionText, store, type Region } from "./lib/store";
import { classTag } from "./table/genes";

const MOST = 12;

/** Genes whose name holds the query: the name itself, names that begin with it, then others; best evidence first. */
export function matches(genes: Genes, query: string, most = MOST): number[] {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return [];
  const groups: [number[], number[], number[]] = [[], [], []];
  for (const g of genes.byEvidence()) {
    const name = genes.lower(g);
    const kind = name === wanted ? 0 : name.startsWith(wanted) ? 1 : name.includes(wanted) ? 2 : -1;
    if (kind >= 0) groups[kind as 0 | 1 | 2].push(g);
  }
  // Among names that begin so, the shorter is the likelier: `MYC` before `MYCBP2`.
  groups[1].sort((a, b) => Number(genes.isTested(b)) - Number(genes.isTested(a)) || genes.name(a).length - genes.name(b).length);
  return groups.flat().slice(0, most);
}

type Hit = { gene: number } | { region: Region };

export function startSearch(openGene: (name: string) => void): void {
  const input = byId("q") as HTMLInputElement | null, list = byId("hits");
  if (!input || !list) return;
  input.closest<HTMLElement>(".find")!.hidden = false;
  const said = el("span", { class: "sr", "aria-live": "polite" });
  input.after(said);
  list.setAttribute("aria-label", "Genes");
  let hits: Hit[] = [], at = 0;

  const close = (): void => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (): void => [...list.children].forEach((item, i) => {
    item.setAttribute("aria-selected", String(i === at && hits.length > 0));
    if (i !== at || !hits.length) return;
    input.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  });
  const take = (genes: Genes, hit: Hit | undefined): void => {
    if (!hit) return;
    input.value = "";
    close();
    if ("gene" in hit) return openGene(genes.name(hit.gene));
    store.set({ genome: hit.region }, "push");
    goTo(byId("genome")!);
  };
  const show = (genes: Genes): void => {
    const query = input.value, region = byId("genome") ? parseRegion(query) : null;
    if (!query.trim()) return close();
    hits = [...(region ? [{ region }] : []), ...matches(genes, query).map((gene) => ({ gene }))];
    at = 0;
    list.replaceChildren(...hits.map((hit, i) => {
      const item = el("li", { role: "option", id: `hit-${i}` }, ...("gene" in hit ? describe(genes, hit.gene) : [`${regionText(hit.region)} in the genome view`]));
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        take(genes, hit);
      });
      return item;
    }));
    if (!hits.length) list.append(el("li", { role: "option", "aria-disabled": "true" }, "No gene of this name"));
    said.textContent = hits.length ? `${hits.length} found` : "none found";
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark();
  };
  input.addEventListener("input", () => void loadGenes().then(show));
  input.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step && hits.length && !list.hidden) at = (at + step + hits.length) % hits.length;
    else if (event.key === "Enter") {
      void loadGenes().then((genes) => {
        // Enter may come before the first hits have been drawn.
        if (list.hidden) show(genes);
        take(genes, hits[at]);
      });
    }
    else if (event.key === "Escape") {
      input.value = "";
      close();
    }
    if (step || event.key === "Enter") event.preventDefault();
    if (step) mark();
  });
  input.addEventListener("blur", close);
  addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
}

function describe(genes: Genes, gene: number): (Node | string)[] {
  const slope = genes.value("slope", gene);
  return [
    el("span", { class: "hit-name" }, genes.name(gene)),
    el("small", {}, genes.chromosome(gene), genes.isTested(gene) ? ` \u00b7 slope ${fixed(slope)} ` : " ", classTag(genes.className(gene))),
  ];
}
