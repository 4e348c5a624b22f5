//! Questions to Docker's API, and its answers as far as names need them.
//!
//! The paths carry no version, so that the engine answers in its newest; what is read here has been the same from 20.10
//! to 29.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};

/// How long Docker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes: a network of 10,000 containers takes about 3 MB.
const LARGEST: usize = 16 << 20;

/// The events that may change a name: what attaches, detaches, renames, starts or ends.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22network%22%2C%22container%22%5D%2C%22event%22%3A%5B%22connect%22%2C%22disconnect%22%2C%22rename%22%2C%22start%22%2C%22die%22%5D%7D";

/// A connection to Docker's API.
#[derive(Debug)]
pub(super) struct Docker {
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<()>,
}

/// A network and who is attached to it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    /// Its name.
    pub(super) name: String,
    /// The attached containers that run, by their ids.
    #[serde(default, deserialize_with = "or_none")]
    pub(super) containers: BTreeMap<String, Attached>,
}

/// A container's attachment as its network tells it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Attached {
    /// The container's name.
    #[serde(rename = "Name")]
    pub(super) name: String,
    /// The attachment's id: another one after each start.
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: String,
    #[serde(rename = "IPv4Address", default)]
    ipv4: String,
    #[serde(rename = "IPv6Address", default)]
    ipv6: String,
}

/// A container, as far as its networks' names need it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    /// When it was made, as text that sorts by age.
    #[serde(default)]
    pub(super) created: String,
    network_settings: NetworkSettings,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default, deserialize_with = "or_none")]
    networks: BTreeMap<String, Settings>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Settings {
    #[serde(rename = "NetworkID", default)]
    network: String,
    #[serde(rename = "Aliases", default, deserialize_with = "or_none")]
    aliases: Vec<String>,
}

impl Attached {
    /// Returns its addresses, which Docker writes with the length of their subnets.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let texts = [&self.ipv4, &self.ipv6].into_iter();
        texts.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
    }
}

impl Container {
    /// Returns its further names in a network. What Docker 20.10 puts among them by itself, the first digits of the
    /// container's id, is left out.
    pub(super) fn aliases(&self, container: &str, network: &str) -> BTreeSet<String> {
        let settings = self.network_settings.networks.values().filter(|settings| settings.network == network);
        let aliases = settings.flat_map(|settings| &settings.aliases);
        aliases.filter(|alias| alias.len() < 12 || !container.starts_with(*alias)).cloned().collect()
    }
}

/// Reads null, which Go writes for an empty list or map, as such.
fn or_none<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Docker {
    /// Connects to a socket.
    ///
    /// # Errors
    /// The rest of a sentence: why not.
    pub(super) async fn connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async move {
            // How it ended, whoever waits for an answer is told.
            let _ = connection.await;
        });
        Ok(Self { sender, connection })
    }

    /// Returns a network; nothing where Docker has none of that id.
    ///
    /// # Errors
    /// The rest of a sentence.
    pub(super) async fn network(&mut self, id: &str) -> Result<Option<Network>, String> {
        self.read(&format!("/networks/{id}")).await
    }

    /// Returns a container; nothing where Docker has none of that id.
    ///
    /// # Errors
    /// The rest of a sentence.
    pub(super) async fn container(&mut self, id: &str) -> Result<Option<Container>, String> {
        self.read(&format!("/containers/{id}/json")).await
    }

    /// Begins to listen to what happens.
    ///
    /// # Errors
    /// The rest of a sentence.
    pub(super) async fn events(mut self) -> Result<Events, String> {
        let answer = timeout(PATIENCE, self.ask(EVENTS)).await.map_err(late)??;
        match answer.status() {
            StatusCode::OK => Ok(Events { body: answer.into_body(), _connection: self }),
            status => Err(format!("it answers {status} where its events were asked for")),
        }
    }

    async fn read<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, String> {
        let exchange = async {
            let answer = self.ask(path).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok::<_, String>((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let (status, body) = timeout(PATIENCE, exchange).await.map_err(late)??;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| format!("its answer to {path} can't be read: {error}")),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(format!("it answers {status} to {path}")),
        }
    }

    async fn ask(&mut self, path: &str) -> Result<hyper::Response<Incoming>, String> {
        let request = Request::get(path)
            .header(header::HOST, "docker")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What happens, as hints: that something did is all that counts.
#[derive(Debug)]
pub(super) struct Events {
    body: Incoming,
    _connection: Docker,
}

impl Events {
    /// Waits for the next one; nothing comes any more once it says false.
    pub(super) async fn next(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}

fn late(_: tokio::time::error::Elapsed) -> String {
    format!("it took more than {} s to answer", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker 20.10 and 26.1 answer, shortened to what matters and what surrounds it.
    const NETWORK: &str = r#"{
      "Name": "net1", "Id": "0b54", "Scope": "local", "Driver": "ipvland", "EnableIPv6": true, "Options": {},
      "Containers": {
        "9c8f7e6d5c4b3a29": {
          "Name": "db", "EndpointID": "e1f2", "MacAddress": "", "IPv4Address": "10.1.51.7/24",
          "IPv6Address": "2001:db8:51::7/64"
        },
        "ep-77aa": {"Name": "gone", "EndpointID": "77aa", "MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
      }
    }"#;

    const CONTAINER: &str = r#"{
      "Id": "9c8f7e6d5c4b3a29", "Created": "2026-01-02T03:04:05.6Z", "Name": "/db",
      "NetworkSettings": {
        "Bridge": "",
        "Networks": {
          "other": {"Aliases": null, "NetworkID": "ffff"},
          "net1": {
            "IPAMConfig": null, "Links": null, "Aliases": ["sql", "9c8f7e6d5c4b"], "NetworkID": "0b54",
            "EndpointID": "e1f2", "IPAddress": "10.1.51.7", "IPPrefixLen": 24
          }
        }
      }
    }"#;

    #[test]
    fn dockers_answers_are_read() {
        let network: Network = serde_json::from_str(NETWORK).unwrap();
        let attached = &network.containers["9c8f7e6d5c4b3a29"];
        assert_eq!(
            (network.name.as_str(), attached.name.as_str(), attached.endpoint.as_str()),
            ("net1", "db", "e1f2")
        );
        let addresses: Vec<_> = attached.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.51.7", "2001:db8:51::7"]);
        assert!(network.containers["ep-77aa"].addresses().is_empty());
        let container: Container = serde_json::from_str(CONTAINER).unwrap();
        assert_eq!(container.created, "2026-01-02T03:04:05.6Z");
        assert_eq!(container.aliases("9c8f7e6d5c4b3a29", "0b54").into_iter().collect::<Vec<_>>(), ["sql"]);
        assert!(container.aliases("9c8f7e6d5c4b3a29", "ffff").is_empty());
        let empty: Network = serde_json::from_str(r#"{"Name": "net1", "Containers": null}"#).unwrap();
        assert!(empty.containers.is_empty());
    }
}
