//! Lists, differences and exports.

use super::*;

#[tokio::test]
async fn a_listing_judges_and_a_difference_shows_lines() {
    let two = Two::new().await;
    two.to.plant(b"10.1.1.48.json", record(A, ID, "10.1.48.0/24"));
    two.to.plant(b"10.1.1.51.json", record(B, ID, "10.1.48.0/25"));
    two.to.plant(b"10.1.1.53.json", "{ \x1b");
    two.to.plant(b"..", "");
    let state = two.state.path();
    let (from, to) =
        (Opened::of(Arc::new(two.from), "git", state), Opened::of(Arc::new(two.to), "etcd", state));
    let (a, b) = (from.read().await.unwrap(), to.read().await.unwrap());
    let text = Listing::new(&to, &b).to_text();
    let line = |file: &str| {
        text.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}: {text}"))
    };
    assert!(line("10.1.1.48.json").ends_with("10.1.1.48  n     10.1.1.48  10.1.48.0/24  -"), "{text}");
    assert!(
        line("10.1.1.51.json").contains("refused: 10.1.48.0/25: it overlaps 10.1.48.0/24 of 10.1.1.48.json"),
        "{text}"
    );
    assert!(line("10.1.1.53.json").contains("refused: ") && text.contains("strays (1)\n"), "{text}");
    assert_eq!(find(&to, &b, "10.1.1.48").unwrap(), record(A, ID, "10.1.48.0/24"));
    assert_eq!(find(&to, &b, "::ffff:10.1.1.53").unwrap(), b"{ \x1b");
    assert!(find(&to, &b, "../x").is_err());

    let difference = differ((&from, &a), (&to, &b));
    let text = difference.to_text();
    assert!(text.contains("only in --from: 10.1.1.52.json\nonly in --to: 10.1.1.53.json\n"), "{text}");
    assert!(text.contains("\n-        \"10.1.51.0/24\"\n+        \"10.1.48.0/25\"\n"), "{text}");
    assert!(text.ends_with("the same: 1, different: 1, only in --from: 1, only in --to: 1\n"), "{text}");
    assert!(!difference.is_none() && differ((&from, &a), (&to, &a)).is_none());

    let document = to_json(&to, &b);
    assert_eq!(document["records"]["10.1.1.48.json"]["host"], A);
    assert_eq!(document["escaped"]["10.1.1.53.json"], "{ \\x1b");
    let dir = state.join("out");
    let words = to_directory(&to, &b, &dir).unwrap();
    assert!(
        words.starts_with("all of etcd (/etcd) at revision ")
            && words.contains(", records: 3")
            && words.contains("not a record: .."),
        "{words}"
    );
    assert_eq!(std::fs::read(dir.join("10.1.1.53.json")).unwrap(), b"{ \x1b");
    assert!(matches!(to_directory(&to, &b, &dir), Err(Trouble::Usage(_))));
}

#[tokio::test]
async fn names_are_listed_by_themselves_and_copied_as_they_are() {
    let two = Two::new().await;
    let names = |id: &str, address: &str| {
        format!(
            r#"{{"version": 1, "host": "{A}", "id": "{id}", "names": {{"net1": {{"db": ["{address}"]}}}}}}"#
        )
    };
    two.from.plant(b"10.1.1.48.names.json", names(ID, "10.1.48.7"));
    two.from.plant(b"10.1.1.51.names.json", "{");
    two.from.plant(b"x.names.json", "{}");
    let opened = Opened::of(Arc::new(two.from.clone()), "git", two.state.path());
    let snapshot = opened.read().await.unwrap();
    let text = Listing::new(&opened, &snapshot).to_text();
    assert!(text.contains("records (3)\n") && text.contains("names (3)\n"), "{text}");
    assert!(text.contains("  10.1.1.48.names.json  10.1.1.48  net1: 1\n"), "{text}");
    assert!(
        text.contains(
            "  10.1.1.51.names.json  10.1.1.51  -                 refused: the file is not valid JSON"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "  x.names.json          -          -                 refused: the file is not named after"
        ),
        "{text}"
    );
    assert_eq!(find(&opened, &snapshot, "10.1.1.48.names").unwrap(), names(ID, "10.1.48.7").as_bytes());

    let (words, complete, _) = two.copy(PLAIN).await;
    assert!(words.contains(": 6 copied") && complete, "{words}");
    assert_eq!(records(&two.to).await, records(&two.from).await);
    two.to.plant(b"10.1.1.48.names.json", names(OTHER_ID, "10.1.48.8"));
    let (_, _, lines) = copy_between(
        Arc::new(two.from.clone()),
        Arc::new(two.to.clone()),
        tempfile::tempdir().unwrap().path(),
        PLAIN,
    )
    .await
    .unwrap();
    assert!(lines[0].contains("another machine publishes as that host"), "{lines:?}");
}
