//! The numbers in the status.

use std::{sync::Arc, time::Duration};

use ipvland_store::Nudge;
use tokio::sync::watch;

use super::{
    ear::{Counter, Hearing, Listening},
    peers::Peers,
};
use crate::{
    fleet::View,
    status::{Board, NudgeStatus, WebhookStatus},
};

/// How often the numbers are brought up to date.
const INTERVAL: Duration = Duration::from_millis(500);

/// Brings the status up to date, and the poller's idea of the fleet.
pub(super) struct Report {
    pub(super) enabled: bool,
    pub(super) nudge: Nudge,
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) peers: Arc<Peers>,
    pub(super) told: Arc<Counter>,
    pub(super) hearing: Arc<Hearing>,
    pub(super) heard_at: watch::Receiver<Listening>,
    pub(super) webhook: Option<watch::Receiver<WebhookStatus>>,
    pub(super) board: Board,
}

impl Report {
    /// Reports for ever.
    pub(super) async fn run(self) {
        loop {
            let hosts = self.views.borrow().records.len();
            self.nudge.set_fleet(hosts, self.peers.alive());
            let status = self.status();
            self.board.update(|board| board.nudges = status);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn status(&self) -> NudgeStatus {
        let (counts, heard) = (self.nudge.counts(), &self.hearing.counts);
        let state = match (self.enabled, *self.nudge.polled().borrow()) {
            (false, _) => "off",
            (true, false) => "not needed",
            (true, true) => "on",
        };
        let (listen, problem) = match &*self.heard_at.borrow() {
            Ok(at) => (at.map(|at| at.to_string()), None),
            Err(problem) => (None, Some(problem.clone())),
        };
        NudgeStatus {
            state: state.to_owned(),
            listen,
            problem,
            alive: self.peers.alive(),
            sent: self.told.get(),
            answers: heard.answers.get(),
            heard: heard.heard.get(),
            repeated: heard.repeated.get(),
            refused: heard.refused.get(),
            looks: counts.looks,
            hints: counts.hints,
            true_hints: counts.true_hints,
            false_hints: counts.false_hints,
            known_hints: counts.known_hints,
            last_hint: counts.last_hint.as_ref().map(ToString::to_string),
            interval_ms: counts
                .interval
                .map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
            webhook: self.webhook.as_ref().map(|webhook| webhook.borrow().clone()),
        }
    }
}
