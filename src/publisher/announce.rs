//! Lets the driver wait for what becomes of a network's prefixes.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::sync::watch;

use super::{ClaimSource, Outcome, State};
use crate::{
    fleet::View,
    policy::{self, Local},
    record::Record,
};

/// A handle on the publisher for the driver.
#[derive(Debug, Clone)]
pub struct Announcer {
    /// What is to be published.
    pub source: ClaimSource,
    /// What became of it.
    pub outcome: watch::Receiver<Outcome>,
    /// What the store shows.
    pub views: watch::Receiver<Arc<View>>,
    /// What this host's interfaces are.
    pub local: watch::Receiver<Local>,
}

impl Announcer {
    /// Says what is known to be wrong with prefixes, without asking the store.
    ///
    /// # Errors
    /// A sentence: a prefix would cut hosts off, or overlaps another host's.
    pub fn check(&self, prefixes: &[IpNet]) -> Result<(), String> {
        let local = self.local.borrow();
        for prefix in prefixes {
            policy::check_prefix(*prefix, &local)
                .map_err(|reason| format!("the subnet {prefix} can't be used in L3: {reason}"))?;
        }
        let own = self.source.claims().map(|claims| Record::key(claims.host));
        let records = Arc::clone(&self.views.borrow().records);
        let around = self.source.fleet.around(&records, own.as_ref(), prefixes);
        match policy::overlap(&around, own.as_ref(), prefixes) {
            Some((claim, theirs, other)) => {
                Err(format!("the subnet {claim} overlaps {theirs}, which {other} publishes; choose another"))
            }
            None => Ok(()),
        }
    }

    /// Waits until it is known what becomes of what the book of networks says now, at most for a while.
    pub async fn settle(&mut self, patience: Duration) -> State {
        let settled = async {
            loop {
                let outcome = self.outcome.borrow_and_update().clone();
                if outcome.claims == self.source.claims() && !matches!(outcome.state, State::Pending(_)) {
                    return outcome.state;
                }
                tokio::select! {
                    Ok(()) = self.outcome.changed() => {}
                    () = self.source.changed() => {}
                }
            }
        };
        let settled = tokio::time::timeout(patience, settled).await;
        settled.unwrap_or_else(|_| match &self.outcome.borrow().state {
            State::Pending(reason) => State::Pending(reason.clone()),
            _ => State::Pending(format!("the store has not answered within {} s", patience.as_secs())),
        })
    }

    /// Waits until the publisher has heard that the host leaves, at most for a while; says whether it has.
    pub async fn stopped(mut self, patience: Duration) -> bool {
        let stopped = self.outcome.wait_for(|outcome| outcome.state == State::Left);
        matches!(tokio::time::timeout(patience, stopped).await, Ok(Ok(_)))
    }
}
