//! What changes in the store after a revision.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use etcd_client::{Client, Event, EventType, WatchOptions, WatchResponse, WatchStream};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use ipvland_store::{Delta, Error, Key, Result, Revision};
use tokio::time::timeout;

use crate::{
    contents::{Contents, Put},
    errors::Failure,
    layout::Place,
    members::Repeat,
    read,
    revision::Mark,
    store::Inner,
};

/// Returns the changes after a revision, until the first error.
pub(crate) fn watch(inner: Arc<Inner>, after: Revision) -> BoxStream<'static, Result<Delta>> {
    stream::unfold(State::Start(inner, after), |state| async move {
        let (item, state) = match state {
            State::Ended => return None,
            State::Start(inner, after) => match start(inner, &after).await {
                Ok(watching) => watching.next().await,
                Err(error) => (Err(error), State::Ended),
            },
            State::Watching(watching) => watching.next().await,
        };
        Some((item, state))
    })
    .boxed()
}

enum State {
    Start(Arc<Inner>, Revision),
    Watching(Box<Watching>),
    Ended,
}

/// A watch at one member.
struct Watching {
    inner: Arc<Inner>,
    member: usize,
    stream: WatchStream,
    /// Keeps the connection.
    _client: Client,
    contents: Contents,
    /// The revision that the reader has.
    told: Revision,
    /// Whether the contents were read for this watch, so that reading them again is no help.
    is_anew: bool,
    /// Whether the first changes were looked at for what etcd left out.
    is_proven: bool,
}

/// Finds out from where on etcd is to be watched, and watches.
async fn start(inner: Arc<Inner>, after: &Revision) -> Result<Box<Watching>> {
    // What this handle read at that revision saves reading it again, unless etcd was compacted since.
    if let Some(contents) = inner.recall(after) {
        match open(&inner, contents, after).await {
            Err(Failure::HistoryGone) => {}
            answer => return answer.map_err(|failure| inner.error(failure)),
        }
    }
    start_anew(inner, after).await
}

/// As [`start`], from what is read now.
async fn start_anew(inner: Arc<Inner>, after: &Revision) -> Result<Box<Watching>> {
    let started = match Mark::parse(after) {
        None => Err(Failure::HistoryGone),
        Some(mark) => match origin(&inner, &mark).await {
            Ok(contents) => open(&inner, contents, after).await,
            Err(failure) => Err(failure),
        },
    };
    match started {
        Ok(mut watching) => {
            watching.is_anew = true;
            Ok(watching)
        }
        Err(Failure::HistoryGone) => Err(gone(&inner, after)),
        Err(other) => Err(inner.error(other)),
    }
}

fn gone(inner: &Inner, after: &Revision) -> Error {
    Error::history_gone(format!(
        "etcd at {} does not have {after} in its history any more: it was compacted, or is another one",
        inner.members.shown()
    ))
}

/// Returns the contents that a mark stands for.
///
/// In a quiet store they are the newest, which are there however much of the history is compacted. Else they are those of
/// etcd's revision `newest`; a key that was deleted by hand after that is still among them, and its deletion is told again.
async fn origin(inner: &Inner, mark: &Mark) -> Result<Contents, Failure> {
    let now = read::now(&inner.members, &inner.layout).await?.contents;
    if now.mark() == *mark {
        return Ok(now);
    }
    if mark.newest == 0 {
        // Nothing was there, so all of the history is new.
        return Ok(Contents::empty(0));
    }
    let then = read::then(&inner.members, &inner.layout, mark.newest).await?.contents;
    let found = then.mark();
    if found.nonce == mark.nonce && found.newest == mark.newest && found.count >= mark.count {
        Ok(then)
    } else {
        Err(Failure::HistoryGone)
    }
}

async fn open(inner: &Arc<Inner>, contents: Contents, after: &Revision) -> Result<Box<Watching>, Failure> {
    let (from, to) = inner.layout.all();
    let options = WatchOptions::new().with_range(to).with_start_revision(contents.at + 1);
    let (member, (client, stream, first)) = inner
        .members
        .call(Repeat::Always, |client| {
            let (from, options) = (from.clone(), options.clone());
            async move {
                let (mut stream, mut first) = ask_for(&client, &from, &options).await?;
                let is_refused = |first: &WatchResponse| first.canceled() && first.compact_revision() == 0;
                if first.as_ref().is_some_and(is_refused) {
                    // As etcd refuses a watch of a login that ran out; the client renews it for other calls only.
                    client.refresh_token().await?;
                    (stream, first) = ask_for(&client, &from, &options).await?;
                }
                Ok((client, stream, first))
            }
        })
        .await?;
    let told = after.clone();
    let watching = Watching {
        inner: inner.clone(),
        member,
        stream,
        _client: client,
        contents,
        told,
        is_anew: false,
        is_proven: false,
    };
    let first = first.ok_or_else(|| watching.ended())?;
    watching.check(&first)?;
    Ok(Box::new(watching))
}

