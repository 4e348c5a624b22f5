//! A netlink socket that blocks, with a limit on how long.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::{
    io::Errno,
    net::{RecvFlags, sockopt},
};

use super::wire;
use crate::kernel::failure::{DEADLINE, Failure};

/// The receive buffer that is asked for, in bytes; the kernel doubles it, for what it adds to each message.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What an answer takes of the receive buffer at the most: a header, the kernel's words, and what it adds.
const ANSWER: usize = 1024;

/// The largest datagram that is received: a dump comes in pieces of 32 KiB.
const DATAGRAM: usize = 1 << 16;

/// The largest datagram that is sent.
const REQUEST: usize = 1 << 17;

/// What a netlink socket's own accounting takes of its send buffer (`netlink_sendmsg` of `af_netlink.c`).
const RESERVED: usize = 32;

/// An open socket. The kernel answers it while a request is being sent, so nothing waits but for the kernel's locks.
pub(super) struct Channel {
    socket: Socket,
    /// The socket's name (`nl_pid`), which the kernel writes into each event that it causes.
    pub(super) port: u32,
    /// How many answers fit into the receive buffer.
    pub(super) answers: usize,
    /// How many bytes can be sent at once.
    pub(super) longest: usize,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Whether to wait for what is not there yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For as long as an answer may take.
    Yes,
    /// Not at all.
    No,
}

impl Channel {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the process may not, or the kernel is older than 4.20.
    pub(super) fn open() -> io::Result<Self> {
        Self::over(Socket::new(NETLINK_ROUTE)?)
    }

    /// Sets up a socket.
    pub(super) fn over(mut socket: Socket) -> io::Result<Self> {
        let port = socket.bind_auto()?.port_number();
        // Errors come with the kernel's words and without the whole request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Strictly checked dumps filter in the kernel; others send everything.
        socket.set_netlink_get_strict_chk(true)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(DEADLINE))?;
        // Beyond `net.core.rmem_max` where we may.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        let answers = (sockopt::socket_recv_buffer_size(&socket)? / ANSWER).max(1);
        let room = sockopt::socket_send_buffer_size(&socket)?.saturating_sub(RESERVED);
        let longest = room.clamp(wire::LONGEST_CHANGE, REQUEST);
        Ok(Self { socket, port, answers, longest, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Returns a number that no request has had for long.
    pub(super) fn sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends requests; what the kernel does about them is done when this returns.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    /// Receives a datagram of the kernel's.
    ///
    /// # Errors
    /// [`Failure::Late`] when there is none (in time), [`Failure::Errno`] with ENOBUFS when some were lost.
    pub(super) fn receive(&mut self, wait: Wait) -> Result<&[u8], Failure> {
        let flags = match wait {
            Wait::Yes => RecvFlags::TRUNC,
            Wait::No => RecvFlags::TRUNC | RecvFlags::DONTWAIT,
        };
        loop {
            let received = self.socket.recv_from(&mut &mut self.buffer[..], flags.bits().cast_signed());
            match received {
                // Another process may write to us, if it is root's.
                Ok((_, sender)) if sender.port_number() != 0 => {}
                Ok((length, _)) => return self.buffer.get(..length).ok_or(Failure::Closed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Failure::Late),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    return Err(Failure::Errno(Errno::NOBUFS.raw_os_error()));
                }
                Err(_) => return Err(Failure::Closed),
            }
        }
    }
}
