//! The command line: parses it, loads the config, and runs one command.
//!
//! Errors are printed once, as `ipvland: sentence`; exit codes tell usage errors from failures (`ipvland --help` lists
//! them).

mod arguments;
mod store;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use arguments::{Arguments, Command, Format, Settings};
use bytes::Bytes;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use hyper::Method;
use ipvland_store::Registry;

use crate::{
    client::{self, ClientError},
    config::{self, Loaded, Override, Sources},
    daemon, logging, secret,
    status::{Status, render_text},
};

/// Why a command ends without success: its exit code, and the sentence for stderr.
struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    fn failed(sentence: impl Into<String>) -> Self {
        Self { code: 1, sentence: sentence.into() }
    }

    fn usage(sentence: impl Into<String>) -> Self {
        Self { code: 2, sentence: sentence.into() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self {
            code: if matches!(error, ClientError::NotRunning { .. }) { 3 } else { 1 },
            sentence: error.to_string(),
        }
    }
}

/// Runs the program with the stores of a registry, and returns its exit code.
///
/// A program of your own registers its store and calls this from `main`; the first argument is the program's name.
pub fn run<I, T>(arguments: I, registry: Registry) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error, &arguments),
    };
    match execute(parsed, registry) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&failure.sentence);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints help and the version to stdout, and what is wrong with the command line to stderr.
fn explain(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to be told when stdout is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let words = error.to_string();
    let arguments: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let words = secret::hide_arguments(words, &arguments);
    say(words.strip_prefix("error: ").unwrap_or(&words).trim_end());
    ExitCode::from(2)
}

fn execute(arguments: Arguments, registry: Registry) -> Result<u8, Failure> {
    let Arguments { config: file, socket, command } = arguments;
    let load = |settings: Option<Settings>| load(file.clone(), socket.clone(), settings, &registry);
    match command {
        Command::Run(settings) => {
            let loaded = load(Some(*settings))?;
            start_logging(&loaded);
            wait(daemon::run(loaded.config, registry))?.map_err(Failure::failed)?;
        }
        Command::Leave { force, settings } => {
            let loaded = load(Some(*settings))?;
            start_logging(&loaded);
            print(&wait(leave(loaded, registry, force))??)?;
        }
        Command::Status { output } => {
            let loaded = load(None)?;
            return wait(status(loaded, output))?;
        }
        Command::Sync => {
            let loaded = load(None)?;
            let answer = client::call(&loaded.config.daemon.socket, Method::POST, "/sync", Bytes::new());
            print(&String::from_utf8_lossy(&wait(answer)??))?;
        }
        Command::Config { output, settings } => {
            let loaded = load(Some(*settings))?;
            for warning in &loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            print(&match output {
                Format::Text => config::to_toml(&loaded.entries),
                Format::Json => pretty(&loaded.entries)?,
            })?;
        }
        Command::Store { command } => return store::execute(command, file, socket, &registry),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "ipvland", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(0)
}

fn load(
    file: Option<PathBuf>,
    socket: Option<String>,
    settings: Option<Settings>,
    registry: &Registry,
) -> Result<Loaded, Failure> {
    let git_multihost = settings.as_ref().is_some_and(Settings::git_multihost);
    let mut flags = settings.map(Settings::overrides).unwrap_or_default();
    flags.extend(socket.map(|value| Override { flag: "--socket", key: "daemon.socket", value }));
    let sources = Sources { file, environment: variables(), flags, git_multihost };
    config::load(&sources, registry).map_err(|error| Failure::usage(error.to_string()))
}

/// Returns the environment. A variable that is no text can't be one of ours; what isn't text in ours becomes a wrong value.
fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// Starts logging, and tells what the config's warnings are, once.
fn start_logging(loaded: &Loaded) {
    logging::init(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// Asks the running daemon to leave, or leaves in its place.
async fn leave(loaded: Loaded, registry: Registry, force: bool) -> Result<String, Failure> {
    let body = Bytes::from(serde_json::json!({ "force": force }).to_string());
    match client::call(&loaded.config.daemon.socket, Method::POST, "/leave", body).await {
        Ok(answer) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(ClientError::NotRunning { .. }) => {
            daemon::leave(loaded.config, registry, force).await.map_err(Failure::failed)
        }
        Err(error) => Err(error.into()),
    }
}

async fn status(loaded: Loaded, output: Format) -> Result<u8, Failure> {
    let answer =
        client::call(&loaded.config.daemon.socket, Method::GET, "/status.json", Bytes::new()).await?;
    let status: Status = serde_json::from_slice(&answer)
        .map_err(|error| Failure::failed(format!("the daemon's status can't be read: {error}")))?;
    print(&match output {
        Format::Text => render_text(&status),
        Format::Json => pretty(&status)?,
    })?;
    Ok(u8::from(!status.healthy))
}

fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let answer = runtime.block_on(work);
    // A blocking call of a store that hangs must not keep the program from ending.
    runtime.shutdown_background();
    Ok(answer)
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))
}

fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        // A reader such as head that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

fn say(sentence: &str) {
    // Where stderr is closed, the exit code still tells.
    let _ = writeln!(io::stderr(), "ipvland: {sentence}");
}
