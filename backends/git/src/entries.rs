//! The entries of a folder in Git's own form: `mode name\0id`, one after the other, as the object of a tree has them.
//!
//! Most often one entry of thousands is other than in the commit before. So the bytes are kept, and where the entries
//! begin; what is the same at both ends of two folders is found by comparing bytes, and not read entry by entry.

use std::ops::Range;

use bytes::Bytes;
use git2::Oid;

/// A folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    raw: Bytes,
    /// Where each entry begins.
    starts: Vec<u32>,
}

/// One entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) id: Oid,
}

/// Which entries of two folders may differ; those before and after are the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

impl Entries {
    /// Reads a folder, with an older one that may have much in common with it.
    ///
    /// # Errors
    /// One of libgit2's, for bytes that are no folder.
    pub(crate) fn read(raw: Bytes, before: &Self) -> Result<Self, git2::Error> {
        let broken = || git2::Error::from_str("the folder of the records is broken");
        let size = u32::try_from(raw.len()).map_err(|_| broken())?;
        let first = before.within(common_start(&before.raw, &raw));
        let kept = before.start(first);
        let mut starts = before.starts[..first].to_vec();
        // Where an entry begins as far from the end as one of the old did, and all bytes from there are the same, the rest
        // of the entries is the same, too.
        let same = common_end(&before.raw[kept..], &raw[kept..]);
        let (mut at, mut old) = (kept, first);
        while at < raw.len() {
            let left = raw.len() - at;
            if left <= same {
                while old < before.starts.len() && before.raw.len() - before.start(old) > left {
                    old += 1;
                }
                if before.raw.len() - before.start(old) == left {
                    let shift = |start: &u32| size - (before.raw.len() as u32 - start);
                    starts.extend(before.starts[old..].iter().map(shift));
                    break;
                }
            }
            starts.push(at as u32);
            at += entry(&raw[at..]).ok_or_else(broken)?.1;
        }
        Ok(Self { raw, starts })
    }

    /// Returns the folder's bytes.
    pub(crate) fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns all entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.some(self.all())
    }

    /// Returns the range of all entries.
    pub(crate) fn all(&self) -> Range<usize> {
        0..self.starts.len()
    }

    /// Returns the entries of a range.
    pub(crate) fn some(&self, range: Range<usize>) -> impl Iterator<Item = Entry<'_>> {
        // Each of them was read once.
        range.filter_map(|number| entry(&self.raw[self.start(number)..]).map(|(entry, _)| entry))
    }

    /// Returns the entry with a name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Entry<'_>> {
        self.iter().find(|entry| entry.name == name)
    }

    /// Finds what differs between an older folder and this one.
    pub(crate) fn difference(&self, old: &Self) -> Difference {
        let first = old.within(common_start(&old.raw, &self.raw));
        let kept = old.start(first);
        let same = common_end(&old.raw[kept..], &self.raw[kept..]);
        let (mut old_end, mut new_end) = (old.starts.len(), self.starts.len());
        while old_end > first && new_end > first {
            let left = old.raw.len() - old.start(old_end - 1);
            if left > same || left != self.raw.len() - self.start(new_end - 1) {
                break;
            }
            (old_end, new_end) = (old_end - 1, new_end - 1);
        }
        Difference { old: first..old_end, new: first..new_end }
    }

    /// Returns where an entry begins, or the end of the folder.
    fn start(&self, number: usize) -> usize {
        self.starts.get(number).map_or(self.raw.len(), |start| *start as usize)
    }

    /// Counts the entries that lie within so many bytes as a whole.
    fn within(&self, bytes: usize) -> usize {
        match self.starts.partition_point(|start| *start as usize <= bytes) {
            _ if bytes == self.raw.len() => self.starts.len(),
            0 => 0,
            begun => begun - 1,
        }
    }
}

/// Reads the first entry, and its length.
fn entry(raw: &[u8]) -> Option<(Entry<'_>, usize)> {
    let space = raw.iter().position(|byte| *byte == b' ')?;
    let zero = space + raw[space..].iter().position(|byte| *byte == 0)?;
    let mode = u32::from_str_radix(std::str::from_utf8(&raw[..space]).ok()?, 8).ok()?;
    let id = Oid::from_bytes(raw.get(zero + 1..zero + 21)?).ok()?;
    Some((Entry { mode, name: &raw[space + 1..zero], id }, zero + 21))
}

