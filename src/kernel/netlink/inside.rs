//! Links inside other network namespaces, reached from here.
//!
//! The kernel acts in another namespace for whoever names it by a number of ours (`IFLA_TARGET_NETNSID`), so the daemon
//! enters none: that would take more than CAP_NET_ADMIN.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
};

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    link::LinkAttribute,
    nsid::{NsidAttribute, NsidMessage},
};
use rtnetlink::packet_core::NLM_F_ACK;

use super::Netlink;
use crate::kernel::{errno, failure::Failure, message};

/// A number that the kernel may choose (`NETNSA_NSID_NOT_ASSIGNED` of `linux/net_namespace.h`).
const NONE: i32 = -1;

impl Netlink {
    pub(super) async fn delete_inside(
        &self,
        namespace: &Path,
        alias: &str,
    ) -> std::result::Result<bool, Failure> {
        let file = match File::open(namespace) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Failure::Open(error)),
        };
        let number = match self.number_of(file.as_raw_fd()).await {
            Ok(number) => number,
            // The file is there, and the namespace is not: Docker unmounts it first.
            Err(Failure::Errno(errno::INVALID)) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let mut all = message::link_by_index(0);
        all.attributes.push(LinkAttribute::IfNetnsId(number));
        let links = self.dump(Message::GetLink(all)).await?;
        let found = links.iter().find_map(|answer| match answer {
            Message::NewLink(link) => Some(message::link(link)).filter(|link| link.alias == alias),
            _ => None,
        });
        let Some(link) = found else { return Ok(false) };
        let mut gone = message::link_by_index(link.index);
        gone.attributes.push(LinkAttribute::IfNetnsId(number));
        match self.ask(Message::DelLink(gone), NLM_F_ACK).await {
            Ok(_) | Err(Failure::Errno(errno::NO_LINK)) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// Returns our number of a namespace, which it gets where it has none and keeps for as long as it lives.
    async fn number_of(&self, namespace: RawFd) -> std::result::Result<i32, Failure> {
        let asked = |more: Option<NsidAttribute>| {
            let mut message = NsidMessage::default();
            // A file descriptor is no negative number.
            message.attributes.push(NsidAttribute::Fd(namespace.unsigned_abs()));
            message.attributes.extend(more);
            message
        };
        let give = Message::NewNsId(asked(Some(NsidAttribute::Id(NONE))));
        match self.ask(give, NLM_F_ACK).await {
            Ok(_) | Err(Failure::Errno(errno::EXIST)) => {}
            Err(failure) => return Err(failure),
        }
        let answers = self.ask(Message::GetNsId(asked(None)), NLM_F_ACK).await?;
        let number = answers.iter().find_map(|answer| match answer {
            Message::NewNsId(told) => told.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(number) if *number != NONE => Some(*number),
                _ => None,
            }),
            _ => None,
        });
        number.ok_or(Failure::Errno(errno::NO_LINK))
    }
}
