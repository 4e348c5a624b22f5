//! What README.md and CONTRIBUTING.md say is true: links, commands, flags, options, and code that is copied.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod contributing;
#[path = "../protocol/harness.rs"]
#[allow(dead_code, reason = "the tests of the protocol use more of it")]
mod harness;
mod page;

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use harness::Host;
use page::{Page, is_there, root};
use serde_json::json;

/// Runs the program, and returns its exit code and what it said on both streams.
fn ipvland(arguments: &[String]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ipvland")).env_clear().args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace('"', "")).collect()
}

/// Every call of the program in the README, without its name.
fn calls(page: &Page) -> Vec<Vec<String>> {
    let lines = page.blocks("sh").into_iter().flat_map(page::commands).chain(page.code());
    let calls: Vec<_> = lines.filter_map(|line| Some(words(line.strip_prefix("ipvland ")?))).collect();
    assert!(calls.len() >= 4, "{calls:?}");
    calls
}

#[test]
fn every_link_leads_somewhere() {
    for name in ["README.md", "CONTRIBUTING.md"] {
        let page = Page::read(name);
        let links = page.links();
        assert!(!links.is_empty(), "{name} has no links");
        for link in links.iter().filter(|link| !link.starts_with("https://")) {
            assert!(is_there(link), "{name} links to {link}, which is not there");
        }
    }
    let page = Page::read("docs/parity.md");
    for link in page.links() {
        assert!(link.strip_prefix("../").is_some_and(is_there), "docs/parity.md links to {link}");
    }
    // Its links are the curves that were drawn beside it.
    for link in Page::read("docs/performance.md").links() {
        assert!(is_there(&format!("docs/{link}")), "docs/performance.md shows {link}");
    }
}

#[test]
fn every_command_and_flag_exists() {
    let mut flags = 0;
    for call in calls(&Page::read("README.md")) {
        // A command, and the command of a command.
        let mut asked = call[..if call[0] == "store" && call.len() > 1 { 2 } else { 1 }].to_vec();
        asked.push("--help".to_owned());
        let (code, help) = ipvland(&asked);
        assert_eq!(code, 0, "ipvland {}: {help}", call[0]);
        for word in call[1..].iter().filter(|word| word.starts_with('-')) {
            let flag = word.split('=').next().unwrap();
            let known = help.split([' ', ',', '\n', '=', '[']).any(|known| known == flag);
            assert!(known, "ipvland {} has no {flag}:\n{help}", call[0]);
            flags += 1;
        }
        if call[0] == "run" {
            let mut shown = call.clone();
            shown[0] = "config".to_owned();
            shown.push(format!("--config={}", root().join("configs/ipvland.toml").display()));
            let (code, out) = ipvland(&shown);
            assert_eq!(code, 0, "{out}");
        }
    }
    assert!(flags >= 5, "the quickstart names at least five flags");
}

#[test]
fn the_config_file_loads_and_says_what_the_command_line_says() {
    let page = Page::read("README.md");
    let blocks = page.blocks("toml");
    let [toml] = *blocks else { panic!("the README has one TOML block") };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ipvland.toml");
    fs::write(&file, toml).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = |more: &[String]| {
        let mut arguments = words(&format!("config -o json --config {}", file.display()));
        arguments.extend_from_slice(more);
        let (code, out) = ipvland(&arguments);
        assert_eq!(code, 0, "{out}");
        let entries: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}"));
        entries.into_iter().map(|mut entry| (entry["key"].take(), entry["value"].take())).collect::<Vec<_>>()
    };
    let run = calls(&page).into_iter().find(|call| call[0] == "run").unwrap();
    // On top of the file, the same values change nothing; --repo alone would be warned of, and says the same.
    let flags: Vec<_> = run[1..].iter().filter(|word| !word.starts_with("--repo")).cloned().collect();
    assert_eq!(config(&[]), config(&flags));
    let repo = run.iter().find_map(|word| word.strip_prefix("--repo=")).unwrap();
    assert!(toml.contains(&format!("repo = {repo:?}\n")), "{toml}");
}

