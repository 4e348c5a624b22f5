//! The file on disk: what is written is read, whatever a crash leaves of it.

use std::path::Path;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::record::{NamesRecord, Record};

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn saved(revision: &str, records: &[(&str, &str)]) -> Saved {
    let bytes = |(name, text): &(&str, &str)| (key(name), Bytes::from(text.as_bytes().to_vec()));
    let (names, records): (Vec<_>, Vec<_>) =
        records.iter().map(bytes).partition(|(key, _)| NamesRecord::is_key(key));
    Saved {
        place: "git".into(),
        revision: Revision::new(revision),
        records: records.into_iter().collect(),
        names: names.into_iter().collect(),
        held: Map::new(),
        swapped: false,
    }
}

async fn write_all(path: &Path, states: &[Saved]) {
    let mut cache = Cache::new(path.to_owned());
    for state in states {
        cache.write(state.clone()).await;
        assert_eq!(Cache::new(path.to_owned()).read().as_ref(), Some(state));
    }
}

/// States one after the other: records that come, change and go, names, a hold, a swap; bytes that are no text.
fn history() -> Vec<Saved> {
    let one =
        saved("1", &[("10.1.1.48.json", "{\"a\": 1}\n"), ("10.1.1.51.json", "end 00000000\n"), ("x", "")]);
    let mut two = saved("2", &[("10.1.1.48.json", "{}"), ("10.1.1.48.names.json", "n"), ("x", "")]);
    two.records.insert(key("raw"), Bytes::from_static(&[0, 255, b'\n', 128]));
    let mut three = two.clone();
    three.revision = Revision::new("3 with\na line feed");
    three.names = Map::new();
    three.held.insert(key("10.1.1.51.json"), Bytes::from_static(b"held"));
    three.swapped = true;
    let mut four = saved("4", &[("10.1.1.52.json", "z")]);
    four.place = "etcd http://[::1]:2379".into();
    vec![one, two, three, four]
}

#[tokio::test]
async fn a_file_that_is_cut_off_anywhere_is_what_it_was_at_an_earlier_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (path, torn) = (dir.path().join("snapshot.json"), dir.path().join("torn"));
    let states = history();
    let mut cache = Cache::new(path.clone());
    let mut ends = Vec::new();
    for state in &states {
        cache.write(state.clone()).await;
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    let bytes = fs::read(&path).unwrap();
    for length in 0..=bytes.len() {
        fs::write(&torn, &bytes[..length]).unwrap();
        let whole = ends.iter().rposition(|end| *end <= length);
        let mut again = Cache::new(torn.clone());
        assert_eq!(again.load(), whole.map(|at| states[at].clone()), "cut off after {length} bytes");
        // What is left is written on, and nothing of what was cut off comes back.
        let next = saved("next", &[("10.1.1.53.json", "new")]);
        again.write(next.clone()).await;
        assert_eq!(Cache::new(torn.clone()).read(), Some(next), "written on after {length} bytes");
    }
}

#[tokio::test]
async fn a_byte_that_changed_spoils_its_part_and_what_comes_after() {
    let dir = tempfile::tempdir().unwrap();
    let (path, spoilt) = (dir.path().join("snapshot.json"), dir.path().join("spoilt"));
    let states = history();
    write_all(&path, &states).await;
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        fs::write(&spoilt, &bytes).unwrap();
        let found = Cache::new(spoilt.clone()).read();
        assert!(found.as_ref() != states.last(), "byte {at} makes no difference");
        assert!(found.is_none_or(|found| states.contains(&found)), "byte {at}");
    }
}

#[tokio::test]
async fn one_record_of_many_is_appended_and_the_file_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let mut state = saved("0", &[]);
    for host in 0..2000 {
        state.records.insert(key(&format!("{host}.json")), Bytes::from(format!("{host:0>90}")));
    }
    let mut cache = Cache::new(path.clone());
    cache.write(state.clone()).await;
    let size = || fs::metadata(&path).unwrap().len();
    let whole = size();
    let (mut largest, mut shrunk) = (0, 0);
    for change in 0..4000 {
        let before = size();
        state.records.insert(key(&format!("{}.json", change % 2000)), Bytes::from(format!("{change:0>90}")));
        state.revision = Revision::new(change.to_string());
        cache.write(state.clone()).await;
        if size() < before {
            shrunk += 1;
        } else {
            assert!(size() - before < 300, "a change of one record wrote {} bytes", size() - before);
        }
        largest = largest.max(size());
    }
    assert!(shrunk >= 1 && largest <= 2 * whole + 1000, "{shrunk} {largest} {whole}");
    assert_eq!(Cache::new(path.clone()).read(), Some(state.clone()));
    // A start goes on where the file ends.
    let mut again = Cache::new(path.clone());
    assert_eq!(again.load(), Some(state.clone()));
    let before = size();
    state.records.remove(&key("7.json"));
    again.write(state.clone()).await;
    assert!(size() > before && size() - before < 300);
    assert_eq!(Cache::new(path).read(), Some(state));
}

