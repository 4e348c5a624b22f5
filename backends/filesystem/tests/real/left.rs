//! What a crash leaves at each step of a commit is the old state or the new, for readers and for the next writer.

use std::fs;

use ipvland_store::{Batch, EndpointStore as _, Revision};

use crate::host::{Host, Share, key, next, pairs, put};

/// A store before and after one commit, which changes a record, adds one and removes one.
struct Commit {
    before: Share,
    after: Share,
    old: Revision,
    new: Revision,
}

const OLD: [(&str, &str); 3] = [("changed", "1"), ("removed", "1"), ("untouched", "1")];
const NEW: [(&str, &str); 3] = [("added", "2"), ("changed", "2"), ("untouched", "1")];

async fn commit() -> Commit {
    let share = Share::new();
    let host = Host::at(&share.path());
    let all = OLD.iter().fold(Batch::new("start"), |batch, (name, text)| batch.put(key(name), *text));
    let old = host.commit(all).await.unwrap();
    let before = share.copy();
    let batch = put("changed", "2").put(key("added"), "2").remove(key("removed"));
    let new = host.commit(batch).await.unwrap();
    Commit { before, after: share, old, new }
}

impl Commit {
    /// Makes the state of a commit that ended after so many of its steps. The first links the entry into the log.
    fn stopped_after(&self, steps: usize) -> Share {
        let share = self.before.copy();
        // What was staged may lie about.
        fs::write(share.machinery("staging/token.changed"), "2").unwrap();
        fs::write(share.machinery("staging/token.entry"), "{").unwrap();
        let take = |from, to| _ = fs::copy(from, to).unwrap();
        let all: [&dyn Fn(); 5] = [
            &|| take(self.after.machinery("log/2"), share.machinery("log/2")),
            &|| take(self.after.record("added"), share.record("added")),
            &|| take(self.after.record("changed"), share.record("changed")),
            &|| fs::remove_file(share.record("removed")).unwrap(),
            &|| take(self.after.machinery("generation"), share.machinery("generation")),
        ];
        for step in &all[..steps] {
            step();
        }
        share
    }
}

#[tokio::test]
async fn each_step_leaves_the_old_state_or_the_new() {
    let commit = commit().await;
    for steps in 0..=5 {
        let share = commit.stopped_after(steps);
        let host = Host::at(&share.path());
        let (texts, revision) =
            if steps == 0 { (pairs(&OLD), &commit.old) } else { (pairs(&NEW), &commit.new) };
        assert_eq!(host.texts().await, texts, "after {steps} steps");
        assert_eq!(host.snapshot().await.revision, *revision, "after {steps} steps");
        if steps > 0 {
            let delta = next(&mut host.store.watch(commit.old.clone())).await.unwrap();
            assert_eq!(delta.revision, commit.new, "after {steps} steps");
            assert_eq!(delta.changes.len(), 3, "after {steps} steps");
        }
        // The next writer builds on it, also one that never read the files.
        let next = Host::at(&share.path()).store.commit(revision, put("next", "3")).await.unwrap();
        let wanted = [pairs(&[("next", "3")]), texts].concat();
        let mut wanted = wanted;
        wanted.sort();
        assert_eq!(host.texts().await, wanted, "after {steps} steps");
        assert_eq!(host.snapshot().await.revision, next, "after {steps} steps");
        for (name, text) in wanted {
            assert_eq!(fs::read_to_string(share.record(&name)).unwrap(), text, "after {steps} steps");
        }
        assert!(steps == 0 || !share.record("removed").exists());
        assert_eq!(fs::read_dir(share.machinery("staging")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn an_old_base_conflicts_with_a_commit_that_waits() {
    let commit = commit().await;
    let share = commit.stopped_after(1);
    let host = Host::at(&share.path());
    let error = host.store.commit(&commit.old, put("next", "3")).await.unwrap_err();
    assert_eq!(error.remedy(), ipvland_store::Remedy::RunAgain, "{error}");
    assert_eq!(host.texts().await, pairs(&NEW));
}

#[tokio::test]
async fn an_edit_by_hand_after_the_crash_stays() {
    let commit = commit().await;
    let share = commit.stopped_after(2);
    let host = Host::at(&share.path());
    assert_eq!(host.texts().await, pairs(&NEW));
    fs::write(share.record("changed"), "by hand").unwrap();
    let wanted = pairs(&[("added", "2"), ("changed", "by hand"), ("untouched", "1")]);
    assert_eq!(host.texts().await, wanted);
    host.publish("untouched", "3").await;
    assert_eq!(fs::read_to_string(share.record("changed")).unwrap(), "by hand");
    assert_eq!(fs::read_to_string(share.record("untouched")).unwrap(), "3");
}

#[tokio::test]
async fn a_crash_while_the_store_is_made_leaves_an_empty_one() {
    let made = Share::new();
    Host::at(&made.path()).publish("a", "1").await;
    for step in 0..3 {
        let share = Share::new();
        fs::create_dir_all(share.machinery("log")).unwrap();
        fs::create_dir_all(share.machinery("staging")).unwrap();
        fs::create_dir_all(share.path().join("endpoints")).unwrap();
        if step > 0 {
            fs::copy(made.machinery("format"), share.machinery("format")).unwrap();
        }
        if step > 1 {
            fs::copy(made.machinery("log/1"), share.machinery("log/1")).unwrap();
        }
        let host = Host::at(&share.path());
        let texts = if step > 1 { pairs(&[("a", "1")]) } else { Vec::new() };
        assert_eq!(host.texts().await, texts, "step {step}");
        host.publish("b", "2").await;
        assert_eq!(Host::at(&share.path()).texts().await, [texts, pairs(&[("b", "2")])].concat());
    }
}

#[tokio::test]
async fn damage_of_the_machinery_is_a_sentence() {
    for (name, content) in [
        ("generation", None),
        ("generation", Some("{")),
        ("generation", Some(r#"{"id":"other","generation":2}"#)),
        ("format", Some("{")),
        ("format", Some(r#"{"magic":"x","version":1,"id":"4f"}"#)),
        ("format", Some(r#"{"magic":"ipvland endpoint records","version":2,"id":"4f"}"#)),
        ("log/3", Some("{}\n")),
    ] {
        let share = Share::new();
        let host = Host::at(&share.path());
        host.publish("a", "1").await;
        host.publish("a", "2").await;
        match content {
            Some(content) => fs::write(share.machinery(name), content).unwrap(),
            None => fs::remove_file(share.machinery(name)).unwrap(),
        }
        for error in [host.store.snapshot().await.err(), host.commit(put("a", "3")).await.err()] {
            let error = error.unwrap_or_else(|| panic!("{name} {content:?}"));
            assert_eq!(error.remedy(), ipvland_store::Remedy::GiveUp, "{error}");
            assert!(error.to_string().contains("ipvland"), "{error}");
        }
        assert_eq!(fs::read_to_string(share.record("a")).unwrap(), "2");
    }
}
