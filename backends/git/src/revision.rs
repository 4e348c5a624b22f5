//! Revisions of the store: commits of the branch.

use git2::Oid;
use ipvland_store::Revision;

/// The revision of a branch that isn't there yet.
const NONE: &str = "none";

/// Returns the revision of a branch that is at a commit, or not there yet.
pub(crate) fn revision(tip: Option<Oid>) -> Revision {
    match tip {
        Some(tip) => Revision::new(tip.to_string()),
        None => Revision::new(NONE),
    }
}

/// Reads a revision of this store: `None` for what can't be one.
#[expect(clippy::option_option, reason = "the inner one is the branch that isn't there yet")]
pub(crate) fn parse(revision: &Revision) -> Option<Option<Oid>> {
    match revision.as_str() {
        NONE => Some(None),
        hex if hex.len() == 40 => Oid::from_str(hex).ok().map(Some),
        _ => None,
    }
}

/// Shows a commit to an operator.
pub(crate) fn short(tip: Option<Oid>) -> String {
    tip.map_or_else(|| "an empty branch".to_owned(), |tip| tip.to_string().chars().take(10).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let tip = Oid::from_str("0123456789abcdef0123456789abcdef01234567").unwrap();
        for tip in [None, Some(tip)] {
            assert_eq!(parse(&revision(tip)), Some(tip));
        }
        for other in ["", "0123456789", "main", &"x".repeat(40)] {
            assert_eq!(parse(&Revision::new(other)), None, "{other}");
        }
    }
}