#[test]
fn the_variable_sets_its_key() {
    let page = Page::read("README.md");
    let variable =
        page.code().find(|code| code.starts_with("IPVLAND_")).expect("the README names a variable");
    let value = "http://git.example/from-the-environment.git";
    let output = Command::new(env!("CARGO_BIN_EXE_ipvland"))
        .env_clear()
        .env(&variable, value)
        .args(["config", "--config"])
        .arg(root().join("configs/ipvland.toml"))
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.lines().any(|line| line.contains(value) && line.ends_with(&variable)), "{out}");
}

#[test]
fn the_install_steps_fit_together() {
    let page = Page::read("README.md");
    let copied: Vec<_> = page
        .blocks("sh")
        .into_iter()
        .flat_map(page::commands)
        .filter_map(|line| words(&line).strip_prefix(&["install", "-m"].map(String::from)).map(<[_]>::to_vec))
        .collect();
    let [program, unit] = &*copied else { panic!("the README installs a program and a unit: {copied:?}") };
    assert_eq!(
        (program[1].as_str(), unit[1].as_str()),
        ("target/x86_64-unknown-linux-musl/static/ipvland", "configs/ipvland.service")
    );
    let unit = fs::read_to_string(root().join(&unit[1])).unwrap();
    assert!(unit.contains(&format!("ExecStart={} run\n", program[2])), "{unit}");
    assert!(unit.contains("Before=docker.service"), "the README says that it starts before Docker");
}

#[test]
fn the_lab_commands_exist() {
    let page = Page::read("README.md");
    let labs: Vec<_> = page
        .blocks("sh")
        .into_iter()
        .flat_map(page::commands)
        .filter_map(|line| line.strip_prefix("cargo lab ").map(str::to_owned))
        .collect();
    assert_eq!(labs, ["demo", "test", "release", "bench"]);
    let alias = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(alias.contains("\nlab = "), "{alias}");
    let cli = fs::read_to_string(root().join("tests/lab/src/cli.rs")).unwrap();
    for command in ["Demo", "Test", "Bench", "Release"] {
        assert!(cli.contains(&format!("\n    {command} {{")), "the lab has the command {command}");
    }
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("exec cargo lab test\n"), "{ci}");
}

#[test]
fn the_stores_are_those_of_this_build() {
    let page = Page::read("README.md");
    let sentence = page.text.split("`[store] kind` picks the store: ").nth(1).unwrap();
    let sentence = sentence.split(". ").next().unwrap();
    let named: Vec<_> = sentence.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, ipvland_backends::registry().kinds().collect::<Vec<_>>());
    assert!(page.text.contains(&format!("`proto {}`", ipvland::kernel::ROUTE_PROTOCOL)));
    assert!(page.text.contains(&format!("`{}`", ipvland::kernel::ALIAS_PREFIX)));
}

/// Returns the driver's refusal of a network with one option, empty where it takes it.
async fn refusal(option: &str, value: &str) -> String {
    let host = Host::start().await;
    let body = json!({
        "NetworkID": "10ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffee0001",
        "Options": { "com.docker.network.generic": { option: value } },
        "IPv4Data": [{ "AddressSpace": "LocalDefault", "Gateway": "10.6.1.1/24", "Pool": "10.6.1.0/24" }],
        "IPv6Data": [],
    });
    host.call("NetworkDriver.CreateNetwork", body).await.refusal()
}

#[tokio::test]
async fn every_option_of_docker_network_create_is_read() {
    let page = Page::read("README.md");
    let mut rows = 0;
    for (options, means) in page.rows("option") {
        let values: Vec<_> = means.split('`').skip(1).step_by(2).collect();
        for option in options.split('`').skip(1).step_by(2) {
            // An option that nobody reads would be unknown, or ignored.
            let said = refusal(option, "no/such value").await;
            assert!(!said.is_empty() && !said.starts_with("unknown option"), "{option}: {said:?}");
            for value in &values {
                assert_eq!(refusal(option, value).await, "", "{option}={value}");
            }
            rows += 1;
        }
    }
    assert_eq!(rows, 7);
    assert!(refusal("colour", "blue").await.starts_with("unknown option"));
}
