//! Places of the cells on maps.

use ndarray::Array2;

use crate::report::load::Patient;

/// Share of a tile's side that is kept free around its map.
const MARGIN: f64 = 0.04;

/// A map of all cells in a square from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map {
    /// Short name, as in addresses.
    pub(crate) key: &'static str,
    /// What a reader calls it.
    pub(crate) title: String,
    /// What it shows.
    pub(crate) about: String,
    /// Place of each cell; NaN where it has none.
    pub(crate) points: Vec<[f64; 2]>,
    /// Squares of single patients, where each has a map of its own: name, left, bottom, side.
    pub(crate) tiles: Vec<(String, f64, f64, f64)>,
}

/// Each patient's map in a tile of its own, row by row from the top: maps that were made one by one share no axes. `None`
/// where no patient has one.
pub(crate) fn tiled(
    key: &'static str,
    title: &'static str,
    about: &str,
    patients: &[Patient],
    of: fn(&Patient) -> Option<&Array2<f32>>,
) -> Option<Map> {
    if !patients.iter().any(|p| of(p).is_some()) {
        return None;
    }
    let columns = (1..).find(|c| c * c >= patients.len()).unwrap_or(1);
    let side = 1.0 / columns as f64;
    let mut points = Vec::new();
    let mut tiles = Vec::new();
    for (i, patient) in patients.iter().enumerate() {
        let left = (i % columns) as f64 * side;
        let bottom = 1.0 - (i / columns + 1) as f64 * side;
        let Some(map) = of(patient) else {
            points.extend(vec![[f64::NAN; 2]; patient.obs.len()]);
            continue;
        };
        points.extend(fitted(map, left, bottom, side));
        tiles.push((patient.name.clone(), left, bottom, side));
    }
    if patients.len() == 1 {
        tiles.clear();
    }
    let each = if patients.len() > 1 {
        ", a map for each patient"
    } else {
        ""
    };
    Some(Map {
        key,
        title: title.to_string(),
        about: format!("{about}{each}"),
        points,
        tiles,
    })
}

/// The first two columns of `map` in a square, both on one scale.
pub(crate) fn fitted(map: &Array2<f32>, left: f64, bottom: f64, side: f64) -> Vec<[f64; 2]> {
    let range = |c: usize| {
        let of = map.column(c);
        let finite = of.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(f64::from(v)), h.max(f64::from(v)))
        });
        (low, high)
    };
    let (x, y) = (range(0), range(1));
    let span = (x.1 - x.0).max(y.1 - y.0);
    let scale = if span > 0.0 {
        side * (1.0 - 2.0 * MARGIN) / span
    } else {
        0.0
    };
    let at = |v: f32, (low, high): (f64, f64), start: f64| {
        start + side / 2.0 + (f64::from(v) - (low + high) / 2.0) * scale
    };
    map.rows()
        .into_iter()
        .map(|row| [at(row[0], x, left), at(row[1], y, bottom)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_data::frame::Frame;
    use ndarray::array;

    #[test]
    fn a_map_keeps_its_aspect_and_its_tile() {
        let map = array![[0.0, 0.0], [4.0, 1.0], [2.0, 2.0]];
        let points = fitted(&map, 0.5, 0.0, 0.5);
        // The wider axis fills the tile but for its margins; the other keeps the scale and lies in the middle.
        let (low, high) = (0.5 + 0.5 * MARGIN, 1.0 - 0.5 * MARGIN);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(points[0][0], low) && near(points[1][0], high));
        assert!(near(points[2][1] - points[0][1], (high - low) / 2.0));
        assert!(near(f64::midpoint(points[0][1], points[2][1]), 0.25));
        let one = fitted(&array![[3.0, 3.0]], 0.0, 0.0, 1.0);
        assert_eq!(one, [[0.5, 0.5]]);
    }

    #[test]
    fn patients_lie_side_by_side() {
        let patient = |name: &str, umap: Option<Array2<f32>>| Patient {
            name: name.into(),
            obs: Frame::new(vec!["a".into(), "b".into()]),
            umap,
            ..Patient::default()
        };
        let of = |p: &[Patient]| tiled("cnv", "t", "about", p, |p| p.umap.as_ref());
        let map = || Some(array![[0.0, 0.0], [1.0, 1.0]]);
        let three = [patient("A", map()), patient("B", None), patient("C", map())];
        let found = of(&three).unwrap();
        assert_eq!(
            found.tiles,
            [("A".into(), 0.0, 0.5, 0.5), ("C".into(), 0.0, 0.0, 0.5)]
        );
        assert!(found.points[2][0].is_nan() && found.points[4][1] < 0.5);
        assert!(of(&three[..1]).unwrap().tiles.is_empty());
        assert_eq!(of(&three[1..2]), None);
    }
}
