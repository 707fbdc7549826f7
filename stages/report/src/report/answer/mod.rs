//! The first screen: what was looked at, what was found out of how many, and what to read before believing it.
//!
//! It is static and needs no script. Every number has its denominator, and what was not tested is said in words; there is
//! no 0 that means "not tested".

mod cohort;
mod top;

use std::collections::BTreeMap;

use super::held_back::HeldBack;
use super::html::{count, escape, percent};
use super::load::Patient;
use super::payload::LeftOut;
use super::record::{IDENTITY_MARK, WARNINGS_MARK, WORKFLOW_MARK};
use super::views::genes::Genes;
use super::views::genome::Genome;

/// What the first screen is made of.
pub(crate) struct Answer<'a> {
    /// Cells of each patient.
    pub(crate) patients: &'a [Patient],
    /// Genes of each node of `dosage`.
    pub(crate) genes: &'a [Genes],
    /// Copy number along the genome; `None` without it.
    pub(crate) genome: Option<&'a Genome>,
    /// Whether the cells were simulated.
    pub(crate) synthetic: bool,
    /// What `discordance` found, one for each of its nodes.
    pub(crate) held_back: &'a [HeldBack],
    /// Whether cells were classed by the distance of two embeddings.
    pub(crate) has_discordance: bool,
    /// What the page does not hold.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A remark of the card "Read before believing".
pub(crate) struct Remark {
    /// Whether it bears on what may be believed, not only on what is shown.
    pub(crate) is_warning: bool,
    /// In one line.
    pub(crate) cause: String,
    /// How often, where that is not once.
    pub(crate) times: String,
    /// What it means and what to do.
    pub(crate) advice: String,
    /// Further lines.
    pub(crate) items: Vec<String>,
}

impl Remark {
    fn new(is_warning: bool, cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            is_warning,
            cause: cause.into(),
            times: String::new(),
            advice: advice.into(),
            items: Vec::new(),
        }
    }

    /// A line that unfolds.
    pub(crate) fn html(&self) -> String {
        let class = if self.is_warning { "warning" } else { "info" };
        let times = if self.times.is_empty() {
            String::new()
        } else {
            format!(" <span class=\"times\">{}</span>", escape(&self.times))
        };
        let items: String = self
            .items
            .iter()
            .map(|i| format!("<li>{}</li>", escape(i)))
            .collect();
        let items = if items.is_empty() {
            items
        } else {
            format!("<ul>{items}</ul>")
        };
        format!(
            "<details class=\"w {class}\"><summary><b>{}</b>{times}</summary><p>{}</p>{items}</details>\n",
            escape(&self.cause),
            escape(&self.advice)
        )
    }
}

