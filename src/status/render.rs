//! The status as text: sections, and columns that line up.

use std::fmt::Write as _;

use super::Status;

/// Returns the status for a terminal or Docker's log: what is wrong first, then a section for each part.
///
/// Records come from other hosts, so control characters in them are written out (`\u{1b}`): none reaches a terminal.
pub fn render_text(status: &Status) -> String {
    let mut text = String::new();
    let verdict = if status.healthy { "healthy" } else { "NOT healthy" };
    let _ = writeln!(text, "ipvland {} is {verdict}", clean(&status.version));
    for problem in &status.problems {
        let _ = writeln!(text, "  ! {}", clean(problem));
    }
    section(&mut text, "host", &[], host(status));
    section(&mut text, "store", &[], store(status));
    section(&mut text, "published", &[], published(status));
    section(&mut text, "learned", &["FILE", "HOST", "NETWORK", "PREFIX", "NEXT HOP"], learned(status));
    section(&mut text, "refused", &["FILE", "PREFIX", "REASON"], refused(status));
    section(&mut text, "routes", &["PREFIX", "NEXT HOP", "INTERFACE", "STATE", "REASON"], routes(status));
    let heads = ["ID", "NAME", "MODE", "PARENT", "SUBNETS", "ENDPOINTS", "PUBLISHED", "HOST ACCESS"];
    section(&mut text, "networks", &heads, networks(status));
    for network in &status.networks {
        for note in &network.notes {
            let _ = writeln!(text, "  * {}: {}", clean(&network.name), clean(note));
        }
    }
    if !status.host_access.is_empty() {
        let heads = ["NETWORK", "DEVICE", "HOST IS SEEN AS", "STATE", "REASON"];
        section(&mut text, "host access", &heads, host_access(status));
    }
    section(&mut text, "addresses", &["PREFIX", "KIND", "GIVEN", "OF"], addresses(status));
    section(&mut text, "names", &[], names(status));
    section(&mut text, "nudges", &[], nudges(status));
    text
}

type Rows = Vec<Vec<String>>;

fn host(status: &Status) -> Rows {
    let host = &status.host;
    vec![
        pair("name", &host.name),
        pair("id", &host.id),
        pair("interface", host.interface.as_deref().unwrap_or("-")),
        pair("address", &or_dash(host.address)),
    ]
}

fn store(status: &Status) -> Rows {
    let store = &status.store;
    let mut rows = vec![
        pair("kind", &store.kind),
        pair("location", &store.location),
        pair("revision", store.revision.as_deref().unwrap_or("-")),
        pair("source", &store.source),
    ];
    rows.extend(store.away.as_deref().map(|why| pair("away", why)));
    rows.extend(store.held.as_deref().map(|why| pair("held", why)));
    rows
}

fn published(status: &Status) -> Rows {
    let published = &status.published;
    let mut rows = vec![pair("state", &published.state)];
    rows.extend(published.reason.as_deref().map(|why| pair("reason", why)));
    rows.push(pair("file", published.file.as_deref().unwrap_or("-")));
    rows.extend(published.prefixes.iter().map(|(network, prefixes)| pair(network, &join(prefixes))));
    rows
}

fn learned(status: &Status) -> Rows {
    let rows = status.learned.iter().map(|learned| {
        let [prefix, hop] = [learned.prefix.to_string(), learned.next_hop.to_string()];
        vec![learned.file.clone(), learned.host.clone(), learned.network.clone(), prefix, hop]
    });
    rows.collect()
}

fn refused(status: &Status) -> Rows {
    let rows = status.refused.iter();
    rows.map(|refused| vec![refused.file.clone(), or_dash(refused.prefix), refused.reason.clone()]).collect()
}

fn routes(status: &Status) -> Rows {
    let rows = status.routes.iter().map(|route| {
        let reason = route.reason.clone().unwrap_or_default();
        let [prefix, hop] = [route.prefix.to_string(), route.next_hop.to_string()];
        vec![prefix, hop, route.interface.clone(), route.state.clone(), reason]
    });
    rows.collect()
}

