//! The fetch of a few commits over HTTP (gitprotocol-pack(5), "Packfile Negotiation"), as one request.
//!
//! It begins where the branch was at the last fetch. libgit2 would tell of twenty commits first and wait for what the server
//! says, and keep each fetch as a pack with a second copy of what came as a difference.

use std::{fs, io::Write as _};

use git2::{ObjectType, Oid, Repository};

use crate::{
    advertisement::offers,
    errors::Failure,
    http::Client,
    loose,
    memory::Folders,
    pack::{self, Found},
    pkt::{self, Line},
    talk::Talk,
};

const SERVICE: &str = "git-upload-pack";

/// The most bytes of an answer that are read. What is larger is libgit2's, which keeps less of it in memory.
const MOST_ANSWER: usize = 4 << 20;

/// The most objects that are kept as files of their own: each takes a block of the disk.
const MOST_OBJECTS: usize = 32;

/// How what was downloaded is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A few objects as files of their own.
    Files,
    /// As a pack, of any size.
    Pack,
}

/// Downloads what the server has beyond `have`, up to `tip`. Returns `None` where it can't; libgit2 can do more.
pub(crate) fn fetch(
    client: &Client,
    talk: &Talk,
    repo: &Repository,
    folders: &mut Folders,
    have: Oid,
    tip: Oid,
) -> Result<Option<Kept>, Failure> {
    let capabilities = talk.capabilities();
    if !offers(&capabilities, "side-band-64k") {
        return Ok(None);
    }
    let request = request(repo, have, tip, &capabilities);
    let Some(answer) = client.call(talk, SERVICE, request)?.whole(client, talk, MOST_ANSWER)? else {
        return Ok(None);
    };
    let odb = repo.odb()?;
    let known = |id: Oid| {
        if let Some(raw) = folders.get(id) {
            return Some(Found { kind: ObjectType::Tree, data: raw.to_vec() });
        }
        let object = odb.read(id).ok()?;
        Some(Found { kind: object.kind(), data: object.data().to_vec() })
    };
    let Some(pack) = pack(&answer) else { return Ok(None) };
    let kept = match pack::objects(&pack, MOST_OBJECTS, known) {
        Some(mut found) => {
            // Should this be broken off, a commit without its folders must not be there.
            found.sort_by_key(|object| object.kind == ObjectType::Commit);
            for Found { kind, data } in found {
                let id = loose::write(repo, kind, &data)?;
                if kind == ObjectType::Tree && data.len() >= loose::LARGE {
                    folders.keep(id, data.into());
                }
            }
            Kept::Files
        }
        None => {
            let mut writer = odb.packwriter()?;
            if writer.write_all(&pack).is_err() || writer.commit().is_err() {
                return Ok(None);
            }
            Kept::Pack
        }
    };
    Ok(repo.find_commit(tip).is_ok().then_some(kept))
}

fn request(repo: &Repository, have: Oid, tip: Oid, capabilities: &str) -> Vec<u8> {
    let wanted = ["side-band-64k", "thin-pack", "ofs-delta", "no-progress", "object-format=sha1"];
    let words: Vec<_> = wanted.into_iter().filter(|word| offers(capabilities, word)).collect();
    let mut request = Vec::new();
    pkt::push(&mut request, format!("want {tip} {}\n", words.join(" ")).as_bytes());
    // Where the clone ends. Else the server took it for granted that what came before is here as well.
    for end in fs::read_to_string(repo.path().join("shallow")).unwrap_or_default().lines() {
        pkt::push(&mut request, format!("shallow {end}\n").as_bytes());
    }
    request.extend_from_slice(pkt::FLUSH);
    pkt::push(&mut request, format!("have {have}\n").as_bytes());
    pkt::push(&mut request, b"done\n");
    request
}

/// Takes the pack out of an answer: what is on the first side band, after the lines that name what both have.
fn pack(answer: &[u8]) -> Option<Vec<u8>> {
    let mut pack = Vec::new();
    let mut rest = answer;
    loop {
        match pkt::next(&mut rest)? {
            Line::Flush => return Some(pack),
            Line::Data(line) => match line.split_first()? {
                (1, data) => pack.extend_from_slice(data),
                (2, _) => {}
                _ if line.starts_with(b"ACK ") || line.starts_with(b"NAK") => {}
                // An error, or a line that nobody asked for.
                _ => return None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pack_is_what_is_on_the_first_band() {
        let mut answer = Vec::new();
        for line in [&b"NAK\n"[..], b"\x02counting", b"\x01PA", b"\x01CK"] {
            pkt::push(&mut answer, line);
        }
        assert_eq!(pack(&answer), None);
        answer.extend_from_slice(pkt::FLUSH);
        assert_eq!(pack(&answer).unwrap(), b"PACK");
        for broken in ["", "000cERR no\n0000", "0009\x03bad\n0000"] {
            assert_eq!(pack(broken.as_bytes()), None, "{broken}");
        }
    }
}
