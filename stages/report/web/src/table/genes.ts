// The table of all genes, and that of contrasts.

import { chunk } from "../lib/chunks";
import { choice, el } from "../lib/dom";
import { fixed, locus, NONE, pValue, probability, whole } from "../lib/format";
import type { Chunk, Header } from "../lib/unpack";
import type { GeneColumn, Genes } from "../data/genes";
import { DataTable, type Column } from "./table";

export const geneLink = (name: string): HTMLAnchorElement => el("a", { href: `#gene=${encodeURIComponent(name)}` }, name);

export const classTag = (name: string): HTMLElement => el("span", { class: `tag ${name}` }, name);

function nameColumn(genes: Genes): Column {
  return { key: "gene", title: "Gene", numeric: false, value: (g) => genes.name(g), show: (g) => geneLink(genes.name(g)) };
}

/** Sorted along the genome, shown as a browser's position. */
function locusColumn(genes: Genes): Column {
  return {
    key: "locus", title: "Locus", numeric: true, upFirst: true, about: "Chromosome, first and last base (1-based)",
    value: (g) => (genes.chromosomeCode(g) < 0 ? NaN : genes.chromosomeCode(g) * 1e10 + genes.start(g)),
    show: (g) => (genes.chromosomeCode(g) < 0 ? NONE : el("span", { class: "locus" }, locus(genes.chromosome(g), genes.start(g), genes.end(g)))),
    raw: (g) => (genes.chromosome(g) ? `${genes.chromosome(g)}:${genes.start(g)}-${genes.end(g)}` : ""),
  };
}

interface Numbers { key: string; from: GeneColumn; title: string; about: string; unit?: string; as: "fixed" | "p" | "probability" | "whole"; hidden?: boolean }

const NUMBERS: readonly Numbers[] = [
  { key: "slope", from: "slope", title: "Slope", about: "Change of log expression per change of log copy ratio: 1 is the typical gene's, 0 is escape", as: "fixed" },
  { key: "se", from: "se", title: "Standard error", about: "Standard error of the slope", as: "fixed", hidden: true },
  { key: "ci_low", from: "lo", title: "95 % from", about: "Lower end of the 95 % confidence interval of the slope", as: "fixed" },
  { key: "ci_high", from: "hi", title: "to", about: "Upper end of the 95 % confidence interval of the slope", as: "fixed" },
  { key: "slope_posterior", from: "post", title: "Posterior slope", about: "Mean of the slope's posterior, given the slopes of all genes", as: "fixed", hidden: true },
  { key: "prob_insensitive", from: "p_ins", title: "P(slope below bound)", about: "Posterior probability that the slope is below the bound of insensitivity: the ranking", as: "probability" },
  { key: "qval", from: "q", title: "q", about: "Cumulative posterior error of calling this gene and all that rank above it insensitive", as: "p" },
  { key: "q_zero", from: "q0", title: "q (slope = 0)", about: "P-value of slope = 0, adjusted over tested genes (Benjamini-Hochberg)", as: "p", hidden: true },
  { key: "q_one", from: "q1", title: "q (slope = 1)", about: "P-value of slope = 1, adjusted over tested genes (Benjamini-Hochberg)", as: "p" },
  { key: "copy_spread", from: "spread", title: "Copy spread", unit: "ln", about: "Largest difference of log copy ratio between clones of one stratum", as: "fixed" },
  { key: "n_clones", from: "n_clones", title: "Clones", about: "Clones with enough counts", as: "whole" },
  { key: "n_patients", from: "n_pat", title: "Patients", about: "Patients with a slope of their own", as: "whole", hidden: true },
  { key: "n_patients_agree", from: "n_agree", title: "Agree", about: "Patients whose own slope is on the same side as the gene's", as: "whole" },
  { key: "q_heterogeneity", from: "het", title: "q (patients differ)", about: "P-value of equal slopes in all patients, adjusted over tested genes", as: "p", hidden: true },
  { key: "tumour_level", from: "level", title: "Tumour level", unit: "ln", about: "Log expression of malignant clones relative to normal ones that their copies do not explain", as: "fixed", hidden: true },
  { key: "prob_held_back", from: "held", title: "P(held back)", about: "Probability that the gene is in the set that discordant cells hold back; where no set is established, under the hypothesis that there is one", as: "probability", hidden: true },
  { key: "discordant_log2fc", from: "dlfc", title: "Discordant", unit: "log2", about: "Log2 fold change, discordant against concordant cells", as: "fixed", hidden: true },
  { key: "discordant_q", from: "dq", title: "q (discordant)", about: "Adjusted p-value of the same", as: "p", hidden: true },
];

const AS = { fixed: (v: number) => fixed(v), p: pValue, probability, whole } as const;

function numberColumn(genes: Genes, n: Numbers): Column {
  return {
    key: n.key, title: n.title, about: n.about, numeric: true, upFirst: n.as === "p", ...(n.unit ? { unit: n.unit } : {}), ...(n.hidden ? { hidden: true } : {}),
    value: (g) => genes.value(n.from, g), show: (g) => AS[n.as](genes.value(n.from, g)),
  };
}

