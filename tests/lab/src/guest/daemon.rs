//! `ipvland` on a host.

use std::time::Duration;

use serde_json::Value;

use super::host::Host;
use super::wait;
use crate::failure::{Failure, OrFail, Outcome};

const SOCKET: &str = "/run/docker/plugins/ipvland.sock";
/// A file that is younger than a socket left by a daemon that was killed.
const MARK: &str = "/run/ipvland.lab-mark";
const START_LIMIT: Duration = Duration::from_secs(30);

impl Host {
    /// Starts the daemon with these words after `ipvland run`, and waits until `ipvland status` says that it is well.
    ///
    /// # Errors
    /// Where the daemon ends, or is not well in time.
    pub(crate) fn start_ipvland(&self, arguments: &str) -> Outcome {
        self.launch_ipvland(arguments)?;
        self.ipvland_well()
    }

    /// Starts the daemon and waits for its socket alone: without its store it serves Docker, and is not well.
    ///
    /// # Errors
    /// Where the daemon ends, or has no socket in time.
    pub(crate) fn launch_ipvland(&self, arguments: &str) -> Outcome {
        self.report().typed(self.name(), &format!("ipvland run {arguments} &"), "");
        self.run(&format!("rm -f {MARK}; touch {MARK}"))?;
        self.start("ipvland", &format!("ipvland run {arguments}"))?;
        let what = format!("ipvland listens on {}", self.name());
        wait::holds(&what, START_LIMIT, || {
            self.ipvland_goes_on()?;
            // A socket left by a daemon that was killed is older than the mark.
            Ok(self.attempt(&format!("test -S {SOCKET} && test {SOCKET} -nt {MARK}"))?.code == 0)
        })?;
        Ok(())
    }

    /// Writes a file of `/etc/ipvland` that only root may read.
    ///
    /// # Errors
    /// Where the disk is full.
    pub(crate) fn configures(&self, name: &str, text: &str) -> Outcome {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        let path = self.file("disk/etc").join(name);
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .or_fail(format_args!("writing /etc/ipvland/{name}"))
    }

    /// Waits until `ipvland status` exits with 0.
    ///
    /// # Errors
    /// Shows what it last said.
    pub(crate) fn ipvland_well(&self) -> Outcome {
        let mut last = String::new();
        let what = format!("ipvland is well on {}", self.name());
        let well = wait::holds(&what, START_LIMIT, || {
            self.ipvland_goes_on()?;
            let ran = self.attempt("ipvland status")?;
            last = ran.output;
            Ok(ran.code == 0)
        });
        well.map(|_| ()).map_err(|failure| failure.showing(last))
    }

    /// What `ipvland status -o json` says, whatever its exit code.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub(crate) fn ipvland_status(&self) -> Outcome<Value> {
        let ran = self.attempt("ipvland status -o json")?;
        serde_json::from_str(&ran.stdout)
            .or_fail("reading ipvland status -o json")
            .map_err(|failure| failure.showing(ran.output))
    }

    /// Kills the daemon at once, without a word to it.
    pub(crate) fn kill_ipvland(&self) -> Outcome {
        self.signal("ipvland", "KILL")?;
        self.ended("ipvland", Duration::from_secs(10))?;
        Ok(())
    }

    /// Ends the daemon as a service manager does.
    ///
    /// # Errors
    /// Where it takes longer than a few seconds, or exits with anything but 0.
    pub(crate) fn stop_ipvland(&self) -> Outcome {
        self.signal("ipvland", "TERM")?;
        match self.ended("ipvland", Duration::from_secs(5))? {
            0 => Ok(()),
            code => Err(Failure::new(format!("ipvland exited with {code} at SIGTERM on {}", self.name()))),
        }
    }

    fn ipvland_goes_on(&self) -> Outcome {
        if self.runs("ipvland")? {
            return Ok(());
        }
        let code = self.ended("ipvland", Duration::ZERO)?;
        Err(Failure::new(format!("ipvland ended on {} with exit code {code}", self.name()))
            .showing(crate::cargo::tail(&self.log("ipvland"), 20)))
    }
}
