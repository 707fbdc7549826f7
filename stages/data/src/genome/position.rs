//! Places of bases.

/// A base of a chromosome, counted from 1 as a GTF does.
///
/// Files of other kinds count from 0, so a number becomes a position by saying how it counts; inside the program there
/// is one way. A source that does not know the place of a gene may say 0, which is kept.
///
/// ```
/// use clcc_data::genome::Position;
///
/// // The first base of a gene in a BED, and in a GTF.
/// assert_eq!(Position::from_zero(7_668_401), Position::from_one(7_668_402));
/// assert_eq!(Position::from_one(7_668_402).get(), 7_668_402);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// The base with this number where the first has 1: GTF, GFF3, BioMart, and the tables of this program.
    pub const fn from_one(number: i64) -> Self {
        Self(number)
    }

    /// The base with this number where the first has 0: the starts of BED and of UCSC's tables. Their ends count the
    /// first base that is no longer part, so they are the last base [`from_one`](Self::from_one).
    pub const fn from_zero(number: i64) -> Self {
        Self(number + 1)
    }

    /// Its number, counted from 1.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
