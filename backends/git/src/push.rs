//! One commit more on the branch, by compare-and-swap.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use git2::{
    ErrorClass, ErrorCode, FileMode, ObjectType, Oid, PushOptions, RemoteCallbacks, RemoteRedirect,
    Repository, Signature, Tree,
};
use ipvland_store::{Batch, Error, MAX_RECORD_BYTES, Writer};

use crate::{
    address::Route,
    errors::{Failure, clean, while_talking},
    http_push, loose,
    pack::{Step, splice},
    path_push,
    remote::Server,
    talk::Talk as Call,
    transport::Line,
    tree::{Endpoints, FOLDER},
};

/// Says what a push came to.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The branch is at the new commit.
    Done,
    /// Another host was first; nothing was written.
    Raced,
    /// The server said no to the branch, in these words.
    Refused {
        /// Git's own reason: `pre-receive hook declined`.
        status: String,
        /// What the server printed: a hook's words.
        words: String,
    },
}

/// A commit in the clone, and what of it is new.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) commit: Oid,
    pub(crate) root: Oid,
    /// The folder of the records, where there are any.
    pub(crate) folder: Option<Folder>,
    pub(crate) blobs: Vec<Oid>,
}

/// The folder of the records, and how it comes from the one before.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The one before, and its size in bytes.
    pub(crate) old: Option<(Oid, usize)>,
    pub(crate) id: Oid,
    pub(crate) new: Vec<u8>,
    pub(crate) steps: Vec<Step>,
}

/// Checks what a batch wants to write.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) for a record that is too large.
pub(crate) fn check(batch: &Batch) -> Result<(), Error> {
    for (key, change) in &batch.changes {
        let size = change.as_ref().map_or(0, |bytes| bytes.len());
        if size > MAX_RECORD_BYTES {
            return Err(Error::refused(format!(
                "the record {key} has {size} bytes, and a record has at most {MAX_RECORD_BYTES}"
            )));
        }
    }
    Ok(())
}

