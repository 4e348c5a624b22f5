//! HTTP and HTTPS with a password.

use std::{fs, sync::Arc};

use ipvland_store::{EndpointStore as _, Remedy};
use serde_json::json;
use servers::git::{
    HttpServer,
    http::{ENCODED, PASSWORD, USER},
};

use crate::host::{Host, put};

#[tokio::test]
async fn reads_and_writes_with_the_password_in_the_url() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "master");
    bare.commit("master", &[("README", "hello"), ("endpoints/10.1.1.9.json", "nine")]);
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let before = host.snapshot().await;
    assert_eq!(before.records.len(), 1);
    let revision = host.commit(&before.revision, put("10.1.1.1.json", "one")).await;
    assert_eq!(bare.tip("master").as_deref(), Some(revision.as_str()));
    assert_eq!(bare.file("master", "README"), "hello");
    assert_eq!(host.snapshot().await.records.len(), 2);
    let log = bare.git(&["log", "-1", "--format=%an <%ae>", "master"]);
    assert_eq!(log, "ipvland on web-1 <ipvland@10.1.1.1>");
}

#[tokio::test]
async fn takes_the_password_from_the_settings() {
    let server = HttpServer::start();
    server.repositories.create("overlay.git", "main");
    let url = server.url("", "overlay.git");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    for login in [
        json!({ "username": USER, "password": PASSWORD }),
        json!({ "username": USER, "password_file": file.path() }),
    ] {
        let host = Host::open(1, &url, login);
        host.publish("10.1.1.1.json", "one").await;
    }
}

#[tokio::test]
async fn a_wrong_password_gives_up_with_a_sentence() {
    let server = HttpServer::start();
    server.repositories.create("overlay.git", "main");
    for (login, words) in [("ipvland:hunter3@", "refused the password"), ("", "wants a user and a password")]
    {
        let host = Host::open(1, &server.url(login, "overlay.git"), json!({}));
        let error = host.store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp);
        let text = format!("{error} {error:?} {:?}", host.store);
        assert!(text.contains(words) && text.contains("127.0.0.1"), "{text}");
        assert!(!text.contains("hunter3"), "{text}");
    }
}

#[tokio::test]
async fn the_password_is_nowhere() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let revision = host.publish("10.1.1.1.json", "one").await;
    bare.hook("pre-receive", "#!/bin/sh\nexit 1\n");
    let refused = host.store.commit(&revision, put("10.1.1.1.json", "two")).await.unwrap_err();
    let url = server.full_url("overlay.git");
    drop(server);
    let away = host.store.snapshot().await.unwrap_err();
    assert_eq!(away.remedy(), Remedy::RetryLater, "{away}");
    let settings: ipvland_store_git::Settings =
        serde_json::from_value(json!({ "repo": url, "password": PASSWORD })).unwrap();
    let shown = format!("{refused} {refused:?} {away} {away:?} {:?} {settings:?}", host.store);
    for secret in [PASSWORD, ENCODED, "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!host.state_holds(secret));
    }
}

#[tokio::test]
async fn a_hooks_words_are_in_the_error() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let base = host.publish("10.1.1.1.json", "one").await;
    for hook in ["pre-receive", "update"] {
        bare.hook(hook, "#!/bin/sh\nprintf 'no changes on\\033[31m Fridays\\n' >&2\nexit 1\n");
        let error = host.store.commit(&base, put("10.1.1.1.json", "two")).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        let text = error.to_string();
        assert!(text.contains("no changes on [31m Fridays") && text.contains("hook declined"), "{text}");
        fs::remove_file(bare.path.join("hooks").join(hook)).unwrap();
    }
    assert_eq!(bare.tip("main").as_deref(), Some(base.as_str()));
    host.commit(&base, put("10.1.1.1.json", "two")).await;
}

#[tokio::test]
async fn a_branch_that_was_taken_back_is_not_brought_back() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let one = bare.commit("main", &[("endpoints/a", "1")]);
    bare.commit("main", &[("endpoints/a", "1"), ("endpoints/withdrawn", "1")]);
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let at = host.snapshot().await.revision;
    bare.git(&["update-ref", "refs/heads/main", &one]);
    let error = host.store.commit(&at, put("b", "1")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RunAgain, "{error}");
    assert_eq!(bare.tip("main"), Some(one));
    host.publish("b", "1").await;
    assert_eq!(bare.records("main"), ["a", "b"]);
}

#[tokio::test]
async fn a_locked_branch_is_no_refusal_for_good() {
    let server = HttpServer::start();
    let bare = server.repositories.create("overlay.git", "main");
    let host = Host::open(1, &server.full_url("overlay.git"), json!({}));
    let base = host.publish("10.1.1.1.json", "one").await;
    let lock = bare.path.join("refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    let error = host.store.commit(&base, put("10.1.1.1.json", "two")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RetryLater, "{error}");
    assert!(error.to_string().contains("main.lock"), "{error}");
    fs::remove_file(lock).unwrap();
    host.commit(&base, put("10.1.1.1.json", "two")).await;
}

#[tokio::test]
async fn each_answer_of_the_server_has_its_remedy() {
    let server = HttpServer::start();
    for (name, remedy, words) in [
        ("missing.git", Remedy::GiveUp, "git init --bare"),
        ("moved/overlay.git", Remedy::GiveUp, "redirect"),
        ("other-port/overlay.git", Remedy::GiveUp, "redirect"),
        ("forbidden/overlay.git", Remedy::GiveUp, "403"),
        ("broken/overlay.git", Remedy::RetryLater, "503"),
    ] {
        let host = Host::open(1, &server.full_url(name), json!({}));
        let error = host.store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), remedy, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_until_it_is_trusted() {
    let server = HttpServer::start_tls();
    server.repositories.create("overlay.git", "main");
    let url = server.full_url("overlay.git");
    let stranger = Host::open(1, &url, json!({}));
    let error = stranger.store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("store.git.ca_file"), "{error}");

    let friend = Host::open(2, &url, json!({ "ca_file": server.ca_file() }));
    friend.publish("10.1.1.2.json", "two").await;
    // The certificate holds the address and "localhost", and no other name.
    let other = url.replace("127.0.0.1", "127.0.0.2");
    let error =
        Host::open(3, &other, json!({ "ca_file": server.ca_file() })).store.snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    assert!(error.to_string().contains("does not match"), "{error}");

    let state = Arc::new(tempfile::tempdir().unwrap());
    let wrong = json!({ "repo": url, "ca_file": "/nonexistent/ca.pem" });
    let error = Host::try_open(4, wrong, state).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}
