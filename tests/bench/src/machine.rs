//! What a run ran on: figures without it mean little.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a run ran on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The version of the kernel.
    pub(crate) kernel: String,
    /// The model of the processors.
    pub(crate) processor: String,
    /// How many there are.
    pub(crate) processors: usize,
    /// The memory in MiB.
    pub(crate) memory_mib: u64,
    /// How many tasks waited for a processor on average before the run (`/proc/loadavg`): much above 0, the figures
    /// are of a machine that did other things too.
    pub(crate) load_before: f64,
    /// The programs that ours was held against, with their versions.
    pub(crate) programs: Vec<String>,
    /// The day of the run.
    pub(crate) day: String,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let memory: u64 =
            memory.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            // What a builder has put behind the version says nothing to others.
            kernel: read("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: memory / 1024,
            load_before: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
            programs: [
                ["git", "--version"],
                ["bird", "--version"],
                ["etcd", "--version"],
                ["nginx", "-v"],
                ["ip", "-V"],
            ]
            .into_iter()
            .filter_map(version)
            .collect(),
            day: output("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_default(),
        }
    }
}

fn version([program, flag]: [&str; 2]) -> Option<String> {
    output(program, &[flag])
}

/// Returns the first line that a program prints.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = std::process::Command::new(program).args(arguments).env("PATH", path).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
}
