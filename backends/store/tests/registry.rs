//! What the registry says of kinds, keys and values.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{path::PathBuf, sync::Arc};

use ipvland_store::{
    EndpointStore, MemoryStore, Nudge, OpenContext, Registry, Remedy, Setting, Writer, memory,
};
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Git {
    repo: String,
    branch: Option<String>,
    interval: Option<u32>,
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "picky")]
    password: (),
    #[serde(default, deserialize_with = "picky")]
    note: (),
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

/// An author's own check, whose words quote the value.
fn picky<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let value: String = serde::Deserialize::deserialize(deserializer)?;
    Err(serde::de::Error::custom(format!("{value} is not good enough")))
}

const SETTINGS: &[Setting] = &[
    Setting::url("repo", "Where."),
    Setting::plain("branch", "Which."),
    Setting::plain("interval", "How often."),
    Setting::plain("mode", "How."),
    Setting::secret("password", "With what."),
    Setting::plain("note", "Why."),
];

fn registry() -> Registry {
    let mut registry = Registry::new();
    memory::register(&mut registry);
    registry.register("git", SETTINGS, |_: Git, _| async { Ok(Arc::new(MemoryStore::new()) as _) });
    registry.leave_out("consul", "consul-kv");
    // Registered is registered, in whichever order.
    registry.leave_out("git", "git");
    registry
}

fn context() -> OpenContext {
    let writer = Writer { name: "web-1".into(), address: "10.1.1.48".into() };
    OpenContext { state_dir: PathBuf::from("/nonexistent"), writer, nudge: Nudge::new() }
}

async fn says(kind: &str, table: Value) -> String {
    let registry = registry();
    let checked = registry.check(kind, &table).unwrap_err();
    let opened = registry.open(kind, table, context()).await.unwrap_err();
    assert_eq!(checked.to_string(), opened.to_string());
    assert_eq!((checked.remedy(), opened.remedy()), (Remedy::GiveUp, Remedy::GiveUp));
    checked.to_string()
}

#[tokio::test]
async fn unknown_names_list_the_known_ones() {
    assert_eq!(
        says("gti", json!({})).await,
        r#"store.kind "gti" is no kind of store, did you mean git? (known: git, memory; not in this build: consul)"#
    );
    assert_eq!(
        says("s3", json!({})).await,
        r#"store.kind "s3" is no kind of store (known: git, memory; not in this build: consul)"#
    );
    let mut all_in = Registry::new();
    memory::register(&mut all_in);
    assert_eq!(all_in.why_not("s3").unwrap(), "is no kind of store (known: memory)");
    assert_eq!(
        says("git", json!({"repo": "r", "brnach": "main"})).await,
        "unknown key store.git.brnach (known: branch, interval, mode, note, password, repo)"
    );
    assert_eq!(says("memory", json!({"size": 1})).await, "unknown key store.memory.size (known: none)");
}

#[tokio::test]
async fn a_kind_that_was_left_out_is_told_from_one_that_does_not_exist() {
    let sentence = r#"store.kind "consul" is not in this build of ipvland: build it with --features consul-kv (in this build: git, memory)"#;
    assert_eq!(says("consul", json!({"token": "s3cret"})).await, sentence);
    let typo = says("consull", json!({})).await;
    assert!(typo.contains("did you mean consul?"), "{typo}");
    let registry = registry();
    assert_eq!(registry.left_out().collect::<Vec<_>>(), ["consul"]);
    assert_eq!((registry.settings("consul"), registry.why_not("git")), (None, None));
}

#[tokio::test]
async fn wrong_values_are_named_and_not_shown() {
    for (table, words) in [
        (json!({}), "store.git has no repo, which it needs"),
        (json!("x"), "store.git must be a table"),
        (json!({"repo": 123}), "store.git.repo must be a string, and is a number"),
        (json!({"repo": ["s3cret"]}), "store.git.repo must be a string, and is a list"),
        (json!({"repo": "r", "interval": "s3cret"}), "store.git.interval must be u32, and is a string"),
        (json!({"repo": "r", "interval": -1}), "store.git.interval must be u32, and is not"),
        (json!({"repo": "r", "mode": "s3cret"}), "store.git.mode must be one of fast, safe, and is not"),
        (
            json!({"repo": "r", "password": "s3cret"}),
            "store.git.password has a value that the store can't use",
        ),
        (json!({"repo": "r", "note": "this"}), "store.git.note: this is not good enough"),
    ] {
        assert_eq!(says("git", table).await, words);
    }
}

#[tokio::test]
async fn each_opening_of_memory_is_a_store_of_its_own() {
    let registry = registry();
    let a = registry.open("memory", Value::Null, context()).await.unwrap();
    let b: Arc<dyn EndpointStore> = registry.open("memory", json!({}), context()).await.unwrap();
    assert_ne!(a.snapshot().await.unwrap().revision, b.snapshot().await.unwrap().revision);
    registry.check("git", &json!({"repo": "r", "branch": null, "mode": "fast"})).unwrap();
}