impl Answer<'_> {
    /// The whole first screen.
    pub(crate) fn html(&self) -> String {
        let (strong, rest) = self.sentence();
        let remarks = self.remarks();
        let own: String = remarks.iter().map(Remark::html).collect();
        let cohort = self.genome.map_or(String::new(), cohort::card);
        let genes: String = match self.genes {
            [] => top::none(),
            all => all.iter().map(top::card).collect(),
        };
        // The nodes' cards stand below one another.
        let genes = match self.genes.len() {
            0 | 1 => genes,
            _ => format!("<div>{genes}</div>\n"),
        };
        format!(
            "<p class=\"ident\">{}</p>\n<section id=\"answer\"><p class=\"lead\"><strong>{}</strong> <span>{}</span></p>\n{}\
             <div class=\"two\">{genes}<div class=\"card\" id=\"believe\"><h2>Read before believing</h2>\n{}{own}</div></div>\n\
             {cohort}</section>\n",
            self.identity(),
            escape(&strong),
            escape(&rest),
            self.held_back(),
            WARNINGS_MARK,
        )
    }

    /// Workflow, size and, once the page is published, run, program and seed.
    fn identity(&self) -> String {
        let n = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{} {what}s", count(n)),
        };
        let mut parts = Vec::new();
        if !self.patients.is_empty() {
            parts.push(n(self.patients.len(), "patient"));
            let cells: usize = self.patients.iter().map(|p| p.obs.len()).sum();
            let kind = if self.synthetic {
                "simulated cell"
            } else {
                "cell"
            };
            parts.push(n(cells, kind));
        }
        if let Some(genes) = self.patients.iter().filter_map(|p| p.n_genes).max() {
            parts.push(n(genes, "gene"));
        }
        if let Some(genome) = self.genome {
            parts.push(n(genome.n_windows(), "window"));
        }
        format!("{WORKFLOW_MARK}{}{IDENTITY_MARK}", parts.join(" · "))
    }

    /// The result in one sentence, and what stands behind it.
    fn sentence(&self) -> (String, String) {
        match self.genes {
            [] => without_genes(),
            [genes] => sentence_of(genes),
            several => of_several(several),
        }
    }

    /// A line for each node that looked for cells that hold back a set of genes.
    fn held_back(&self) -> String {
        let line = |found: &HeldBack| {
            let (said, evidence) = found.verdict();
            let said = match &found.node {
                Some(node) if self.held_back.len() > 1 => format!("{node}: {said}"),
                _ => said.to_string(),
            };
            let extent = match found.is_sure() {
                true => format!(" {}", found.told()),
                false => String::new(),
            };
            format!(
                "<p class=\"lead second\"><a href=\"#discordance\">{}</a>. <span>{}{}</span></p>\n",
                escape(&said),
                escape(&evidence),
                escape(&extent)
            )
        };
        self.held_back.iter().map(line).collect()
    }

    /// What the page itself has to say; the run's warnings are added when it is published.
    fn remarks(&self) -> Vec<Remark> {
        let mut out = Vec::new();
        if self.synthetic {
            out.push(Remark::new(
                true,
                "The cells are simulated",
                "What is found here was planted; the tables truth_* hold the truth.",
            ));
        }
        if self.genome.is_some() {
            out.push(Remark::new(
                true,
                "Copy number is inferred from RNA",
                "Unless the workflow reads measured segments, expression and copy number come from the same counts. The slope of a gene \
                 uses its neighbours without the gene itself; the trans control in the cis effects shows how much correlation the \
                 method makes by itself.",
            ));
        }
        if self.has_discordance {
            out.push(Remark::new(
                true,
                "Discordant cells are a quantile, whether or not any cell escapes",
                "On simulated tumours with planted genes of escape, comparing discordant with concordant cells finds them no better than \
                 chance. Believe the dosage slopes first.",
            ));
        }
        for genes in self.genes {
            let (n, all) = (genes.count("untested"), genes.names.len());
            if n > 0 {
                let mut remark = Remark::new(
                    false,
                    match &genes.node {
                        Some(node) => format!(
                            "{} of {} genes were not tested, {node}",
                            count(n),
                            count(all)
                        ),
                        None => format!("{} of {} genes were not tested", count(n), count(all)),
                    },
                    "That a gene is not in the list says nothing of it. A longer list needs more clones and patients rather than more cells; \
                     search a gene to see why it was not tested.",
                );
                remark.items = reasons(genes)
                    .into_iter()
                    .map(|(reason, n)| format!("{}: {reason}", count(n)))
                    .collect();
                out.push(remark);
            }
        }
        if !self.left_out.is_empty() {
            let mut remark = Remark::new(
                false,
                "Parts were left out of this page",
                "They are whole in the files beside it.",
            );
            remark.items = self.left_out.iter().map(left_out).collect();
            out.push(remark);
        }
        out
    }
}

/// The sentence of one node's genes, and what stands behind it.
fn sentence_of(genes: &Genes) -> (String, String) {
    let (tested, all) = (genes.n_tested(), genes.names.len());
    let untested = untested(genes);
    if tested == 0 {
        return (
            format!("None of {} genes could be tested for escape", count(all)),
            format!(
                "{untested}. It takes clones that differ in copy number and enough cells in each."
            ),
        );
    }
    let told = told_from(genes);
    if !genes.has_posterior {
        return (
            format!(
                "No gene can be called: {} of {} could be tested",
                count(tested),
                count(all)
            ),
            format!(
                "How slopes are distributed cannot be told from so few, so none is called insensitive or over-compensated. \
                 Slopes are told from {told}; {untested}. More clones or patients make slopes more certain."
            ),
        );
    }
    called(genes, &told, &untested)
}