/// Asks for a watch, and returns it with the first answer, which says that it is there. That its start was compacted is told
/// a little later.
async fn ask_for(
    client: &Client,
    from: &[u8],
    options: &WatchOptions,
) -> Result<(WatchStream, Option<WatchResponse>), etcd_client::Error> {
    let mut watcher = client.watch_client().max_decoding_message_size(usize::MAX);
    let mut stream = watcher.watch(from, Some(options.clone())).await?;
    let first = stream.message().await?;
    Ok((stream, first))
}

impl Watching {
    /// Returns the next change, or the error that ends the stream.
    async fn next(mut self: Box<Self>) -> (Result<Delta>, State) {
        loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(delta)) => return (Ok(delta), State::Watching(self)),
                Err(Failure::HistoryGone) if !self.is_anew => {
                    match start_anew(self.inner, &self.told).await {
                        Ok(watching) => self = watching,
                        Err(error) => return (Err(error), State::Ended),
                    }
                }
                Err(Failure::HistoryGone) => return (Err(gone(&self.inner, &self.told)), State::Ended),
                Err(Failure::Store(error)) => return (Err(error), State::Ended),
                Err(Failure::Member { error, .. }) => {
                    self.inner.members.leave(self.member, &error);
                    // The next watch goes on from here.
                    self.inner.remember(self.contents);
                    return (Err(error), State::Ended);
                }
            }
        }
    }

    /// Reads one message, and returns the change in it if there is one.
    async fn step(&mut self) -> Result<Option<Delta>, Failure> {
        let response = self.message().await?;
        let Some(delta) = self.take(response.events()) else { return Ok(None) };
        self.prove(self.contents.at).await?;
        self.told = delta.revision.clone();
        self.is_anew = false;
        Ok(Some(delta))
    }

    /// Looks once whether etcd left out a change, by the number of keys at a revision; 0 is the newest.
    ///
    /// etcd before 3.4.36 and 3.5.18 doesn't tell what was deleted at the very revision that a watch starts at, where it was
    /// compacted to just that one (etcd issue 19179). Then it has fewer keys than we know of.
    async fn prove(&mut self, revision: i64) -> Result<(), Failure> {
        if self.is_proven {
            return Ok(());
        }
        let Inner { members, layout, .. } = &*self.inner;
        if read::count(members, layout, revision).await? != self.contents.mark().count {
            return Err(Failure::HistoryGone);
        }
        self.is_proven = true;
        Ok(())
    }

    /// Waits for a message; a member that is silent is asked for one, which shows whether it's still there.
    async fn message(&mut self) -> Result<WatchResponse, Failure> {
        let limit = self.inner.members.timeout();
        let mut is_asked = false;
        loop {
            match timeout(limit, self.stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.check(&response)?;
                    return Ok(response);
                }
                Ok(Ok(None)) => return Err(self.ended()),
                Ok(Err(error)) => return Err(self.inner.members.failure(self.member, &error)),
                Err(_) if is_asked => return Err(self.inner.members.silent(self.member)),
                Err(_) => {
                    self.prove(0).await?;
                    self.ask().await?;
                    is_asked = true;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let asked = self.stream.request_progress().await;
        asked.map_err(|error| self.inner.members.failure(self.member, &error))
    }

    fn ended(&self) -> Failure {
        let url = self.inner.members.url(self.member);
        let error = Error::away(format!("the etcd member {url} ended the watch: it may be stopping"));
        Failure::Member { error, is_unsent: false }
    }

    /// Looks whether the member ended the watch, and why.
    fn check(&self, response: &WatchResponse) -> Result<(), Failure> {
        if response.compact_revision() > 0 {
            return Err(Failure::HistoryGone);
        }
        if !response.canceled() {
            return Ok(());
        }
        // Where it's a refusal for good, the next read tells so.
        let url = self.inner.members.url(self.member);
        let said = crate::errors::clean(response.cancel_reason());
        let error = Error::away(format!("the etcd member {url} ended the watch ({said})"));
        Err(Failure::Member { error, is_unsent: false })
    }

    /// Takes the events of one message, which are those of whole revisions.
    fn take(&mut self, events: &[Event]) -> Option<Delta> {
        let mut changes = BTreeMap::new();
        for event in events {
            if let Some((key, change)) = apply(&mut self.contents, &self.inner, event) {
                changes.insert(key, change);
            }
        }
        let revision = self.contents.mark().revision();
        if changes.is_empty() && revision == self.told {
            return None;
        }
        Some(Delta { revision, changes, strays: self.contents.strays() })
    }
}

/// Brings the contents up to an event, and returns the change of a record if it is one.
fn apply(contents: &mut Contents, inner: &Inner, event: &Event) -> Option<(Key, Option<Bytes>)> {
    let pair = event.kv()?;
    let written = pair.mod_revision();
    contents.at = contents.at.max(written);
    let is_put = event.event_type() == EventType::Put;
    match inner.layout.place(pair.key()) {
        Place::Foreign => None,
        Place::Generation => {
            contents.set_generation(is_put.then(|| pair.value()), written);
            None
        }
        Place::Record(name) if is_put => match contents.put(name, pair.value().len(), written) {
            Put::Record(key) => Some((key, Some(Bytes::copy_from_slice(pair.value())))),
            Put::NoRecordAnyMore(key) => Some((key, None)),
            Put::Stray => None,
        },
        Place::Record(name) => contents.remove(name).map(|key| (key, None)),
    }
}
