//! ssh with a key, and the server's host key.

use std::fs;

use ipvland_store::{EndpointStore as _, Remedy};
use serde_json::json;
use servers::git::{SshServer, ssh::PASSPHRASE};

use crate::host::{Host, put};

#[tokio::test]
async fn reads_and_writes_with_a_key() {
    let server = SshServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let known = server.known_hosts("host_key");
    let settings = json!({ "ssh_key": server.key("key"), "known_hosts": known });
    let host = Host::open(1, &server.url("overlay.git"), settings.clone());
    let revision = host.publish("10.1.1.1.json", "one").await;
    assert_eq!(bare.tip("main").as_deref(), Some(revision.as_str()));

    server.hash_names(&known);
    let again = Host::open(2, &server.url("overlay.git"), settings);
    assert_eq!(again.snapshot().await.revision, revision);

    bare.hook("pre-receive", "#!/bin/sh\necho 'no changes on Fridays' >&2\nexit 1\n");
    let error = again.store.commit(&revision, put("10.1.1.2.json", "two")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp);
    assert!(error.to_string().contains("no changes on Fridays"), "{error}");
}

#[tokio::test]
async fn an_unknown_or_changed_host_key_is_refused() {
    let server = SshServer::start();
    server.repositories.create("overlay.git", "main");
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (known, words) in
        [(empty.path().to_owned(), "is not known"), (server.known_hosts("stranger"), "another ssh host key")]
    {
        let settings = json!({ "ssh_key": server.key("key"), "known_hosts": known });
        let host = Host::open(1, &server.url("overlay.git"), settings);
        let error = host.store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        let text = error.to_string();
        let remedy = format!("ssh-keyscan -p {} 127.0.0.1", server.port);
        assert!(text.contains(words) && text.contains(&remedy), "{text}");
        assert!(text.contains(&server.fingerprint()), "{text}");
    }
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_gives_up() {
    let server = SshServer::start();
    server.repositories.create("overlay.git", "main");
    let known = server.known_hosts("host_key");
    for (key, words) in [("stranger", "authorized_keys"), ("missing", "can't be read")] {
        let settings = json!({ "ssh_key": server.key(key), "known_hosts": known });
        let host = Host::open(1, &server.url("overlay.git"), settings);
        let error = host.store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn no_repository_is_a_sentence() {
    let server = SshServer::start();
    let settings = json!({ "ssh_key": server.key("key"), "known_hosts": server.known_hosts("host_key") });
    let host = Host::open(1, &server.url("missing.git"), settings);
    let error = host.store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("git init --bare"), "{error}");
}

#[tokio::test]
async fn a_key_may_have_a_passphrase() {
    let server = SshServer::start();
    server.repositories.create("overlay.git", "main");
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut settings =
        json!({ "ssh_key": server.key("locked"), "known_hosts": server.known_hosts("host_key") });
    for (passphrase, is_right) in [(None, false), (Some("hunter5"), false), (Some(PASSPHRASE), true)] {
        if let Some(passphrase) = passphrase {
            fs::write(file.path(), passphrase).unwrap();
            settings["ssh_key_passphrase_file"] = file.path().to_str().unwrap().into();
        }
        let host = Host::open(1, &server.url("overlay.git"), settings.clone());
        if is_right {
            host.publish("10.1.1.1.json", "one").await;
            continue;
        }
        let error = host.store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        let text = format!("{error:?}");
        assert!(text.contains("passphrase") && !text.contains("hunter"), "{text}");
    }
}
