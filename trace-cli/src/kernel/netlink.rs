//! Asking the kernel by netlink, and taking its answers apart.
//!
//! The framing is netlink-packet-core's. Above it we read attributes by number ourselves: what a longer or shorter answer of
//! another kernel means is for each section to say, and one attribute that cannot be read must not cost all the others.
//! netlink-packet-sock-diag 0.5 gives up a whole list for one, wants a `tcp_info` of one length and drops the timer of
//! TIME-WAIT sockets; ethtool 0.3 is asynchronous.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use netlink_packet_core::{
    DoneBuffer, ErrorBuffer, NLA_F_NESTED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkBuffer, NlasIterator,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    recvfrom, send, socket_with, sockopt,
};

/// The kernel fills datagrams of at most 32 KiB in a dump; a longer one is taken as damaged.
const LONGEST: usize = 64 << 10;
/// Length of a message's header.
const HEADER: usize = 16;
/// The kernel answers at once; a socket that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(5);

/// `NLMSG_NOOP`, `NLMSG_ERROR`, `NLMSG_DONE`, `NLMSG_OVERRUN` (`linux/netlink.h`).
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No such socket can be had.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// Sending or receiving failed.
    #[error("netlink: {0}")]
    Transfer(#[source] io::Error),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(#[source] io::Error),
    /// What came is not what netlink looks like.
    #[error("a damaged netlink answer: {0}")]
    Damaged(String),
    /// This kernel has no such generic netlink family.
    #[error("this kernel has no netlink family {0:?}")]
    NoFamily(&'static str),
}

impl NetlinkError {
    /// The kernel's error number, if it was the kernel that said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(error) | Self::Transfer(error) | Self::Refused(error) => {
                error.raw_os_error()
            }
            Self::Damaged(_) | Self::NoFamily(_) => None,
        }
    }
}

/// What a dump said about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dump {
    /// Things changed while the kernel was listing them: some may be missing or there twice.
    pub interrupted: bool,
}

/// A socket to one of the kernel's netlink subsystems, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// `NETLINK_SOCK_DIAG`: lists of sockets.
    pub fn sock_diag() -> Result<Self, NetlinkError> {
        Self::open(Some(netlink::SOCK_DIAG))
    }

    /// `NETLINK_ROUTE`: lists of interfaces and of what belongs to them.
    pub fn route() -> Result<Self, NetlinkError> {
        // The protocol of number 0, which is what asking for none gives.
        Self::open(None)
    }

    /// `NETLINK_GENERIC`: families by name.
    pub fn generic() -> Result<Self, NetlinkError> {
        Self::open(Some(netlink::GENERIC))
    }

    fn open(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let open = |error: rustix::io::Errno| NetlinkError::Open(error.into());
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(open)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(open)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; LONGEST],
        })
    }

    /// Asks for a list; `each` gets the payload of every message of it.
    pub fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<Dump, NetlinkError> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, payload)?;
        let mut dump = Dump { interrupted: false };
        while !self.receive(true, |flags, payload| {
            dump.interrupted |= flags & NLM_F_DUMP_INTR != 0;
            each(payload);
        })? {}
        Ok(dump)
    }

    /// Asks for one thing, and gives its payload.
    pub fn get(&mut self, kind: u16, payload: &[u8]) -> Result<Vec<u8>, NetlinkError> {
        self.send(kind, NLM_F_REQUEST, payload)?;
        let mut answer = None;
        while answer.is_none() {
            let ended = self.receive(false, |_, payload| answer = Some(payload.to_vec()))?;
            if ended && answer.is_none() {
                return Err(NetlinkError::Damaged("it is empty".to_owned()));
            }
        }
        Ok(answer.unwrap_or_default())
    }

    fn send(&mut self, kind: u16, flags: u16, payload: &[u8]) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = framed(kind, flags, self.sequence, payload);
        // A socket that is not connected sends to port 0, the kernel.
        send(&self.socket, &message, SendFlags::empty())
            .map_err(|error| NetlinkError::Transfer(error.into()))?;
        Ok(())
    }

    /// Reads one datagram; says whether the answer ended with it.
    fn receive(&mut self, dump: bool, each: impl FnMut(u16, &[u8])) -> Result<bool, NetlinkError> {
        let (length, sender) = loop {
            match recvfrom(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, length, sender)) => break (length, sender),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(NetlinkError::Transfer(error.into())),
            }
        };
        let from_kernel = sender
            .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
            .is_some_and(|sender| sender.pid() == 0);
        if !from_kernel {
            return Ok(false);
        }
        let datagram = self
            .buffer
            .get(..length)
            .ok_or_else(|| NetlinkError::Damaged(format!("{length} bytes in one datagram")))?;
        messages(datagram, self.sequence, dump, each)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message with its header.
