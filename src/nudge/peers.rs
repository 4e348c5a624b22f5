//! Which hosts are known to be alive.
//!
//! A record says that there is a host, and not that it runs. Who has sent a valid datagram lives, and so does a host whose
//! record has just changed. Who is nudged and doesn't answer a few times is taken for off.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::tour::Standing;

/// How many nudges in a row a host may leave without an answer: a datagram may be lost, and a daemon be restarted.
const MISSES: u8 = 3;

/// A host that was off at the last nudges is told of every so manieth at least.
const LONGEST_SILENCE: u32 = 5;

/// What is known of the hosts, by the addresses that name them.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<HashMap<IpAddr, Peer>>);

#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// Whether it was ever heard.
    heard: bool,
    /// How many nudges in a row it has left without an answer.
    missed: u8,
}

impl Peer {
    fn lives(self) -> bool {
        self.heard && self.missed < MISSES
    }
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        // Nothing in it is ever half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a host lives; says whether that is news.
    pub(super) fn hear(&self, host: IpAddr) -> bool {
        let mut peers = self.lock();
        let before = peers.insert(host, Peer { heard: true, missed: 0 });
        !before.is_some_and(Peer::lives)
    }

    /// Notes that a host was nudged.
    pub(super) fn nudged(&self, host: IpAddr) {
        let mut peers = self.lock();
        let peer = peers.entry(host).or_default();
        peer.missed = peer.missed.saturating_add(1);
    }

    /// Says how a host stands in the next round of nudges, which draws lots for those that are off.
    pub(super) fn standing(&self, host: IpAddr) -> Standing {
        match self.lock().get(&host) {
            Some(peer) if peer.lives() => Standing::Alive,
            Some(peer) if peer.missed > MISSES => {
                // Half as often with each further one, so that a fleet with many dead records is not busy with them.
                let halvings = u32::from(peer.missed - MISSES).min(LONGEST_SILENCE);
                if fastrand::u32(..) >> (32 - halvings) == 0 { Standing::Unheard } else { Standing::Off }
            }
            _ => Standing::Unheard,
        }
    }

    /// Returns the hosts that are alive.
    pub(super) fn living(&self) -> Vec<IpAddr> {
        self.lock().iter().filter(|(_, peer)| peer.lives()).map(|(host, _)| *host).collect()
    }

    /// Returns how many hosts are alive.
    pub(super) fn alive(&self) -> usize {
        self.lock().values().filter(|peer| peer.lives()).count()
    }

    /// Forgets a host that is in no record any more.
    pub(super) fn forget(&self, host: IpAddr) {
        self.lock().remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_lives_and_who_does_not_is_told_less_and_less_often() {
        let (peers, host) = (Peers::default(), IpAddr::from([10, 1, 1, 51]));
        assert_eq!(peers.standing(host), Standing::Unheard);
        assert!(peers.hear(host) && !peers.hear(host));
        for _ in 0..MISSES {
            assert_eq!((peers.standing(host), peers.alive()), (Standing::Alive, 1));
            peers.nudged(host);
        }
        assert_eq!((peers.standing(host), peers.alive()), (Standing::Unheard, 0));
        for _ in 0..20 {
            peers.nudged(host);
        }
        let told = (0..3_200).filter(|_| peers.standing(host) == Standing::Unheard).count();
        assert!((30..300).contains(&told), "{told} of 3,200");
        assert!(peers.hear(host), "it is back");
        assert_eq!(peers.living(), [host]);
        peers.forget(host);
        assert_eq!(peers.standing(host), Standing::Unheard);
    }
}
