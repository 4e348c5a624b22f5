//! etcd clusters of one or several members, with or without a password and TLS.

pub mod certificates;
pub mod cluster;
mod ctl;

pub use certificates::Shown;
pub use cluster::{Cluster, PASSWORD, Setup, USER};
