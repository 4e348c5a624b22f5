//! Writing a pack.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};

use super::{Step, delta};

/// A pack that is being written.
pub(crate) struct Pack {
    count: u32,
    body: Vec<u8>,
}

impl Pack {
    pub(crate) fn new() -> Self {
        Self { count: 0, body: Vec::new() }
    }

    /// Adds an object.
    pub(crate) fn add(&mut self, kind: ObjectType, data: &[u8]) -> std::io::Result<()> {
        let kind = match kind {
            ObjectType::Commit => 1,
            ObjectType::Tree => 2,
            _ => 3,
        };
        self.head(kind, data.len());
        self.compress(data)
    }

    /// Adds an object as its difference to another one, which whoever reads the pack has.
    pub(crate) fn add_difference(
        &mut self,
        old: Oid,
        (old_size, new_size): (usize, usize),
        steps: &[Step],
    ) -> std::io::Result<()> {
        let delta = delta::encode(old_size, new_size, steps);
        self.head(7, delta.len());
        self.body.extend_from_slice(old.as_bytes());
        self.compress(&delta)
    }

    /// Writes an entry's kind and size: four bits of it, then seven a byte.
    fn head(&mut self, kind: u8, size: usize) {
        self.count += 1;
        let mut byte = kind << 4 | (size & 0x0f) as u8;
        let mut size = size >> 4;
        while size > 0 {
            self.body.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        self.body.push(byte);
    }

    fn compress(&mut self, data: &[u8]) -> std::io::Result<()> {
        let mut encoder = ZlibEncoder::new(&mut self.body, Compression::fast());
        encoder.write_all(data)?;
        encoder.finish().map(drop)
    }

    /// Returns the whole pack.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend_from_slice(&self.count.to_be_bytes());
        pack.extend_from_slice(&self.body);
        let sum = Sha1::digest(&pack);
        pack.extend_from_slice(&sum);
        pack
    }
}
