//! A directory that is missing, not mounted, another one, or may not be written.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use ipvland_store::{EndpointStore as _, Remedy};

use crate::host::{Host, Share, next, pairs, put};

#[tokio::test]
async fn a_missing_directory_is_waited_for_and_never_made() {
    let share = Share::new();
    let late = share.path().join("late");
    let host = Host::at(&late);
    let base = Host::at(&share.path()).snapshot().await.revision;
    for error in
        [host.store.snapshot().await.unwrap_err(), host.store.commit(&base, put("a", "1")).await.unwrap_err()]
    {
        assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
        assert!(error.to_string().contains("mount it or create it"), "{error}");
    }
    assert!(!late.exists());
    fs::create_dir(&late).unwrap();
    host.publish("a", "1").await;
    assert_eq!(host.texts().await, pairs(&[("a", "1")]));
    let file = Host::at(&late.join("endpoints/a")).store.snapshot().await.unwrap_err();
    assert_eq!(file.remedy(), Remedy::GiveUp, "{file}");
}

#[tokio::test]
async fn a_share_that_is_not_mounted_is_not_an_empty_store() {
    let share = Share::new();
    let state = Arc::new(tempfile::tempdir().unwrap());
    let open = || Host::open(&share.path(), "50ms", "10s", Arc::clone(&state));
    let host = open();
    let base = host.publish("a", "1").await;
    // The bare mount point, after the daemon was started anew as well.
    let away = share.path().with_extension("away");
    fs::rename(share.path(), &away).unwrap();
    fs::create_dir(share.path()).unwrap();
    for host in [&host, &open()] {
        for error in [
            host.store.snapshot().await.unwrap_err(),
            host.store.commit(&base, put("a", "2")).await.unwrap_err(),
            next(&mut host.store.watch(base.clone())).await.unwrap_err(),
        ] {
            assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
            assert!(error.to_string().contains("mount the share"), "{error}");
        }
    }
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 0, "something was made on the bare mount point");
    // It's mounted again.
    fs::remove_dir(share.path()).unwrap();
    fs::rename(&away, share.path()).unwrap();
    assert_eq!(host.snapshot().await.revision, base);
    // It's emptied on purpose, and the operator says so.
    fs::remove_dir_all(share.path()).unwrap();
    fs::create_dir(share.path()).unwrap();
    let error = host.store.snapshot().await.unwrap_err().to_string();
    let file = error.split_once("remove ").unwrap().1.split_once(" on each").unwrap().0;
    fs::remove_file(file).unwrap();
    host.publish("b", "1").await;
    assert_eq!(host.texts().await, pairs(&[("b", "1")]));
}

#[tokio::test]
async fn half_a_share_is_not_an_empty_store() {
    let share = Share::new();
    let host = Host::at(&share.path());
    let base = host.publish("a", "1").await;
    fs::rename(share.path().join("endpoints"), share.path().join("moved")).unwrap();
    for host in [&host, &Host::at(&share.path())] {
        for error in [
            host.store.snapshot().await.unwrap_err(),
            host.store.commit(&base, put("a", "2")).await.unwrap_err(),
        ] {
            assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
            assert!(error.to_string().contains("endpoints is gone"), "{error}");
        }
    }
}

#[tokio::test]
async fn another_store_in_its_place_starts_watches_over() {
    let (share, other) = (Share::new(), Share::new());
    let host = Host::at(&share.path());
    let base = host.publish("a", "1").await;
    Host::at(&other.path()).publish("b", "1").await;
    fs::rename(share.path(), share.path().with_extension("old")).unwrap();
    fs::rename(other.path(), share.path()).unwrap();
    let error = next(&mut host.store.watch(base.clone())).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::StartOver, "{error}");
    let error = host.store.commit(&base, put("a", "2")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    assert_eq!(host.texts().await, pairs(&[("b", "1")]));
}

#[tokio::test]
async fn links_in_the_place_of_its_directories_are_refused() {
    let (share, elsewhere) = (Share::new(), Share::new());
    symlink(elsewhere.path(), share.path().join("endpoints")).unwrap();
    let error = Host::at(&share.path()).store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("endpoints"), "{error}");
}