fn networks(status: &Status) -> Rows {
    let rows = status.networks.iter().map(|network| {
        let published = if network.published { "yes" } else { "no" };
        vec![
            network.id.clone(),
            network.name.clone(),
            network.mode.clone(),
            network.parent.clone(),
            join(&network.subnets),
            network.endpoints.to_string(),
            published.to_owned(),
            by_device(status, &network.id),
        ]
    });
    rows.collect()
}

/// Says by which device the host reaches a network's containers.
fn by_device(status: &Status, network: &str) -> String {
    match status.host_access.iter().find(|access| access.id == network) {
        None => "no".to_owned(),
        Some(access) if access.state != "reached" => access.state.clone(),
        Some(access) => or_dash(access.device.as_deref()),
    }
}

fn host_access(status: &Status) -> Rows {
    let rows = status.host_access.iter().map(|access| {
        vec![
            access.network.clone(),
            or_dash(access.device.as_deref()),
            if access.sources.is_empty() { "-".to_owned() } else { join(&access.sources) },
            access.state.clone(),
            access.reason.clone().unwrap_or_default(),
        ]
    });
    rows.collect()
}

fn names(status: &Status) -> Rows {
    let names = &status.names;
    if !names.enabled {
        return vec![pair("state", "off")];
    }
    let listen = if names.listen.is_empty() { "nowhere".to_owned() } else { names.listen.join(", ") };
    let mut rows = vec![
        pair("state", "on"),
        pair("answers on", &listen),
        pair("own", &names.own.to_string()),
        pair("learned", &names.learned.to_string()),
    ];
    rows.extend(
        names.refused.iter().map(|refused| pair("refused", &format!("{}: {}", refused.file, refused.reason))),
    );
    rows
}

fn nudges(status: &Status) -> Rows {
    let nudges = &status.nudges;
    let mut rows = vec![pair("state", &nudges.state)];
    if nudges.state == "on" {
        rows.push(pair("heard on", nudges.listen.as_deref().unwrap_or("nowhere")));
        rows.extend(nudges.problem.as_deref().map(|why| pair("problem", why)));
        rows.push(pair("hosts alive", &nudges.alive.to_string()));
        rows.push(pair("sent", &format!("{}, {} answered", nudges.sent, nudges.answers)));
        let heard = format!("{}, {} again, {} refused", nudges.heard, nudges.repeated, nudges.refused);
        rows.push(pair("heard", &heard));
    }
    if let Some(webhook) = &nudges.webhook {
        rows.push(pair("webhooks on", webhook.listen.as_deref().unwrap_or("nowhere")));
        rows.extend(webhook.problem.as_deref().map(|why| pair("problem", why)));
        rows.push(pair("webhooks", &format!("{}, {} refused", webhook.accepted, webhook.refused)));
    }
    if let Some(interval) = nudges.interval_ms {
        let hints =
            [nudges.true_hints, nudges.false_hints, nudges.known_hints].map(|count| count.to_string());
        rows.push(pair(
            "hints",
            &format!("{} with news, {} for nothing, {} known before", hints[0], hints[1], hints[2]),
        ));
        rows.extend(nudges.last_hint.as_deref().map(|hint| pair("last hint", hint)));
        rows.push(pair("looks", &nudges.looks.to_string()));
        rows.push(pair(
            "interval",
            &format!("{:.1} s", std::time::Duration::from_millis(interval).as_secs_f64()),
        ));
    }
    rows
}

fn addresses(status: &Status) -> Rows {
    let rows = status.addresses.iter().map(|addresses| {
        let size = if addresses.size == u64::MAX { "2^64".to_owned() } else { addresses.size.to_string() };
        vec![addresses.net.to_string(), addresses.kind.clone(), addresses.used.to_string(), size]
    });
    rows.collect()
}

