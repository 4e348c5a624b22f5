//! A thousand malformed or hostile records among twenty good ones.

use std::collections::BTreeSet;
use std::fs;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::failure::{Failure, OrFail, Outcome};
use crate::guest::fleet::{Fleet, SOON};
use crate::guest::lab::Lab;
use crate::guest::wait;

const GOOD: u8 = 20;
const BAD: u16 = 1000;

/// Entries of the folder that are no records at all, and how they are made.
const ODD: &[&str] = &[
    "10.200.0.1.json",
    "10.200.0.2.json",
    "a host.json",
    "not-an-address.json",
    "10.1.1.300.json",
    ".hidden.json",
];
const ODD_MADE: &str = "cd endpoints; ln -s /etc/passwd 10.200.0.1.json; mkdir 10.200.0.2.json; echo x >10.200.0.2.json/y; \
                        for n in 'a host' not-an-address 10.1.1.300 .hidden; do echo {} >\"$n.json\"; done; cd ..";

/// Every good route is installed, each bad record is named, and nothing crashes.
pub(super) fn run(lab: &mut Lab) -> Outcome {
    lab.step("two hosts");
    let fleet = Fleet::new(lab, &[("h1", 48), ("h2", 51)])?;
    let words = |number: usize| fleet.words_with_prefix(&fleet.hosts[number]);
    let (h1, h2) = (&fleet.hosts[0], &fleet.hosts[1]);
    h1.start_ipvland(&words(0))?;

    lab.step(&format!(
        "{GOOD} good records and {BAD} bad ones; seed {} (cargo lab test hostile --seed …)",
        lab.seed
    ));
    let mut random = Rng::with_seed(lab.seed);
    fleet.server.operator("a readme", "mkdir -p endpoints; echo routes >README")?;
    let folder = fleet.server.host.file("disk/srv/clone/endpoints");
    let put = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).or_fail(format_args!("writing {name}"))
    };
    for n in 0..GOOD {
        put(&format!("10.1.1.{}.json", 150 + n), good(150 + n).to_string().as_bytes())?;
    }
    let mut names = BTreeSet::new();
    for n in 0..BAD {
        let (name, bytes) = bad(&mut random, n);
        put(&name, &bytes)?;
        names.insert(name);
    }
    names.extend(ODD.iter().map(|name| (*name).to_owned()));
    fleet.server.operator("good and bad", ODD_MADE)?;

    lab.step("every good route is installed");
    for n in 150..150 + GOOD {
        h1.gets_route(&format!("10.1.{n}.0/24"), &format!("10.1.1.{n}"), SOON * 2)?;
    }
    lab.step("each bad record is named, and no route comes from any");
    let expected: Vec<_> = names.iter().cloned().collect();
    named(h1, &expected)?;
    let ours = h1.look("ip -4 route show")?;
    // One subnet on the wire, and the good records.
    if ours.lines().count() != usize::from(GOOD) + 1 {
        return Err(Failure::new("there are routes that no good record asks for, or too few").showing(ours));
    }

    lab.step("a host that starts now comes up all the same");
    h2.launch_ipvland(&words(1))?;
    h2.gets_route("10.1.150.0/24", "10.1.1.150", SOON * 2)?;
    h1.gets_route(&h2.prefix(), &h2.address(), SOON * 2)?;
    named(h2, &expected)?;

    lab.step("the operator removes them, and all is well");
    fleet.server.operator(
        "only good",
        "cd endpoints; for f in * .h*; do case $f in 10.1.1.???.json|10.1.1.??.json) ;; *) rm -r -- \"$f\";; esac; done; rm 10.1.1.300.json; cd ..",
    )?;
    wait::holds("nothing is refused", SOON * 2, || {
        Ok(h1.ipvland_status()?["refused"].as_array().is_some_and(|refused| refused.is_empty()))
    })?;
    for host in [h1, h2] {
        host.ipvland_well()?;
        host.stop_ipvland()?;
    }
    Ok(())
}

/// Waits until the daemon's status names each of these files among the refused.
fn named(host: &crate::guest::host::Host, names: &[String]) -> Outcome {
    let mut missing = Vec::new();
    let all = wait::holds("each bad record is named", SOON * 2, || {
        let status = host.ipvland_status()?;
        let refused: BTreeSet<_> = status["refused"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|r| r["file"].as_str().map(str::to_owned))
            .collect();
        missing = names.iter().filter(|name| !refused.contains(*name)).cloned().collect();
        Ok(missing.is_empty())
    });
    all.map(|_| ()).map_err(|failure| {
        failure.showing(format!(
            "{} are missing: {:?}",
            missing.len(),
            missing.iter().take(20).collect::<Vec<_>>()
        ))
    })
}

