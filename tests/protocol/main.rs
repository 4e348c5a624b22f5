//! Docker's plugin protocol, spoken to the real driver over a real socket.
//!
//! `steps/` holds what the versions of Docker send, and what they get: readable, and written anew by
//! `IPVLAND_BLESS=1 cargo test --test protocol`. A step is
//! ```text
//! > METHOD           a request, with its body below it; or `! restart` of the daemon, `! pool NET` for a restart with
//!                    `network.pool` in the config
//! < CODE             the answer, with its body below it
//! = link NAME on …   what is there afterwards in the host's namespace
//! ```

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may fail as tests do"
)]

mod harness;
mod traps;

use std::{env, fs, path::PathBuf};

use harness::Host;
use serde_json::Value;

async fn replay(name: &str) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/steps").join(format!("{name}.txt"));
    let golden = fs::read_to_string(&path).unwrap();
    let mut host = Host::start().await;
    let mut seen = String::new();
    let mut lines = golden.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('#') || line.is_empty() {
            seen += &format!("{line}\n");
        } else if line == "! restart" {
            host.restart().await;
            seen += &format!("{line}\n{}", links(&host));
        } else if let Some(pool) = line.strip_prefix("! pool ") {
            host.settings.defaults.pool.push(pool.parse().unwrap());
            host.restart().await;
            seen += &format!("{line}\n");
        } else if let Some(method) = line.strip_prefix("> ") {
            let mut body = String::new();
            while let Some(more) =
                lines.next_if(|line| !line.is_empty() && !line.starts_with(['<', '>', '!', '=', '#']))
            {
                body += more;
                body.push('\n');
            }
            let answer = host.call(method, body.trim_end()).await;
            let text = answer.text.replace(&*host.state().to_string_lossy(), "STATE");
            let text = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
            seen += &format!("{line}\n{body}< {}\n{text}\n{}", answer.code, links(&host));
        }
    }
    if env::var_os("IPVLAND_BLESS").is_some() {
        fs::write(&path, seen).unwrap();
        return;
    }
    assert_eq!(seen, golden, "{name} is answered otherwise; if that is meant: IPVLAND_BLESS=1");
}

fn links(host: &Host) -> String {
    host.shown_links().iter().map(|line| format!("= {line}\n")).collect()
}

#[tokio::test]
async fn docker_20_10_on_l2() {
    replay("docker-20.10-l2").await;
}

#[tokio::test]
async fn docker_20_10_on_l3() {
    replay("docker-20.10-l3").await;
}

#[tokio::test]
async fn docker_26_1_on_dual_stack_l3s() {
    replay("docker-26.1-l3s-dual").await;
}

#[tokio::test]
async fn docker_28_on_a_vlan() {
    replay("docker-28-vlan").await;
}

#[tokio::test]
async fn docker_28_on_internal() {
    replay("docker-28-internal").await;
}

#[tokio::test]
async fn docker_29_on_l3_and_l2_without_gateway() {
    replay("docker-29").await;
}

#[tokio::test]
async fn addresses_with_docker_20_10_on_l2() {
    replay("ipam-docker-20.10-l2").await;
}

#[tokio::test]
async fn addresses_with_docker_26_1_on_l3_without_a_subnet() {
    replay("ipam-docker-26.1-l3").await;
}

#[tokio::test]
async fn addresses_with_docker_28_on_two_families() {
    replay("ipam-docker-28-dual").await;
}

#[tokio::test]
async fn addresses_that_are_refused() {
    replay("ipam-docker-29-refusals").await;
}

#[tokio::test]
async fn refusals() {
    replay("refusals").await;
}
