//! The program `ipvland`: the command line over the stores that this build knows.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ipvland::cli::run(std::env::args_os(), ipvland_backends::registry())
}
