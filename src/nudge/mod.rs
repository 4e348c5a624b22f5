//! Nudges: when a host has published, the others look at once and not at their next interval.
//!
//! A nudge is a small datagram to each host that the records name: "revision X exists". It carries nothing else and is only
//! a hint: who has X ignores it, who has not looks at the store. Lost, forged or replayed it does no harm, since everybody
//! looks now and then anyway.
//!
//! It needs no secret of its own. What signs it is derived from the receiver's record `id`, drawn at random, which only who
//! can read the store knows. Hosts without an `id` in their record (the first plugin's) can't be nudged.
//!
//! # Layout
//!
//! | module | holds |
//! | --- | --- |
//! | `datagram` | the datagram, byte for byte, and its signature |
//! | `ear` | the socket that hears, on a thread of its own, and what each datagram leads to |
//! | `peers` | which hosts are known to be alive |
//! | `tour` | whom to tell, in which order and how fast |
//! | `teller` | tells the others what this host has written |
//! | `webhook` | hears the push webhooks of Git servers |
//! | `report` | the numbers in the status |
//!
//! Only stores that are polled need it: [`Nudge::polled`](ipvland_store::Nudge::polled) says so, and until then no socket
//! is opened.

mod datagram;
mod ear;
mod peers;
mod report;
mod teller;
mod tour;
mod webhook;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ipvland_store::{Key, Nudge};
use tokio::{sync::watch, task::JoinSet};

use crate::{config::NudgeConfig, fleet::View, host::Reach, status::Board};
use ear::{Counter, Ears, Hearing};
use peers::Peers;
use report::Report;
use teller::Teller;
use webhook::Webhook;

/// What nudges need of the daemon.
#[derive(Debug)]
pub struct Nudges {
    /// What the operator wishes.
    pub config: NudgeConfig,
    /// The stable id of this machine.
    pub id: String,
    /// Wakes the store's poller, and tells what this host has written.
    pub nudge: Nudge,
    /// The records, which say whom to tell.
    pub views: watch::Receiver<Arc<View>>,
    /// The key of this host's own record.
    pub own: watch::Receiver<Option<Key>>,
    /// How this host is reached.
    pub reach: watch::Receiver<Option<Reach>>,
    /// Where the status goes.
    pub board: Board,
}

impl Nudges {
    /// Starts what is wanted; each part that is started runs for ever.
    pub fn start(self, parts: &mut JoinSet<&'static str>) {
        let Self { config, id, nudge, views, own, reach, board } = self;
        let (peers, told, port) = (Arc::new(Peers::default()), Arc::<Counter>::default(), config.port);
        let hearing = Hearing::new(&id, nudge.clone(), views.clone(), own.clone(), Arc::clone(&peers), port);
        let hearing = Arc::new(hearing);
        let (relay, heard_at) = (watch::Sender::new(()), watch::Sender::new(Ok(None)));
        let teller = Teller {
            enabled: config.enabled,
            port,
            polled: nudge.polled(),
            commits: nudge.commits(),
            views: views.clone(),
            own,
            peers: Arc::clone(&peers),
            hearing: Arc::clone(&hearing),
            relay: relay.subscribe(),
            told: Arc::clone(&told),
        };
        parts.spawn(async move {
            teller.run().await;
            "the teller of nudges"
        });
        let hook = config
            .webhook
            .map(|listen| Webhook::new(listen, config.webhook_secret_file.clone(), nudge.clone(), relay));
        let report = Report {
            enabled: config.enabled,
            nudge: nudge.clone(),
            views,
            peers,
            told,
            hearing: Arc::clone(&hearing),
            heard_at: heard_at.subscribe(),
            webhook: hook.as_ref().map(Webhook::counts),
            board,
        };
        if let Some(hook) = hook {
            parts.spawn(async move {
                hook.run().await;
                "the webhook"
            });
        }
        if config.enabled {
            let ears = Ears { listen: config.listen, port, nudge, reach };
            parts.spawn(async move {
                ears.keep(hearing, heard_at).await;
                "the ear for nudges"
            });
        }
        parts.spawn(async move {
            report.run().await;
            "the status of the nudges"
        });
    }
}
