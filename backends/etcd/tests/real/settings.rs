//! Settings that can't be, as the daemon would tell them.

use ipvland_store::Remedy;
use serde_json::json;
use servers::etcd::PASSWORD;

use crate::host::open;

#[tokio::test]
async fn wrong_settings_are_sentences_without_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.pem");
    std::fs::write(&junk, "junk").unwrap();
    let http = "http://127.0.0.1:2379";
    let https = "https://127.0.0.1:2379";
    for (table, words) in [
        (json!({}), "store.etcd has no endpoints, which it needs"),
        (json!({ "endpoints": 5 }), "store.etcd.endpoints must be a list of URLs"),
        (json!({ "endpoints": [] }), "store.etcd.endpoints is empty"),
        (json!({ "endpoints": "10.1.1.2:2379" }), "which is no URL: write https://HOST:2379"),
        (json!({ "endpoints": [http, https] }), "mixes http and https"),
        (json!({ "endpoints": [format!("http://me:{PASSWORD}@h")] }), "move them to store.etcd.username"),
        (json!({ "endpoints": http, "endpiont": "x" }), "unknown key store.etcd.endpiont (known: ca_file, "),
        (json!({ "endpoints": http, "prefix": "/" }), "store.etcd.prefix \"/\""),
        (json!({ "endpoints": http, "timeout": "soon" }), "store.etcd.timeout \"soon\""),
        (json!({ "endpoints": http, "password": PASSWORD }), "a password and no username"),
        (json!({ "endpoints": http, "username": "web" }), "a username and no password"),
        (json!({ "endpoints": http, "username": "", "password": PASSWORD }), "store.etcd.username is empty"),
        (json!({ "endpoints": http, "password": PASSWORD, "password_file": "/x" }), "both password and"),
        (json!({ "endpoints": http, "password": [PASSWORD] }), "store.etcd.password must be"),
        (json!({ "endpoints": http, "ca_file": junk }), "store.etcd has ca_file, which http does not use"),
        (
            json!({ "endpoints": https, "ca_file": "/nonexistent/ca.pem" }),
            "/nonexistent/ca.pem can't be read",
        ),
        (json!({ "endpoints": https, "ca_file": junk }), "junk.pem holds no certificate"),
        (json!({ "endpoints": https, "cert_file": junk }), "cert_file and no key_file"),
        (json!({ "endpoints": https, "key_file": junk }), "key_file and no cert_file"),
    ] {
        let error = open(table).await.err().unwrap();
        assert_eq!(error.remedy(), Remedy::GiveUp);
        assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
    }
}
