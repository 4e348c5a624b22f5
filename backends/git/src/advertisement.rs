//! The list of references that comes before a push (gitprotocol-http(5), "Smart Server Response").
//!
//! A push asks for it to learn where the branch is and what the server can do. Both are known after the first push: the
//! server compares where the branch is once more, when it moves it, and says so when another host was first.

use crate::talk::Branch;

/// What begins the list.
const HEAD: &[u8] = b"001f# service=git-receive-pack\n0000";

/// Reads what the server can do: the words after the first reference's name.
pub(crate) fn capabilities(list: &[u8]) -> Option<Vec<u8>> {
    let line = line(list.strip_prefix(HEAD)?)?;
    let start = line.iter().position(|byte| *byte == 0)? + 1;
    Some(line[start..].trim_ascii().to_vec())
}

/// Writes the list of a server that has one branch, or none.
pub(crate) fn of_branch(branch: &Branch, capabilities: &[u8]) -> Vec<u8> {
    let (id, name) = match branch.tip {
        Some(tip) => (tip.to_string(), branch.name.as_str()),
        None => ("0".repeat(40), "capabilities^{}"),
    };
    let size = 4 + id.len() + 1 + name.len() + 1 + capabilities.len() + 1;
    let mut list = HEAD.to_vec();
    list.extend_from_slice(format!("{size:04x}{id} {name}\0").as_bytes());
    list.extend_from_slice(capabilities);
    list.extend_from_slice(b"\n0000");
    list
}

/// Returns the content of the first line (gitprotocol-common(5), "pkt-line").
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let size = std::str::from_utf8(bytes.get(..4)?).ok()?;
    bytes.get(4..usize::from_str_radix(size, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use git2::Oid;

    use super::*;

    #[test]
    fn writes_what_it_reads() {
        let words = b"report-status side-band-64k object-format=sha1 agent=git/2.39.5";
        let tip = Oid::from_str("0123456789abcdef0123456789abcdef01234567").unwrap();
        for tip in [Some(tip), None] {
            let list = of_branch(&Branch { name: "refs/heads/main".into(), tip }, words);
            assert_eq!(capabilities(&list).as_deref(), Some(&words[..]));
        }
        for broken in
            ["", "001f# service=git-receive-pack\n0000", "001f# service=git-receive-pack\n0000ffffx"]
        {
            assert_eq!(capabilities(broken.as_bytes()), None, "{broken}");
        }
    }
}
