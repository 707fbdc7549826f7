// Numbers as a reader sees them: a true minus sign, separators, no powers of ten but in small p-values.

const MINUS = "\u2212";
export const NONE = "\u2013";

const grouped = (value: number): string => value.toLocaleString("en");
const significant = (value: number): string => String(Number(value.toPrecision(3)));

/** `digits` decimals. */
export function fixed(value: number, digits = 2): string {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", MINUS).replace(/^\u2212(0\.?0*)$/, "$1") : NONE;
}

/** An integer with separators. */
export function whole(value: number): string {
  return Number.isFinite(value) ? grouped(Math.round(value)) : NONE;
}

/** A p-value, q-value or posterior error. */
export function pValue(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  if (value === 0) return "<1e\u2212300";
  return value < 0.001 ? value.toExponential(1).replace("-", MINUS) : value.toFixed(3);
}

/** A probability, never rounded to certainty. */
export function probability(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  return value > 0.999 ? ">0.999" : value < 0.001 ? "<0.001" : value.toFixed(3);
}

/** Three significant digits; integers and numbers from a thousand on are whole. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return whole(value).replace("-", MINUS);
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1).replace("-", MINUS);
  return significant(value).replace("-", MINUS);
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${fixed(100 * share, share < 0.1 ? 1 : 0)} %` : NONE;
}

/** `1 clone`, `2 clones`. */
export function counted(n: number, one: string, many = `${one}s`): string {
  return `${whole(n)} ${n === 1 ? one : many}`;
}

/** `chr6:126,000,000-126,100,000`; ends are left out where unknown. */
export function locus(chromosome: string, start: number, end: number): string {
  if (!chromosome) return "place unknown";
  if (!start) return chromosome;
  return `${chromosome}:${grouped(start)}${end ? `-${grouped(end)}` : ""}`;
}

/** `1.35-fold` of a difference in natural logarithms. */
export function fold(ln: number): string {
  return Number.isFinite(ln) ? `${Math.exp(Math.abs(ln)).toFixed(2)}-fold` : NONE;
}
