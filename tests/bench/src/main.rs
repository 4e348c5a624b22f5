//! Times the stores side by side, each against plain use of what it is made of, in one run.
//!
//! Absolute times of one machine say little; the ratios of a row, whose two sides were timed in turn, do.
//!
//! # Layout
//!
//! - `subject`: the stores, each on a real server; [`peer`]: what each is held against;
//! - `reading`, `writing`, `telling`, `memory`, `contention`: one table each;
//! - `sample`: medians and spreads; `table`: what is printed, and written as JSON.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that can't run ends, and says why")]

mod contention;
mod memory;
mod peer;
mod reading;
mod sample;
mod subject;
mod table;
mod telling;
mod writing;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Times the stores of ipvland.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Times all kinds of stores side by side
    Stores {
        /// Only these stores, by the names in the tables
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// How many records the stores hold
        #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
        records: Vec<usize>,
        /// How many hosts write at once
        #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 300])]
        writers: Vec<usize>,
        /// How often each figure is taken
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// Also write the tables here, as JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Holds a store as a daemon does and prints its resident memory; the settings come on stdin
    #[command(hide = true)]
    Hold,
}

#[tokio::main]
async fn main() {
    match Arguments::parse().command {
        Command::Hold => memory::hold().await,
        Command::Stores { only, records, writers, rounds, json } => {
            let subjects = subject::all(&only);
            let tables = [
                reading::table(&subjects, &records, rounds).await,
                writing::table(&subjects, &records, rounds).await,
                telling::table(&subjects, &records, rounds).await,
                memory::table(&subjects, &records).await,
                contention::table(&subjects, &writers).await,
            ];
            if let Some(file) = json {
                table::write(&file, &tables);
            }
        }
    }
}