#[tokio::test]
async fn a_file_that_somebody_else_touched_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let states = history();
    let mut cache = Cache::new(path.clone());
    cache.write(states[0].clone()).await;
    fs::remove_file(&path).unwrap();
    cache.write(states[1].clone()).await;
    assert_eq!(Cache::new(path.clone()).read().as_ref(), Some(&states[1]));
    fs::write(&path, b"ipvland snapshot 2\nof somebody else").unwrap();
    cache.write(states[2].clone()).await;
    assert_eq!(Cache::new(path).read().as_ref(), Some(&states[2]));
}

#[tokio::test]
async fn a_write_that_fails_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/snapshot");
    fs::create_dir(dir.path().join("state")).unwrap();
    let states = history();
    let mut cache = Cache::new(path.clone());
    cache.write(states[0].clone()).await;
    fs::rename(dir.path().join("state"), dir.path().join("away")).unwrap();
    cache.write(states[1].clone()).await;
    assert_eq!(Cache::new(path.clone()).read(), None);
    // The file that comes back is as old as it was; what it lacks is not only what changed last.
    fs::rename(dir.path().join("away"), dir.path().join("state")).unwrap();
    cache.write(states[2].clone()).await;
    assert_eq!(Cache::new(path).read().as_ref(), Some(&states[2]));
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_read_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.json");
    let text = r#"{"version":1,"store":"git","revision":"7","records":{"10.1.1.51.json":"{\"a\":\n1}","no key/":"x",
        "10.1.1.51.names.json":"n"},"held":{"10.1.1.52.json":"h"},"swapped":true}"#;
    fs::write(&path, text).unwrap();
    let mut cache = Cache::new(path.clone());
    let mut expected = saved("7", &[("10.1.1.51.json", "{\"a\":\n1}"), ("10.1.1.51.names.json", "n")]);
    expected.held.insert(key("10.1.1.52.json"), Bytes::from_static(b"h"));
    expected.swapped = true;
    assert_eq!(cache.load(), Some(expected.clone()));
    expected.held = Map::new();
    cache.write(expected.clone()).await;
    assert!(fs::read(&path).unwrap().starts_with(b"ipvland snapshot 2\n"));
    assert_eq!(Cache::new(path.clone()).read(), Some(expected));
    for broken in ["", "{", "{\"version\":9}", "[]", "ipvland snapshot 3\n"] {
        fs::write(&path, broken).unwrap();
        assert_eq!(Cache::new(path.clone()).read(), None, "{broken}");
    }
}

/// A record as `ipvland` writes it, one that is written otherwise, or none at all.
fn record(host: u8, bytes: Vec<u8>) -> Bytes {
    let text = format!(
        "{{\"version\": 1, \"host\": \"10.1.1.{host}\", \"name\": \"{}\", \"next_hops\": [\"10.1.1.1\"], \"networks\": []}}",
        bytes.len()
    );
    let parsed = || Record::parse(&key(&format!("10.1.1.{host}.json")), text.as_bytes()).unwrap();
    match bytes.first() {
        Some(first) if first % 3 == 0 => bytes.into(),
        Some(first) if first % 3 == 1 => text.into(),
        _ => parsed().to_bytes(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(runs in vec(vec((0u8..40, proptest::option::of(vec(any::<u8>(), 0..40))), 0..8), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        let mut state = saved("0", &[]);
        let mut states = Vec::new();
        for (at, run) in runs.into_iter().enumerate() {
            state.revision = Revision::new(at.to_string());
            for (host, bytes) in run {
                let held = host % 5 == 0;
                let name = if host % 3 == 0 { format!("10.1.1.{host}.names.json") } else { format!("10.1.1.{host}.json") };
                let map = match host {
                    _ if held => &mut state.held,
                    _ if host % 3 == 0 => &mut state.names,
                    _ => {
                        match bytes {
                            Some(bytes) => state.records.insert(key(&name), record(host, bytes)),
                            None => state.records.remove(&key(&name)),
                        }
                        continue;
                    }
                };
                match bytes {
                    Some(bytes) => _ = map.insert(key(&name), bytes.into()),
                    None => _ = map.remove(&key(&name)),
                }
            }
            states.push(state.clone());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(write_all(&path, &states));
    }
}
