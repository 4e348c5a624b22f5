//! What CONTRIBUTING.md tells a newcomer to read, copy and run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    page::{self, Page, root},
    words,
};

/// Returns a file without the marks of its documentation, and without the lines that documentation hides.
fn source(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix("//!") {
        Some(doc) => doc.strip_prefix(' ').unwrap_or(doc),
        None => line,
    });
    lines.filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect()
}

/// Takes the indent of a list from a block.
fn flush(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block.trim_end().lines().map(|line| line.get(indent..).unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_code_is_that_of_the_file_that_is_linked_before_it() {
    let page = Page::read("CONTRIBUTING.md");
    let blocks = page.blocks("rust");
    assert_eq!(blocks.len(), 3);
    // The newcomer's tests are in no file here: `tests/newcomer.rs` takes them from the page, and runs them.
    for block in blocks.into_iter().filter(|block| !block.contains("conformance_tests!(Shelves)")) {
        let before = &page.text[..page.text.find(block).unwrap()];
        let link = before.rsplit("](").next().and_then(|rest| rest.split(')').next()).unwrap();
        assert!(source(link).contains(&flush(block)), "not as in {link}:\n{}", flush(block));
    }
}

/// Every command of the page that starts so, its comment left out.
fn commands(start: &str) -> Vec<Vec<String>> {
    let page = Page::read("CONTRIBUTING.md");
    let lines: Vec<_> = page.blocks("sh").into_iter().flat_map(page::commands).chain(page.code()).collect();
    let commands = lines.iter().filter_map(|line| {
        let line = line.split(" #").next().unwrap();
        let line = line.strip_prefix("IPVLAND_BLESS=1 ").unwrap_or(line);
        Some(words(line.strip_prefix(start)?))
    });
    commands.collect()
}

/// Returns the directory of a crate of the workspace.
fn crate_dir(name: &str) -> PathBuf {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let mut dirs = members.split('"').skip(1).step_by(2).map(|member| root().join(member));
    let named = |dir: &Path| {
        fs::read_to_string(dir.join("Cargo.toml")).unwrap().contains(&format!("name = {name:?}"))
    };
    dirs.find(|dir| named(dir)).unwrap_or_else(|| panic!("no crate is called {name}"))
}

#[test]
fn every_cargo_test_has_its_crate_its_file_and_its_module() {
    let commands = commands("cargo test");
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let after = |flag: &str| command.iter().skip_while(|word| *word != flag).nth(1);
        let dir = after("-p").map_or_else(|| root().to_owned(), |name| crate_dir(name));
        if let Some(test) = after("--test") {
            let tests = dir.join("tests");
            let file = tests.join(format!("{test}.rs"));
            assert!(file.exists() || tests.join(test).join("main.rs").exists(), "{command:?}");
        }
        if let Some(module) = after("--lib") {
            let is_there = dir.join("src").join(format!("{module}.rs")).exists();
            assert!(is_there || dir.join("src").join(module).exists(), "{command:?}");
        }
    }
}

#[test]
fn every_part_of_the_lab_exists() {
    let read = |path: &str| fs::read_to_string(root().join("tests/lab/src").join(path)).unwrap();
    let (cli, parts) = (read("cli.rs"), read("scenarios/mod.rs") + &read("test.rs"));
    let commands = commands("cargo lab ");
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let (name, rest) = command.split_first().unwrap();
        let variant = name[..1].to_uppercase() + &name[1..];
        assert!(cli.contains(&format!("\n    {variant} {{")), "{command:?}");
        for word in rest {
            let (part, release) = word.split_once('/').unwrap_or((word, "trixie"));
            let known = match part.strip_prefix("--") {
                Some(flag) => cli.contains(&format!("        {flag}: bool")),
                None => {
                    parts.contains(&format!("name: {part:?}")) && ["trixie", "bookworm"].contains(&release)
                }
            };
            assert!(known, "the lab has no {word}");
        }
    }
}

#[test]
fn every_path_is_there() {
    let page = Page::read("CONTRIBUTING.md");
    let begins = |code: &String| {
        ["src/", "backends/", "configs/", "tests/"].iter().any(|folder| code.starts_with(folder))
    };
    let paths: Vec<_> = page.code().filter(begins).collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        assert!(page::is_there(&path), "{path} is not there");
    }
}
