//! What the driver asks of the datapath: parents, and one link an endpoint.

use std::{fmt, path::Path};

use async_trait::async_trait;

use super::Refusal;
use crate::{
    datapath::{self, Datapath},
    network::{Network, Networks},
};

/// The links of this host, as the driver sees them.
///
/// # Contract
/// Every method may be called again with the same arguments and then succeeds without another effect, and a call that is
/// dropped half-way leaves nothing that calling it again would not mend.
#[async_trait]
pub trait Links: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the interface of this host that a parent means, by a pattern or a subnet perhaps.
    async fn find_parent(&self, parent: &str) -> Result<String, Refusal>;

    /// Makes sure that the parent of a new network is there, made where its name says that it is a VLAN or the network's
    /// own dummy, and that the network's links can sit on it beside those of `networks`.
    ///
    /// Returns whether the parent is of our making, now or earlier, and so goes with its last network.
    async fn prepare_parent(&self, network: &Network, networks: &Networks) -> Result<bool, Refusal>;

    /// Removes a parent of our making that nothing sits on; leaves any other alone.
    async fn release_parent(&self, parent: &str) -> Result<(), Refusal>;

    /// Makes the link of an endpoint in the host's namespace, unless it is there, and returns its name.
    async fn add(&self, endpoint: &str, network: &Network) -> Result<String, Refusal>;

    /// Removes the link of an endpoint from the host's namespace; one that is not there is no error.
    async fn remove(&self, endpoint: &str) -> Result<(), Refusal>;

    /// Removes the link of an endpoint inside a container, given the file of its network namespace; one that is not there
    /// is no error.
    async fn remove_inside(&self, endpoint: &str, namespace: &Path) -> Result<(), Refusal>;
}

impl From<datapath::Error> for Refusal {
    fn from(error: datapath::Error) -> Self {
        Self(error.to_string())
    }
}

#[async_trait]
impl Links for Datapath {
    async fn find_parent(&self, parent: &str) -> Result<String, Refusal> {
        Ok(self.find_parent(parent).await?)
    }

    async fn prepare_parent(&self, network: &Network, networks: &Networks) -> Result<bool, Refusal> {
        let others = networks.values();
        if network.parent == datapath::dummy_name(&network.id) {
            self.prepare_dummy(&network.parent, network.mtu).await?;
        }
        let parent = self.prepare_parent(&network.parent, network.mode, network.mtu, others).await?;
        Ok(parent.made)
    }

    async fn release_parent(&self, parent: &str) -> Result<(), Refusal> {
        self.remove_parent(parent).await?;
        Ok(())
    }

    async fn add(&self, endpoint: &str, network: &Network) -> Result<String, Refusal> {
        Ok(self.add(endpoint, network).await?)
    }

    async fn remove(&self, endpoint: &str) -> Result<(), Refusal> {
        Ok(self.remove(endpoint).await?)
    }

    async fn remove_inside(&self, endpoint: &str, namespace: &Path) -> Result<(), Refusal> {
        Ok(self.remove_inside(endpoint, namespace).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        kernel::{FakeKernel, Flag, Mode},
        network::Subnet,
    };

    #[tokio::test]
    async fn a_vlan_left_by_a_crash_is_still_ours_and_goes_with_the_network() {
        let kernel = Arc::new(FakeKernel::new());
        kernel.add_parent("eth2", &["10.1.1.48/24"]);
        let links: Box<dyn Links> = Box::new(Datapath::new(kernel.clone()));
        let network = Network {
            id: "aa".to_owned(),
            name: "blue".to_owned(),
            parent: "eth2.20".to_owned(),
            made_parent: false,
            mode: Mode::L3,
            flag: Flag::Bridge,
            mtu: None,
            internal: false,
            host_access: None,
            subnets: vec![Subnet { pool: "10.1.48.0/24".parse().unwrap(), gateway: None }],
            endpoints: BTreeMap::new(),
        };
        let networks = Networks::default();
        for _ in 0..2 {
            assert!(links.prepare_parent(&network, &networks).await.unwrap());
        }
        let elsewhere = Network { parent: "eth2".to_owned(), ..network.clone() };
        assert!(!links.prepare_parent(&elsewhere, &networks).await.unwrap());
        let name = links.add("0123456789abcdef", &network).await.unwrap();
        assert_eq!(name, "ipvl0123456789a");
        assert_eq!(links.add("0123456789abcdef", &network).await.unwrap(), name);
        links.release_parent("eth2.20").await.unwrap();
        assert!(kernel.link("eth2.20").is_some(), "a link is on it");
        links.remove("0123456789abcdef").await.unwrap();
        links.release_parent("eth2.20").await.unwrap();
        assert!(kernel.link("eth2.20").is_none());
        links.release_parent("eth2").await.unwrap();
        assert!(kernel.link("eth2").is_some(), "an operator's");
    }
}
