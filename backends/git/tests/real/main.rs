//! The store against real repositories and real servers: directories, nginx with git http-backend, sshd.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod contention;
mod fleet;
mod history;
mod host;
mod hostile;
mod http;
mod line;
mod path;
mod registered;
mod relay;
mod scale;
mod ssh;
mod year;
