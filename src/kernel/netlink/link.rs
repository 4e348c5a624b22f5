//! Links: listed, made and removed.

use netlink_packet_route::{RouteNetlinkMessage as Message, address::AddressMessage, link::LinkMessage};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};

use super::{Netlink, name_of};
use crate::kernel::{
    Address, KernelError, Link, LinkIndex, NewLink, Result, errno, failure::Failure, message,
};

impl Netlink {
    pub(super) async fn list_links(&self) -> Result<Vec<Link>> {
        let answers = self.dump(Message::GetLink(LinkMessage::default())).await;
        let answers = answers.map_err(|failure| failure.explain("list the interfaces".into()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewLink(link) => Some(message::link(link)),
                _ => None,
            })
            .collect())
    }

    pub(super) async fn list_addresses(&self) -> Result<Vec<Address>> {
        let answers = self.dump(Message::GetAddress(AddressMessage::default())).await;
        let answers = answers.map_err(|failure| failure.explain("list the addresses".into()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewAddress(address) => message::address(address),
                _ => None,
            })
            .collect())
    }

    pub(super) async fn make_link(&self, name: &str, alias: &str, link: NewLink) -> Result<LinkIndex> {
        let made = self
            .ask(Message::NewLink(message::new_link(name, &link)), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
            .await;
        if let Err(failure) = made {
            let links = self.list_links().await.unwrap_or_default();
            let on = name_of(&links, link.parent());
            let action = match link {
                NewLink::Ipvlan { .. } => format!("add the ipvlan link {name} on {on}"),
                NewLink::Vlan { .. } => format!("add the VLAN link {name} on {on}"),
                NewLink::Dummy { .. } => format!("add the dummy link {name}"),
            };
            return Err(match failure {
                Failure::Errno(number) => KernelError {
                    action,
                    errno: Some(number),
                    meaning: errno::link_meaning(number, name, &link, &links),
                },
                failure => failure.explain(action),
            });
        }
        let action = || format!("mark the new link {name} as ours");
        let index = self.find_link(name).await.map_err(|failure| failure.explain(action()))?;
        let raise = !matches!(link, NewLink::Ipvlan { .. });
        let set = Message::SetLink(message::set_alias(index, alias, raise));
        if let Err(failure) = self.ask(set, NLM_F_ACK).await {
            // A link without our mark would stay for ever.
            if let Err(error) = self.remove_link(index).await {
                tracing::warn!(link = name, %error, "a link that could not be marked could not be removed either");
            }
            return Err(failure.explain(action()));
        }
        Ok(index)
    }

    pub(super) async fn remove_link(&self, index: LinkIndex) -> Result<()> {
        match self.ask(Message::DelLink(message::link_by_index(index)), NLM_F_ACK).await {
            Ok(_) | Err(Failure::Errno(errno::NO_LINK)) => Ok(()),
            Err(failure) => Err(failure.explain(format!("remove the link {index}"))),
        }
    }

    async fn find_link(&self, name: &str) -> std::result::Result<LinkIndex, Failure> {
        let answers = self.ask(Message::GetLink(message::link_by_name(name)), NLM_F_ACK).await?;
        answers
            .iter()
            .find_map(|answer| match answer {
                Message::NewLink(link) => Some(link.header.index),
                _ => None,
            })
            .ok_or(Failure::Errno(errno::NO_LINK))
    }
}
