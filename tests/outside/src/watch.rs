//! What a watch does: it blocks on the stream of changes, and asks what an entry that came has changed.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use ipvland_store::{Delta, Error, Result, Revision};
use redis::{Value, aio::MultiplexedConnection};

use crate::{
    judge::{Field, Place, Strays, odd},
    refusal,
    script::Changes,
    server,
    store::Handle,
};

/// Returns what changes after a revision. The stream ends with its first error.
pub(crate) fn watch(handle: Arc<Handle>, after: Revision) -> BoxStream<'static, Result<Delta>> {
    let watcher = Watcher { handle, after, connection: None, strays: None };
    stream::unfold(Some(watcher), async |watcher| {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(delta) => Some((Ok(delta), Some(watcher))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Watcher {
    handle: Arc<Handle>,
    after: Revision,
    connection: Option<MultiplexedConnection>,
    /// All strays at `after`, once they are known: the first delta reads them all, the later ones what changed.
    strays: Option<Strays>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Delta> {
        let gone = |after: &Revision| {
            Error::history_gone(format!("redis doesn't know what changed since revision {after} any more"))
        };
        let place = Place::of(&self.after).ok_or_else(|| gone(&self.after))?;
        let Self { handle, connection, .. } = self;
        let server = &handle.server;
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(server.connect().await?),
        };
        let look = handle.keys.changes(&place, self.strays.is_none());
        // The server answers sooner or says nothing, so a connection that is dead is found after two time-outs.
        let wait = handle.keys.wait(&place, server.timeout);
        loop {
            let answer = server::ask(connection, &look, server.timeout).await;
            let (revision, found, changed, odd): Changes =
                answer.map_err(|error| refusal::explain(server, &error))?;
            match &*found {
                "changed" => return Ok(self.delta(revision, changed, odd)),
                "same" => {}
                _ => return Err(gone(&self.after)),
            }
            let woken: Result<Value, _> = server::ask(connection, &wait, 2 * server.timeout).await;
            woken.map_err(|error| refusal::explain(server, &error))?;
        }
    }

    fn delta(
        &mut self,
        revision: String,
        changed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        all_odd: Vec<(Vec<u8>, usize)>,
    ) -> Delta {
        let all_odd =
            all_odd.into_iter().filter_map(|(name, length)| Some((odd(&name, length).err()?, name)));
        let strays = self.strays.get_or_insert_with(|| all_odd.map(|(stray, name)| (name, stray)).collect());
        let mut changes = BTreeMap::new();
        for (name, value) in changed {
            strays.remove(&name);
            match value.map(|value| Field::of(&name, value)) {
                Some(Field::Record(key, bytes)) => _ = changes.insert(key, Some(bytes)),
                Some(Field::Stray(key, stray)) => {
                    changes.extend(key.map(|key| (key, None)));
                    strays.insert(name, stray);
                }
                None => changes.extend(odd(&name, 0).ok().map(|key| (key, None))),
            }
        }
        self.after = Revision::new(revision);
        Delta { revision: self.after.clone(), changes, strays: strays.values().cloned().collect() }
    }
}
