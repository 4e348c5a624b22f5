//! What a process that follows a store holds resident.

use std::{io::Read as _, process::Stdio};

use futures::StreamExt as _;
use ipvland_store::{Event, StoreExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::{
    subject::{Subject, open},
    table::{Table, say},
};

/// Starts a process for each store and size, and asks for its resident memory.
pub(crate) async fn table(subjects: &[Subject], sizes: &[usize]) -> Table {
    let mut table = Table::begin(
        "memory",
        "resident in a process that follows the store and holds its records",
        "now, and at most so far",
    );
    for subject in subjects.iter().filter(|subject| subject.is_shared()) {
        for size in sizes {
            let place = subject.fresh(*size).await;
            let program = std::env::current_exe().expect("the program's own file");
            let mut child = Command::new(program);
            child.arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = child.spawn().expect("starting another of us");
            let settings = json!({ "kind": place.kind, "table": place.table, "records": size });
            let mut stdin = child.stdin.take().expect("a pipe");
            stdin.write_all(settings.to_string().as_bytes()).await.expect("telling the settings");
            drop(stdin);
            let mut line = String::new();
            let stdout = child.stdout.take().expect("a pipe");
            BufReader::new(stdout).read_line(&mut line).await.expect("an answer");
            let figures: Value = serde_json::from_str(&line).expect("figures");
            let mebibytes = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN) / 1024.0;
            let (now, most) = (mebibytes("VmRSS"), mebibytes("VmHWM"));
            let row = json!({ "store": subject.name, "size": size, "resident_mib": now, "peak_mib": most });
            table.line(subject.name, *size, &format!("{now:>9.1} MiB, {most:.1} MiB"), row);
        }
    }
    table
}

/// Follows a store until its first event, and prints this process's memory in KiB.
pub(crate) async fn hold() {
    let mut settings = String::new();
    std::io::stdin().read_to_string(&mut settings).expect("the settings on stdin");
    let settings: Value = serde_json::from_str(&settings).expect("settings are JSON");
    let state = tempfile::tempdir().expect("a directory");
    let kind = settings["kind"].as_str().expect("a kind").to_owned();
    let (store, nudge) = open(&kind, settings["table"].clone(), state.path(), "holder").await;
    let mut events = store.follow(nudge);
    let Some(Ok(Event::Reset(held))) = events.next().await else { panic!("follow begins with all") };
    assert_eq!(Some(held.records.len() as u64), settings["records"].as_u64());
    // Its watch begins, and what the reading took is given back.
    _ = tokio::time::timeout(std::time::Duration::from_millis(500), events.next()).await;
    let status = std::fs::read_to_string("/proc/self/status").expect("this process's status");
    let kibibytes = |key: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    say(&json!({ "VmRSS": kibibytes("VmRSS"), "VmHWM": kibibytes("VmHWM") }).to_string());
    drop(held);
}
