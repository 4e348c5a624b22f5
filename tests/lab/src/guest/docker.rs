//! Docker on a host: a real engine, a small image, containers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::host::Host;
use super::wait;
use crate::failure::{Failure, OrFail, Outcome};

/// What happens to containers while dockerd is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Docker's default: they end with it.
    Stops,
    /// `--live-restore`: they go on.
    Lives,
}

/// The image that all containers run: busybox alone.
pub(crate) const IMAGE: &str = "busybox:1";

const START_LIMIT: Duration = Duration::from_secs(90);

impl Host {
    /// Starts dockerd and waits until it answers; the image is there afterwards.
    ///
    /// # Errors
    /// Where dockerd ends or does not answer in time.
    pub(crate) fn start_docker(&self, restart: Restart) -> Outcome {
        self.launch_docker(restart)?;
        self.docker_answers()?;
        self.image()
    }

    /// Starts dockerd as Debian installs it, bridge and iptables and all, without waiting, so that several come up at once.
    ///
    /// # Errors
    /// Where it runs already.
    pub(crate) fn launch_docker(&self, restart: Restart) -> Outcome {
        let live = if restart == Restart::Lives { " --live-restore" } else { "" };
        self.run("rm -f /run/docker.pid")?;
        self.start(
            "dockerd",
            &format!("dockerd --log-level=warn --exec-opt native.cgroupdriver=cgroupfs{live}"),
        )
    }

    /// Waits until dockerd answers.
    pub(crate) fn docker_answers(&self) -> Outcome {
        let what = format!("dockerd answers on {}", self.name());
        wait::holds(&what, START_LIMIT, || {
            if !self.runs("dockerd")? {
                return Err(Failure::new(format!("dockerd ended on {}", self.name())));
            }
            Ok(self.attempt("test -S /run/docker.sock && docker version")?.code == 0)
        })?;
        Ok(())
    }

    /// Brings the image in where it is not there.
    pub(crate) fn image(&self) -> Outcome {
        let tar = image_file()?;
        self.run(&format!(
            "docker image inspect {IMAGE} >/dev/null 2>&1 || docker import {tar} {IMAGE} >/dev/null"
        ))?;
        Ok(())
    }

    /// Stops dockerd as a service manager would.
    pub(crate) fn stop_docker(&self) -> Outcome {
        self.signal("dockerd", "TERM")?;
        self.ended("dockerd", Duration::from_secs(60))?;
        Ok(())
    }

    /// Kills dockerd and its containerd at once.
    ///
    /// # Errors
    /// Where they do not run.
    pub(crate) fn kill_docker(&self) -> Outcome {
        self.run("kill -KILL $(cat /run/docker.pid) $(cat /run/docker/containerd/containerd.pid)")?;
        self.ended("dockerd", Duration::from_secs(10))?;
        Ok(())
    }

    /// Runs a container that only sleeps, with docker's `arguments` such as `--net net1 --ip 10.1.48.7`.
    pub(crate) fn container(&self, name: &str, arguments: &str) -> Outcome {
        self.run(&format!("docker run -d --name {name} {arguments} {IMAGE} sleep 100000"))?;
        Ok(())
    }

    /// Removes a container with its endpoint, however it is.
    pub(crate) fn remove_container(&self, name: &str) -> Outcome {
        self.run(&format!("docker rm -f {name}"))?;
        Ok(())
    }
}

/// Makes the image's archive once: busybox with the names that containers use.
fn image_file() -> Outcome<&'static str> {
    const FILE: &str = "/lab/image.tar";
    const FOLDER: &str = "/lab/image";
    if Path::new(FILE).exists() {
        return Ok(FILE);
    }
    let bin = Path::new(FOLDER).join("bin");
    fs::create_dir_all(&bin).or_fail("making the image")?;
    fs::create_dir_all(Path::new(FOLDER).join("tmp")).or_fail("making the image")?;
    fs::copy("/usr/bin/busybox", bin.join("busybox")).or_fail("copying busybox")?;
    for name in ["sh", "ping", "ping6", "sleep", "ip", "cat", "nslookup", "hostname"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).or_fail("making the image")?;
    }
    let done =
        Command::new("tar").args(["-C", FOLDER, "-cf", FILE, "."]).status().or_fail("packing the image")?;
    if done.success() { Ok(FILE) } else { Err(Failure::new("tar could not pack the image")) }
}
