//! What is worked out from the records that bear on a host's claims is what is worked out from all of them.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    fleet::Index,
    policy::Records,
    record::{Reason, RecordNetwork, Underlay},
};

/// Prefixes that are likely to hold each other.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0u8..4, 14u8..=28).prop_map(|(third, length)| format!("10.7.{}.0/{length}", third << 6));
    let v6 = (0u8..4, 30u8..=66).prop_map(|(third, length)| format!("2001:db8:{third:x}:{third}::/{length}"));
    prop_oneof![3 => v4, 1 => v6, 1 => Just("0.0.0.0/0".to_owned())].prop_map(|text| net(&text).trunc())
}

/// What a record holds: prefixes, blocks, and whether it is this machine's; `None` for one that can't be read.
type Held = Option<(Vec<IpNet>, Vec<IpNet>, bool)>;

fn parsed(host: u8, held: Held) -> Result<Arc<Record>, Reason> {
    let (prefixes, blocks, is_own) = held.ok_or_else(|| Reason("it is not JSON".into()))?;
    Ok(Arc::new(Record {
        host: [10, 1, 1, host].into(),
        id: Some(if is_own { ID } else { OTHER_ID }.to_owned()),
        name: String::new(),
        next_hops: Vec::new(),
        networks: vec![RecordNetwork { name: "n".to_owned(), prefixes, unknown: Default::default() }],
        blocks,
        underlay: Underlay::Direct,
        meta: Default::default(),
        unknown: Default::default(),
    }))
}

/// What becomes of a host's record: it is written, or taken out.
fn changes() -> impl Strategy<Value = Vec<(u8, Option<Held>)>> {
    let held = option::weighted(0.9, (vec(prefix(), 0..3), vec(prefix(), 0..2), prop::bool::weighted(0.2)));
    vec((45u8..52, option::weighted(0.8, held)), 0..6)
}

proptest! {
    #[test]
    fn the_records_around_a_claim_decide_as_all_do(
        history in vec((changes(), vec(prefix(), 0..3), vec(prefix(), 0..2)), 1..10),
    ) {
        let (index, mut records, own) = (Index::new(ID), Records::new(), key("10.1.1.48.json"));
        for (changes, prefixes, blocks) in history {
            for (host, change) in changes {
                let key = key(&format!("10.1.1.{host}.json"));
                match change {
                    Some(held) => records.insert(key, parsed(host, held)),
                    None => records.remove(&key),
                };
            }
            let texts: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
            let mut claims = claims("10.1.1.48", &texts.iter().map(String::as_str).collect::<Vec<_>>());
            claims.blocks = blocks;
            let nets: Vec<IpNet> = claims.prefixes().into_iter().chain(claims.blocks.clone()).collect();
            let around = index.around(&records, Some(&own), &nets);

            let edit = Edit { id: ID, claims: &claims, local: &local() };
            let outcome = |records| edit.on(records).map_err(|error| error.to_string());
            prop_assert_eq!(outcome(&around), outcome(&records));
            for (key, record) in &around {
                let bears = *key == own || record.as_ref().is_ok_and(|record| {
                    let held = record.prefixes().map(|(_, net)| net).chain(record.blocks.iter().copied());
                    let overlaps = |held: IpNet| nets.iter().any(|net| net.contains(&held) || held.contains(net));
                    record.id.as_deref() == Some(ID) || held.into_iter().any(overlaps)
                });
                prop_assert!(bears, "{key}");
            }
        }
    }
}
