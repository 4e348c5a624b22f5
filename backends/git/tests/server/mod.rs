//! Real Git servers on loopback, each in a temporary directory, stopped when dropped.

#![allow(clippy::panic, clippy::unwrap_used, unreachable_pub, reason = "shared by tests, which fail with it")]
#![allow(dead_code, reason = "each test uses a part")]

pub mod http;
pub mod process;
pub mod repository;
pub mod ssh;

pub use http::HttpServer;
pub use repository::Repositories;
pub use ssh::SshServer;
