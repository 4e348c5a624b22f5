//! What this host leases of the fleet's address space: prefixes of its own, and blocks of subnets that hosts share.
//!
//! A lease is an entry of this host's record in the store, so that it has an author and a date, and so that two hosts
//! never get one: the publisher chooses what is free ([`free`]) inside the transaction that writes it.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | this one | [`Leases`]: what is held, and what is asked for |
//! | [`free`] | which part of a pool nobody has: pure functions |
//! | [`standing`] | what the config asks for by itself |
//! | `file` | what is held, on disk |

mod file;
pub mod free;
pub mod standing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

/// What kind of lease it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A prefix of this host's own, which the other hosts route to it.
    Prefix,
    /// A block of a subnet that hosts share: its addresses are this host's to give out, and nothing is routed.
    Block,
}

/// A lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// What was leased.
    pub net: IpNet,
    /// As what.
    pub kind: Kind,
}

/// What is held, by what was leased.
pub type Held = Arc<BTreeMap<IpNet, Kind>>;

/// What a host asks the fleet for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A prefix of this host's own.
    Prefix {
        /// The pools that it may come from; the first with room counts.
        pools: Vec<IpNet>,
        /// Its length in bits.
        length: u8,
        /// What it must not touch.
        reserved: Vec<IpNet>,
    },
    /// A block of a subnet that hosts share.
    Block {
        /// The subnet.
        subnet: IpNet,
        /// Its length in bits.
        length: u8,
        /// An address that must be in it; the block may then be smaller than asked for.
        holds: Option<IpAddr>,
        /// What is of no use in it: a block that holds nothing else is left out.
        reserved: Vec<IpNet>,
    },
}

/// The number of a wish that waits for an answer.
pub type Ticket = u64;

/// The wishes that wait for an answer.
pub type Wishes = Arc<BTreeMap<Ticket, Wish>>;

/// What became of a wish: what was leased, or why nothing was, in a lower-case sentence.
pub type Answer = Result<Lease, String>;

/// What this host leases. Clones are handles on one book of leases.
///
/// Whoever needs addresses asks here; the publisher takes the wishes from here to the store and brings the answers.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    // Held while the file is written, so that changes come one by one.
    writing: Mutex<()>,
    held: watch::Sender<Held>,
    wishes: watch::Sender<Wishes>,
    askers: Mutex<Askers>,
}

/// Those who wait.
#[derive(Debug, Default)]
struct Askers {
    next: Ticket,
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    /// Why the store has not answered yet, where that is known.
    hindrance: Option<String>,
}

/// Withdraws a wish when its asker goes away.
struct Asking<'a>(&'a Inner, Ticket);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.withdraw(self.1);
    }
}

impl Leases {
    /// Opens the book of leases in the daemon's state directory. It blocks.
    ///
    /// # Errors
    /// A sentence when the file can't be read: whoever guessed what was leased might give addresses twice.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        let held = file::read(&path)?;
        Ok(Self(Arc::new(Inner {
            path,
            writing: Mutex::new(()),
            held: watch::Sender::new(Arc::new(held)),
            wishes: watch::Sender::default(),
            askers: Mutex::default(),
        })))
    }

    /// Returns what is held.
    pub fn held(&self) -> Held {
        self.0.held.borrow().clone()
    }

    /// Returns a receiver that sees what is held, and every change.
    pub fn subscribe(&self) -> watch::Receiver<Held> {
        self.0.held.subscribe()
    }

    /// Returns a receiver that sees the wishes that wait for an answer.
    pub fn wishes(&self) -> watch::Receiver<Wishes> {
        self.0.wishes.subscribe()
    }

    /// Enters a wish that nobody waits for: it stands until it is granted.
    pub fn wish(&self, wish: Wish) {
        let (ticket, _) = self.0.ask(wish);
        self.0.askers().waiting.remove(&ticket);
    }

    /// Asks the fleet, and waits until the store has taken the lease and it is on this host's disk.
    ///
    /// A lease that is granted after the asker went away is held all the same, and is for the next one to use.
    ///
    /// # Errors
    /// A lower-case sentence: nothing is free, somebody else has it, or the store did not answer within `patience`.
    pub async fn lease(&self, wish: Wish, patience: Duration) -> Result<IpNet, String> {
        let (ticket, answer) = self.0.ask(wish);
        let asking = Asking(&self.0, ticket);
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer.map(|lease| lease.net),
            _ => {
                let hindrance = asking.0.askers().hindrance.clone();
                let why = hindrance.unwrap_or_else(|| "the store has not answered".to_owned());
                Err(format!("nothing was leased within {} s: {why}", patience.as_secs()))
            }
        }
    }

    /// Gives a lease back. It is out of the store once the publisher has said so there.
    ///
    /// # Errors
    /// A sentence when the disk refuses; the lease is then still held.
    pub async fn give_back(&self, net: IpNet) -> Result<(), String> {
        self.change(move |held| _ = held.remove(&net)).await
    }

    /// Forgets everything that is held, as a host does that leaves the fleet.
    ///
    /// # Errors
    /// A sentence when the disk refuses.
    pub async fn forget(&self) -> Result<(), String> {
        self.change(BTreeMap::clear).await
    }

    /// Says why the store has not answered yet, for those who wait in vain.
    pub fn hinder(&self, why: String) {
        self.0.askers().hindrance = Some(why);
    }

    /// Brings the answers of the store: what was leased is on disk before anybody hears of it.
    ///
    /// A standing wish that is not granted stays.
    ///
    /// # Errors
    /// A sentence when the disk refuses; the wishes then wait on.
    pub async fn answer(&self, answers: BTreeMap<Ticket, Answer>) -> Result<(), String> {
        let granted: Vec<Lease> = answers.values().flatten().copied().collect();
        self.change(move |held| held.extend(granted.iter().map(|lease| (lease.net, lease.kind)))).await?;
        for (ticket, answer) in answers {
            let asker = self.0.askers().waiting.remove(&ticket);
            if answer.is_ok() || asker.is_some() {
                self.0.withdraw(ticket);
            }
            // Gone where the asker lost patience.
            let _ = asker.map(|asker| asker.send(answer));
        }
        self.0.askers().hindrance = None;
        Ok(())
    }

    async fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<IpNet, Kind>) + Send + 'static,
    ) -> Result<(), String> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || inner.change(edit));
        done.await.map_err(|_| "the write of the leases was cut short: restart ipvland".to_owned())?
    }
}

impl Inner {
    fn askers(&self) -> MutexGuard<'_, Askers> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, wish: Wish) -> (Ticket, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut askers = self.askers();
            let ticket = askers.next;
            askers.next += 1;
            askers.waiting.insert(ticket, sender);
            ticket
        };
        self.wishes.send_modify(|wishes| _ = Arc::make_mut(wishes).insert(ticket, wish));
        (ticket, receiver)
    }

    fn withdraw(&self, ticket: Ticket) {
        self.askers().waiting.remove(&ticket);
        self.wishes.send_if_modified(|wishes| {
            wishes.contains_key(&ticket) && Arc::make_mut(wishes).remove(&ticket).is_some()
        });
    }

    /// Changes what is held on disk, then in memory.
    fn change(&self, edit: impl FnOnce(&mut BTreeMap<IpNet, Kind>)) -> Result<(), String> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.held.borrow().clone();
        let mut after = BTreeMap::clone(&before);
        edit(&mut after);
        if after != *before {
            file::write(&self.path, &after)?;
            self.held.send_replace(Arc::new(after));
        }
        Ok(())
    }
}
