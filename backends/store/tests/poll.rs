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
use ipvland_store::{Delta, Error, Interval, Nudge, Remedy, Result, Revision, poll::poll};
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
async fn a_commit_of_this_host_leads_to_one_look() {
    let nudge = Nudge::new();
    let (looks, mut deltas) = counted(&nudge, |look| Ok((look == 2).then(|| delta("2".into())).flatten()));
    let writer = tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        nudge.committed(Revision::new("2"));
    });
    let start = Instant::now();
    assert_eq!(deltas.next().await.unwrap().unwrap().revision.as_str(), "2");
    assert_eq!(start.elapsed().as_secs(), 1);
    timeout(Duration::from_secs(8), deltas.next()).await.unwrap_err();
    assert_eq!(looks.load(Ordering::Relaxed), 2);
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_this_host_has_written_is_no_answer_to_others() {
    // Which of the two is heard first is up to chance.
    for _ in 0..20 {
        let nudge = Nudge::new();
        // The store tells from memory what was written; what another wrote after it takes a second look.
        let (looks, mut deltas) = counted(&nudge, |look| match look {
            2 => Ok(delta("own".into())),
            3 => Ok(delta("another's".into())),
            _ => Ok(None),
        });
        let waker = tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            nudge.committed(Revision::new("own"));
            nudge.wake();
        });
        let start = Instant::now();
        for told in ["own", "another's"] {
            assert_eq!(deltas.next().await.unwrap().unwrap().revision.as_str(), told);
        }
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(looks.load(Ordering::Relaxed), 3);
        waker.await.unwrap();
    }
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

/// A store whose tip is set by hand, polled by a task that hands on what it learns.
struct Place {
    nudge: Nudge,
    tip: tokio::sync::watch::Sender<&'static str>,
    looks: Arc<AtomicU64>,
    learned: tokio::sync::mpsc::UnboundedReceiver<(String, Instant)>,
}

impl Place {
    /// Begins at the tip `0`, of which the poller knows.
    async fn new(interval: impl Into<Interval>) -> Self {
        let (nudge, looks, tip) =
            (Nudge::new(), Arc::new(AtomicU64::new(0)), tokio::sync::watch::Sender::new("0"));
        let (count, shown) = (looks.clone(), tip.subscribe());
        let mut deltas = poll(Revision::new("0"), interval, nudge.clone(), move |after| {
            count.fetch_add(1, Ordering::Relaxed);
            let shown = *shown.borrow();
            async move { Ok((after.as_str() != shown).then(|| delta(shown.into())).flatten()) }
        });
        let (tell, learned) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(delta)) = deltas.next().await {
                tell.send((delta.revision.to_string(), Instant::now())).unwrap();
            }
        });
        // The first look is made at once; hints come when it is long over.
        sleep(Duration::from_secs(3)).await;
        Self { nudge, tip, looks, learned }
    }

    fn hint(&self, revision: &str) -> bool {
        self.nudge.hint(Some(Revision::new(revision)))
    }

    /// Returns how many looks were made since it was asked last.
    fn looked(&self) -> u64 {
        self.looks.swap(0, Ordering::Relaxed)
    }

    fn interval(&self) -> u64 {
        self.nudge.counts().interval.unwrap().as_secs()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_true_hint_leads_to_one_look_at_once_however_many_there_are() {
    let mut place = Place::new(HOUR).await;
    for tip in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        place.looked();
        place.tip.send_replace(tip);
        let hinted = Instant::now();
        assert!(place.hint(tip));
        let (learned, at) = place.learned.recv().await.unwrap();
        assert_eq!((learned.as_str(), at - hinted), (tip, Duration::ZERO));
        // Others say so too.
        assert!(!place.hint(tip));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(place.looked(), 1);
    }
    assert!(!place.hint("3"), "it was seen a while ago");
    let counts = place.nudge.counts();
    assert_eq!((counts.true_hints, counts.false_hints, counts.known_hints), (9, 0, 10));
}

#[tokio::test(start_paused = true)]
async fn hints_for_nothing_cost_a_look_a_second_at_most() {
    let place = Place::new(HOUR).await;
    place.looked();
    for round in 0..20_000 {
        place.hint(&format!("no {round}"));
        sleep(Duration::from_millis(1)).await;
    }
    let looks = place.looked();
    assert!((20..=24).contains(&looks), "{looks} looks in 20 s");
    // And real news are seen nevertheless.
    let Place { nudge, tip, mut learned, .. } = place;
    tip.send_replace("1");
    let hinted = Instant::now();
    nudge.hint(Some(Revision::new("1")));
    let (_, at) = learned.recv().await.unwrap();
    assert!(at - hinted <= Duration::from_millis(1001), "{:?}", at - hinted);
}

