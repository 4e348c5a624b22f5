//! The id of the store, kept on the host's own disk: so a share that isn't mounted is told from one that is empty.

use std::path::{Path, PathBuf};

use ipvland_store::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::place::Place;

/// Which store this host has seen at a path.
pub(crate) struct Seen {
    file: PathBuf,
    last: Option<Sight>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sight {
    path: PathBuf,
    id: String,
}

/// The name of the file in the state directory.
const FILE: &str = "seen.json";

impl Seen {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join(FILE), last: None }
    }

    /// Compares what is there now with what was there before, and remembers it.
    pub(crate) fn check(&mut self, place: &Place, id: Option<String>) -> Result<()> {
        match id {
            Some(id) => {
                self.note(Sight { path: place.path.clone(), id });
                Ok(())
            }
            None => {
                // From the disk, so that an operator who means it removes the file and is heard.
                self.last = self.load();
                match &self.last {
                    Some(sight) if sight.path == place.path => Err(Error::away(format!(
                        "{} is empty, and this host has seen a store there: mount the share, or restore it; if it was \
                         emptied on purpose, remove {} on each host",
                        place.path.display(),
                        self.file.display()
                    ))),
                    _ => Ok(()),
                }
            }
        }
    }

    fn load(&self) -> Option<Sight> {
        serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()
    }

    fn note(&mut self, sight: Sight) {
        if self.last.as_ref() == Some(&sight) {
            return;
        }
        let before = self.load();
        if before.as_ref() != Some(&sight) {
            if before.is_some_and(|before| before.path == sight.path && before.id != sight.id) {
                tracing::warn!(
                    path = %sight.path.display(), id = sight.id,
                    "another store is in the directory now; its records count"
                );
            }
            if let Err(error) = self.save(&sight) {
                tracing::warn!(
                    file = %self.file.display(), %error,
                    "cannot note which store this is, so a share that is not mounted after the next start may be taken \
                     for an empty one"
                );
            }
        }
        self.last = Some(sight);
    }

    fn save(&self, sight: &Sight) -> std::io::Result<()> {
        if let Some(directory) = self.file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(sight)?)?;
        std::fs::rename(&new, &self.file)
    }
}
