//! Every parameter beyond the easy case does to the counts what it says, and nothing else.

use super::tests::{counts, deep, flags, log_ratios, simulate};
use super::*;
use clcc_numerics::stats::{mean, median, pearson, variance};
use clcc_testing::at_threads;

/// Genes without escape and with slope 1, and no tumour but for its copy number.
fn exact() -> SimulateParams {
    SimulateParams {
        slope_mean: 1.0,
        slope_sd: 0.0,
        constitutive_share: 0.0,
        state_gene_share: 0.0,
        ..SimulateParams::default()
    }
}

fn not(flags: &[bool]) -> Vec<bool> {
    flags.iter().map(|f| !f).collect()
}

/// Log ratio of the malignant to the other cells in `a` minus that in `b`, per gene; genes without enough
/// counts are NaN.
fn change(a: &Patient, b: &Patient) -> Vec<f64> {
    let of = |p: &Patient| {
        let malignant = flags(&p.counts.obs, "truth_malignant");
        log_ratios(p, &malignant, &not(&malignant))
    };
    of(a).into_iter().zip(of(b)).map(|(a, b)| a - b).collect()
}

/// Values at the chosen indices that are not NaN.
fn kept(values: &[f64], which: impl Fn(usize) -> bool) -> Vec<f64> {
    let at = (0..values.len()).filter(|&g| which(g) && !values[g].is_nan());
    at.map(|g| values[g]).collect()
}

#[test]
fn genes_of_an_event_have_its_copy_ratio() {
    let events = SimulateParams {
        sub_arm_share: 0.7,
        focal_events: 6,
        focal_mb: 50.0,
        genome_doubling: 1.0,
        ..exact()
    };
    let (patient, world) = deep(events.clone());
    // The same without any answer to copy number.
    let (flat, _) = deep(SimulateParams {
        slope_mean: 0.0,
        ..events
    });
    let found = change(&patient, &flat);
    let clone = &patient.clones[0];
    let neutral = median(&kept(&found, |g| clone.ratio(&world.genes[g]) == 1.0));
    for kind in [EventKind::Arm, EventKind::SubArm, EventKind::Focal] {
        let of_kind = |g: usize| {
            let over = clone.events.iter().filter(|e| e.covers(&world.genes[g]));
            over.max_by_key(|e| e.kind).filter(|e| e.kind == kind)
        };
        let error: Vec<f64> = (0..found.len())
            .filter(|&g| !found[g].is_nan())
            .filter_map(|g| of_kind(g).map(|e| found[g] - neutral - e.ratio.ln()))
            .collect();
        assert!(error.len() > 20, "{} genes of {kind:?}", error.len());
        // Sums of 100 counts and more: a standard error of about .1 a gene at most.
        let se = (variance(&error, 1) / error.len() as f64).sqrt();
        assert!(
            mean(&error).abs() < 4.0 * se + 0.01 && se < 0.04,
            "{kind:?}: {} +- {se}",
            mean(&error)
        );
    }
}

#[test]
fn cells_of_a_doubled_genome_have_half_as_many_counts_again() {
    let relative = |genome_doubling: f64| {
        let (patient, _) = deep(SimulateParams {
            genome_doubling,
            ..exact()
        });
        let totals = counts(&patient).row_sums();
        let malignant = flags(&patient.counts.obs, "truth_malignant");
        let of = |wanted: bool| mean(&kept(&totals, |c| malignant[c] == wanted));
        of(true) / of(false)
    };
    let ratio = relative(1.0) / relative(0.0);
    assert!((ratio - 1.5).abs() < 0.08, "{ratio}");
}

