//! Reference expression of the normal cells, and log ratios to it.

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;

use super::params::InfercnvParams;
use clcc_stage::stage::Progress;

/// List the reference groups as (name, rows): one per value of `reference_cat`, or all cells.
///
/// # Errors
/// [`StageError::Data`] where the column is missing or no cell has one of the values.
pub fn reference_groups(
    obs: &Frame,
    params: &InfercnvParams,
) -> StageResult<Vec<(String, Vec<usize>)>> {
    let Some(key) = &params.reference_key else {
        return Ok(vec![("all".into(), (0..obs.len()).collect())]);
    };
    let values = obs.texts(key)?;
    let mut groups = Vec::new();
    for name in &params.reference_cat {
        let rows: Vec<usize> = (0..values.len()).filter(|&r| values[r] == *name).collect();
        if rows.is_empty() {
            let mut known: Vec<&str> = values.iter().map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            return Err(StageError::data_hint(
                format!(
                    "no cell has `{name}` in `{key}`, so there is no reference; the values are `{}`",
                    known.join("`, `")
                ),
                "name the normal cells with `reference_key` and `reference_cat`, or give this patient a normal sample",
            ));
        }
        if !groups.iter().any(|(n, _): &(String, _)| n == name) {
            groups.push((name.clone(), rows));
        }
    }
    Ok(groups)
}

/// Number of reference cells of a group below which a run stops, since its mean is that of single
/// cells.
const TOO_FEW: usize = 3;
/// Number of reference cells of a group below which a run warns.
const FEW: usize = 20;

/// Check the number of cells of each reference group of this patient; no check where all cells are the
/// reference.
///
/// # Errors
/// [`StageError::Data`] where a group has fewer than 3 cells, and as [`reference_groups`].
pub fn check_reference(
    obs: &Frame,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<()> {
    if params.reference_is_all() {
        return Ok(());
    }
    // A cell without counts carries no information on its type.
    let totals = obs.numbers("total_counts").ok();
    let has_counts = |cell: &usize| totals.as_ref().is_none_or(|t| t[*cell] > 0.0);
    for (name, cells) in reference_groups(obs, params)? {
        let n = cells.iter().filter(|c| has_counts(c)).count();
        let counted = if n < cells.len() { " with counts" } else { "" };
        few_reference_cells(&name, n, counted, progress)?;
    }
    Ok(())
}

/// Warn of a reference group of `n` cells, fewer than 20; `counted` describes which of its cells were
/// counted.
///
/// # Errors
/// [`StageError::Data`] where it has fewer than 3.
pub(super) fn few_reference_cells(
    name: &str,
    n: usize,
    counted: &str,
    progress: &dyn Progress,
) -> StageResult<()> {
    let cells = match n {
        0 => "no cell".to_string(),
        1 => "1 cell".to_string(),
        n => format!("{n} cells"),
    };
    if n < TOO_FEW {
        return Err(StageError::data_hint(
            format!(
                "the reference `{name}` has {cells}{counted} in this patient, expected at least {TOO_FEW} (and better {FEW} or more)"
            ),
            "the profile of so few cells is their own noise: name other normal cells with `reference_key` and `reference_cat` (for `cancer_vs_normal` with that of `preprocess`), leave this group out of several, give the patient a normal sample, or leave the patient out",
        ));
    }
    if n < FEW {
        progress.warn(&format!(
            "the reference `{name}` has {cells}{counted} in this patient: with fewer than {FEW} the profiles of all cells carry their noise"
        ));
    }
    Ok(())
}

/// Lowest and highest group mean of log1p expression, per gene.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Lowest group mean of each gene of `expr`.
    pub low: Vec<f64>,
    /// Highest group mean of each gene; equal to `low` with one group.
    pub high: Vec<f64>,
}

impl Reference {
    /// Compute the group means, of logs and in f64. **Deviation**: scipy sums f32 matrices in f32, so
    /// infercnvpy's means differ by about 1e-6 relative.
    pub fn new(x: &Csr, groups: &[(String, Vec<usize>)]) -> Self {
        let means = groups.iter().map(|(_, rows)| {
            let sums = x.sum_rows(rows.iter().copied()).into_iter();
            sums.map(|sum| sum / rows.len() as f64)
                .collect::<Vec<f64>>()
        });
        Self::of_means(x.n_cols(), means)
    }

    /// The bounds of `n_genes` genes from the means of each group.
    pub(crate) fn of_means(
        n_genes: usize,
        groups: impl IntoIterator<Item = impl IntoIterator<Item = f64>>,
    ) -> Self {
        let mut low = vec![f64::INFINITY; n_genes];
        let mut high = vec![f64::NEG_INFINITY; n_genes];
        for means in groups {
            for (g, mean) in means.into_iter().enumerate() {
                low[g] = low[g].min(mean);
                high[g] = high[g].max(mean);
            }
        }
        Self { low, high }
    }

    /// Log ratio of `value` at `gene`: 0 between the bounds, else the distance to the nearer one;
    /// clipped to +- `clip`.
    pub fn ratio(&self, gene: usize, value: f64, clip: f64) -> f64 {
        let ratio = if value > self.high[gene] {
            value - self.high[gene]
        } else if value < self.low[gene] {
            value - self.low[gene]
        } else {
            0.0
        };
        ratio.clamp(-clip, clip)
    }
}
