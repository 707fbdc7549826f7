//! `graph`: the stages of a workflow and what flows between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::args::{GraphFormat, WorkflowArgs};
use super::error::{CliError, exit};
use crate::plan::{NodeInput, Overrides, Plan};
use crate::workflow::Workflow;

pub(super) fn graph(args: &WorkflowArgs, format: GraphFormat) -> Result<i32, CliError> {
    // The graph needs no input file, so it can be drawn before the data is there.
    let workflow = Workflow::load(&args.workflow)?;
    let plan = Plan::new(
        &workflow,
        &Overrides {
            input: Vec::new(),
            ..args.overrides()
        },
    )?;
    let drawing = Drawing::new(&plan);
    let text = match format {
        GraphFormat::Dot => drawing.dot(),
        GraphFormat::Mermaid => drawing.mermaid(),
        GraphFormat::Svg => drawing.svg(),
    };
    super::out::exact(&text);
    Ok(exit::OK)
}

/// One box per stage (with its number of nodes), one per file input; arrows carry the roles.
struct Drawing {
    boxes: Vec<(String, String, bool)>,
    arrows: BTreeMap<(usize, usize), BTreeSet<String>>,
}

impl Drawing {
    fn new(plan: &Plan) -> Self {
        let mut boxes: Vec<(String, String, bool)> = Vec::new();
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        let mut arrows: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
        let used: BTreeSet<String> = plan
            .nodes
            .iter()
            .flat_map(|n| &n.inputs)
            .filter_map(|i| {
                if let NodeInput::File { input, .. } = i {
                    Some(input.clone())
                } else {
                    None
                }
            })
            .collect();
        for input in used {
            index.insert(format!("input:{input}"), boxes.len());
            boxes.push((input, String::new(), true));
        }
        for node in &plan.nodes {
            if !index.contains_key(&node.stage) {
                let n = plan.nodes.iter().filter(|m| m.stage == node.stage).count();
                let axes: Vec<&str> = node.branch.keys().map(String::as_str).collect();
                let note = if axes.is_empty() {
                    String::new()
                } else {
                    format!("{n} x {}", axes.join(" x "))
                };
                index.insert(node.stage.clone(), boxes.len());
                boxes.push((node.stage.clone(), note, false));
            }
            let to = index[&node.stage];
            for input in &node.inputs {
                let (from, role) = match input {
                    NodeInput::File { role, input } => (index[&format!("input:{input}")], *role),
                    NodeInput::Artifact { role, producer, .. } => {
                        (index[&plan.nodes[*producer].stage], *role)
                    }
                };
                arrows
                    .entry((from, to))
                    .or_default()
                    .insert(role.to_string());
            }
        }
        Self { boxes, arrows }
    }

    fn label(&self, i: usize, newline: &str) -> String {
        let (name, note, _) = &self.boxes[i];
        if note.is_empty() {
            name.clone()
        } else {
            format!("{name}{newline}{note}")
        }
    }

    fn roles(roles: &BTreeSet<String>) -> String {
        roles
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn dot(&self) -> String {
        let mut out = String::from(
            "digraph workflow {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n",
        );
        for (i, (_, _, file)) in self.boxes.iter().enumerate() {
            let style = if *file {
                ", shape=note, style=dashed"
            } else {
                ""
            };
            let _ = writeln!(out, "  n{i} [label=\"{}\"{style}];", self.label(i, "\\n"));
        }
        for ((from, to), roles) in &self.arrows {
            let _ = writeln!(
                out,
                "  n{from} -> n{to} [label=\"{}\"];",
                Self::roles(roles)
            );
        }
        out.push_str("}\n");
        out
    }

    fn mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        for (i, (_, _, file)) in self.boxes.iter().enumerate() {
            let (open, close) = if *file { ("[/", "/]") } else { ("[", "]") };
            let _ = writeln!(out, "  n{i}{open}\"{}\"{close}", self.label(i, "<br/>"));
        }
        for ((from, to), roles) in &self.arrows {
            let _ = writeln!(out, "  n{from} -->|{}| n{to}", Self::roles(roles));
        }
        out
    }

