//! The card of the genes that escape: a row each, with its interval drawn.

use crate::report::html::{count, escape, p_value, place, short, signed};
use crate::report::views::genes::{CLASSES, Genes, known};

/// Genes that are listed at most.
const MOST: usize = 12;
/// Genes that are listed, tested ones that are not called included, where fewer escape.
const NEAREST: usize = 6;
/// Slopes at the ends of the drawn intervals.
const ENDS: (f64, f64) = (-1.5, 2.5);
/// Width of the drawing.
const WIDTH: f64 = 140.0;

/// Numbers that a row shows.
struct Columns {
    slope: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    /// Absent where no slope has a posterior.
    p: Option<Vec<f64>>,
    q: Vec<f64>,
    agree: Vec<f64>,
    patients: Vec<f64>,
}

/// The card of a workflow without slopes.
pub(super) fn none() -> String {
    "<div class=\"card\"><h2>Genes that escape</h2><p class=\"none\">A stage of kind <code>dosage</code> would test each gene's dependence on \
     copy number.</p></div>\n"
        .to_string()
}

/// The card.
pub(super) fn card(genes: &Genes) -> String {
    let order = genes.order();
    let tested = order.into_iter().filter(|&g| genes.class[g] > 0);
    let (called, others): (Vec<usize>, Vec<usize>) = tested.partition(|&g| genes.escapes(g));
    if called.is_empty() && others.is_empty() {
        return "<div class=\"card\"><h2>Genes that escape</h2><p class=\"none\">No gene could be tested.</p></div>\n".to_string();
    }
    let shown = &called[..called.len().min(MOST)];
    let nearest = NEAREST.saturating_sub(shown.len()).min(others.len());
    let nearest = &others[..nearest];
    let heading = if called.is_empty() {
        "Nearest to escape, none called"
    } else {
        "Genes that escape"
    };
    let heading = match &genes.node {
        Some(node) => format!("{heading}, {}", escape(node)),
        None => heading.to_string(),
    };
    let heading = heading.as_str();
    let after = match called.len() - shown.len() {
        0 if called.is_empty() => {
            "None is called. It would take slopes that are more certain: more clones with other copy numbers, or more patients.".to_string()
        }
        0 => String::new(),
        n => format!("{} more stand in the table of all genes.", count(n)),
    };
    let after = match after.as_str() {
        "" => String::new(),
        text => format!("<p class=\"none\">{text}</p>"),
    };
    let table = table(genes, shown, nearest, heading);
    format!("<div class=\"card\"><h2>{heading}</h2>{table}{after}</div>\n")
}

fn table(genes: &Genes, called: &[usize], nearest: &[usize], label: &str) -> String {
    let columns = Columns {
        slope: genes.numbers(|g| g.slope),
        low: genes.numbers(|g| g.ci_low),
        high: genes.numbers(|g| g.ci_high),
        p: genes
            .has_posterior
            .then(|| genes.numbers(|g| known(g.prob_insensitive))),
        q: genes.numbers(if genes.has_posterior {
            |g| known(g.qval)
        } else {
            |g| g.pvals_one_adj
        }),
        agree: genes.numbers(|g| g.n_patients_agree as f64),
        patients: genes.numbers(|g| g.n_patients as f64),
    };
    let rows =
        |shown: &[usize]| -> String { shown.iter().map(|&g| row(genes, g, &columns)).collect() };
    let between = if called.is_empty() || nearest.is_empty() {
        ""
    } else {
        "<tr class=\"next\"><th scope=\"rowgroup\" colspan=\"8\">Next in evidence, not called</th></tr>"
    };
    let bound = genes
        .clones
        .as_ref()
        .and_then(|c| c.rests_on("insensitive_below"));
    let probability = bound.map_or("P(insensitive)".to_string(), |b| {
        format!("P(slope &lt; {})", short(b))
    });
    let evidence = if genes.has_posterior {
        format!(
            "<th scope=\"col\" class=\"num\" title=\"posterior probability of a slope below the bound of insensitive genes\">{probability}</th>\
             <th scope=\"col\" class=\"num wide\" title=\"mean posterior error of calling this gene and all above it insensitive\">q</th>"
        )
    } else {
        "<th scope=\"col\" class=\"num\" title=\"adjusted p-value of full dosage, a slope of 1\">q (slope = 1)</th>".to_string()
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><table class=\"tops\"><thead><tr>\
         <th scope=\"col\">Gene</th><th scope=\"col\" class=\"wide\">Locus</th><th scope=\"col\">Class</th>\
         <th scope=\"col\" class=\"num\" title=\"change of log expression per change of log copy ratio: 1 follows, 0 escapes\">Slope</th>\
         <th scope=\"col\">95 % interval <small>0 none, 1 full dosage</small></th>\
         {evidence}\
         <th scope=\"col\" class=\"num\" title=\"patients whose own slope is on the same side, of those with one\">Patients</th>\
         </tr></thead><tbody>{}{between}{}</tbody></table></div>",
        rows(called),
        rows(nearest)
    )
}

