//! The push over HTTP (gitprotocol-pack(5), "Pushing Data To a Server"), as one request.
//!
//! libgit2 asks where all branches are before each push, and packs new folders whole. Where the branch is this host knows,
//! and the server compares it once more when it moves the branch: it says so when another host was first.

use git2::{ObjectType, Oid, Repository};
use ipvland_store::Error;

use crate::{
    address::Address,
    advertisement::{Advertisement, offers},
    errors::{Failure, clean, from_server, web_page},
    http::Client,
    pack::Pack,
    pkt::{self, Line},
    push::{Pushed, Written, is_race},
    talk::Talk,
};

const SERVICE: &str = "git-receive-pack";

/// The most bytes of an answer that are read.
const MOST_ANSWER: usize = 1 << 20;

/// Moves the branch from `base` to the commit that was written, if the server has it at `base`.
pub(crate) fn push(
    client: &Client,
    talk: &Talk,
    repo: &Repository,
    branch: &str,
    base: Option<Oid>,
    written: &Written,
) -> Result<Pushed, Failure> {
    let name = format!("refs/heads/{branch}");
    let address = &talk.address;
    let capabilities = match client.capabilities() {
        Some(known) => known,
        None => {
            let list = client.references(talk, SERVICE)?;
            let found = Advertisement::read(&list).ok_or_else(|| no_list(address, &list))?;
            if found.tip(&name) != base {
                return Ok(Pushed::Raced);
            }
            check(address, &found.capabilities)?;
            client.set_capabilities(Some(found.capabilities.clone()));
            found.capabilities
        }
    };
    let request = request(repo, &name, base, written, &capabilities)?;
    let outcome = send(client, talk, request, &name);
    let is_race = matches!(&outcome, Ok(Pushed::Refused { status, words }) if is_race(status, words));
    if !is_race && !matches!(outcome, Ok(Pushed::Done)) {
        // What this host believes about the branch or the server may be wrong: the next push asks first.
        client.set_capabilities(None);
    }
    outcome
}

/// Says why what came is no list of references.
fn no_list(address: &Address, list: &[u8]) -> Failure {
    let mut rest = list;
    while let Some(Line::Data(line)) = pkt::next(&mut rest) {
        if let Some(words) = line.strip_prefix(b"ERR ") {
            let words = format!("remote error: {}", String::from_utf8_lossy(words));
            return from_server(address, git2::Error::from_str(&clean(&words))).into();
        }
    }
    web_page(address).into()
}

/// Checks that the server can do what a push needs.
fn check(address: &Address, capabilities: &str) -> Result<(), Error> {
    let other = capabilities.split(' ').find_map(|word| word.strip_prefix("object-format="));
    if let Some(other) = other.filter(|format| *format != "sha1") {
        return Err(Error::refused(format!(
            "the git repository {} has names of the kind {}, and sha1 is known alone: make it with git init --bare \
             --object-format=sha1",
            address.shown,
            clean(other)
        )));
    }
    if !offers(capabilities, "report-status") {
        return Err(Error::refused(format!(
            "the git server {} can't say whether it took a commit for {}: use another server",
            address.host(),
            address.shown
        )));
    }
    Ok(())
}

fn request(
    repo: &Repository,
    name: &str,
    base: Option<Oid>,
    written: &Written,
    capabilities: &str,
) -> Result<Vec<u8>, git2::Error> {
    let wanted = ["report-status", "side-band-64k", "object-format=sha1"];
    let words: Vec<_> = wanted.into_iter().filter(|word| offers(capabilities, word)).collect();
    let (old, new) = (base.unwrap_or(Oid::ZERO_SHA1), written.commit);
    let mut request = Vec::new();
    pkt::push(&mut request, format!("{old} {new} {name}\0 {}", words.join(" ")).as_bytes());
    request.extend_from_slice(pkt::FLUSH);

    let odb = repo.odb()?;
    let failed = |why: std::io::Error| git2::Error::from_str(&why.to_string());
    let mut pack = Pack::new();
    let mut add = |id: Oid| -> Result<(), git2::Error> {
        let object = odb.read(id)?;
        pack.add(object.kind(), object.data()).map_err(failed)
    };
    add(written.commit)?;
    add(written.root)?;
    written.blobs.iter().try_for_each(|id| add(*id))?;
    if let Some(folder) = &written.folder {
        match folder.old {
            Some((old, size)) if !offers(capabilities, "no-thin") => {
                pack.add_difference(old, (size, folder.new.len()), &folder.steps).map_err(failed)?;
            }
            _ => pack.add(ObjectType::Tree, &folder.new).map_err(failed)?,
        }
    }
    request.extend_from_slice(&pack.finish());
    Ok(request)
}

