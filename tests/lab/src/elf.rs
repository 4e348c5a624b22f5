//! Reads of a program's file whether it needs anything else to run (`elf(5)`, the System V ABI's "Program Header" and
//! "Dynamic Section").

use std::path::Path;

use crate::failure::{Failure, OrFail, Outcome};

const MAGIC: &[u8] = b"\x7fELF";
/// `ELFCLASS64` and `ELFDATA2LSB`: what all machines are that have the daemon.
const LITTLE_64: [u8; 2] = [2, 1];
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// Sees that a program names neither a loader nor a library.
///
/// # Errors
/// Says what it needs, or that the file is no program.
pub(crate) fn is_static(program: &Path) -> Outcome {
    let bytes = std::fs::read(program).or_fail(format_args!("reading {}", program.display()))?;
    match needs(&bytes) {
        Some(Needs { loader: false, libraries: 0 }) => Ok(()),
        Some(needs) => Err(Failure::new(format!(
            "{} is not static: it names {} and {} libraries",
            program.display(),
            if needs.loader { "a loader" } else { "no loader" },
            needs.libraries
        ))),
        None => Err(Failure::new(format!("{} is no 64-bit ELF program", program.display()))),
    }
}

/// What a program needs to run.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    /// Whether it names a loader (`PT_INTERP`).
    loader: bool,
    /// How many libraries it names (`DT_NEEDED`).
    libraries: usize,
}

/// Returns nothing where the bytes are no whole program.
fn needs(bytes: &[u8]) -> Option<Needs> {
    if !bytes.starts_with(MAGIC) || bytes.get(4..6)? != LITTLE_64 {
        return None;
    }
    let (headers, size, count) = (long(bytes, 0x20)?, short(bytes, 0x36)?, short(bytes, 0x38)?);
    let mut needs = Needs { loader: false, libraries: 0 };
    for number in 0..count {
        let at = headers.checked_add(number.checked_mul(size)?)?;
        match word(bytes, at)? {
            PT_INTERP => needs.loader = true,
            PT_DYNAMIC => {
                let (offset, length) =
                    (long(bytes, at.checked_add(0x08)?)?, long(bytes, at.checked_add(0x20)?)?);
                let section = bytes.get(offset..offset.checked_add(length)?)?;
                let tags = section.chunks_exact(16).map_while(|entry| long(entry, 0));
                let tags = tags.take_while(|tag| *tag as u64 != DT_NULL);
                needs.libraries += tags.filter(|tag| *tag as u64 == DT_NEEDED).count();
            }
            _ => {}
        }
    }
    Some(needs)
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one header.
    fn program(kind: u32, section: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x40];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20] = 0x40;
        bytes[0x36] = 0x38;
        bytes[0x38] = 1;
        bytes.extend(kind.to_le_bytes());
        bytes.resize(0x78, 0);
        bytes[0x48] = 0x78;
        bytes[0x60] = u8::try_from(section.len()).unwrap_or(u8::MAX);
        bytes.extend(section);
        bytes
    }

    fn dynamic(tags: &[u64]) -> Vec<u8> {
        let entries = tags.iter().flat_map(|tag| [tag.to_le_bytes(), [0; 8]]);
        program(PT_DYNAMIC, &entries.flatten().collect::<Vec<_>>())
    }

    #[test]
    fn a_loader_and_libraries_are_seen() {
        let needs_of = |loader, libraries| Some(Needs { loader, libraries });
        assert_eq!(needs(&program(PT_INTERP, b"/lib/ld.so\0")), needs_of(true, 0));
        assert_eq!(needs(&dynamic(&[5, DT_NEEDED, DT_NEEDED, DT_NULL, DT_NEEDED])), needs_of(false, 2));
        assert_eq!(needs(&dynamic(&[5, DT_NULL])), needs_of(false, 0));
    }

    #[test]
    fn what_is_cut_off_is_no_program() {
        let whole = dynamic(&[5, DT_NULL]);
        assert!((0..whole.len()).all(|length| needs(&whole[..length]).is_none()));
        assert_eq!(needs(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn this_test_has_a_loader() {
        let own = std::env::current_exe().and_then(std::fs::read);
        assert!(own.is_ok_and(|bytes| needs(&bytes).is_some_and(|needs| needs.loader)));
    }
}
