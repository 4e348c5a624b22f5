//! Which known name an unknown one may have been meant to be.

/// Returns the name that is nearest to a mistyped one, if it is near: one slip in three letters, where a wrong, a
/// missing, a further and two swapped letters each are one slip.
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = (typed.chars().count() / 3).max(1);
    let measured = names.map(|name| (slips(typed, name), name));
    measured.min().filter(|(slips, _)| *slips <= near).map(|(_, name)| name)
}

/// Counts the slips from one word to another (the optimal string alignment distance).
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let (a, b) = (from[i - 1], to[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(a != b));
            if i > 1 && j > 1 && a == to[j - 2] && from[i - 2] == b {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let of = |typed| nearest(typed, ["git", "etcd", "filesystem", "memory"].into_iter());
        for (typed, meant) in [
            ("gti", Some("git")),
            ("etcdd", Some("etcd")),
            ("ectd", Some("etcd")),
            ("file-system", Some("filesystem")),
            ("filesytsme", Some("filesystem")),
            ("consul", None),
            ("s3", None),
            ("", None),
        ] {
            assert_eq!(of(typed), meant, "{typed}");
        }
    }
}