fn framed(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = [&[0; HEADER][..], payload].concat();
    let length = u32::try_from(message.len()).expect("our requests are short");
    let mut header = NetlinkBuffer::new(&mut message);
    header.set_length(length);
    header.set_message_type(kind);
    header.set_flags(flags);
    header.set_sequence_number(sequence);
    header.set_port_number(0);
    message
}

/// Takes a datagram apart; says whether the answer with this sequence number ended in it.
fn messages(
    mut datagram: &[u8],
    sequence: u32,
    dump: bool,
    mut each: impl FnMut(u16, &[u8]),
) -> Result<bool, NetlinkError> {
    let damaged =
        |error: netlink_packet_core::DecodeError| NetlinkError::Damaged(error.to_string());
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(damaged)?;
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        let payload = datagram.get(HEADER..length).unwrap_or_default();
        let ours = message.sequence_number() == sequence;
        match message.message_type() {
            _ if !ours => {}
            NOOP => {}
            ERROR => {
                let error = ErrorBuffer::new_checked(payload).map_err(damaged)?;
                match error.code() {
                    Some(code) => return Err(refused(code.get())),
                    None => return Ok(true),
                }
            }
            // A dump that failed on its way says so at its end.
            DONE if payload.len() >= 4 => {
                let code = DoneBuffer::new_checked(payload).map_err(damaged)?.code();
                return if code < 0 {
                    Err(refused(code))
                } else {
                    Ok(true)
                };
            }
            DONE => return Ok(true),
            OVERRUN => return Err(NetlinkError::Damaged("data was lost".to_owned())),
            _ => {
                each(message.flags(), payload);
                if !dump {
                    return Ok(true);
                }
            }
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// The kernel's negative error number.
fn refused(code: i32) -> NetlinkError {
    NetlinkError::Refused(io::Error::from_raw_os_error(code.saturating_neg()))
}

/// Attributes, number and value each; ends at the first one that cannot be right.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(|attribute| {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            (
                kind,
                attribute.into_inner().get(4..length).unwrap_or_default(),
            )
        })
}

/// A value of exactly this many bytes.
fn exactly<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// An attribute of one byte; `None` if it has another length.
pub fn u8(value: &[u8]) -> Option<u8> {
    exactly(value).map(u8::from_ne_bytes)
}

/// An attribute of two bytes; `None` if it has another length.
pub fn u16(value: &[u8]) -> Option<u16> {
    exactly(value).map(u16::from_ne_bytes)
}

/// An attribute of four bytes; `None` if it has another length.
pub fn u32(value: &[u8]) -> Option<u32> {
    exactly(value).map(u32::from_ne_bytes)
}

/// An attribute of eight bytes; `None` if it has another length.
pub fn u64(value: &[u8]) -> Option<u64> {
    exactly(value).map(u64::from_ne_bytes)
}

