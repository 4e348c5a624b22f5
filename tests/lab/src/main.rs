//! Tries ipvland on hosts with a real Docker engine, a real kernel and a real Git server.
//!
//! # Layout
//!
//! On the machine:
//! - [`cli`]: what a person types;
//! - [`setup`], [`packages`], [`rootfs`]: what the lab needs, and how it gets there;
//! - [`machine`]: which kernel the hosts run on, and how it is started, watched and ended;
//! - [`demo`], [`mod@test`]: what the main commands do;
//! - [`mod@bench`], [`release`], [`elf`]: what ipvland takes, and the one file that it is shipped as;
//! - [`cargo`], [`table`]: the workspace's own checks, and the table at the end.
//!
//! Inside, on a kernel with ipvlan:
//! - [`guest`]: the hosts, Docker, the Git server, the daemon, the pings: the words that scenarios are written in;
//! - [`scenarios`]: one file a subject.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod cli;
mod demo;
mod elf;
mod failure;
mod guest;
mod machine;
mod packages;
mod release;
mod rootfs;
mod scenarios;
mod setup;
mod table;
mod tell;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(failure) => {
            tell::err(&format!("lab: {failure}"));
            ExitCode::FAILURE
        }
    }
}
