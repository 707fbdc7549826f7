//! dosage
