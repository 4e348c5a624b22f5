//! The records of all hosts in Redis: a store as somebody outside writes it, with `ipvland-store` alone.
//!
//! # In Redis
//!
//! | key | holds |
//! | --- | --- |
//! | `PREFIX:records` | a hash: each record under its name |
//! | `PREFIX:changes` | a stream: one entry a commit, with who wrote, why, and the names of the records; the last 1,000 or so |
//!
//! The revision of the store is the stream's last entry: its id, and a random mark that its writer drew. A commit is one
//! script, which compares the revision, appends the entry and changes the hash; a watch blocks on the stream. The stream
//! is also the fleet's history:
//!
//! ```sh
//! redis-cli XREVRANGE ipvland:changes + - COUNT 10
//! ```
//!
//! Who edits by hand says so, or no host learns of it:
//!
//! ```sh
//! redis-cli -x HSET ipvland:records 10.1.1.51.json < 10.1.1.51.json
//! redis-cli XADD ipvland:changes '*' by anna key 10.1.1.51.json
//! ```
//!
//! # What the server must be
//!
//! - Redis 7 or newer, or Valkey, as one server. Replicas may follow it; a Redis Cluster is not spoken to.
//! - `appendonly yes` and `appendfsync always`, else a crash of the server loses the last second of commits, which hosts
//!   were told are kept.
//! - No eviction (`maxmemory-policy noeviction`, or a `volatile-` one): a server that may drop records to make room is
//!   refused.
//! - A user may be bound to `~PREFIX:* +eval +xread +xrange +xrevrange +xadd +exists +hget +hgetall +hkeys +hstrlen +hset
//!   +hdel +info +select`.
//! - A network that you trust: there is no TLS here.
//!
//! **The limit.** Redis replicates after it has answered, so a failover to a replica can lose commits that were
//! acknowledged, and `WAIT` only makes that rarer: it is no consensus. Hosts notice, because the lost revisions are in no
//! stream any more, and read the whole store again; what was lost is lost until its host publishes it again. A fleet that
//! can't have that wants etcd, or Git.
//!
//! # Layout
//!
//! - [`register`] and [`settings`]: the table `[store.redis]` of the config file;
//! - [`store`]: the three methods of the trait;
//! - `watch`: what a watch does;
//! - `judge`: which bytes are a record, a stray, a revision: no I/O;
//! - `script`: what runs in the server, with `lua/`;
//! - `server`: connections, time-outs, passwords;
//! - `refusal`: what the server's errors tell callers to do.

#![forbid(unsafe_code)]

mod judge;
mod refusal;
mod script;
mod server;
pub mod settings;
pub mod store;
mod watch;

use std::sync::Arc;

use ipvland_store::Registry;

pub use settings::Settings;
pub use store::RedisStore;

/// Registers the kind `redis`.
pub fn register(registry: &mut Registry) {
    registry.register("redis", settings::SETTINGS, |settings: Settings, context| async move {
        Ok(Arc::new(RedisStore::new(settings, context.writer)?) as _)
    });
}
