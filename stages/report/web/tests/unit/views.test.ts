// What the views compute: places of rows, cells within a line, shares, held-back clones, ranks of a search.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Cells, type CellsHeader } from "../../src/data/cells";
import { Genes, type GenesHeader, type Point } from "../../src/data/genes";
import { Genome, type GenomeHeader } from "../../src/data/genome";
import { composition, median } from "../../src/cells/composition";
import { mixedOrder } from "../../src/cells/colouring";
import { inside, union } from "../../src/cells/lasso";
import { remarks } from "../../src/gene/evidence";
import { held } from "../../src/gene/heldback";
import { layout, rowsAt } from "../../src/genome/layout";
import { average } from "../../src/genome/paint";
import { unpack } from "../../src/lib/unpack";
import { linear } from "../../src/lib/scale";
import { matches } from "../../src/search";
import { cellsChunk, genesChunk, genomeChunk, groupOf, packedGenes } from "../fixture/chunks";
import { pack, scaled } from "../fixture/pack";
import { cohort, type Size } from "../fixture/tumours";

const SMALL: Size = { patients: 2, clones: 3, cells: 120, genes: 300, windows: 60, rows: 40 };

test("a lasso takes what lies within, also where the line turns back", () => {
  // A U: its notch is outside.
  const u = [0, 0, 4, 0, 4, 4, 3, 4, 3, 1, 1, 1, 1, 4, 0, 4];
  const places = Float32Array.from([0.5, 3, 2, 3, 3.5, 3, 2, 0.5, 9, 9, NaN, NaN]);
  assert.deepEqual([...inside(u, places)], [1, 0, 1, 1, 0, 0]);
  assert.deepEqual([...inside([0, 0, 1, 1], places)], [0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...union(Uint8Array.from([1, 0, 0]), Uint8Array.from([0, 0, 1]))], [1, 0, 1]);
});

test("every cell is drawn once", () => {
  for (const n of [1, 2, 10, 1500, 80_576]) assert.equal(new Set(mixedOrder(n)).size, n);
});

test("rows that share a pixel are averaged, missing values left out", async () => {
  const header = { limit: 1, chroms: ["chr1"], patients: ["P1"], groups: [{ patient: 0, clone: "clone 1", malignant: true, rows: 2, n: 2 }], profiles: [] };
  const text = pack(header, {
    heat: { t: "i8", s: [2, 2], scale: 0.5, missing: -128, v: [2, 4, 4, -128] }, wchrom: { t: "u8", s: [2], v: [0, 0] },
    wstart: { t: "u32", s: [2], v: [1, 11] }, wend: { t: "u32", s: [2], v: [10, 20] }, profiles: { t: "f16", s: [0, 2], v: [] },
  });
  const genome = new Genome(await unpack<GenomeHeader>(text));
  const band = { patient: 0, clone: "clone 1", malignant: true, n: 2, first: 0, rows: 2, top: 0, height: 1 };
  const { values } = average(genome, { bands: [band], height: 1, means: false, dense: false }, 1);
  // (2 + 4) / 2 x 0.5 and 4 x 0.5.
  assert.deepEqual([...values], [1.5, 2]);
});

test("bands cover all rows in order, and each patient's alone", async () => {
  const genome = new Genome(await unpack<GenomeHeader>(genomeChunk(cohort(SMALL))));
  const all = layout(genome, -1, false);
  assert.equal(all.bands.reduce((sum, b) => sum + b.rows, 0), genome.rows);
  all.bands.forEach((band, i) => {
    assert.ok(i === 0 || band.top >= all.bands[i - 1]!.top + all.bands[i - 1]!.height);
    const seen = new Set<number>();
    for (let y = band.top; y < band.top + band.height; y += 0.5) for (let [r, to] = rowsAt(band, y, 0.5); r < to; r++) seen.add(r);
    assert.deepEqual([...seen].sort((a, b) => a - b), Array.from({ length: band.rows }, (_, k) => band.first + k));
  });
  assert.equal(all.dense, false);
  assert.ok(layout(genome, 1, false).bands.every((b) => b.patient === 1));
  assert.equal(layout(genome, -1, true).bands.length, genome.head.profiles.length);
});

test("a hundred patients are named as patients, in rows of a few pixels", async () => {
  const genome = new Genome(await unpack<GenomeHeader>(genomeChunk(cohort({ ...SMALL, patients: 100, clones: 300, cells: 12_000 }))));
  const all = layout(genome, -1, false);
  assert.equal(all.bands.length, 400);
  assert.ok(all.dense && all.height < 3000, `${all.height} px`);
  assert.ok(!layout(genome, 7, false).dense);
});

