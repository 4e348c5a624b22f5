//! Cases of lost answers, lost history and stores that are away, and of what errors show.

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};

use super::{
    Ability, Fault, Faults, FaultyStore, Fixture, Host, NotStageable,
    steps::{is_staged, key, put},
};
use crate::{
    Batch, Delta, EndpointStore, Error, Event, Nudge, Remedy, Result, Revision, Snapshot, StoreExt,
    key::MAX_KEY_BYTES,
};

pub(super) async fn a_lost_answer_loses_nothing_and_applies_once(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let faults = Faults::none();
    let faulty = Arc::new(FaultyStore::new(stage.open().await, faults.clone()));
    let (a, b) = (Host::new(fixture, faulty), Host::new(fixture, stage.open().await));
    for round in 1..=5 {
        faults.next(Fault::LostAnswer);
        let mark = format!("{round};");
        let edit = |snapshot: &Snapshot| {
            let log = snapshot.records.get("log").cloned().unwrap_or_default();
            let log = String::from_utf8(log.to_vec()).expect("text");
            Ok((!log.ends_with(&mark)).then(|| put("log", format!("{log}{mark}"))))
        };
        let revision = a.store.transact(a.retry, edit).await.expect("a transaction");
        assert_eq!(b.snapshot().await.revision, revision);
    }
    assert_eq!(b.snapshot().await.records[&key("log")], "1;2;3;4;5;".as_bytes());
}

pub(super) async fn lost_history_starts_over(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    let old = a.write(put("a", "1")).await;
    let following = b.snapshot().await;
    a.write(put("a", "2")).await;
    if !is_staged(fixture, Ability::LoseHistory, stage.lose_history().await) {
        return;
    }
    a.write(put("a", "3")).await;
    for host in [&a, &b] {
        let (error, mut deltas) = host.watch_error(&old).await;
        assert_eq!(error.remedy(), Remedy::StartOver, "{error:?}");
        assert!(host.within("the end of the stream", deltas.next()).await.is_none(), "the stream must end");
    }
    // A follower that stands at the old revision learns what is there now by a reset.
    let behind = Arc::new(Behind { inner: b.store.clone(), old: Mutex::new(Some(following)) });
    let mut events = behind.follow(Nudge::new());
    let resets = b.follow_until(&mut events, &mut None, &[(key("a"), "3".into())].into()).await;
    assert!(resets >= 2, "follow told a lost history by {resets} resets");
}

/// A store whose first snapshot is an old one.
#[derive(Debug)]
struct Behind {
    inner: Arc<dyn EndpointStore>,
    old: Mutex<Option<Snapshot>>,
}

#[async_trait]
impl EndpointStore for Behind {
    async fn snapshot(&self) -> Result<Snapshot> {
        let old = self.old.lock().expect("no poison").take();
        match old {
            Some(old) => Ok(old),
            None => self.inner.snapshot().await,
        }
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        self.inner.commit(base, batch).await
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        self.inner.watch(after)
    }
}

pub(super) async fn a_store_that_is_away_says_so_in_time(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let host = Host::new(fixture, stage.open().await);
    let base = host.write(put("a", "1")).await;
    if !is_staged(fixture, Ability::GoAway, stage.go_away().await) {
        return;
    }
    let errors = [
        host.within("snapshot", host.store.snapshot()).await.expect_err("the store is away"),
        host.within("commit", host.store.commit(&base, put("a", "2"))).await.expect_err("the store is away"),
        match host.within("watch", host.store.watch(base.clone()).next()).await {
            Some(Err(error)) => error,
            other => panic!("watch gave {other:?} while the store is away"),
        },
    ];
    for error in errors {
        // A flaky store may say anything at any time, but not that it's refused.
        assert!(error.remedy() == Remedy::RetryLater, "{error:?}");
    }
    is_staged(fixture, Ability::GoAway, stage.come_back().await);
    host.write(put("a", "3")).await;
    assert_eq!(host.snapshot().await.records[&key("a")], "3".as_bytes());
}

pub(super) async fn follow_catches_up_when_the_store_is_back(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let (a, b) = (Host::new(fixture, stage.open().await), Host::new(fixture, stage.open().await));
    a.write(put("a", "1")).await;
    let nudge = Nudge::new();
    let (mut events, mut model) = (b.store.clone().follow(nudge.clone()), None);
    b.follow_until(&mut events, &mut model, &[(key("a"), "1".into())].into()).await;
    if !is_staged(fixture, Ability::GoAway, stage.go_away().await) {
        return;
    }
    // Told, and nothing taken back: a store that is away is not an empty one.
    let told = async {
        loop {
            match events.next().await.expect("follow never ends") {
                Err(error) if error.remedy() == Remedy::RetryLater => break,
                Err(error) => assert_ne!(error.remedy(), Remedy::GiveUp, "follow: {error:?}"),
                Ok(Event::Reset(snapshot)) => assert_eq!(snapshot.records.len(), 1, "{snapshot:?}"),
                Ok(Event::Delta(delta)) => assert!(delta.changes.is_empty(), "{delta:?}"),
            }
        }
    };
    b.within("follow's word that the store is away", told).await;
    let wanted = [(key("a"), "2".into())].into();
    let follower = tokio::spawn(async move { b.follow_until(&mut events, &mut model, &wanted).await });
    is_staged(fixture, Ability::GoAway, stage.come_back().await);
    a.write(put("a", "2")).await;
    nudge.wake();
    follower.await.expect("the follower");
}

pub(super) async fn no_secret_is_shown(fixture: &dyn Fixture) {
    let stage = fixture.fresh().await;
    let secrets = stage.secrets();
    let staged = if secrets.is_empty() { Err(NotStageable) } else { Ok(()) };
    if !is_staged(fixture, Ability::Secrets, staged) {
        return;
    }
    let host = Host::new(fixture, stage.open().await);
    let base = host.write(put("a", "1")).await;
    host.write(put("a", "2")).await;
    let mut errors = vec![host.commit(&base, put("a", "3")).await.expect_err("a stale base")];
    let oversize = put(&"k".repeat(MAX_KEY_BYTES), vec![0; crate::MAX_RECORD_BYTES + 1]);
    errors.push(host.commit(&host.snapshot().await.revision, oversize).await.expect_err("too large"));
    if stage.go_away().await.is_ok() {
        errors.push(host.within("snapshot", host.store.snapshot()).await.expect_err("away"));
        errors.push(host.within("commit", host.store.commit(&base, put("a", "4"))).await.expect_err("away"));
        errors
            .extend(host.within("watch", host.store.watch(base.clone()).next()).await.and_then(Result::err));
        is_staged(fixture, Ability::GoAway, stage.come_back().await);
    }
    if stage.lose_history().await.is_ok() {
        host.write(put("a", "5")).await;
        errors.push(host.watch_error(&base).await.0);
    }
    let mut shown = vec![format!("{:?}", host.store), format!("{:#?}", host.store)];
    for error in &errors {
        shown.extend(shapes(error));
    }
    for text in shown {
        let leaks = secrets.iter().any(|secret| text.contains(secret.as_str()));
        assert!(!leaks, "a secret is shown in: {text}");
    }
}

/// Returns all texts that an error and its causes can be shown as.
fn shapes(error: &Error) -> Vec<String> {
    let mut shapes = vec![error.to_string(), format!("{error:?}"), format!("{error:#?}")];
    let mut source = error.source();
    while let Some(cause) = source {
        shapes.extend([cause.to_string(), format!("{cause:?}"), format!("{cause:#?}")]);
        source = cause.source();
    }
    shapes
}
