//! What the kernel tells of a process (`proc(5)`).

use std::{collections::BTreeMap, fs, time::Duration};

/// The processor time that each thread of a process has used so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used(BTreeMap<u32, Duration>);

impl Used {
    /// Asks the scheduler, which counts in nanoseconds where `/proc/PID/stat` counts in steps of 10 ms.
    pub(crate) fn so_far(process: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
        let threads = threads.flatten().filter_map(|thread| {
            let number = thread.file_name().to_str()?.parse().ok()?;
            // A thread may end meanwhile.
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
            Some((number, Duration::from_nanos(nanoseconds)))
        });
        Self(threads.collect())
    }

    /// Returns what was used since an earlier moment. What a thread used that ended in between is not known.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let threads = self
            .0
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default()));
        threads.sum()
    }
}

/// Returns a figure of `/proc/PID/status` in MiB: `VmRSS`, `VmHWM`.
pub(crate) fn memory(process: u32, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let line = text.lines().find(|line| line.starts_with(key)).expect("a line of /proc/PID/status");
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kibibytes / 1024.0
}
