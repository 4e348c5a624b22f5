//! What an operator does by hand in the directory is seen, and counts as a change of the store.

use std::{fs, os::unix::fs::symlink};

use ipvland_store::{Batch, EndpointStore as _, Remedy, StoreExt as _};

use crate::host::{Host, Share, key, next, pairs, put};

#[tokio::test]
async fn a_record_is_a_file_that_anybody_can_read() {
    let share = Share::new();
    let host = Host::at(&share.path());
    host.publish("2001:db8:1::48.json", "{\n}\n").await;
    assert_eq!(fs::read_to_string(share.record("2001:db8:1::48.json")).unwrap(), "{\n}\n");
    let log = fs::read_to_string(share.machinery("log/1")).unwrap();
    assert!(log.contains("web-1 publishes 2001:db8:1::48.json") && log.contains("10.1.1.1"), "{log}");
    assert_eq!(fs::read_dir(share.machinery("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn cp_rm_and_edits_in_place_are_seen_by_a_watch() {
    let share = Share::new();
    let host = Host::at(&share.path());
    let revision = host.publish("a", "1").await;
    host.snapshot().await;
    let mut deltas = host.store.watch(revision.clone());
    let mut last = revision;
    let copy = |share: &Share| _ = fs::copy(share.record("a"), share.record("b")).unwrap();
    let edit = |share: &Share| fs::write(share.record("a"), "2").unwrap();
    let remove = |share: &Share| fs::remove_file(share.record("b")).unwrap();
    let back = |share: &Share| fs::write(share.record("a"), "1").unwrap();
    type Step = (fn(&Share), &'static str, Option<&'static str>);
    let steps: [Step; 4] =
        [(copy, "b", Some("1")), (edit, "a", Some("2")), (remove, "b", None), (back, "a", Some("1"))];
    for (step, name, text) in steps {
        step(&share);
        let delta = loop {
            let delta = next(&mut deltas).await.unwrap();
            // An edit in place can be seen while the file is empty.
            if delta.changes.get(&key(name)).is_some_and(|bytes| bytes.as_deref() == text.map(str::as_bytes))
            {
                break delta;
            }
        };
        assert_ne!(delta.revision, last);
        last = delta.revision;
        assert_eq!(host.snapshot().await.revision, last);
    }
}

#[tokio::test]
async fn an_edit_by_hand_makes_older_bases_conflict() {
    let share = Share::new();
    let host = Host::at(&share.path());
    let base = host.publish("a", "1").await;
    // Of the same length, at once: nothing but the content may differ.
    for round in 0..50 {
        let text = (round % 7).to_string() + "x";
        let base = if round == 0 { base.clone() } else { host.snapshot().await.revision };
        let before = fs::read_to_string(share.record("a")).unwrap();
        fs::write(share.record("a"), &text).unwrap();
        let error = host.store.commit(&base, put("a", "mine")).await.map(|_| ());
        assert_eq!(before != text, error.is_err(), "round {round}");
        if let Err(error) = error {
            assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
            assert_eq!(fs::read_to_string(share.record("a")).unwrap(), text);
        }
    }
}

#[tokio::test]
async fn records_that_were_there_first_are_taken_over() {
    let share = Share::new();
    fs::create_dir(share.path().join("endpoints")).unwrap();
    fs::write(share.record("old"), "1").unwrap();
    let (a, b) = (Host::at(&share.path()), Host::at(&share.path()));
    assert_eq!(b.texts().await, pairs(&[("old", "1")]));
    assert!(!share.path().join(".ipvland").exists(), "reading makes nothing");
    a.publish("new", "2").await;
    assert_eq!(b.texts().await, pairs(&[("new", "2"), ("old", "1")]));
}

#[tokio::test]
async fn what_is_no_plain_file_is_a_stray_and_never_followed() {
    let share = Share::new();
    let host = Host::at(&share.path());
    host.publish("good", "1").await;
    let secret = share.path().join("secret");
    fs::write(&secret, "hunter2").unwrap();
    symlink(&secret, share.record("link")).unwrap();
    symlink("nowhere", share.record("broken")).unwrap();
    fs::create_dir(share.record("folder")).unwrap();
    let fifo = rustix::fs::CWD;
    rustix::fs::mknodat(fifo, share.record("pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    fs::write(share.record(".a.swp"), "x").unwrap();
    // What NFS calls a file that was removed while it was read.
    fs::write(share.record(".nfs0001"), "x").unwrap();
    let snapshot = host.snapshot().await;
    assert_eq!(snapshot.records.len(), 1);
    let names: Vec<_> = snapshot.strays.iter().map(|stray| stray.name.as_str()).collect();
    assert_eq!(names, [".a.swp", "broken", "folder", "link", "pipe"]);
    assert!(!format!("{snapshot:?}").contains("hunter2"));
    // A link is replaced, and what it leads to stays. A directory is told before anything is written.
    host.publish("link", "2").await;
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hunter2");
    assert!(fs::symlink_metadata(share.record("link")).unwrap().is_file());
    let error = host.commit(put("good", "2").put(key("folder"), "x")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("endpoints/folder is a directory"), "{error}");
    assert_eq!(host.texts().await, pairs(&[("good", "1"), ("link", "2")]));
    // Removing a record that isn't one changes nothing.
    let before = host.snapshot().await.revision;
    assert_eq!(host.commit(Batch::new("rm").remove(key("pipe"))).await.unwrap(), before);
}

#[tokio::test]
async fn the_log_is_bounded_and_a_watch_from_before_it_starts_over() {
    let share = Share::new();
    let host = Host::at(&share.path());
    let first = host.publish("a", "0").await;
    let mut early = first.clone();
    for round in 1..300 {
        let revision = host.publish("a", &round.to_string()).await;
        if round == 100 {
            early = revision;
        }
    }
    assert_eq!(fs::read_dir(share.machinery("log")).unwrap().count(), 256);
    let other = Host::at(&share.path());
    let delta = next(&mut other.store.watch(early)).await.unwrap();
    assert_eq!(delta.changes[&key("a")].as_deref(), Some("299".as_bytes()));
    let error = next(&mut other.store.watch(first)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
    // An edit between two commits is in no entry of the log.
    let before = host.snapshot().await.revision;
    fs::write(share.record("b"), "by hand").unwrap();
    host.store.transact(Default::default(), |_| Ok(Some(put("a", "x")))).await.unwrap();
    let fresh = Host::at(&share.path());
    let error = next(&mut fresh.store.watch(before)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
}
