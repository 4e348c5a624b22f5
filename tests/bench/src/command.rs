//! What is typed, by a person or by another process of the same run.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    contention, docs,
    fleet::Segment,
    how::How,
    memory, namespace,
    part::{boot, forged, hinted, routes},
    peer::stock,
    reading,
    report::{Part, Report, eprint},
    subject,
    table::say,
    telling, writing,
};

/// Times ipvland against named peers in one run, and prints a table of ratios.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// The parts to run, by default all
    parts: Vec<Which>,
    #[command(flatten)]
    how: How,
    /// Small sizes, to see that everything works; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Of the stores only these, by the names in the tables
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the figures here, as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench/figures.json")]
    json: PathBuf,
    /// Run nothing: put the figures of an earlier run into docs/performance.md and draw the curves beside it
    #[arg(long)]
    docs: bool,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Routes in the kernel, beside a raw netlink batch, BIRD and ip -batch
    Routes,
    /// From a commit on one host to the route on another over Git, beside a push and a fetch, git2, git and BIRD's BGP
    Git,
    /// The same over etcd, beside a bare put to watch
    Etcd,
    /// Hosts that boot at once, beside as many pushes of one host
    Contention,
    /// A flood of forged nudges
    Nudges,
    /// What a daemon holds resident
    Memory,
    /// How fast a daemon starts
    Start,
    /// The kinds of stores side by side
    Stores,
}

/// What another process of the run is told.
#[derive(Parser)]
struct Inside {
    part: Which,
    /// The namespaces of the segment
    #[arg(long, value_delimiter = ',')]
    segment: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// Does what the command line says, and leaves no namespace behind however it ends.
pub(crate) async fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let rest = || words[1..].iter();
    match words.get(1).map(String::as_str) {
        Some("hold") => memory::hold().await,
        Some("inside") => inside(Inside::parse_from(rest())).await,
        Some("receive") => forged::receive(words[2].parse().expect("a port")),
        Some("stock") => stock::run(&words[2], words[3].parse().expect("a number")),
        _ => return guarded(Arguments::parse()).await,
    }
    ExitCode::SUCCESS
}

/// Runs the benchmark, and cleans up when it ends, fails or is told to stop.
async fn guarded(arguments: Arguments) -> ExitCode {
    let mut end = signal(SignalKind::terminate()).expect("hearing of SIGTERM");
    let mut work = tokio::spawn(whole(arguments));
    let code = tokio::select! {
        done = &mut work => done.unwrap_or(ExitCode::FAILURE),
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        _ = end.recv() => ExitCode::from(143),
    };
    // What it holds is dropped first: servers in directories of their own.
    work.abort();
    namespace::remove_all();
    code
}

async fn whole(arguments: Arguments) -> ExitCode {
    let Arguments { parts, how, quick, only, json, docs } = arguments;
    if docs {
        docs::write(&Report::read(&json), &PathBuf::from("docs"));
        return ExitCode::SUCCESS;
    }
    if let Err(why) = namespace::check() {
        eprint(&why);
        return ExitCode::FAILURE;
    }
    namespace::sweep();
    let how = if quick { how.quick() } else { how };
    let parts = if parts.is_empty() { Which::value_variants().to_vec() } else { parts };
    let mut report = Report::begin();
    let mut failed = Vec::new();
    for part in parts {
        let done = match part {
            Which::Stores => {
                report.tables(&stores(&how, &only).await);
                Some(Part::default())
            }
            Which::Contention => Some(contention::part(&how.writers).await),
            Which::Routes => other_process(part, &routes::namespace(), String::new(), &how).await,
            Which::Git | Which::Etcd | Which::Nudges | Which::Memory | Which::Start => {
                let segment = Segment::new();
                other_process(part, &segment.server, segment.names(), &how).await
            }
        };
        match done {
            Some(done) => report.part.take(done),
            None => failed.push(part.name()),
        }
        namespace::remove_all();
        // After each part, so that a failure costs one part alone.
        report.write(&json);
    }
    report.print();
    say(&format!("The figures are in {}.", json.display()));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprint(&format!("These parts failed, see above: {}", failed.join(" ")));
    ExitCode::FAILURE
}

impl Which {
    fn name(self) -> String {
        self.to_possible_value().expect("a name").get_name().to_owned()
    }
}

async fn other_process(part: Which, at: &namespace::Namespace, segment: String, how: &How) -> Option<Part> {
    let mut words = vec![part.name(), format!("--segment={segment}")];
    words.extend(how.words());
    at.part(&words).await
}

/// Runs one part in the namespace that we are in, and prints what it gives for the process that asked.
async fn inside(Inside { part, segment, how }: Inside) {
    let segment = || Segment::known(&segment);
    let done = match part {
        Which::Routes => routes::measure(&how).await,
        Which::Git => hinted::git(&how, &segment()).await,
        Which::Etcd => hinted::etcd(&how, &segment()).await,
        Which::Nudges => forged::measure(&how, &segment()).await,
        Which::Memory => boot::memory(&how, &segment()).await,
        Which::Start => boot::start(&how, &segment()).await,
        Which::Contention | Which::Stores => panic!("this part needs no namespace"),
    };
    say(&serde_json::to_string(&done).expect("figures are JSON"));
}

async fn stores(how: &How, only: &[String]) -> [crate::table::Table; 5] {
    let subjects = subject::all(only);
    [
        reading::table(&subjects, &how.records, how.rounds).await,
        writing::table(&subjects, &how.records, how.rounds).await,
        telling::table(&subjects, &how.records, how.rounds).await,
        memory::table(&subjects, &how.records).await,
        contention::table(&subjects, &how.writers).await,
    ]
}
