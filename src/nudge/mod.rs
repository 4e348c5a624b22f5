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
//!
//! Only stores that are polled need it: [`Nudge::polled`](ipvland_store::Nudge::polled) says so, and until then no socket
//! is opened.

mod datagram;
mod ear;
mod peers;
mod teller;
mod tour;
mod webhook;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use ipvland_store::{Key, Nudge};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    config::NudgeConfig,
    fleet::View,
    host::Reach,
    status::{Board, NudgeStatus, WebhookStatus},
};
use ear::{Counter, Ears, Hearing};
use peers::Peers;
use teller::Teller;
use webhook::Webhook;

/// How often the numbers in the status are brought up to date.
const STATUS: Duration = Duration::from_millis(500);

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
        let peers = Arc::new(Peers::default());
        let hearing = Arc::new(Hearing::new(
            &id,
            nudge.clone(),
            views.clone(),
            own.clone(),
            Arc::clone(&peers),
            config.port,
        ));
        let relay = watch::Sender::new(());
        let told = Arc::<Counter>::default();
        let fleet = views.clone();
        let teller = Teller {
            enabled: config.enabled,
            port: config.port,
            nudge: nudge.clone(),
            views,
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
        let heard_at = watch::Sender::new(Ok(None));
        let listening = heard_at.subscribe();
        if config.enabled {
            let ears = Ears { listen: config.listen, port: config.port, nudge: nudge.clone(), reach };
            let hearing = Arc::clone(&hearing);
            parts.spawn(async move {
                ears.keep(hearing, heard_at).await;
                "the ear for nudges"
            });
        }
        let hook = config
            .webhook
            .clone()
            .map(|listen| Webhook::new(listen, config.webhook_secret_file.clone(), nudge.clone(), relay));
        let hooked = hook.as_ref().map(Webhook::counts);
        if let Some(hook) = hook {
            parts.spawn(async move {
                hook.run().await;
                "the webhook"
            });
        }
        parts.spawn(async move {
            let polled = nudge.polled();
            loop {
                nudge.set_fleet(fleet.borrow().records.len(), peers.alive());
                let counts = nudge.counts();
                let (listen, problem) = match &*listening.borrow() {
                    Ok(listen) => (listen.map(|listen| listen.to_string()), None),
                    Err(problem) => (None, Some(problem.clone())),
                };
                let status = NudgeStatus {
                    state: match (config.enabled, *polled.borrow()) {
                        (false, _) => "off",
                        (true, false) => "not needed",
                        (true, true) => "on",
                    }
                    .to_owned(),
                    listen,
                    problem,
                    alive: peers.alive(),
                    sent: told.get(),
                    heard: hearing.counts.heard.get(),
                    answers: hearing.counts.answers.get(),
                    refused: hearing.counts.refused.get(),
                    repeated: hearing.counts.repeated.get(),
                    looks: counts.looks,
                    hints: counts.hints,
                    true_hints: counts.true_hints,
                    false_hints: counts.false_hints,
                    known_hints: counts.known_hints,
                    last_hint: counts.last_hint.as_ref().map(ToString::to_string),
                    interval_ms: counts
                        .interval
                        .map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
                    webhook: hooked.as_ref().map(|hooked| WebhookStatus::clone(&hooked.borrow())),
                };
                board.update(|board| board.nudges = status);
                tokio::time::sleep(STATUS).await;
            }
        });
    }
}
