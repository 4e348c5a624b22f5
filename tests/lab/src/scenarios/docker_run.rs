//! What one `docker run` costs on our driver and on Docker's built-in ipvlan driver, in turn. A benchmark: it prints, and
//! asserts nothing about times.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::guest::docker::{IMAGE, Restart};
use crate::guest::host::{CARD, Host};
use crate::guest::lab::Lab;

/// How many containers are run on each network.
const ROUNDS: usize = 15;

/// A network, and how it is made: each on a VLAN of its own, since the built-in driver takes one network a parent.
struct Subject {
    name: &'static str,
    network: &'static str,
    create: &'static str,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        name: "built-in ipvlan",
        network: "built-in",
        create: "-d ipvlan --subnet 10.30.0.0/24 -o ipvlan_mode=l2 -o parent=eth2.30",
    },
    Subject {
        name: "ipvland",
        network: "ours",
        create: "-d ipvland --subnet 10.31.0.0/24 -o ipvlan_mode=l2 -o parent=eth2.31",
    },
];

/// Runs containers in turn on each network, and prints medians and the ratios of the pairs.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    let host = lab.host("h1", 48)?;
    host.launch_ipvland(&format!("-d --host-interface={CARD}"))?;
    host.ipvland_well()?;
    host.start_docker(Restart::Stops)?;
    for subject in &SUBJECTS {
        host.run(&format!("docker network create {} {}", subject.create, subject.network))?;
    }
    let mut times = vec![Vec::new(); SUBJECTS.len()];
    let mut handlers = Vec::new();
    for round in 0..=ROUNDS {
        for at in 0..SUBJECTS.len() {
            // Who begins changes, and the first round warms up.
            let at = (at + round) % SUBJECTS.len();
            let before = host.log("ipvland").len();
            let took = once(&host, SUBJECTS[at].network)?;
            let answered = answered(&host.log("ipvland")[before..]);
            if round > 0 {
                times[at].push(took.as_secs_f64() * 1e3);
                handlers.extend((answered > 0.0).then_some(answered));
            }
        }
    }
    lab.say(&format!("docker run --rm, {ROUNDS} times on each network in turn, Docker {}:", version(&host)?));
    lab.say(&format!("  {:<24} {:>10}  {:>24}", "network", "median ms", "of built-in (quartiles)"));
    for (subject, own) in SUBJECTS.iter().zip(&times) {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, peer)| own / peer).collect();
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| quantile(&ratios, part));
        let median = quantile(own, 0.5);
        lab.say(&format!("  {:<24} {median:>10.1}  {middle:>8.3} ({low:.3} to {high:.3})", subject.name));
    }
    // A line of the benchmark's table, for the lab outside; see `Row` there.
    let row = json!({
        "part": "docker",
        "what": format!("docker run --rm, Docker {}", version(&host)?),
        "unit": "ms",
        "ours": times[1],
        "peer": { "name": "Docker's built-in ipvlan", "sample": times[0] },
    });
    lab.say(&row.to_string());
    if handlers.len() < ROUNDS {
        return Err(Failure::new("the log tells too few answers of the driver"));
    }
    lab.say(&format!(
        "  our handlers together, a run: median {:.2} ms, quartiles {:.2} to {:.2} ms",
        quantile(&handlers, 0.5),
        quantile(&handlers, 0.25),
        quantile(&handlers, 0.75)
    ));
    Ok(())
}

fn once(host: &Host, network: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    host.look(&format!("docker run --rm --network {network} {IMAGE} busybox true"))?;
    Ok(begun.elapsed())
}

fn version(host: &Host) -> Outcome<String> {
    Ok(host.look("docker version --format '{{.Server.Version}}'")?.trim().to_owned())
}

/// Adds up what a part of the daemon's log tells of its answers to Docker, in milliseconds.
fn answered(log: &str) -> f64 {
    let lines = log.lines().filter(|line| line.contains("answered "));
    let times = lines.filter_map(|line| {
        let (_, rest) = line.split_once("took_us=")?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1e3
}

/// Returns the value that a part of the samples lies below.
fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}
