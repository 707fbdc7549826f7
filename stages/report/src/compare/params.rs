//! Parameters of the stage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// What the figure shows in one panel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// A target of `benchmark`: `discordant_cells`, `retrieval`, ...
    pub target: String,
    /// A metric of it: `auroc`, `ap`, `top1`, ...
    pub metric: String,
}

/// Parameters of `compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompareParams {
    /// The axis whose values are replicates: means and intervals are over them. Default `seed`.
    #[schemars(length(min = 1))]
    pub over: String,
    /// Values of other axes that the rest is set against, replicate by replicate, for example
    /// `{ablation: full}`. Default none.
    pub against: BTreeMap<String, String>,
    /// Whether the other values of `against` are controls, which leave no escape to be found: genes that are
    /// called there as well are then said to be no evidence. Default false.
    pub controls: bool,
    /// Probability that an interval covers the mean over replicates; in (0, 1), default 0.95.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: f64,
    /// Panels of the figure, top to bottom. Default: AUROC of both kinds of planted genes and of
    /// discordant cells, and top-1 retrieval.
    pub panels: Vec<Panel>,
}

impl Default for CompareParams {
    fn default() -> Self {
        let panel = |target: &str, metric: &str| Panel {
            target: target.into(),
            metric: metric.into(),
        };
        Self {
            over: "seed".into(),
            against: BTreeMap::new(),
            controls: false,
            confidence: 0.95,
            panels: vec![
                panel("constitutive_genes", "auroc"),
                panel("state_genes", "auroc"),
                panel("discordant_cells", "auroc"),
                panel("retrieval", "top1"),
            ],
        }
    }
}

impl CompareParams {
    /// What is read only under other parameters.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[OnlyWith {
        params: &["controls"],
        any: &[When::Given("against")],
    }];

    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        c.require(!self.against.contains_key(&self.over), "against", || {
            format!("expected axes other than `over` (`{}`)", self.over)
        });
        c.finish()
    }
}