fn without_genes() -> (String, String) {
    (
        "No gene was tested for escape from its copy number".into(),
        "This workflow has no stage of kind dosage, or that has no table of slopes; below is what it does have."
            .into(),
    )
}

/// What each node found, by its name.
fn of_several(nodes: &[Genes]) -> (String, String) {
    let line = |genes: &Genes| {
        let node = genes.node.as_deref().unwrap_or("without a name");
        let (strong, rest) = sentence_of(genes);
        format!("{node}: {strong}. {rest}")
    };
    let lines: Vec<String> = nodes.iter().map(line).collect();
    (
        format!("Dosage was measured {} times", nodes.len()),
        format!(
            "{} Each has its part in the figures below; genes can be looked up one by one where dosage is measured once, so run with one value of \
             that axis (--only) for the gene view.",
            lines.join(" ")
        ),
    )
}

fn left_out(part: &LeftOut) -> String {
    match part.file.as_str() {
        "" => format!("{}: {}", part.what, part.why),
        file => format!("{}: {}; {file}", part.what, part.why),
    }
}

/// The sentence where genes could be called; `told` and `untested` are parts of what stands behind it.
fn called(genes: &Genes, told: &str, untested: &str) -> (String, String) {
    let (low, over) = (genes.count("insensitive"), genes.count("over-compensated"));
    let tested = count(genes.n_tested());
    let others = format!(
        "{} follow it, {} cannot be told; {untested}.",
        count(genes.count("sensitive")),
        count(genes.count("unresolved"))
    );
    if low + over == 0 {
        return (
            format!("None of {tested} testable genes is found to escape its copy number"),
            format!("Told from {told}. {others} More clones or patients make slopes more certain."),
        );
    }
    let whose = if low + over == 1 {
        "escapes its"
    } else {
        "escape their"
    };
    (
        format!(
            "{} of {tested} testable genes {whose} copy number",
            count(low + over)
        ),
        format!(
            "({} insensitive, {} over-compensated{}), told from {told}. {others}",
            count(low),
            count(over),
            at_error(genes)
        ),
    )
}

/// The error at which genes are called, where `dosage` says it.
fn at_error(genes: &Genes) -> String {
    let error = genes.clones.as_ref().and_then(|c| c.rests_on("fdr"));
    error.map_or(String::new(), |e| {
        format!(
            "; at most {} of the called ones wrong",
            percent(e).replace(".0 %", " %")
        )
    })
}

/// Clones, cells and patients behind the slopes.
fn told_from(genes: &Genes) -> String {
    let Some(clones) = &genes.clones else {
        return "clones that were not published".into();
    };
    let own = clones.weighing();
    let cells = clones.obs.numbers("n_cells").unwrap_or_default();
    let n_cells: f64 = own.iter().filter_map(|&i| cells.get(i)).sum();
    let patients = clones.text("patient");
    let patients: std::collections::BTreeSet<&String> = own.iter().map(|&i| &patients[i]).collect();
    let s = |n: usize, what: &str| format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" });
    format!(
        "{} of {} in {}",
        s(own.len(), "malignant clone"),
        s(n_cells as usize, "cell"),
        s(patients.len(), "patient")
    )
}

/// Reasons without their numbers, most frequent first.
fn reasons(genes: &Genes) -> Vec<(String, usize)> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (reason, class) in genes.reasons.iter().zip(&genes.class) {
        if *class == 0 {
            let kind = reason.split([':', ';']).next().unwrap_or_default().trim();
            let kind = if kind.is_empty() {
                "no reason given"
            } else {
                kind
            };
            *found.entry(kind).or_default() += 1;
        }
    }
    let mut out: Vec<(String, usize)> =
        found.into_iter().map(|(k, n)| (k.to_string(), n)).collect();
    out.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    out
}

/// How many genes were not tested, and the main reason.
fn untested(genes: &Genes) -> String {
    let (n, all) = (genes.count("untested"), genes.names.len());
    match reasons(genes).first() {
        None => format!("all {} genes were tested", count(all)),
        Some((reason, most)) => format!(
            "{} of {} genes were not tested ({} of them: {reason})",
            count(n),
            count(all),
            count(*most)
        ),
    }
}
