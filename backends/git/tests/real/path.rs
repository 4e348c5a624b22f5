//! Repositories in a directory of this host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipvland_store::{Batch, EndpointStore as _, Remedy};
use serde_json::json;
use servers::git::{Repositories, repository::Bare};

use crate::host::{Host, key, put};

#[tokio::test]
async fn one_host_without_a_repo_has_one_of_its_own() {
    let state = Arc::new(tempfile::tempdir().unwrap());
    let host = Host::try_open(1, json!({}), Arc::clone(&state)).unwrap();
    let empty = host.snapshot().await;
    assert!(empty.records.is_empty() && empty.strays.is_empty());
    host.commit(&empty.revision, put("10.1.1.1.json", "one")).await;

    let again = Host::try_open(1, json!({}), Arc::clone(&state)).unwrap();
    assert_eq!(again.snapshot().await.records[&key("10.1.1.1.json")], "one");
    let bare = Bare { path: state.path().join("store/repository.git") };
    assert_eq!(bare.file("main", "endpoints/10.1.1.1.json"), "one");
    bare.git(&["fsck", "--strict"]);
    let mode = fs::metadata(state.path().join("store")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn an_empty_repository_gets_main() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "master");
    let (a, b) = (Host::at(1, &bare.path), Host::at(2, &bare.path));
    let base = a.snapshot().await.revision;
    let other = b.snapshot().await.revision;
    assert_eq!(base, other);
    a.commit(&base, put("10.1.1.1.json", "one")).await;
    // The second was built on nothing as well, and must not overwrite the first.
    let error = b.store.commit(&other, put("10.1.1.2.json", "two")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    b.publish("10.1.1.2.json", "two").await;
    assert_eq!(bare.records("main"), ["10.1.1.1.json", "10.1.1.2.json"]);
}

#[tokio::test]
async fn an_old_repository_keeps_its_master() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "master");
    bare.commit("master", &[("README", "hello"), ("endpoints/10.1.1.9.json", "nine")]);
    bare.commit("main", &[("endpoints/wrong", "wrong")]);
    let host = Host::at(1, &bare.path);
    assert_eq!(host.snapshot().await.records.len(), 1);
    host.publish("10.1.1.1.json", "one").await;
    assert_eq!(bare.records("master"), ["10.1.1.1.json", "10.1.1.9.json"]);
    assert_eq!(bare.records("main"), ["wrong"]);
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_made_by_the_first_record() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("README", "hello")]);
    let host = Host::open(1, bare.path.to_str().unwrap(), json!({ "branch": "net/prod" }));
    assert!(host.snapshot().await.records.is_empty());
    host.publish("10.1.1.1.json", "one").await;
    assert_eq!(bare.records("net/prod"), ["10.1.1.1.json"]);
    assert_eq!(bare.git(&["ls-tree", "--name-only", "main"]), "README");
}

#[tokio::test]
async fn a_commit_says_who_and_what_and_leaves_other_files_alone() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("README", "hello"), ("policy.yaml", "x: 1"), ("endpoints/10.1.1.9.json", "nine")]);
    let host = Host::at(7, &bare.path);
    let base = host.snapshot().await.revision;
    let batch = Batch::new("web-7 publishes 10.1.7.0/24").put(key("10.1.1.7.json"), "seven\n");
    let revision = host.commit(&base, batch).await;
    let log = bare.git(&["log", "-1", "--format=%H|%an|%ae|%cn|%ce|%s|%P", "main"]);
    let who = "ipvland on web-7|ipvland@10.1.1.7";
    assert_eq!(log, format!("{revision}|{who}|{who}|web-7 publishes 10.1.7.0/24|{base}"));
    assert_eq!(bare.file("main", "README"), "hello");
    assert_eq!(bare.file("main", "policy.yaml"), "x: 1");
    let changed = bare.git(&["diff", "--name-only", base.as_str(), "main"]);
    assert_eq!(changed, "endpoints/10.1.1.7.json");
}

#[tokio::test]
async fn the_last_record_may_go() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let host = Host::at(1, &bare.path);
    let one = host.publish("10.1.1.1.json", "one").await;
    let none = host.commit(&one, Batch::new("web-1 leaves").remove(key("10.1.1.1.json"))).await;
    assert_ne!(one, none);
    assert_eq!(bare.git(&["ls-tree", "main"]), "");
    bare.git(&["fsck", "--strict"]);
    assert!(host.snapshot().await.records.is_empty());
    host.commit(&none, put("10.1.1.1.json", "again")).await;
    assert_eq!(bare.records("main"), ["10.1.1.1.json"]);
}

#[tokio::test]
async fn a_batch_without_change_makes_no_commit() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let (a, b) = (Host::at(1, &bare.path), Host::at(2, &bare.path));
    let one = a.publish("10.1.1.1.json", "one").await;
    let same = put("10.1.1.1.json", "one").remove(key("10.1.1.2.json"));
    assert_eq!(a.commit(&one, same.clone()).await, one);
    b.publish("10.1.1.2.json", "two").await;
    let error = a.store.commit(&one, same).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    assert_eq!(bare.git(&["rev-list", "--count", "main"]), "2");
}

#[tokio::test]
async fn a_hook_that_a_path_would_go_around_is_respected() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.hook("update", "#!/bin/sh\nexit 1\n");
    let host = Host::at(1, &bare.path);
    let base = host.snapshot().await.revision;
    let error = host.store.commit(&base, put("10.1.1.1.json", "one")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("hooks/update"), "{error}");
    assert_eq!(bare.tip("main"), None);
}