    /// Longest-path layers from top to bottom, boxes of a layer in a row.
    fn svg(&self) -> String {
        let layout = Layout::of(self);
        let (width, height) = layout.size;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n"
        );
        for ((from, to), roles) in &self.arrows {
            out.push_str(&layout.arrow(*from, *to, &Self::roles(roles)));
        }
        for (i, (name, note, file)) in self.boxes.iter().enumerate() {
            out.push_str(&layout.one(i, name, note, *file));
        }
        out.push_str("</svg>\n");
        out
    }
}

/// Width and height of a box, and the gaps between boxes of a layer and between layers.
const BOX: (f64, f64) = (150.0, 44.0);
const GAPS: (f64, f64) = (30.0, 56.0);

/// Where everything is drawn.
struct Layout {
    /// Left upper corner of each box.
    place: Vec<(f64, f64)>,
    size: (f64, f64),
}

impl Layout {
    fn of(drawing: &Drawing) -> Self {
        let n = drawing.boxes.len();
        let mut layer = vec![0usize; n];
        for _ in 0..n {
            for (from, to) in drawing.arrows.keys() {
                layer[*to] = layer[*to].max(layer[*from] + 1);
            }
        }
        let layers = layer.iter().max().map_or(0, |m| m + 1);
        let ((w, h), (gap_x, gap_y)) = (BOX, GAPS);
        let mut place = vec![(0.0, 0.0); n];
        let widest = (0..layers)
            .map(|l| layer.iter().filter(|x| **x == l).count())
            .max()
            .unwrap_or(1) as f64;
        let width = widest * (w + gap_x) + gap_x;
        for l in 0..layers {
            let members: Vec<usize> = (0..n).filter(|i| layer[*i] == l).collect();
            let used = members.len() as f64 * (w + gap_x) - gap_x;
            for (k, i) in members.into_iter().enumerate() {
                place[i] = (
                    (width - used) / 2.0 + k as f64 * (w + gap_x),
                    20.0 + l as f64 * (h + gap_y),
                );
            }
        }
        let height = 40.0 + layers as f64 * (h + gap_y) - gap_y;
        Self {
            place,
            size: (width, height),
        }
    }

    fn arrow(&self, from: usize, to: usize, title: &str) -> String {
        let (x1, y1) = (self.place[from].0 + BOX.0 / 2.0, self.place[from].1 + BOX.1);
        let (x2, y2) = (self.place[to].0 + BOX.0 / 2.0, self.place[to].1 - 2.0);
        format!(
            "<path d=\"M{x1} {y1}C{x1} {} {x2} {} {x2} {y2}\" fill=\"none\" stroke=\"#999\" marker-end=\"url(#a)\"><title>{title}</title></path>\n",
            y1 + GAPS.1 * 0.6,
            y2 - GAPS.1 * 0.6,
        )
    }

    /// A box with its name and a note; that of a file is dashed.
    fn one(&self, i: usize, name: &str, note: &str, file: bool) -> String {
        let ((x, y), (w, h)) = (self.place[i], BOX);
        let dash = if file {
            " stroke-dasharray=\"4 3\""
        } else {
            ""
        };
        let middle = x + w / 2.0;
        let first = if note.is_empty() {
            y + h / 2.0 + 5.0
        } else {
            y + 19.0
        };
        let mut out = format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"6\" fill=\"#f4f7fb\" stroke=\"#456\"{dash}/>\n\
             <text x=\"{middle}\" y=\"{first}\" text-anchor=\"middle\">{name}</text>\n"
        );
        if !note.is_empty() {
            let _ = writeln!(
                out,
                "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#567\">{note}</text>",
                y + 35.0
            );
        }
        out
    }
}
