//! Lines of Git's protocols (gitprotocol-common(5), "pkt-line Format").

/// A line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its content.
    Data(&'a [u8]),
    /// `0000`, the end of a part.
    Flush,
}

/// Takes a line from the beginning of what was read; `None` where it isn't there whole, or is none.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Option<Line<'a>> {
    let size = usize::from_str_radix(std::str::from_utf8(rest.get(..4)?).ok()?, 16).ok()?;
    if size == 0 {
        *rest = &rest[4..];
        return Some(Line::Flush);
    }
    let data = rest.get(4..size)?;
    *rest = &rest[size..];
    Some(Line::Data(data))
}

/// Adds a line to what is to be sent.
pub(crate) fn push(to: &mut Vec<u8>, data: &[u8]) {
    to.extend_from_slice(format!("{:04x}", data.len() + 4).as_bytes());
    to.extend_from_slice(data);
}

/// The end of a part.
pub(crate) const FLUSH: &[u8] = b"0000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let mut sent = Vec::new();
        push(&mut sent, b"one\n");
        push(&mut sent, b"");
        sent.extend_from_slice(FLUSH);
        let mut rest = &sent[..];
        assert_eq!(next(&mut rest), Some(Line::Data(b"one\n")));
        assert_eq!(next(&mut rest), Some(Line::Data(b"")));
        assert_eq!(next(&mut rest), Some(Line::Flush));
        assert_eq!(next(&mut rest), None);
        for broken in ["0003", "zzzz", "-001", "000", "0009abc"] {
            assert_eq!(next(&mut broken.as_bytes()), None, "{broken}");
        }
    }
}