/// A record as the design writes it, of the host 10.1.1.N.
fn good(n: u8) -> Value {
    json!({
        "version": 1, "host": format!("10.1.1.{n}"), "id": format!("id-{n}"), "name": format!("web-{n}"),
        "next_hops": [format!("10.1.1.{n}")], "underlay": {"kind": "direct"}, "meta": {},
        "networks": [{"name": "blue", "prefixes": [format!("10.1.{n}.0/24")]}],
    })
}

/// A record that no host may believe, and its file name.
fn bad(random: &mut Rng, n: u16) -> (String, Vec<u8>) {
    let host = format!("10.{}.{}.{}", 3 + n / 250, n % 250, random.u8(1..255));
    let name = format!("{host}.json");
    let mut record = json!({
        "version": 1, "host": host, "id": format!("bad-{n}"), "name": "bad", "next_hops": ["10.1.1.240"], "underlay": {"kind": "direct"},
        "meta": {}, "networks": [{"name": "red", "prefixes": [format!("172.{}.{}.0/24", 16 + n / 250, n % 250)]}],
    });
    let bytes = match n % 20 {
        0 => (0..random.usize(1..400)).map(|_| random.u8(..)).chain([0xff]).collect(),
        1 => {
            let text = record.to_string();
            text.as_bytes()[..random.usize(0..text.len())].to_vec()
        }
        2 => vec![b'['; random.usize(1_000..60_000)],
        3 => format!("{record}{}", "x".repeat(random.usize(1..50))).into_bytes(),
        4 => vec![b' '; random.usize(2_000_000..3_000_000)],
        5 => b"\xff\xfe{}".to_vec(),
        6 => Vec::new(),
        other => {
            let (key, value) = hostile_value(random, other);
            record[key] = value;
            record.to_string().into_bytes()
        }
    };
    (name, bytes)
}

/// A field of the record, and a value that it may not have.
fn hostile_value(random: &mut Rng, kind: u16) -> (&'static str, Value) {
    let prefix = |text: &str| ("networks", json!([{"name": "red", "prefixes": [text]}]));
    let number = random.u8(..);
    match kind {
        7 => prefix("0.0.0.0/0"),
        8 => prefix(&format!("127.{number}.0.0/16")),
        9 => prefix(&format!("{}.0.0.0/8", 224 + number % 16)),
        10 => prefix(&format!("169.254.{number}.0/24")),
        11 => prefix(&format!("10.1.1.{}/30", number & 0xfc)),
        12 => prefix("::/0"),
        13 => prefix(["fe80::/64", "ff02::/16", "::1/128", "::ffff:10.1.77.0/120"][usize::from(number % 4)]),
        14 => prefix(
            ["10.300.0.0/16", "10.0.0.0/33", "10.0.0.0", "banana", "", "10.0.0.0/-1", "../../etc/passwd"]
                [usize::from(number % 7)],
        ),
        15 => ("host", json!(format!("10.1.1.{}", 1 + number % 250))),
        16 => (
            "version",
            [json!("one"), json!(-1), json!(999), json!(null), json!([1])][usize::from(number % 5)].clone(),
        ),
        17 => (
            "networks",
            [json!("10.0.0.0/8"), json!({}), json!([[]]), json!([{"prefixes": 7}]), json!(null)]
                [usize::from(number % 5)]
            .clone(),
        ),
        18 => (
            "next_hops",
            [json!([]), json!(["not an address"]), json!("10.1.1.9"), json!([["10.1.1.9"]]), json!({})]
                [usize::from(number % 5)]
            .clone(),
        ),
        _ => (
            "underlay",
            [json!({"kind": "carrier-pigeon"}), json!(7), json!({}), json!("direct")]
                [usize::from(number % 4)]
            .clone(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_records() {
        let make = || {
            (0..BAD)
                .map({
                    let mut random = Rng::with_seed(7);
                    move |n| bad(&mut random, n)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn no_two_bad_records_share_a_file() {
        let mut random = Rng::with_seed(1);
        let names: BTreeSet<_> = (0..BAD).map(|n| bad(&mut random, n).0).collect();
        assert_eq!(names.len(), usize::from(BAD));
    }
}
