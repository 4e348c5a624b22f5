//! The git program.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::process::Command;

use super::Peer;
use crate::sample::time;

/// Clones of a repository, worked in by the git program.
pub(crate) struct GitProgram {
    url: String,
    folder: TempDir,
}

impl GitProgram {
    /// Works on the repository at a URL or a path.
    pub(crate) fn new(url: String) -> Self {
        Self { url, folder: tempfile::tempdir().expect("a directory") }
    }

    async fn git(&self, folder: &Path, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(folder)
            .args(["-c", "user.name=bench", "-c", "user.email=bench@example"])
            .args(arguments);
        let status = git.stdin(Stdio::null()).stdout(Stdio::null()).status().await.expect("starting git");
        assert!(status.success(), "git {arguments:?} failed");
    }

    /// Brings both clones to the tip; this is not timed.
    async fn prepare(&self) {
        for clone in ["writer", "reader"] {
            let folder = self.folder.path().join(clone);
            if !folder.exists() {
                self.git(self.folder.path(), &["clone", "--quiet", &self.url, clone]).await;
            }
            self.git(&folder, &["fetch", "--quiet"]).await;
        }
        self.git(&self.folder.path().join("writer"), &["reset", "--quiet", "--hard", "origin/main"]).await;
    }

    async fn publish(&self, round: usize) {
        self.commit(round).await;
        self.push().await;
    }

    async fn commit(&self, round: usize) {
        let folder = self.folder.path().join("writer");
        std::fs::write(folder.join("bench"), round.to_string()).expect("a file");
        self.git(&folder, &["add", "bench"]).await;
        self.git(&folder, &["commit", "--quiet", "--allow-empty", "--message", "bench"]).await;
    }

    async fn push(&self) {
        self.git(&self.folder.path().join("writer"), &["push", "--quiet", "origin", "HEAD:main"]).await;
    }

    async fn fetch(&self) {
        self.git(&self.folder.path().join("reader"), &["fetch", "--quiet"]).await;
    }

    /// Pushes a commit that is made already and fetches it elsewhere, and returns how long both took.
    pub(crate) async fn push_and_fetch(&self, round: usize) -> Duration {
        self.prepare().await;
        self.commit(round).await;
        time(self.push()).await + time(self.fetch()).await
    }
}

#[async_trait]
impl Peer for GitProgram {
    fn reads(&self) -> &'static str {
        "git clone --depth 1"
    }

    fn writes(&self) -> &'static str {
        "git commit and push"
    }

    fn tells(&self) -> &'static str {
        "git commit, push and fetch"
    }

    async fn read(&self) -> Duration {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a directory");
        // A path would be linked and not read.
        let url = if self.url.starts_with('/') { format!("file://{}", self.url) } else { self.url.clone() };
        time(self.git(folder.path(), &["clone", "--quiet", "--bare", "--depth", "1", &url, "clone"])).await
    }

    async fn write(&self, round: usize) -> Duration {
        self.prepare().await;
        time(self.publish(round)).await
    }

    async fn tell(&self, round: usize) -> Duration {
        self.prepare().await;
        let begun = Instant::now();
        self.publish(round).await;
        self.fetch().await;
        begun.elapsed()
    }
}
