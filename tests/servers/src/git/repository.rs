//! Bare repositories, looked into and changed with the git program, as an operator would.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::process::{program, run};

/// A folder of bare repositories.
#[derive(Debug)]
pub struct Repositories {
    folder: TempDir,
}

impl Default for Repositories {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
}

impl Repositories {
    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an empty repository whose HEAD names a branch that isn't there yet.
    pub fn create(&self, name: &str, head: &str) -> Bare {
        let bare = Bare { path: self.folder.path().join(name) };
        let mut init = Command::new(program("git", "git"));
        run(init.args(["init", "-q", "--bare", "-b", head]).arg(&bare.path));
        bare
    }
}

/// One bare repository.
#[derive(Debug, Clone)]
pub struct Bare {
    /// Where it is.
    pub path: PathBuf,
}

/// An entry of a tree for [`Bare::tree`]: mode, kind, id, name.
pub type Entry<'a> = (&'a str, &'a str, String, &'a [u8]);

impl Bare {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new(program("git", "git"));
        git.arg("--git-dir").arg(&self.path).args(arguments);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", &self.path);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "an operator").env(format!("GIT_{who}_EMAIL"), "op@example");
        }
        git
    }

    /// Runs git in the repository and returns what it printed, without the last line's end.
    pub fn git(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments)).trim_end().to_owned()
    }

    /// Runs git with something to read.
    pub fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?} failed");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Writes a blob and returns its id.
    pub fn blob(&self, bytes: &[u8]) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], bytes)
    }

    /// Writes a tree of any entries, also those that git add would refuse.
    pub fn tree(&self, entries: &[Entry<'_>]) -> String {
        let mut input = Vec::new();
        for (mode, kind, id, name) in entries {
            input.extend_from_slice(format!("{mode} {kind} {id}\t").as_bytes());
            input.extend_from_slice(name);
            input.push(0);
        }
        self.git_with(&["mktree", "-z", "--missing"], &input)
    }

    /// Writes a commit of a tree onto a branch (or beside it, without the parent) and returns its id.
    pub fn commit_tree(&self, branch: &str, tree: &str, parent: Option<&str>) -> String {
        let mut arguments = vec!["commit-tree", tree, "-m", "by hand"];
        if let Some(parent) = parent {
            arguments.extend(["-p", parent]);
        }
        let commit = self.git(&arguments);
        self.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }

    /// Rewrites a branch to one commit without a parent, if it's there and nobody moves it meanwhile; tells whether it's so.
    pub fn forget_history(&self, branch: &str) -> bool {
        let Some(tip) = self.tip(branch) else { return true };
        let only = self.git(&["commit-tree", &format!("{tip}^{{tree}}"), "-m", "by hand"]);
        let name = format!("refs/heads/{branch}");
        self.command(&["update-ref", &name, &only, &tip]).output().unwrap().status.success()
    }

    /// Commits plain files, `endpoints/` and others, as the only content of a branch.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let mut records = Vec::new();
        let mut top = Vec::new();
        for (name, text) in files {
            let blob = self.blob(text.as_bytes());
            match name.strip_prefix("endpoints/") {
                Some(name) => records.push(("100644", "blob", blob, name.as_bytes())),
                None => top.push(("100644", "blob", blob, name.as_bytes())),
            }
        }
        if !records.is_empty() {
            top.push(("040000", "tree", self.tree(&records), b"endpoints"));
        }
        let tree = self.tree(&top);
        let parent = self.tip(branch);
        self.commit_tree(branch, &tree, parent.as_deref())
    }

    /// Commits one more file in `endpoints/`, of any name, on top of a branch.
    pub fn plant(&self, branch: &str, name: &[u8], bytes: &[u8]) {
        let blob = self.blob(bytes);
        let folder = self.with_entry(&format!("{branch}:endpoints"), "100644 blob", &blob, name);
        let tree = self.with_entry(branch, "040000 tree", &folder, b"endpoints");
        let parent = self.tip(branch);
        self.commit_tree(branch, &tree, parent.as_deref());
    }

    /// Writes a tree that is another one (or none, where it isn't there) with one entry put in.
    fn with_entry(&self, tree: &str, kind: &str, id: &str, name: &[u8]) -> String {
        let listed = self.command(&["ls-tree", "-z", tree]).output().unwrap();
        let mut input = Vec::new();
        if listed.status.success() {
            for line in listed.stdout.split_inclusive(|byte| *byte == 0) {
                let start = line.iter().position(|byte| *byte == b'\t').unwrap() + 1;
                if &line[start..line.len() - 1] != name {
                    input.extend_from_slice(line);
                }
            }
        }
        input.extend_from_slice(format!("{kind} {id}\t").as_bytes());
        input.extend_from_slice(name);
        input.push(0);
        self.git_with(&["mktree", "-z"], &input)
    }

    /// Returns the commit that a branch is at.
    pub fn tip(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        let found = self.git(&["for-each-ref", "--format=%(objectname)", &name]);
        (!found.is_empty()).then_some(found)
    }

    /// Returns the text of a file at the tip of a branch.
    pub fn file(&self, branch: &str, name: &str) -> String {
        self.git(&["show", &format!("{branch}:{name}")])
    }

    /// Returns the names in `endpoints/` at the tip of a branch.
    pub fn records(&self, branch: &str) -> Vec<String> {
        let listed = self.git(&["ls-tree", "--name-only", branch, "endpoints/"]);
        listed.lines().map(|name| name.trim_start_matches("endpoints/").to_owned()).collect()
    }

    /// Adds a hook.
    pub fn hook(&self, name: &str, script: &str) {
        let file = self.path.join("hooks").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
