//! Rows of the tables that a stage writes and another reads.
//!
//! As a [role](crate::roles) ties an artifact's name to its type, a row here ties the name of a table to its columns:
//! the stage that writes it and those that read it share one declaration, and neither crate needs the other. A table
//! that no other stage reads is declared by the stage that writes it.
//!
//! ```
//! use clcc_stage::{roles, rows::QcCheckRow, stage::StageContext};
//!
//! fn warnings(ctx: &StageContext<'_>) -> clcc_data::StageResult<usize> {
//!     let checks = ctx.one(roles::QC)?.rows::<QcCheckRow>()?;
//!     Ok(checks.iter().filter(|check| check.verdict == "warn").count())
//! }
//! ```

mod align;
mod baselines;
mod cnv;
mod counts;
mod de;
mod discordance;
mod dosage;
mod enrichment;
mod simulate;

pub use align::{
    AnchorHistoryRow, AnchorRetrievalRow, AnchorRow, AnchorSimilarityRow, CNV_TO_EXPR,
    CentroidSimilarityRow, CompositionRow, ConcordanceFoldRow, ConcordanceNullRow,
    ConcordancePatientRow, ConcordanceRow, EXPR_TO_CNV, HistoryRow, MiningRow, RetrievalRow,
    SimilarityRow, SplitRow,
};
pub use baselines::{BaselineCellRow, BaselineGeneRow, BaselineRetrievalRow};
pub use cnv::{
    ClonePieceRow, ClusterProfileRow, CnvArmRow, CnvCellRow, CnvCloneRow, CnvClusterRow,
    CnvSegmentRow, HClusterRow, HmmRegionRow, HmmSubclusterRow, MalignancyBinRow, MalignancyRow,
};
pub use counts::{DoubletRow, NormalClusterRow, QcCellRow, QcCheckRow, QcMetricRow};
pub use de::{
    COMPENSATION_GENES, CellScoreRow, CisLeftOutRow, CisRow, ClusterContrastRow, ClusterGeneRow,
    ComparedGeneRow, ContrastRow, CountSplitRow, DiscordanceNullRow, DiscordancePatientRow,
    DosageDiscordanceCellsRow, DosageDiscordanceGeneRow, ESCAPE_GENES, FindingGeneRow, POOLED,
    PairedGeneRow, RecurrentGeneRow, SetAsideRow,
};
pub use discordance::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
pub use dosage::{
    DosageArmRow, DosageCellRow, DosageChromosomeRow, DosageFactorRow, DosageGeneRow,
    DosageLoadingRow, DosagePatientRow,
};
pub use enrichment::GeneSetRow;
pub use simulate::ScoreRow;

use crate::tables::{Row as _, TableSpec};

/// Every table that is declared here.
pub const ALL: &[TableSpec] = &[
    AnchorHistoryRow::SPEC,
    AnchorRetrievalRow::SPEC,
    AnchorRow::SPEC,
    AnchorSimilarityRow::SPEC,
    BaselineCellRow::SPEC,
    BaselineGeneRow::SPEC,
    BaselineRetrievalRow::SPEC,
    CellScoreRow::SPEC,
    CentroidSimilarityRow::SPEC,
    CisLeftOutRow::SPEC,
    CisRow::SPEC,
    ClonePieceRow::SPEC,
    ClusterContrastRow::SPEC,
    ClusterGeneRow::SPEC,
    ClusterProfileRow::SPEC,
    CnvArmRow::SPEC,
    CnvCellRow::SPEC,
    CnvCloneRow::SPEC,
    CnvClusterRow::SPEC,
    CnvSegmentRow::SPEC,
    ComparedGeneRow::SPEC,
    CompositionRow::SPEC,
    ConcordanceFoldRow::SPEC,
    ConcordanceNullRow::SPEC,
    ConcordancePatientRow::SPEC,
    ConcordanceRow::SPEC,
    ContrastRow::SPEC,
    CountSplitRow::SPEC,
    DiscordanceCellRow::SPEC,
    DiscordanceFitRow::SPEC,
    DiscordanceGeneRow::SPEC,
    DiscordanceNullRow::SPEC,
    DiscordancePatientRow::SPEC,
    DiscordanceRateRow::SPEC,
    DosageArmRow::SPEC,
    DosageCellRow::SPEC,
    DosageChromosomeRow::SPEC,
    DosageDiscordanceCellsRow::SPEC,
    DosageDiscordanceGeneRow::SPEC,
    DosageFactorRow::SPEC,
    DosageGeneRow::SPEC,
    DosageLoadingRow::SPEC,
    DosagePatientRow::SPEC,
    DoubletRow::SPEC,
    FindingGeneRow::SPEC,
    GeneSetRow::SPEC,
    HClusterRow::SPEC,
    HistoryRow::SPEC,
    HmmRegionRow::SPEC,
    HmmSubclusterRow::SPEC,
    MalignancyBinRow::SPEC,
    MalignancyRow::SPEC,
    MiningRow::SPEC,
    NormalClusterRow::SPEC,
    PairedGeneRow::SPEC,
    QcCellRow::SPEC,
    QcCheckRow::SPEC,
    QcMetricRow::SPEC,
    RecurrentGeneRow::SPEC,
    RetrievalRow::SPEC,
    ScoreRow::SPEC,
    SetAsideRow::SPEC,
    SimilarityRow::SPEC,
    SplitRow::SPEC,
];
