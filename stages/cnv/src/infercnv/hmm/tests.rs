//! The method against cnvturbo (a port of R inferCNV), and its laws.

use serde_json::Value;

use super::*;
use crate::infercnv::{Method, annotate_hmm};
use clcc_data::frame::Column;
use clcc_stage::stage::Quiet;

struct Reference {
    json: Value,
    obs: Frame,
    var: Frame,
    counts: Csr,
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

fn strings(v: &Value) -> Vec<String> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap().to_string())
        .collect()
}

/// `tests/reference/infercnv/make_hmm.py` wrote the counts and what cnvturbo 0.3.0 makes of them.
fn reference() -> Reference {
    let json: Value = serde_json::from_str(include_str!(
        "../../../../../tests/reference/infercnv/hmm.json"
    ))
    .unwrap();
    let mut var = Frame::new(strings(&json["names"]));
    var.set_category("chromosome", &strings(&json["chromosome"]));
    for name in ["start", "end"] {
        var.set(
            name,
            Column::I64(numbers(&json[name]).iter().map(|v| *v as i64).collect()),
        );
    }
    let rows: Vec<Vec<f64>> = json["counts"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    let counts = Array2::from_shape_fn((rows.len(), var.len()), |(c, g)| rows[c][g] as f32);
    let mut obs = Frame::new((0..rows.len()).map(|c| format!("c{c}")).collect());
    obs.set_category("cancer_vs_normal", &strings(&json["group"]));
    Reference {
        counts: Csr::from_dense(&counts),
        json,
        obs,
        var,
    }
}

fn params() -> InfercnvParams {
    InfercnvParams {
        method: Method::Hmm,
        step: 4,
        hmm: HmmParams {
            window_length: 31,
            cutoff: 0.5,
            k_nn: 6,
            ..HmmParams::default()
        },
        ..InfercnvParams::default()
    }
}

struct Pieces {
    layout: Layout,
    selection: Selection,
    references: Vec<Vec<usize>>,
}

fn pieces(r: &Reference, params: &InfercnvParams) -> Pieces {
    let positions = GenePositions::from_var(&r.var).unwrap();
    let candidates = Layout::genes_in_order(&positions, params).unwrap();
    let selection = Selection::new(
        &r.counts,
        &candidates.genes,
        &candidates.spans(),
        &params.hmm,
    );
    let layout = candidates.centred(
        &selection.genes,
        &selection.chromosomes,
        params.hmm.window_length,
        params.step,
    );
    let references = reference_groups(&r.obs, params)
        .unwrap()
        .into_iter()
        .map(|g| g.1)
        .collect();
    Pieces {
        layout,
        selection,
        references,
    }
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    clcc_numerics::stats::pearson(a, b).r
}

#[test]
fn ratios_and_noise_are_those_of_cnvturbo() {
    let r = reference();
    let params = params();
    let p = pieces(&r, &params);
    let ratios = Ratios::new(&r.counts, &p.selection, &p.references, &params.hmm);
    let genes: Vec<String> = p
        .selection
        .genes
        .iter()
        .map(|&g| r.var.index[g].clone())
        .collect();
    assert_eq!(genes, strings(&r.json["genes"]));
    let all: Vec<usize> = (0..r.obs.len()).collect();
    let ours = ratios.map(&all, |_, row| row.to_vec());
    let theirs: Vec<Vec<f64>> = r.json["ratios"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    for (o, t) in ours.iter().flatten().zip(theirs.iter().flatten()) {
        // Absolute, on values around 1: cnvturbo works in f32 from the clip on, and prints six digits.
        assert!((o - t).abs() < 5e-6, "{o} {t}");
    }
    assert!(pearson(&ours.concat(), &theirs.concat()) > 0.999_999);
    let spread = theirs
        .concat()
        .iter()
        .map(|v| (v - 1.0).abs())
        .fold(0.0, f64::max);
    assert!(spread > 0.3, "the reference has a signal: {spread}");

    let noise = Noise::of(&ratios, &p.references[0]);
    assert!((noise.mean - r.json["neutral"].as_f64().unwrap()).abs() < 1e-6);
    let kept: Vec<Vec<f64>> = r.json["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    let half = params.hmm.sd_amplifier * noise.cell_sd;
    let mut near = 0;
    for (row, kept) in ours.iter().zip(&kept) {
        for (v, k) in row.iter().zip(kept) {
            let distance = (v - noise.mean).abs() - half;
            near += usize::from(distance.abs() < 1e-5);
            assert!(
                distance.abs() < 1e-5 || (distance >= 0.0) == (*k == 1.0),
                "{v} {k}"
            );
        }
    }
    assert!(near < 5);
}

/// Jaccard index of the genes with each state other than normal.
fn jaccard(ours: &[u8], theirs: &[u8], neutral: u8) -> f64 {
    let (mut both, mut either) = (0.0f64, 0.0);
    for (a, b) in ours.iter().zip(theirs) {
        both += f64::from(u8::from(a == b && *a != neutral));
        either += f64::from(u8::from(*a != neutral || *b != neutral))
            + f64::from(u8::from(a != b && *a != neutral && *b != neutral));
    }
    if either == 0.0 { 1.0 } else { both / either }
}

#[test]
fn states_are_those_of_cnvturbo_on_its_subclusters_and_levels() {
    let r = reference();
    let p0 = params();
    let p = pieces(&r, &p0);
    let ratios = Ratios::new(&r.counts, &p.selection, &p.references, &p0.hmm);
    let six = Levels {
        means: numbers(&r.json["means6"]),
        sds: numbers(&r.json["sds6"]),
    };
    let three = Levels {
        means: numbers(&r.json["means3"]),
        sds: vec![r.json["sd3"].as_f64().unwrap(); 3],
    };
    let mut altered = 0;
    for (name, expected) in r.json["subclusters"].as_object().unwrap() {
        let cells: Vec<usize> = numbers(&expected["cells"])
            .iter()
            .map(|c| *c as usize)
            .collect();
        let mean = ratios.mean_of(&cells, |v| v);
        for (kind, levels) in [(HmmType::I6, &six), (HmmType::I3, &three)] {
            let hmm = HmmParams {
                hmm_type: kind,
                ..p0.hmm.clone()
            };
            let ours = call(&mean, &p.selection.chromosomes, levels, cells.len(), &hmm);
            let key = if kind == HmmType::I6 { "i6" } else { "i3" };
            let mut theirs: Vec<u8> = numbers(&expected[key]).iter().map(|s| *s as u8).collect();
            // A chromosome of one gene: normal here, whatever the port makes of it.
            for span in p.selection.chromosomes.iter().filter(|s| s.len() == 1) {
                theirs[span.start] = kind.neutral();
            }
            altered += theirs.iter().filter(|s| **s != kind.neutral()).count();
            assert!(
                jaccard(&ours, &theirs, kind.neutral()) >= 0.97,
                "{name} {key}:\n{ours:?}\n{theirs:?}"
            );
        }
    }
    assert!(altered > 300, "the reference has altered genes: {altered}");
}

/// A patient of the simulation, small.
fn patient(
    n_cells: usize,
    seed: u64,
) -> (
    clcc_simulate::simulate::Patient,
    clcc_data::anndata::AnnData,
) {
    use clcc_counts::preprocess::{PreprocessParams, preprocess};
    use clcc_simulate::simulate::{PatientPlan, SimulateParams, World, simulate_patient};
    let params = SimulateParams {
        n_cells,
        n_genes: 5000,
        ..SimulateParams::default()
    };
    let world = World::new(&params, seed).unwrap();
    let patient = simulate_patient(
        &world,
        &PatientPlan::standard("P0006", &params),
        &params,
        seed,
    )
    .unwrap();
    let table = clcc_data::genome::GeneTable::grch38();
    let expr = preprocess(
        patient.counts.clone(),
        Some(&table),
        &PreprocessParams::default(),
        &Quiet,
    )
    .unwrap()
    .expr;
    (patient, expr)
}

fn run_on(
    expr: &clcc_data::anndata::AnnData,
    params: &InfercnvParams,
) -> (Hmm, clcc_data::anndata::AnnData, clcc_stage::stage::Metrics) {
    let counts = expr.layers["counts"].clone().into_csr();
    annotate_hmm(&expr.obs, &expr.var, &counts, params, &Quiet).unwrap()
}

/// Six and three states find what was planted: over the malignant cells and the genes of altered arms,
/// called gains are gains and called losses are losses, and the reference has next to none.
#[test]
fn planted_events_are_called_and_normal_cells_are_normal() {
    let (patient, expr) = patient(500, 4);
    let clone_of = expr.obs.texts("truth_clone").unwrap();
    let chromosome = expr.var.texts("chromosome").unwrap();
    let start = expr.var.numbers("start").unwrap();
    for kind in [HmmType::I6, HmmType::I3] {
        let params = InfercnvParams {
            method: Method::Hmm,
            hmm: HmmParams {
                hmm_type: kind,
                ..HmmParams::default()
            },
            ..InfercnvParams::default()
        };
        let (found, cnv, _) = run_on(&expr, &params);
        // The levels of i6 come from sparse simulated cells; cnvturbo's for such data reach from .77 to 1.34.
        let means = &found.levels.means;
        assert!(means.windows(2).all(|m| m[0] < m[1]), "{:?}", found.levels);
        assert!(
            means[means.len() - 1] - means[0] > 0.05,
            "{:?}",
            found.levels
        );
        if kind == HmmType::I6 {
            assert!(
                means[0] < 0.9 && means[1] < 0.97 && means[3] > 1.03 && means[5] > 1.15,
                "{means:?}"
            );
        }
        let neutral = kind.neutral();
        let (mut right, mut wrong, mut missed, mut false_calls, mut normal) =
            (0.0, 0.0, 0.0, 0.0, 0.0);
        for (subcluster, states) in found.subclusters.iter().zip(&found.states) {
            for &cell in &subcluster.cells {
                let clone = patient.clones.iter().find(|c| c.name == clone_of[cell]);
                for (place, &gene) in found.layout.genes.iter().enumerate() {
                    let inside = |e: &&clcc_simulate::simulate::Event| {
                        let (from, to) = e.span();
                        e.chromosome == chromosome[gene]
                            && (from..=to).contains(&(start[gene] as i64))
                    };
                    let truth = clone
                        .and_then(|c| c.events.iter().find(inside))
                        .map_or(1.0, |e| e.ratio);
                    let called = states[place].cmp(&neutral);
                    if clone.is_none() {
                        normal += 1.0;
                        false_calls += f64::from(u8::from(called.is_ne()));
                    } else if truth != 1.0 {
                        match (called.is_eq(), called.is_gt() == (truth > 1.0)) {
                            (true, _) => missed += 1.0,
                            (false, true) => right += 1.0,
                            (false, false) => wrong += 1.0,
                        }
                    }
                }
            }
        }
        let n = right + wrong + missed;
        assert!(
            wrong / n < 0.05 && right / n > 0.5 && false_calls / normal < 0.08,
            "{kind:?}: right {} wrong {} missed {}, false {}",
            right / n,
            wrong / n,
            missed / n,
            false_calls / normal
        );
        let labels = cnv.obs.texts("cnv_subcluster").unwrap();
        assert!(labels.iter().all(|l| !l.is_empty()));
        assert!(cnv.obsm["X_cnv"].shape().1 == found.layout.windows.len());
    }
}

#[test]
fn bytes_are_the_same_at_any_number_of_threads() {
    let (_, expr) = patient(160, 2);
    let params = InfercnvParams {
        method: Method::Hmm,
        calculate_gene_values: true,
        hmm: HmmParams {
            k_nn: 8,
            ..HmmParams::default()
        },
        ..InfercnvParams::default()
    };
    let run = |n| clcc_testing::at_threads(n, || run_on(&expr, &params));
    let ((a, x, m), (b, y, k)) = (run(1), run(4));
    assert_eq!(
        (a.states, a.levels, a.regions),
        (b.states, b.levels, b.regions)
    );
    assert_eq!((x.obsm, x.obs, x.uns, m), (y.obsm, y.obs, y.uns, k));
}

#[test]
fn levels_of_simulated_cells_rise_with_copy_number() {
    let r = reference();
    let params = params();
    let p = pieces(&r, &params);
    let groups: Vec<Vec<usize>> = vec![(0..18).collect(), (18..36).collect()];
    let levels = spike::levels(&r.counts, &p.selection, &groups, &p.references, &params.hmm);
    assert!(levels.means.windows(2).all(|m| m[0] < m[1]), "{levels:?}");
    assert!(
        (levels.means[2] - 1.0).abs() < 0.05 && levels.sds.iter().all(|s| *s > 0.0 && *s < 0.5),
        "{levels:?}"
    );
    assert_eq!(
        levels,
        spike::levels(&r.counts, &p.selection, &groups, &p.references, &params.hmm)
    );
}

#[test]
fn empty_cells_take_no_part_and_messages_name_the_cause() {
    let mut r = reference();
    let n = r.counts.n_rows();
    r.counts = r.counts.map(|row, _, v| if row == 4 { 0.0 } else { v });
    let rows: Vec<Vec<(u32, f32)>> = (0..n)
        .map(|c| {
            r.counts
                .row(c)
                .0
                .iter()
                .copied()
                .zip(r.counts.row(c).1.iter().copied())
                .filter(|e| e.1 > 0.0)
                .collect()
        })
        .collect();
    r.counts = Csr::from_rows(r.var.len(), rows);
    let (found, cnv, _) = annotate_hmm(&r.obs, &r.var, &r.counts, &params(), &Quiet).unwrap();
    assert!(found.x_cnv.row(4).0.is_empty());
    assert!(found.subclusters.iter().all(|s| !s.cells.contains(&4)));
    assert_eq!(cnv.obs.texts("cnv_subcluster").unwrap()[4], "");

    let error = |hmm: HmmParams| {
        let params = InfercnvParams { hmm, ..params() };
        annotate_hmm(&r.obs, &r.var, &r.counts, &params, &Quiet)
            .unwrap_err()
            .to_string()
    };
    let none = error(HmmParams {
        cutoff: 1e9,
        ..HmmParams::default()
    });
    assert!(
        none.contains("0 of 241 genes have a mean count of at least `1000000000`"),
        "{none}"
    );
    let none = error(HmmParams {
        min_counts_per_cell: 1e9,
        ..HmmParams::default()
    });
    assert!(
        none.contains("genes have a mean count") || none.contains("no reference cell"),
        "{none}"
    );
}

#[test]
fn windows_lie_around_every_fourth_gene() {
    let r = reference();
    let p = pieces(&r, &params());
    let middles: Vec<usize> = p.layout.middle_genes().collect();
    let expected: Vec<usize> = p
        .selection
        .chromosomes
        .iter()
        .flat_map(|s| s.clone().step_by(4))
        .collect();
    assert_eq!(middles, expected);
    let first = p.layout.windows[0];
    assert_eq!((first.first_gene, first.last_gene), (0, 15));
}
