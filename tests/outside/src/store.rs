//! The three methods.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use ipvland_store::{
    Batch, Delta, EndpointStore, Error, MAX_RECORD_BYTES, Result, Revision, Snapshot, Writer,
};
use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::sync::Mutex;

use crate::{
    Settings,
    judge::{Field, Strays},
    refusal,
    script::{Committed, Keys, Records},
    server::{self, Server},
    watch,
};

/// The most records that one batch may change: the arguments of a call within a script are bounded.
const MAX_CHANGES: usize = 1000;

/// A store in Redis. Clones are one handle.
#[derive(Clone)]
pub struct RedisStore(Arc<Handle>);

/// What a handle's calls and watches share.
pub(crate) struct Handle {
    pub(crate) server: Server,
    pub(crate) keys: Keys,
    writer: String,
    /// The connection that calls share, once there is one. Each watch has its own, since it blocks.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStore {
    /// Makes a handle; it connects at the first call.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) for an address or a time-out that can't be.
    pub fn new(settings: Settings, writer: Writer) -> Result<Self> {
        let keys = Keys::new(settings.prefix());
        let writer = format!("{} ({})", writer.name, writer.address);
        Ok(Self(Arc::new(Handle {
            server: Server::new(settings)?,
            keys,
            writer,
            connection: Mutex::default(),
        })))
    }
}

impl Handle {
    /// Sends a command over the shared connection. Where that turns out to be cut, a command that only reads goes out
    /// again over a new one; a commit doesn't, since it may have been done.
    async fn call<T: FromRedisValue>(&self, command: &Cmd, only_reads: bool) -> Result<T> {
        let (mut connection, was_there) = self.connection().await?;
        let error = match server::ask(&mut connection, command, self.server.timeout).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // Also after a refusal: a server that became a replica keeps its connections, and the next one may lead to the
        // new primary.
        self.connection.lock().await.take();
        if !(only_reads && was_there && server::is_cut(&error)) {
            return Err(refusal::explain(&self.server, &error));
        }
        let (mut connection, _) = self.connection().await?;
        let answer = server::ask(&mut connection, command, self.server.timeout).await;
        answer.map_err(|error| refusal::explain(&self.server, &error))
    }

    /// Returns the shared connection, and whether it was there before.
    async fn connection(&self) -> Result<(MultiplexedConnection, bool)> {
        // Who waits here waits for another caller's attempt to connect, which ends in time.
        let mut shared = self.connection.lock().await;
        if let Some(connection) = &*shared {
            return Ok((connection.clone(), true));
        }
        let connection = self.server.connect().await?;
        Ok((shared.insert(connection).clone(), false))
    }
}

#[async_trait]
impl EndpointStore for RedisStore {
    async fn snapshot(&self) -> Result<Snapshot> {
        let (revision, fields): Records = self.0.call(&self.0.keys.snapshot(), true).await?;
        let mut snapshot = Snapshot::empty(Revision::new(revision));
        let mut strays = Strays::new();
        for (name, value) in fields {
            match Field::of(&name, value) {
                Field::Record(key, bytes) => drop(snapshot.records.insert(key, bytes)),
                Field::Stray(_, stray) => drop(strays.insert(name, stray)),
            }
        }
        snapshot.strays = strays.into_values().collect();
        Ok(snapshot)
    }

    async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
        for (key, change) in &batch.changes {
            if change.as_ref().is_some_and(|bytes| bytes.len() > MAX_RECORD_BYTES) {
                return Err(Error::refused(format!(
                    "{key} is not written: a record has at most {MAX_RECORD_BYTES} bytes; make it smaller"
                )));
            }
        }
        if batch.changes.len() > MAX_CHANGES {
            let count = batch.changes.len();
            return Err(Error::refused(format!(
                "{count} records are not written: redis takes at most {MAX_CHANGES} at once; write fewer"
            )));
        }
        let command = self.0.keys.commit(base, &self.0.writer, &batch);
        let (outcome, revision): Committed = self.0.call(&command, false).await?;
        match &*outcome {
            "done" | "same" => Ok(Revision::new(revision)),
            _ => Err(Error::conflict(format!(
                "another host was first: redis at {} is at {revision}, not at {base} any more",
                self.0.server.address
            ))),
        }
    }

    fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
        watch::watch(self.0.clone(), after)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({}, {})", self.0.server.address, self.0.keys.records)
    }
}
