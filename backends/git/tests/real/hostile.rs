//! Trees that somebody made to do harm.

use ipvland_store::{EndpointStore as _, MAX_RECORD_BYTES, Remedy};
use servers::git::Repositories;

use crate::host::{Host, key, put};

#[tokio::test]
async fn what_is_no_record_is_a_stray() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let good = bare.blob(b"good");
    let largest = bare.blob(&vec![b'x'; MAX_RECORD_BYTES]);
    let huge = bare.blob(&vec![b'x'; MAX_RECORD_BYTES + 1]);
    let link = bare.blob(b"/etc/shadow");
    let nested = bare.tree(&[("100644", "blob", good.clone(), b"10.1.1.3.json")]);
    let elsewhere = "1".repeat(40);
    let folder = bare.tree(&[
        ("100644", "blob", good.clone(), b"10.1.1.1.json"),
        ("100755", "blob", good.clone(), b"10.1.1.2.json"),
        ("100644", "blob", largest, b"10.1.1.4.json"),
        ("100644", "blob", huge, b"10.1.1.5.json"),
        ("120000", "blob", link, b"10.1.1.6.json"),
        ("160000", "commit", elsewhere, b"10.1.1.7.json"),
        ("040000", "tree", nested, b"10.1.1.8.json"),
        ("100644", "blob", good.clone(), b".hidden"),
        ("100644", "blob", good.clone(), b"a b\n\x1b[31m"),
        ("100644", "blob", good.clone(), b"\xff\xfe"),
        ("100644", "blob", good.clone(), b"-rf"),
        ("100644", "blob", good.clone(), &[b'n'; 129]),
        ("100644", "blob", good, &[b'm'; 3_000]),
    ]);
    let tree = bare.tree(&[("040000", "tree", folder, b"endpoints")]);
    bare.commit_tree("main", &tree, None);

    let host = Host::at(1, &bare.path);
    let seen = host.snapshot().await;
    let names: Vec<_> = seen.records.keys().map(|key| key.as_str()).collect();
    assert_eq!(names, ["10.1.1.1.json", "10.1.1.2.json", "10.1.1.4.json"]);
    assert_eq!(seen.strays.len(), 10, "{:?}", seen.strays);
    let reason = |name: &str| {
        let stray = seen.strays.iter().find(|stray| stray.name == name);
        stray.unwrap_or_else(|| panic!("no stray {name} in {:?}", seen.strays)).reason.as_str()
    };
    assert!(reason("10.1.1.5.json").contains("65537 bytes"));
    assert!(reason("10.1.1.6.json").contains("symbolic link"));
    assert!(reason("10.1.1.7.json").contains("submodule"));
    assert!(reason("10.1.1.8.json").contains("folder"));
    for name in [".hidden", "a b\\n\\x1b[31m", "\\xff\\xfe", "-rf"] {
        assert!(reason(name).starts_with("the name"), "{name}");
    }
    assert!(seen.strays.iter().all(|stray| stray.name.len() < 300));

    // A commit leaves strays where they are, and a remove of a stray's name is none.
    let batch = put("10.1.1.9.json", "nine").remove(key("10.1.1.6.json"));
    host.commit(&seen.revision, batch).await;
    let after = host.snapshot().await;
    assert_eq!(after.strays, seen.strays);
    assert_eq!(after.records.len(), 4);
    // A host whose own name is taken by a link gets it.
    host.publish("10.1.1.6.json", "six").await;
    assert_eq!(host.snapshot().await.strays.len(), 9);
}

#[tokio::test]
async fn endpoints_that_is_no_folder_is_one_stray() {
    let repositories = Repositories::default();
    for (mode, kind, what) in [("100644", "blob", "a file"), ("120000", "blob", "a symbolic link")] {
        let bare = repositories.create(&format!("{mode}.git"), "main");
        let blob = bare.blob(b"/etc");
        let tree = bare.tree(&[(mode, kind, blob, b"endpoints")]);
        bare.commit_tree("main", &tree, None);
        let host = Host::at(1, &bare.path);
        let seen = host.snapshot().await;
        assert!(seen.records.is_empty());
        assert_eq!(seen.strays.len(), 1);
        assert_eq!(seen.strays[0].name, "endpoints");
        assert!(seen.strays[0].reason.contains(what), "{:?}", seen.strays);
        let error = host.store.commit(&seen.revision, put("10.1.1.1.json", "one")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp);
        assert!(error.to_string().contains("endpoints"), "{error}");
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_not_written() {
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let host = Host::at(1, &bare.path);
    let base = host.snapshot().await.revision;
    let large = "x".repeat(MAX_RECORD_BYTES + 1);
    let error = host.store.commit(&base, put("10.1.1.1.json", &large)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    host.commit(&base, put("10.1.1.1.json", &large[1..])).await;
}

#[tokio::test]
async fn a_branch_whose_name_is_not_utf_8_takes_nothing_down() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let repositories = Repositories::default();
    let bare = repositories.create("overlay.git", "main");
    let tip = bare.commit("main", &[("endpoints/10.1.1.9.json", "nine")]);
    let name = bare.path.join("refs/heads").join(OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(name, format!("{tip}\n")).unwrap();
    let host = Host::at(1, &bare.path);
    assert_eq!(host.snapshot().await.records.len(), 1);
    host.publish("10.1.1.1.json", "one").await;
}
