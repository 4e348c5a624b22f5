//! The store passes the suite that every store passes, in a directory of its own for each case.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use ipvland_store::{
    EndpointStore, Nudge, OpenContext, Writer,
    conformance::{Ability, Fixture, Stage, Staged},
};
use ipvland_store_filesystem::{FilesystemStore, Settings};
use tempfile::TempDir;

struct Directories;

#[async_trait]
impl Fixture for Directories {
    async fn fresh(&self) -> Box<dyn Stage> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        Box::new(Directory { folder, hosts: AtomicUsize::new(0), states: Mutex::default() })
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        &[(Ability::Secrets, "nobody logs in to a directory")]
    }
}

struct Directory {
    folder: TempDir,
    hosts: AtomicUsize,
    states: Mutex<Vec<TempDir>>,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.folder.path().join("net")
    }
}

#[async_trait]
impl Stage for Directory {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let state = tempfile::tempdir().unwrap();
        let context = OpenContext {
            state_dir: state.path().join("store"),
            writer: Writer { name: format!("web-{number}"), address: format!("10.1.1.{number}") },
            nudge: Nudge::new(),
        };
        self.states.lock().unwrap().push(state);
        let settings = Settings { path: self.path(), interval: Some("50ms".into()), timeout: None };
        Arc::new(FilesystemStore::open(&settings, context).unwrap())
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        let endpoints = self.path().join("endpoints");
        fs::create_dir_all(&endpoints).unwrap();
        fs::write(endpoints.join(OsStr::from_bytes(name)), bytes).unwrap();
        Ok(())
    }

    /// An operator takes the history away, while no host writes, and lets the directory be another store.
    async fn lose_history(&self) -> Staged {
        let machinery = self.path().join(".ipvland");
        let lock = machinery.join("lock");
        tokio::task::spawn_blocking(move || {
            let Ok(lock) = fs::File::options().write(true).open(lock) else { return };
            lock.lock().unwrap();
            // Where nothing was written yet, there is no history to lose.
            let Ok(format) = fs::read_to_string(machinery.join("format")) else { return };
            for entry in fs::read_dir(machinery.join("log")).into_iter().flatten() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            _ = fs::remove_file(machinery.join("generation"));
            let mut format: serde_json::Value = serde_json::from_str(&format).unwrap();
            format["id"] = format!("{:016x}", fastrand::u64(..)).into();
            fs::write(machinery.join("format.new"), format.to_string()).unwrap();
            fs::rename(machinery.join("format.new"), machinery.join("format")).unwrap();
        })
        .await
        .unwrap();
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        fs::rename(self.path(), self.folder.path().join("away")).unwrap();
        Ok(())
    }

    async fn come_back(&self) -> Staged {
        fs::rename(self.folder.path().join("away"), self.path()).unwrap();
        Ok(())
    }
}

ipvland_store::conformance_tests!(Directories);
