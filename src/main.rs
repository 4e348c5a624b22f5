//! The program `ipvland`: the command line over the stores that this build knows.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The allocator of the static release: musl's own takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ipvland::cli::run(std::env::args_os(), ipvland_backends::registry())
}