/// An attribute that is text, up to its first zero.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// Appends an attribute to a request.
pub fn push(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("our requests are short");
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

/// Appends an attribute with attributes inside.
pub fn push_nested(request: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    push(request, kind | NLA_F_NESTED, attributes);
}

/// A generic netlink family of this kernel (`linux/genetlink.h`).
#[derive(Debug)]
pub struct Family {
    netlink: Netlink,
    id: u16,
    version: u8,
}

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `struct genlmsghdr`: command, version, two bytes that mean nothing.
const GENERIC_HEADER: usize = 4;

impl Family {
    /// Finds a family by its name.
    pub fn find(name: &'static str, version: u8) -> Result<Self, NetlinkError> {
        let mut netlink = Netlink::generic()?;
        let mut request = vec![GET_FAMILY, 1, 0, 0];
        push(&mut request, FAMILY_NAME, &[name.as_bytes(), &[0]].concat());
        let answer = match netlink.get(CONTROL, &request) {
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                return Err(NetlinkError::NoFamily(name));
            }
            answer => answer?,
        };
        let id = attributes(answer.get(GENERIC_HEADER..).unwrap_or_default())
            .find(|(kind, _)| *kind == FAMILY_ID)
            .and_then(|(_, value)| u16(value))
            .ok_or(NetlinkError::NoFamily(name))?;
        Ok(Self {
            netlink,
            id,
            version,
        })
    }

    /// Asks one thing, with these attributes; gives those of the answer.
    pub fn get(&mut self, command: u8, attributes: &[u8]) -> Result<Vec<u8>, NetlinkError> {
        let request = [&[command, self.version, 0, 0], attributes].concat();
        let mut answer = self.netlink.get(self.id, &request)?;
        if answer.len() < GENERIC_HEADER {
            return Err(NetlinkError::Damaged("it has no header".to_owned()));
        }
        answer.drain(..GENERIC_HEADER);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = framed(kind, flags, sequence, payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What came out, and whether it ended.
    fn taken(datagram: &[u8], dump: bool) -> (Vec<Vec<u8>>, Result<bool, NetlinkError>) {
        let mut payloads = Vec::new();
        let ended = messages(datagram, 7, dump, |_, payload| {
            payloads.push(payload.to_vec());
        });
        (payloads, ended)
    }

    #[test]
    fn answers_of_others_are_left_out_and_ends_are_found() {
        let first = message(20, 2, 7, b"one");
        let other = message(20, 2, 6, b"late");
        let done = message(DONE, 2, 7, &0_i32.to_ne_bytes());
        let (payloads, ended) = taken(&[first.clone(), other, done].concat(), true);
        assert_eq!(payloads, [b"one".to_vec()]);
        assert!(ended.unwrap());
        assert!(!taken(&first, true).1.unwrap());
        assert!(taken(&first, false).1.unwrap());
    }

    #[test]
    fn errors_come_in_two_places() {
        for kind in [ERROR, DONE] {
            let payload = [&(-libc::ENOENT).to_ne_bytes()[..], &[0; 16]].concat();
            let (_, ended) = taken(&message(kind, 2, 7, &payload), true);
            assert_eq!(ended.unwrap_err().errno(), Some(libc::ENOENT), "{kind}");
        }
    }

    #[test]
    fn attributes_are_what_was_pushed() {
        let mut bytes = Vec::new();
        push(&mut bytes, 3, b"eth0\0");
        push_nested(&mut bytes, 4, &5_u32.to_ne_bytes());
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (4, &5_u32.to_ne_bytes()[..])]);
        assert_eq!(text(read[0].1), "eth0");
        assert_eq!(u32(read[1].1), Some(5));
        assert_eq!((u8(read[1].1), u64(read[1].1)), (None, None));
    }

    #[test]
    fn a_family_that_is_not_there() {
        let found = Family::find("no-such-family", 1);
        assert!(matches!(
            found,
            Err(NetlinkError::NoFamily("no-such-family"))
        ));
    }

    proptest! {
        #[test]
        fn damaged_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), dump: bool) {
            let _ = taken(&bytes, dump);
            let total: usize = attributes(&bytes).map(|(_, value)| value.len() + 4).sum();
            prop_assert!(total <= bytes.len());
        }

        #[test]
        fn a_cut_datagram_gives_no_other_payload(cut in 0_usize..100) {
            let whole = [message(20, 2, 7, b"first one"), message(20, 2, 7, b"second")].concat();
            let cut = cut.min(whole.len());
            let (payloads, _) = taken(&whole[..cut], true);
            prop_assert!([b"first one".to_vec(), b"second".to_vec()].starts_with(&payloads));
        }
    }
}