fn send(client: &Client, talk: &Talk, request: Vec<u8>, name: &str) -> Result<Pushed, Failure> {
    let answer = client.call(talk, SERVICE, request)?.whole(client, talk, MOST_ANSWER)?;
    let answer = answer.ok_or_else(|| unclear(&talk.address, &[]))?;
    let heard = hear(&answer);
    match report(&heard.report, name) {
        Some(Ok(())) => Ok(Pushed::Done),
        Some(Err(status)) => Ok(Pushed::Refused { status, words: words(&heard.words) }),
        None => Err(unclear(&talk.address, &heard.words)),
    }
}

fn unclear(address: &Address, said: &[u8]) -> Failure {
    let said = match words(said) {
        said if said.is_empty() => said,
        said => format!(" (it said: {said})"),
    };
    Error::away(format!(
        "the git server {} did not say whether it took the commit for {}{said}",
        address.host(),
        address.shown
    ))
    .into()
}

fn words(said: &[u8]) -> String {
    clean(&String::from_utf8_lossy(said))
}

/// What a server said in its answer.
#[derive(Default)]
struct Heard {
    /// Whether it did what it was asked for.
    report: Vec<u8>,
    /// What it printed: a hook's words.
    words: Vec<u8>,
}

/// Parts an answer into report and words: by the first byte of a line, where there is a side band.
fn hear(answer: &[u8]) -> Heard {
    /// The most bytes of a server's words that are kept.
    const MOST_WORDS: usize = 4_096;
    let mut heard = Heard::default();
    let mut rest = answer;
    while let Some(line) = pkt::next(&mut rest) {
        let Line::Data(data) = line else { continue };
        match data.split_first() {
            Some((1, data)) => heard.report.extend_from_slice(data),
            Some((2 | 3, data)) => {
                let room = MOST_WORDS.saturating_sub(heard.words.len());
                heard.words.extend_from_slice(&data[..data.len().min(room)]);
            }
            // There is no side band.
            Some(_) => pkt::push(&mut heard.report, data),
            None => {}
        }
    }
    heard
}

/// Reads what became of a branch: `unpack ok`, then `ok NAME` or `ng NAME WHY`.
fn report(report: &[u8], name: &str) -> Option<Result<(), String>> {
    let mut rest = report;
    let mut unpacked = None;
    while let Some(Line::Data(line)) = pkt::next(&mut rest) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let Some(how) = line.strip_prefix("unpack ") {
            unpacked = (how != "ok").then(|| clean(&format!("unpack failed: {how}")));
        } else if line.strip_prefix("ok ") == Some(name) {
            return Some(Ok(()));
        } else if let Some(why) = line.strip_prefix("ng ").and_then(|rest| rest.strip_prefix(name)) {
            return Some(Err(unpacked.unwrap_or_else(|| clean(why))));
        }
    }
    unpacked.map(Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<u8> {
        let mut all = Vec::new();
        lines.iter().for_each(|line| pkt::push(&mut all, line.as_bytes()));
        all.extend_from_slice(pkt::FLUSH);
        all
    }

    #[test]
    fn the_report_is_read_with_and_without_a_side_band() {
        let name = "refs/heads/main";
        for (said, meant) in [
            (lines(&["unpack ok\n", "ok refs/heads/main\n"]), Some(Ok(()))),
            (
                lines(&["unpack ok\n", "ng refs/heads/main hook declined\n"]),
                Some(Err("hook declined".into())),
            ),
            (
                lines(&["unpack bad pack\n", "ng refs/heads/main x\n"]),
                Some(Err("unpack failed: bad pack".into())),
            ),
            (lines(&["unpack ok\n", "ok refs/heads/other\n"]), None),
            (lines(&[]), None),
            (Vec::new(), None),
        ] {
            assert_eq!(report(&hear(&said).report, name), meant);
            let mut banded = Vec::new();
            pkt::push(&mut banded, b"\x02no changes on Fridays\n");
            // A server may part the report where it likes.
            for part in said.chunks(7) {
                pkt::push(&mut banded, &[b"\x01", part].concat());
            }
            banded.extend_from_slice(pkt::FLUSH);
            let heard = hear(&banded);
            assert_eq!(report(&heard.report, name), meant);
            assert_eq!(words(&heard.words), "no changes on Fridays");
        }
    }
}
