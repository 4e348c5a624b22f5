//! Docker, as far as a plugin sees it: its calls, and its way of repeating them (moby, `pkg/plugins/client.go`).

use std::{
    io::{Read, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

const NETWORK: &str = "b1ce000000000000000000000000000000000000000000000000000000000001";

/// The Docker of one host.
#[derive(Debug)]
pub(crate) struct Docker {
    socket: PathBuf,
    pool: String,
    length: u8,
}

impl Docker {
    pub(crate) fn new(socket: PathBuf, subnet: &str) -> Self {
        let length = subnet.split('/').nth(1).unwrap().parse().unwrap();
        Self { socket, pool: format!("ipvland/{subnet}"), length }
    }

    /// `docker network create -d ipvland --ipam-driver ipvland --subnet SUBNET`
    pub(crate) fn make_network(&self, subnet: &str) {
        let asked =
            json!({"AddressSpace": "ipvland", "Pool": subnet, "SubPool": "", "Options": {}, "V6": false});
        let pool = self.call("IpamDriver.RequestPool", &asked).unwrap();
        assert_eq!(pool["PoolID"], self.pool);
        let gateway = json!({"RequestAddressType": "com.docker.network.gateway"});
        let asked = json!({"PoolID": self.pool, "Address": "", "Options": gateway});
        let gateway = self.call("IpamDriver.RequestAddress", &asked).unwrap();
        let pool = json!({"AddressSpace": "ipvland", "Pool": subnet, "Gateway": gateway["Address"]});
        let options = json!({"com.docker.network.enable_ipv6": false, "com.docker.network.generic": {}});
        let asked = json!({"NetworkID": NETWORK, "Options": options, "IPv4Data": [pool], "IPv6Data": []});
        self.call("NetworkDriver.CreateNetwork", &asked).unwrap();
    }

    pub(crate) fn request_address(&self, wanted: Option<IpAddr>) -> Result<IpAddr, String> {
        let wanted = wanted.map(|address| address.to_string()).unwrap_or_default();
        let asked = json!({"PoolID": self.pool, "Address": wanted, "Options": null});
        let answer = self.call("IpamDriver.RequestAddress", &asked)?;
        let text = answer["Address"].as_str().unwrap();
        Ok(text.split('/').next().unwrap().parse().unwrap())
    }

    pub(crate) fn release_address(&self, address: IpAddr) -> Result<(), String> {
        let asked = json!({"PoolID": self.pool, "Address": address});
        self.call("IpamDriver.ReleaseAddress", &asked).map(|_| ())
    }

    pub(crate) fn create_endpoint(&self, endpoint: &str, address: IpAddr) -> Result<(), String> {
        let address = format!("{address}/{}", self.length);
        let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
        let asked =
            json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Interface": interface, "Options": {}});
        self.call("NetworkDriver.CreateEndpoint", &asked).map(|_| ())
    }

    pub(crate) fn delete_endpoint(&self, endpoint: &str) -> Result<(), String> {
        let asked = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
        self.call("NetworkDriver.DeleteEndpoint", &asked).map(|_| ())
    }

    /// Calls a method. A broken connection is tried again after 1, 2, 4 and 8 s; a body that was sent once is not there
    /// for a second time.
    fn call(&self, method: &str, body: &Value) -> Result<Value, String> {
        let mut body = body.to_string();
        for pause in [1, 2, 4, 8, 0] {
            match self.post(method, &mut body) {
                Some(text) => {
                    let answer: Value =
                        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
                    let errors = [&answer["Err"], &answer["Error"]];
                    let error =
                        errors.into_iter().find_map(|error| error.as_str().filter(|error| !error.is_empty()));
                    return error.map_or(Ok(answer.clone()), |error| Err(error.to_owned()));
                }
                None => thread::sleep(Duration::from_secs(pause)),
            }
        }
        Err(format!("{method}: the plugin does not answer"))
    }

    fn post(&self, method: &str, body: &mut String) -> Option<String> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        let sent = std::mem::take(body);
        let request = format!(
            "POST /{method} HTTP/1.1\r\nHost: plugins\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{sent}",
            sent.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, text) = answer.split_once("\r\n\r\n")?;
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        // What a daemon that was killed had no time to finish is no answer.
        (length == Some(text.len())).then(|| text.to_owned())
    }
}
