//! What the figures say, in plain words: no figure without its chance, no finding without its control.

use std::collections::BTreeMap;

use super::summary::Row;

/// A sentence and the row it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// `above chance`, `at chance`, `below chance`, `survives the control`, ...
    pub verdict: &'static str,
    /// The sentence.
    pub text: String,
    /// Its row.
    pub row: usize,
}

/// Sentences for rankings, retrieval and calls. `against` names the reference that other groups are
/// controls or ablations of.
pub fn findings(rows: &[Row], against: &BTreeMap<String, String>, controls: bool) -> Vec<Finding> {
    let mut out = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let found = match row.metric.as_str() {
            "auroc" | "top1" | "within_top1" => Some(beside_chance(row)),
            "n_called" => called(row, rows, against, controls),
            _ => None,
        };
        if let Some((verdict, text)) = found {
            out.push(Finding {
                verdict,
                text,
                row: at,
            });
        }
    }
    out
}

fn who(row: &Row) -> String {
    if row.group.is_empty() {
        return row.method.clone();
    }
    let values: Vec<String> = row.group.iter().map(|(a, v)| format!("{a} {v}")).collect();
    format!("{} ({})", row.method, values.join(", "))
}

fn figure(row: &Row) -> String {
    let value = &row.value;
    if value.low.is_nan() {
        format!("{:.3}, one replicate", value.mean)
    } else {
        format!(
            "{:.3} [{:.3}, {:.3}] over {} replicates",
            value.mean,
            value.low,
            value.high,
            row.values.len()
        )
    }
}

/// Above, at or below chance by the interval over replicates; where chance has a known spread, by two
/// of its standard errors as well, so that one replicate suffices.
fn beside_chance(row: &Row) -> (&'static str, String) {
    let n = row.values.len() as f64;
    let side = if row.se.is_nan() {
        row.value.side_of(row.chance)
    } else {
        let z = (row.value.mean - row.chance) / (row.se / n.sqrt());
        i8::from(z > 2.0) - i8::from(z < -2.0)
    };
    let verdict = match side {
        1 => "above chance",
        -1 => "below chance",
        _ if row.se.is_nan() && row.value.low.is_nan() => "not judged",
        _ => "at chance",
    };
    let text = format!(
        "{}: {} {} of {}, chance {:.3}: {verdict}",
        who(row),
        row.metric,
        figure(row),
        row.target.replace('_', " "),
        row.chance
    );
    (verdict, text)
}

/// Genes that are called although the control leaves nothing to be called.
fn called(
    row: &Row,
    rows: &[Row],
    against: &BTreeMap<String, String>,
    controls: bool,
) -> Option<(&'static str, String)> {
    let n = row.value.mean;
    let reference = rows.iter().find(|r| {
        (r.target.as_str(), r.method.as_str(), r.metric.as_str())
            == (
                row.target.as_str(),
                row.method.as_str(),
                row.metric.as_str(),
            )
            && against.iter().all(|(a, v)| r.group.get(a) == Some(v))
            && r.group
                .iter()
                .all(|(a, v)| against.contains_key(a) || row.group.get(a) == Some(v))
    })?;
    if !controls || against.is_empty() || reference.group == row.group {
        return Some((
            "called",
            format!("{} calls {n:.1} genes as escape or compensation", who(row)),
        ));
    }
    let real = reference.value.mean;
    if n < 0.5 {
        return Some((
            "nothing survives",
            format!(
                "{} calls no gene; {} calls {real:.1}",
                who(row),
                who(reference)
            ),
        ));
    }
    Some((
        "survives the control",
        format!(
            "{} still calls {n:.1} genes, {} calls {real:.1}: so many calls are no evidence of escape from copy number",
            who(row),
            who(reference)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::summary::{Figure, summarise};

    /// 40 genes called on the data as they are, 30 on other data: no evidence where those are a control, and
    /// just as many where they are another method.
    #[test]
    fn calls_survive_a_control_and_nothing_else() {
        let figure = |value: &str, n: f64| Figure {
            branch: [("seed", "s1"), ("axis", value)]
                .map(|(a, v)| (a.to_string(), v.to_string()))
                .into(),
            target: "escape_calls".into(),
            method: "de".into(),
            metric: "n_called".into(),
            value: n,
            chance: f64::NAN,
            se: f64::NAN,
        };
        let against: BTreeMap<String, String> = [("axis".to_string(), "real".to_string())].into();
        let figures = [
            figure("real", 40.0),
            figure("other", 30.0),
            figure("none", 0.0),
        ];
        let rows = summarise(&figures, "seed", &against, 0.95);
        let verdicts = |controls: bool| -> Vec<&str> {
            findings(&rows, &against, controls)
                .iter()
                .map(|f| f.verdict)
                .collect()
        };
        assert_eq!(
            verdicts(true),
            ["called", "survives the control", "nothing survives"]
        );
        assert_eq!(verdicts(false), ["called"; 3]);
    }
}
