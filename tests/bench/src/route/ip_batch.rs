//! `ip -batch`: what a script does.

use std::{
    fmt::Write as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ipvland::kernel::Route;
use servers::process::{program, run};
use tempfile::TempDir;

/// A file of commands.
pub(crate) struct IpBatch {
    folder: TempDir,
    ip: PathBuf,
}

impl IpBatch {
    /// Writes the commands that add routes.
    pub(crate) fn new(routes: &[Route], link: &str) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a directory"), ip: program("ip", "iproute2") };
        let mut text = String::new();
        for route in routes {
            let gateway = route.gateway.expect("a gateway");
            let (prefix, protocol) = (route.prefix, route.protocol);
            writeln!(text, "route add {prefix} via {gateway} dev {link} proto {protocol}").expect("text");
        }
        std::fs::write(this.folder.path().join("routes"), text).expect("a file");
        this
    }

    /// Runs the commands.
    pub(crate) fn run(&self) -> Duration {
        let begun = Instant::now();
        run(Command::new(&self.ip).arg("-batch").arg(self.folder.path().join("routes")));
        begun.elapsed()
    }
}
