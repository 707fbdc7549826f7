//! What to say when a disk is full.

use std::path::Path;

use crate::exec::gib;

/// How much room there is at a path, and what makes some. `None` where the system does not say.
pub fn room(path: &Path) -> Option<String> {
    let there = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(format!(
        "{} free at `{}`; `clcc-flow gc --max-size SIZE` makes room in the cache",
        gib(free),
        there.display()
    ))
}
