//! An object in a bucket, with the credentials of the environment (docs/shared-cache.md).

use std::sync::mpsc::sync_channel;

use clcc_cache::remote::{Address, ReadError, Reading, read_object};

use super::attempt::{Ended, restart};
use super::part::Part;
use super::{FetchError, Step};

/// Asks for what is missing of the part, of the version that it is a part of.
pub(super) fn attempt(
    url: &str,
    part: &mut Part,
    watch: &dyn Fn(Step),
) -> Result<Ended, FetchError> {
    let Ok(address) = url.parse::<Address>() else {
        return Err(FetchError::Scheme {
            url: url.to_string(),
        });
    };
    if part.len > 0 && part.about.version.is_empty() {
        part.reset()?;
    }
    let from = part.len;
    let version = (from > 0).then(|| part.about.version.clone());
    let (send, pieces) = sync_channel::<Reading>(4);
    let (read, written) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            read_object(&address, from, version.as_deref(), &mut |piece| {
                send.send(piece).is_ok()
            })
        });
        let written = pieces
            .into_iter()
            .try_for_each(|piece| take(part, piece, watch));
        let panicked = |_| Err(ReadError::Broken("the client panicked".to_string()));
        (reader.join().unwrap_or_else(panicked), written)
    });
    written?;
    let url = || url.to_string();
    match read {
        Ok(()) | Err(ReadError::Stopped) => Ok(match part.about.total {
            Some(total) if part.len == total => Ended::Whole,
            total => Ended::Broken(format!(
                "the connection ended after {} of {} bytes",
                part.len,
                total.unwrap_or_default()
            )),
        }),
        Err(ReadError::Changed) => restart(part, "the object has changed"),
        Err(ReadError::Broken(why)) => Ok(Ended::Broken(why)),
        Err(ReadError::Absent) => Err(FetchError::Absent { url: url() }),
        Err(ReadError::Refused(why)) => Err(FetchError::Denied { url: url(), why }),
    }
}

fn take(part: &mut Part, piece: Reading, watch: &dyn Fn(Step)) -> Result<(), FetchError> {
    match piece {
        Reading::Head { total, version } if part.len == 0 => {
            part.begin(version.unwrap_or_default(), Some(total))
        }
        Reading::Head { .. } => Ok(()),
        Reading::Block(bytes) => {
            part.append(&bytes)?;
            watch(Step::At(part.len, part.about.total));
            Ok(())
        }
    }
}
