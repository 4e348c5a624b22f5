//! `ipvland store`: looks into stores beside the daemon, and copies between them.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use ipvland_store::Registry;

use super::{
    Failure,
    arguments::{Format, Settings},
    load, pretty, print, say, variables, wait,
};
use crate::{
    config::{self, Config, Loaded, LogConfig, Sources},
    logging, status,
    stored::{self, Listing, Opened, Order, Trouble},
};

const SHOW_EXAMPLES: &str = "\
Reads the store itself, so no daemon has to run. Records that every host refuses are marked, with the reason.

Examples:
  ipvland store show
  ipvland store show 10.1.1.48                the bytes of that host's record, as they are
  ipvland store show --store=git --repo=ssh://git@git.example/net/overlay.git
  ipvland store show -o json | jq '.records[].prefixes'

Exit codes: 0 it worked, 1 it failed, 2 wrong command line or config.";

const DIFF_EXAMPLES: &str = "\
Examples:
  ipvland store diff --from old.toml --to new.toml
  ipvland store diff --from old.toml          against the store that this host is configured for

--from and --to are complete config files, of which [store] counts; IPVLAND_STORE__ variables don't apply to them.

Exit codes, as of diff: 0 the records are the same, 1 they differ; 2 wrong command line or config, 4 a store can't be read.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  ipvland store export backup-2026-05-01      every record as a file, its bytes as they are
  ipvland store export > records.json         one JSON document: records that are JSON as values under `records`, all
                                              others as text under `escaped`, with \\x1b for what is not printable ASCII

Exit codes: 0 it worked, 1 it failed, 2 wrong command line or config.";

const COPY_EXAMPLES: &str = "\
Moves a fleet from one store to another of any kind, and may be repeated while the hosts are swapped one after another:

  ipvland store copy --from old.toml --to new.toml --dry-run
  ipvland store copy --from old.toml --to new.toml
  ipvland store copy --from new.toml --to old.toml    meanwhile: what hosts that have moved changed, for those that have not

Where the two differ, the store that changed since they were last alike is right; this host remembers that in its state
directory, so copy from one host. Where it doesn't know, the target's record stays and is told, because a host that has
moved publishes there, and its record in the source is old. --force lets the source win everywhere.

Nothing is ever removed from the target without --prune, which removes records that an earlier copy saw in both and that
left the source since; --prune --force removes all that the source lacks. Don't prune while hosts are being swapped.

--from and --to are complete config files, of which [store] counts; IPVLAND_STORE__ variables don't apply to them.
Breaking it off (Ctrl-C) leaves whole batches, and the next copy goes on.

Exit codes: 0 the target has what it should, 1 it failed or the source changed meanwhile (run it again), 2 wrong command
line or config.";

/// The commands of `ipvland store`.
#[derive(Subcommand)]
pub(super) enum StoreCommand {
    /// List the records of the store, or print one
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Print the record of this file or host address, its bytes as they are
        #[arg(value_name = "KEY|ADDRESS")]
        record: Option<String>,
        /// The format of the list
        #[arg(short, long, value_enum, default_value_t = Format::Text, conflicts_with = "record")]
        output: Format,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Tell how the records of two stores differ
    #[command(after_help = DIFF_EXAMPLES)]
    Diff {
        /// The config file of one store
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The config file of the other; default: this host's config
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Write all records into a directory, or as one JSON document to stdout
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// A new or empty directory
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Copy the records of one store to another
    #[command(after_help = COPY_EXAMPLES)]
    Copy(Box<CopyArguments>),
}

/// The flags of `ipvland store copy`.
#[derive(Args)]
pub(super) struct CopyArguments {
    /// The config file of the store that is read
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The config file of the store that is written
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    /// Remove records that an earlier copy saw in both stores and that left the source since
    #[arg(long)]
    prune: bool,
    /// Let the source win wherever the two differ; with --prune, remove all that it lacks
    #[arg(long)]
    force: bool,
}

/// What differs between the stores, or the exit code of `diff(1)` for trouble: here 2 is taken by wrong configs.
const DIFFERENT: u8 = 1;
const CANNOT_COMPARE: u8 = 4;

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Usage(sentence) => Self::usage(sentence),
            Trouble::Failed(sentence) => Self::failed(sentence),
        }
    }
}

