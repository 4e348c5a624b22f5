//! Reading and writing records: round trips, refusals by name, and bytes that are anything.

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn parse(value: Value) -> Result<Record, Reason> {
    Record::parse(&key("10.1.1.48.json"), value.to_string().as_bytes())
}

fn valid() -> Value {
    json!({
        "version": 1, "host": "10.1.1.48", "id": "m1", "name": "web-1", "next_hops": ["10.1.1.48", "2001:db8:1::48"],
        "networks": [{ "name": "blue", "prefixes": ["10.1.48.0/24", "2001:db8:48::/64"], "vrf": 3 }],
        "underlay": { "kind": "direct", "weight": 7 }, "meta": { "rack": "a" }, "owner": ["net"],
    })
}

fn refusal(bytes: &[u8]) -> String {
    Record::parse(&key("10.1.1.48.json"), bytes).unwrap_err().0
}

/// Changes one field, by JSON pointer, and returns the refusal.
fn refusal_with(pointer: &str, value: Value) -> String {
    let mut record = valid();
    *record.pointer_mut(pointer).unwrap() = value;
    parse(record).unwrap_err().0
}

#[test]
fn a_record_is_written_with_sorted_keys_and_keeps_what_it_does_not_know() {
    let bytes = parse(valid()).unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), valid());
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.starts_with("{\n  \"host\": \"10.1.1.48\",\n  \"id\": \"m1\",\n"), "{text}");
    assert!(text.ends_with("}\n"));
}

#[test]
fn a_key_is_the_canonical_address() {
    let name = |address: &str| Record::key(address.parse().unwrap()).to_string();
    assert_eq!(name("10.1.1.48"), "10.1.1.48.json");
    assert_eq!(name("::ffff:10.1.1.48"), "10.1.1.48.json");
    assert_eq!(name("2001:DB8:0:0::48"), "2001:db8::48.json");
    assert_eq!(Record::host_of(&key("10.1.1.48")), Some("10.1.1.48".parse().unwrap()));
    assert_eq!(Record::host_of(&key("README.md")), None);
}