#[tokio::test]
async fn no_repository_is_a_sentence_and_not_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing.git");
    let host = Host::at(1, &path);
    let error = host.store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("git init --bare"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_broken_clone_is_made_again() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/10.1.1.9.json", "nine")]);
    for what in ["HEAD", "config", "objects"] {
        let host = Host::at(1, &bare.path);
        let before = host.snapshot().await;
        let clone = host.clone_dir();
        if what == "objects" {
            fs::remove_dir_all(clone.join("objects")).unwrap();
            fs::create_dir_all(clone.join("objects/pack")).unwrap();
        } else {
            fs::write(clone.join(what), "\0 not what was there").unwrap();
        }
        assert_eq!(host.snapshot().await, before, "{what}");
        host.publish("10.1.1.1.json", what).await;
    }
}

#[tokio::test]
async fn a_clone_of_many_packs_is_made_again() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    bare.commit("main", &[("endpoints/10.1.1.9.json", "nine")]);
    let host = Host::at(1, &bare.path);
    let before = host.snapshot().await;
    let packs = host.clone_dir().join("objects/pack");
    for number in 0..1_000 {
        fs::write(packs.join(format!("pack-{number}.idx")), "").unwrap();
    }
    // It's looked into after something was written, and after a start.
    let host = Host::try_open(1, json!({ "repo": bare.path }), Arc::clone(&host.state)).unwrap();
    // Once a call was answered: the next one waits for that.
    for _ in 0..2 {
        assert_eq!(host.snapshot().await, before);
    }
    assert!(fs::read_dir(packs).unwrap().count() < 10);
}

#[tokio::test]
async fn two_processes_of_a_host_share_a_clone_in_turns() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let state = Arc::new(tempfile::tempdir().unwrap());
    let tasks: Vec<_> = (1..=8)
        .map(|number| {
            let host = Host::try_open(number, json!({ "repo": bare.path }), Arc::clone(&state)).unwrap();
            tokio::spawn(async move {
                let name = format!("10.1.1.{number}.json");
                loop {
                    let base = host.snapshot().await.revision;
                    match host.store.commit(&base, put(&name, "x")).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.remedy(), Remedy::RunAgain, "{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bare.records("main").len(), 8);
}

#[tokio::test]
async fn another_users_state_is_refused() {
    assert!(rustix::process::geteuid().is_root(), "this test gives a directory away: run it as root");
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let host = Host::at(1, &bare.path);
    host.snapshot().await;
    let clone = host.clone_dir();
    std::os::unix::fs::chown(&clone, Some(65_534), Some(65_534)).unwrap();
    let error = host.store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("belongs to user 65534"), "{error}");
    assert!(clone.join("HEAD").exists(), "nothing of another user's is removed");
}

#[tokio::test]
async fn two_repositories_do_not_share_a_clone() {
    let repositories = Repositories::default();
    let one = repositories.create("one.git", "main");
    let two = repositories.create("two.git", "main");
    one.commit("main", &[("endpoints/one", "1")]);
    two.commit("main", &[("endpoints/two", "2")]);
    let state = Arc::new(tempfile::tempdir().unwrap());
    for (bare, name) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        let host = Host::try_open(1, json!({ "repo": bare.path }), Arc::clone(&state)).unwrap();
        let names: Vec<_> = host.snapshot().await.records.into_keys().collect();
        assert_eq!(names, [key(name)]);
    }
}

#[tokio::test]
async fn a_lock_that_a_crash_left_is_named() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let host = Host::at(1, &bare.path);
    let base = host.publish("10.1.1.1.json", "one").await;
    let lock = bare.path.join("refs/heads/main.lock");
    let file = fs::File::create(&lock).unwrap();
    let error = host.store.commit(&base, put("10.1.1.1.json", "two")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    let error = host.store.commit(&base, put("10.1.1.1.json", "two")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    assert!(error.to_string().contains("main.lock"), "{error}");
    fs::remove_file(lock).unwrap();
    host.commit(&base, put("10.1.1.1.json", "two")).await;

    // In the clone it is nobody's business.
    let clone = host.clone_dir();
    fs::write(clone.join("refs/remotes/origin/main.lock"), "").unwrap();
    bare.commit("main", &[("endpoints/10.1.1.9.json", "nine")]);
    assert_eq!(host.snapshot().await.records.len(), 1);
}

#[tokio::test]
async fn a_file_url_is_a_path() {
    let repositories = Repositories::default();
    let bare = repositories.create("over lay.git", "main");
    let url = format!("file://{}", bare.path.to_str().unwrap().replace(' ', "%20"));
    let host = Host::open(1, &url, json!({}));
    host.publish("10.1.1.1.json", "one").await;
    assert_eq!(bare.records("main"), ["10.1.1.1.json"]);
}

#[tokio::test]
async fn a_working_tree_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let git = Bare { path: folder.path().join(".git") };
    git.git(&["init", "-q", "-b", "main"]);
    git.git(&["config", "core.bare", "false"]);
    let host = Host::at(1, folder.path());
    let base = host.snapshot().await.revision;
    let error = host.store.commit(&base, put("10.1.1.1.json", "one")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("working tree"), "{error}");
}

#[tokio::test]
async fn another_users_repository_is_refused() {
    assert!(rustix::process::geteuid().is_root(), "this test gives a directory away: run it as root");
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    std::os::unix::fs::chown(&bare.path, Some(65_534), Some(65_534)).unwrap();
    let error = Host::at(1, &bare.path).store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("belongs to another user"), "{error}");
}
