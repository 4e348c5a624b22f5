//! What happens by itself: waits that end, leases that go back, and the status.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Inner, Ipam, network_of, space, space::Span};
use crate::{
    lease::{Kind, free::touch},
    status::AddressStatus,
};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);

impl Ipam {
    /// Tends the addresses, for as long as the daemon runs.
    pub async fn run(self) {
        let inner = self.0;
        let mut ticks = tokio::time::interval(INTERVAL.min(inner.times.quarantine / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            inner.tend().await;
            let tell = inner.statuses();
            inner.board.update(|status| status.addresses = tell);
            tokio::select! {
                _ = ticks.tick() => {}
                () = inner.idle.notified() => {}
            }
        }
    }
}

impl Inner {
    async fn tend(&self) {
        self.end_waits(&mut self.state());
        self.match_book(&mut self.state());
        for id in self.pools_over() {
            tracing::info!(pool = id, "Docker asked for a pool and made no network of it: it is free again");
            if let Err(error) = self.forget_pool(&id).await {
                tracing::warn!("a pool that is gone stays on disk for now: {error}");
            }
        }
        // While a prefix is chosen, one that is of no use yet is about to be used.
        let Ok(_choosing) = self.choosing.try_lock() else { return };
        for net in self.useless() {
            tracing::info!(lease = %net, "nothing needs the leased {net} any more: it is given back");
            if let Err(error) = self.leases.give_back(net).await {
                tracing::warn!("the lease of {net} can't be given back: {error}");
            }
            self.state().returning.remove(&net);
        }
    }

    /// Takes out the pools that wait for a network in vain.
    fn pools_over(&self) -> Vec<String> {
        let networks = self.book.networks();
        let mut state = self.state();
        let over = state.pools.extract_if(.., |_, known| {
            if network_of(&networks, known.pool.net).is_some() {
                known.since = Instant::now();
                return false;
            }
            known.released || known.since.elapsed() >= self.times.quarantine
        });
        over.map(|(id, _)| id).collect()
    }

    /// Marks the leases that nothing needs as going back, and returns them.
    fn useless(&self) -> Vec<IpNet> {
        let networks = self.book.networks();
        let held = self.leases.held();
        let mut prefixes = self.prefixes();
        let mut state = self.state();
        let mut useless = Vec::new();
        for (net, kind) in held.iter() {
            let pooled = state.pools.values().any(|known| touch(&known.pool.net, net));
            let subnet = networks.values().any(|network| network.pools().any(|pool| touch(&pool, net)));
            let span = Span::from(*net);
            if pooled || subnet || state.given.range(span.first..=span.last).next().is_some() {
                continue;
            }
            if *kind == Kind::Prefix {
                // The config asks for one of each family, network or not.
                let like = |other: &&IpNet| other.addr().is_ipv4() == net.addr().is_ipv4();
                if prefixes.iter().filter(like).count() < 2 {
                    continue;
                }
                prefixes.retain(|prefix| prefix != net);
            }
            useless.push(*net);
        }
        state.returning.extend(&useless);
        useless
    }

    /// Says what this host may give addresses of, and how much of it is given.
    fn statuses(&self) -> Vec<AddressStatus> {
        let networks = self.book.networks();
        let state = self.state();
        let held = self.leases.held();
        let pinned = self.config.subnet.iter().map(|net| (*net, "subnet"));
        let leased = held.iter().map(|(net, kind)| match kind {
            Kind::Prefix => (*net, "prefix"),
            Kind::Block => (*net, "block"),
        });
        let mut rows: Vec<(IpNet, &str)> = pinned.chain(leased).collect();
        let pools =
            state.pools.values().map(|known| known.pool.net).filter(|net| self.is_own(*net, &networks));
        let others: Vec<IpNet> =
            pools.filter(|pool| !rows.iter().any(|(net, _)| net.contains(pool))).collect();
        rows.extend(others.into_iter().map(|net| (net, "network")));
        if rows.is_empty() {
            // The other hosts are of no concern then, and to go through them all takes a while.
            return Vec::new();
        }
        let hosts = self.hosts();
        rows.sort();
        let rows = rows.into_iter().map(|(net, kind)| {
            let span = Span::from(net);
            let known = state.pools.values().find(|known| touch(&known.pool.net, &net));
            let never = known.map(|known| self.never(&known.pool, &hosts)).unwrap_or_default();
            let contender = hosts.contender(net).filter(|_| kind == "block");
            AddressStatus {
                net,
                kind: kind.to_owned(),
                used: state.given.range(span.first..=span.last).count(),
                size: u64::try_from(space::usable(&[span], &never)).unwrap_or(u64::MAX),
                problem: contender.map(|(theirs, label)| {
                    format!(
                        "block {net} of this host overlaps {theirs} of {label}, by somebody's edit of the store: no new \
                         address of it is given until one of the two records is mended"
                    )
                }),
            }
        });
        rows.collect()
    }
}
