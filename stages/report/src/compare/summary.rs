//! Means over replicates, with intervals, and differences from a reference replicate by replicate.

use std::collections::BTreeMap;

use clcc_numerics::stats::{mean, t_quantile, variance};
use clcc_stage::stage::Branch;

/// A figure of one branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Axis values of the branch.
    pub branch: Branch,
    /// What was to be found, by what, and how it is measured.
    pub target: String,
    /// See `target`.
    pub method: String,
    /// See `target`.
    pub metric: String,
    /// The figure; NaN is none.
    pub value: f64,
    /// What chance gives.
    pub chance: f64,
    /// Standard deviation at chance.
    pub se: f64,
}

/// A mean with its interval; NaN bounds with fewer than two values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Mean of the values.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Student's t interval of the mean over independent replicates.
    pub fn of(values: &[f64], confidence: f64) -> Self {
        let n = values.len() as f64;
        let m = mean(values);
        let half = if values.len() < 2 {
            f64::NAN
        } else {
            t_quantile(1.0 - confidence, n - 1.0) * (variance(values, 1) / n).sqrt()
        };
        Self {
            mean: m,
            low: m - half,
            high: m + half,
        }
    }

    /// Whether the value lies outside, above (1) or below (-1) it; 0 inside or without bounds.
    pub fn side_of(&self, value: f64) -> i8 {
        i8::from(self.low > value) - i8::from(self.high < value)
    }
}

/// One row of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Axis values other than the replicates'.
    pub group: Branch,
    /// Target, method, metric.
    pub target: String,
    /// See `target`.
    pub method: String,
    /// See `target`.
    pub metric: String,
    /// Over replicates.
    pub value: Interval,
    /// Standard deviation over replicates; NaN with fewer than two.
    pub sd: f64,
    /// Mean of what chance gives.
    pub chance: f64,
    /// Standard deviation of one replicate at chance, their root mean square.
    pub se: f64,
    /// Less the reference's value of the same replicate; `None` for the reference itself, without one,
    /// or where the reference has no such figure.
    pub difference: Option<Interval>,
    /// Replicate and value.
    pub values: Vec<(String, f64)>,
}

/// One row per group, target, method and metric, in the order in which they first occur.
pub fn summarise(
    figures: &[Figure],
    over: &str,
    against: &BTreeMap<String, String>,
    confidence: f64,
) -> Vec<Row> {
    let mut order: Vec<(Branch, [&str; 3])> = Vec::new();
    let mut cells: BTreeMap<(Branch, [&str; 3]), Vec<(String, &Figure)>> = BTreeMap::new();
    for f in figures.iter().filter(|f| !f.value.is_nan()) {
        let mut group = f.branch.clone();
        let replicate = group.remove(over).unwrap_or_else(|| "all".into());
        let key = (
            group,
            [f.target.as_str(), f.method.as_str(), f.metric.as_str()],
        );
        let entry = cells.entry(key.clone()).or_default();
        if entry.is_empty() {
            order.push(key);
        }
        entry.push((replicate, f));
    }
    // Rows of one target, metric and method stand together, groups in order of the axes.
    let place = |key: &[&str; 3]| order.iter().position(|o| o.1 == *key);
    let mut rows: Vec<&(Branch, [&str; 3])> = order.iter().collect();
    rows.sort_by_key(|k| (place(&k.1), order.iter().position(|o| o.0 == k.0)));
    rows.into_iter()
        .map(|key| {
            let own = &cells[key];
            let values: Vec<f64> = own.iter().map(|v| v.1.value).collect();
            let mut reference = key.0.clone();
            reference.extend(against.iter().map(|(a, v)| (a.clone(), v.clone())));
            let is_reference = against.is_empty() || reference == key.0;
            let difference = (!is_reference)
                .then(|| cells.get(&(reference, key.1)))
                .flatten()
                .map(|other| paired(own, other))
                .filter(|d| !d.is_empty())
                .map(|d| Interval::of(&d, confidence));
            let of = |f: fn(&Figure) -> f64| own.iter().map(|v| f(v.1)).collect::<Vec<f64>>();
            Row {
                group: key.0.clone(),
                target: key.1[0].to_string(),
                method: key.1[1].to_string(),
                metric: key.1[2].to_string(),
                value: Interval::of(&values, confidence),
                sd: variance(&values, 1).sqrt(),
                chance: mean(&of(|f| f.chance)),
                se: mean(&of(|f| f.se * f.se)).sqrt(),
                difference,
                values: own.iter().map(|v| (v.0.clone(), v.1.value)).collect(),
            }
        })
        .collect()
}

fn paired(own: &[(String, &Figure)], other: &[(String, &Figure)]) -> Vec<f64> {
    own.iter()
        .filter_map(|(replicate, f)| {
            let same = other.iter().find(|o| o.0 == *replicate)?;
            Some(f.value - same.1.value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(seed: &str, ablation: &str, value: f64) -> Figure {
        Figure {
            branch: [("seed", seed), ("ablation", ablation)]
                .map(|(a, v)| (a.to_string(), v.to_string()))
                .into(),
            target: "t".into(),
            method: "m".into(),
            metric: "auroc".into(),
            value,
            chance: 0.5,
            se: 0.1,
        }
    }

    /// full: 0.7, 0.8, 0.9 (mean 0.8, sd 0.1); none: 0.6, 0.7, 0.8 on the same seeds: the difference
    /// is -0.1 in each, so its interval has no width. t(0.975, 2) = 4.302652729911275.
    #[test]
    fn means_and_paired_differences_by_hand() {
        let figures: Vec<Figure> = [("s1", 0.7), ("s2", 0.8), ("s3", 0.9)]
            .iter()
            .flat_map(|&(s, v)| [figure(s, "full", v), figure(s, "none", v - 0.1)])
            .collect();
        let against = [("ablation".to_string(), "full".to_string())].into();
        let rows = summarise(&figures, "seed", &against, 0.95);
        assert_eq!(rows.len(), 2);
        let full = &rows[0];
        assert_eq!(
            (full.group["ablation"].as_str(), full.difference),
            ("full", None)
        );
        let half = 4.302_652_729_911_275 * 0.1 / 3f64.sqrt();
        assert!(
            (full.value.mean - 0.8).abs() < 1e-12 && (full.value.high - 0.8 - half).abs() < 1e-6
        );
        assert!((full.sd - 0.1).abs() < 1e-12 && (full.se - 0.1).abs() < 1e-12);
        let d = rows[1].difference.unwrap();
        assert!((d.mean + 0.1).abs() < 1e-12 && (d.high - d.low) < 1e-9);
        assert_eq!((d.side_of(0.0), full.value.side_of(0.5)), (-1, 1));
    }

    #[test]
    fn a_single_replicate_has_no_interval_and_is_on_no_side() {
        let rows = summarise(&[figure("s1", "full", 0.9)], "seed", &BTreeMap::new(), 0.95);
        assert!(rows[0].value.low.is_nan() && rows[0].sd.is_nan());
        assert_eq!(rows[0].value.side_of(0.5), 0);
        // A figure that is not there is no replicate.
        assert!(
            summarise(
                &[figure("s1", "full", f64::NAN)],
                "seed",
                &BTreeMap::new(),
                0.95
            )
            .is_empty()
        );
    }
}
