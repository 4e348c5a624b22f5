//! etcd's own client.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use etcd_client::{Client, GetOptions, WatchOptions};

use super::Peer;
use crate::sample::time;

/// Keys of a prefix, without any check of what others do.
pub(crate) struct BareEtcd {
    client: Client,
    prefix: String,
}

impl BareEtcd {
    /// Connects to the members.
    pub(crate) async fn new(endpoints: Vec<String>, prefix: String) -> Self {
        let client = Client::connect(endpoints, None).await.expect("connecting to etcd");
        Self { client, prefix }
    }

    fn key(&self) -> String {
        // Beside the store, so that it is no record.
        format!("{}-bench", self.prefix)
    }
}

#[async_trait]
impl Peer for BareEtcd {
    fn reads(&self) -> &'static str {
        "a bare range"
    }

    fn writes(&self) -> &'static str {
        "a bare put"
    }

    fn tells(&self) -> &'static str {
        "a bare put to watch"
    }

    async fn read(&self) -> Duration {
        let prefix = format!("{}/", self.prefix);
        let options = GetOptions::new().with_prefix();
        time(self.client.kv_client().get(prefix, Some(options))).await
    }

    async fn write(&self, round: usize) -> Duration {
        time(self.client.kv_client().put(self.key(), round.to_string(), None)).await
    }

    async fn tell(&self, round: usize) -> Duration {
        let options = WatchOptions::new();
        let mut stream = self.client.watch_client().watch(self.key(), Some(options)).await.expect("a watch");
        let begun = Instant::now();
        self.write(round).await;
        loop {
            let answer = stream.message().await.expect("a watch goes on").expect("a watch goes on");
            if !answer.events().is_empty() {
                break;
            }
        }
        begun.elapsed()
    }
}
