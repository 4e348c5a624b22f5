//! `ipvland` plugs Docker containers straight into the host's network card.

#![forbid(unsafe_code)]

pub mod config;
pub mod datapath;
pub mod driver;
pub mod durable;
pub mod fleet;
pub mod host;
pub mod kernel;
mod logging;
pub mod network;
pub mod plan;
pub mod policy;
pub mod publisher;
pub mod record;
mod secret;
pub mod status;
pub mod syncer;
