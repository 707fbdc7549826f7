// Chunks of packed data: base64 of gzip of a JSON header and little-endian arrays.
// Values come out as `Float32Array` with NaN where there is none, codes and texts as stored.

/** How an array is stored; see the page's contract in README.md. */
export interface ArraySpec {
  readonly t: "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f16" | "f32";
  readonly s: readonly number[];
  readonly o: number;
  readonly code?: "plain" | "planes" | "delta" | "delta-planes";
  readonly scale?: number;
  readonly min?: number;
  readonly max?: number;
  readonly missing?: number;
}

/** What every header has. */
export interface Header {
  readonly format: number;
  readonly arrays: Readonly<Record<string, ArraySpec>>;
}

export type Stored = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array;

const BYTES = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f16: 2, f32: 4 } as const;
const TOP = { u8: 255, i8: 127, u16: 65535, i16: 32767, u32: 4294967295, i32: 2147483647, f16: 1, f32: 1 } as const;

/** The one version of the format that this page reads. */
export const FORMAT = 1;

/** A decoded chunk. Arrays are decoded when first asked for and kept. */
export class Chunk<H extends Header = Header> {
  readonly head: H;
  readonly #bytes: Uint8Array;
  readonly #base: number;
  readonly #stored = new Map<string, Stored>();
  readonly #values = new Map<string, Float32Array>();

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = view.getUint32(0, true);
    this.#base = 4 + length;
    if (this.#base > bytes.byteLength) {
      throw new Error(`a header of ${length} bytes in a chunk of ${bytes.byteLength}`);
    }
    this.head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, this.#base))) as H;
    if (this.head.format !== FORMAT) {
      throw new Error(`format ${String(this.head.format)} of a chunk, where this page reads ${FORMAT}`);
    }
    this.#bytes = bytes;
  }

  has(name: string): boolean {
    return name in this.head.arrays;
  }

  spec(name: string): ArraySpec {
    const spec = this.head.arrays[name];
    if (!spec) throw new Error(`no array \`${name}\` in the chunk; there are ${Object.keys(this.head.arrays).join(", ")}`);
    return spec;
  }

  /** The integers (or floats) as they were before coding; codes of categories, offsets, counts. */
  stored(name: string): Stored {
    let found = this.#stored.get(name);
    if (!found) {
      found = this.#decode(name);
      this.#stored.set(name, found);
    }
    return found;
  }

  /** Values in their unit; NaN where there is none. */
  values(name: string): Float32Array {
    let found = this.#values.get(name);
    if (!found) {
      found = toValues(this.#decode(name), this.spec(name));
      this.#values.set(name, found);
    }
    return found;
  }

  /** The same where the chunk has the array, else nothing. */
  optional(name: string): Float32Array | null {
    return this.has(name) ? this.values(name) : null;
  }

  text(name: string): string {
    return new TextDecoder().decode(this.stored(name) as Uint8Array);
  }

  #decode(name: string): Stored {
    const spec = this.spec(name);
    const n = spec.s.reduce((a, b) => a * b, 1);
    const width = BYTES[spec.t];
    const from = this.#base + spec.o;
    if (from + n * width > this.#bytes.byteLength) {
      throw new Error(`array \`${name}\` of ${n} values ends beyond its chunk`);
    }
    const raw = this.#bytes.slice(from, from + n * width);
    const code = spec.code ?? "plain";
    const inOrder = code === "planes" || code === "delta-planes" ? gatherPlanes(raw, width) : raw;
    const typed = asTyped(inOrder.buffer as ArrayBuffer, spec.t);
    if (code === "delta" || code === "delta-planes") addUp(typed, spec.s[spec.s.length - 1] ?? n);
    return typed;
  }
}

/** From base64 text to a chunk. */
export async function unpack<H extends Header>(text: string): Promise<Chunk<H>> {
  const packed = fromBase64(text.trim());
  const stream = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Chunk<H>(new Uint8Array(await new Response(stream).arrayBuffer()));
}

function fromBase64(text: string): Uint8Array {
  const native = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array }).fromBase64;
  if (native) return native.call(Uint8Array, text);
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

function gatherPlanes(raw: Uint8Array, width: number): Uint8Array {
  if (width === 1) return raw;
  const n = raw.length / width;
  const out = new Uint8Array(raw.length);
  for (let b = 0; b < width; b++) {
    for (let i = 0, at = b, from = b * n; i < n; i++, at += width) out[at] = raw[from + i]!;
  }
  return out;
}

function asTyped(buffer: ArrayBuffer, type: ArraySpec["t"]): Stored {
  switch (type) {
    case "u8": return new Uint8Array(buffer);
    case "i8": return new Int8Array(buffer);
    case "u16": return new Uint16Array(buffer);
    case "i16": return new Int16Array(buffer);
    case "u32": return new Uint32Array(buffer);
    case "i32": return new Int32Array(buffer);
    case "f32": return new Float32Array(buffer);
    case "f16": return halfFloats(new Uint16Array(buffer));
  }
}

/** Sums along the last axis; the typed array wraps as the differences did. */
function addUp(values: Stored, row: number): void {
  for (let start = 0; start < values.length; start += row) {
    for (let i = start + 1; i < start + row; i++) values[i] = values[i]! + values[i - 1]!;
  }
}

function halfFloats(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i]!, exponent = (h >> 10) & 31, fraction = h & 1023;
    const size = exponent === 31 ? (fraction ? NaN : Infinity)
      : exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    out[i] = h & 0x8000 ? -size : size;
  }
  return out;
}

function toValues(stored: Stored, spec: ArraySpec): Float32Array {
  if (stored instanceof Float32Array) return stored;
  const { missing, scale, min, max } = spec;
  let from = 0, step = 1;
  if (scale !== undefined) step = scale;
  else if (min !== undefined && max !== undefined) {
    from = min;
    step = (max - min) / (TOP[spec.t] - (missing === undefined ? 0 : 1));
  }
  const out = new Float32Array(stored.length);
  for (let i = 0; i < out.length; i++) {
    const v = stored[i]!;
    out[i] = v === missing ? NaN : from + v * step;
  }
  return out;
}
