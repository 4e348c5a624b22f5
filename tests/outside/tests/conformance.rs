//! The store passes the suite that every store passes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore, Nudge, Retry,
    conformance::{Ability, Fixture, Stage, Staged},
};
use onefile::OneFile;
use serde_json::{Value, json};
use tempfile::TempDir;

ipvland_store::conformance_tests!(Directories);

/// Makes a directory for each case.
struct Directories;

#[async_trait]
impl Fixture for Directories {
    async fn fresh(&self) -> Box<dyn Stage> {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("shared")).unwrap();
        Box::new(Directory { outer, editing: Mutex::default() })
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        &[]
    }

    fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(200),
            deadline: Some(self.patience()),
        }
    }
}

const TOKEN: &str = "a word of the fleet";

/// A directory that goes away as a mount does: by another name, with all that it holds.
struct Directory {
    outer: TempDir,
    /// Steps of the stage come one after the other.
    editing: Mutex<()>,
}

impl Directory {
    fn file(&self) -> PathBuf {
        self.outer.path().join("shared/records.json")
    }

    /// Changes the file as an operator does with an editor.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let _one = self.editing.lock().unwrap();
        let empty =
            || json!({ "id": "by-hand", "generation": 0, "oldest": 0, "token": TOKEN, "entries": {} });
        let mut file =
            fs::read(self.file()).map_or_else(|_| empty(), |bytes| serde_json::from_slice(&bytes).unwrap());
        change(&mut file);
        fs::write(self.file(), file.to_string()).unwrap();
    }
}

#[async_trait]
impl Stage for Directory {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        let interval = Duration::from_millis(20);
        Arc::new(OneFile::new(self.file(), Some(TOKEN.to_owned()), interval, Nudge::new()))
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        self.edit(|file| {
            let generation = file["generation"].as_u64().unwrap() + 1;
            file["generation"] = generation.into();
            let name = std::str::from_utf8(name).unwrap();
            file["entries"][name] = json!({ "changed": generation, "content": bytes });
        });
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        self.edit(|file| {
            file["oldest"] = file["generation"].clone();
            file["entries"].as_object_mut().unwrap().retain(|_, entry| !entry["content"].is_null());
        });
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        fs::rename(self.outer.path().join("shared"), self.outer.path().join("gone")).unwrap();
        Ok(())
    }

    async fn come_back(&self) -> Staged {
        fs::rename(self.outer.path().join("gone"), self.outer.path().join("shared")).unwrap();
        Ok(())
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}
