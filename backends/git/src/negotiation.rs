//! A fetch that begins at the commit which both sides have (gitprotocol-pack(5), "Packfile Negotiation").
//!
//! libgit2 tells the server of twenty commits and waits for what it says, before it asks for what is new. Where the branch
//! was at the last fetch is enough. The server ignores a commit that it doesn't have: then all is sent.

use git2::Oid;

/// Answers libgit2's first question by itself, where it names the commit that both sides have: yes, that one.
///
/// `None` for the last question, which the server must answer, and for one that doesn't name the commit.
pub(crate) fn shortcut(question: &[u8], known: Oid) -> Option<Vec<u8>> {
    let is_last = question.ends_with(b"0009done\n");
    let understands = holds(question, b" multi_ack");
    if is_last || !understands || !holds(question, format!("0032have {known}\n").as_bytes()) {
        return None;
    }
    Some(format!("0038ACK {known} common\n0008NAK\n").into_bytes())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|found| found == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_only_what_it_knows() {
        let known = Oid::from_str("0123456789abcdef0123456789abcdef01234567").unwrap();
        let want = "0098want 1123456789abcdef0123456789abcdef01234567 multi_ack_detailed ofs-delta\n0000";
        let have = format!("0032have {known}\n");
        let answer = shortcut(format!("{want}{have}0000").as_bytes(), known).unwrap();
        assert_eq!(answer, format!("0038ACK {known} common\n0008NAK\n").into_bytes());
        assert_eq!(answer.iter().position(|byte| *byte == b'\n'), Some(0x37));
        for other in [
            format!("{want}{have}0009done\n"),
            format!("{want}0032have 2123456789abcdef0123456789abcdef01234567\n0000"),
            format!("0000{have}0000"),
        ] {
            assert_eq!(shortcut(other.as_bytes(), known), None, "{other}");
        }
    }
}
