// Which cells lie within a line drawn around them.

/** A polygon as x, y, x, y ...; closed by itself. */
export type Polygon = readonly number[];

/** 1 for each cell whose place lies within, by the even-odd rule. */
export function inside(polygon: Polygon, places: Float32Array): Uint8Array {
  const out = new Uint8Array(places.length / 2), n = polygon.length / 2;
  if (n < 3) return out;
  let left = Infinity, right = -Infinity, top = Infinity, bottom = -Infinity;
  for (let i = 0; i < n; i++) {
    left = Math.min(left, polygon[2 * i]!);
    right = Math.max(right, polygon[2 * i]!);
    top = Math.min(top, polygon[2 * i + 1]!);
    bottom = Math.max(bottom, polygon[2 * i + 1]!);
  }
  for (let cell = 0; cell < out.length; cell++) {
    const x = places[2 * cell]!, y = places[2 * cell + 1]!;
    if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
    let within = 0;
    for (let i = 0, j = n - 1; i < n; j = i++) {
      const xi = polygon[2 * i]!, yi = polygon[2 * i + 1]!, xj = polygon[2 * j]!, yj = polygon[2 * j + 1]!;
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within ^= 1;
    }
    out[cell] = within;
  }
  return out;
}

/** Either of two selections. */
export function union(a: Uint8Array | null, b: Uint8Array): Uint8Array {
  if (!a) return b;
  return b.map((one, i) => one | a[i]!);
}
