//! `contrasts.tsv`: which comparisons were made, by which test, and why the others were not.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;

use super::by_type::ByType;
use super::contrasts::Kind;
use super::family::Tested;
use super::paired::Paired;
use super::params::DeParams;
use super::write::who;

/// One line of `contrasts.tsv`.
struct Line {
    contrast: &'static str,
    patient: String,
    test: String,
    /// Why it was not tested; `None` where it was.
    reason: Option<String>,
    sizes: (usize, usize),
    /// Number of genes up and down at each fold-change threshold.
    found: Vec<(usize, usize)>,
}

/// Numbers of comparisons that were tested and that could not be.
pub(super) struct Made {
    pub(super) tested: usize,
    pub(super) not_applicable: usize,
}

/// Write `contrasts.tsv`.
pub(super) fn write(
    dir: &Path,
    patients: &[String],
    tested: &[Tested],
    by_type: &[ByType],
    paired: &[Paired],
    params: &DeParams,
) -> StageResult<Made> {
    let lines = lines(patients, tested, by_type, paired, params);
    let mut frame = Frame::new(lines.iter().map(|l| l.contrast.to_string()).collect());
    let text = |f: &dyn Fn(&Line) -> String| Column::Str(lines.iter().map(f).collect());
    let int = |f: &dyn Fn(&Line) -> usize| Column::I64(lines.iter().map(|l| f(l) as i64).collect());
    frame.set("patient", text(&|l| l.patient.clone()));
    frame.set("test", text(&|l| l.test.clone()));
    let status = |l: &Line| {
        if l.reason.is_none() {
            "tested"
        } else {
            "not applicable"
        }
    };
    frame.set("status", text(&|l| status(l).into()));
    frame.set("reason", text(&|l| l.reason.clone().unwrap_or_default()));
    frame.set("n_group", int(&|l| l.sizes.0));
    frame.set("n_reference", int(&|l| l.sizes.1));
    for (at, limit) in params.log2fc.iter().enumerate() {
        frame.set(&format!("n_up_{limit}"), int(&|l| l.found[at].0));
        frame.set(&format!("n_down_{limit}"), int(&|l| l.found[at].1));
    }
    let counts = format!(
        "n_up_T and n_down_T: genes at an FDR below {} and a log2 fold change beyond T; n_group and n_reference count cells, or patients where the test is over patients",
        params.fdr
    );
    write_tsv(
        &dir.join("contrasts.tsv"),
        "contrast",
        &frame,
        &[
            "the comparisons of stage de, and why one could not be made",
            &counts,
            "the same comparison by several tests: cells of one tumour are not independent, so the tests over cells find too many genes where patients differ at random; those over patients hold",
            &params.test_note(),
        ],
    )?;
    let tested = lines.iter().filter(|l| l.reason.is_none()).count();
    Ok(Made {
        tested,
        not_applicable: lines.len() - tested,
    })
}

/// Lines of all comparisons: by rank-sum test, within cell types, and over patients.
fn lines(
    patients: &[String],
    tested: &[Tested],
    by_type: &[ByType],
    paired: &[Paired],
    params: &DeParams,
) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let found = |n: &dyn Fn(i8, f64) -> usize| -> Vec<(usize, usize)> {
        params.log2fc.iter().map(|&l| (n(1, l), n(-1, l))).collect()
    };
    for t in tested {
        lines.push(Line {
            contrast: t.comparison.kind.name(),
            patient: who(patients, t.patient),
            test: params.test_name(),
            reason: t.comparison.obstacle.clone(),
            sizes: (t.comparison.n_group, t.comparison.n_reference),
            found: found(&|s, l| t.n_found(s, params.fdr, l)),
        });
    }
    for t in by_type {
        let used = t.used.as_ref();
        lines.push(Line {
            contrast: Kind::Discordance.name(),
            patient: who(patients, t.patient),
            test: "van Elteren within cell types".into(),
            reason: used.err().cloned(),
            sizes: used.map_or((0, 0), |u| (u.group, u.reference)),
            found: found(&|s, l| t.n_found(s, params.fdr, l)),
        });
    }
    for p in paired {
        let few = format!(
            "expected at least 2 patients with both groups, found {}",
            p.n_pairs
        );
        lines.push(Line {
            contrast: p.kind.name(),
            patient: p.sample.name().into(),
            test: p.sample.test().into(),
            reason: p.genes.is_none().then_some(few),
            sizes: (p.n_pairs, p.n_pairs),
            found: found(&|s, l| p.n_found(s, params.fdr, l)),
        });
    }
    lines
}
