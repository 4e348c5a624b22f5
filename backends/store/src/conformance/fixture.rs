//! What the author of a store writes so that the suite can run over it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{EndpointStore, transact::Retry};

/// Makes fresh stores, one for each case.
///
/// Each test makes a fixture of its own and keeps it to its end. So where a server takes long to start, the fixture may
/// start it once, at the first [`Self::fresh`], and give every stage a place of its own on it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Makes a store that holds nothing, not even a history.
    async fn fresh(&self) -> Box<dyn Stage>;

    /// Says which [`Ability`] its stages lack, and why. A case that needs one of these fails unless the stage then
    /// answers [`NotStageable`], and one that needs another fails if it does.
    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        &[]
    }

    /// The longest time that one call may take, and one change from a handle to another.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How the suite's transactions are retried.
    fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(20),
            cap: Duration::from_secs(2),
            deadline: Some(4 * self.patience()),
        }
    }

    /// How many seeds `random_interleavings_lose_nothing` plays where `CONFORMANCE_SEEDS` doesn't say. A store whose calls take
    /// very long plays fewer.
    fn seeds(&self) -> u64 {
        6
    }

    /// How many seeds of `random_interleavings_lose_nothing` are played at once, each on a stage of its own. What they wait
    /// for, time-outs above all, overlaps.
    fn seeds_at_once(&self) -> usize {
        6
    }

    /// Tells that calls may fail at any time, as with injected faults. The suite then asks again where it else fails.
    fn is_flaky(&self) -> bool {
        false
    }
}

/// One store, and what befalls it.
#[async_trait]
pub trait Stage: Send + Sync {
    /// Opens a further handle, as another host would: with a state directory of its own.
    async fn open(&self) -> Arc<dyn EndpointStore>;

    /// Returns where the store's servers listen; nothing for a store that no network leads to.
    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Opens a further handle that reaches the servers at other addresses of this machine, in the order of
    /// [`Self::servers`], and nowhere else.
    ///
    /// The suite disturbs the traffic there: a [`Proxy`](super::Proxy) is at each address, which delays, cuts, half-closes
    /// and swallows. So time-outs SHOULD be short, a second or so, and connections that are kept open need a keep-alive:
    /// some of them go silent for ever. A bad network is never a reason for [`GiveUp`](crate::Remedy::GiveUp).
    async fn open_at(&self, _servers: &[SocketAddr]) -> Arc<dyn EndpointStore> {
        self.open().await
    }

    /// Puts raw content under a raw name behind the store's back, as a new revision.
    async fn plant(&self, _name: &[u8], _bytes: &[u8]) -> Staged {
        Err(NotStageable)
    }

    /// Makes all revisions but the newest unknown, or all of them; records stay, also those of commits that happen at the
    /// same time.
    async fn lose_history(&self) -> Staged {
        Err(NotStageable)
    }

    /// Makes the store unreachable for all handles.
    async fn go_away(&self) -> Staged {
        Err(NotStageable)
    }

    /// Makes the store reachable again.
    async fn come_back(&self) -> Staged {
        Err(NotStageable)
    }

    /// Returns the passwords and tokens that the handles were opened with.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a [`Stage`] can do to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// [`Stage::plant`].
    Plant,
    /// [`Stage::lose_history`].
    LoseHistory,
    /// [`Stage::go_away`] and [`Stage::come_back`].
    GoAway,
    /// [`Stage::secrets`] returns at least one.
    Secrets,
}

/// The stage can't do that; [`Fixture::lacks`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotStageable;

/// Whether something was staged.
pub type Staged = Result<(), NotStageable>;
