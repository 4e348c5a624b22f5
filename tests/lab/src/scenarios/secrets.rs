//! The password is searched for everywhere it must not be.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::docker::Restart;
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::git_server::{PASSWORD, REPOSITORY, USER};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;
use crate::guest::wait;

/// A password that the server does not take; it must not be seen either.
const WRONG: &str = "pw-Falsch9Zx";

/// Everything a daemon says and writes, after a good start, a refused password, and a server that is away.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("h1 has the URL on its command line, h2 and h3 in a file; h3's password is wrong");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51), ("h3", 77)])?;
    let [h1, h2, h3] = &*fleet.hosts else { return Err(Failure::new("a fleet of three has three hosts")) };
    h1.start_ipvland(&fleet.words_with_prefix(h1))?;
    for (host, password) in [(h2, PASSWORD), (h3, WRONG)] {
        let url = fleet.server.url().replace(PASSWORD, password);
        host.configures("ipvland.toml", &format!(
            "[host]\ninterface = \"{CARD}\"\n[network]\nmode = \"l3\"\nsubnet = \"{}\"\n[store.git]\nrepo = \"{url}\"\ninterval = \"3s\"\n[log]\nlevel = \"trace\"\n",
            host.prefix()
        ))?;
        host.launch_ipvland("-d --config /etc/ipvland/ipvland.toml")?;
    }
    h2.ipvland_well()?;
    wait::holds("h3 says that its store is away", SOON * 2, || {
        Ok(h3.ipvland_status()?["store"]["away"].is_string())
    })?;

    lab.step("a network, a container, and a server that is away");
    h1.start_docker(Restart::Stops)?;
    h1.run(&format!("docker network create -d ipvland --subnet {} net1", h1.prefix()))?;
    h1.container("box", "--net net1")?;
    h1.run("docker inspect box >/run/inspected")?;
    fleet.server.stop()?;
    for host in [h1, h2] {
        wait::holds("the store is away", SOON * 2, || {
            Ok(host.ipvland_status()?["store"]["away"].is_string())
        })?;
        search_words(host, &fleet)?;
    }
    search_words(h3, &fleet)?;
    fleet.server.start()?;
    wait::holds("h2 is well again", SOON * 8, || Ok(h2.attempt("ipvland status")?.code == 0))?;
    h2.run("ipvland leave")?;

    lab.step("the password is in no log, no file of the state, no record, no process list");
    for host in [h1, h2, h3] {
        search_words(host, &fleet)?;
        let state = host.file("disk/state");
        search_folder(host, &state)?;
        for program in ["ipvland", "dockerd"] {
            search(host, &format!("{program}'s log"), &host.log(program))?;
        }
    }
    for host in [h2, h3] {
        search(host, "ps", &host.look("ps -ef | grep -v grep")?)?;
    }
    search(h1, "docker inspect", &h1.look("cat /run/inspected; docker network inspect net1")?)?;
    search(&fleet.server.host, "the history", &fleet.server.git("log --all -p")?)?;
    search(
        &fleet.server.host,
        "the repository's config",
        &fleet.server.host.look(&format!("cat {REPOSITORY}/config"))?,
    )?;

    lab.step("who gives the URL on the command line is warned, once");
    let warned = |host: &Host| {
        host.log("ipvland")
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("command line"))
            .count()
    };
    if (warned(h1), warned(h2)) == (1, 0) {
        return Ok(());
    }
    Err(Failure::new(format!("h1 was warned {} times, h2 {} times", warned(h1), warned(h2))))
}

/// What the programs of a person say.
fn search_words(host: &Host, fleet: &Fleet) -> Outcome {
    let repo = fleet.server.url();
    let config = format!("ipvland config --repo={repo}");
    for line in
        ["ipvland status", "ipvland status -o json", "ipvland config", "ipvland config -o json", &config]
    {
        search(host, line, &host.attempt(line)?.output)?;
    }
    let socket = "curl -s --unix-socket /run/docker/plugins/ipvland.sock http://localhost/status";
    search(host, "/status of the plugin", &host.look(socket)?)
}

/// Every file under a folder.
fn search_folder(host: &Host, folder: &Path) -> Outcome {
    for entry in fs::read_dir(folder).or_fail(format_args!("reading {}", folder.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            search_folder(host, &path)?;
        } else if let Ok(bytes) = fs::read(&path) {
            search(host, &path.display().to_string(), &String::from_utf8_lossy(&bytes))?;
        }
    }
    Ok(())
}

/// Looks for both passwords, plain and as HTTP's basic authentication writes them.
fn search(host: &Host, place: &str, text: &str) -> Outcome {
    for secret in [PASSWORD, WRONG] {
        let basic = base64(format!("{USER}:{secret}").as_bytes());
        if text.contains(secret) || text.contains(basic.trim_end_matches('=')) {
            let lines: Vec<_> =
                text.lines().filter(|line| line.contains(secret) || line.contains(&basic)).collect();
            return Err(Failure::new(format!("a password is in {place} on {}", host.name()))
                .showing(lines.join("\n")));
        }
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let word =
            chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        let letter = move |place: usize| {
            if place <= chunk.len() { char::from(LETTERS[word >> (18 - 6 * place) & 63]) } else { '=' }
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }
}
