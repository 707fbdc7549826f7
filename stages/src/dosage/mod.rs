//! Placeholder head, completed below.
pub(crate) mod windows;
pub use windows::GeneWindows;
