//! Alignment of expression and copy number: [`mine`] (hard negatives), [`train`] (the encoders; the only
//! user of candle), [`eval`] (retrieval) and [`concordance`] (distances and classes of cells).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "the standard library is the oracle of tests"
    )
)]

pub mod concordance;
pub mod eval;
pub mod mine;
#[cfg(feature = "train")]
pub mod train;
