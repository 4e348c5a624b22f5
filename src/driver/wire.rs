//! The bodies of Docker's requests and of our answers (moby, `libnetwork/drivers/remote/api`).
//!
//! Fields that we don't use are not here; Go writes an empty map or list as `null` at will.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::Refusal;

/// The media type of every answer.
pub(super) const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The body of CreateNetwork.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub(super) options: Map<String, Value>,
    #[serde(rename = "IPv4Data", default, deserialize_with = "nullable")]
    pub(super) ipv4: Vec<Pool>,
    #[serde(rename = "IPv6Data", default, deserialize_with = "nullable")]
    pub(super) ipv6: Vec<Pool>,
}

/// One pool of a network, as Docker's address management gave it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pool {
    #[serde(rename = "Pool", default, deserialize_with = "nullable")]
    pub(super) pool: String,
    /// An address, with or without the length of the subnet.
    #[serde(rename = "Gateway", default, deserialize_with = "nullable")]
    pub(super) gateway: String,
    /// Addresses that are set aside (`--aux-address NAME=ADDRESS`), with or without the length of the subnet.
    #[serde(rename = "AuxAddresses", default, deserialize_with = "nullable")]
    pub(super) aux: BTreeMap<String, String>,
}

/// The body of GwAllocCheck (Docker 28 and later).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GwAllocCheck {
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub(super) options: Map<String, Value>,
}

/// The body of DeleteNetwork and FreeNetwork.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NetworkOnly {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
}

/// The body of CreateEndpoint.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: String,
    #[serde(rename = "Interface", default, deserialize_with = "nullable")]
    pub(super) interface: EndpointInterface,
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub(super) options: Map<String, Value>,
}

/// The addresses of an endpoint; what Docker has not set is empty.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct EndpointInterface {
    #[serde(rename = "Address", default)]
    pub(super) address: String,
    #[serde(rename = "AddressIPv6", default)]
    pub(super) address_ipv6: String,
    #[serde(rename = "MacAddress", default)]
    pub(super) mac: String,
}

/// The body of DeleteEndpoint, EndpointOperInfo, Join and Leave.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EndpointOnly {
    #[serde(rename = "NetworkID")]
    pub(super) network: String,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: String,
    /// The path of the container's network namespace; only Join has it.
    #[serde(rename = "SandboxKey", default)]
    pub(super) sandbox: String,
}

/// The answer to Join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Joined {
    #[serde(rename = "InterfaceName")]
    pub(super) interface: InterfaceName,
    #[serde(rename = "Gateway", skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "Option::is_none")]
    pub(super) gateway_ipv6: Option<String>,
    #[serde(rename = "StaticRoutes", skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<StaticRoute>,
    /// Keeps Docker from plugging the container into docker_gwbridge as well.
    #[serde(rename = "DisableGatewayService")]
    pub(super) disable_gateway_service: bool,
}

/// The link that Docker moves into the container, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct InterfaceName {
    #[serde(rename = "SrcName")]
    pub(super) source: String,
    #[serde(rename = "DstPrefix")]
    pub(super) prefix: String,
    #[serde(rename = "DstName", skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// A route inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct StaticRoute {
    #[serde(rename = "Destination")]
    pub(super) destination: &'static str,
    #[serde(rename = "RouteType")]
    pub(super) kind: u8,
}

/// `RouteType` of a route by the interface itself, without a next hop (moby, `libnetwork/types`).
pub(super) const CONNECTED: u8 = 1;

/// Reads the body of a request that needs one.
pub(super) fn parse<'a, T: Deserialize<'a>>(method: &str, body: &'a [u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Err(Refusal(format!(
            "{method} came with an empty body: Docker sent the request a second time after its connection broke, and \
             its body only once: run the docker command again"
        )));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal(format!("cannot read the body of {method}: {error}: is Docker 20.10 or later?"))
    })
}

/// Says why an id can't be one of Docker's; ids become file names and parts of link names.
pub(super) fn check_id(what: &str, id: &str) -> Result<(), Refusal> {
    if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let shown: String = id.chars().take(40).collect();
    Err(Refusal(format!("{what} id {shown:?} is none of Docker's: letters and digits only, at most 128")))
}

pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
