//! Who follows CONTRIBUTING.md from `cargo new` on gets a store that passes the whole conformance suite.
//!
//! The commands and the files are taken from the page, so that it can't say what isn't so.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "readme/page.rs"]
#[allow(dead_code, reason = "the tests of the pages use more of it")]
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use page::{Page, root};

/// A step that the page tells.
enum Step {
    Run(String),
    /// A file, with the text that goes into it.
    Write(String, String),
}

/// Reads the steps: a block of shell is run, another goes into the file that is named last before it.
fn steps(page: &Page) -> Vec<Step> {
    let part = page
        .text
        .split("\n### From nothing to the suite\n")
        .nth(1)
        .expect("the page has the newcomer's path");
    let part = part.split("\n### ").next().unwrap();
    let mut steps = Vec::new();
    let mut pieces = part.split("```");
    let mut prose = pieces.next().unwrap();
    while let Some(block) = pieces.next() {
        let (language, text) = block.split_once('\n').unwrap();
        if language == "sh" {
            steps.extend(page::commands(text).into_iter().map(Step::Run));
        } else {
            let file = prose.rsplit('`').nth(1).expect("a file is named before its text");
            steps.push(Step::Write(file.to_owned(), text.to_owned()));
        }
        prose = pieces.next().unwrap();
    }
    steps
}

/// Runs a command of the page, and returns what it printed.
fn run(line: &str, folder: &mut PathBuf) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let arguments = match *words {
        ["cd", into] => {
            folder.push(into);
            return String::new();
        }
        ["cargo", ref arguments @ ..] => arguments,
        _ => panic!("this test can't run {line:?}"),
    };
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(&*folder)
        // What a newcomer downloads is what the workspace was built from. What was built stays from one run to the next.
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line} failed:\n{out}\n{errors}");
    out
}

/// Where the toy is built: a folder of its own, since another cargo may hold the lock of the workspace's.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("newcomer")
}

/// Returns the names of the suite's cases, as its source lists them.
fn cases() -> Vec<String> {
    let source = fs::read_to_string(root().join("backends/store/src/conformance/mod.rs")).unwrap();
    let list = source.split("\nsuite! {").nth(1).unwrap().split("\n}").next().unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.split("::").nth(1))
        .map(|name| name.split([' ', ',']).next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn a_newcomers_toy_store_passes_the_suite() {
    let page = Page::read("CONTRIBUTING.md");
    let outer = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root(), outer.path().join("ipvland")).unwrap();
    let (mut folder, mut said) = (outer.path().to_owned(), String::new());
    for step in steps(&page) {
        match step {
            Step::Run(line) => said = run(&line, &mut folder),
            Step::Write(file, text) if file.ends_with("/Cargo.toml") => {
                let path = outer.path().join(file);
                let made = fs::read_to_string(&path).unwrap();
                let kept =
                    made.strip_suffix("[dependencies]\n").expect("the last line that cargo new writes");
                fs::write(&path, format!("{kept}{text}")).unwrap();
                // The versions that are on this machine.
                fs::copy(root().join("Cargo.lock"), path.with_extension("lock")).unwrap();
            }
            Step::Write(file, text) => {
                let path = outer.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
    }
    let cases = cases();
    assert!(cases.len() > 20, "{cases:?}");
    for case in &cases {
        assert!(said.contains(&format!("test {case} ... ok\n")), "{case} has not passed:\n{said}");
    }
    let all = format!("test result: ok. {} passed; 0 failed; 0 ignored;", cases.len());
    assert!(said.contains(&all), "{said}");
    // The clone has another name in each run, so what was built of it serves none again.
    run("cargo clean --package ipvland-store --package shelf", &mut folder);
}
