// Sets of genes among those that escape, against tested genes only.

import { genes as loadGenes } from "./data/genes";
import { chunk } from "./lib/chunks";
import { el } from "./lib/dom";
import { fixed, NONE, pValue, short, whole } from "./lib/format";
import type { Header } from "./lib/unpack";
import { geneLink } from "./table/genes";
import { DataTable } from "./table/table";

interface GeneSet {
  readonly collection: string;
  readonly name: string;
  readonly size: number;
  readonly hits: number;
  readonly expected: number;
  readonly odds: number | null;
  readonly p: number;
  readonly q: number;
  readonly genes: readonly number[];
}

interface EnrichmentHeader extends Header {
  readonly file?: string;
  readonly about?: string;
  readonly tested: number;
  readonly hits: number;
  readonly sets: readonly GeneSet[];
}

const MOST_LINKS = 12;

export async function enrichmentView(section: HTMLElement, body: HTMLElement): Promise<void> {
  const [source, genes] = await Promise.all([chunk<EnrichmentHeader>("enrichment"), loadGenes()]);
  const { sets, tested, hits, file } = source.head;
  // The few rows that stand in the page for readers without scripts are in the whole table.
  body.parentElement?.querySelectorAll(":scope > .table, :scope > .scroll").forEach((old) => old.remove());
  const names = (s: GeneSet): string[] => s.genes.map((g) => genes.name(g)).filter(Boolean);
  const links = (s: GeneSet): HTMLElement => {
    const out = el("span"), shown = names(s).slice(0, MOST_LINKS);
    shown.forEach((name, i) => out.append(i ? ", " : "", geneLink(name)));
    if (s.genes.length > shown.length) out.append(` and ${s.genes.length - shown.length} more`);
    return out;
  };
  const table = new DataTable({
    name: "enrichment", label: section.querySelector("h2")?.textContent ?? "Enrichment", rows: sets.length,
    notes: [`${whole(hits)} genes that escape among ${whole(tested)} tested`, ...(file ? [`whole table: ${file}`] : [])],
    facet: { title: "Collection", labels: [...new Set(sets.map((s) => s.collection))].sort(), label: (i) => sets[i]!.collection },
    columns: [
      { key: "set", title: "Set", numeric: false, value: (i) => sets[i]!.name, show: (i) => sets[i]!.name },
      { key: "collection", title: "Collection", numeric: false, value: (i) => sets[i]!.collection, show: (i) => sets[i]!.collection },
      { key: "tested", title: "Tested", numeric: true, about: "Genes of the set that were tested", value: (i) => sets[i]!.size, show: (i) => whole(sets[i]!.size) },
      { key: "escape", title: "Escape", numeric: true, about: "Those of them that escape", value: (i) => sets[i]!.hits, show: (i) => whole(sets[i]!.hits) },
      { key: "expected", title: "Expected", numeric: true, about: "As many as chance would give", value: (i) => sets[i]!.expected, show: (i) => fixed(sets[i]!.expected) },
      { key: "odds", title: "Odds ratio", numeric: true, hidden: true, value: (i) => sets[i]!.odds ?? NaN, show: (i) => (sets[i]!.odds === null ? NONE : short(sets[i]!.odds!)) },
      { key: "p", title: "p", numeric: true, upFirst: true, hidden: true, value: (i) => sets[i]!.p, show: (i) => pValue(sets[i]!.p) },
      { key: "q", title: "q", numeric: true, upFirst: true, value: (i) => sets[i]!.q, show: (i) => pValue(sets[i]!.q) },
      { key: "genes", title: "Genes that escape", numeric: false, long: true, value: (i) => names(sets[i]!).join(","), show: (i) => links(sets[i]!) },
    ],
  });
  body.replaceChildren(table.element);
}
