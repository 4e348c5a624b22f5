//! TLS: who is trusted, on either side.

use ipvland_store::Remedy;
use serde_json::{Value, json};
use servers::etcd::{Cluster, Setup, Shown};

use crate::host::{Host, open, put, secured};

fn tls() -> Cluster {
    Cluster::start(Setup { tls: true, ..Setup::default() })
}

/// The table of a cluster with TLS and without a password.
fn table(cluster: &Cluster, more: Value) -> Value {
    let mut table = secured(cluster);
    let table_of = table.as_object_mut().unwrap();
    table_of.remove("username");
    table_of.remove("password");
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => table_of.remove(key),
            value => table_of.insert(key.clone(), value.clone()),
        };
    }
    table
}

/// Checks that neither a read nor a write comes through, and how that is told.
async fn refused(cluster: &Cluster, table: Value, words: &str) {
    let before = cluster.revision();
    let store = open(table).await.unwrap();
    let base = ipvland_store::Revision::new("0-0-0");
    let errors = [store.snapshot().await.unwrap_err(), store.commit(&base, put("a", "1")).await.unwrap_err()];
    for error in errors {
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
        assert!(error.to_string().contains("https://127.0.0.1:"), "{error}");
    }
    assert_eq!(cluster.revision(), before, "something was written");
}

#[tokio::test]
async fn a_client_certificate_and_the_right_authority_open_the_door() {
    let cluster = tls();
    let host = Host::open(table(&cluster, json!({}))).await;
    host.write(put("a", "1")).await;
    // A name for addresses that the certificate does not hold.
    let port = cluster.address(0).port();
    let elsewhere = json!({ "endpoints": format!("https://127.0.0.1:{port}"), "server_name": "localhost" });
    assert_eq!(Host::open(table(&cluster, elsewhere)).await.snapshot().await.records.len(), 1);
}

#[tokio::test]
async fn a_member_that_is_not_trusted_is_sent_nothing() {
    let cluster = tls();
    let unknown = json!({ "ca_file": cluster.file("stranger.pem") });
    refused(&cluster, table(&cluster, unknown), "signed by an authority that this host does not trust").await;
    let other = json!({ "server_name": "etcd.example" });
    refused(&cluster, table(&cluster, other), "is for another name").await;
}

#[tokio::test]
async fn a_client_that_is_not_trusted_is_told_so() {
    let cluster = tls();
    let none = json!({ "cert_file": null, "key_file": null });
    refused(&cluster, table(&cluster, none), "wants a client certificate: set store.etcd.cert_file").await;
    for name in ["late", "strange"] {
        let (cert, key) = (cluster.file(&format!("{name}.pem")), cluster.file(&format!("{name}.key")));
        let wrong = json!({ "cert_file": cert, "key_file": key });
        refused(&cluster, table(&cluster, wrong), "refused the TLS connection").await;
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_daemon_runs() {
    let cluster = tls();
    let host = Host::open(table(&cluster, json!({}))).await;
    host.write(put("a", "1")).await;
    for (shown, words) in [(Shown::Expired, "has expired"), (Shown::OtherName, "is for another name")] {
        cluster.show(shown);
        let store = open(table(&cluster, json!({}))).await.unwrap();
        let error = store.snapshot().await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::GiveUp, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        cluster.show(Shown::Valid);
        assert_eq!(store.snapshot().await.unwrap().records.len(), 1, "the same handle");
    }
}

#[tokio::test]
async fn the_wrong_scheme_is_told() {
    for (cluster, wrong) in [(tls(), "http"), (Cluster::one(), "https")] {
        let url = format!("{wrong}://{}", cluster.address(0));
        let store = open(json!({ "endpoints": [url], "timeout": "2s" })).await.unwrap();
        let error = store.snapshot().await.unwrap_err();
        assert!(error.to_string().contains("http or https"), "{error}");
    }
}
