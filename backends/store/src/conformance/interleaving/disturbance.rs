//! What befalls the way from one host to the store, drawn from the seed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::time::sleep;

use super::{
    super::{Break, Faults, FaultyStore, Proxy, Stage, Traffic},
    ledger::Ledger,
};
use crate::EndpointStore;

/// The share of calls that fail on a way without a network.
const FAULTY: f64 = 0.15;

/// The way from one host to the store: a proxy before each server, or injected faults where there is no server.
#[derive(Debug)]
pub(super) struct Way {
    proxies: Vec<Proxy>,
    faults: Faults,
}

impl Way {
    pub(super) async fn new(stage: &dyn Stage, rng: &mut Rng) -> Self {
        let mut proxies = Vec::new();
        for server in stage.servers() {
            proxies.push(Proxy::start(server).await.expect("a port on loopback for a proxy"));
        }
        Self { proxies, faults: Faults::random(rng.u64(..), FAULTY) }
    }

    /// Opens a handle that reaches the store by this way.
    pub(super) async fn open(&self, stage: &dyn Stage) -> Arc<dyn EndpointStore> {
        if self.proxies.is_empty() {
            return Arc::new(FaultyStore::new(stage.open().await, self.faults.clone()));
        }
        let addresses: Vec<SocketAddr> = self.proxies.iter().map(Proxy::address).collect();
        stage.open_at(&addresses).await
    }

    /// Tells whether a network leads to the store.
    pub(super) fn has_network(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Ends all trouble. Connections that were left half open stay so.
    pub(super) fn calm(&self) {
        for proxy in &self.proxies {
            proxy.set(Traffic::Calm);
        }
        self.faults.calm();
    }

    /// Counts connections and those broken.
    pub(super) fn count(&self, ledger: &Ledger) {
        for passed in self.proxies.iter().map(Proxy::passed) {
            ledger.count(|counts| {
                counts.connections += passed.connections;
                counts.broken += passed.broken;
            });
        }
    }

    /// Makes trouble again and again, with pauses that grow, so that the slowest store gets something done in between.
    pub(super) async fn disturb(&self, host: char, mut rng: Rng, ledger: &Ledger) {
        for round in 3..1_000 {
            if self.has_network() {
                sleep(millis(&mut rng, 20, 300) * (round * round) / 9).await;
                self.disturb_network(host, &mut rng, ledger).await;
            } else {
                sleep(millis(&mut rng, 10, 100) * round / 3).await;
                ledger.note(format!("{host}: away"));
                self.faults.set_away(true);
                sleep(millis(&mut rng, 0, 10)).await;
                self.faults.set_away(false);
            }
            ledger.count(|counts| counts.faults += 1);
        }
    }

    async fn disturb_network(&self, host: char, rng: &mut Rng, ledger: &Ledger) {
        // One server, or all of them as when the host's own cable is bad.
        let victims = if rng.bool() {
            &self.proxies[..]
        } else {
            std::slice::from_ref(&self.proxies[rng.usize(0..self.proxies.len())])
        };
        let how = match rng.u32(0..8) {
            0..5 => Break::Reset,
            5 => Break::HalfCloseToClient,
            6 => Break::HalfCloseToServer,
            _ => Break::Silence,
        };
        let (traffic, pause) = match rng.u32(0..10) {
            0 | 1 => (Traffic::Delay(millis(rng, 2, 60)), millis(rng, 100, 500)),
            2 => (Traffic::Refuse, millis(rng, 20, 400)),
            3 | 4 => (Traffic::BlackHole, millis(rng, 20, 500)),
            5 | 6 => (Traffic::BreakAfter(rng.u64(1..6_000), how), millis(rng, 50, 400)),
            // For longer than the store waits for an answer.
            7 if rng.bool() => (Traffic::BlackHole, millis(rng, 1_000, 2_500)),
            _ => (Traffic::Calm, Duration::ZERO),
        };
        ledger.note(format!("{host}: {traffic:?} for {pause:?} at {} servers", victims.len()));
        for proxy in victims {
            proxy.set(traffic);
            if matches!(traffic, Traffic::Refuse | Traffic::Calm) {
                ledger.note(format!("{host}: {how:?}"));
                proxy.break_open(how);
            }
        }
        sleep(pause).await;
        for proxy in victims {
            proxy.set(Traffic::Calm);
        }
    }
}

/// Draws a pause between two numbers of milliseconds.
pub(super) fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_micros(rng.u64(from * 1_000..=to * 1_000))
}

/// Lets the store lose its history, at times drawn from the seed, and never again after that.
pub(super) async fn lose_histories(stage: &dyn Stage, mut rng: Rng, ledger: &Ledger) {
    let longest = if stage.servers().is_empty() { 30 } else { 2_000 };
    for _ in 0..rng.u32(0..3) {
        sleep(millis(&mut rng, 0, longest)).await;
        ledger.note("the store loses its history");
        if stage.lose_history().await.is_ok() {
            ledger.count(|counts| counts.histories += 1);
        }
    }
}
