// What the page says of a gene in words: its class, and how far to trust it.

import type { Genes, Point } from "../data/genes";
import { counted, fixed, fold, pValue, probability, whole } from "../lib/format";

/** A reason to believe the call, to doubt it, or neither. */
export interface Remark { readonly tone: "for" | "against" | "note"; readonly text: string }

/** Spread of log copy ratios below which there is little for expression to follow. */
const LITTLE_SPREAD = 0.2;
/** Beyond this, malignant cells express the gene differently for other reasons than its copies. */
const LARGE_LEVEL = 0.25;

function interval(genes: Genes, g: number): string {
  return `slope ${fixed(genes.value("slope", g))}, 95 % interval ${fixed(genes.value("lo", g))} to ${fixed(genes.value("hi", g))}`;
}

/** One sentence: what was found of this gene. */
export function sentence(genes: Genes, g: number): string {
  const slope = interval(genes, g), bound = fixed(genes.bound, 1);
  const below = genes.value("p_ins", g), q = genes.value("q", g);
  const posterior = Number.isFinite(below)
    ? ` Probability that the slope is below ${bound}: ${probability(below)}${Number.isFinite(q) ? `; q = ${pValue(q)}, the share of false calls expected among the genes up to this one` : ""}.`
    : ` Below full dosage (slope 1) at q = ${pValue(genes.value("q1", g))}.`;
  switch (genes.className(g)) {
    case "insensitive":
      return `Expression follows less than ${bound} of its copy number: ${slope}.${posterior}`;
    case "over-compensated":
      return `Expression goes against its copy number: ${slope}.${posterior}`;
    case "sensitive":
      return `Expression follows its copy number${genes.value("lo", g) > 1 ? ", more than the typical gene's" : ""}: ${slope}; no dosage at all (slope 0) is excluded at q = ${pValue(genes.value("q0", g))}.`;
    case "unresolved":
      return `Neither escape nor dosage can be told: ${slope}.${Number.isFinite(below) ? posterior : ""}`;
    default: {
      const told = Number.isFinite(genes.value("slope", g)) ? ` Its ${slope}, is told, not tested.` : "";
      return `Not tested: ${genes.reason(g) || "no reason was given"}.${told}`;
    }
  }
}

/** What speaks for and against the call; empty for genes without a slope. */
export function remarks(genes: Genes, g: number, points: readonly Point[]): Remark[] {
  if (!Number.isFinite(genes.value("slope", g))) return [];
  const clones = points.filter((p) => p.malignant);
  return [
    copyRemark(genes, g, clones), agreement(genes, g), heterogeneity(genes, g), levelRemark(genes, g), heldBackRemark(genes, g), discordance(genes, g),
    genes.source(g) === "windows"
      ? { tone: "note", text: "Local copy number is the mean of the nearest windows without the gene: its arm has too few genes for neighbours." } as Remark
      : null,
  ].filter((r): r is Remark => r !== null);
}

function copyRemark(genes: Genes, g: number, clones: readonly Point[]): Remark {
  if (!clones.length) return { tone: "note", text: "The page holds no counts of its clones, so that what the slope rests on cannot be shown." };
  const gained = clones.filter((p) => p.copy >= genes.altered).length;
  const lost = clones.filter((p) => p.copy <= -genes.altered).length;
  const spread = genes.value("spread", g);
  const text = `${counted(clones.length, "malignant clone")}: ${lost} with a loss and ${gained} with a gain here${Number.isFinite(spread) ? `; copy number differs ${fold(spread)} at most` : ""}.`;
  if (spread < LITTLE_SPREAD || gained + lost === 0) return { tone: "against", text: `${text} There is little for expression to follow.` };
  if (gained && lost) return { tone: "for", text: `${text} Gains and losses both carry the slope.` };
  // Whatever tumours do to a gene looks like a slope where all their clones have changed the same way.
  const alike = gained + lost === clones.length;
  return { tone: alike ? "against" : "note", text: `${text} ${gained ? "Gains" : "Losses"} alone${alike ? ", in every clone: a difference of tumours for other reasons would look the same" : ": they are compared with unchanged clones and normal cells"}.` };
}

function agreement(genes: Genes, g: number): Remark | null {
  const n = genes.value("n_pat", g), agree = genes.value("n_agree", g);
  if (!Number.isFinite(n)) return null;
  if (n === 0) return { tone: "against", text: "No patient has a slope of its own: the call rests on differences between patients." };
  if (n === 1) return { tone: agree ? "note" : "against", text: `Only one patient has a slope of its own${agree ? ", on the same side" : ", on the other side"}.` };
  const text = `${whole(agree)} of ${counted(n, "patient")} with a slope of their own agree with this one.`;
  return { tone: agree === n ? "for" : agree * 2 > n ? "note" : "against", text };
}

function heterogeneity(genes: Genes, g: number): Remark | null {
  const het = genes.value("het", g);
  if (!Number.isFinite(het)) return null;
  return het <= genes.fdr
    ? { tone: "against", text: `The patients' slopes differ by more than their errors (q = ${pValue(het)}): read them one by one.` }
    : { tone: "note", text: `The patients' slopes do not differ by more than their errors (q = ${pValue(het)}).` };
}

function levelRemark(genes: Genes, g: number): Remark | null {
  const level = genes.value("level", g);
  if (!Number.isFinite(level) || Math.abs(level) < LARGE_LEVEL) return null;
  return { tone: "note", text: `Malignant cells express it ${fold(level)} ${level > 0 ? "more" : "less"} than normal ones whatever their copies; this is taken off before the slope.` };
}

/** Whether the gene is in the set that single cells hold back; nothing where no set is established. */
function heldBackRemark(genes: Genes, g: number): Remark | null {
  const held = genes.value("held", g);
  if (!genes.head.set_established || !Number.isFinite(held)) return null;
  return { tone: "note", text: `Probability ${probability(held)} to be in the set of genes that some cells hold back while their clone follows its copy number.` };
}

function discordance(genes: Genes, g: number): Remark | null {
  const q = genes.value("dq", g);
  if (!Number.isFinite(q)) return null;
  const title = genes.head.contrast?.title ?? "discordant against concordant cells";
  return { tone: "note", text: `${title}: log2 fold change ${fixed(genes.value("dlfc", g))}, q = ${pValue(q)}.` };
}