test("places on the axis of windows: to a region and back", async () => {
  const genome = new Genome(await unpack<GenomeHeader>(genomeChunk(cohort(SMALL))));
  for (const region of [{ chromosome: "chr2" }, { chromosome: "chr1", from: 50, to: 150 }]) {
    const [from, to] = genome.extent(region)!;
    const back = genome.regionOf(from, to)!;
    assert.equal(back.chromosome, region.chromosome);
    assert.deepEqual(genome.extent(back), [from, to]);
  }
  assert.equal(genome.regionOf(0, genome.windows), null);
  assert.equal(genome.extent({ chromosome: "chrZ" }), null);
});

test("cells of a group, shares and medians", async () => {
  const c = cohort(SMALL), cells = new Cells(await unpack<CellsHeader>(cellsChunk(c))), groups = groupOf(c);
  c.groups.forEach((g, k) => {
    const chosen = cells.ofGroup(k, c.patients[g.patient]!, g.name);
    assert.deepEqual([...chosen], [...groups].map((one) => Number(one === k)));
  });
  const chosen = cells.withLabel("patient", "P2");
  const shares = composition(cells, "patient", chosen);
  assert.deepEqual(shares, [{ label: "P1", here: 0, all: 60 }, { label: "P2", here: 60, all: 60 }]);
  assert.equal(median(Float32Array.from([3, NaN, 1, 2])), 2);
  assert.equal(median(Float32Array.from([4, 1])), 2.5);
});

test("packed counts: gaps of more than 255 cells, unseen cells", async () => {
  const text = pack({ n: 600, columns: [], maps: [], genes: [9] }, {
    gptr: { t: "u32", s: [2], v: [0, 4] }, ggap: { t: "u8", s: [4], v: [2, 255, 100, 1] }, gcount: { t: "u8", s: [4], v: [3, 0, 7, 255] }, gseen: { t: "u8", s: [600], v: Array.from({ length: 600 }, (_, i) => Number(i !== 5)) },
  });
  const cells = new Cells(await unpack<CellsHeader>(text)), counts = cells.counts(0);
  assert.deepEqual([counts[2], counts[357], counts[358], counts[0]], [3, 7, 255, 0]);
  assert.ok(Number.isNaN(counts[5]!));
  assert.equal(cells.expression(8), null);
  assert.equal(cells.expression(9)![2], Math.fround(Math.log1p(3)));
});

test("a clone holds back by what full dosage predicts beyond what it shows", () => {
  const point = (copy: number, y: number): Point => ({ patient: "P", type: "", clone: "", n: 1, malignant: true, library: 1, group: 0, alone: false, toNormal: true, copy, y, se: 0.1, count: 1 });
  // Loss: 0.4 predicted, 0.1 seen. Gain: 0.3 predicted, 0.5 seen. Unchanged: last.
  const found = held([point(0.02, 0.9), point(0.3, 0.5), point(-0.4, -0.1), { ...point(0, 0), malignant: false }], 0.1);
  assert.deepEqual(found.map((h) => [Math.round(h.by * 100) / 100, h.moved]), [[0.3, true], [-0.2, true], [-0.88, false]]);
});

test("search: the name itself, then names that begin with it, tested ones first", async () => {
  const names = ["MYCBP2", "NMYC", "MYC", "MYCL"];
  const text = pack({ names, classes: ["untested", "sensitive"], chroms: ["chr1"], patients: [], reasons: [""], groups: [], tested: 2, escape: 0 }, {
    cls: { t: "u8", s: [4], v: [1, 1, 0, 0] }, chrom: { t: "u8", s: [4], v: [0, 0, 0, 0] }, order: { t: "u32", s: [4], v: [0, 1, 2, 3] },
  });
  const genes = new Genes(await unpack<GenesHeader>(text));
  assert.deepEqual(matches(genes, " myc ").map((g) => names[g]), ["MYC", "MYCBP2", "MYCL", "NMYC"]);
  assert.deepEqual(matches(genes, "zzz"), []);
});

test("slopes of patients are found by gene, and genes without are empty", async () => {
  const text = pack({ names: ["A", "B", "C"], classes: ["untested"], chroms: [], patients: ["P1", "P2"], reasons: [""], groups: [], tested: 0, escape: 0 }, {
    pat_gene: { t: "u32", s: [3], v: [0, 0, 2] }, pat_patient: { t: "u8", s: [3], v: [0, 1, 1] }, pat_slope: { t: "f32", s: [3], v: [0.5, 1, 2] },
    pat_se: { t: "f32", s: [3], v: [0.25, 0.25, 0.5] }, pat_p: { t: "f32", s: [3], v: [0.5, 0, 0] }, copy: scaled("i16", [0, 3], [], 0.1, -32768),
  });
  const genes = new Genes(await unpack<GenesHeader>(text));
  assert.deepEqual(genes.patientSlopes(0).map((p) => [p.patient, p.slope, p.se]), [[0, 0.5, 0.25], [1, 1, 0.25]]);
  assert.deepEqual(genes.patientSlopes(1), []);
  assert.equal(genes.patientSlopes(2)[0]!.patient, 1);
});

