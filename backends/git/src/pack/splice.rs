//! One tree made of another.

use std::collections::BTreeMap;

use git2::Oid;

use super::Step;

/// What becomes of a name: a file with these bytes, or nothing.
pub(crate) type Changes<'a> = BTreeMap<&'a [u8], Option<Oid>>;

/// Writes a tree that has other files than the old one at some names, and how to come from the old one to it. `None` for
/// what is no tree.
///
/// A tree is `mode name\0id`, one entry after the other, sorted as if a folder's name ended with `/`.
pub(crate) fn splice(old: &[u8], changes: &Changes<'_>) -> Option<(Vec<u8>, Vec<Step>)> {
    let mut new = Vec::with_capacity(old.len() + 64 * changes.len());
    let mut steps = Vec::new();
    let mut added = changes.iter().filter_map(|(name, id)| Some((*name, (*id)?))).peekable();
    let mut at = 0;
    while at < old.len() {
        let space = at + old[at..].iter().position(|byte| *byte == b' ')?;
        let zero = space + old[space..].iter().position(|byte| *byte == 0)?;
        let end = zero + 21;
        let entry = old.get(at..end)?;
        let (mode, name) = (&old[at..space], &old[space + 1..zero]);
        let slash: &[u8] = if mode == b"40000" { b"/" } else { b"" };
        while let Some((name, id)) = added.next_if(|(added, _)| added.iter().lt(name.iter().chain(slash))) {
            insert(&mut new, &mut steps, name, id);
        }
        if !changes.contains_key(name) {
            new.extend_from_slice(entry);
            match steps.last_mut() {
                Some(Step::Copy(from, size)) if *from + *size == at => *size += entry.len(),
                _ => steps.push(Step::Copy(at, entry.len())),
            }
        }
        at = end;
    }
    for (name, id) in added {
        insert(&mut new, &mut steps, name, id);
    }
    Some((new, steps))
}

fn insert(new: &mut Vec<u8>, steps: &mut Vec<Step>, name: &[u8], id: Oid) {
    let entry = [b"100644 ", name, b"\0", id.as_bytes()].concat();
    new.extend_from_slice(&entry);
    match steps.last_mut() {
        Some(Step::Insert(bytes)) => bytes.extend_from_slice(&entry),
        _ => steps.push(Step::Insert(entry)),
    }
}

#[cfg(test)]
mod tests {
    use git2::{FileMode, ObjectType, Repository};

    use super::{super::delta, *};

    /// libgit2's own builder says what is right.
    #[test]
    fn makes_the_tree_that_libgit2_makes() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(folder.path()).unwrap();
        let (one, two) = (repo.blob(b"one").unwrap(), repo.blob(b"two").unwrap());
        let empty = repo.treebuilder(None).unwrap().write().unwrap();
        let mut builder = repo.treebuilder(None).unwrap();
        for name in ["a", "b", "b.c", "b0", "d", "x"] {
            builder.insert(name, one, FileMode::Blob.into()).unwrap();
        }
        for name in ["bb", "c", "d.e"] {
            builder.insert(name, empty, FileMode::Tree.into()).unwrap();
        }
        let old = builder.write().unwrap();
        let odb = repo.odb().unwrap();
        let old_bytes = odb.read(old).unwrap().data().to_vec();
        for changes in [
            vec![("b", Some(two))],
            vec![("0", Some(two)), ("zz", Some(two))],
            vec![("a", None), ("x", None)],
            vec![("c", Some(two)), ("c.", Some(two)), ("c0", Some(one))],
            vec![("bb", Some(one)), ("d.e", None), ("nothing", None), ("m", Some(one))],
            vec![],
        ] {
            let mut builder = repo.treebuilder(Some(&repo.find_tree(old).unwrap())).unwrap();
            for (name, id) in &changes {
                match id {
                    Some(id) => drop(builder.insert(name, *id, FileMode::Blob.into()).unwrap()),
                    None => drop(builder.remove(name)),
                }
            }
            let right = builder.write().unwrap();
            let table = changes.iter().map(|(name, id)| (name.as_bytes(), *id)).collect();
            let (new, steps) = splice(&old_bytes, &table).unwrap();
            assert_eq!(Oid::hash_object(ObjectType::Tree, &new).unwrap(), right, "{changes:?}");
            let written = delta::encode(old_bytes.len(), new.len(), &steps);
            assert_eq!(delta::apply(&old_bytes, &written, new.len()), Some(new), "{changes:?}");
        }
        assert_eq!(splice(b"100644 broken", &Changes::new()), None);
    }
}
