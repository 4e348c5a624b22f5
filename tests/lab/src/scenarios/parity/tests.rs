//! The page and the rows say the same, word by word.

use super::SECTIONS;

/// What stands before the table.
const PAGE: &str = include_str!("../../../../../docs/parity.md");

fn table() -> String {
    let mut text = String::new();
    for (section, rows) in SECTIONS {
        text +=
            &format!("\n## {section}\n\n| behaviour | built-in | ours | test |\n| --- | --- | --- | --- |\n");
        for row in *rows {
            text += &format!("| {} | {} | {} | `{}` |\n", row.behaviour, row.builtin, row.ours, row.name);
        }
    }
    text
}

#[test]
fn the_page_has_each_row_in_the_same_words_and_no_other() {
    let wanted = table();
    let begin = PAGE.find("\n## Options").unwrap_or(PAGE.len());
    assert!(PAGE[begin..] == *wanted, "docs/parity.md must end with this:\n{wanted}");
}

#[test]
fn names_of_rows_are_words_and_unlike_each_other() {
    let mut names: Vec<_> = SECTIONS.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.name)).collect();
    let count = names.len();
    assert!(
        names.iter().all(|name| name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'-'))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn no_cell_breaks_the_table() {
    for row in SECTIONS.iter().flat_map(|(_, rows)| *rows) {
        for cell in [row.behaviour, row.builtin, row.ours] {
            assert!(!cell.is_empty() && !cell.contains(['|', '\n']), "{cell}");
        }
    }
}