/// What a parameter shifts in expression is what the truth says: the slope of the found on the planted
/// shifts is 1, and little is left.
fn assert_planted(found: &[f64], planted: &[f64], sd: f64) {
    let at: Vec<usize> = (0..found.len()).filter(|&g| !found[g].is_nan()).collect();
    let (x, y): (Vec<f64>, Vec<f64>) = at.iter().map(|&g| (planted[g], found[g])).unzip();
    assert!(x.len() > 400, "{} genes", x.len());
    let r = pearson(&x, &y).r;
    let slope = r * (variance(&y, 1) / variance(&x, 1)).sqrt();
    assert!(
        r > 0.95 && (slope - 1.0).abs() < 0.05,
        "r {r}, slope {slope}"
    );
    let all = kept(planted, |g| planted[g] != 0.0);
    let spread = variance(&all, 1).sqrt();
    assert!((spread / sd - 1.0).abs() < 0.15, "{spread}, expected {sd}");
}

#[test]
fn each_tumour_has_levels_of_its_own() {
    let (plain, _) = deep(exact());
    let (patient, _) = deep(SimulateParams {
        tumour_level_sd: 0.5,
        ..exact()
    });
    let planted: Vec<f64> = patient
        .shifts
        .tumour
        .iter()
        .zip(&plain.shifts.tumour)
        .map(|(a, b)| a - b)
        .collect();
    assert_planted(&change(&patient, &plain), &planted, 0.5);
    let world = World::new(&exact(), 8).unwrap();
    let level = |name: &str| {
        let params = SimulateParams {
            tumour_level_sd: 0.5,
            ..exact()
        };
        shifts::Shifts::draw(&world, &PatientPlan::standard(name, &params), &params, 8).tumour
    };
    let r = pearson(&level("A"), &level("B")).r;
    assert!(r.abs() < 0.05, "levels of two patients have r {r}");
}

#[test]
fn a_clone_has_a_programme_apart_from_its_copies() {
    let (plain, _) = deep(exact());
    let (patient, _) = deep(SimulateParams {
        clone_programme_sd: 0.8,
        ..exact()
    });
    let planted = &patient.shifts.programmes[0];
    let share = planted.iter().filter(|s| **s != 0.0).count() as f64 / planted.len() as f64;
    assert!((share - 0.1).abs() < 0.03, "{share}");
    assert_planted(&change(&patient, &plain), planted, 0.8);
}

#[test]
fn a_batch_shifts_the_cells_of_its_sample() {
    let (plain, _) = deep(exact());
    let (patient, _) = deep(SimulateParams {
        batch_sd: 0.4,
        ..exact()
    });
    let of_samples = |p: &Patient| {
        let samples = p.counts.obs.texts("sample").unwrap();
        let tumour: Vec<bool> = samples.iter().map(|s| *s == p.samples[0]).collect();
        log_ratios(p, &tumour, &not(&tumour))
    };
    let found: Vec<f64> = of_samples(&patient)
        .into_iter()
        .zip(of_samples(&plain))
        .map(|(a, b)| a - b)
        .collect();
    let [a, b] = [0, 1].map(|s| &patient.shifts.batches[s]);
    let planted: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    assert_planted(&found, &planted, 0.4 * 2f64.sqrt());
}

