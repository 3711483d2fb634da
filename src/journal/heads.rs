//! The heads of a run: which record is the last of each stream, and a digest over all of them.
//!
//! Each record carries the digest as it is after that record. So the last line of a run's segments, which lies outside sled, tells
//! whether what sled gives as the last records of a thousand streams is complete, in the time that it takes to look at these
//! records; `prev` then proves each stream backwards to its checkpoint. The digest is the XOR of a hash for each stream, which
//! makes its upkeep independent of their number. It guards against decay, not against forgery.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::batch::{Seq, StreamId};

/// The heads of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    streams: HashMap<StreamId, (Seq, u64)>,
    digest: u64,
}

impl Heads {
    /// Returns the number of the stream's last record, 0 where it has none.
    pub fn last(&self, stream: &StreamId) -> Seq {
        self.streams.get(stream).map_or(Seq(0), |(seq, _)| *seq)
    }

    /// Takes in that a record is now the last of its stream.
    pub fn advance(&mut self, stream: &StreamId, seq: Seq, body: &[u8]) {
        let hash = hash(stream, seq, body);
        let before = self.streams.insert(stream.clone(), (seq, hash)).map_or(0, |(_, hash)| hash);
        self.digest ^= before ^ hash;
    }

    /// Returns the digest.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

fn hash(stream: &StreamId, seq: Seq, body: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seq.0.to_be_bytes());
    hash.update(crc32fast::hash(body).to_be_bytes());
    hash.update(stream.to_string());
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostId;

    #[test]
    fn the_digest_depends_on_the_heads_and_not_on_the_way_there() {
        let (a, b) = (StreamId::Run, StreamId::Host(HostId::new("a")));
        let mut one = Heads::default();
        one.advance(&a, Seq(1), b"x");
        one.advance(&b, Seq(2), b"y");
        one.advance(&a, Seq(3), b"z");
        let mut other = Heads::default();
        other.advance(&b, Seq(2), b"y");
        other.advance(&a, Seq(3), b"z");
        assert_eq!(one.digest(), other.digest());
        other.advance(&a, Seq(3), b"Z");
        assert_ne!(one.digest(), other.digest(), "another body");
        other.advance(&a, Seq(4), b"z");
        assert_ne!(one.digest(), other.digest(), "another number");
        assert_eq!((one.last(&a), one.last(&b), one.last(&StreamId::Host(HostId::new("c")))), (Seq(3), Seq(2), Seq(0)));
    }
}
