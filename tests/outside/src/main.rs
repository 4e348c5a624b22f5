//! `ipvland` with one store more: all that it takes to run the daemon with a store of one's own.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut registry = ipvland_backends::registry();
    ipvland_redis::register(&mut registry);
    ipvland::cli::run(std::env::args_os(), registry)
}
