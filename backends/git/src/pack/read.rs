//! Reading a small pack.

use std::{collections::BTreeMap, io::Read as _};

use flate2::bufread::ZlibDecoder;
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};

use super::delta;

/// The most bytes of all objects of a pack together.
const MOST: usize = 32 << 20;

/// An object of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: ObjectType,
    pub(crate) data: Vec<u8>,
}

/// Reads all objects of a pack, with those that are differences to objects which `known` finds. `None` where that can't be
/// done: the pack is broken, too large, has more objects than `most`, or needs one that isn't known.
pub(crate) fn objects(pack: &[u8], most: usize, known: impl Fn(Oid) -> Option<Found>) -> Option<Vec<Found>> {
    let (body, sum) = pack.split_at_checked(pack.len().checked_sub(20)?)?;
    if Sha1::digest(body)[..] != *sum || !body.starts_with(b"PACK\0\0\0\x02") {
        return None;
    }
    let count = u32::from_be_bytes(body.get(8..12)?.try_into().ok()?) as usize;
    if count > most {
        return None;
    }
    let mut rest = &body[12..];
    let mut left = MOST;
    let mut found: Vec<Found> = Vec::new();
    // Where in the pack an object begins.
    let mut by_place: BTreeMap<usize, usize> = BTreeMap::new();
    for number in 0..count {
        let place = body.len() - rest.len();
        let (code, size) = head(&mut rest)?;
        let kind = match code {
            1 => Some(ObjectType::Commit),
            2 => Some(ObjectType::Tree),
            3 => Some(ObjectType::Blob),
            4 => Some(ObjectType::Tag),
            _ => None,
        };
        let object = match kind {
            Some(kind) => Found { kind, data: inflate(&mut rest, size, left)? },
            None => {
                let old = match code {
                    6 => found.get(*by_place.get(&place.checked_sub(offset(&mut rest)?)?)?)?.clone(),
                    7 => {
                        let (name, after) = rest.split_at_checked(20)?;
                        rest = after;
                        let name = Oid::from_bytes(name).ok()?;
                        // Most often it's one that the server knows to be here.
                        let named = |object: &&Found| {
                            Oid::hash_object(object.kind, &object.data).is_ok_and(|id| id == name)
                        };
                        known(name).or_else(|| found.iter().find(named).cloned())?
                    }
                    _ => return None,
                };
                let delta = inflate(&mut rest, size, left)?;
                Found { kind: old.kind, data: delta::apply(&old.data, &delta, left)? }
            }
        };
        left = left.checked_sub(object.data.len())?;
        by_place.insert(place, number);
        found.push(object);
    }
    rest.is_empty().then_some(found)
}

fn byte(rest: &mut &[u8]) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(usize::from(*first))
}

fn head(rest: &mut &[u8]) -> Option<(usize, usize)> {
    let first = byte(rest)?;
    let mut size = first & 0x0f;
    let mut more = first & 0x80 != 0;
    let mut shift = 4;
    while more {
        let next = byte(rest)?;
        size |= (next & 0x7f).checked_shl(shift).filter(|_| shift < 32)?;
        shift += 7;
        more = next & 0x80 != 0;
    }
    Some((first >> 4 & 0x07, size))
}

/// Reads how far before it the object is that a difference is to.
fn offset(rest: &mut &[u8]) -> Option<usize> {
    let mut next = byte(rest)?;
    let mut offset = next & 0x7f;
    while next & 0x80 != 0 {
        next = byte(rest)?;
        offset = (offset + 1).checked_mul(128)? | (next & 0x7f);
    }
    Some(offset)
}

fn inflate(rest: &mut &[u8], size: usize, most: usize) -> Option<Vec<u8>> {
    if size > most {
        return None;
    }
    let mut decoder = ZlibDecoder::new(*rest);
    let mut data = Vec::with_capacity(size);
    // One byte more would be read if there were more.
    (&mut decoder).take(size as u64 + 1).read_to_end(&mut data).ok()?;
    let used = decoder.total_in() as usize;
    *rest = rest.get(used..)?;
    (data.len() == size).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Pack, Step},
        *,
    };

    fn pack() -> (Found, Vec<u8>) {
        let old = Found { kind: ObjectType::Blob, data: vec![7; 5_000] };
        let name = Oid::hash_object(old.kind, &old.data).unwrap();
        let mut pack = Pack::new();
        pack.add(ObjectType::Commit, b"a commit").unwrap();
        let steps = [Step::Insert(b"new".to_vec()), Step::Copy(0, 5_000)];
        pack.add_difference(name, (5_000, 5_003), &steps).unwrap();
        pack.add(ObjectType::Blob, &[1; 100_000]).unwrap();
        (old, pack.finish())
    }

    #[test]
    fn reads_what_was_written() {
        let (old, pack) = pack();
        let found = objects(&pack, 3, |_| Some(old.clone())).unwrap();
        assert_eq!(found[0], Found { kind: ObjectType::Commit, data: b"a commit".to_vec() });
        assert_eq!((&found[1].data[..3], found[1].data.len()), (&b"new"[..], 5_003));
        assert_eq!(found[2].data, [1; 100_000]);
        assert_eq!(objects(&pack, 3, |_| None), None);
        assert_eq!(objects(&pack, 2, |_| Some(old.clone())), None);
    }

    #[test]
    fn a_broken_pack_is_none() {
        let (old, pack) = pack();
        for end in 0..pack.len() {
            assert_eq!(objects(&pack[..end], 3, |_| Some(old.clone())), None, "{end}");
            // With a right sum at its end it's still too short.
            let mut short = pack[..end].to_vec();
            let sum = Sha1::digest(&short);
            short.extend_from_slice(&sum);
            if end != pack.len() - 20 {
                assert_eq!(objects(&short, 3, |_| Some(old.clone())), None, "{end}");
            }
        }
    }
}