export function geneColumns(genes: Genes): Column[] {
  return [
    nameColumn(genes), locusColumn(genes),
    { key: "class", title: "Class", numeric: false, value: (g) => genes.className(g), show: (g) => classTag(genes.className(g)) },
    // A column that has no value at all (no posterior, say) takes no place.
    ...NUMBERS.filter((n) => genes.column(n.from)?.some(Number.isFinite))
      .map((n) => numberColumn(genes, n.from === "p_ins" ? { ...n, title: `P(slope < ${genes.bound})` } : n)),
    { key: "reason", title: "Why untested", numeric: false, hidden: true, long: true, value: (g) => genes.reason(g), show: (g) => genes.reason(g) || NONE },
  ];
}

export function geneTable(genes: Genes): DataTable {
  return new DataTable({
    name: "dosage_genes", label: "All genes", rows: genes.n, columns: geneColumns(genes), order: genes.byEvidence(),
    placeholder: "Filter: gene, chr13:, slope<0.5 ...",
    facet: { title: "Class", labels: [...genes.head.classes].reverse(), label: (g) => genes.className(g) },
    notes: ["one row a gene, as in the page; the whole table with all columns: " + (genes.head.file ?? "tables/dosage_genes.tsv")],
  });
}

export interface Contrast { readonly key: string; readonly title: string; readonly file?: string; readonly test?: string }

export interface ContrastsHeader extends Header { readonly contrasts: readonly Contrast[]; readonly names?: readonly string[] }

/** Fold change and significance of a gene in one contrast. */
export interface InContrast { readonly contrast: Contrast; readonly lfc: number; readonly nlq: number }

export function ofGene(source: Chunk<ContrastsHeader>, gene: number): InContrast[] {
  const n = source.spec("lfc").s[1] ?? 0;
  const lfc = source.values("lfc"), nlq = source.values("nlq");
  return source.head.contrasts.map((contrast, c) => ({ contrast, lfc: lfc[c * n + gene] ?? NaN, nlq: nlq[c * n + gene] ?? NaN }));
}

/** -log10 of an adjusted p-value, as the p-value. */
export const fromLog = (nlq: number): string => (nlq > 4 ? `1e\u2212${Math.round(nlq)}` : pValue(10 ** -nlq));

export async function contrastsView(host: HTMLElement, genes: Genes | null): Promise<void> {
  const source = await chunk<ContrastsHeader>("contrasts");
  const { contrasts } = source.head, names = source.head.names ?? genes?.head.names ?? [];
  const box = el("div");
  const draw = (c: number): void => {
    const about = contrasts[c]!;
    box.replaceChildren(
      el("p", { class: "table-note" }, [about.test, about.file ? `Whole table: ${about.file}` : ""].filter(Boolean).join(". ")),
      contrastTable(source, c, names, genes).element);
  };
  const pick = choice("Contrast", contrasts.map((c, i) => [String(i), c.title] as const), (value) => draw(Number(value)));
  host.replaceChildren(el("div", { class: "tools" }, pick.box), box);
  if (contrasts.length) draw(0);
}

function contrastTable(source: Chunk<ContrastsHeader>, c: number, names: readonly string[], genes: Genes | null): DataTable {
  const n = names.length, lfc = source.values("lfc").subarray(c * n, c * n + n), nlq = source.values("nlq").subarray(c * n, c * n + n);
  const rows: number[] = [];
  for (let g = 0; g < n; g++) if (Number.isFinite(nlq[g]) || Number.isFinite(lfc[g])) rows.push(g);
  rows.sort((a, b) => (nlq[b]! || 0) - (nlq[a]! || 0) || Math.abs(lfc[b]! || 0) - Math.abs(lfc[a]! || 0));
  const columns: Column[] = [
    { key: "gene", title: "Gene", numeric: false, value: (g) => names[g]!, show: (g) => (genes ? geneLink(names[g]!) : names[g]!) },
    { key: "log2fc", title: "Fold change", unit: "log2", numeric: true, value: (g) => lfc[g]!, show: (g) => fixed(lfc[g]!) },
    { key: "qval", title: "q", numeric: true, upFirst: true, about: "Adjusted p-value", value: (g) => 10 ** -nlq[g]!, show: (g) => fromLog(nlq[g]!) },
  ];
  if (genes) {
    columns.splice(1, 0, locusColumn(genes));
    columns.push(
      { key: "class", title: "Dosage", numeric: false, value: (g) => genes.className(g), show: (g) => classTag(genes.className(g)) },
      { key: "slope", title: "Slope", numeric: true, value: (g) => genes.value("slope", g), show: (g) => fixed(genes.value("slope", g)) });
  }
  // Rows of the table are places in `rows`, so that genes that were not tested take none.
  const at = (column: Column): Column => ({
    ...column, value: (i) => column.value(rows[i]!), show: (i) => column.show(rows[i]!), ...(column.raw ? { raw: (i: number) => column.raw!(rows[i]!) } : {}),
  });
  const about = source.head.contrasts[c]!;
  return new DataTable({ name: about.key, label: about.title, rows: rows.length, columns: columns.map(at), ...(about.test ? { notes: [about.test] } : {}) });
}
