//! Whom to tell of a revision, in which order and how fast.
//!
//! Each host that is told asks the Git server, which answers some 300 looks a second on two cores, and fewer where each is
//! followed by a download. So it is the sender that paces itself, and receivers needn't wait:
//!
//! - The first [`AT_ONCE`] hosts that are alive are told at once: the server has done with them in a fraction of a second.
//! - Further ones that are alive follow at [`ALIVE_A_SECOND`], which leaves the server a third of its time.
//! - Hosts that were never heard, or have left nudges unanswered, come last, at random. They cost the server nothing if they
//!   are off, but the kernel: each address that nobody answers for is an entry in its neighbour table for some seconds, and
//!   1,024 of them fill it (`gc_thresh3`) and keep others from being reached. [`UNHEARD_A_SECOND`] makes them a few hundred.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use tokio::time::Instant;

/// How many hosts are told at once.
pub(super) const AT_ONCE: usize = 64;

/// How many further hosts that are alive are told in a second.
const ALIVE_A_SECOND: f64 = 200.0;

/// How many hosts that may be off are told in a second.
const UNHEARD_A_SECOND: f64 = 100.0;

/// How a host stands when it is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was heard of lately.
    Alive,
    /// It may be off.
    Unheard,
    /// It is off, and this time it is left out.
    Off,
}

/// The hosts that are still to be told, in order.
#[derive(Debug)]
pub(super) struct Tour {
    alive: VecDeque<IpAddr>,
    unheard: VecDeque<IpAddr>,
    /// When the next host may be told.
    next: Instant,
    /// When the last one was due.
    last: Instant,
}

impl Tour {
    /// Begins a tour: `tell` is called for the hosts that are to be told at once, and the rest is returned. Who else there
    /// is is asked once those that are alive were told, as going through all records takes a while.
    pub(super) fn begin(
        mut alive: Vec<IpAddr>,
        unheard: impl FnOnce() -> Vec<IpAddr>,
        mut tell: impl FnMut(IpAddr),
    ) -> Self {
        // At random: of several that write at the same time each begins elsewhere, and no host is always the last.
        fastrand::shuffle(&mut alive);
        let mut alive = VecDeque::from(alive);
        let at_once = alive.len().min(AT_ONCE);
        alive.drain(..at_once).for_each(&mut tell);
        let mut unheard = unheard();
        fastrand::shuffle(&mut unheard);
        let mut unheard = VecDeque::from(unheard);
        // After a start nobody was heard of yet, and a small fleet is told at once all the same.
        let room = (AT_ONCE - at_once).min(unheard.len());
        unheard.drain(..room).for_each(tell);
        let now = Instant::now();
        Self { alive, unheard, next: now, last: now }
    }

    /// Returns when the next host is to be told, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.alive.is_empty() || !self.unheard.is_empty()).then_some(self.next)
    }

    /// Returns the next host.
    pub(super) fn next(&mut self) -> Option<IpAddr> {
        let (host, rate) = match self.alive.pop_front() {
            Some(host) => (host, ALIVE_A_SECOND),
            None => (self.unheard.pop_front()?, UNHEARD_A_SECOND),
        };
        // From the time that it was due, since timers are late; but what was missed for long is not caught up with.
        let late = Instant::now() - Duration::from_millis(50);
        self.last = self.next;
        self.next = self.next.max(late) + Duration::from_secs_f64(1.0 / rate);
        Some(host)
    }

    /// Says that the last host was not told after all, as there is no way to it: the next one's turn is now.
    pub(super) fn give_back(&mut self) {
        self.next = self.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(net: u8, count: u16) -> Vec<IpAddr> {
        (0..count).map(|number| IpAddr::from([10, net, (number >> 8) as u8, number as u8])).collect()
    }

    /// Goes on a tour; returns those told at once, and each further one with the milliseconds until then.
    async fn go(alive: u16, unheard: u16) -> (Vec<IpAddr>, Vec<(IpAddr, u128)>) {
        let begun = Instant::now();
        let mut first = Vec::new();
        let mut tour = Tour::begin(hosts(1, alive), || hosts(2, unheard), |host| first.push(host));
        let mut rest = Vec::new();
        while let Some(due) = tour.due() {
            tokio::time::sleep_until(due).await;
            rest.push((tour.next().unwrap(), begun.elapsed().as_millis()));
        }
        assert_eq!(tour.next(), None);
        (first, rest)
    }

    fn is_alive(host: &IpAddr) -> bool {
        matches!(host, IpAddr::V4(host) if host.octets()[1] == 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_fleet_is_told_at_once() {
        let (first, rest) = go(3, 61).await;
        assert_eq!((first.len(), rest.len()), (64, 0));
        assert!(first[..3].iter().all(is_alive) && !first[3..].iter().any(is_alive), "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_that_live_come_before_ten_thousand_that_may_not() {
        let (first, rest) = go(2, 10_000).await;
        assert!(first[..2].iter().all(is_alive), "{first:?}");
        assert_eq!(rest.len(), 10_002 - AT_ONCE);
        let last = rest.last().unwrap().1;
        assert!((98_000..101_000).contains(&last), "{last} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_sees_more_than_the_server_can_bear() {
        let (first, rest) = go(1_000, 500).await;
        assert!(first.len() == AT_ONCE && first.iter().all(is_alive));
        assert!(rest[..1_000 - AT_ONCE].iter().all(|(host, _)| is_alive(host)));
        for second in 0..20 {
            let told = rest.iter().filter(|(_, at)| *at / 1_000 == second).count();
            assert!(told <= 201, "{told} in second {second}");
        }
        let mut all: Vec<_> = first.iter().chain(rest.iter().map(|(host, _)| host)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1_500);
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_there_is_no_way_to_take_nobodys_turn() {
        let begun = Instant::now();
        let mut tour = Tour::begin(Vec::new(), || hosts(2, 5_000), |_| {});
        let (mut told, mut tried) = (0, 0);
        while let Some(due) = tour.due() {
            tokio::time::sleep_until(due).await;
            tour.next().unwrap();
            tried += 1;
            if tried % 100 == 0 {
                told += 1;
            } else {
                tour.give_back();
            }
        }
        let took = begun.elapsed().as_millis();
        assert!(told == 49 && (470..=520).contains(&took), "{told} told in {took} ms");
    }
}
