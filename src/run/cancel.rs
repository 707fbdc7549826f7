//! What ends a run before its time: whoever started it, or `clcc-flow cancel` by a file beside its journal.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::exec::Cancel;

/// The file by which another process asks that a run end.
pub(crate) const MARK: &str = "cancel";
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What is raised by `own`, or to 1 once [`MARK`] is in the directory of the run. It is watched on a thread of its own,
/// as the run also waits where nothing asynchronous goes on; that ends when nobody can be told any more.
///
/// # Errors
/// Where there is no thread to be had.
pub(super) fn with_mark(own: Option<Cancel>, run_dir: PathBuf) -> io::Result<Cancel> {
    let (raise, cancel) = watch::channel(0u8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name("cancel".into())
        .spawn(move || runtime.block_on(listen(own, &run_dir, raise)))?;
    Ok(cancel)
}

async fn listen(own: Option<Cancel>, run_dir: &Path, raise: watch::Sender<u8>) {
    // A sender that is kept makes a channel on which nothing comes.
    let (_kept, never) = watch::channel(0u8);
    let mut own = own.unwrap_or(never);
    let mut is_own_open = true;
    loop {
        let asked = u8::from(is_marked(run_dir));
        let level = asked.max(*own.borrow_and_update());
        raise.send_if_modified(|now| {
            let rises = level > *now;
            *now = level.max(*now);
            rises
        });
        tokio::select! {
            () = raise.closed() => return,
            changed = own.changed(), if is_own_open => is_own_open = changed.is_ok(),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Lists the directory: a network file system may go on saying of a name alone that it is not there.
fn is_marked(run_dir: &Path) -> bool {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten();
    entries.flatten().any(|e| e.file_name() == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rises_to(cancel: &mut Cancel, level: u8) {
        let seen = cancel.wait_for(|l| *l >= level).await.map(|l| *l);
        assert_eq!(seen.ok(), Some(level));
    }

    #[tokio::test]
    async fn the_mark_and_the_one_who_started_it_are_heard() {
        let dir = tempfile::tempdir().unwrap();
        let (raise, own) = watch::channel(0u8);
        let mut cancel = with_mark(Some(own), dir.path().to_path_buf()).unwrap();
        assert_eq!(*cancel.borrow(), 0);
        std::fs::write(dir.path().join(MARK), "").unwrap();
        rises_to(&mut cancel, 1).await;
        raise.send_replace(2);
        rises_to(&mut cancel, 2).await;
        // Nothing is taken back.
        drop(raise);
        std::fs::remove_file(dir.path().join(MARK)).unwrap();
        tokio::time::sleep(LOOK * 3).await;
        assert_eq!(*cancel.borrow(), 2);
    }

    #[tokio::test]
    async fn the_mark_is_heard_where_nothing_else_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let mut cancel = with_mark(None, dir.path().to_path_buf()).unwrap();
        std::fs::write(dir.path().join(MARK), "").unwrap();
        rises_to(&mut cancel, 1).await;
    }
}
