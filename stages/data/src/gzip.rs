//! gzip as `gzip` reads it: members one after the other, and zeros after the last one ignored.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

use flate2::bufread::GzDecoder;

/// Unpacks all members of a gzip stream. Zeros that fill up a block after the last member (tapes, some mirrors)
/// are no data; anything else there is an error, where `gzip` warns and drops it.
#[derive(Debug)]
pub struct Gunzip<R> {
    /// The member that is being read; `None` once the stream has ended.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    /// Reads from `packed`, which starts with a member.
    pub fn new(packed: R) -> Self {
        Self {
            member: Some(GzDecoder::new(packed)),
        }
    }

    /// The next member after one has ended.
    fn next_member(mut packed: R) -> Result<Option<GzDecoder<R>>> {
        loop {
            let held = packed.fill_buf()?;
            let Some(&first) = held.first() else {
                return Ok(None);
            };
            let zeros = held.iter().take_while(|b| **b == 0).count();
            if zeros == 0 {
                return match first {
                    0x1f => Ok(Some(GzDecoder::new(packed))),
                    _ => Err(Error::new(
                        ErrorKind::InvalidData,
                        "there is other data after the end of the gzip stream",
                    )),
                };
            }
            packed.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let n = member.read(out)?;
            if n > 0 {
                return Ok(n);
            }
            let ended = self.member.take().map(GzDecoder::into_inner);
            self.member = ended.map(Self::next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<String> {
        let mut text = String::new();
        // A buffer that ends within everything.
        let packed = std::io::BufReader::with_capacity(7, bytes);
        Gunzip::new(packed).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn members_follow_one_another_and_zeros_at_the_end_are_nothing() {
        let (a, b) = (packed("one\n"), packed("two\n"));
        assert_eq!(read(&a).unwrap(), "one\n");
        assert_eq!(
            read(&[a.clone(), b.clone()].concat()).unwrap(),
            "one\ntwo\n"
        );
        assert_eq!(read(&[a.clone(), vec![0; 1000]].concat()).unwrap(), "one\n");
        assert_eq!(
            read(&[a.clone(), vec![0; 9], b, vec![0]].concat()).unwrap(),
            "one\ntwo\n"
        );
        let other = read(&[a.clone(), b"x".to_vec()].concat()).unwrap_err();
        assert!(
            other.to_string().contains("other data after the end"),
            "{other}"
        );
        assert!(read(&a[..a.len() - 3]).is_err());
    }
}