/// So many bytes are compared at once.
const STRIDE: usize = 1 << 10;

/// Counts the bytes that are the same at the beginning.
fn common_start(one: &[u8], two: &[u8]) -> usize {
    let strides = one.chunks_exact(STRIDE).zip(two.chunks_exact(STRIDE));
    let from = STRIDE * strides.take_while(|(one, two)| one == two).count();
    from + one[from..].iter().zip(&two[from..]).take_while(|(one, two)| one == two).count()
}

/// Counts the bytes that are the same at the end.
fn common_end(one: &[u8], two: &[u8]) -> usize {
    let strides = one.rchunks_exact(STRIDE).zip(two.rchunks_exact(STRIDE));
    let from = STRIDE * strides.take_while(|(one, two)| one == two).count();
    let (one, two) = (&one[..one.len() - from], &two[..two.len() - from]);
    from + one.iter().rev().zip(two.iter().rev()).take_while(|(one, two)| one == two).count()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A folder whose names and ids are much alike, so that bytes are the same where entries are not.
    fn raw(entries: &[(u8, u8)]) -> Bytes {
        let mut raw = Vec::new();
        for (name, id) in entries {
            raw.extend_from_slice(b"100644 ");
            raw.extend(std::iter::repeat_n(b'a' + name % 3, 1 + usize::from(*name) * 40));
            raw.push(0);
            raw.extend([b'a' + id % 2; 20]);
        }
        raw.into()
    }

    proptest! {
        #[test]
        fn what_is_read_with_an_older_folder_is_what_is_read_alone(
            old in vec((0u8..6, 0u8..4), 0..12),
            new in vec((0u8..6, 0u8..4), 0..12),
            cut in 0usize..12,
        ) {
            // Often with a beginning and an end in common.
            let end = old.len().min(cut);
            let new = [&old[..old.len().min(cut / 2)], &new, &old[end..]].concat();
            let alone = Entries::read(raw(&new), &Entries::default()).unwrap();
            let old = Entries::read(raw(&old), &Entries::default()).unwrap();
            prop_assert_eq!(&Entries::read(raw(&new), &old).unwrap(), &alone);
            prop_assert_eq!(alone.iter().count(), new.len());

            let Difference { old: gone, new: come } = alone.difference(&old);
            let all = |entries: &Entries| entries.starts.len();
            let ends = |entries: &Entries, range: &Range<usize>| {
                let (start, end) = (entries.some(0..range.start), entries.some(range.end..all(entries)));
                start.chain(end).map(|entry| (entry.name.to_vec(), entry.id)).collect::<Vec<_>>()
            };
            prop_assert_eq!(gone.start, come.start);
            prop_assert_eq!(ends(&old, &gone), ends(&alone, &come));
            if let (Some(one), Some(two)) = (old.some(gone.clone()).next(), alone.some(come.clone()).next()) {
                prop_assert_ne!(one, two);
            }
            if let (Some(one), Some(two)) = (old.some(gone).last(), alone.some(come).last()) {
                prop_assert_ne!(one, two);
            }
        }

        #[test]
        fn bytes_that_are_no_folder_are_an_error(bytes in vec(any::<u8>(), 1..60)) {
            if let Ok(read) = Entries::read(bytes.clone().into(), &Entries::default()) {
                prop_assert_eq!(read.raw().as_ref(), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_folder_that_is_cut_off_is_an_error() {
        let whole = raw(&[(1, 1), (2, 2)]);
        let old = Entries::read(whole.clone(), &Entries::default()).unwrap();
        for end in 1..whole.len() {
            let cut = Entries::read(whole.slice(..end), &old);
            assert_eq!(cut.is_ok(), old.starts.contains(&(end as u32)), "{end}");
        }
        assert_eq!(old.find(&[b'c'; 81]).unwrap().id, Oid::from_bytes(&[b'a'; 20]).unwrap());
        assert!(old.find(b"c").is_none());
    }
}
