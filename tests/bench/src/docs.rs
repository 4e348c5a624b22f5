//! Puts the figures of a run into the documentation, so that none is typed by hand.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    chart,
    report::Report,
    row::{HEADS, Row},
    table::say,
};

/// What stands around the figures in the page.
const BEGIN: &str = "<!-- figures: written by `cargo lab bench --docs` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Writes the figures of a report between the marks of `docs/performance.md`, and its curves beside it.
pub(crate) fn write(report: &Report, docs: &Path) {
    let page = docs.join("performance.md");
    let text =
        fs::read_to_string(&page).unwrap_or_else(|why| panic!("cannot read {}: {why}", page.display()));
    let text = put(&text, &figures(report)).unwrap_or_else(|why| panic!("{}: {why}", page.display()));
    fs::write(&page, text).unwrap_or_else(|why| panic!("cannot write {}: {why}", page.display()));
    let folder = docs.join("performance");
    fs::create_dir_all(&folder).unwrap_or_else(|why| panic!("cannot make {}: {why}", folder.display()));
    for curve in &report.part.curves {
        let file = folder.join(format!("{}.svg", curve.name));
        fs::write(&file, chart::draw(curve))
            .unwrap_or_else(|why| panic!("cannot write {}: {why}", file.display()));
    }
    say(&format!("wrote {} and {} curves beside it", page.display(), report.part.curves.len()));
}

/// Replaces what is between the marks.
fn put(page: &str, figures: &str) -> Result<String, String> {
    let marks = || format!("the page must hold the lines {} and {}", BEGIN.trim(), END.trim());
    let (before, rest) = page.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(format!("{before}{BEGIN}{figures}{END}{after}"))
}

/// Returns the figures of a report as Markdown.
fn figures(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "\n{}: {} × {}, {} MiB of memory, Linux {}, load before the run {}. Held against: {}.\n\n",
        machine.day,
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.load_before,
        machine.programs.join("; "),
    );
    let line = |text: &mut String, cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("text");
    };
    line(&mut text, &HEADS.map(str::to_owned));
    line(&mut text, &HEADS.map(|_| "---".to_owned()));
    report.part.rows.iter().map(Row::cells).for_each(|cells| line(&mut text, &cells));
    for curve in &report.part.curves {
        write!(text, "\n![{}](performance/{}.svg)\n", curve.title, curve.name).expect("text");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_the_place_of_those_of_the_run_before() {
        let page = format!("# Title\n{BEGIN}old\n{END}after\n");
        let once = put(&page, "new\n").unwrap_or_default();
        assert_eq!(once, format!("# Title\n{BEGIN}new\n{END}after\n"));
        assert_eq!(put(&once, "new\n"), Ok(once.clone()));
    }

    #[test]
    fn a_page_without_the_marks_is_left_alone() {
        assert!(put("# Title\n", "new\n").is_err_and(|why| why.contains("end of figures")));
    }
}
