//! Effect against evidence, one point a gene: differential expression and dosage slopes.

use super::chart::{Area, axes, guide, range};
use super::palette::{self, opaque};
use super::raster::Raster;
use super::svg::{Svg, TextStyle, clip, text_width};
use clcc_data::error::StageResult;

/// The points and what is marked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Volcano<'a> {
    /// Genes.
    pub(crate) names: &'a [&'a str],
    /// Along x.
    pub(crate) effects: &'a [f64],
    /// -log10 of the p-value, along y.
    pub(crate) evidence: &'a [f64],
    /// Category of each gene: 0 muted, others as `classes[c - 1]`.
    pub(crate) class: &'a [usize],
    /// Name and colour of the categories 1..
    pub(crate) classes: &'a [(String, [u8; 3])],
    /// Genes to name.
    pub(crate) labels: usize,
    /// Categories whose genes may be named.
    pub(crate) named: &'a [usize],
    /// Guide lines at these effects.
    pub(crate) effect_guides: &'a [f64],
    /// Guide line at this evidence.
    pub(crate) evidence_guide: Option<f64>,
}

/// Evidence is drawn to here; what is beyond stands on the edge.
const MOST: f64 = 300.0;

/// Draws it; what is far beyond the others stands on the edge. `None` where no gene has both numbers.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn volcano(v: &Volcano<'_>, x_label: &str, y_label: &str) -> StageResult<Option<Svg>> {
    let genes: Vec<usize> = (0..v.names.len())
        .filter(|&i| v.effects[i].is_finite() && !v.evidence[i].is_nan())
        .collect();
    let evidence = |i: usize| v.evidence[i].clamp(0.0, MOST);
    let Some(x) = effect_range(v, &genes, &evidence) else {
        return Ok(None);
    };
    let effect = |i: usize| v.effects[i].clamp(x.0, x.1);
    let top = genes
        .iter()
        .map(|&i| evidence(i))
        .chain(v.evidence_guide)
        .fold(0.0, f64::max);
    let (mut svg, area) = axes(x, (0.0, (top * 1.08).max(1.0)), x_label, y_label)?;
    svg.body
        .push_str(&dots(v, &genes, &area, (&effect, &evidence))?);
    v.effect_guides
        .iter()
        .for_each(|&g| guide(&mut svg, &area, true, g));
    v.evidence_guide
        .iter()
        .for_each(|&g| guide(&mut svg, &area, false, g));
    name_genes(&mut svg, &area, v, &genes, (&effect, &evidence));
    if !v.classes.is_empty() {
        let n = |class: usize| genes.iter().filter(|&&i| v.class[i] == class).count();
        let entries: Vec<(String, [u8; 3])> = v
            .classes
            .iter()
            .enumerate()
            .map(|(c, (name, colour))| (format!("{name} ({})", n(c + 1)), *colour))
            .collect();
        svg.legend(56.0, &entries);
    }
    Ok(Some(svg))
}

/// Ends of the axis of effects. Genes with little evidence have the widest effects: those of the better half set the
/// scale, which is fewer where most have none.
fn effect_range(
    v: &Volcano<'_>,
    genes: &[usize],
    evidence: &dyn Fn(usize) -> f64,
) -> Option<(f64, f64)> {
    let guides = v.effect_guides.iter().copied();
    let all: Vec<f64> = genes.iter().map(|&i| evidence(i)).collect();
    let half = clcc_numerics::stats::median(&all);
    let told = |least: f64| -> Vec<f64> {
        let told = genes.iter().filter(|&&i| evidence(i) > least);
        told.map(|&i| v.effects[i]).collect()
    };
    let better = told(half);
    let middle = bulk(if better.is_empty() {
        told(-1.0)
    } else {
        better
    });
    range(middle.into_iter().chain(guides), 0.08).filter(|_| !genes.is_empty())
}

/// The genes as an image, those of higher classes on top.
fn dots(
    v: &Volcano<'_>,
    genes: &[usize],
    area: &Area,
    (effect, evidence): (&dyn Fn(usize) -> f64, &dyn Fn(usize) -> f64),
) -> StageResult<String> {
    const SCALE: f64 = 2.0;
    let (width, height) = (area.right - area.left, area.bottom - area.top);
    let mut palette = vec![
        [0, 0, 0, 0],
        [palette::MUTED[0], palette::MUTED[1], palette::MUTED[2], 150],
    ];
    palette.extend(v.classes.iter().map(|(_, c)| opaque(*c)));
    let mut image = Raster::new(
        (width * SCALE).ceil() as usize,
        (height * SCALE).ceil() as usize,
        palette,
    );
    for class in 0..=v.classes.len() {
        for &i in genes.iter().filter(|&&i| v.class[i] == class) {
            let (px, py) = (
                area.px(effect(i)) - area.left,
                area.py(evidence(i)) - area.top,
            );
            image.disc(
                px * SCALE,
                py * SCALE,
                if class == 0 { 3.2 } else { 4.4 },
                class as u8 + 1,
            );
        }
    }
    image.image(area.left, area.top, width, height, true)
}