test("genes of a chunk: points, places in whole bases, evidence", async () => {
  const c = cohort(SMALL), genes = new Genes(await unpack<GenesHeader>(genesChunk(c)));
  assert.equal(genes.start(299), c.geneStart[299]);
  assert.equal(genes.end(299), c.geneStart[299]! + 24_000);
  const best = genes.byEvidence()[0]!, points = genes.points(best);
  assert.ok(genes.isTested(best));
  assert.equal(points.length, c.groups.length);
  assert.ok(points.every((p) => Math.abs(p.copy - genes.copy(p.group, best)) < 1e-9));
  assert.ok(packedGenes(c).length > 0);
});

test("a scale maps ends to ends and clamps where asked", () => {
  const x = linear([0, 10], [100, 200]), clamped = linear([0, 10], [100, 200], true);
  assert.deepEqual([x(0), x(5), x(20), clamped(20), clamped(-3)], [100, 150, 300, 200, 100]);
  assert.deepEqual(x.ticks(5), [0, 2, 4, 6, 8, 10]);
});

test("what speaks for and against a call", async () => {
  const group = (clone: string, malignant: boolean): object => ({ patient: "P1", type: "T", clone, n: 9, malignant, library: 1 });
  const of = async (copies: number[], more: Record<string, number> = {}): Promise<string[]> => {
    const groups = [...copies.map((_, i) => group(`clone ${i + 1}`, true)), group("normal cells", false)];
    const one = (v: number): object => ({ t: "f32", s: [1], v: [v] });
    const text = pack({ names: ["A"], classes: ["untested", "insensitive"], chroms: ["chr1"], patients: ["P1"], reasons: [""], groups, tested: 1, escape: 1 }, {
      cls: { t: "u8", s: [1], v: [1] }, slope: one(0.1), spread: one(Math.max(...copies, 0) - Math.min(...copies, 0)), ...Object.fromEntries(Object.entries(more).map(([k, v]) => [k, one(v)])),
      copy: scaled("i16", [groups.length, 1], [...copies, 0], 0.001, -32768), y: scaled("i16", [groups.length, 1], [...copies, 0], 0.001, -32768),
    } as never);
    const genes = new Genes(await unpack<GenesHeader>(text));
    return remarks(genes, 0, genes.points(0)).map((r) => `${r.tone}: ${r.text}`);
  };
  assert.deepEqual(await of([0.3, -0.3]), ["for: 2 malignant clones: 1 with a loss and 1 with a gain here; copy number differs 1.82-fold at most. Gains and losses both carry the slope."]);
  assert.match((await of([-0.3, -0.4]))[0]!, /^against: .* Losses alone, in every clone/);
  assert.match((await of([-0.3, 0]))[0]!, /^note: .* Losses alone: they are compared/);
  assert.match((await of([0.05, 0]))[0]!, /^against: .* There is little for expression to follow/);
  assert.match((await of([0.3, -0.3], { n_pat: 3, n_agree: 1 }))[1]!, /^against: 1 of 3 patients/);
  assert.match((await of([0.3, -0.3], { n_pat: 0, n_agree: 0 }))[1]!, /^against: No patient has a slope of its own/);
  assert.match((await of([0.3, -0.3], { het: 0.01 }))[1]!, /^against: The patients' slopes differ/);
});

test("a group alone in its patient and type is told, and copies without normal cells are not shown as ratios to them", async () => {
  const group = (patient: string, type: string, clone: string, malignant: boolean): object => ({ patient, type, clone, n: 9, malignant, library: 1 });
  const groups = [group("P1", "T", "clone 1", true), group("P1", "T", "normal cells", false), group("P1", "B", "cluster 0", true), group("P2", "T", "clone 1", true), group("P2", "T", "clone 2", true), group("P2", "T", "normal cells", false)];
  const values = [-0.5, 0, 0, 0.1, -0.1, NaN];
  const text = pack({ names: ["A"], classes: ["untested"], chroms: [], patients: ["P1", "P2"], reasons: [""], groups, tested: 0, escape: 0 }, {
    copy: scaled("i16", [6, 1], values, 0.001, -32768), y: scaled("i16", [6, 1], values, 0.001, -32768),
  });
  const genes = new Genes(await unpack<GenesHeader>(text));
  assert.deepEqual(genes.points(0).map((p) => [p.alone, p.toNormal]), [[false, true], [false, true], [true, false], [false, false], [false, false]]);
  assert.deepEqual(groups.map((_, i) => Number.isFinite(genes.copyAsUsual(i, 0))), [true, true, true, false, false, false]);
});
