//! What can be wrong with a config, a sentence each.

use std::path::PathBuf;

/// The config can't be used. `Display` is one sentence for the operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config`, or one under `/etc/ipvland`, can't be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The ending names neither TOML nor YAML.
    #[error("cannot tell the format of {}: name it .toml, .yaml or .yml", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// There are a TOML and a YAML file under `/etc/ipvland`.
    #[error("both {} and {} exist: remove one, or name one with --config", first.display(), second.display())]
    TwoFiles {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The file is no TOML or YAML.
    #[error("{file}, line {line}: {reason}")]
    Syntax {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The parser's words, without the text of the line, which may hold a secret.
        reason: String,
    },
    /// A key that no table has.
    #[error("{origin}: unknown key {key} (known: {})", known.join(", "))]
    UnknownKey {
        /// Where it was said: `ipvland.toml`, `environment: IPVLAND_STORE__GIT__BRNACH`.
        origin: String,
        /// The full key: `store.git.brnach`.
        key: String,
        /// The keys that the table has, as declared.
        known: Vec<String>,
    },
    /// A value that the key can't take.
    #[error("{origin}: {key} {problem}")]
    Value {
        /// Where it was said.
        origin: String,
        /// The full key.
        key: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// The store refuses its table.
    #[error("{origin}: {problem}")]
    Store {
        /// Where it was said.
        origin: String,
        /// The store's sentence.
        problem: String,
    },
    /// `--git-multihost` without a repository.
    #[error("--git-multihost: no repository is named: add --repo=URL, or store.git.repo to the config file")]
    NoRepository,
}
