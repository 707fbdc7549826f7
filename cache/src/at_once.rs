//! Waiting for the disk, or for a remote, in several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many wait for the disk at once. A journal commits what several threads wait for in one go: syncs of 144 files
/// took 58 to 70 ms in place of 640 to 1,190 one by one, on a busy ext4; twice as many threads gained nothing.
pub const SYNCS: usize = 8;

/// Does `work` for each of `items`, at most `threads` at once, and returns what it made of them, in their order.
///
/// # Errors
/// One of those of `work`; what was not begun by then may be left undone.
pub fn at_once<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let some = || -> Result<Vec<(usize, R)>, E> {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return Ok(made);
            };
            made.push((at, work(item)?));
        }
    };
    let made = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            // Where no thread is to be had, those that are there do its part.
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, some).ok())
            .collect();
        let own = some();
        others.into_iter().fold(own, |made, thread| {
            let theirs = thread.join();
            let theirs = theirs.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let mut made = made?;
            made.extend(theirs?);
            Ok(made)
        })
    });
    let mut made = made?;
    made.sort_unstable_by_key(|(at, _)| *at);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::error::CacheError;

    #[test]
    fn each_is_done_once() {
        for n in [0usize, 1, 7, 8, 9, 1000] {
            let items: Vec<usize> = (0..n).collect();
            let done = Mutex::new(Vec::new());
            let made = at_once(&items, SYNCS, |&item| {
                done.lock().unwrap().push(item);
                Ok::<_, CacheError>(2 * item)
            })
            .unwrap();
            assert!(made.iter().copied().eq((0..n).map(|item| 2 * item)));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, items);
        }
    }

    #[test]
    fn one_that_fails_fails_all() {
        let items: Vec<usize> = (0..100).collect();
        for bad in [0, 50, 99] {
            let end = at_once(&items, SYNCS, |&item| match item == bad {
                true => Err(CacheError::NotPlain {
                    path: PathBuf::from(item.to_string()),
                }),
                false => Ok(()),
            });
            let Err(CacheError::NotPlain { path }) = end else {
                panic!("{end:?}")
            };
            assert_eq!(path, PathBuf::from(bad.to_string()));
        }
    }
}
