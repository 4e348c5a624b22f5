//! Plain files.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::Peer;

/// The files of a directory, without any check of what others do.
pub(crate) struct Files {
    records: PathBuf,
    beside: PathBuf,
}

impl Files {
    /// Works in the directory of a store.
    pub(crate) fn new(path: &Path) -> Self {
        Self { records: path.join("endpoints"), beside: path.with_extension("bench") }
    }
}

#[async_trait]
impl Peer for Files {
    fn reads(&self) -> &'static str {
        "reading the files"
    }

    fn writes(&self) -> &'static str {
        "write, fsync, rename, fsync"
    }

    fn tells(&self) -> &'static str {
        "write, fsync, rename, fsync, read"
    }

    async fn read(&self) -> Duration {
        let begun = Instant::now();
        for entry in fs::read_dir(&self.records).expect("the records") {
            fs::read(entry.expect("an entry").path()).expect("a record");
        }
        begun.elapsed()
    }

    async fn write(&self, round: usize) -> Duration {
        let begun = Instant::now();
        fs::create_dir_all(&self.beside).expect("a directory");
        let mut file = File::create(self.beside.join("new")).expect("a file");
        file.write_all(round.to_string().as_bytes()).expect("writing");
        file.sync_all().expect("syncing");
        fs::rename(self.beside.join("new"), self.beside.join("record")).expect("renaming");
        File::open(&self.beside).and_then(|folder| folder.sync_all()).expect("syncing");
        begun.elapsed()
    }

    async fn tell(&self, round: usize) -> Duration {
        let begun = Instant::now();
        self.write(round).await;
        fs::read(self.beside.join("record")).expect("reading");
        begun.elapsed()
    }
}
