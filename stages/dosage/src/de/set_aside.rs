//! Gene families that reflect the library more than the tumour cell, and can be excluded.

use clcc_data::genome::is_immunoglobulin_segment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gene family that can be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeneFamily {
    /// Cytosolic ribosomal proteins and their pseudogenes: `RPS` or `RPL` and a number, `RPSA`,
    /// `RPLP0` to `RPLP2`. Not the kinases `RPS6K*`, nor `RPS19BP1`.
    Ribosomal,
    /// Genes encoded by the mitochondrion: `MT-*`.
    Mitochondrial,
    /// Chains of immunoglobulins (`IGH*`, `IGK*`, `IGL*`: segments and constant regions) and
    /// `JCHAIN`. Not `IGHMBP2` or `IGLON5`.
    Immunoglobulin,
}

impl GeneFamily {
    /// All families.
    pub const ALL: [Self; 3] = [Self::Ribosomal, Self::Mitochondrial, Self::Immunoglobulin];

    /// Name in the workflow file and the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ribosomal => "ribosomal",
            Self::Mitochondrial => "mitochondrial",
            Self::Immunoglobulin => "immunoglobulin",
        }
    }

    /// Family of a human gene symbol; `None` outside these families.
    ///
    /// ```
    /// use clcc_dosage::de::GeneFamily;
    ///
    /// assert_eq!(GeneFamily::of("MT-CO1"), Some(GeneFamily::Mitochondrial));
    /// assert_eq!(GeneFamily::of("TP53"), None);
    /// ```
    pub fn of(symbol: &str) -> Option<Self> {
        if symbol.starts_with("MT-") {
            return Some(Self::Mitochondrial);
        }
        if let Some(rest) = symbol
            .strip_prefix("RPS")
            .or_else(|| symbol.strip_prefix("RPL"))
        {
            let other = rest.starts_with("6K") || rest.contains("BP1");
            let digit = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
            let is = digit(rest)
                || rest.strip_prefix('P').is_some_and(digit)
                || symbol.starts_with("RPSA");
            return (is && !other).then_some(Self::Ribosomal);
        }
        let immunoglobulin = is_immunoglobulin_segment(symbol) || symbol == "JCHAIN";
        immunoglobulin.then_some(Self::Immunoglobulin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_by_symbol() {
        use GeneFamily::{Immunoglobulin, Mitochondrial, Ribosomal};
        for (family, symbols) in [
            (
                Some(Ribosomal),
                "RPS3 RPL13A RPLP0 RPSA RPS4Y1 RPL36AL RPS27L",
            ),
            (Some(Mitochondrial), "MT-CO1 MT-ND4L"),
            (
                Some(Immunoglobulin),
                "IGKC IGHG1 IGHM IGHA2 IGLC3 IGHV3-23 IGKV1-5 IGLL5 JCHAIN IGHD",
            ),
            (
                None,
                "RPS6KA1 RPS6KB2 RPS19BP1 MRPL3 IGHMBP2 IGLON5 IGF1 MTOR RPN1 RPLX",
            ),
        ] {
            for symbol in symbols.split(' ') {
                assert_eq!(GeneFamily::of(symbol), family, "{symbol}");
            }
        }
    }
}