#[test]
fn a_gene_escapes_in_as_many_patients_as_stated() {
    let params = SimulateParams {
        constitutive_share: 0.4,
        state_gene_share: 0.0,
        slope_sd: 0.0,
        slope_mean: 1.0,
        escape_patients: Some(1),
        n_genes: 2000,
        ..SimulateParams::default()
    };
    let names = ["A", "B", "C"].map(String::from);
    let world = World::new(&params, 8)
        .unwrap()
        .for_patients(&names, &params, 8);
    let mut per_patient = [0; 3];
    for g in (0..2000).filter(|&g| world.genes[g].escape_constitutive) {
        let here: Vec<bool> = names.iter().map(|n| world.escapes_in(g, n)).collect();
        assert_eq!(here.iter().filter(|e| **e).count(), 1, "gene {g}");
        (0..3).for_each(|p| per_patient[p] += usize::from(here[p]));
    }
    assert!(
        per_patient.iter().all(|n| (200..340).contains(n)),
        "{per_patient:?}"
    );
    // In the counts of patient A: slope 0 of its own genes, 1 of those that escape elsewhere.
    let deep_params = |slope_mean: f64| SimulateParams {
        n_cells: 1200,
        tumour_share: 0.8,
        malignant_share: 0.95,
        median_counts: 40_000.0,
        ambient: 0.0,
        dispersion: 0.1,
        n_clones: 1,
        clone_events: 0,
        slope_mean,
        ..params.clone()
    };
    let run = |p: &SimulateParams| {
        let world = World::new(p, 8).unwrap().for_patients(&names, p, 8);
        simulate_patient(&world, &PatientPlan::standard("A", p), p, 8).unwrap()
    };
    let patient = run(&deep_params(1.0));
    let found = change(&patient, &run(&deep_params(0.0)));
    let log_ratio = |g: usize| patient.clones[0].ratio(&world.genes[g]).ln();
    let neutral = median(&kept(&found, |g| log_ratio(g) == 0.0));
    for (escapes, slope) in [(true, 0.0), (false, 1.0)] {
        let of = (0..2000).filter(|&g| {
            world.genes[g].escape_constitutive
                && world.escapes_in(g, "A") == escapes
                && log_ratio(g) != 0.0
                && !found[g].is_nan()
        });
        let slopes: Vec<f64> = of.map(|g| (found[g] - neutral) / log_ratio(g)).collect();
        assert!(
            slopes.len() > 20 && (mean(&slopes) - slope).abs() < 0.08,
            "{}",
            mean(&slopes)
        );
    }
}

#[test]
fn graded_cells_leave_their_dosage_as_far_as_their_z_says() {
    let (patient, world) = deep(SimulateParams {
        slope_mean: 1.0,
        slope_sd: 0.0,
        constitutive_share: 0.0,
        state_gene_share: 0.4,
        discordant_share: 0.4,
        discordance_concentration: Some(1.5),
        ..SimulateParams::default()
    });
    let obs = &patient.counts.obs;
    let malignant = flags(obs, "truth_malignant");
    let z = obs.numbers("truth_discordance").unwrap();
    let own: Vec<f64> = kept(&z, |c| malignant[c]);
    // A beta number of mean m and a + b = n has the variance m (1 - m) / (n + 1).
    assert!((mean(&own) - 0.4).abs() < 0.04, "{}", mean(&own));
    assert!(
        (variance(&own, 1) - 0.24 / 2.5).abs() < 0.012,
        "{}",
        variance(&own, 1)
    );
    assert!(kept(&z, |c| !malignant[c]).iter().all(|z| *z == 0.0));
    let of = |low: f64, high: f64| -> Vec<bool> {
        (0..z.len())
            .map(|c| malignant[c] && (low..=high).contains(&z[c]))
            .collect()
    };
    let lowest = of(0.0, 0.1);
    let z_of = |cells: &[bool]| mean(&kept(&z, |c| cells[c]));
    for cells in [of(0.3, 0.7), of(0.9, 1.0)] {
        let ratios = log_ratios(&patient, &lowest, &cells);
        let log_ratio = |g: usize| patient.clones[0].ratio(&world.genes[g]).ln();
        let neutral = median(&kept(&ratios, |g| !world.genes[g].escape_state));
        let genes = (0..ratios.len())
            .filter(|&g| world.genes[g].escape_state && log_ratio(g) != 0.0 && !ratios[g].is_nan());
        let lost: Vec<f64> = genes
            .map(|g| (ratios[g] - neutral) / log_ratio(g))
            .collect();
        let expected = z_of(&cells) - z_of(&lowest);
        assert!(
            lost.len() > 60 && (mean(&lost) - expected).abs() < 0.1,
            "{} for {expected}",
            mean(&lost)
        );
    }
    let discordant = flags(obs, "truth_discordant");
    assert!((0..z.len()).all(|c| discordant[c] == (z[c] >= 0.5)));
}