fn row(genes: &Genes, g: usize, c: &Columns) -> String {
    let name = &genes.names[g];
    let class = CLASSES[usize::from(genes.class[g])];
    // Of several answers none has the gene view.
    let link = match genes.node {
        None => format!("<a href=\"#gene={}\">{}</a>", url(name), escape(name)),
        Some(_) => escape(name),
    };
    let locus = genes.places[g]
        .as_ref()
        .map_or("–".to_string(), |(chromosome, start, end)| {
            place(chromosome, *start, *end)
        });
    let patients = if c.patients[g] > 0.0 {
        format!("{} of {}", c.agree[g], c.patients[g])
    } else {
        "–".to_string()
    };
    let evidence = match &c.p {
        Some(p) => format!(
            "<td class=\"num\">{}</td><td class=\"num wide\">{}</td>",
            signed(p[g], 3),
            p_value(c.q[g])
        ),
        None => format!("<td class=\"num\">{}</td>", p_value(c.q[g])),
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td class=\"wide\">{}</td><td><span class=\"tag {class}\">{class}</span></td>\
         <td class=\"num\">{}</td><td>{}</td>{evidence}<td class=\"num\">{patients}</td></tr>\n",
        link,
        escape(&locus),
        signed(c.slope[g], 2),
        interval(c.slope[g], c.low[g], c.high[g]),
    )
}

/// A name in the part of an address after `#`.
fn url(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The interval beside 0 and 1; an end beyond the drawing is an arrow.
fn interval(slope: f64, low: f64, high: f64) -> String {
    if !(slope.is_finite() && low.is_finite() && high.is_finite()) {
        return "–".to_string();
    }
    let x = |v: f64| 5.0 + (v.clamp(ENDS.0, ENDS.1) - ENDS.0) / (ENDS.1 - ENDS.0) * (WIDTH - 10.0);
    let mut ends = String::new();
    if low < ENDS.0 {
        ends.push_str("<path class=\"a\" d=\"M0.0 8l5 -4v8z\"/>");
    }
    if high > ENDS.1 {
        ends.push_str(&format!("<path class=\"a\" d=\"M{WIDTH:.1} 8l-5 -4v8z\"/>"));
    }
    format!(
        "<svg class=\"ci\" viewBox=\"0 0 140 16\" width=\"140\" height=\"16\" aria-hidden=\"true\">\
         <line class=\"z\" x1=\"{z:.1}\" x2=\"{z:.1}\" y1=\"1\" y2=\"15\"/><line class=\"one\" x1=\"{o:.1}\" x2=\"{o:.1}\" y1=\"1\" y2=\"15\"/>\
         <line class=\"b\" x1=\"{l:.1}\" x2=\"{h:.1}\" y1=\"8\" y2=\"8\"/>{ends}<circle cx=\"{s:.1}\" cy=\"8\" r=\"3.5\"/></svg>\
         <span class=\"sr\">{} to {}</span>",
        signed(low, 2),
        signed(high, 2),
        z = x(0.0),
        o = x(1.0),
        l = x(low),
        h = x(high),
        s = x(slope),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_drawn_to_scale_and_cut_with_an_arrow() {
        let drawn = interval(0.5, 0.0, 1.0);
        // 130 pixels for slopes from -1.5 to 2.5: 0 at 53.75, 1 at 86.25.
        assert!(
            drawn.contains("x1=\"53.8\" x2=\"86.2\" y1=\"8\"")
                || drawn.contains("x1=\"53.8\" x2=\"86.3\" y1=\"8\""),
            "{drawn}"
        );
        assert!(drawn.contains("cx=\"70.0\"") && drawn.contains("0.00 to 1.00"));
        assert!(!drawn.contains("<path"));
        let cut = interval(0.0, -9.0, 9.0);
        assert_eq!(cut.matches("<path").count(), 2);
        assert!(
            cut.contains("M0.0 8l5 -4v8z") && cut.contains("−9.00 to 9.00"),
            "{cut}"
        );
        assert_eq!(interval(f64::NAN, 0.0, 1.0), "–");
    }

    #[test]
    fn a_name_in_an_address_is_plain() {
        assert_eq!(url("HLA-DRB1"), "HLA-DRB1");
        assert_eq!(url("a b\"<é"), "a%20b%22%3C%C3%A9");
    }
}
