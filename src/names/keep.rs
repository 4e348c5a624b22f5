//! Keeps the responder's table and sockets as the config, the store and the interfaces say.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    server::{Guests, Shared, Sockets},
    table::{self, Table},
    upstream::Upstream,
};
use crate::{
    config::NamesConfig,
    fleet::{NamesView, View},
    host::Reach,
    network::Networks,
    policy::{Local, Records, Refused},
    record::Names,
    status::{self, Board},
};

/// How long changes are gathered before the table is made anew.
const GATHER: Duration = Duration::from_millis(100);

/// How soon a port that was taken is tried again, and how often it is looked whether there are other servers.
const RETRY: Duration = Duration::from_secs(5);

/// Where DNS servers listen.
const PORT: u16 = 53;

/// Answers DNS for the containers of all hosts.
#[derive(Debug)]
pub struct Responder {
    /// What the operator wishes.
    pub config: NamesConfig,
    /// The stable id of this machine.
    pub id: String,
    /// The names of this host's containers, once Docker has told them.
    pub own: watch::Receiver<Option<Arc<Names>>>,
    /// The names of all hosts.
    pub names: watch::Receiver<NamesView>,
    /// The records, which say who has which address.
    pub views: watch::Receiver<Arc<View>>,
    /// This host's networks, whose containers may ask.
    pub networks: watch::Receiver<Networks>,
    /// How this host is reached.
    pub reach: watch::Receiver<Option<Reach>>,
    /// The addresses of this host, which may ask.
    pub local: watch::Receiver<Local>,
    /// Where the status goes.
    pub board: Board,
}

/// The sockets by their addresses.
type Open = BTreeMap<SocketAddr, Serving>;

/// The task of a socket, which ends with this.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Responder {
    /// Answers until the future is dropped.
    pub async fn run(mut self) {
        let (table, guests) =
            (watch::Sender::new(Arc::<Table>::default()), watch::Sender::new(Guests::default()));
        let own = watch::Sender::new(Vec::new());
        let upstream = Upstream::new(self.config.upstream.clone(), Path::new("/etc/resolv.conf").to_owned());
        let shared = Arc::new(Shared::new(table.subscribe(), guests.subscribe(), upstream, own.subscribe()));
        let (mut open, mut seen) = (Open::new(), None);
        loop {
            let begun = Instant::now();
            self.listen(&mut open, &shared, &own).await;
            guests.send_replace(self.guests());
            let records = match seen.take() {
                Some(records) => records,
                None => self.judge(&table),
            };
            let news = tokio::select! {
                Ok(()) = self.own.changed() => true,
                Ok(()) = self.names.changed() => true,
                () = differ(&mut self.views, &records) => true,
                Ok(()) = self.networks.changed() => false,
                Ok(()) = self.reach.changed() => false,
                Ok(()) = self.local.changed() => false,
                () = sleep_until(begun + RETRY) => false,
            };
            seen = (!news).then_some(records);
            sleep_until(begun + GATHER).await;
        }
    }

    /// Opens the sockets that are lacking, and closes those that are not wanted any more.
    async fn listen(&mut self, open: &mut Open, shared: &Arc<Shared>, own: &watch::Sender<Vec<SocketAddr>>) {
        let reach = self.reach.borrow_and_update().clone();
        let wanted = match (self.config.listen.is_empty(), reach) {
            (false, _) => self.config.listen.clone(),
            (true, Some(reach)) => vec![SocketAddr::new(reach.address, PORT)],
            (true, None) => Vec::new(),
        };
        own.send_replace(wanted.clone());
        open.retain(|address, _| wanted.contains(address));
        let mut problems = Vec::new();
        for address in wanted {
            if open.get(&address).is_some_and(|serving| !serving.0.is_finished()) {
                continue;
            }
            match Sockets::bind(address).await {
                Ok(sockets) => {
                    tracing::info!(%address, "answering for the names of containers");
                    open.insert(address, Serving(tokio::spawn(sockets.serve(Arc::clone(shared)))));
                }
                Err(error) => problems.push(format!(
                    "names are not answered on {address}: {error}; free the port, or choose another address with \
                     names.listen"
                )),
            }
        }
        if shared.upstream.servers(&own.borrow()).is_empty() {
            problems.push(
                "there is no DNS server for other names than those of containers: name one with names.upstream, or in \
                 /etc/resolv.conf"
                    .to_owned(),
            );
        }
        self.board.update(|status| {
            for problem in problems.iter().filter(|problem| !status.names.serving.contains(problem)) {
                tracing::warn!("{problem}");
            }
            status.names.listen = open.keys().map(ToString::to_string).collect();
            status.names.serving = problems;
        });
    }

    fn guests(&mut self) -> Guests {
        let networks = self.networks.borrow_and_update().clone();
        let local = self.local.borrow_and_update().clone();
        let addresses = local.underlay.iter().chain(local.elsewhere.iter().map(|(_, net)| net));
        let reached = self.reach.borrow().as_ref().map(|reach| reach.address);
        Guests::new(
            networks.values().flat_map(|network| network.pools()),
            addresses.map(IpNet::addr).chain(reached),
        )
    }

    /// Makes the table anew, and returns the records that were looked at.
    fn judge(&mut self, table: &watch::Sender<Arc<Table>>) -> Arc<Records> {
        let own = self.own.borrow_and_update().clone();
        let files = self.names.borrow_and_update().files.clone();
        let records = self.views.borrow_and_update().records.clone();
        let judged = table::judge(&files, &records, &self.id, own.as_deref());
        self.board.update(|status| {
            status.names.learned = judged.learned;
            let refused = judged.refused.into_iter();
            status.names.refused = refused
                .map(|Refused { file, prefix, reason }| status::Refused { file, prefix, reason })
                .collect();
        });
        table.send_replace(Arc::new(judged.table));
        records
    }
}

/// Waits until the records are others, for ever if they can't change any more.
async fn differ(views: &mut watch::Receiver<Arc<View>>, seen: &Arc<Records>) {
    while Arc::ptr_eq(seen, &views.borrow_and_update().records) {
        if views.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