fn small() -> SimulateParams {
    SimulateParams {
        n_cells: 600,
        n_genes: 1500,
        ..SimulateParams::default()
    }
}

#[test]
fn a_doublet_has_the_counts_of_two_cells() {
    let plain = simulate("A", &small(), 5);
    let patient = simulate(
        "A",
        &SimulateParams {
            doublet_share: 0.2,
            ..small()
        },
        5,
    );
    let doublet = flags(&patient.counts.obs, "truth_doublet");
    assert_eq!(doublet.iter().filter(|d| **d).count(), 120);
    let (x, before) = (counts(&patient), counts(&plain));
    let mut added = Vec::new();
    for (c, is_doublet) in doublet.iter().enumerate() {
        if *is_doublet {
            let more = |g: usize| x.get(c, g) - before.get(c, g);
            assert!(
                (0..1500).all(|g| more(g) >= 0.0),
                "a second cell takes nothing away"
            );
            added.push((0..1500).map(|g| f64::from(more(g))).sum::<f64>());
        } else {
            assert_eq!(x.row(c), before.row(c));
        }
    }
    let usual = mean(&before.row_sums());
    assert!(
        (mean(&added) / usual - 1.0).abs() < 0.15,
        "{} of {usual}",
        mean(&added)
    );
}

#[test]
fn cells_around_a_clone_look_like_it_but_for_its_copies() {
    let with = |tumour_like_share: f64| SimulateParams {
        tumour_like_share,
        ..exact()
    };
    let (patient, world) = deep(with(0.3));
    let obs = &patient.counts.obs;
    let (malignant, like) = (
        flags(obs, "truth_malignant"),
        flags(obs, "truth_tumour_like"),
    );
    let n = like.iter().filter(|l| **l).count();
    // 95 % of 960 cells.
    assert_eq!(
        (n, malignant.iter().filter(|m| **m).count()),
        (274, 912 - 274)
    );
    let types = obs.texts("cell_type").unwrap();
    assert!((0..types.len()).all(|c| !like[c] || types[c] == "Epithelial cells"));
    let ratios = log_ratios(&patient, &malignant, &like);
    let clone = &patient.clones[0];
    let neutral = median(&kept(&ratios, |g| clone.ratio(&world.genes[g]) == 1.0));
    for (g, ratio) in ratios.iter().enumerate().filter(|(_, r)| !r.is_nan()) {
        let expected = clone.ratio(&world.genes[g]).ln();
        assert!(
            (ratio - neutral - expected).abs() < 0.7,
            "gene {g}: {ratio}"
        );
    }
    let error = |g: usize| ratios[g] - neutral - clone.ratio(&world.genes[g]).ln();
    let errors: Vec<f64> = (0..ratios.len())
        .filter(|&g| !ratios[g].is_nan())
        .map(error)
        .collect();
    assert!(mean(&errors).abs() < 0.02, "{}", mean(&errors));
}

#[test]
fn a_share_of_each_type_is_mislabelled_and_nothing_else_changes() {
    let plain = simulate("A", &small(), 5);
    let params = SimulateParams {
        mislabelled_share: 0.25,
        ..small()
    };
    let patient = simulate("A", &params, 5);
    assert_eq!(patient.counts.x, plain.counts.x);
    let obs = &patient.counts.obs;
    let (label, kind) = (
        obs.texts("cell_type").unwrap(),
        obs.texts("truth_cell_type").unwrap(),
    );
    assert_eq!(kind, plain.counts.obs.texts("cell_type").unwrap());
    let plan = PatientPlan::standard("A", &params);
    let expected: usize = plan.samples[0]
        .groups
        .iter()
        .filter(|g| !g.malignant && g.cell_type != CellType::Epithelial)
        .map(|g| (g.n_cells as f64 * 0.25).round() as usize)
        .sum();
    let wrong: Vec<usize> = (0..label.len()).filter(|&c| label[c] != kind[c]).collect();
    assert!(expected > 30 && wrong.len() == expected);
    assert!(wrong.iter().all(|&c| label[c] == "Epithelial cells"));
    // What is planned is what is there.
    let planned = plan.samples.iter().flat_map(|s| s.labels(&params));
    let epithelial: usize = planned
        .filter(|(t, _)| *t == CellType::Epithelial)
        .map(|(_, n)| n)
        .sum();
    assert_eq!(
        label.iter().filter(|l| *l == "Epithelial cells").count(),
        epithelial
    );
}

