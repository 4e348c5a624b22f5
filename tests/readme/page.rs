//! A page of the documentation, and what can be taken from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the directory of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tells whether a link of a page at the top leads to a file or a directory.
pub(crate) fn is_there(link: &str) -> bool {
    root().join(PathBuf::from(link.split('#').next().unwrap())).exists()
}

/// A page in Markdown.
pub(crate) struct Page {
    pub(crate) text: String,
}

impl Page {
    /// Reads a page at the top.
    pub(crate) fn read(name: &str) -> Self {
        Self { text: fs::read_to_string(root().join(name)).unwrap() }
    }

    /// Returns the fenced blocks of a language, indented ones as they are.
    pub(crate) fn blocks(&self, language: &str) -> Vec<&str> {
        let fences = self.text.split("```").collect::<Vec<_>>();
        assert!(fences.len() % 2 == 1, "a fence is open");
        let blocks = fences.into_iter().skip(1).step_by(2);
        blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
    }

    /// Returns what stands between single backticks, outside of blocks.
    pub(crate) fn code(&self) -> impl Iterator<Item = String> {
        let prose: Vec<_> = self.text.split("```").step_by(2).collect();
        let words: Vec<_> =
            prose.iter().flat_map(|prose| prose.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
        words.into_iter()
    }

    /// Returns where the links lead.
    pub(crate) fn links(&self) -> Vec<&str> {
        self.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
    }

    /// Returns the first two cells of each row of the table whose first heading is this.
    pub(crate) fn rows(&self, heading: &str) -> Vec<(String, String)> {
        let begins = format!("| {heading} |");
        let table = self.text.lines().skip_while(|line| !line.starts_with(&begins)).skip(2);
        let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().unwrap(), cells.next().unwrap())
        });
        rows.collect()
    }
}

/// Returns the commands of a block of shell, those over several lines as one.
pub(crate) fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    joined.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}
