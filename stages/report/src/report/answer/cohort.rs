//! The cohort's copy number in one drawing: a row for each clone, or for each patient where there are many.

use crate::report::html::{count, escape, signed};
use crate::report::views::genome::Genome;

/// Rows of single clones up to which they are shown at once.
const MOST_CLONES: usize = 15;
const WIDTH: f64 = 992.0;
const ROW: f64 = 13.0;
const GAP: f64 = 6.0;
/// Rows that names of chromosomes may take, and the height of one.
const NAME_ROWS: usize = 3;
const NAME_ROW: f64 = 11.0;
/// Steps of opacity.
const STEPS: f64 = 8.0;

/// A row of the drawing.
struct Line {
    label: String,
    patient: usize,
    values: Vec<f64>,
}

/// The card; empty where there is nothing to draw.
pub(super) fn card(genome: &Genome) -> String {
    let any_malignant = genome.groups.iter().any(|g| g.malignant);
    let clones = clones(genome, any_malignant);
    if clones.is_empty() {
        return String::new();
    }
    let what = if any_malignant {
        "clones"
    } else {
        "groups of cells"
    };
    let legend = format!(
        "<p class=\"legend\"><i class=\"loss\"></i>loss <i class=\"gain\"></i>gain <span>full colour at a log ratio of ±{}, as everywhere on \
         this page; means over cells</span></p>",
        signed(genome.limit, 2)
    );
    let (heading, drawing, more) = if clones.len() <= MOST_CLONES {
        (
            format!("Copy number of the {what}"),
            drawn(genome, &clones, what),
            String::new(),
        )
    } else {
        let patients = by_patient(genome, any_malignant);
        let all = format!(
            "<details class=\"fold\"><summary>All {} {what}</summary>{}</details>",
            count(clones.len()),
            scroll(&drawn(genome, &clones, what), what)
        );
        (
            "Copy number of the patients' tumours".to_string(),
            drawn(genome, &patients, "patients"),
            all,
        )
    };
    let none = if any_malignant {
        ""
    } else {
        "<p class=\"none\">No cell is called malignant, so groups of all cells are shown.</p>"
    };
    format!(
        "<div class=\"card\"><h2>{heading}</h2>{none}{}{legend}{more}</div>\n",
        scroll(&drawing, &heading)
    )
}

fn scroll(drawing: &str, label: &str) -> String {
    format!(
        "<div class=\"scroll cohort\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{drawing}</div>",
        escape(label)
    )
}

fn clones(genome: &Genome, malignant: bool) -> Vec<Line> {
    let shown = genome.groups.iter().zip(&genome.profiles);
    shown
        .filter(|(g, _)| g.malignant == malignant)
        .map(|(g, profile)| Line {
            label: format!("{} {}", genome.patients[g.patient], g.name),
            patient: g.patient,
            values: profile.iter().map(|v| f64::from(*v)).collect(),
        })
        .collect()
}

/// Means over the cells of each patient's groups.
fn by_patient(genome: &Genome, malignant: bool) -> Vec<Line> {
    let mut out: Vec<(Line, f64)> = Vec::new();
    for (group, profile) in genome.groups.iter().zip(&genome.profiles) {
        if group.malignant != malignant {
            continue;
        }
        let n = group.cells.len() as f64;
        let at = out.iter().position(|(l, _)| l.patient == group.patient);
        let at = at.unwrap_or_else(|| {
            let line = Line {
                label: genome.patients[group.patient].clone(),
                patient: group.patient,
                values: vec![0.0; profile.len()],
            };
            out.push((line, 0.0));
            out.len() - 1
        });
        let (line, total) = &mut out[at];
        line.values
            .iter_mut()
            .zip(profile)
            .for_each(|(sum, v)| *sum += n * f64::from(*v));
        *total += n;
    }
    for (line, total) in &mut out {
        line.values.iter_mut().for_each(|v| *v /= *total);
    }
    out.into_iter().map(|(line, _)| line).collect()
}

fn drawn(genome: &Genome, lines: &[Line], what: &str) -> String {
    let longest = lines
        .iter()
        .map(|l| l.label.chars().count())
        .max()
        .unwrap_or(0);
    let left = (6.2 * longest as f64 + 12.0).clamp(60.0, 260.0);
    let width = WIDTH - left - 2.0;
    let n = genome.n_windows() as f64;
    let x = |window: usize| left + window as f64 / n * width;
    let mut body = String::new();
    let mut y = 0.0;
    let mut before = None;
    for line in lines {
        if before.is_some_and(|p| p != line.patient) && what != "patients" {
            y += GAP;
        }
        before = Some(line.patient);
        body.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + ROW - 2.0,
            escape(&line.label)
        ));
        runs(&line.values, genome.limit, |from, to, step| {
            let colour = if step < 0 { "loss" } else { "gain" };
            body.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{ROW}\" fill=\"var(--{colour})\" fill-opacity=\"{}\"/>",
                x(from),
                x(to) - x(from) + 0.2,
                f64::from(step.abs()) / STEPS
            ));
        });
        y += ROW + 1.0;
    }
    body.push_str(&chromosomes(genome, x, y));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Mean copy number of {} {} along the genome\">{body}</svg>",
        y + 16.0 + NAME_ROW * (NAME_ROWS - 1) as f64,
        count(lines.len()),
        escape(what)
    )
}

/// Runs of windows with the same step of colour, but for the colourless one.
fn runs(values: &[f64], limit: f64, mut each: impl FnMut(usize, usize, i32)) {
    let step = |v: f64| match v.is_finite() {
        true => (v / limit * STEPS).round().clamp(-STEPS, STEPS) as i32,
        false => 0,
    };
    let mut start = 0;
    for end in 1..=values.len() {
        let here = step(values[start]);
        if end == values.len() || step(values[end]) != here {
            if here != 0 {
                each(start, end, here);
            }
            start = end;
        }
    }
}

/// Borders and names of all chromosomes; a name that would touch the one before it stands in the next row below.
fn chromosomes(genome: &Genome, x: impl Fn(usize) -> f64, bottom: f64) -> String {
    let names = &genome.chromosomes;
    let mut out = String::new();
    let mut start = 0;
    // Where the names of each row end.
    let mut ends = [f64::NEG_INFINITY; NAME_ROWS];
    for end in 1..=names.len() {
        if end < names.len() && names[end] == names[start] {
            continue;
        }
        let (a, b) = (x(start), x(end));
        let name = names[start].strip_prefix("chr").unwrap_or(&names[start]);
        let (middle, half) = (f64::midpoint(a, b), 3.4 * name.chars().count() as f64 + 1.0);
        let row = ends.iter().position(|e| middle - half >= *e);
        let row = row.unwrap_or(NAME_ROWS - 1);
        ends[row] = middle + half;
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{a:.1}\" x2=\"{a:.1}\" y1=\"0\" y2=\"{bottom:.1}\"/>\
             <text class=\"ax\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 12.0 + NAME_ROW * row as f64,
            escape(name)
        ));
        start = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_one_colour() {
        let mut found = Vec::new();
        runs(
            &[0.0, 0.2, 0.2, 0.21, -0.1, f64::NAN, 9.0],
            0.2,
            |a, b, s| found.push((a, b, s)),
        );
        assert_eq!(found, [(1, 4, 8), (4, 5, -4), (6, 7, 8)]);
    }
}