#[test]
fn a_plasma_clone_secretes_one_heavy_and_one_light_chain() {
    let params = SimulateParams {
        immunoglobulin: Immunoglobulin::Malignant,
        ambient: 0.0,
        ..small()
    };
    let patient = simulate("A", &params, 5);
    let x = counts(&patient);
    let names = &patient.counts.var.index;
    let totals = x.row_sums();
    let share = |c: usize, genes: &[usize]| {
        genes.iter().map(|&g| f64::from(x.get(c, g))).sum::<f64>() / totals[c]
    };
    let all: Vec<usize> = (0..names.len())
        .filter(|&g| clonotypes::genes(&params).any(|n| n == names[g]))
        .collect();
    assert_eq!(
        all.len(),
        30,
        "every gene of the sets is in the built-in table"
    );
    let obs = &patient.counts.obs;
    let malignant = flags(obs, "truth_malignant");
    let mut of_set: [Vec<f64>; 3] = Default::default();
    for (c, truth) in patient.truth.iter().enumerate() {
        match truth.kind.clonotype {
            Some(set) => {
                let own = share(c, &patient.clonotypes[set]);
                assert!(share(c, &all) - own < 0.02, "other sets are silent");
                of_set[set.min(2)].push(own);
                assert_eq!(malignant[c], set == 0);
            }
            None => assert!(share(c, &all) < 0.05),
        }
    }
    for own in &of_set {
        assert!(
            own.len() > 2 && (mean(own) - 0.3).abs() < 0.04,
            "{} of {}",
            mean(own),
            own.len()
        );
    }
    let types = obs.texts("cell_type").unwrap();
    assert!((0..types.len()).all(|c| !malignant[c] || types[c] == "B lymphocytes"));
    let plasma = SimulateParams {
        immunoglobulin: Immunoglobulin::Plasma,
        ..params
    };
    let patient = simulate("A", &plasma, 5);
    assert!(patient.truth.iter().all(|t| t.kind.clonotype != Some(0)));
}

/// Parameters of every kind at once.
fn everything() -> SimulateParams {
    SimulateParams {
        sub_arm_share: 0.3,
        focal_events: 3,
        clone_focal_events: 1,
        genome_doubling: 0.5,
        tumour_level_sd: 0.3,
        clone_programme_sd: 0.5,
        escape_patients: Some(1),
        discordance_concentration: Some(2.0),
        doublet_share: 0.05,
        tumour_like_share: 0.1,
        mislabelled_share: 0.03,
        batch_sd: 0.1,
        immunoglobulin: Immunoglobulin::Plasma,
        ..small()
    }
}

/// What is not set draws nothing: cells, genes and slopes are those of the easy case.
#[test]
fn the_easy_case_is_under_the_hard_one() {
    let (easy, hard) = (
        simulate(
            "A",
            &SimulateParams {
                immunoglobulin: Immunoglobulin::Plasma,
                ..small()
            },
            5,
        ),
        simulate("A", &everything(), 5),
    );
    assert_eq!(easy.counts.obs.index, hard.counts.obs.index);
    assert_eq!(easy.counts.var, hard.counts.var);
    assert_eq!(easy.phases, hard.phases);
    let run = |threads| at_threads(threads, || simulate("A", &everything(), 5).counts);
    assert_eq!(run(1), run(4));
    for column in truth_columns(&everything()) {
        assert!(hard.counts.obs.column(column).is_ok(), "{column}");
    }
}