/// The ends of the middle 95 % of the values, half as far again from their middle: a gene that one
/// side lacks altogether has a fold change of the size of the pseudocount, and would take all room.
fn bulk(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return values;
    };
    let (lo, hi) = (values[last / 40], values[last - last / 40]);
    let half = (hi - lo) * 0.75;
    let centre = (lo + hi) / 2.0;
    vec![
        (centre - half).max(values[0]),
        (centre + half).min(values[last]),
    ]
}

/// Names the marked genes with the strongest evidence, as far as the names find room.
fn name_genes(
    svg: &mut Svg,
    area: &Area,
    v: &Volcano<'_>,
    genes: &[usize],
    (effect, evidence): (&impl Fn(usize) -> f64, &impl Fn(usize) -> f64),
) {
    let mut marked: Vec<usize> = genes
        .iter()
        .copied()
        .filter(|&i| v.named.contains(&v.class[i]))
        .collect();
    marked.sort_by(|&a, &b| {
        evidence(b)
            .total_cmp(&evidence(a))
            .then(v.effects[b].abs().total_cmp(&v.effects[a].abs()))
    });
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    let mut named = 0;
    for i in marked {
        if named == v.labels {
            break;
        }
        let name = clip(v.names[i], 16);
        let width = text_width(&name, 10.0);
        let (x, y) = (area.px(effect(i)), area.py(evidence(i)));
        let right = x + 6.0 + width <= area.right + 4.0;
        let left = if right { x + 5.0 } else { x - 5.0 - width };
        let clash = taken.iter().any(|&(a, b, at): &(f64, f64, f64)| {
            left < b && left + width > a && (y - at).abs() < 11.0
        });
        if clash {
            continue;
        }
        taken.push((left, left + width, y));
        let style = TextStyle {
            size: 10.0,
            anchor: if right { "start" } else { "end" },
            halo: true,
            ..TextStyle::default()
        };
        svg.text(
            if right { x + 5.0 } else { x - 5.0 },
            y + 3.5,
            &style,
            &name,
        );
        named += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example<'a>(
        names: &'a [&'a str],
        effects: &'a [f64],
        evidence: &'a [f64],
        class: &'a [usize],
        classes: &'a [(String, [u8; 3])],
    ) -> Volcano<'a> {
        Volcano {
            names,
            effects,
            evidence,
            class,
            classes,
            labels: 1,
            named: &[1, 2],
            effect_guides: &[-0.5, 0.5],
            evidence_guide: Some(1.3),
        }
    }

    #[test]
    fn the_strongest_marked_gene_is_named() {
        let classes = [("up".to_string(), [9, 9, 9])];
        let v = example(
            &["A<1>", "B", "C", "D"],
            &[1.0, 2.0, 0.1, f64::NAN],
            &[f64::INFINITY, 20.0, 400.0, 1.0],
            &[1, 1, 0, 1],
            &classes,
        );
        let svg = volcano(&v, "log2", "-log10 p").unwrap().unwrap();
        assert!(
            svg.body.contains("A&lt;1&gt;")
                && !svg.body.contains(">B<")
                && !svg.body.contains(">C<")
        );
        // D has no effect: it is neither drawn nor counted.
        assert!(
            svg.body.contains("up (2)"),
            "{}",
            &svg.body[svg.body.len() - 400..]
        );
        assert_eq!(svg.body.matches("stroke-dasharray=\"4 3\"").count(), 3);
    }

    #[test]
    fn a_few_extreme_effects_do_not_take_all_room() {
        let mut effects: Vec<f64> = (0..1000).map(|i| f64::from(i) / 500.0 - 1.0).collect();
        effects[3] = -30.0;
        let ends = bulk(effects);
        assert!(
            (ends[0] + 1.43).abs() < 0.02 && (ends[1] - 0.998).abs() < 1e-9,
            "{ends:?}"
        );
        assert!(bulk(Vec::new()).is_empty());
    }

    #[test]
    fn nothing_to_draw_is_no_figure() {
        assert!(
            volcano(&example(&["A"], &[f64::NAN], &[1.0], &[0], &[]), "x", "y")
                .unwrap()
                .is_none()
        );
    }
}
