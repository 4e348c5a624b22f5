//! `ipvland` plugs Docker containers straight into the host's network card.

#![forbid(unsafe_code)]

pub mod kernel;
pub mod plan;
pub mod policy;
pub mod record;