/// Digest of the counts and tables of the easy case, as they were before any of this (code version 3).
#[test]
fn defaults_leave_every_byte_as_it_was() {
    let patient = simulate("A", &small(), 5);
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for b in bytes {
            digest = (digest ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let x = counts(&patient);
    x.data().iter().for_each(|v| add(&v.to_le_bytes()));
    x.indices().iter().for_each(|v| add(&v.to_le_bytes()));
    let names: Vec<&String> = patient.counts.obs.columns.keys().collect();
    add(format!(
        "{names:?} {:?}",
        patient.counts.var.columns.keys().collect::<Vec<_>>()
    )
    .as_bytes());
    let dir = tempfile::tempdir().unwrap();
    let params = small();
    let world = World::new(&params, 5).unwrap();
    let mut truth = Truth::new(&world, &params);
    truth.add(&patient);
    let segments = dir.path().join("segments");
    truth.write_segments(&segments).unwrap();
    truth.write(dir.path()).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "segments",
            "truth_cells.tsv",
            "truth_events.tsv",
            "truth_genes.tsv"
        ]
    );
    for file in files {
        add(&std::fs::read(dir.path().join(file)).unwrap());
    }
    assert_eq!(digest, 0xee84_b290_9a29_81ea, "{digest:#x}");
}

pub(super) fn context<'a>(
    dir: &std::path::Path,
    keys: &[&str],
    cancel: &'a std::sync::atomic::AtomicBool,
) -> StageContext<'a> {
    StageContext {
        inputs: Vec::new(),
        out_dir: dir.to_path_buf(),
        keys: keys.iter().map(ToString::to_string).collect(),
        seed: 7,
        threads: 2,
        device: clcc_stage::stage::DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &clcc_stage::stage::Quiet,
        cancel,
    }
}

#[test]
fn the_stage_writes_the_truth_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let context = |keys: &[&str]| context(dir.path(), keys, &cancel);
    let params = SimulateParams {
        n_cells: 200,
        n_genes: 900,
        escape_patients: Some(2),
        ..everything()
    };
    let alone = Simulate::run(&context(&["A"]), &params).unwrap_err();
    assert!(alone.to_string().contains("escape_patients"), "{alone}");
    let metrics = Simulate::run(&context(&["A", "B", "C"]), &params).unwrap();
    assert!(
        ["n_doublets", "n_tumour_like", "n_mislabelled"]
            .iter()
            .all(|m| metrics[*m].as_u64() > Some(0))
    );
    let read = |file: &str| {
        clcc_data::table::TextTable::read(&dir.path().join("truth").join(file)).unwrap()
    };
    let n_constitutive = metrics["n_genes_escape_constitutive"].as_u64().unwrap() as usize;
    let escape = read("truth_escape_by_patient.tsv");
    let escapes = escape.texts("escapes").unwrap();
    assert_eq!(escapes.len(), 3 * n_constitutive);
    assert_eq!(
        escapes.iter().filter(|e| **e == "True").count(),
        2 * n_constitutive
    );
    // Three levels, nine programmes, six batches.
    assert_eq!(read("truth_shifts.tsv").header.len(), 1 + 3 + 9 + 6);
    assert_eq!(read("truth_clonotypes.tsv").rows.len(), 3 * 22);
    let events = read("truth_events.tsv");
    for kind in ["arm", "sub_arm", "focal"] {
        assert!(events.texts("kind").unwrap().contains(&kind), "{kind}");
    }
    let cells = read("truth_cells.tsv");
    for column in [
        "discordance",
        "tumour_like",
        "annotated",
        "second_type",
        "second_malignant",
    ] {
        assert!(cells.position(column).is_some(), "{column}");
    }
}
