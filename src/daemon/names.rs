//! Starts what keeps and answers the names of containers, where the config asks for it.

use std::sync::Arc;

use ipvland_store::{EndpointStore, Nudge};
use tokio::{sync::watch, task::JoinSet};

use super::View;
use crate::{
    config::NamesConfig,
    fleet::NamesView,
    host::{Identity, Reach},
    names::{Gather, Responder},
    network::Networks,
    policy::Local,
    publisher::NamesPublisher,
    record::Names,
    status::Board,
};

/// What the parts need.
pub(super) struct Needs {
    pub(super) config: NamesConfig,
    pub(super) identity: Identity,
    pub(super) store: Arc<dyn EndpointStore>,
    pub(super) nudge: Nudge,
    pub(super) names: watch::Receiver<NamesView>,
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) networks: watch::Receiver<Networks>,
    pub(super) reach: watch::Receiver<Option<Reach>>,
    pub(super) local: watch::Receiver<Local>,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) board: Board,
}

/// Starts the parts; what is returned says when no name is written any more because the host leaves.
///
/// Where names are off, they are taken out of the store if they are there from when they were on.
pub(super) fn start(parts: &mut JoinSet<&'static str>, needs: Needs) -> watch::Receiver<bool> {
    let Needs { config, identity, store, nudge, names, views, networks, reach, local, leaving, board } =
        needs;
    let own = watch::Sender::new((!config.enabled).then(Arc::<Names>::default));
    let (wanted, stopped) = (own.subscribe(), watch::Sender::new(false));
    let is_stopped = stopped.subscribe();
    let publisher = NamesPublisher {
        store,
        nudge,
        id: identity.id.clone(),
        name: identity.name.clone(),
        wanted: wanted.clone(),
        shown: names.clone(),
        reach: reach.clone(),
        leaving,
        stopped,
        interval: config.interval,
        board: board.clone(),
    };
    parts.spawn(async move {
        publisher.run().await;
        "the publisher of names"
    });
    if !config.enabled {
        return is_stopped;
    }
    board.update(|status| status.names.enabled = true);
    let gather = Gather {
        socket: config.docker.clone(),
        networks: networks.clone(),
        interface: identity.interface.clone(),
        names: own,
        board: board.clone(),
    };
    parts.spawn(async move {
        gather.run().await;
        "the search for names"
    });
    let responder =
        Responder { config, id: identity.id, own: wanted, names, views, networks, reach, local, board };
    parts.spawn(async move {
        responder.run().await;
        "the DNS server"
    });
    is_stopped
}
