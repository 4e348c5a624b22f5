//! git2 as it comes, with libgit2's own way over HTTP. It runs in a process of its own: ways to servers are registered for
//! a whole process, and ours may have taken the place of libgit2's there.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use git2::{FetchOptions, Repository, Signature};

use crate::table::say;

/// Pushes and fetches in turn, and prints how long each pair took, in milliseconds.
pub(crate) fn run(url: &str, rounds: usize) {
    let folder = tempfile::tempdir().expect("a directory");
    let clone = |name: &str| {
        git2::build::RepoBuilder::new().bare(true).clone(url, &folder.path().join(name)).expect("a clone")
    };
    let (writer, reader) = (clone("writer"), clone("reader"));
    for round in 0..rounds {
        commit(&writer, round);
        let begun = Instant::now();
        let mut origin = writer.find_remote("origin").expect("where it came from");
        origin.push(&["refs/heads/main:refs/heads/main"], None).expect("a push");
        let pushed = begun.elapsed();
        let begun = Instant::now();
        let mut origin = reader.find_remote("origin").expect("where it came from");
        let mut options = FetchOptions::new();
        origin.fetch(&["+refs/heads/main:refs/heads/main"], Some(&mut options), None).expect("a fetch");
        let took = pushed + begun.elapsed();
        let [sent, there] =
            [&writer, &reader].map(|clone| clone.refname_to_id("refs/heads/main").expect("a tip"));
        assert_eq!(sent, there, "the fetch brings what was pushed");
        say(&(took.as_secs_f64() * 1e3).to_string());
    }
}

fn commit(repository: &Repository, round: usize) {
    let tip =
        repository.find_reference("refs/heads/main").and_then(|tip| tip.peel_to_commit()).expect("a tip");
    let blob = repository.blob(round.to_string().as_bytes()).expect("a blob");
    let mut tree = repository.treebuilder(Some(&tip.tree().expect("a tree"))).expect("a tree");
    tree.insert("bench", blob, 0o100_644).expect("an entry");
    let tree = repository.find_tree(tree.write().expect("a tree")).expect("a tree");
    let who = Signature::now("bench", "bench@example").expect("a name");
    repository.commit(Some("refs/heads/main"), &who, &who, "bench", &tree, &[&tip]).expect("a commit");
}

/// Has another process of this program push and fetch, and returns how long each pair took.
pub(crate) async fn push_and_fetch(url: &str, rounds: usize, home: &Path) -> Vec<Duration> {
    let program = std::env::current_exe().expect("the program's own file");
    let mut command = tokio::process::Command::new(program);
    command.args(["stock", url, &rounds.to_string()]).env("HOME", home);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).output().await;
    let output = output.expect("another of us");
    assert!(output.status.success(), "git2 as it comes fails: see above");
    let text = String::from_utf8(output.stdout).expect("figures");
    let figures = text.lines().map(|line| line.parse::<f64>().expect("a figure"));
    figures.map(|figure| Duration::from_secs_f64(figure / 1e3)).collect()
}
