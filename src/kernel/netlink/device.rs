//! What a link of our own in the host's namespace has: addresses, neighbours, and settings below `/proc/sys/net`.

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::Netlink;
use crate::kernel::{
    KernelError, LinkIndex, Neighbour, NeighbourOp, Result, errno, failure::Failure, message,
};

/// Where the settings of the namespace's network are.
const SETTINGS: &str = "/proc/sys/net";

impl Netlink {
    pub(super) async fn raise_link(&self, index: LinkIndex) -> Result<()> {
        let raised = self.ask(Message::SetLink(message::raise(index)), NLM_F_ACK).await;
        raised.map(|_| ()).map_err(|failure| failure.explain(format!("raise the link {index}")))
    }

    pub(super) async fn put_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        let message = Message::NewAddress(message::device::write_address(link, net));
        match self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(_) | Err(Failure::Errno(errno::EXIST)) => Ok(()),
            Err(failure) => {
                Err(failure.explain(format!("add the address {} to the link {link}", net.addr())))
            }
        }
    }

    pub(super) async fn take_address(&self, link: LinkIndex, net: IpNet) -> Result<()> {
        let message = Message::DelAddress(message::device::write_address(link, net));
        match self.ask(message, NLM_F_ACK).await {
            Ok(_) | Err(Failure::Errno(errno::NO_LINK | errno::NO_ADDRESS)) => Ok(()),
            Err(failure) => {
                Err(failure.explain(format!("remove the address {} from the link {link}", net.addr())))
            }
        }
    }

    pub(super) async fn list_neighbours(&self, link: LinkIndex) -> Result<Vec<Neighbour>> {
        let answers = self.dump(Message::GetNeighbour(message::device::neighbours_on(link))).await;
        let answers = answers.map_err(|failure| failure.explain("list the neighbours".into()))?;
        let neighbours = answers.iter().filter_map(|answer| match answer {
            Message::NewNeighbour(neighbour) => message::device::neighbour(neighbour),
            _ => None,
        });
        Ok(neighbours.filter(|neighbour| neighbour.link == link).collect())
    }

    pub(super) async fn change_neighbour(&self, op: &NeighbourOp) -> Result<()> {
        match op {
            NeighbourOp::Put(neighbour) => {
                let put = Message::NewNeighbour(message::device::write_neighbour(neighbour));
                let put = self.ask(put, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).await;
                put.map(|_| ())
                    .map_err(|failure| failure.explain(format!("enter the neighbour {}", neighbour.address)))
            }
            NeighbourOp::Remove(neighbour) => {
                let gone = Message::DelNeighbour(message::device::write_neighbour(neighbour));
                match self.ask(gone, NLM_F_ACK).await {
                    Ok(_) | Err(Failure::Errno(errno::NO_TABLE | errno::NO_LINK)) => Ok(()),
                    Err(failure) => {
                        Err(failure.explain(format!("remove the neighbour {}", neighbour.address)))
                    }
                }
            }
        }
    }
}

/// Reads a number below `/proc/sys/net`. The kernel answers at once, so this does not block.
pub(super) fn setting(path: &str) -> Option<i64> {
    std::fs::read_to_string(format!("{SETTINGS}/{path}")).ok()?.trim().parse().ok()
}

/// Writes a number below `/proc/sys/net`.
pub(super) fn set_setting(path: &str, value: i64) -> Result<()> {
    let file = format!("{SETTINGS}/{path}");
    std::fs::write(&file, value.to_string()).map_err(|error| KernelError {
        action: format!("set {file} to {value}"),
        errno: error.raw_os_error(),
        meaning: format!("{error}; let the service write there with `ReadWritePaths=-{SETTINGS}/ipv6/conf`"),
    })
}