fn pair(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn join(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Adds a table with its title and the number of its rows; columns line up, and [`clean`] has been over each cell.
pub(crate) fn table(text: &mut String, title: &str, heads: &[&str], rows: Vec<Vec<String>>) {
    section(text, title, heads, rows);
}

fn section(text: &mut String, title: &str, heads: &[&str], mut rows: Rows) {
    let count = if heads.is_empty() { String::new() } else { format!(" ({})", rows.len()) };
    let _ = writeln!(text, "\n{title}{count}");
    for cell in rows.iter_mut().flatten() {
        *cell = clean(cell);
    }
    if !heads.is_empty() && !rows.is_empty() {
        rows.insert(0, heads.iter().map(ToString::to_string).collect());
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// Writes out what a terminal would obey: control characters, and those that turn the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Board, HostAccessStatus, Learned, NetworkStatus, Refused, RouteStatus};

    fn learned(host: &str, prefix: &str) -> Learned {
        Learned {
            file: "10.1.1.51.json".into(),
            host: host.into(),
            network: "blue".into(),
            prefix: prefix.parse().unwrap(),
            next_hop: "10.1.1.51".parse().unwrap(),
        }
    }

    #[test]
    fn columns_line_up() {
        let status = Status {
            version: "0.1.0".into(),
            healthy: true,
            learned: vec![learned("web-2", "10.1.51.0/24"), learned("a-longer-name", "10.1.52.0/24")],
            ..Status::default()
        };
        let text = render_text(&status);
        assert!(text.starts_with("ipvland 0.1.0 is healthy\n"), "{text}");
        let table = "\
learned (2)
  FILE            HOST           NETWORK  PREFIX        NEXT HOP
  10.1.1.51.json  web-2          blue     10.1.51.0/24  10.1.1.51
  10.1.1.51.json  a-longer-name  blue     10.1.52.0/24  10.1.1.51
";
        assert!(text.contains(table), "{text}");
        assert!(text.contains("\nroutes (0)\n\nnetworks (0)\n\naddresses (0)\n"), "{text}");
    }

    #[test]
    fn what_is_wrong_comes_first() {
        let status = Status {
            version: "0.1.0".into(),
            problems: vec!["the store is away: no route to git.example".into()],
            routes: vec![RouteStatus {
                prefix: "10.1.51.0/24".parse().unwrap(),
                next_hop: "10.1.1.51".parse().unwrap(),
                interface: "eth2".into(),
                state: "foreign".into(),
                reason: Some("an operator's route is there".into()),
            }],
            ..Status::default()
        };
        let text = render_text(&status);
        let head = "ipvland 0.1.0 is NOT healthy\n  ! the store is away: no route to git.example\n\nhost\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains("  10.1.51.0/24  10.1.1.51  eth2       foreign  an operator's route is there\n"),
            "{text}"
        );
    }

    #[test]
    fn a_line_a_network_says_whether_the_host_reaches_it() {
        let network = |id: &str| NetworkStatus {
            id: id.into(),
            name: id.into(),
            mode: "l2".into(),
            parent: "eth2".into(),
            subnets: vec!["10.1.1.0/24".parse().unwrap()],
            endpoints: 1,
            published: false,
            notes: Vec::new(),
        };
        let access = |id: &str, state: &str, reason: Option<&str>| HostAccessStatus {
            id: id.into(),
            network: id.into(),
            device: Some("ipvh-eth2".into()),
            sources: vec!["10.1.1.48".parse().unwrap()],
            state: state.into(),
            reason: reason.map(str::to_owned),
        };
        let board = Board::default();
        board.update(|status| {
            status.networks = ["blue", "red", "deaf"].map(network).into();
            status.host_access =
                vec![access("blue", "reached", None), access("red", "failed", Some("it is off"))];
        });
        let text = render_text(&board.read());
        for line in [
            "  ! this host and the containers of network red can't reach each other: it is off",
            "  blue  blue  l2    eth2    10.1.1.0/24  1          no         ipvh-eth2",
            "  red   red   l2    eth2    10.1.1.0/24  1          no         failed",
            "  deaf  deaf  l2    eth2    10.1.1.0/24  1          no         no",
            "  red      ipvh-eth2  10.1.1.48        failed   it is off",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn nothing_of_a_record_reaches_the_terminal_as_a_command() {
        let status = Status {
            learned: vec![learned("\u{1b}[2Jweb\nroutes (9)\u{9b}31m\u{202e}", "10.1.51.0/24")],
            refused: vec![Refused { file: "x\r\u{7}".into(), prefix: None, reason: "\u{1b}]0;t".into() }],
            ..Status::default()
        };
        let text = render_text(&status);
        assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        assert!(text.contains("\\u{1b}[2Jweb\\nroutes (9)\\u{9b}31m\\u{202e}"), "{text}");
    }
}
