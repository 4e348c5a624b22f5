//! The contract between `ipvland` and the stores that hold its endpoint records.
//!
//! A store keeps one small record for every container host, under one key each, and gives the whole of them a
//! [`Revision`]. Whoever writes a store implements [`EndpointStore`], three methods; whoever uses one calls the
//! methods of [`StoreExt`], which are written once, over the three.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | [`store`] | the trait [`EndpointStore`] and its contract |
//! | [`key`], [`revision`], [`record`] | the vocabulary: [`Key`], [`Revision`], [`Snapshot`], [`Delta`], [`Batch`], [`Stray`] |
//! | [`error`] | [`Error`] and its [`Remedy`] |
//! | [`transact`] | read, edit, compare-and-swap, again: [`StoreExt::transact`] |
//! | [`follow`] | a snapshot and then what changes, for ever: [`StoreExt::follow`] |
//! | [`poll`] | [`watch`](EndpointStore::watch) for stores that can't push |
//! | [`nudge`] | the [`Nudge`] that wakes it, hints at news, and tells what it does |
//! | [`registry`], [`settings`] | stores by the kind that a config file names, with typed settings |
//! | [`memory`] | a store in memory, stricter than any real one |
//! | `conformance` | named cases that every store passes, a bad network to run them over, random interleavings checked by a model (feature `conformance`) |
//!
//! # Writing a store
//!
//! 1. Implement the three methods of [`EndpointStore`]; its `# Contract` is what you promise. Return a key's bytes as
//!    they are, report as [`Stray`] what can't be a record, refuse records over [`MAX_RECORD_BYTES`], and give every
//!    error the [`Remedy`] that fits. The hard one is [`commit`](EndpointStore::commit): compare and swap must be one
//!    step *in the store*, since another host commits at the same time.
//! 2. Where the store can't push events, make [`watch`](EndpointStore::watch) of [`poll::poll`], with the [`Nudge`] that
//!    you get when you are opened.
//! 3. Register it: a kind, the keys of its table, and how it's opened.
//! 4. Run the suite: implement `conformance::Fixture`, and write `ipvland_store::conformance_tests!(MyFixture);` in a
//!    test, with the feature `conformance` among your dev-dependencies. Each case becomes a test of its own.
//! 5. Let the network be bad: return the addresses of your servers in `conformance::Stage::servers`, and open a handle on
//!    other addresses in `Stage::open_at`. The case `random_interleavings_lose_nothing` then puts a `conformance::Proxy`
//!    before each server, for each of three hosts, which delays, cuts, half-closes and swallows; without servers it lets
//!    calls fail instead. It plays a few seeds; `CONFORMANCE_SEEDS=1000` in the environment plays more, from `CONFORMANCE_SEED` on.
//!    A failure prints the command that plays its seed again. Time-outs of a second or so keep it short.
//!
//! A store of one shared number and one map, as short as it gets:
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc, time::Duration};
//!
//! use async_trait::async_trait;
//! use futures::stream::BoxStream;
//! use ipvland_store::{
//!     Batch, Delta, EndpointStore, Error, Key, MAX_RECORD_BYTES, Nudge, Registry, Result, Revision, Setting, Snapshot,
//!     poll::poll,
//! };
//! use tokio::sync::Mutex;
//!
//! /// A shelf; clones stand before the same one, as hosts do.
//! #[derive(Debug, Clone)]
//! pub struct Shelf {
//!     /// Every version there was; the place in the list is the revision.
//!     versions: Arc<Mutex<Vec<BTreeMap<Key, bytes::Bytes>>>>,
//!     interval: Duration,
//!     nudge: Nudge,
//! }
//!
//! impl Shelf {
//!     /// Makes an empty shelf that watches look at every `interval`.
//!     pub fn new(interval: Duration, nudge: Nudge) -> Self {
//!         let versions = Arc::new(Mutex::new(vec![BTreeMap::new()]));
//!         Self { versions, interval, nudge }
//!     }
//! }
//!
//! fn revision(at: usize) -> Revision {
//!     Revision::new(format!("shelf-{at}"))
//! }
//!
//! #[async_trait]
//! impl EndpointStore for Shelf {
//!     async fn snapshot(&self) -> Result<Snapshot> {
//!         let versions = self.versions.lock().await;
//!         let newest = versions.len() - 1;
//!         let revision = revision(newest);
//!         Ok(Snapshot { revision, records: versions[newest].clone(), strays: Vec::new() })
//!     }
//!
//!     async fn commit(&self, base: &Revision, batch: Batch) -> Result<Revision> {
//!         if batch.changes.values().flatten().any(|bytes| bytes.len() > MAX_RECORD_BYTES) {
//!             return Err(Error::refused("a record is too large for the shelf; make it smaller"));
//!         }
//!         let mut versions = self.versions.lock().await;
//!         let newest = versions.len() - 1;
//!         if *base != revision(newest) {
//!             return Err(Error::conflict("another host was first on the shelf"));
//!         }
//!         let mut records = versions[newest].clone();
//!         for (key, change) in batch.changes {
//!             match change {
//!                 Some(bytes) => records.insert(key, bytes),
//!                 None => records.remove(&key),
//!             };
//!         }
//!         if records == versions[newest] {
//!             return Ok(base.clone());
//!         }
//!         versions.push(records);
//!         Ok(revision(newest + 1))
//!     }
//!
//!     fn watch(&self, after: Revision) -> BoxStream<'static, Result<Delta>> {
//!         let shelf = self.clone();
//!         poll(after, self.interval, self.nudge.clone(), move |after| {
//!             let shelf = shelf.clone();
//!             async move {
//!                 let new = shelf.snapshot().await?;
//!                 if new.revision == after {
//!                     return Ok(None);
//!                 }
//!                 let versions = shelf.versions.lock().await;
//!                 let at = (0..versions.len()).find(|at| revision(*at) == after);
//!                 let old = at.map(|at| &versions[at]);
//!                 let old = old.ok_or_else(|| Error::history_gone("the shelf never had that version"))?;
//!                 let gone = old.keys().filter(|key| !new.records.contains_key(*key)).map(|key| (key.clone(), None));
//!                 let there = new.records.iter().filter(|(key, bytes)| old.get(*key) != Some(*bytes));
//!                 let there = there.map(|(key, bytes)| (key.clone(), Some(bytes.clone())));
//!                 Ok(Some(Delta { revision: new.revision.clone(), changes: gone.chain(there).collect(), strays: vec![] }))
//!             }
//!         })
//!     }
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     interval_ms: u64,
//! }
//!
//! const SETTINGS: &[Setting] = &[Setting::plain("interval_ms", "How often to look, in milliseconds.")];
//!
//! /// Registers the kind `shelf`.
//! pub fn register(registry: &mut Registry) {
//!     registry.register("shelf", SETTINGS, |settings: Settings, context| async move {
//!         let interval = Duration::from_millis(settings.interval_ms);
//!         Ok(Arc::new(Shelf::new(interval, context.nudge)) as _)
//!     });
//! }
//!
//! # use ipvland_store::{StoreExt, transact::Retry};
//! # let writer = ipvland_store::Writer { name: "web-1".into(), address: "10.1.1.48".into() };
//! # let context = ipvland_store::OpenContext { state_dir: "/nonexistent".into(), writer, nudge: Nudge::new() };
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut registry = Registry::new();
//! register(&mut registry);
//! let shelf = registry.open("shelf", serde_json::json!({ "interval_ms": 10 }), context).await?;
//! let key = Key::parse("10.1.1.48.json")?;
//! let edit = |_: &Snapshot| Ok(Some(Batch::new("web-1 publishes").put(key.clone(), "{}")));
//! shelf.transact(Retry::default(), edit).await?;
//! assert!(shelf.snapshot().await?.records.contains_key(&key));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod backoff;
mod bucket;
mod contention;
mod duration;
pub mod error;
pub mod follow;
pub mod key;
pub mod memory;
mod near;
pub mod nudge;
mod pace;
pub mod poll;
pub mod record;
pub mod registry;
pub mod revision;
pub mod settings;
pub mod store;
pub mod transact;
mod typed;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use duration::parse_duration;
pub use error::{Error, Remedy, Result};
pub use follow::Event;
pub use key::{InvalidKey, Key};
pub use memory::MemoryStore;
pub use nudge::Nudge;
pub use poll::Interval;
pub use record::{Batch, Delta, MAX_BATCH_BYTES, MAX_BATCH_CHANGES, MAX_RECORD_BYTES, Snapshot, Stray};
pub use registry::{OpenContext, Registry, Writer};
pub use revision::Revision;
pub use settings::{Sensitivity, Setting, redact_url};
pub use store::{EndpointStore, StoreExt};
pub use transact::Retry;
