//! BloscLZ, the compressor that only blosc has.
//!
//! Source: c-blosc 1.21, `blosclz.c` (`blosclz_decompress`).

/// The distance of a near match takes 13 bits; a farther one has 16 bits on top of this.
const NEAR: usize = 8192;
/// A length that goes on in the next bytes.
const LONG: usize = 9;

/// Bytes that are read one after the other.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Unpacks `packed` into `out`: how many bytes were written, or nothing where it is damaged.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut from = Bytes(packed);
    let mut at = 0;
    let mut control = from.next()? & 31;
    loop {
        if control < 32 {
            let n = control + 1;
            out.get_mut(at..at + n)?.copy_from_slice(from.take(n)?);
            at += n;
        } else {
            let mut n = (control >> 5) + 2;
            if n == LONG {
                loop {
                    let more = from.next()?;
                    n += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let mut distance = ((control & 31) << 8) + from.next()? + 1;
            if distance == NEAR {
                distance = NEAR + (from.next()? << 8) + from.next()?;
            }
            repeat(out.get_mut(..at + n)?, at, distance)?;
            at += n;
        }
        match from.next() {
            Some(next) => control = next,
            None => return Some(at),
        }
    }
}

/// Fills `out` from `at` on with what is `distance` before it, which may overlap what is filled.
fn repeat(out: &mut [u8], at: usize, distance: usize) -> Option<()> {
    let start = at.checked_sub(distance)?;
    if distance == 1 {
        let value = out[start];
        out[at..].fill(value);
        return Some(());
    }
    // What was copied is part of what may be copied next: the pieces double.
    let (mut filled, end) = (at, out.len());
    while filled < end {
        let n = (filled - start).min(end - filled);
        out.copy_within(start..start + n, filled);
        filled += n;
    }
    Some(())
}
