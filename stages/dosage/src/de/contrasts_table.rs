//! `contrasts.tsv`: which comparisons were made, by which test, and why the others were not.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_stage::rows::ContrastRow;
use clcc_stage::tables::{Family, Table};

use super::by_type::ByType;
use super::contrasts::Kind;
use super::family::Tested;
use super::paired::Paired;
use super::params::DeParams;
use super::write::{found_columns, who};

/// Status of a comparison that was made.
pub(super) const TESTED: &str = "tested";

/// Status of a comparison, by why it was not made.
pub(super) fn status(obstacle: Option<&String>) -> String {
    let status = obstacle.map_or(TESTED, |_| "not applicable");
    status.to_string()
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
    let n_tested = lines.iter().filter(|l| l.status == TESTED).count();
    let made = Made {
        tested: n_tested,
        not_applicable: lines.len() - n_tested,
    };
    let counts = format!(
        "n_up_T and n_down_T: genes at an FDR below {} and a log2 fold change beyond T; n_group and n_reference count cells, or patients where the test is over patients",
        params.fdr
    );
    Table::new(lines)
        .keep(found_columns(&["up", "down"], params).iter())
        .note("the comparisons of stage de, and why one could not be made")
        .note(counts)
        .note("the same comparison by several tests: cells of one tumour are not independent, so the tests over cells find too many genes where patients differ at random; those over patients hold")
        .note(params.test_note())
        .write(dir)?;
    Ok(made)
}

/// Lines of all comparisons: by rank-sum test, within cell types, and over patients.
fn lines(
    patients: &[String],
    tested: &[Tested],
    by_type: &[ByType],
    paired: &[Paired],
    params: &DeParams,
) -> Vec<ContrastRow> {
    let columns = found_columns(&["up", "down"], params);
    let line = |kind: Kind, reason: Option<String>, sizes: (usize, usize)| ContrastRow {
        contrast: kind.name().to_string(),
        status: status(reason.as_ref()),
        reason: reason.unwrap_or_default(),
        n_group: sizes.0 as i64,
        n_reference: sizes.1 as i64,
        ..ContrastRow::default()
    };
    let found = |n: &dyn Fn(i8, f64) -> usize| {
        let both = |l: &f64| [n(1, *l) as i64, n(-1, *l) as i64];
        Family::new(&columns, params.log2fc.iter().flat_map(both).collect())
    };
    let of_cells = tested.iter().map(|t| {
        let c = &t.comparison;
        ContrastRow {
            patient: who(patients, t.patient),
            test: params.test_name(),
            n_found: found(&|s, l| t.n_found(s, params.fdr, l)),
            ..line(c.kind, c.obstacle.clone(), (c.n_group, c.n_reference))
        }
    });
    let within = by_type.iter().map(|t| {
        let used = t.used.as_ref();
        let sizes = used.map_or((0, 0), |u| (u.group, u.reference));
        ContrastRow {
            patient: who(patients, t.patient),
            test: "van Elteren within cell types".into(),
            n_found: found(&|s, l| t.n_found(s, params.fdr, l)),
            ..line(Kind::Discordance, used.err().cloned(), sizes)
        }
    });
    let over_patients = paired.iter().map(|p| {
        let few = format!(
            "expected at least 2 patients with both groups, found {}",
            p.n_pairs
        );
        let obstacle = p.genes.is_none().then_some(few);
        ContrastRow {
            patient: p.sample.name().into(),
            test: p.sample.test().into(),
            n_found: found(&|s, l| p.n_found(s, params.fdr, l)),
            ..line(p.kind, obstacle, (p.n_pairs, p.n_pairs))
        }
    });
    of_cells.chain(within).chain(over_patients).collect()
}
