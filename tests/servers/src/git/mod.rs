//! Git over HTTP and over ssh, and the bare repositories that are served.

pub mod http;
pub mod repository;
pub mod ssh;

pub use http::HttpServer;
pub use repository::Repositories;
pub use ssh::SshServer;