#[test]
fn the_first_plugins_array_is_read() {
    let text = br#"[{"Endpoint": "10.1.1.51", "Network": "10.1.51.10/24", "Meta": "", "SegID": 0},
                    {"ENDPOINT": "10.1.1.51", "network": "10.1.100.0/24"}]"#;
    for name in ["10.1.1.51.json", "10.1.1.51"] {
        let record = Record::parse(&key(name), text).unwrap();
        let prefixes: Vec<String> = record.prefixes().map(|(n, p)| format!("{n} {p}")).collect();
        assert_eq!(prefixes, ["legacy 10.1.51.0/24", "legacy 10.1.100.0/24"]);
        assert_eq!((record.id, record.next_hops), (None, vec!["10.1.1.51".parse().unwrap()]));
    }
    assert_eq!(
        Record::parse(&key("10.1.1.52.json"), text).unwrap_err().0,
        "[0].Endpoint is 10.1.1.51, but the file is named after 10.1.1.52"
    );
    assert_eq!(refusal(b"[]"), "the array has no entry");
    assert_eq!(refusal(br#"[{"Endpoint": "10.1.1.48"}]"#), "[0].Network is missing");
    assert_eq!(
        refusal(br#"[{"Endpoint": "10.1.1.48", "endpoint": "10.1.1.48"}]"#),
        "[0] has the key \"endpoint\" twice"
    );
}

#[test]
fn a_file_that_is_no_record_says_what_it_is() {
    assert_eq!(refusal(b" \n"), "the file is empty");
    assert_eq!(refusal(b"{\"a\": \"\xff\"}"), "byte 8 of the file is not UTF-8");
    assert!(refusal(b"{\n<<<<<<< HEAD\n").contains("unresolved merge"));
    assert!(refusal(b"{\"a\": 1, \"a\": 2}").contains("the key \"a\" stands twice"));
    assert!(refusal(b"{\"version\": 1").contains("line 1 column 13"));
    assert_eq!(refusal(b"3"), "the record is a number, not a JSON object");
    assert!(refusal("[".repeat(60_000).as_bytes()).contains("recursion limit"));
    assert!(refusal(&[b' '; 70_000]).contains("larger than"));
    assert!(Record::parse(&key("readme.json"), b"{}").unwrap_err().0.contains("not named after"));
}

#[test]
fn a_wrong_field_is_named() {
    assert_eq!(refusal_with("/version", json!(2)), "version 2 is not understood by this ipvland; upgrade it");
    assert_eq!(refusal_with("/version", json!("1")), "version is a string, not a number");
    assert_eq!(
        refusal_with("/host", json!("10.1.1.49")),
        "host is 10.1.1.49, but the file is named after 10.1.1.48"
    );
    assert_eq!(refusal_with("/next_hops", json!([])), "next_hops has 0 addresses, not 1 to 16");
    assert_eq!(refusal_with("/next_hops/1", json!("x")), "next_hops[1] is \"x\", not an IP address");
    assert_eq!(
        refusal_with("/networks/0/prefixes/0", json!("10.1.48.0/33")),
        "networks[0].prefixes[0] is \"10.1.48.0/33\", not a prefix such as 10.1.48.0/24"
    );
    assert_eq!(refusal_with("/networks/0/name", json!(1)), "networks[0].name is a number, not a string");
    assert_eq!(refusal_with("/name", json!("\u{1b}[31m")), "name has the unprintable character U+001B");
    assert_eq!(refusal_with("/name", json!("a".repeat(129))), "name is longer than 128 characters");
    assert_eq!(refusal_with("/underlay", json!("direct")), "underlay is a string, not an object");
    let many = vec![json!("10.1.48.0/24"); 1025];
    assert_eq!(refusal_with("/networks/0/prefixes", json!(many)), "the record has more than 1024 prefixes");
    let many = vec![json!({"name": "n", "prefixes": []}); 257];
    assert_eq!(refusal_with("/networks", json!(many)), "networks has 257 entries, more than 256");
    let with_blocks = |blocks: Value| {
        let mut record = valid();
        record["blocks"] = blocks;
        parse(record).map(|record| record.blocks).map_err(|reason| reason.0)
    };
    assert_eq!(with_blocks(json!(["192.168.1.70/28"])).unwrap()[0].to_string(), "192.168.1.64/28");
    assert_eq!(with_blocks(json!([7])).unwrap_err(), "blocks[0] is a number, not a string");
    assert_eq!(
        with_blocks(json!(vec!["10.0.0.0/28"; 1025])).unwrap_err(),
        "blocks has 1025 entries, more than 1024"
    );
    let mut record = valid();
    record.as_object_mut().unwrap().remove("networks");
    assert_eq!(parse(record).unwrap_err().0, "networks is missing");
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u16; 8]>().prop_map(|a| IpAddr::from(a).to_canonical())
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), 0u8..=128).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length % (longest + 1)).unwrap().trunc()
    })
}

fn extras(prefix: &'static str) -> impl Strategy<Value = Map<String, Value>> {
    vec(("[a-z\"\\\\é]{0,6}", any::<i64>(), "\\PC{0,9}"), 0..4).prop_map(move |all| {
        all.into_iter().map(|(key, n, text)| (format!("{prefix}{key}"), json!([n, text, null]))).collect()
    })
}

fn record() -> impl Strategy<Value = Record> {
    let network = ("[ -~é]{0,20}", vec(prefix(), 0..6), extras("x-"))
        .prop_map(|(name, prefixes, unknown)| RecordNetwork { name, prefixes, unknown });
    let underlay = prop_oneof![
        Just(Underlay::Direct),
        ("x[ -~]{0,9}", extras("x-")).prop_map(|(kind, rest)| Underlay::Unknown(kind, rest))
    ];
    let id = proptest::option::of("[ -~]{0,40}");
    let rest = (vec(prefix(), 0..4), underlay, extras(""), extras("x-"));
    (address(), id, "[ -~]{0,40}", vec(address(), 1..=16), vec(network, 0..5), rest).prop_map(
        |(host, id, name, next_hops, networks, (blocks, underlay, meta, unknown))| Record {
            host,
            id,
            name,
            next_hops,
            networks,
            blocks,
            underlay,
            meta,
            unknown,
        },
    )
}

/// A record without anything that this version does not know.
fn plain() -> impl Strategy<Value = Record> {
    record().prop_map(|mut record| {
        record.networks.iter_mut().for_each(|network| network.unknown.clear());
        record.unknown.clear();
        record.meta.clear();
        Record { underlay: Underlay::Direct, ..record }
    })
}

