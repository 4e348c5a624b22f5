//! What is measured how often, and on what.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Sizes and rounds.
#[derive(Debug, Clone, Args)]
pub(crate) struct How {
    /// The daemon; by default the program ipvland beside this one
    #[arg(long, value_name = "FILE", default_value_os_t = beside())]
    pub(crate) ipvland: PathBuf,
    /// How many records the stores hold
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
    pub(crate) records: Vec<usize>,
    /// How many hosts write at once
    #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 100, 300])]
    pub(crate) writers: Vec<usize>,
    /// How many routes the lines about routes are about
    #[arg(long, default_value_t = 10_000)]
    pub(crate) routes: usize,
    /// How many routes are held against those
    #[arg(long, default_value_t = 30_000)]
    pub(crate) many: usize,
    /// The sizes of the curve of routes
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 3_000, 10_000, 30_000, 90_000])]
    pub(crate) curve: Vec<usize>,
    /// How often each figure is taken
    #[arg(long, default_value_t = 9)]
    pub(crate) rounds: usize,
    /// Who tells host B that A has published
    #[arg(long, value_enum, default_value_t = Hint::Daemon)]
    pub(crate) hint: Hint,
}

/// Who tells host B that A has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hint {
    /// The daemon on A, by a nudge
    Daemon,
    /// The benchmark, as `ipvland sync` on B, once A has answered: for a network that lets no nudges through
    Sync,
}

impl How {
    /// The largest of the stores.
    pub(crate) fn most_records(&self) -> usize {
        self.records.iter().copied().max().expect("a number of records")
    }

    /// Small sizes, to see that everything works.
    pub(crate) fn quick(self) -> Self {
        Self {
            records: vec![10, 200],
            writers: vec![5, 10],
            routes: 300,
            many: 900,
            curve: vec![100, 300],
            rounds: 3,
            ..self
        }
    }

    /// Returns the words that say so on a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let hint = if self.hint == Hint::Sync { "sync" } else { "daemon" };
        [
            ("ipvland", self.ipvland.display().to_string()),
            ("records", list(&self.records)),
            ("writers", list(&self.writers)),
            ("routes", self.routes.to_string()),
            ("many", self.many.to_string()),
            ("curve", list(&self.curve)),
            ("rounds", self.rounds.to_string()),
            ("hint", hint.to_owned()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .into()
    }
}

fn beside() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("ipvland")
}
