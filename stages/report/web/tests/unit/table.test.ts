// Filter, order and download of tables; numbers as shown.

import assert from "node:assert/strict";
import { test } from "node:test";
import { counted, fixed, locus, percent, probability, pValue, short, whole } from "../../src/lib/format";
import { filter } from "../../src/table/filter";
import { shown } from "../../src/table/static";
import { sortRows, toTsv, type Column } from "../../src/table/table";

const rows = [{ name: "MYC", q: 0.01 }, { name: "mycbp2", q: 0.5 }, { name: "TP53", q: NaN }];
const of = { text: (i: number) => rows[i]!.name.toLowerCase(), number: (_: string, i: number) => rows[i]!.q };
const passing = (query: string): string[] => rows.map((r) => r.name).filter((_, i) => filter(query, ["q"], of)(i));

test("words and bounds must all hold", () => {
  assert.deepEqual(passing("myc"), ["MYC", "mycbp2"]);
  assert.deepEqual(passing("myc q < 0.05"), ["MYC"]);
  assert.deepEqual(passing("q>=0.5"), ["mycbp2"]);
  assert.deepEqual(passing("Q<1e-3"), []);
  assert.deepEqual(passing("q>\u22121"), ["MYC", "mycbp2"]);
  assert.deepEqual(passing("unknown<3"), []);
  assert.deepEqual(passing(""), ["MYC", "mycbp2", "TP53"]);
});

const q: Column = { key: "q", title: "q", numeric: true, value: (i) => rows[i]!.q, show: () => "" };
const name: Column = { key: "name", title: "Name", numeric: false, value: (i) => rows[i]!.name, show: () => "" };

test("missing values stay last in both directions", () => {
  const order = (down: boolean): number[] => {
    const at = [2, 0, 1];
    sortRows(at, q, down);
    return at;
  };
  assert.deepEqual(order(false), [0, 1, 2]);
  assert.deepEqual(order(true), [1, 0, 2]);
});

test("a download has notes, all columns and no tabs within", () => {
  const text = toTsv({ name: "x", label: "x", rows: 3, columns: [{ ...name, value: (i) => `${rows[i]!.name}\tx` }, q], notes: ["made so"] }, [2, 0]);
  assert.equal(text, "# made so\nname\tq\nTP53 x\t\nMYC x\t0.01\n");
});

test("numbers read as a reader expects them", () => {
  assert.equal(fixed(-0.004), "0.00");
  assert.equal(fixed(-1.256), "\u22121.26");
  assert.equal(fixed(NaN), "\u2013");
  assert.equal(whole(1234567), "1,234,567");
  assert.equal(pValue(2.04e-6), "2.0e\u22126");
  assert.equal(pValue(0.0456), "0.046");
  assert.equal(pValue(0), "<1e\u2212300");
  assert.equal(probability(0.9999), ">0.999");
  assert.equal(short(0.123456), "0.123");
  assert.equal(short(-12345), "\u221212,345");
  assert.equal(short(123456.7), "123,457");
  assert.equal(percent(0.0123), "1.2 %");
  assert.equal(locus("chr6", 126000000, 126100000), "chr6:126,000,000-126,100,000");
  assert.equal(locus("", 0, 0), "place unknown");
  assert.equal(counted(1, "clone"), "1 clone");
  assert.equal(shown("1234", "int"), "1,234");
  assert.equal(shown("chr6:121435577-121449727", "pos"), "chr6:121,435,577-121,449,727");
  assert.equal(shown("121435577", "pos"), "121,435,577");
  assert.equal(shown("NA", "p"), "\u2013");
  assert.equal(shown("0.00001", "p"), "1.0e\u22125");
});
