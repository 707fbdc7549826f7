// Chunks from bytes written by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Chunk, unpack, type ArraySpec, type Header } from "../../src/lib/unpack";
import { pack, scaled } from "../fixture/pack";

function chunk(arrays: Record<string, ArraySpec>, bytes: number[], format = 1): Chunk {
  let json = JSON.stringify({ format, arrays });
  while ((4 + json.length) % 8) json += " ";
  const head = Buffer.alloc(4);
  head.writeUInt32LE(json.length);
  return new Chunk(new Uint8Array(Buffer.concat([head, Buffer.from(json), Buffer.from(bytes)])));
}

test("plain integers are little-endian", () => {
  const c = chunk({ a: { t: "u16", s: [2], o: 0 } }, [0x34, 0x12, 0xff, 0x00]);
  assert.deepEqual([...c.stored("a")], [0x1234, 255]);
});

test("planes hold all low bytes first", () => {
  // 0x00000102 and 0xA0000304: bytes 02 04 | 01 03 | 00 00 | 00 a0.
  const c = chunk({ a: { t: "u32", s: [2], o: 0, code: "planes" } }, [0x02, 0x04, 0x01, 0x03, 0, 0, 0, 0xa0]);
  assert.deepEqual([...c.stored("a")], [0x102, 0xa0000304]);
});

test("differences start anew with each row and wrap around", () => {
  // Rows 250 5 6 and 1 0 255: differences 250 11 1 and 1 255 255 in a byte.
  const c = chunk({ a: { t: "u8", s: [2, 3], o: 0, code: "delta" } }, [250, 11, 1, 1, 255, 255]);
  assert.deepEqual([...c.stored("a")], [250, 5, 6, 1, 0, 255]);
});

test("differences in planes of negative steps", () => {
  // -2, 298, -32768 as i16: -2, +300, -33066 = 32470 = 0x7ed6; low bytes fe 2c d6, high bytes ff 01 7e.
  const c = chunk({ a: { t: "i16", s: [3], o: 0, code: "delta-planes", scale: 0.5, missing: -32768 } }, [0xfe, 0x2c, 0xd6, 0xff, 0x01, 0x7e]);
  assert.deepEqual([...c.stored("a")], [-2, 298, -32768]);
  assert.deepEqual([...c.values("a")], [-1, 149, NaN]);
});

test("a range leaves out the value that means missing", () => {
  const c = chunk({ a: { t: "u8", s: [3], o: 0, min: 10, max: 20, missing: 255 }, b: { t: "u8", s: [2], o: 8, min: 10, max: 20 } }, [0, 254, 255, 0, 0, 0, 0, 0, 0, 255]);
  assert.deepEqual([...c.values("a")], [10, 20, NaN]);
  assert.deepEqual([...c.values("b")], [10, 20]);
});

test("half floats: one, minus two, least, infinite, none", () => {
  const c = chunk({ a: { t: "f16", s: [5], o: 0 } }, [0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c, 0x00, 0x7e]);
  assert.deepEqual([...c.values("a")], [1, -2, 2 ** -24, Infinity, NaN]);
});

test("what is wrong says so", () => {
  assert.throws(() => chunk({}, [], 2), /format 2 of a chunk, where this page reads 1/);
  assert.throws(() => chunk({ a: { t: "u32", s: [9], o: 0 } }, [1]).stored("a"), /`a` of 9 values ends beyond/);
  assert.throws(() => chunk({ b: { t: "u8", s: [1], o: 0 } }, [1]).stored("a"), /no array `a`.*there are b/);
});

test("base64 of gzip is undone", async () => {
  const json = '{"format":1,"arrays":{"a":{"t":"u8","s":[1],"o":0}}} ';
  const padded = json.padEnd(60), head = Buffer.alloc(4);
  head.writeUInt32LE(padded.length);
  const text = gzipSync(Buffer.concat([head, Buffer.from(padded), Buffer.from([7])])).toString("base64");
  const c = await unpack<Header>(`\n${text}\n`);
  assert.deepEqual([...c.stored("a")], [7]);
});

test("the fixtures' writer and this reader agree on every type and code", async () => {
  const values = [0, 5, 250, 3, 17, 100];
  for (const t of ["u8", "i8", "u16", "i16", "u32", "i32", "f32"] as const) {
    for (const code of ["plain", "planes", "delta", "delta-planes"] as const) {
      if (t === "f32" && code.startsWith("delta")) continue;
      const given = t === "i8" ? values.map((v) => v - 125) : values;
      const c = await unpack<Header>(pack({}, { a: { t, s: [2, 3], code, v: given } }));
      assert.deepEqual([...c.stored("a")], given, `${t} ${code}`);
    }
  }
  const c = await unpack<Header>(pack({}, { a: scaled("i16", [3], [0.5, NaN, -1], 0.25, -32768) }));
  assert.deepEqual([...c.values("a")], [0.5, NaN, -1]);
});
