//! The commands and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::store::StoreCommand;
use crate::config::Override;
use crate::logging::DEBUG_FILTER;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked; status: the daemon is healthy; store diff: the records are the same
  1  it failed; status: the daemon is not healthy; store diff: the records differ
  2  the command line or the config is wrong
  3  status: the daemon is not running
  4  store diff: a store can't be read

Where the settings come from, the later ones win:
  defaults, the config file, the environment (IPVLAND_STORE__KIND=git sets store.kind), flags.
  ipvland config shows each of them with where it came from.";

const RUN_EXAMPLES: &str = "\
Examples:
  One host, its own records in a repository of its own:
    ipvland run --host-interface=eth2
  A fleet that shares a Git repository:
    ipvland run --host-interface=eth2 --mode=l3 --ipvlan-subnet=10.1.48.0/24 \\
        --git-multihost --repo=ssh://git@git.example/net/overlay.git
  The same from a file:
    ipvland run --config=/etc/ipvland/ipvland.toml

A password in --repo is visible to every user of this host with ps: keep it in the config file (mode 0600), in
IPVLAND_STORE__GIT__REPO from the unit's EnvironmentFile, or in the file that store.git.password_file names.

Signals: SIGTERM and SIGINT end the daemon and leave routes and containers as they are. SIGHUP reads nothing anew.";

const STATUS_EXAMPLES: &str = "\
Examples:
  ipvland status
  ipvland status -o json | jq .routes

Exit codes: 0 healthy, 1 not healthy, 2 wrong command line or config, 3 the daemon is not running.";

const LEAVE_EXAMPLES: &str = "\
Takes this host's record out of the store, and our routes out of the kernel. Other hosts drop their routes to this one
as soon as they see it. The running daemon does it where there is one.

Examples:
  ipvland leave
  ipvland leave --force    although networks of this host still have containers";

const SYNC_EXAMPLES: &str = "\
Waits until the running daemon has looked, and what it saw is in use:
  looked: nothing new, at 3f1c…
  looked: from 3f1c… to 9a02…

Exit codes: 0 it looked, 1 the store is away or asks to be left alone, 2 wrong command line or config, 3 the daemon is not
running.";

/// Plugs Docker containers straight into the host's network card, and tells the fleet its routes through a store
#[derive(Parser)]
#[command(name = "ipvland", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Read this file, TOML or YAML by its ending; default: /etc/ipvland/ipvland.toml or .yaml, if it exists
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The socket that Docker calls: a name under /run/docker/plugins, or a path; default: ipvland
    #[arg(long, global = true, value_name = "NAME|PATH")]
    pub(super) socket: Option<String>,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<Settings>),
    /// Withdraw this host's record and routes
    #[command(after_help = LEAVE_EXAMPLES)]
    Leave {
        /// Leave although networks of this host are still in use
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Tell what is published, learned, refused and installed, and why
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Look into the store now, without waiting for the interval, and tell what was found
    #[command(after_help = SYNC_EXAMPLES)]
    Sync,
    /// Print the effective config, each value with where it came from, secrets hidden
    Config {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Look into stores, compare them, and move a fleet from one to another
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Print a completion script: ipvland completions bash > /etc/bash_completion.d/ipvland
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The settings that have a flag.
#[derive(Args)]
pub(super) struct Settings {
    /// Log our own lines at debug
    #[arg(short, long)]
    debug: bool,

    /// The interface that containers are plugged into; default: the one that the default route leaves by
    #[arg(long, value_name = "IF")]
    host_interface: Option<String>,

    /// The address that names this host in the store; default: the interface's first global address
    #[arg(long, value_name = "ADDRESS")]
    host_address: Option<String>,

    /// This host's name; default: the hostname
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,

    /// The mode of networks that name none: l2, l3 or l3s; default: l2
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,

    /// This host's subnet, published at start; repeat it or separate several by commas
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    ipvlan_subnet: Vec<String>,

    /// The gateway of l2 networks whose subnet holds it
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,

    /// The MTU in bytes; default: the parent's
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,

    /// Which store holds the records; default: git
    #[arg(long, value_name = "KIND")]
    store: Option<String>,

    /// Share the records through the Git repository of --repo (false changes nothing)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    git_multihost: Option<bool>,

    /// The Git repository
    #[arg(long, value_name = "URL")]
    repo: Option<String>,

    /// The branch of the repository; default: the remote's HEAD
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,

    /// How often to look into the repository: 10s, 500ms, or a number of seconds
    #[arg(long, value_name = "TIME")]
    poll_interval: Option<String>,

    /// Where the daemon keeps what must outlive it; default: /var/lib/ipvland
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// How log lines look: human or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    /// Returns whether `--git-multihost` asks for Git.
    pub(super) fn git_multihost(&self) -> bool {
        self.git_multihost == Some(true)
    }

    /// Returns each given flag with the key that it sets.
    pub(super) fn overrides(self) -> Vec<Override> {
        let subnets = (!self.ipvlan_subnet.is_empty()).then(|| self.ipvlan_subnet.join(","));
        // The first plugin counted seconds, and its command lines still work.
        let bare = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let interval = self.poll_interval.map(|text| if bare(&text) { format!("{text}s") } else { text });
        [
            ("--debug", "log.level", self.debug.then(|| DEBUG_FILTER.to_owned())),
            ("--host-interface", "host.interface", self.host_interface),
            ("--host-address", "host.address", self.host_address),
            ("--host-name", "host.name", self.host_name),
            ("--mode", "network.mode", self.mode),
            ("--ipvlan-subnet", "network.subnet", subnets),
            ("--gateway", "network.gateway", self.gateway),
            ("--mtu", "network.mtu", self.mtu),
            ("--store", "store.kind", self.store),
            ("--repo", "store.git.repo", self.repo),
            ("--branch", "store.git.branch", self.branch),
            ("--poll-interval", "store.git.interval", interval),
            ("--state-dir", "daemon.state_dir", self.state_dir),
            ("--log-format", "log.format", self.log_format),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| Some(Override { flag, key, value: value? }))
        .collect()
    }
}
