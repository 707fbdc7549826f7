//! What to say where the system refuses to write or to read.

use std::io::ErrorKind as K;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::exec::gib;

/// So few free inodes are none: the file system keeps some for itself.
const FEW_INODES: u64 = 16;

/// What the user can do about an error of the system at a path. `None` where there is nothing to say.
pub fn hint(path: &Path, error: &std::io::Error) -> Option<String> {
    match error.kind() {
        K::StorageFull => room(path),
        K::QuotaExceeded => Some(format!(
            "the quota of this user or group is used up at `{}`; `clcc-flow gc --max-size SIZE` makes room in the cache",
            nearest(path)?.display()
        )),
        K::ReadOnlyFilesystem => Some(format!(
            "the file system of `{}` is mounted read-only",
            nearest(path)?.display()
        )),
        K::PermissionDenied => permission(path),
        _ => None,
    }
}

/// How much room there is at a path, and what makes some. `None` where the system does not say.
pub fn room(path: &Path) -> Option<String> {
    let there = nearest(path)?;
    let stat = rustix::fs::statvfs(there).ok()?;
    let free = gib(stat.f_bavail.saturating_mul(stat.f_frsize));
    // File systems that make inodes as they need them have 0 in all.
    if stat.f_files > 0 && stat.f_favail < FEW_INODES {
        return Some(format!(
            "{} of {} inodes (files and folders) free at `{}`, though {free} free; remove small files there, or let `clcc-flow gc` remove those of the cache that nothing needs",
            stat.f_favail,
            stat.f_files,
            there.display()
        ));
    }
    Some(format!(
        "{free} free at `{}`; `clcc-flow gc --max-size SIZE` makes room in the cache",
        there.display()
    ))
}

/// Whose the path is, and who asks.
fn permission(path: &Path) -> Option<String> {
    let there = nearest(path)?;
    let meta = std::fs::metadata(there).ok()?;
    Some(format!(
        "`{}` is of user {} and group {} with mode {:04o}; this process runs as user {} and group {}",
        there.display(),
        meta.uid(),
        meta.gid(),
        meta.mode() & 0o7777,
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    ))
}

/// The path, or the nearest directory above it that is there.
fn nearest(path: &Path) -> Option<&Path> {
    let above = path.ancestors().map(|p| {
        if p.as_os_str().is_empty() {
            Path::new(".")
        } else {
            p
        }
    });
    above.into_iter().find(|p| p.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_hint_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/there");
        let of = |kind: K| hint(&path, &kind.into());
        let here = dir.path().display().to_string();
        for (kind, words) in [
            (K::StorageFull, " free at"),
            (K::QuotaExceeded, "quota"),
            (K::ReadOnlyFilesystem, "mounted read-only"),
            (K::PermissionDenied, "; this process runs as user"),
        ] {
            let text = of(kind).unwrap();
            assert!(text.contains(words) && text.contains(&here), "{text}");
        }
        assert_eq!(of(K::NotFound), None);
        assert!(room(Path::new("relative/file")).unwrap().contains("`.`"));
    }
}
