//! The width of the vectors that kernels run with.

use std::sync::OnceLock;

/// The vector units that every kernel is dispatched to: the widest of this processor.
///
/// The environment variable `CLCC_VECTORS` takes narrower ones, `v3` (AVX2) or `scalar`, so that tests on one
/// machine show that bytes do not depend on the width. Read once; it changes speed only, so it is in no key.
pub fn vectors() -> pulp::Arch {
    static FOUND: OnceLock<pulp::Arch> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let asked = std::env::var("CLCC_VECTORS").unwrap_or_default();
        narrower(&asked).unwrap_or_else(widest)
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that asks the processor"
)]
fn widest() -> pulp::Arch {
    pulp::Arch::new()
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn narrower(asked: &str) -> Option<pulp::Arch> {
    match asked {
        "scalar" => Some(pulp::Arch::Scalar),
        "v3" => pulp::x86::V3::try_new().map(pulp::Arch::V3),
        _ => None,
    }
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn narrower(_: &str) -> Option<pulp::Arch> {
    None
}
