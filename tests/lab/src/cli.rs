//! What a person types.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::demo::Wish;
use crate::failure::{Failure, Outcome};
use crate::guest::{Telling, hold, init, lab};
use crate::machine::Kernel;
use crate::rootfs::Release;
use crate::{bench, demo, release, scenarios, setup, test};

/// Tries ipvland on hosts with a real Docker engine, a real kernel and a real Git server.
///
/// The hosts run on this machine's kernel where it has ipvlan, else on user-mode Linux. On Debian, as root, the lab
/// installs what it needs; elsewhere it says what is missing.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Lab,
}

#[derive(Subcommand)]
enum Lab {
    /// Shows the quickstart: two Docker hosts, a Git server, containers that reach each other; told step by step
    Demo {
        /// The root filesystem of the hosts
        #[arg(long, value_enum, default_value_t = Root::Trixie)]
        root: Root,
        /// The kernel that the hosts run on; by default this machine's where it has ipvlan
        #[arg(long, value_enum)]
        kernel: Option<Which>,
    },
    /// Runs everything: format, lints, the workspace's tests, and each scenario on its root filesystems
    Test {
        /// Runs only the parts whose name, or NAME/ROOT, contains one of these
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
        /// Lists the parts and runs none
        #[arg(long)]
        list: bool,
        /// Shows what each scenario does while it runs, not only when it fails
        #[arg(long)]
        loud: bool,
        /// What the scenarios' random choices grow from; by default another each time, and told
        #[arg(long)]
        seed: Option<u64>,
        /// The kernel that the hosts run on; by default this machine's where it has ipvlan
        #[arg(long, value_enum)]
        kernel: Option<Which>,
    },
    /// Sets the demo's hosts up and takes commands for them, such as `h1 docker ps`, until the input ends
    Shell {
        /// The root filesystem of the hosts
        #[arg(long, value_enum, default_value_t = Root::Trixie)]
        root: Root,
    },
    /// Times ipvland against named peers in a release build, and prints a table of ratios; see cargo lab bench --help
    #[command(disable_help_flag = true)]
    Bench {
        /// routes, git, etcd, contention, nudges, memory, start, stores or docker, and options; by default all parts
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Builds the daemon as one static file for any Linux of this architecture, and says where it is
    Release {
        /// What cargo is told besides, such as --no-default-features --features git
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Installs what is missing and builds the root filesystems; the other commands do so by themselves
    Setup,
    /// Process 1 of a guest
    #[command(hide = true)]
    Init {
        kernel: Which,
        root: PathBuf,
        programs: PathBuf,
        answers: PathBuf,
        telling: String,
        seed: u64,
        scenario: String,
    },
    /// A scenario, inside
    #[command(hide = true)]
    Guest { telling: String, seed: u64, scenario: String },
    /// Process 1 of a host
    #[command(hide = true)]
    Hold { host: String },
}

#[derive(Clone, Copy, ValueEnum)]
enum Root {
    /// Debian 12, Docker 20.10
    Bookworm,
    /// Debian 13, Docker 26.1
    Trixie,
}

impl Root {
    const fn release(self) -> Release {
        match self {
            Self::Bookworm => Release::Bookworm,
            Self::Trixie => Release::Trixie,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// This machine's own
    Machine,
    /// User-mode Linux
    UserMode,
}

impl Which {
    const fn kernel(self) -> Kernel {
        match self {
            Self::Machine => Kernel::Machine,
            Self::UserMode => Kernel::UserMode,
        }
    }
}

/// Reads the command line and does what it says.
///
/// # Errors
/// Where the lab itself could not do its part.
pub(crate) fn run() -> Outcome<ExitCode> {
    match Cli::parse().command {
        Lab::Demo { root, kernel } => demo::run(Wish::See, root.release(), kernel.map(Which::kernel)),
        Lab::Shell { root } => demo::run(Wish::Type, root.release(), None),
        Lab::Test { filters, list: true, .. } => {
            test::list(&filters);
            Ok(ExitCode::SUCCESS)
        }
        Lab::Test { filters, loud, kernel, seed, .. } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            test::run(&filters, test::How { kernel: kernel.map(Which::kernel), loud, seed })
        }
        Lab::Bench { words } => bench::run(&words),
        Lab::Release { words } => release::run(&words).map(|()| ExitCode::SUCCESS),
        Lab::Setup => {
            setup::run(Release::ALL, true)?;
            setup::rust_components()?;
            Ok(ExitCode::SUCCESS)
        }
        Lab::Init { kernel, root, programs, answers, telling, seed, scenario } => {
            let user_mode = kernel == Which::UserMode;
            Ok(init::run(&init::Init { user_mode, root, programs, answers, telling, seed, scenario }))
        }
        Lab::Guest { telling, seed, scenario } => {
            let unknown = |what: &str| Failure::new(format!("unknown {what}"));
            let telling = Telling::parse(&telling).ok_or_else(|| unknown("telling"))?;
            Ok(lab::run(scenarios::find(&scenario).ok_or_else(|| unknown("scenario"))?, telling, seed))
        }
        Lab::Hold { host } => Ok(hold::run(&host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
