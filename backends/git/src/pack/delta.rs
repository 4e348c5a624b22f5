//! Differences between two objects (gitformat-pack(5), "Deltified representation").

/// A step on the way from one object to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the old one, from an offset on.
    Copy(usize, usize),
    /// Bytes that are new.
    Insert(Vec<u8>),
}

/// The most bytes that one instruction copies, as Git writes it.
const MOST_COPIED: usize = 0x1_0000;
/// The most bytes that one instruction inserts.
const MOST_INSERTED: usize = 0x7f;

/// Writes steps as a delta between objects of these sizes.
pub(super) fn encode(old: usize, new: usize, steps: &[Step]) -> Vec<u8> {
    let mut delta = Vec::new();
    for mut size in [old, new] {
        while size > 0x7f {
            delta.push(0x80 | (size & 0x7f) as u8);
            size >>= 7;
        }
        delta.push(size as u8);
    }
    for step in steps {
        match step {
            Step::Copy(from, size) => {
                let (mut from, mut left) = (*from, *size);
                while left > 0 {
                    let size = left.min(MOST_COPIED);
                    copy(&mut delta, from, size);
                    from += size;
                    left -= size;
                }
            }
            Step::Insert(bytes) => {
                for part in bytes.chunks(MOST_INSERTED) {
                    delta.push(part.len() as u8);
                    delta.extend_from_slice(part);
                }
            }
        }
    }
    delta
}

/// Writes one copy: which bytes of offset and size follow, and those that aren't zero. A size of 0x10000 is written as 0.
fn copy(delta: &mut Vec<u8>, from: usize, size: usize) {
    let place = delta.len();
    delta.push(0x80);
    let offset = (0..4).map(|byte| (from >> (8 * byte)) as u8);
    let size = (0..2).map(|byte| (size >> (8 * byte)) as u8);
    for (bit, byte) in offset.chain(size).enumerate() {
        if byte != 0 {
            delta[place] |= 1 << bit;
            delta.push(byte);
        }
    }
}

/// Makes an object of another one and a delta. `None` where the delta is broken or its object larger than `most`.
pub(super) fn apply(old: &[u8], delta: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut rest = delta;
    if size(&mut rest)? != old.len() {
        return None;
    }
    let whole = size(&mut rest).filter(|size| *size <= most)?;
    let mut new = Vec::with_capacity(whole);
    while !rest.is_empty() {
        let code = byte(&mut rest)?;
        let part = if code & 0x80 != 0 {
            let mut parts = [0; 7];
            for (bit, part) in parts.iter_mut().enumerate() {
                if code & (1 << bit) != 0 {
                    *part = byte(&mut rest)?;
                }
            }
            let from = parts[0] | parts[1] << 8 | parts[2] << 16 | parts[3] << 24;
            let size = match parts[4] | parts[5] << 8 | parts[6] << 16 {
                0 => MOST_COPIED,
                size => size,
            };
            old.get(from..from.checked_add(size)?)?
        } else {
            // Zero is kept for later versions of the format.
            let (part, after) = rest.split_at_checked(code).filter(|_| code > 0)?;
            rest = after;
            part
        };
        if new.len() + part.len() > whole {
            return None;
        }
        new.extend_from_slice(part);
    }
    (new.len() == whole).then_some(new)
}

fn byte(rest: &mut &[u8]) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(usize::from(*first))
}

/// Reads a size: seven bits a byte, the lowest first.
fn size(rest: &mut &[u8]) -> Option<usize> {
    let mut size = 0;
    for shift in (0..35).step_by(7) {
        let byte = byte(rest)?;
        size |= (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_leads_from_the_old_to_the_new() {
        let old: Vec<u8> = (0..200_000_u32).map(|number| (number * 7 % 251) as u8).collect();
        let inserted = vec![9; 300];
        let steps = [
            Step::Copy(0, 0x1_0000),
            Step::Insert(inserted.clone()),
            Step::Copy(0x1_0001, 200_000 - 0x1_0001),
        ];
        let new = [&old[..0x1_0000], &inserted, &old[0x1_0001..]].concat();
        let delta = encode(old.len(), new.len(), &steps);
        assert!(delta.len() < 400, "{}", delta.len());
        assert_eq!(apply(&old, &delta, new.len()), Some(new.clone()));
        assert_eq!(apply(&old, &delta, new.len() - 1), None);
        assert_eq!(apply(&old[1..], &delta, new.len()), None);
        for end in 0..delta.len() {
            assert_eq!(apply(&old, &delta[..end], new.len()), None, "{end}");
        }
    }
}
