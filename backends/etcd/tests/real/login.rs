//! Users and passwords.

use std::{fs, time::Duration};

use futures::StreamExt as _;
use ipvland_store::{Remedy, Revision};
use serde_json::{Value, json};
use servers::etcd::{Cluster, PASSWORD, Setup, USER};
use tokio::time::{sleep, timeout};

use crate::host::{Host, open, put, table};

fn with_login() -> Cluster {
    Cluster::start(Setup { login: true, ..Setup::default() })
}

fn as_user(cluster: &Cluster, more: Value) -> Value {
    let mut table = table(cluster);
    table["username"] = USER.into();
    for (key, value) in more.as_object().unwrap() {
        table[key] = value.clone();
    }
    table
}

#[tokio::test]
async fn the_password_comes_from_the_table_or_a_file_and_may_change() {
    let cluster = with_login();
    let given = Host::open(as_user(&cluster, json!({ "password": PASSWORD }))).await;
    given.write(put("a", "1")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "not yet\n").unwrap();
    let read = Host::open(as_user(&cluster, json!({ "password_file": file.path() }))).await;
    let error = read.0.snapshot().await.unwrap_err();
    assert!(error.to_string().contains("refused the password"), "{error}");
    fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    assert_eq!(read.snapshot().await.records.len(), 1, "the same handle");
    fs::write(file.path(), "\n").unwrap();
    let none = open(as_user(&cluster, json!({ "password_file": file.path() }))).await.unwrap();
    let error = none.snapshot().await.unwrap_err();
    assert!(error.to_string().contains("write the password into its first line"), "{error}");
}

#[tokio::test]
async fn who_may_not_is_told_so_and_writes_nothing() {
    let cluster = with_login();
    let before = cluster.revision();
    let base = Revision::new("0-0-0");
    let wrong = as_user(&cluster, json!({ "password": "hunter4" }));
    let unknown = as_user(&cluster, json!({ "username": "nobody", "password": PASSWORD }));
    let elsewhere = as_user(&cluster, json!({ "password": PASSWORD, "prefix": "/theirs" }));
    for (table, words) in [
        (table(&cluster), "wants a user and a password: set store.etcd.username"),
        (wrong, "refused the password of user \"web\""),
        (unknown, "refused the password of user \"nobody\""),
        (elsewhere, "denies user \"web\" the keys below /theirs/"),
    ] {
        let store = open(table).await.unwrap();
        let watched = store.watch(base.clone()).next().await.unwrap().unwrap_err();
        let errors = [
            store.snapshot().await.unwrap_err(),
            store.commit(&base, put("a", "1")).await.unwrap_err(),
            watched,
        ];
        for error in errors {
            assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
            assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
            assert!(!format!("{error:?} {store:?}").contains("hunter"), "{error:?} {store:?}");
        }
    }
    assert_eq!(cluster.revision(), before, "something was written");
}

#[tokio::test]
async fn a_login_that_ran_out_is_renewed() {
    let cluster = Cluster::start(Setup { login: true, token_seconds: 1, ..Setup::default() });
    let host = Host::open(as_user(&cluster, json!({ "password": PASSWORD }))).await;
    let base = host.write(put("a", "1")).await;
    let mut follower = host.follow();
    follower.until("a", Some("1")).await;
    for round in 0..2 {
        // etcd looks for logins that ran out once a second.
        sleep(Duration::from_millis(2500)).await;
        // The call that finds it out is a read, a watch, a write in turn.
        if round == 1 {
            let quiet = timeout(Duration::from_millis(300), host.0.watch(base.clone()).next()).await;
            assert!(matches!(quiet, Ok(Some(Ok(_)))), "{quiet:?}");
            sleep(Duration::from_millis(2500)).await;
        }
        let base = host.snapshot().await.revision;
        sleep(Duration::from_millis(2500)).await;
        host.0.commit(&base, put("a", &format!("round {round}"))).await.unwrap();
    }
    follower.until("a", Some("round 1")).await;
    assert_eq!(follower.resets, 1, "{:?}", follower.errors);
}

#[tokio::test]
async fn a_client_certificate_can_be_the_login() {
    let cluster = Cluster::start(Setup { login: true, tls: true, ..Setup::default() });
    let mut table = crate::host::secured(&cluster);
    let keys = table.as_object_mut().unwrap();
    keys.remove("username");
    keys.remove("password");
    let error = open(table.clone()).await.unwrap().snapshot().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
    table["cert_file"] = json!(cluster.file("user.pem"));
    table["key_file"] = json!(cluster.file("user.key"));
    Host::open(table).await.write(put("a", "1")).await;
}

#[tokio::test]
async fn an_etcd_that_asks_for_no_password_is_used_without() {
    let cluster = Cluster::one();
    let host = Host::open(as_user(&cluster, json!({ "password": PASSWORD }))).await;
    host.write(put("a", "1")).await;
}
