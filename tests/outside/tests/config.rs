//! The store's table in the config file is one like those of the built-in stores.

mod program;

use std::net::SocketAddr;

use ipvland_store::{Nudge, OpenContext, Registry, Writer};
use program::{Setup, parts};
use serde_json::json;

const SECRET: &str = "geheim";

/// A config file that names a server where none is: none of these calls needs one.
fn setup() -> Setup {
    Setup::new(SocketAddr::from(([127, 0, 0, 1], 1)), SECRET)
}

#[test]
fn the_config_hides_the_stores_secret() {
    let setup = setup();
    for format in ["text", "json"] {
        let (code, out, err) = parts(&setup.program(&["config", "-o", format]).output().unwrap());
        assert_eq!(code, 0, "{err}");
        assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
        let hidden = if format == "text" { "password = \"***\"" } else { "\"value\": \"***\"" };
        assert!(out.contains(hidden) && out.contains("127.0.0.1:1"), "{out}");
    }
    let mut variable = setup.program(&["config"]);
    variable.env("IPVLAND_STORE__REDIS__PASSWORD", SECRET).env("IPVLAND_STORE__REDIS__TIMEOUT_MS", "70");
    let (code, out, err) = parts(&variable.output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
    for (value, source) in [
        ("password = \"***\"", "IPVLAND_STORE__REDIS__PASSWORD"),
        ("timeout_ms = 70", "IPVLAND_STORE__REDIS__TIMEOUT_MS"),
    ] {
        let line =
            out.lines().find(|line| line.starts_with(value)).unwrap_or_else(|| panic!("{value} in {out}"));
        assert!(line.ends_with(source), "{line}");
    }
}

#[test]
fn an_unknown_kind_or_key_lists_the_known_ones() {
    let setup = setup();
    let mut registry = ipvland_backends::registry();
    ipvland_redis::register(&mut registry);
    let known: Vec<_> = registry.kinds().collect();
    assert!(known.len() > 2 && known.contains(&"redis"), "{known:?}");
    let known = known.join(", ");
    let sentences = [
        (
            "[store]\nkind = \"redsi\"\n".to_owned(),
            format!(
                "ipvland.toml: store.kind \"redsi\" is no kind of store, did you mean redis? (known: {known})"
            ),
        ),
        (
            format!("[store.redis]\npasword = \"{SECRET}\"\n"),
            "ipvland.toml: unknown key store.redis.pasword (known: address, username, \
             password, password_file, database, prefix, timeout_ms)"
                .to_owned(),
        ),
        (
            "[store]\nkind = \"redis\"\n".to_owned(),
            "ipvland.toml: store.redis has no address, which it needs".to_owned(),
        ),
    ];
    for (text, sentence) in sentences {
        setup.config(&text);
        for command in ["run", "config", "leave"] {
            let (code, out, err) = parts(&setup.program(&[command]).output().unwrap());
            assert_eq!(
                (code, out.as_str(), err.trim_end()),
                (2, "", &*format!("ipvland: {sentence}")),
                "{command}"
            );
        }
    }
}

#[tokio::test]
async fn settings_that_can_not_be_are_refused_before_any_call() {
    let mut registry = Registry::new();
    ipvland_redis::register(&mut registry);
    let writer = Writer { name: "web-1".into(), address: "10.1.1.48".into() };
    let context = OpenContext { state_dir: "/nonexistent".into(), writer, nudge: Nudge::new() };
    for (table, sentence) in [
        (json!({ "address": "redis" }), "store.redis.address is no HOST:PORT"),
        (json!({ "address": "h:1", "timeout_ms": 1 }), "store.redis.timeout_ms must be from 10 to 600000"),
        (
            json!({ "address": "h:1", "password": SECRET, "password_file": "/x" }),
            "store.redis has both password and password_file: remove one of them",
        ),
    ] {
        let error = registry.open("redis", table, context.clone()).await.unwrap_err();
        assert!(error.to_string().starts_with(sentence), "{error}");
    }
}
