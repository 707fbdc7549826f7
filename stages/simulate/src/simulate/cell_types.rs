//! Cell types, their markers, depth and share, under the names of GSE131907.

/// A cell type of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum CellType {
    Epithelial,
    Fibroblast,
    Endothelial,
    Myeloid,
    T,
    B,
    Nk,
    Mast,
    Oligodendrocyte,
    Undetermined,
}

/// Properties of a cell type in the simulation.
pub(super) struct TypeFacts {
    /// `Cell_type` in GSE131907.
    pub(super) name: &'static str,
    /// `Cell_type.refined`.
    pub(super) refined: &'static str,
    /// Values of `Cell_subtype`; each cell gets one.
    pub(super) subtypes: &'static [&'static str],
    /// Depth relative to the patient's median.
    pub(super) depth: f64,
    /// Share of the non-malignant cells of a tumour sample; sums of LUNG_T06 .. LUNG_T34, rounded.
    pub(super) tumour_share: f64,
    /// Share of the cells of a normal sample; sums of LUNG_N06 .. LUNG_N34, rounded.
    pub(super) normal_share: f64,
    /// Marker genes: high in this type and low in others.
    pub(super) markers: &'static [&'static str],
}

/// All types with their properties, in the order of the enum.
pub(super) const TYPES: [(CellType, TypeFacts); 10] = [
    (
        CellType::Epithelial,
        TypeFacts {
            name: "Epithelial cells",
            refined: "Epithelial cells",
            subtypes: &["AT2", "AT1", "Club", "Ciliated"],
            depth: 1.3,
            tumour_share: 0.03,
            normal_share: 0.08,
            markers: &[
                "EPCAM", "KRT8", "KRT18", "KRT19", "CDH1", "SFTPB", "SFTPC", "NAPSA", "SLPI",
                "MUC1", "ELF3", "CLDN4",
            ],
        },
    ),
    (
        CellType::Fibroblast,
        TypeFacts {
            name: "Fibroblasts",
            refined: "Fibroblasts",
            subtypes: &[
                "COL13A1+ matrix FBs",
                "COL14A1+ matrix FBs",
                "Myofibroblasts",
            ],
            depth: 1.15,
            tumour_share: 0.05,
            normal_share: 0.04,
            markers: &[
                "DCN", "LUM", "COL1A1", "COL1A2", "COL3A1", "COL6A2", "THY1", "PDGFRA",
            ],
        },
    ),
    (
        CellType::Endothelial,
        TypeFacts {
            name: "Endothelial cells",
            refined: "Endothelial cells",
            subtypes: &["Stalk-like ECs", "Tip-like ECs", "Tumor ECs"],
            depth: 1.05,
            tumour_share: 0.02,
            normal_share: 0.03,
            markers: &[
                "PECAM1", "VWF", "CLDN5", "CDH5", "RAMP2", "FLT1", "KDR", "ERG",
            ],
        },
    ),
    (
        CellType::Myeloid,
        TypeFacts {
            name: "Myeloid cells",
            refined: "Myeloid cells",
            subtypes: &["Alveolar Mac", "mo-Mac", "Monocytes", "CD1c+ DCs"],
            depth: 1.2,
            tumour_share: 0.24,
            normal_share: 0.36,
            markers: &[
                "LYZ", "CD68", "MARCO", "FCGR3A", "C1QA", "C1QB", "CD14", "AIF1", "MS4A7",
            ],
        },
    ),
    (
        CellType::T,
        TypeFacts {
            name: "T lymphocytes",
            refined: "T/NK cells",
            subtypes: &["CD4+ Th", "Cytotoxic CD8+ T", "Treg", "Naive CD4+ T"],
            depth: 0.85,
            tumour_share: 0.49,
            normal_share: 0.27,
            markers: &["CD3D", "CD3E", "CD3G", "TRAC", "CD2", "IL7R", "CD5", "LCK"],
        },
    ),
    (
        CellType::B,
        TypeFacts {
            name: "B lymphocytes",
            refined: "B lymphocytes",
            subtypes: &["Follicular B cells", "MALT B cells", "Plasma cells"],
            depth: 0.9,
            tumour_share: 0.10,
            normal_share: 0.02,
            markers: &["CD79A", "CD79B", "MS4A1", "IGKC", "IGHM", "CD19", "BANK1"],
        },
    ),
    (
        CellType::Nk,
        TypeFacts {
            name: "NK cells",
            refined: "T/NK cells",
            subtypes: &["NK"],
            depth: 0.85,
            tumour_share: 0.03,
            normal_share: 0.18,
            markers: &["NKG7", "GNLY", "KLRD1", "NCAM1", "PRF1", "KLRF1"],
        },
    ),
    (
        CellType::Mast,
        TypeFacts {
            name: "MAST cells",
            refined: "MAST cells",
            subtypes: &["MAST"],
            depth: 0.95,
            tumour_share: 0.04,
            normal_share: 0.02,
            markers: &["TPSAB1", "TPSB2", "CPA3", "KIT", "MS4A2"],
        },
    ),
    (
        CellType::Oligodendrocyte,
        TypeFacts {
            name: "Oligodendrocytes",
            refined: "Oligodendrocytes",
            subtypes: &["Oligodendrocytes"],
            depth: 0.9,
            tumour_share: 0.0,
            normal_share: 0.0,
            markers: &["MBP", "PLP1", "MOG", "MOBP", "CLDN11", "MAG"],
        },
    ),
    (
        CellType::Undetermined,
        TypeFacts {
            name: "Undetermined",
            refined: "Undetermined",
            subtypes: &["Undetermined"],
            depth: 0.6,
            tumour_share: 0.0,
            normal_share: 0.0,
            markers: &[],
        },
    ),
];

impl CellType {
    /// All types.
    pub fn all() -> [Self; 10] {
        TYPES.map(|t| t.0)
    }

    /// Name in `obs["cell_type"]`, as in GSE131907.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Type with that name.
    pub fn of_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.1.name == name).map(|t| t.0)
    }

    pub(super) fn facts(self) -> &'static TypeFacts {
        static ALL: [(CellType, TypeFacts); 10] = TYPES;
        &ALL[self as usize].1
    }
}

impl TypeFacts {
    /// Whether lung samples have this type. Only those types' markers decide which genes are drawn, so
    /// that types of other tissues change nothing in a simulated lung.
    pub(super) fn is_of_lung(&self) -> bool {
        self.tumour_share > 0.0 || self.normal_share > 0.0
    }
}

/// Depth of malignant cells relative to the patient's median: tumour cells are larger.
pub(super) const MALIGNANT_DEPTH: f64 = 1.4;

/// Counts of a malignant cell with a doubled genome over those of one without.
pub(super) const DOUBLED_DEPTH: f64 = 1.5;

/// `Cell_subtype` of malignant cells in GSE131907.
pub(super) const MALIGNANT_SUBTYPES: [&str; 3] = ["tS1", "tS2", "tS3"];
