//! The list of references that a server shows over HTTP (gitprotocol-http(5), "Smart Server Response").

use git2::Oid;

use crate::pkt::{self, Line};

/// What a server shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// What it can do: words with blanks between.
    pub(crate) capabilities: String,
    /// Its references, by their whole names.
    pub(crate) references: Vec<(Vec<u8>, Oid)>,
}

impl Advertisement {
    /// Reads a list; `None` for what is none.
    pub(crate) fn read(list: &[u8]) -> Option<Self> {
        let mut rest = list;
        match (pkt::next(&mut rest)?, pkt::next(&mut rest)?) {
            (Line::Data(service), Line::Flush) if service.starts_with(b"# service=") => {}
            _ => return None,
        }
        let mut found = Self::default();
        while let Line::Data(line) = pkt::next(&mut rest)? {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let mut parts = line.splitn(2, |byte| *byte == 0);
            let (reference, words) = (parts.next()?, parts.next());
            if let Some(words) = words {
                found.capabilities = String::from_utf8_lossy(words).into_owned();
            }
            if reference.starts_with(b"shallow ") {
                continue;
            }
            let (id, name) = (reference.get(..40)?, reference.get(41..)?);
            let id = Oid::from_str(std::str::from_utf8(id).ok()?).ok()?;
            // An empty repository shows what it can do beside a name that is none.
            if !id.is_zero() {
                found.references.push((name.to_vec(), id));
            }
        }
        Some(found)
    }

    /// Returns where a reference is.
    pub(crate) fn tip(&self, name: &str) -> Option<Oid> {
        self.references.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, id)| *id)
    }
}

/// Tells whether a server's words name something that it can do.
pub(crate) fn offers(capabilities: &str, word: &str) -> bool {
    capabilities.split(' ').any(|offered| offered == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_references_and_words() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let mut list = Vec::new();
        pkt::push(&mut list, b"# service=git-receive-pack\n");
        list.extend_from_slice(pkt::FLUSH);
        pkt::push(&mut list, format!("{id} refs/heads/a\0report-status atomic\n").as_bytes());
        pkt::push(&mut list, format!("{id} refs/heads/main\n").as_bytes());
        assert_eq!(Advertisement::read(&list), None);
        list.extend_from_slice(pkt::FLUSH);
        let found = Advertisement::read(&list).unwrap();
        assert_eq!(found.tip("refs/heads/main"), Some(Oid::from_str(id).unwrap()));
        assert_eq!(found.tip("refs/heads/mai"), None);
        assert!(offers(&found.capabilities, "atomic") && !offers(&found.capabilities, "atom"));

        let zero = "0".repeat(40);
        let mut empty = b"001f# service=git-receive-pack\n0000".to_vec();
        pkt::push(&mut empty, format!("{zero} capabilities^{{}}\0report-status\n").as_bytes());
        empty.extend_from_slice(pkt::FLUSH);
        let found = Advertisement::read(&empty).unwrap();
        assert_eq!((found.references.len(), found.capabilities.as_str()), (0, "report-status"));
        for broken in ["", "0000", "0004", "001f# service=git-receive-pack\n0000000bnothing"] {
            assert_eq!(Advertisement::read(broken.as_bytes()), None, "{broken}");
        }
    }
}
