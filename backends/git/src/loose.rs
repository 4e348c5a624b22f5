//! Keeping an object as a file of its own: zlib's form of `tree SIZE\0` and its bytes.
//!
//! libgit2 compresses all of them. A folder of thousands is mostly names of objects, which are as good as random: it took
//! longer than all the rest of a call, to save less than a half for the few days until the clone is written anew.

use std::{fs, io::Write as _};

use flate2::{Compression, write::ZlibEncoder};
use git2::{ObjectType, Oid, Repository};

/// Smaller ones are libgit2's: there it doesn't matter.
pub(crate) const LARGE: usize = 64 << 10;

/// Keeps an object and returns its name.
///
/// # Errors
/// libgit2's, or that of the disk.
pub(crate) fn write(repo: &Repository, kind: ObjectType, data: &[u8]) -> Result<Oid, git2::Error> {
    if kind != ObjectType::Tree || data.len() < LARGE {
        return repo.odb()?.write(kind, data);
    }
    let id = Oid::hash_object(kind, data)?;
    let hex = id.to_string();
    let folder = repo.path().join("objects").join(&hex[..2]);
    let file = folder.join(&hex[2..]);
    if file.exists() {
        return Ok(id);
    }
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        // One process at a time works on a clone. What a crash leaves of this is written over, or goes with the clone.
        let unfinished = folder.join("tmp_obj_ipvland");
        let mut encoder = ZlibEncoder::new(fs::File::create(&unfinished)?, Compression::none());
        encoder.write_all(format!("tree {}\0", data.len()).as_bytes())?;
        encoder.write_all(data)?;
        encoder.finish()?;
        fs::rename(unfinished, &file)
    };
    written().map_err(|why| git2::Error::from_str(&format!("{}: {why}", file.display())))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libgit2_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(folder.path()).unwrap();
        let blob = repo.blob(b"one").unwrap();
        for count in [1, 5_000] {
            let mut tree = Vec::new();
            for number in 0..count {
                tree.extend_from_slice(format!("100644 {number:05}\0").as_bytes());
                tree.extend_from_slice(blob.as_bytes());
            }
            for _ in 0..2 {
                let id = write(&repo, ObjectType::Tree, &tree).unwrap();
                assert_eq!(repo.find_tree(id).unwrap().len(), count);
                let again = Repository::open_bare(folder.path()).unwrap();
                assert_eq!(again.odb().unwrap().read(id).unwrap().data(), tree);
            }
        }
    }
}
