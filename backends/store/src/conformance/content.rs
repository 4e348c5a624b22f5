//! Cases of what records may hold and be called, and of what is no record.

use bytes::Bytes;

use super::{
    Ability, Fixture, Host,
    steps::{is_staged, key, put},
};
use crate::{Batch, MAX_RECORD_BYTES, Remedy, key::MAX_KEY_BYTES};

pub(super) async fn every_shape_of_key_round_trips(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let longest = "k".repeat(MAX_KEY_BYTES);
    let names = [
        "10.1.1.48.json",
        "2001:db8:1::48.json",
        "::1",
        ":",
        "::",
        "a",
        "0",
        "a..b",
        "a.",
        "a...",
        "a.lock",
        "HEAD",
        "HEAD.lock",
        "refs",
        "objects",
        "config",
        "index",
        "x.git",
        "master",
        "a-",
        "a_",
        "a--b",
        "CON",
        "NUL",
        "aux.json",
        "Case",
        "case",
        "CASE",
        "head",
        "a.json.lock",
        "z-A_9.:",
        &longest,
    ];
    let all =
        names.iter().fold(Batch::new("write all"), |batch, name| batch.put(key(name), name.to_string()));
    let wanted =
        all.changes.iter().map(|(key, value)| (key.clone(), value.clone().expect("a write"))).collect();
    let before = b.snapshot().await;
    a.write(all).await;
    let snapshot = b.snapshot().await;
    assert_eq!(snapshot.records, wanted);
    assert!(snapshot.strays.is_empty(), "{:?}", snapshot.strays);
    b.watch_until(before, &wanted).await;
    let none = names.iter().fold(Batch::new("remove all"), |batch, name| batch.remove(key(name)));
    b.write(none).await;
    assert!(a.snapshot().await.records.is_empty());
}

pub(super) async fn every_value_round_trips(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let largest: Vec<u8> = (0..MAX_RECORD_BYTES).map(|i| (i * 31 % 251) as u8).collect();
    let values: [&[u8]; 8] =
        [b"", b"\0", b"\0\0a\0", b"\xff\xfe\xc3\x28", b"\n", b"a\r\nb\r\n", b"$Id$ <<<<<<< HEAD\n", &largest];
    for value in values {
        let value = Bytes::copy_from_slice(value);
        let before = b.snapshot().await;
        a.write(put("v", value.clone())).await;
        let wanted = [(key("v"), value)].into();
        assert!(b.snapshot().await.records == wanted, "a value came back changed");
        b.watch_until(before, &wanted).await;
    }
}

pub(super) async fn an_oversize_record_is_refused(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let base = host.write(put("a", "1")).await;
    let batch = put("a", "2").put(key("b"), vec![b'x'; MAX_RECORD_BYTES + 1]);
    let error = host.commit(&base, batch).await.expect_err("a record is too large");
    assert_eq!(error.remedy(), Remedy::GiveUp, "{error:?}");
    let snapshot = host.snapshot().await;
    assert_eq!((snapshot.revision, snapshot.records), (base, [(key("a"), "1".into())].into()));
}

pub(super) async fn strays_are_named_and_harm_nothing(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    a.write(put("good", "1")).await;
    let before = b.snapshot().await;
    let oversize = vec![b'x'; MAX_RECORD_BYTES + 1];
    let names: [(&[u8], &[u8]); 5] =
        [(b".hidden", b"1"), (b"-rf", b"1"), (b"a b", b"1"), (b"bell\x07", b"1"), (b"large", &oversize)];
    for (name, bytes) in names {
        if !is_staged(fixture, Ability::Plant, stage.plant(name, bytes).await) {
            return;
        }
    }
    let staged = stage.plant(b"by-hand.json", b"\xff not json").await;
    is_staged(fixture, Ability::Plant, staged);
    let snapshot = a.snapshot().await;
    let wanted = [(key("good"), Bytes::from("1")), (key("by-hand.json"), Bytes::from(&b"\xff not json"[..]))];
    let wanted = wanted.into();
    assert_eq!(snapshot.records, wanted);
    assert_eq!(snapshot.strays.len(), 5, "{:?}", snapshot.strays);
    for part in ["hidden", "-rf", "a", "bell", "large"] {
        assert!(snapshot.strays.iter().any(|stray| stray.name.contains(part)), "{:?}", snapshot.strays);
    }
    for stray in &snapshot.strays {
        assert!(!stray.name.chars().any(char::is_control), "not escaped: {stray:?}");
        assert!(!stray.reason.is_empty());
    }
    let seen = b.watch_until(before, &wanted).await;
    assert_eq!(seen.strays, snapshot.strays);
    // Writing goes on around them, and leaves them where they are.
    a.write(put("good", "2")).await;
    let after = b.snapshot().await;
    assert_eq!(after.strays, snapshot.strays);
    assert_eq!(after.records[&key("good")], "2".as_bytes());
}
