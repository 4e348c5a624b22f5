//! Docker's IPAM driver: the methods of `IpamDriver`, over [`Ipam`](crate::ipam::Ipam).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{Inner, Refusal, refusal::Deadline, wire::nullable};
use crate::ipam::Asked;

/// The address space of networks that live on one host.
const LOCAL: &str = "ipvland";
/// The address space of Swarm's networks.
const GLOBAL: &str = "ipvland-global";
/// The option that says what kind of address is asked for.
const KIND: &str = "RequestAddressType";
/// The kind of a gateway.
const GATEWAY: &str = "com.docker.network.gateway";

/// The body of RequestPool.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RequestPool {
    #[serde(rename = "Pool", default, deserialize_with = "nullable")]
    pool: String,
    #[serde(rename = "SubPool", default, deserialize_with = "nullable")]
    range: String,
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    options: Map<String, Value>,
    #[serde(rename = "V6", default)]
    v6: bool,
}

/// The body of ReleasePool.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ReleasePool {
    #[serde(rename = "PoolID")]
    pool: String,
}

/// The body of RequestAddress and ReleaseAddress.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PoolAddress {
    #[serde(rename = "PoolID")]
    pool: String,
    #[serde(rename = "Address", default, deserialize_with = "address")]
    address: Option<IpAddr>,
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    options: Map<String, Value>,
}

/// Says what we are: all is kept here, so nothing has to be asked again when Docker starts.
pub(super) fn capabilities() -> Value {
    json!({"RequiresMACAddress": false, "RequiresRequestReplay": false})
}

/// Names the address spaces.
pub(super) fn address_spaces() -> Value {
    json!({"LocalDefaultAddressSpace": LOCAL, "GlobalDefaultAddressSpace": GLOBAL})
}

impl Inner {
    /// Gives a pool to a network that is to be made.
    pub(super) async fn request_pool(
        &self,
        asked: RequestPool,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        // Docker's own options, such as Swarm's, ask for nothing that we would miss.
        if let Some(unknown) = asked.options.keys().find(|key| !key.starts_with("com.docker.")) {
            return Err(Refusal(format!("unknown --ipam-opt {unknown:?} (known: none)")));
        }
        let net = subnet("subnet", &asked.pool)?;
        // Docker 29 writes 0.0.0.0/24 for "any, of this size"; ours has the size that the config says.
        let net = net.filter(|net| !net.addr().is_unspecified());
        let range = subnet("ip-range", &asked.range)?;
        let request = self.ipam.request_pool(Asked { net, range, v6: asked.v6 });
        let pool = deadline.wait("the store to lease a prefix", request).await??;
        info!(pool = %pool.net, chosen = pool.chosen, "Docker takes pool {}", pool.net);
        Ok(json!({"PoolID": pool.id(), "Pool": pool.net, "Data": {}}))
    }

    /// Takes a pool back.
    pub(super) async fn release_pool(
        &self,
        asked: ReleasePool,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        deadline.wait("the disk", self.ipam.release_pool(&asked.pool)).await??;
        info!(pool = asked.pool, "Docker gives back a pool");
        Ok(json!({}))
    }

    /// Gives an address.
    pub(super) async fn request_address(
        &self,
        asked: PoolAddress,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        let address = if asked.options.get(KIND).and_then(Value::as_str) == Some(GATEWAY) {
            deadline.wait("the disk", self.ipam.request_gateway(&asked.pool, asked.address)).await??
        } else {
            let request = self.ipam.request_address(&asked.pool, asked.address);
            deadline.wait("the store to lease addresses", request).await??
        };
        Ok(json!({"Address": address, "Data": {}}))
    }

    /// Takes an address back.
    pub(super) async fn release_address(
        &self,
        asked: PoolAddress,
        deadline: Deadline,
    ) -> Result<Value, Refusal> {
        if let Some(address) = asked.address {
            deadline.wait("the disk", self.ipam.release_address(&asked.pool, address)).await??;
        }
        Ok(json!({}))
    }
}

/// Reads a subnet; an empty text is none.
fn subnet(option: &str, text: &str) -> Result<Option<IpNet>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Refusal(format!("--{option} {text:?} is not a subnet such as 10.9.0.0/24"));
    text.parse().map(Some).map_err(|_| wrong())
}

/// Reads an address, alone or with a length; an empty text is none.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: String = nullable(deserializer)?;
    match text.split('/').next() {
        None | Some("") => Ok(None),
        Some(word) => word.parse().map(Some).map_err(serde::de::Error::custom),
    }
}
