// The filter of tables: words that a row must hold, and bounds on its numbers such as `slope<0.5`.

/** Lower-case text of a row, and numbers of its columns by key. */
export interface Filterable {
  text(row: number): string;
  number(key: string, row: number): number | undefined;
}

type Test = (row: number) => boolean;

const BOUND = /^([\w.]+)(<=|>=|<|>|=)(-?[\d.]+(?:e[-+]?\d+)?)$/i;

function bound(key: string, sign: string, limit: number, of: Filterable): Test {
  const value = (row: number): number => of.number(key, row) ?? NaN;
  switch (sign) {
    case "<": return (row) => value(row) < limit;
    case "<=": return (row) => value(row) <= limit;
    case ">": return (row) => value(row) > limit;
    case ">=": return (row) => value(row) >= limit;
    default: return (row) => value(row) === limit;
  }
}

/** Whether a row passes. Every part of the query must hold; a bound on an unknown column is a word. */
export function filter(query: string, keys: readonly string[], of: Filterable): Test {
  const spaced = query.trim().replaceAll("\u2212", "-").replace(/\s*(<=|>=|<|>|=)\s*/g, "$1");
  const tests = spaced.split(/\s+/).filter(Boolean).map((part): Test => {
    const match = BOUND.exec(part);
    const key = match && keys.find((k) => k.toLowerCase() === match[1]!.toLowerCase());
    if (match && key) return bound(key, match[2]!, Number(match[3]), of);
    const word = part.toLowerCase();
    return (row) => of.text(row).includes(word);
  });
  return (row) => tests.every((test) => test(row));
}
