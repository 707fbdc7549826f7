//! de
