//! Arms of chromosomes.

use crate::frame::{Categorical, Column, Frame};

/// An arm of a chromosome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// The short arm, before the centromere.
    P,
    /// The long arm, after it.
    Q,
}

impl Arm {
    /// `p` or `q`.
    pub fn letter(self) -> char {
        match self {
            Self::P => 'p',
            Self::Q => 'q',
        }
    }

    /// The arms as a column of `p` and `q`.
    pub(super) fn column(arms: &[Option<Self>]) -> Column {
        let code = |arm: &Option<Self>| match arm {
            None => -1,
            Some(Self::P) => 0,
            Some(Self::Q) => 1,
        };
        Column::Category(Categorical {
            codes: arms.iter().map(code).collect(),
            categories: vec!["p".into(), "q".into()],
            ordered: false,
        })
    }

    /// The arm of each gene or window by its column `arm`, which `preprocess` and `infercnv` write where
    /// the genome is known; `None` without that column.
    pub fn of_frame(frame: &Frame) -> Option<Vec<Option<Self>>> {
        let arm = |text: String| match text.as_str() {
            "p" => Some(Self::P),
            "q" => Some(Self::Q),
            _ => None,
        };
        Some(frame.texts("arm").ok()?.into_iter().map(arm).collect())
    }
}

/// `chr7p`; `chr7` where no arm is known.
pub fn arm_name(chromosome: &str, arm: Option<Arm>) -> String {
    match arm {
        Some(arm) => format!("{chromosome}{}", arm.letter()),
        None => chromosome.to_string(),
    }
}
