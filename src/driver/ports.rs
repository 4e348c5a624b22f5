//! What `-p` means on ipvlan: nothing, and saying so where it was typed.
//!
//! A container has an address of its own on the wire, so every port on which it listens is open there, and no port of the
//! host leads to it. Docker's own driver ignores published ports likewise.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Where Docker puts the published ports of an endpoint.
const PORTMAP: &str = "com.docker.network.portmap";

/// A published port (moby, `libnetwork/types.PortBinding`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    proto: u8,
    port: u16,
    host_port: u16,
}

/// Returns the published ports of a CreateEndpoint as they are typed: `8080:80/tcp`, `80/udp` where Docker chooses.
pub(super) fn published(options: &Map<String, Value>) -> Vec<String> {
    let bindings = options.get(PORTMAP).and_then(Value::as_array).into_iter().flatten();
    bindings.map(|binding| Binding::deserialize(binding).unwrap_or_default().to_string()).collect()
}

/// Says what becomes of published ports, in a lower-case sentence.
pub(super) fn warning(ports: &[String], addresses: &[String]) -> String {
    format!(
        "the published ports {} have no effect: a container on ipvlan is reached at its own address ({}), on every port \
         that it listens on",
        ports.join(", "),
        addresses.join(", ")
    )
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host_port != 0 {
            write!(f, "{}:", self.host_port)?;
        }
        // Numbers of IANA's registry of protocols.
        match self.proto {
            6 => write!(f, "{}/tcp", self.port),
            17 => write!(f, "{}/udp", self.port),
            132 => write!(f, "{}/sctp", self.port),
            other => write!(f, "{}/{other}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_told_as_they_are_typed() {
        let Value::Object(options) = json!({PORTMAP: [
            {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
            {"Proto": 17, "Port": 53, "HostPort": 0},
        ]}) else {
            unreachable!()
        };
        assert_eq!(published(&options), ["8080:80/tcp", "53/udp"]);
        assert!(published(&Map::new()).is_empty());
    }
}
