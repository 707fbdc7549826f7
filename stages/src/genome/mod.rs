//! Gene positions, chromosomes and arms.
