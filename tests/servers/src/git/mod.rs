//! Git over HTTP and over ssh, a proxy before it, and the bare repositories that are served.

pub mod http;
pub mod proxy;
pub mod repository;
pub mod ssh;

pub use http::HttpServer;
pub use proxy::ProxyServer;
pub use repository::Repositories;
pub use ssh::SshServer;
