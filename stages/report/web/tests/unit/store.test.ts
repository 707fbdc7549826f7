// The address and places.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRegion, readAddress, regionText, START, writeAddress, type State } from "../../src/lib/store";

test("an address holds what differs from the start, and reads back", () => {
  const state: State = { gene: "HLA-A", colour: "gene:RBM26", maps: [0, 2], genome: { chromosome: "chr13", from: 60, to: 110.5 }, patient: "P 1&2", rows: "clones", cells: "c.a%2Eb.0.3~l1.AAAzzz000" };
  const text = writeAddress(state);
  assert.equal(text, "gene=HLA-A&colour=gene:RBM26&maps=0,2&genome=chr13:60-110.5&patient=P%201%262&rows=clones&cells=c.a%252Eb.0.3~l1.AAAzzz000");
  assert.deepEqual(readAddress(`#${text}`), state);
  assert.equal(writeAddress(START), "");
});

test("an unknown or damaged part of an address is as at the start", () => {
  assert.deepEqual(readAddress("#maps=1&rows=x&genome=13:110-60&more=1"), START);
  assert.equal(readAddress("#genome"), null);
  assert.equal(readAddress("#gene=A%2BB")!.gene, "A+B");
  assert.equal(readAddress("#gene=A+B")!.gene, "A+B");
});

test("places in Mb and in bases", () => {
  assert.deepEqual(parseRegion("chr13:60-110"), { chromosome: "chr13", from: 60, to: 110 });
  assert.deepEqual(parseRegion("6:126,000,000-126,100,000"), { chromosome: "chr6", from: 126, to: 126.1 });
  assert.deepEqual(parseRegion("x"), { chromosome: "chrX" });
  for (const wrong of ["MYC", "chr13:5", "chr13:9-3", "", "100"]) assert.equal(parseRegion(wrong), null, wrong);
  assert.equal(regionText({ chromosome: "chr1", from: 0.1234567, to: 2 }), "chr1:0.123-2");
});