/// Runs one of the commands; returns the exit code.
pub(super) fn execute(
    command: StoreCommand,
    file: Option<PathBuf>,
    socket: Option<String>,
    registry: &Registry,
) -> Result<u8, Failure> {
    let configured = |settings| {
        let loaded = load(file.clone(), socket.clone(), settings, registry)?;
        Ok::<_, Failure>(begin(loaded, None))
    };
    match command {
        StoreCommand::Show { record, output, settings } => {
            wait(show(configured(Some(*settings))?, registry, record, output))??;
            Ok(0)
        }
        StoreCommand::Diff { from, to, output } => {
            let from = side("--from", from, registry)?;
            let to = match to {
                Some(to) => side("--to", to, registry)?,
                None => configured(None)?,
            };
            wait(diff(from, to, registry, output))?.map_err(|failure| match failure.code {
                1 => Failure { code: CANNOT_COMPARE, ..failure },
                _ => failure,
            })
        }
        StoreCommand::Export { dir, settings } => {
            wait(export(configured(Some(*settings))?, registry, dir))??;
            Ok(0)
        }
        StoreCommand::Copy(arguments) => {
            let CopyArguments { from, to, dry_run, prune, force } = *arguments;
            let (from, to) = (side("--from", from, registry)?, side("--to", to, registry)?);
            wait(copy(from, to, registry, Order { dry_run, prune, force }))?
        }
    }
}

/// Loads the config file of one side. Variables that set the store would set both to the same one.
fn side(flag: &str, file: PathBuf, registry: &Registry) -> Result<Config, Failure> {
    let mut environment = variables();
    environment.retain(|(name, _)| !name.starts_with("IPVLAND_STORE__"));
    let sources = Sources { file: Some(file), environment, ..Sources::default() };
    let loaded =
        config::load(&sources, registry).map_err(|error| Failure::usage(format!("{flag}: {error}")))?;
    Ok(begin(loaded, Some(flag)))
}

/// Starts logging what is worth a warning, or what was asked for, and tells the config's warnings.
fn begin(loaded: Loaded, flag: Option<&str>) -> Config {
    let asked = loaded.entries.iter().any(|entry| entry.key == "log.level" && entry.source != "default");
    let filter = if asked { loaded.config.log.filter.clone() } else { "warn".to_owned() };
    logging::init(&LogConfig { filter, json: loaded.config.log.json });
    for warning in &loaded.warnings {
        let flag = flag.map(|flag| format!("{flag}: ")).unwrap_or_default();
        say(&format!("warning: {flag}{warning}"));
    }
    loaded.config
}

async fn open(config: &Config, registry: &Registry) -> Result<Opened, Failure> {
    let opened = stored::open(config, registry).await?;
    if let Some(warning) = &opened.warning {
        say(&format!("warning: {warning}"));
    }
    Ok(opened)
}

async fn show(
    config: Config,
    registry: &Registry,
    record: Option<String>,
    output: Format,
) -> Result<(), Failure> {
    let store = open(&config, registry).await?;
    let snapshot = store.read().await?;
    if let Some(record) = record {
        let bytes = stored::find(&store, &snapshot, &record)?;
        return match io::stdout().write_all(bytes) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("cannot write the record: {error}")))
            }
            _ => Ok(()),
        };
    }
    let listing = Listing::new(&store, &snapshot);
    print(&match output {
        Format::Text => listing.to_text(),
        Format::Json => pretty(&listing)?,
    })
}

async fn diff(from: Config, to: Config, registry: &Registry, output: Format) -> Result<u8, Failure> {
    let (from, to) = (open(&from, registry).await?, open(&to, registry).await?);
    let (a, b) = (from.read().await?, to.read().await?);
    let difference = stored::differ((&from, &a), (&to, &b));
    print(&match output {
        Format::Text => difference.to_text(),
        Format::Json => pretty(&difference)?,
    })?;
    Ok(if difference.is_none() { 0 } else { DIFFERENT })
}

async fn export(config: Config, registry: &Registry, dir: Option<PathBuf>) -> Result<(), Failure> {
    let store = open(&config, registry).await?;
    let snapshot = store.read().await?;
    print(&match dir {
        Some(dir) => stored::to_directory(&store, &snapshot, &dir)?,
        None => pretty(&stored::to_json(&store, &snapshot))?,
    })
}

async fn copy(from: Config, to: Config, registry: &Registry, order: Order) -> Result<u8, Failure> {
    stored::check_two(&from, &to, registry)?;
    let (from, to) = (open(&from, registry).await?, open(&to, registry).await?);
    // A reader that has gone away doesn't stop the copy.
    let mut tell = |line: &str| _ = print(&status::clean(line));
    let copied = stored::copy(&from, &to, order, &mut tell).await?;
    print(&status::clean(&copied.words))?;
    Ok(u8::from(!copied.complete))
}
