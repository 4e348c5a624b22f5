//! Repositories of many hosts, written fast.

use std::fmt::Write as _;

use servers::git::repository::Bare;

/// Returns the key of a host.
pub(crate) fn name(host: usize) -> String {
    format!("10.{}.{}.{}.json", host / 65_536, host / 256 % 256, host % 256)
}

/// Returns the record of a host after so many changes: as large and as like the others as the daemon's.
pub(crate) fn record(host: usize, change: usize) -> String {
    let address = name(host).replace(".json", "");
    let id = host.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{{\n  \"host\": \"{address}\",\n  \"id\": \"{id:016x}{:016x}\",\n  \"meta\": {{\n    \"change\": {change}\n  }},\n  \
         \"name\": \"web-{host}\",\n  \"networks\": [\n    {{\n      \"name\": \"blue\",\n      \"prefixes\": [\n        \
         \"fd00:{host:x}::/64\"\n      ]\n    }}\n  ],\n  \"next_hops\": [\n    \"{address}\"\n  ],\n  \"underlay\": {{\n    \
         \"kind\": \"direct\"\n  }},\n  \"version\": 1\n}}\n",
        id.rotate_left(31) ^ host
    )
}

/// Commits the records of so many hosts to `main` at once.
pub(crate) fn publish_all(bare: &Bare, hosts: usize) {
    let files: Vec<_> = (0..hosts).map(|host| (name(host), record(host, 0))).collect();
    import(bare, &[files]);
}

/// Commits each list of files to `main`, one after the other, and packs them as they are.
pub(crate) fn import(bare: &Bare, commits: &[Vec<(String, String)>]) {
    let mut stream = String::new();
    for (number, files) in commits.iter().enumerate() {
        stream.push_str("commit refs/heads/main\ncommitter web <web@example> now\ndata 3\nweb\n");
        if number == 0 && bare.tip("main").is_some() {
            stream.push_str("from refs/heads/main^0\n");
        }
        for (name, text) in files {
            _ = writeln!(stream, "M 100644 inline endpoints/{name}\ndata {}\n{text}", text.len());
        }
    }
    bare.git_with(&["fast-import", "--quiet", "--date-format=now"], stream.as_bytes());
}
