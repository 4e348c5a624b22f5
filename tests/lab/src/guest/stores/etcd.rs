//! Three members of etcd with a password.

use std::time::Duration;

use super::StoreServer;
use crate::failure::Outcome;
use crate::guest::host::Host;
use crate::guest::lab::Lab;
use crate::guest::wait;

const MEMBERS: u16 = 3;
const PREFIX: &str = "/ipvland";
const USER: &str = "ipvland";
const PASSWORD: &str = "pw-Etcd7Kq";

/// Three members of etcd on the host 10.1.1.1.
pub(crate) struct Etcd {
    host: Host,
}

impl Etcd {
    /// Makes the host, starts the members and gives a user the rights to one prefix.
    ///
    /// # Errors
    /// Where the members do not come up.
    pub(crate) fn new(lab: &mut Lab) -> Outcome<Self> {
        let this = Self { host: lab.host("etcd", 1)? };
        this.start()?;
        let endpoints = this.endpoints().join(",");
        this.host.run(&format!(
            "set -e; export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={endpoints}; \
             etcdctl user add root:{PASSWORD}-root; etcdctl user grant-role root root; \
             etcdctl role add fleet; etcdctl role grant-permission fleet --prefix=true readwrite {PREFIX}/; \
             etcdctl user add {USER}:{PASSWORD}; etcdctl user grant-role {USER} fleet; etcdctl auth enable"
        ))?;
        Ok(this)
    }

    fn endpoints(&self) -> Vec<String> {
        (0..MEMBERS).map(|member| format!("http://{}:{}", self.host.address(), client_port(member))).collect()
    }

    fn start_member(&self, member: u16) -> Outcome {
        let address = self.host.address();
        let peers: Vec<_> =
            (0..MEMBERS).map(|member| format!("m{member}=http://{address}:{}", peer_port(member))).collect();
        let (client, peer, name) = (client_port(member), peer_port(member), name(member));
        self.host.start(
            &name,
            &format!(
                "etcd --name m{member} --data-dir /srv/{name} --listen-client-urls http://{address}:{client} \
                 --advertise-client-urls http://{address}:{client} --listen-peer-urls http://{address}:{peer} \
                 --initial-advertise-peer-urls http://{address}:{peer} --initial-cluster {} --log-level warn",
                peers.join(",")
            ),
        )
    }
}

impl StoreServer for Etcd {
    fn tables(&self) -> String {
        format!(
            "[store]\nkind = \"etcd\"\n\n[store.etcd]\nendpoints = {:?}\nprefix = \"{PREFIX}\"\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\n",
            self.endpoints()
        )
    }

    fn start(&self) -> Outcome {
        for member in 0..MEMBERS {
            self.start_member(member)?;
        }
        for endpoint in self.endpoints() {
            // Other than etcdctl, this asks for no password.
            let health = format!("curl --silent --max-time 2 {endpoint}/health");
            wait::holds(&format!("{endpoint} is healthy"), Duration::from_secs(60), || {
                Ok(self.host.attempt(&health)?.stdout.contains("\"health\":\"true\""))
            })?;
        }
        Ok(())
    }

    fn stop(&self) -> Outcome {
        for member in 0..MEMBERS {
            self.host.signal(&name(member), "KILL")?;
            self.host.ended(&name(member), Duration::from_secs(10))?;
        }
        Ok(())
    }
}

fn name(member: u16) -> String {
    format!("etcd-{member}")
}

const fn client_port(member: u16) -> u16 {
    2379 + 10 * member
}

const fn peer_port(member: u16) -> u16 {
    2380 + 10 * member
}
