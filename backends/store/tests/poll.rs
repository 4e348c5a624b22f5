//! When the poller looks, and when it ends.

// Steps that the tests share are outside of the functions that the lints take for tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use ipvland_store::{Delta, Error, Nudge, Remedy, Result, Revision, poll::poll};
use tokio::time::{Instant, sleep, timeout};

const INTERVAL: Duration = Duration::from_secs(10);

fn delta(name: String) -> Option<Delta> {
    Some(Delta { revision: Revision::new(name), changes: BTreeMap::new(), strays: Vec::new() })
}

/// Counts looks; the answer to each is made from its number, from 1.
fn counted(
    nudge: &Nudge,
    answer: fn(u64) -> Result<Option<Delta>>,
) -> (Arc<AtomicU64>, futures::stream::BoxStream<'static, Result<Delta>>) {
    let looks = Arc::new(AtomicU64::new(0));
    let count = looks.clone();
    let stream = poll(Revision::new("0"), INTERVAL, nudge.clone(), move |_| {
        let answer = answer(count.fetch_add(1, Ordering::Relaxed) + 1);
        async move { answer }
    });
    (looks, stream)
}

#[tokio::test(start_paused = true)]
async fn it_looks_at_once_and_then_every_interval_give_or_take_a_tenth() {
    let (_, mut deltas) = counted(&Nudge::new(), |look| Ok(delta(look.to_string())));
    let mut last = Instant::now();
    assert_eq!(deltas.next().await.unwrap().unwrap().revision.as_str(), "1");
    assert_eq!(last.elapsed(), Duration::ZERO);
    for _ in 0..50 {
        deltas.next().await.unwrap().unwrap();
        let pause = last.elapsed();
        assert!((8_999..=11_002).contains(&pause.as_millis()), "{pause:?}");
        last = Instant::now();
    }
}

#[tokio::test(start_paused = true)]
async fn each_look_is_given_the_last_revision() {
    let mut deltas = poll(Revision::new(""), INTERVAL, Nudge::new(), |after: Revision| async move {
        Ok(delta(format!("{after}x")))
    });
    for wanted in ["x", "xx", "xxx"] {
        assert_eq!(deltas.next().await.unwrap().unwrap().revision.as_str(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_nudge_leads_to_a_look_at_once() {
    let nudge = Nudge::new();
    let (looks, mut deltas) = counted(&nudge, |look| Ok((look == 2).then(|| delta("2".into())).flatten()));
    let start = Instant::now();
    let waker = tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        nudge.wake();
    });
    deltas.next().await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(looks.load(Ordering::Relaxed), 2);
    waker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_nudge_during_a_look_leads_to_another() {
    let (nudge, mut first) = (Nudge::new(), true);
    let inner = nudge.clone();
    let mut deltas = poll(Revision::new("0"), INTERVAL, nudge, move |_| {
        let (inner, is_first) = (inner.clone(), std::mem::replace(&mut first, false));
        async move {
            if is_first {
                inner.wake();
                return Ok(None);
            }
            Ok(delta("1".into()))
        }
    });
    let start = Instant::now();
    deltas.next().await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_a_minute_while_looks_fail_and_shrink_back() {
    let (_, mut deltas) = counted(&Nudge::new(), |look| match look {
        1..=5 => Err(Error::away("away")),
        _ => Ok(delta(look.to_string())),
    });
    deltas.next().await.unwrap().unwrap_err();
    for wanted in [10u64, 20, 40, 60, 60, 10] {
        let start = Instant::now();
        let _ = deltas.next().await.unwrap();
        let pause = start.elapsed().as_millis() as u64;
        assert!(
            (wanted * 900 - 1..=wanted * 1100 + 2).contains(&pause),
            "{pause} ms, wanted about {wanted} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn lost_history_and_refusals_are_handed_on_and_end_it() {
    for answer in [|_| Err(Error::history_gone("gone")), |_| Err(Error::refused("no"))] {
        let (_, mut deltas) = counted(&Nudge::new(), answer);
        let error = deltas.next().await.unwrap().unwrap_err();
        assert!(matches!(error.remedy(), Remedy::StartOver | Remedy::GiveUp));
        assert!(timeout(Duration::from_secs(3600), deltas.next()).await.unwrap().is_none());
    }
}