/// Every place in a JSON value, as a pointer.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), all));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{name}"), all));
        }
        _ => {}
    }
}

/// Checks that the short way to a record leads where the long one does, if anywhere.
fn agree(host: IpAddr, bytes: &[u8]) {
    if let Some(record) = fast::parse(host, bytes) {
        assert_eq!(
            Record::parse_any(host, bytes).as_ref(),
            Ok(&record),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn the_short_way_is_for_objects_without_surprises() {
    let host: IpAddr = "10.1.1.48".parse().unwrap();
    let short = |text: &str| {
        agree(host, text.as_bytes());
        fast::parse(host, text.as_bytes()).is_some()
    };
    let base = r#""version": 1, "host": "10.1.1.48", "next_hops": ["10.1.1.48"], "networks": []"#;
    assert!(short(&format!("{{{base}}}")));
    assert!(short(&format!(
        r#"{{{base}, "id": "a", "underlay": {{"kind": "direct"}}, "meta": {{}}, "blocks": []}}"#
    )));
    for surprise in [
        r#", "id": null"#,
        r#", "meta": null"#,
        r#", "meta": []"#,
        r#", "meta": {"a": 1}"#,
        r#", "underlay": null"#,
        r#", "underlay": ["direct"]"#,
        r#", "underlay": {"kind": "vxlan"}"#,
        r#", "name": "\u001b""#,
        r#", "owner": 1"#,
        r#", "version": 1"#,
        r#", "blocks": null"#,
        "} {",
    ] {
        assert!(!short(&format!("{{{base}{surprise}}}")), "{surprise}");
    }
    assert!(!short(r#"[1, "10.1.1.48", "a", "n", ["10.1.1.48"], []]"#));
    let network = base.replace("[]", r#"[["blue", ["10.1.48.0/24"]]]"#);
    assert!(!short(&format!("{{{network}}}")));
}

proptest! {
    #[test]
    fn the_short_way_leads_where_the_long_one_does(
        record in plain(),
        edits in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        strike in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = record.to_bytes();
        let is_simple = |text: &str| !text.contains(['"', '\\']);
        let simple = is_simple(&record.name)
            && record.id.as_deref().is_none_or(is_simple)
            && record.networks.iter().all(|network| is_simple(&network.name));
        prop_assert_eq!(fast::parse(record.host, &bytes).is_some(), simple);
        agree(record.host, &bytes);
        prop_assert_eq!(&bytes, &current::write(&record));
        prop_assert!(plain::write(&record).is_some());
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        for (at, with) in edits {
            let with = with.get(&[
                json!(null), json!([]), json!({}), json!(1), json!(1.0), json!(true), json!("x"), json!("10.1.1.48"),
                json!("10.1.1.48/8"), json!({"kind": "direct"}), json!(["direct"]), json!(["10.1.1.48"]),
                json!([{"name": "n", "prefixes": []}]), json!(["n", []]),
            ]).clone();
            let mut all = Vec::new();
            places(&value, "", &mut all);
            let place: &String = at.get(&all);
            *value.pointer_mut(place).unwrap() = with;
        }
        bytes = value.to_string().into();
        agree(record.host, &bytes);
        if let Some((at, byte)) = strike {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            agree(record.host, &bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_again(record in record()) {
        let bytes = record.to_bytes();
        let again = Record::parse(&Record::key(record.host), &bytes).unwrap();
        prop_assert_eq!(&again.to_bytes(), &bytes);
        prop_assert_eq!(&current::write(&record), &bytes);
        prop_assert_eq!(again, record);
    }

    #[test]
    fn no_bytes_make_it_panic_nor_print_what_a_terminal_obeys(bytes in vec(any::<u8>(), 0..200)) {
        if let Err(reason) = Record::parse(&key("10.1.1.48.json"), &bytes) {
            prop_assert!(!reason.0.chars().any(char::is_control));
        }
    }

    #[test]
    fn no_mutation_makes_it_panic(record in record(), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = record.to_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(reason) = Record::parse(&Record::key(record.host), &bytes) {
            prop_assert!(!reason.0.chars().any(char::is_control));
        }
    }
}
