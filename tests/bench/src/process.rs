//! What the kernel tells of a process (`proc(5)`).

use std::{fs, time::Duration};

/// How many ticks `/proc/PID/stat` counts a second (`USER_HZ`), which is the same on all machines that Linux runs on.
const TICKS: u64 = 100;

/// Returns the processor time that a process has used, of all its threads that are and were.
pub(crate) fn processor_time(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    // The name in the second field may hold blanks.
    let (_, rest) = text.rsplit_once(')').expect("a line of /proc/PID/stat");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS)
}

/// Returns a figure of `/proc/PID/status` in MiB: `VmRSS`, `VmHWM`.
pub(crate) fn memory(process: u32, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let line = text.lines().find(|line| line.starts_with(key)).expect("a line of /proc/PID/status");
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kibibytes / 1024.0
}
