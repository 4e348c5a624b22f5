//! The fixture of the memory store, with and without faults.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Ability, Faults, FaultyStore, Fixture, Stage, Staged};
use crate::{EndpointStore, MemoryStore, transact::Retry};

/// Stages memory stores, behind a [`FaultyStore`] that lets them go away.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryFixture {
    faults: Option<(u64, f64)>,
}

impl MemoryFixture {
    /// Stages stores that lets a share of all calls fail, drawn from a seed.
    pub fn with_faults(seed: u64, share: f64) -> Self {
        Self { faults: Some((seed, share)) }
    }
}

#[async_trait]
impl Fixture for MemoryFixture {
    async fn fresh(&self) -> Box<dyn Stage> {
        let faults = self.faults.map_or_else(Faults::none, |(seed, share)| Faults::random(seed, share));
        Box::new(MemoryStage { store: MemoryStore::new(), faults })
    }

    fn lacks(&self) -> &'static [(Ability, &'static str)] {
        &[(Ability::Secrets, "a store in memory is opened without any")]
    }

    fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(50),
            deadline: Some(self.patience()),
        }
    }

    fn seeds_at_once(&self) -> usize {
        64
    }

    fn is_flaky(&self) -> bool {
        self.faults.is_some()
    }
}

struct MemoryStage {
    store: MemoryStore,
    faults: Faults,
}

#[async_trait]
impl Stage for MemoryStage {
    async fn open(&self) -> Arc<dyn EndpointStore> {
        Arc::new(FaultyStore::new(Arc::new(self.store.clone()), self.faults.clone()))
    }

    async fn plant(&self, name: &[u8], bytes: &[u8]) -> Staged {
        self.store.plant(name, bytes.to_vec());
        Ok(())
    }

    async fn lose_history(&self) -> Staged {
        self.store.forget_history();
        Ok(())
    }

    async fn go_away(&self) -> Staged {
        self.faults.set_away(true);
        Ok(())
    }

    async fn come_back(&self) -> Staged {
        self.faults.set_away(false);
        Ok(())
    }
}
