//! `ipvland` plugs Docker containers straight into the host's network card.

#![forbid(unsafe_code)]

pub mod config;
pub mod kernel;
mod logging;
pub mod plan;
pub mod policy;
pub mod record;
mod secret;
pub mod status;
