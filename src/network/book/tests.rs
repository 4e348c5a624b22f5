use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::{
    kernel::{Flag, Mode},
    network::Subnet,
};

fn network(id: &str) -> Network {
    Network {
        id: id.to_owned(),
        name: "blue".to_owned(),
        parent: "eth2".to_owned(),
        made_parent: false,
        mode: Mode::L3,
        flag: Flag::Bridge,
        mtu: Some(1400),
        internal: false,
        host_access: None,
        subnets: vec![Subnet { pool: "10.1.48.0/24".parse().unwrap(), gateway: None }],
        endpoints: BTreeMap::new(),
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new(vec!["10.1.48.2/24".parse().unwrap()], Some("blue0".to_owned()))
}

#[tokio::test]
async fn what_is_entered_is_there_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    book.insert(network("bb")).await.unwrap();
    book.insert_endpoint("aa", "e1", endpoint()).await.unwrap();
    book.insert_endpoint("aa", "e2", endpoint()).await.unwrap();
    book.remove_endpoint("aa", "e2").await.unwrap();
    book.remove("bb").await.unwrap();
    let again = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(again.networks(), book.networks());
    assert_eq!(again.networks()["aa"].endpoints.keys().collect::<Vec<_>>(), ["e1"]);
    let mode = fs::metadata(again.dir().join("aa.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_stops_no_other() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    let dir = book.dir().to_owned();
    fs::write(dir.join("bb.json"), b"{\"id\": ").unwrap();
    fs::copy(dir.join("aa.json"), dir.join("cc.json")).unwrap();
    fs::create_dir(dir.join("dd.json")).unwrap();
    fs::write(dir.join("ee.json.unfinished"), b"{").unwrap();
    let again = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(again.networks().keys().collect::<Vec<_>>(), ["aa"]);
    for name in ["bb.json.damaged", "cc.json.damaged", "dd.json.damaged"] {
        assert!(dir.join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_change_that_the_disk_refuses_is_not_seen() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    fs::remove_dir_all(book.dir()).unwrap();
    fs::write(book.dir(), b"in the way").unwrap();
    let seen = book.subscribe();
    let error = book.insert(network("bb")).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot make the directory ") && error.contains("/bb: "), "{error}");
    assert!(!seen.has_changed().unwrap());
    assert_eq!(book.networks().len(), 1);
}

#[tokio::test]
async fn an_endpoint_needs_its_network_but_its_removal_does_not() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    assert!(book.insert_endpoint("aa", "e1", endpoint()).await.is_err());
    book.remove_endpoint("aa", "e1").await.unwrap();
    book.remove("aa").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    let writes = (0..40).map(|n| {
        let book = book.clone();
        tokio::spawn(async move { book.insert_endpoint("aa", &format!("e{n}"), endpoint()).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    assert_eq!(book.networks()["aa"].endpoints.len(), 40);
    assert_eq!(Book::open(state.path().to_owned()).unwrap().networks(), book.networks());
}

#[tokio::test]
async fn a_book_of_an_earlier_version_is_read_and_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("networks");
    fs::create_dir(&dir).unwrap();
    let mut old = network("aa");
    old.endpoints.insert("e1".to_owned(), endpoint());
    old.endpoints.insert("e2".to_owned(), endpoint());
    fs::write(dir.join("aa.json"), serde_json::to_vec(&old).unwrap()).unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(book.networks()["aa"], old);
    book.remove_endpoint("aa", "e1").await.unwrap();
    let again = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(again.networks()["aa"].endpoints.keys().collect::<Vec<_>>(), ["e2"]);
    again.insert_endpoint("aa", "e3", endpoint()).await.unwrap();
    let again = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(again.networks()["aa"].endpoints.keys().collect::<Vec<_>>(), ["e2", "e3"]);
}

#[tokio::test]
async fn an_endpoint_that_a_power_cut_damaged_is_dropped_alone() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    book.insert_endpoint("aa", "e1", endpoint()).await.unwrap();
    book.insert_endpoint("aa", "e2", endpoint()).await.unwrap();
    fs::write(book.dir().join("aa/e1.json"), b"").unwrap();
    let again = Book::open(state.path().to_owned()).unwrap();
    assert_eq!(again.networks()["aa"].endpoints.keys().collect::<Vec<_>>(), ["e2"]);
}

#[tokio::test]
async fn endpoints_in_containers_are_marked_as_restored_on_disk_too() {
    let state = tempfile::tempdir().unwrap();
    let book = Book::open(state.path().to_owned()).unwrap();
    book.insert(network("aa")).await.unwrap();
    book.insert_endpoint("aa", "e1", endpoint()).await.unwrap();
    let joined = Endpoint { sandbox: Some("/var/run/docker/netns/5e1f".to_owned()), ..endpoint() };
    book.insert_endpoint("aa", "e2", joined).await.unwrap();
    book.mark_restored("aa").await.unwrap();
    book.mark_restored("bb").await.unwrap();
    let again = Book::open(state.path().to_owned()).unwrap().networks();
    assert_eq!(again["aa"].endpoints.values().map(|e| e.restored).collect::<Vec<_>>(), [false, true]);
}
