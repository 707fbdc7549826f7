//! `cancer_vs_normal`: which cells belong to the tumour side.

use super::checks::QcCheck;
use super::params::CancerVsNormal;
use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};

/// Adds the column `cancer_vs_normal` (`Cancer`, `Normal`, or missing where the deciding column has no
/// value) and reports how many cells each has.
///
/// # Errors
/// [`StageError::Data`] where the deciding column is missing.
pub fn cancer_vs_normal(obs: &mut Frame, rule: &CancerVsNormal) -> StageResult<Vec<QcCheck>> {
    let values = obs.texts(&rule.column).map_err(|e| {
        let message = format!(
            "`cancer_vs_normal` decides by the column `{}`: {e}",
            rule.column
        );
        StageError::data_hint(
            message,
            "name another column under `cancer_vs_normal` of `preprocess`",
        )
    })?;
    let (listed, listed_is_normal) = if rule.normal.is_empty() {
        (&rule.cancer, false)
    } else {
        (&rule.normal, true)
    };
    let codes: Vec<i32> = values
        .iter()
        .map(
            |v| match (v.is_empty(), listed.contains(v) == listed_is_normal) {
                (true, _) => -1,
                (false, normal) => i32::from(normal),
            },
        )
        .collect();
    let mut checks = label_checks(rule, &codes, &values);
    checks.push(absent_values(&rule.column, listed, &values));
    let categories = vec!["Cancer".to_string(), "Normal".to_string()];
    obs.set(
        "cancer_vs_normal",
        Column::Category(Categorical {
            codes,
            categories,
            ordered: false,
        }),
    );
    Ok(checks)
}

/// How many cells have each label; the codes are 0 for cancer, 1 for normal, -1 for neither.
fn label_checks(rule: &CancerVsNormal, codes: &[i32], values: &[String]) -> Vec<QcCheck> {
    let count = |code: i32| codes.iter().filter(|&&c| c == code).count();
    let of_label = |check, label: &str, n: usize| {
        let detail = match n {
            0 => format!(
                "no cell is {label}: `{}` has the values {}",
                rule.column,
                list(&distinct(values))
            ),
            _ => format!("cells are {label}"),
        };
        QcCheck::new(check, n > 0, n as f64, detail)
    };
    let missing = count(-1);
    let unlabelled = format!(
        "{missing} cells have no value in `{}` and are neither Cancer nor Normal",
        rule.column
    );
    vec![
        of_label("cancer_cells", "Cancer", count(0)),
        of_label("normal_cells", "Normal", count(1)),
        QcCheck::new("unlabelled_cells", missing == 0, missing as f64, unlabelled),
    ]
}

fn distinct(values: &[String]) -> Vec<String> {
    let mut seen = values.to_vec();
    seen.sort();
    seen.dedup();
    seen.retain(|v| !v.is_empty());
    seen
}

/// Values that the rule lists and no cell has. A patient need not have all of them, so it is worth a warning
/// only where a value that is there differs by no more than capitals, blanks and signs.
fn absent_values(column: &str, listed: &[String], values: &[String]) -> QcCheck {
    let seen = distinct(values);
    let plain = |v: &str| -> String {
        let kept = v.chars().filter(|c| c.is_alphanumeric());
        kept.flat_map(char::to_lowercase).collect()
    };
    let absent: Vec<&String> = listed.iter().filter(|v| !seen.contains(v)).collect();
    let meant = absent.iter().find_map(|v| {
        let like = |s: &&String| !listed.contains(s) && plain(s) == plain(v);
        Some((v, seen.iter().find(like)?))
    });
    let detail = match (absent.first(), meant) {
        (_, Some((value, like))) => format!(
            "no cell has `{value}` in `{column}`: did you mean `{like}`? The values are {}",
            list(&seen)
        ),
        (Some(value), None) => format!(
            "values of `cancer_vs_normal` that no cell has, as `{value}`; `{column}` has {}",
            list(&seen)
        ),
        (None, None) => "values of `cancer_vs_normal` that no cell has".into(),
    };
    QcCheck::new("label_values", meant.is_none(), absent.len() as f64, detail)
}