#[tokio::test(start_paused = true)]
async fn who_is_hinted_while_the_server_shows_the_old_tip_looks_again() {
    for (lag, wanted) in [(0, 0), (20, 50), (120, 200), (600, 700), (2_000, 2_200)] {
        let mut place = Place::new(HOUR).await;
        let begun = Instant::now();
        place.hint("1");
        sleep(Duration::from_millis(lag)).await;
        place.tip.send_replace("1");
        let (_, at) = place.learned.recv().await.unwrap();
        let took = (at - begun).as_millis();
        assert!((wanted..=wanted + 5).contains(&took), "{took} ms after a lag of {lag}");
    }
    let place = Place::new(HOUR).await;
    place.looked();
    place.hint("1");
    sleep(Duration::from_secs(60)).await;
    assert_eq!((place.looked(), place.nudge.counts().false_hints), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hint_right_after_news_that_brought_it_along_costs_one_look() {
    let mut place = Place::new(HOUR).await;
    place.tip.send_replace("2");
    place.hint("2");
    place.learned.recv().await.unwrap();
    place.looked();
    // Another host pushed `1` just before `2`, and is slow to say so.
    place.hint("1");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(place.looked(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_hosts_alive_spread_their_looks_and_few_do_not() {
    for (alive, most) in [(3, 0), (108, 26), (100_000, 251)] {
        let mut place = Place::new(HOUR).await;
        place.nudge.set_fleet(100_000, alive);
        let mut spread = Vec::new();
        for tip in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            place.tip.send_replace(tip);
            let hinted = Instant::now();
            place.hint(tip);
            let (_, at) = place.learned.recv().await.unwrap();
            spread.push((at - hinted).as_millis());
        }
        assert!(spread.iter().all(|took| *took <= most), "{alive}: {spread:?}");
        assert!(most == 0 || spread.iter().any(|took| *took * 4 > most), "{alive}: {spread:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_interval_grows_while_hints_work_and_a_pinned_one_never_does() {
    let first = Duration::from_secs(10);
    for (interval, grows) in [(Interval::Adaptive(first), true), (Interval::Pinned(first), false)] {
        let mut place = Place::new(interval).await;
        let mut last = place.interval();
        assert_eq!(last, 10);
        for number in 1..=20u32 {
            let tip: &'static str = format!("{number}").leak();
            place.tip.send_replace(tip);
            place.hint(tip);
            assert_eq!(place.learned.recv().await.unwrap().0, tip);
            sleep(Duration::from_secs(400)).await;
            let now = place.interval();
            assert!(if grows { now > last || now == 300 } else { now == 10 }, "{now} after {last}");
            last = now;
        }
        // Somebody writes and nobody hints at it.
        place.tip.send_replace("by hand");
        place.learned.recv().await.unwrap();
        assert_eq!(place.interval(), 10);
        place.nudge.set_fleet(1_000, 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(place.interval(), if grows { 50 } else { 10 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_asks_for_is_the_least_pause_also_for_who_is_nudged() {
    let nudge = Nudge::new();
    let (looks, mut deltas) = counted(&nudge, |look| match look {
        1 => Err(Error::away("busy").with_pause(Duration::from_secs(100))),
        _ => Ok(delta(look.to_string())),
    });
    deltas.next().await.unwrap().unwrap_err();
    let begun = Instant::now();
    assert!(nudge.resting().is_some());
    let waker = tokio::spawn({
        let nudge = nudge.clone();
        async move {
            for number in 0..100 {
                nudge.wake();
                nudge.hint(Some(Revision::new(format!("x{number}"))));
                sleep(Duration::from_millis(500)).await;
            }
        }
    });
    deltas.next().await.unwrap().unwrap();
    let took = begun.elapsed();
    assert!((100..=103).contains(&took.as_secs()), "{took:?}");
    assert_eq!(looks.load(Ordering::Relaxed), 2);
    waker.await.unwrap();
    // A poller that begins meanwhile obeys too.
    let nudge = Nudge::new();
    let (_, mut deltas) = counted(&nudge, |_| Err(Error::away("busy").with_pause(Duration::from_secs(100))));
    deltas.next().await.unwrap().unwrap_err();
    let (begun, (_, mut others)) = (Instant::now(), counted(&nudge, |_| Ok(delta("1".into()))));
    others.next().await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_apart_has_hints_in_common_and_wakes_of_its_own() {
    let (nudge, looks) = (Nudge::new(), Arc::new(AtomicU64::new(0)));
    assert!(!*nudge.polled().borrow());
    let (count, apart) = (looks.clone(), nudge.apart());
    let mut deltas = poll(Revision::new("0"), HOUR, apart.clone(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(None) }
    });
    assert!(*nudge.polled().borrow());
    tokio::spawn(async move { deltas.next().await });
    sleep(Duration::from_secs(5)).await;
    nudge.wake();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    apart.wake();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(looks.load(Ordering::Relaxed), 2);
    nudge.hint(None);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(looks.load(Ordering::Relaxed), 3);
}