/// Writes the batch as a commit into the clone. Returns `None` when it changes nothing at `base`.
pub(crate) fn write(
    repo: &Repository,
    base: Option<Oid>,
    endpoints: &Endpoints,
    batch: &Batch,
    writer: &Writer,
    shown: &str,
) -> Result<Option<Written>, Failure> {
    let parent = base.map(|id| repo.find_commit(id)).transpose()?;
    let root = parent.as_ref().map(|commit| commit.tree()).transpose()?;
    let entry = root.as_ref().and_then(|root| root.get_name(FOLDER).map(|entry| entry.to_owned()));
    let folder = match &entry {
        Some(entry) if entry.filemode() != i32::from(FileMode::Tree) => {
            return Err(Error::refused(format!(
                "{FOLDER} in the repository {shown} is not a folder: remove it there, so that records can be written"
            ))
            .into());
        }
        Some(entry) => Some(entry.id()),
        None => None,
    };
    let old = endpoints.raw();
    let mut blobs = Vec::new();
    let mut changes = BTreeMap::new();
    for (key, change) in &batch.changes {
        let there = endpoints.get(key);
        match change {
            Some(bytes) => {
                let blob = loose::write(repo, ObjectType::Blob, bytes)?;
                if there != Some(blob) {
                    blobs.push(blob);
                    changes.insert(key.as_str().as_bytes(), Some(blob));
                }
            }
            // What has the name of a record and is none stays: it isn't ours to remove.
            None if there.is_some() => drop(changes.insert(key.as_str().as_bytes(), None)),
            None => {}
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let (new, steps) =
        splice(old, &changes).ok_or_else(|| git2::Error::from_str("the folder of the records is broken"))?;
    let mut written_folder = None;
    // Git knows no empty folders.
    if !new.is_empty() {
        let id = loose::write(repo, ObjectType::Tree, &new)?;
        written_folder = Some(Folder { old: folder.map(|id| (id, old.len())), id, new, steps });
    }
    let root = with_folder(root.as_ref(), written_folder.as_ref().map(|folder| folder.id));
    let root = loose::write(repo, ObjectType::Tree, &root)?;
    let tree = repo.find_tree(root)?;
    let who = signature(writer)?;
    let parents: Vec<_> = parent.iter().collect();
    let commit = repo.commit_create_buffer(&who, &who, &subject(batch), &tree, &parents)?;
    let commit = loose::write(repo, ObjectType::Commit, &commit)?;
    Ok(Some(Written { commit, root, folder: written_folder, blobs }))
}

/// Returns the top folder of a commit with another folder of the records, or with none.
fn with_folder(old: Option<&Tree<'_>>, folder: Option<Oid>) -> Vec<u8> {
    const TREE: i32 = 0o040_000;
    let others = old.into_iter().flatten().filter(|entry| entry.name_bytes() != FOLDER.as_bytes());
    let others = others.map(|entry| (entry.filemode_raw(), entry.name_bytes().to_vec(), entry.id()));
    let mut entries: Vec<_> = others.chain(folder.map(|id| (TREE, FOLDER.into(), id))).collect();
    // As if the names of folders ended with a slash (`base_name_compare` in Git's read-cache.c).
    entries.sort_by_cached_key(|(mode, name, _)| {
        let slash: &[u8] = if *mode == TREE { b"/" } else { b"" };
        [name, slash].concat()
    });
    let line = |(mode, name, id): &(i32, Vec<u8>, Oid)| {
        [format!("{mode:o} ").as_bytes(), name, b"\0", id.as_bytes()].concat()
    };
    entries.iter().flat_map(line).collect()
}

/// Moves the branch from `base` to the commit that was written, at the server, if it is at `base`.
pub(crate) fn push(
    server: &Server,
    repo: &Repository,
    branch: &str,
    base: Option<Oid>,
    written: &Written,
) -> Result<Pushed, Failure> {
    let new = written.commit;
    if let Line::Http(client) = &*server.line
        && let Some(call) = Call::current()
    {
        return http_push::push(client, &call, repo, branch, base, written);
    }
    if let Route::Path(path) = &server.address.route {
        return path_push::push(&server.address, path, repo, branch, base, new);
    }
    // libgit2 pushes a reference and no bare commit.
    const OUTGOING: &str = "refs/ipvland/outgoing";
    repo.reference(OUTGOING, new, true, "")?;
    let talk = Rc::new(RefCell::new(Talk::default()));
    let mut callbacks = RemoteCallbacks::new();
    let seen = Rc::clone(&talk);
    callbacks.push_negotiation(move |updates| {
        // The fast-forward check of libgit2 would let a branch through that was taken back to an ancestor of `base`, and
        // bring the withdrawn commits back.
        let at = updates.first().map(|update| update.src());
        if at == Some(base.unwrap_or(Oid::ZERO_SHA1)) {
            return Ok(());
        }
        seen.borrow_mut().raced = true;
        Err(git2::Error::new(ErrorCode::Modified, ErrorClass::Callback, "another host was first"))
    });
    let seen = Rc::clone(&talk);
    callbacks.push_update_reference(move |_name, status| {
        seen.borrow_mut().status = status.map(clean);
        seen.borrow_mut().answered = true;
        Ok(())
    });
    let seen = Rc::clone(&talk);
    callbacks.sideband_progress(move |words| {
        seen.borrow_mut().hear(words);
        true
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks).follow_redirects(RemoteRedirect::None).packbuilder_parallelism(1);
    let mut remote = repo
        .remote_anonymous(server.url())
        .map_err(|why| crate::errors::from_server(&server.address, why))?;
    let outcome = remote.push(&[format!("{OUTGOING}:refs/heads/{branch}")], Some(&mut options));
    // The callbacks hold the other ends of `talk`.
    drop(options);
    // The next fetch tells the server which commits are here, and one that nobody took is none to tell of.
    repo.find_reference(OUTGOING).and_then(|mut found| found.delete())?;
    let talk = talk.take();
    match outcome {
        _ if talk.raced => Ok(Pushed::Raced),
        Err(why) if why.code() == ErrorCode::NotFastForward => Ok(Pushed::Raced),
        Err(why) => Err(match while_talking(&server.address, why) {
            Failure::Store(error) if !talk.words.is_empty() => Failure::Store(Error::new(
                error.remedy(),
                format!("{error} (the server said: {})", talk.words()),
            )),
            other => other,
        }),
        Ok(()) => match talk.status {
            Some(ref status) => Ok(Pushed::Refused { status: status.clone(), words: talk.words() }),
            None if talk.answered => Ok(Pushed::Done),
            None => Err(Failure::Store(Error::away(format!(
                "the git server {} did not say whether it took the commit for {}",
                server.address.host(),
                server.address.shown
            )))),
        },
    }
}

/// What was said while pushing.
#[derive(Default)]
struct Talk {
    raced: bool,
    answered: bool,
    status: Option<String>,
    words: Vec<u8>,
}

impl Talk {
    /// The most bytes of a server's words that are kept.
    const MAX_HEARD: usize = 4_096;

    fn hear(&mut self, words: &[u8]) {
        let room = Self::MAX_HEARD.saturating_sub(self.words.len());
        self.words.extend_from_slice(&words[..words.len().min(room)]);
    }

    fn words(&self) -> String {
        clean(&String::from_utf8_lossy(&self.words))
    }
}

/// Tells a lost race from the server's own will, by the words of `git receive-pack` (`builtin/receive-pack.c`, `refs.c`,
/// `refs/files-backend.c`). A lock is no sign of a race: a crash may have left it.
pub(crate) fn is_race(status: &str, words: &str) -> bool {
    const STATUS: &[&str] = &[
        "non-fast-forward",
        "fetch first",
        "remote ref updated since",
        "reference already exists",
        "incorrect old value provided",
        "stale info",
    ];
    const WORDS: &[&str] = &["but expected", "reference already exists"];
    STATUS.iter().any(|sign| status.contains(sign))
        || (!is_hook(status) && WORDS.iter().any(|sign| words.contains(sign)))
}

/// Tells whether a hook said no.
pub(crate) fn is_hook(status: &str) -> bool {
    status.contains("hook declined")
}

fn subject(batch: &Batch) -> String {
    let line = clean(&batch.subject);
    if line.is_empty() { "update endpoints\n".to_owned() } else { format!("{line}\n") }
}

fn signature(writer: &Writer) -> Result<Signature<'static>, git2::Error> {
    Signature::now(
        &format!("ipvland on {}", plain(&writer.name)),
        &format!("ipvland@{}", plain(&writer.address)),
    )
}

/// Leaves out what would end a name in a commit's header.
fn plain(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_control() || matches!(c, '<' | '>') { '-' } else { c }).collect();
    if kept.trim().is_empty() { "unknown".to_owned() } else { kept.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_race_by_its_words() {
        let moved = "error: cannot lock ref 'refs/heads/main': is at 1 but expected 2";
        assert!(is_race("failed to update ref", moved));
        assert!(is_race("incorrect old value provided", ""));
        assert!(!is_race("failed to update ref", "error: unable to write: No space left on device"));
        let locked = "error: cannot lock ref 'refs/heads/main': Unable to create 'main.lock': File exists.";
        assert!(!is_race("failed to update ref", locked));
        assert!(!is_race("pre-receive hook declined", "the policy is at 1 but expected 2"));
    }

    /// libgit2's own builder says what is right.
    #[test]
    fn the_top_folder_keeps_what_else_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(folder.path()).unwrap();
        let (file, empty) = (repo.blob(b"").unwrap(), repo.treebuilder(None).unwrap().write().unwrap());
        let mut builder = repo.treebuilder(None).unwrap();
        builder.insert("a", file, FileMode::Blob.into()).unwrap();
        let other = builder.write().unwrap();
        let mut before = None;
        for (name, id, mode) in [
            ("README", file, FileMode::Blob),
            ("endpoints", empty, FileMode::Tree),
            ("endpoints.md", file, FileMode::BlobExecutable),
            ("endpoints0", empty, FileMode::Tree),
            ("zone", file, FileMode::Link),
        ] {
            builder.insert(name, id, mode.into()).unwrap();
            for new in [Some(empty), Some(other), None] {
                let mut right = repo.treebuilder(before.as_ref()).unwrap();
                match new {
                    Some(id) => drop(right.insert(FOLDER, id, FileMode::Tree.into()).unwrap()),
                    None if right.get(FOLDER).unwrap().is_some() => right.remove(FOLDER).unwrap(),
                    None => {}
                }
                let made = loose::write(&repo, ObjectType::Tree, &with_folder(before.as_ref(), new)).unwrap();
                assert_eq!(made, right.write().unwrap(), "{name} {new:?}");
            }
            before = Some(repo.find_tree(builder.write().unwrap()).unwrap());
        }
    }

    #[test]
    fn a_hostile_name_can_not_break_the_commit() {
        let writer = Writer { name: "a <b>\nc".into(), address: String::new() };
        let who = signature(&writer).unwrap();
        assert_eq!(who.name().unwrap(), "ipvland on a -b--c");
        assert_eq!(who.email().unwrap(), "ipvland@unknown");
    }
}
