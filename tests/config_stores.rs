//! The tables of the built-in stores: lists from a file and from a variable, and what is shown of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests end a test with them")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use ipvland::config::{Loaded, Sources, load};

/// Loads a file with this text, and variables.
fn loaded(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipvland.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let sources = Sources { file: Some(path), environment: environment.collect(), ..Sources::default() };
    load(&sources, &ipvland_backends::registry()).unwrap()
}

fn endpoints(loaded: &Loaded) -> serde_json::Value {
    let is_asked = |entry: &&ipvland::config::Entry| entry.key == "store.etcd.endpoints";
    loaded.entries.iter().find(is_asked).expect("the key is listed").value.clone().expect("it is set")
}

#[test]
fn the_endpoints_of_etcd_come_from_a_file_or_a_variable() {
    let urls = serde_json::json!(["https://10.1.1.2:2379", "https://10.1.1.3:2379"]);
    let kind = "store.kind = \"etcd\"\n";
    let file = loaded(&format!("{kind}store.etcd.endpoints = {urls}"), &[]);
    assert_eq!(endpoints(&file), urls);
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    let name = "IPVLAND_STORE__ETCD__ENDPOINTS";
    assert_eq!(endpoints(&loaded(kind, &[(name, &urls.to_string())])), urls);
    let commas = "https://10.1.1.2:2379, https://10.1.1.3:2379";
    assert_eq!(endpoints(&loaded(kind, &[(name, commas)])), commas);
}

#[test]
fn a_password_among_the_endpoints_is_hidden_and_told() {
    let text =
        "store.kind = \"etcd\"\nstore.etcd.endpoints = [\"http://10.1.1.2\", \"http://me:geheim@10.1.1.3\"]";
    let loaded = loaded(text, &[]);
    assert_eq!(endpoints(&loaded), serde_json::json!(["http://10.1.1.2", "http://me:***@10.1.1.3"]));
    assert!(loaded.warnings[0].contains("holds a secret in store.etcd.endpoints"), "{:?}", loaded.warnings);
}
