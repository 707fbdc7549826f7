//! Compares the discordant with the concordant cells: does the class stand for cell type, sample,
//! depth or cell cycle?

use clcc_data::frame::Frame;
use clcc_numerics::stats::{
    RankSumOptions, auc, cohens_d, cramers_v, mean, quantile, rank_sum_dense,
};

use super::Class;

/// The difference between discordant and concordant cells in one variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// A patient, or `all`.
    pub patient: String,
    /// A column of `obs`, `split` or `cnv_leiden`.
    pub variable: String,
    /// `categorical` or `number`.
    pub kind: &'static str,
    /// Concordant and discordant cells with a value.
    pub n_cells: usize,
    /// Cramer's V, or NaN for numbers.
    pub cramers_v: f64,
    /// Cramer's V corrected for chance, or NaN for numbers.
    pub cramers_v_corrected: f64,
    /// Cohen's d (discordant minus concordant), or NaN for categories.
    pub cohens_d: f64,
    /// Probability that a discordant cell has the larger value, or NaN for categories.
    pub auc: f64,
    /// Chi-squared test, or the rank-sum test (ties corrected).
    pub pval: f64,
    /// The value most over-represented among the discordant cells; empty for numbers.
    pub top_value: String,
    /// Its share of the discordant cells, or their mean of a number.
    pub discordant: f64,
    /// Its share of the concordant cells, or their mean of a number.
    pub concordant: f64,
    /// A sentence for the user where the association is strong; empty otherwise.
    pub warning: String,
    /// The size of the association (Cramer's V, or |Cohen's d|) against labels permuted within
    /// patient and cell type; `None` without permutations.
    pub null: Option<Null>,
}

/// The size of an association under permuted labels: what cell type alone would give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Null {
    /// Median over permutations.
    pub median: f64,
    /// 95 % quantile.
    pub q95: f64,
    /// Share of permutations with a value at least as large, the observed one counted as one of them;
    /// in (0, 1].
    pub p: f64,
}

impl Null {
    fn of(observed: f64, permuted: &[f64]) -> Option<Self> {
        let known: Vec<f64> = permuted.iter().copied().filter(|v| v.is_finite()).collect();
        if known.is_empty() {
            return None;
        }
        // Equal but for the order of a sum counts as equal.
        let least = observed * (1.0 - 1e-12);
        let at_least = known.iter().filter(|&&v| v >= least).count() as f64;
        Some(Self {
            median: quantile(&known, 0.5),
            q95: quantile(&known, 0.95),
            p: (1.0 + at_least) / (1.0 + known.len() as f64),
        })
    }
}

/// The sizes from which on an association is warned of.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Corrected Cramer's V, in [0, 1].
    pub cramers_v: f64,
    /// Absolute value of Cohen's d, at least 0.
    pub cohens_d: f64,
}

