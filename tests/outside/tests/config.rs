//! The store's table in the config file is one like those of the built-in stores.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use ipvland_store::{Nudge, OpenContext, Registry, Writer};
use program::{SECRET, Setup, parts};

#[test]
fn the_config_hides_the_stores_secret() {
    let setup = Setup::new();
    for format in ["text", "json"] {
        let (code, out, err) = parts(&setup.program(&["config", "-o", format]).output().unwrap());
        assert_eq!(code, 0, "{err}");
        assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
        let hidden = if format == "text" { "token = \"***\"" } else { "\"value\": \"***\"" };
        assert!(out.contains(hidden) && out.contains(setup.file().to_str().unwrap()), "{out}");
    }
    let mut variable = setup.program(&["config"]);
    variable.env("IPVLAND_STORE__ONEFILE__TOKEN", SECRET).env("IPVLAND_STORE__ONEFILE__INTERVAL_MS", "7");
    let (code, out, err) = parts(&variable.output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(!format!("{out}{err}").contains(SECRET), "{out}{err}");
    for (value, source) in [
        ("token = \"***\"", "IPVLAND_STORE__ONEFILE__TOKEN"),
        ("interval_ms = 7", "IPVLAND_STORE__ONEFILE__INTERVAL_MS"),
    ] {
        let line =
            out.lines().find(|line| line.starts_with(value)).unwrap_or_else(|| panic!("{value} in {out}"));
        assert!(line.ends_with(source), "{line}");
    }
}

#[test]
fn an_unknown_kind_or_key_lists_the_known_ones() {
    let setup = Setup::new();
    let sentences = [
        (
            "[store]\nkind = \"onefiel\"\n".to_owned(),
            "ipvland.toml: store.kind \"onefiel\" is no store of this build (known: etcd, git, memory, onefile)",
        ),
        (
            format!("[store.onefile]\ntokn = \"{SECRET}\"\n"),
            "ipvland.toml: unknown key store.onefile.tokn (known: path, token, interval_ms)",
        ),
        (
            "[store]\nkind = \"onefile\"\n".to_owned(),
            "ipvland.toml: store.onefile has no path, which it needs",
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
async fn a_path_that_is_not_absolute_is_refused() {
    let mut registry = Registry::new();
    onefile::register(&mut registry);
    let writer = Writer { name: "web-1".into(), address: "10.1.1.48".into() };
    let context = OpenContext { state_dir: "/nonexistent".into(), writer, nudge: Nudge::new() };
    let table = serde_json::json!({ "path": "records.json" });
    let error = registry.open("onefile", table, context).await.unwrap_err();
    assert_eq!(error.to_string(), "store.onefile.path must be absolute, not records.json");
}
