//! infercnv
