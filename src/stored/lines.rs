//! How two texts differ, line by line, in the unified format of diff.

use std::fmt::Write as _;

/// How many lines that are alike stand around those that differ.
const CONTEXT: usize = 3;

/// The most cells of the table of common lines; above it all lines between the first and the last that differ are shown
/// as replaced. A record of 64 KiB may have 32,768 lines.
const MOST_CELLS: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Same,
    Removed,
    Added,
}

/// Returns the hunks that lead from one text to the other; empty where both are the same.
pub(super) fn unified(from: &str, to: &str) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let steps = steps(&from, &to);
    let mut text = String::new();
    let near = |at: usize| {
        let around = &steps[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(steps.len())];
        around.iter().any(|step| *step != Step::Same)
    };
    let (mut at, mut i, mut j) = (0, 0, 0);
    while at < steps.len() {
        if !near(at) {
            (at, i, j) = (at + 1, i + 1, j + 1);
            continue;
        }
        let (start_i, start_j, mut hunk) = (i, j, String::new());
        while at < steps.len() && near(at) {
            let (mark, line) = match steps[at] {
                Step::Same => (' ', from[i]),
                Step::Removed => ('-', from[i]),
                Step::Added => ('+', to[j]),
            };
            let _ = writeln!(hunk, "{mark}{line}");
            i += usize::from(steps[at] != Step::Added);
            j += usize::from(steps[at] != Step::Removed);
            at += 1;
        }
        let span = |start: usize, end: usize| format!("{},{}", start + usize::from(end > start), end - start);
        let _ = write!(text, "@@ -{} +{} @@\n{hunk}", span(start_i, i), span(start_j, j));
    }
    text
}

/// Returns the steps from one list of lines to the other, by their longest common subsequence.
fn steps(from: &[&str], to: &[&str]) -> Vec<Step> {
    let head = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let tails = from[head..].iter().rev().zip(to[head..].iter().rev());
    let tail = tails.take_while(|(a, b)| a == b).count();
    let (a, b) = (&from[head..from.len() - tail], &to[head..to.len() - tail]);
    let mut steps = vec![Step::Same; head];
    steps.extend(middle(a, b));
    steps.extend(vec![Step::Same; tail]);
    steps
}

fn middle(a: &[&str], b: &[&str]) -> Vec<Step> {
    let width = b.len() + 1;
    let mut steps = Vec::new();
    let (mut i, mut j) = (0, 0);
    if a.len().saturating_mul(b.len()) <= MOST_CELLS {
        // common[i * width + j] is how many lines a[i..] and b[j..] have in common, in order.
        let mut common = vec![0_u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = if a[i] == b[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
        while i < a.len() && j < b.len() {
            if a[i] == b[j] {
                steps.push(Step::Same);
                (i, j) = (i + 1, j + 1);
            } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
                steps.push(Step::Removed);
                i += 1;
            } else {
                steps.push(Step::Added);
                j += 1;
            }
        }
    }
    steps.extend(vec![Step::Removed; a.len() - i]);
    steps.extend(vec![Step::Added; b.len() - j]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_have_context_and_places() {
        assert_eq!(unified("a\nb\n", "a\nb\n"), "");
        assert_eq!(unified("", "a\n"), "@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(unified("a\n", ""), "@@ -1,1 +0,0 @@\n-a\n");
        let lines = |changed: &[(usize, &str)]| -> String {
            let line = |n: usize| {
                changed.iter().find(|(at, _)| *at == n).map_or(n.to_string(), |(_, text)| (*text).to_owned())
            };
            (1..=20).map(|n| line(n) + "\n").collect()
        };
        let expected = "\
@@ -1,5 +1,5 @@
 1
-2
+two
 3
 4
 5
@@ -15,6 +15,7 @@
 15
 16
 17
-18
+eighteen
+and a half
 19
 20
";
        assert_eq!(unified(&lines(&[]), &lines(&[(2, "two"), (18, "eighteen\nand a half")])), expected);
    }

    proptest::proptest! {
        #[test]
        fn the_steps_lead_from_one_text_to_the_other(a in "[ab\n]{0,40}", b in "[ab\n]{0,40}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
            let (mut i, mut walked) = (0, Vec::new());
            let mut j = 0;
            for step in steps(&a, &b) {
                match step {
                    Step::Same => {
                        proptest::prop_assert_eq!(a[i], b[j]);
                        walked.push(a[i]);
                        (i, j) = (i + 1, j + 1);
                    }
                    Step::Removed => i += 1,
                    Step::Added => {
                        walked.push(b[j]);
                        j += 1;
                    }
                }
            }
            proptest::prop_assert_eq!((i, walked), (a.len(), b));
        }
    }
}
