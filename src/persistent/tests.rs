//! The map against the standard library's, on random sequences of changes.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

/// The differences as anybody would find them.
fn naive(earlier: &BTreeMap<u16, u8>, later: &BTreeMap<u16, u8>) -> Vec<(u16, Option<u8>)> {
    let keys: std::collections::BTreeSet<u16> = earlier.keys().chain(later.keys()).copied().collect();
    let differs = keys.into_iter().filter(|key| earlier.get(key) != later.get(key));
    differs.map(|key| (key, later.get(&key).copied())).collect()
}

fn found(earlier: &Map<u16, u8>, later: &Map<u16, u8>) -> Vec<(u16, Option<u8>)> {
    later.diff(earlier).map(|(key, change)| (*key, change.after().copied())).collect()
}

/// Checks what the code of a node takes for granted: order, least keys, equal depth, no node empty or too large.
fn check(map: &Map<u16, u8>) {
    fn depth(node: &Node<u16, u8>) -> usize {
        match node {
            Node::Leaf(entries) => {
                assert!((1..=node::MOST).contains(&entries.len()), "a leaf of {}", entries.len());
                0
            }
            Node::Inner(children) => {
                assert!((1..=node::MOST).contains(&children.len()), "a node of {}", children.len());
                let depths: Vec<usize> = children.iter().map(|(_, child)| depth(child)).collect();
                assert!(depths.windows(2).all(|two| two[0] == two[1]), "leaves at different depths");
                assert!(
                    children.iter().all(|(least, child)| child.least() == Some(least)),
                    "a wrong least key"
                );
                depths[0] + 1
            }
        }
    }
    assert_eq!(map.root.is_none(), map.is_empty());
    map.root.iter().for_each(|root| _ = depth(root));
    assert_eq!(map.iter().len(), map.iter().count());
    assert!(map.keys().zip(map.keys().skip(1)).all(|(a, b)| a < b));
}

/// How many nodes of a map another one does not share.
fn own_nodes(map: &Map<u16, u8>, other: &Map<u16, u8>) -> usize {
    fn nodes<'a>(node: &'a Arc<Node<u16, u8>>, all: &mut Vec<&'a Arc<Node<u16, u8>>>) {
        all.push(node);
        if let Node::Inner(children) = &**node {
            children.iter().for_each(|(_, child)| nodes(child, all));
        }
    }
    let (mut own, mut others) = (Vec::new(), Vec::new());
    map.root.iter().for_each(|root| nodes(root, &mut own));
    other.root.iter().for_each(|root| nodes(root, &mut others));
    own.into_iter().filter(|node| !others.iter().any(|other| Arc::ptr_eq(node, other))).count()
}

/// Runs of changes: mostly few, at times many that lie close together, so that nodes split and join.
fn changes() -> impl Strategy<Value = Vec<Vec<(u16, Option<u8>)>>> {
    let one = (0u16..3000, proptest::option::weighted(0.6, any::<u8>()));
    let few = vec(one, 0..6);
    let run = (0u16..3000, 1u16..400, proptest::option::of(any::<u8>()))
        .prop_map(|(from, many, value)| (from..from + many).map(|key| (key, value)).collect::<Vec<_>>());
    vec(prop_oneof![3 => few, 1 => run], 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_map_is_what_the_standard_librarys_is(start in vec((0u16..3000, any::<u8>()), 0..1200), runs in changes()) {
        let mut model: BTreeMap<u16, u8> = start.iter().copied().collect();
        let mut map: Map<u16, u8> = start.into_iter().collect();
        let mut versions = vec![(model.clone(), map.clone())];
        for run in runs {
            for (key, value) in run {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            check(&map);
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.iter().eq(model.iter()));
            versions.push((model.clone(), map.clone()));
        }
        // Every clone is still what it was, and is compared with one near and one far, in both directions.
        for (at, (model, map)) in versions.iter().enumerate() {
            prop_assert!(map.iter().eq(model.iter()));
            for (other_model, other) in [&versions[at.saturating_sub(1)], &versions[at / 2], &versions[0]] {
                prop_assert_eq!(found(map, other), naive(model, other_model));
                prop_assert_eq!(found(other, map), naive(other_model, model));
                prop_assert_eq!(map == other, model == other_model);
            }
        }
        // So are maps of no common origin.
        for (model, map) in &versions {
            let built: Map<u16, u8> = model.clone().into();
            check(&built);
            prop_assert_eq!(&built, map);
            prop_assert_eq!(found(&versions[0].1, &built), naive(&versions[0].0, model));
        }
    }

    #[test]
    fn retaining_takes_out_what_does_not_pass(entries in vec((0u16..400, any::<u8>()), 0..400), least in any::<u8>()) {
        let mut model: BTreeMap<u16, u8> = entries.iter().copied().collect();
        let mut map: Map<u16, u8> = entries.into_iter().collect();
        model.retain(|_, value| *value >= least);
        map.retain(|_, value| *value >= least);
        check(&map);
        prop_assert!(map.iter().eq(model.iter()));
    }
}

#[test]
fn a_change_copies_its_way_down_and_nothing_else() {
    let before: Map<u16, u8> = (0..10_000).map(|key| (key, 0)).collect();
    for change in [(5_000, Some(1)), (20_000, Some(1)), (0, None), (9_999, None)] {
        let mut after = before.clone();
        match change {
            (key, Some(value)) => _ = after.insert(key, value),
            (key, None) => _ = after.remove(&key),
        }
        // A root, what is below it, a leaf, and the other halves of a split.
        assert!(own_nodes(&after, &before) <= 6, "{change:?} made {} nodes", own_nodes(&after, &before));
        assert_eq!(found(&before, &after), [(change.0, change.1)]);
    }
    let mut same = before.clone();
    assert_eq!(same.remove(&20_000), None);
    assert_eq!(own_nodes(&same, &before), 0);
}

/// A value that must not be compared: what two maps share is not looked at.
#[derive(Debug, Clone)]
struct Unseen(bool);

impl PartialEq for Unseen {
    fn eq(&self, other: &Self) -> bool {
        assert!(self.0 && other.0, "a shared value was looked at");
        true
    }
}

#[test]
fn what_two_maps_share_is_not_compared() {
    // Those that lie in one leaf with a change are compared; no other is.
    let near = |key: u16| (3_000u16..3_100).contains(&key);
    let before: Map<u16, Unseen> = (0..10_000).map(|key| (key, Unseen(near(key)))).collect();
    let mut after = before.clone();
    after.insert(3_050, Unseen(true));
    after.remove(&3_051);
    assert_eq!(after.diff(&before).map(|(key, _)| *key).collect::<Vec<_>>(), [3_051]);
    // Also where leaves were split in between, so that the two are shaped differently.
    let mut split = before.clone();
    (3_040..3_060).for_each(|key| _ = split.remove(&key));
    (3_040..3_060).for_each(|key| _ = split.insert(key, Unseen(true)));
    assert_eq!(split.diff(&before).count(), 0);
}

#[test]
fn an_empty_map_is_one() {
    let mut map = Map::<u16, u8>::default();
    assert!(
        map.is_empty() && map.iter().next().is_none() && map.get(&1).is_none() && map.remove(&1).is_none()
    );
    map.insert(1, 1);
    assert_eq!(map[&1], 1);
    assert_eq!(map.remove(&1), Some(1));
    assert!(map.root.is_none() && map == Map::new());
    assert_eq!(format!("{:?}", Map::from([(1, "a")])), r#"{1: "a"}"#);
}