/// Counts concordant (row 0) and discordant cells (row 1) by value; columns are the values' names in
/// order. Cells with an empty value are left out.
fn cross_table<'a>(
    classes: &[Option<Class>],
    values: &'a [String],
) -> (Vec<Vec<f64>>, Vec<&'a str>) {
    let mut names: Vec<&str> = values
        .iter()
        .map(String::as_str)
        .filter(|v| !v.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut table = vec![vec![0.0; names.len()]; 2];
    for (class, value) in classes.iter().zip(values) {
        if let (Some(side), Ok(at)) = (side(*class), names.binary_search(&value.as_str())) {
            table[side][at] += 1.0;
        }
    }
    (table, names)
}

/// The finite values of the concordant and of the discordant cells.
fn by_class(classes: &[Option<Class>], values: &[f64]) -> [Vec<f64>; 2] {
    [0, 1].map(|s| {
        classes
            .iter()
            .zip(values)
            .filter(|(c, v)| side(**c) == Some(s) && v.is_finite())
            .map(|(_, v)| *v)
            .collect()
    })
}

/// Compares the classes in a categorical variable; `None` with fewer than two values or an empty class.
pub(crate) fn categorical(
    patient: &str,
    variable: &str,
    classes: &[Option<Class>],
    values: &[String],
    limits: Limits,
) -> Option<Composition> {
    let (table, names) = cross_table(classes, values);
    let totals: Vec<f64> = table.iter().map(|r| r.iter().sum()).collect();
    let found = cramers_v(&table);
    if found.v.is_nan() {
        return None;
    }
    let share = |side: usize, at: usize| table[side][at] / totals[side];
    let excess = |at: usize| share(1, at) - share(0, at);
    let top = (0..names.len()).fold(
        0,
        |best, at| if excess(at) > excess(best) { at } else { best },
    );
    let mut out = Composition {
        patient: patient.into(),
        variable: variable.into(),
        kind: "categorical",
        n_cells: (totals[0] + totals[1]) as usize,
        cramers_v: found.v,
        cramers_v_corrected: found.v_corrected,
        cohens_d: f64::NAN,
        auc: f64::NAN,
        pval: found.p,
        top_value: names[top].into(),
        discordant: share(1, top),
        concordant: share(0, top),
        warning: String::new(),
        null: None,
    };
    if found.v_corrected >= limits.cramers_v {
        out.warning = format!(
            "{}the class goes together with {variable} (Cramer's V {:.2}): `{}` is {:.0} % of the discordant cells and {:.0} % of the concordant ones, so genes that differ between the classes may mark {variable} instead of escape",
            of_patient(patient),
            found.v_corrected,
            out.top_value,
            100.0 * out.discordant,
            100.0 * out.concordant
        );
    }
    Some(out)
}

/// Compares the classes in a number; `None` with fewer than two cells in either class.
pub(crate) fn number(
    patient: &str,
    variable: &str,
    classes: &[Option<Class>],
    values: &[f64],
    limits: Limits,
) -> Option<Composition> {
    let [concordant, discordant] = by_class(classes, values);
    if concordant.len() < 2 || discordant.len() < 2 {
        return None;
    }
    let all: Vec<f64> = concordant.iter().chain(&discordant).copied().collect();
    let labels: Vec<bool> = (0..all.len()).map(|i| i >= concordant.len()).collect();
    let options = RankSumOptions {
        tie_correct: true,
        continuity: false,
    };
    let d = cohens_d(&discordant, &concordant);
    let mut out = Composition {
        patient: patient.into(),
        variable: variable.into(),
        kind: "number",
        n_cells: all.len(),
        cramers_v: f64::NAN,
        cramers_v_corrected: f64::NAN,
        cohens_d: d,
        auc: auc(&all, &labels),
        pval: rank_sum_dense(&discordant, &concordant, options).1.p,
        top_value: String::new(),
        discordant: mean(&discordant),
        concordant: mean(&concordant),
        warning: String::new(),
        null: None,
    };
    if d.abs() >= limits.cohens_d {
        out.warning = format!(
            "{}discordant cells have {} {variable} than concordant ones (mean {:.4} against {:.4}, Cohen's d {d:.2})",
            of_patient(patient),
            if d > 0.0 { "more" } else { "less" },
            out.discordant,
            out.concordant
        );
    }
    Some(out)
}

/// 0 for concordant, 1 for discordant cells.
fn side(class: Option<Class>) -> Option<usize> {
    match class {
        Some(Class::Concordant) => Some(0),
        Some(Class::Discordant) => Some(1),
        _ => None,
    }
}

fn of_patient(patient: &str) -> String {
    if patient == "all" {
        String::new()
    } else {
        format!("patient `{patient}`: ")
    }
}

/// Categorical columns that are compared, where `obs` has them.
const CATEGORICAL: [&str; 7] = [
    "cell_type",
    "sample",
    "sample_origin",
    "split",
    "fold",
    "cnv_leiden",
    "phase",
];
/// Numeric columns that are compared, where `obs` has them.
const NUMBERS: [&str; 5] = [
    "total_counts",
    "n_genes_by_counts",
    "pct_counts_mt",
    "S_score",
    "G2M_score",
];

/// Compares the classes in every variable, over all cells (with several patients) and then per patient.
///
/// `patient_of` (numbers into `patients`), `classes` and each of the `permuted` labels have one entry
/// per row of `obs`. Each association comes with its distribution under the permuted labels.
pub fn compose(
    obs: &Frame,
    patients: &[String],
    patient_of: &[u32],
    classes: &[Option<Class>],
    permuted: &[Vec<Option<Class>>],
    limits: Limits,
) -> Vec<Composition> {
    let mut out = Vec::new();
    let everyone = (patients.len() > 1).then_some(("all", None));
    let each = patients
        .iter()
        .enumerate()
        .map(|(p, name)| (name.as_str(), Some(p as u32)));
    for (name, patient) in everyone.into_iter().chain(each) {
        let rows: Vec<usize> = (0..obs.len())
            .filter(|&i| patient.is_none_or(|p| p == patient_of[i]))
            .collect();
        let labels = |all: &[Option<Class>]| -> Vec<Option<Class>> {
            rows.iter().map(|&i| all[i]).collect()
        };
        let here = labels(classes);
        let null: Vec<Vec<Option<Class>>> = permuted.iter().map(|p| labels(p)).collect();
        for variable in CATEGORICAL {
            // Cluster names mean something within one patient only.
            if variable == "cnv_leiden" && name == "all" {
                continue;
            }
            if let Ok(values) = obs.texts(variable) {
                let values: Vec<String> = rows.iter().map(|&i| values[i].clone()).collect();
                if let Some(mut found) = categorical(name, variable, &here, &values, limits) {
                    let v: Vec<f64> = null
                        .iter()
                        .map(|p| cramers_v(&cross_table(p, &values).0).v)
                        .collect();
                    found.null = Null::of(found.cramers_v, &v);
                    out.push(found);
                }
            }
        }
        for variable in NUMBERS {
            if let Ok(values) = obs.numbers(variable) {
                let values: Vec<f64> = rows.iter().map(|&i| values[i]).collect();
                if let Some(mut found) = number(name, variable, &here, &values, limits) {
                    let d: Vec<f64> = null
                        .iter()
                        .map(|p| {
                            let [concordant, discordant] = by_class(p, &values);
                            cohens_d(&discordant, &concordant).abs()
                        })
                        .collect();
                    found.null = Null::of(found.cohens_d.abs(), &d);
                    out.push(found);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        cramers_v: 0.3,
        cohens_d: 0.5,
    };

    fn halves(n: usize) -> Vec<Option<Class>> {
        (0..n)
            .map(|i| {
                Some(if i < n / 2 {
                    Class::Concordant
                } else {
                    Class::Discordant
                })
            })
            .collect()
    }

    #[test]
    fn a_class_that_is_a_cell_type_is_warned_of() {
        let classes = halves(40);
        let types: Vec<String> = (0..40)
            .map(|i| if i < 18 { "T cell" } else { "Myeloid" }.to_string())
            .collect();
        let found = categorical("P1", "cell_type", &classes, &types, LIMITS).unwrap();
        assert_eq!(
            (found.top_value.as_str(), found.discordant, found.concordant),
            ("Myeloid", 1.0, 0.1)
        );
        assert!(
            found.warning.contains("patient `P1`") && found.warning.contains("`Myeloid` is 100 %"),
            "{}",
            found.warning
        );
        // The same share of each type in both classes: no association, no words.
        let even: Vec<String> = (0..40).map(|i| (i % 2).to_string()).collect();
        let none = categorical("P1", "cell_type", &classes, &even, LIMITS).unwrap();
        assert!(none.warning.is_empty() && none.cramers_v < 1e-12);
        assert!(categorical("P1", "cell_type", &classes, &vec!["x".into(); 40], LIMITS).is_none());
    }

    #[test]
    fn a_difference_in_depth_is_warned_of_and_intermediate_cells_do_not_count() {
        let mut classes = halves(20);
        classes.push(Some(Class::Intermediate));
        classes.push(None);
        let mut depth: Vec<f64> = (0..20)
            .map(|i| f64::from(i % 10 + if i >= 10 { 5 } else { 0 }))
            .collect();
        depth.extend([1e9, 1e9]);
        let found = number("all", "total_counts", &classes, &depth, LIMITS).unwrap();
        // Means 9.5 and 4.5, variance 82.5 / 9 in both.
        assert!((found.cohens_d - 5.0 / (82.5_f64 / 9.0).sqrt()).abs() < 1e-12);
        assert!(
            found
                .warning
                .starts_with("discordant cells have more total_counts"),
            "{}",
            found.warning
        );
        assert_eq!(found.n_cells, 20);
    }
}
