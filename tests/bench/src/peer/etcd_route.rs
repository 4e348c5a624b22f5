//! etcd's own client on two hosts: a put on one, and on the other a watch that writes one route of each event.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use etcd_client::Client;
use ipnet::IpNet;
use ipvland::kernel::Route;
use tokio::runtime::{Builder, Runtime};

use crate::{
    namespace::Namespace,
    route::raw::{Heard, Raw},
};

/// The protocol of its routes, as `ip` has it for those that an operator adds: neither ours nor BIRD's.
const PROTOCOL: u8 = 4;

/// The least that a host can do for a prefix that another host put into etcd: no record, no judgement, no table of its own.
pub(crate) struct EtcdRoute {
    client: Client,
    key: &'static str,
    /// Of threads that are in the other host's namespace; dropped in the background, as we are in another runtime.
    watcher: Option<Runtime>,
}

impl EtcdRoute {
    /// Connects here, and in a namespace, where each prefix becomes a route by a gateway.
    pub(crate) async fn new(endpoint: &str, key: &'static str, host: &Namespace, gateway: IpAddr) -> Self {
        let connect = |endpoint: String| async move {
            Client::connect([endpoint], None).await.expect("connecting to etcd")
        };
        let (there, raw) = host.inside(|| {
            // Threads are where the one is that makes them.
            let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build();
            (threads.expect("a runtime"), Raw::open())
        });
        let endpoint = endpoint.to_owned();
        let client = connect(endpoint.clone()).await;
        let watching =
            there.spawn(async move { connect(endpoint).await.watch_client().watch(key, None).await });
        let stream = watching.await.expect("a task").expect("a watch");
        there.spawn(follow(stream, raw, gateway));
        Self { client, key, watcher: Some(there) }
    }

    /// Puts a prefix, and returns how long it took until the route was in the other host's kernel.
    pub(crate) async fn tell(&self, ears: &mut Raw, prefix: IpNet) -> Duration {
        let (mut client, key) = (self.client.kv_client(), self.key);
        let begun = Instant::now();
        let put = tokio::spawn(async move { client.put(key, prefix.to_string(), None).await });
        let heard = tokio::task::block_in_place(|| ears.wait_for(Heard::New(prefix)));
        let took = heard.unwrap_or_else(|why| panic!("{why}")) - begun;
        put.await.expect("a task").expect("a put");
        took
    }
}

impl Drop for EtcdRoute {
    fn drop(&mut self) {
        if let Some(runtime) = self.watcher.take() {
            runtime.shutdown_background();
        }
    }
}

async fn follow(mut stream: etcd_client::WatchStream, mut raw: Raw, gateway: IpAddr) {
    while let Ok(Some(answer)) = stream.message().await {
        for pair in answer.events().iter().filter_map(|event| event.kv()) {
            let prefix = pair.value_str().expect("text").parse().expect("a prefix");
            raw.add(&[Route {
                prefix,
                gateway: Some(gateway),
                link: None,
                protocol: PROTOCOL,
                metric: 0,
                source: None,
                mtu: None,
            }]);
        }
    }
}
