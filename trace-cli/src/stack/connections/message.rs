//! sock_diag's requests and answers (`include/uapi/linux/inet_diag.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    memory::Memory,
    socket::{
        Backlog, Endpoint, Family, Interface, Protocol, Queues, Socket, State, Timer, TimerKind,
    },
    tcp_info::TcpInfo,
};
use crate::kernel::netlink::{self, attributes};

/// `SOCK_DIAG_BY_FAMILY`.
pub(super) const BY_FAMILY: u16 = 20;
/// Lengths of `struct inet_diag_sockid`, and of `struct inet_diag_msg`, which every answer begins with.
const SOCKET_ID: usize = 48;
const HEADER: usize = 72;

/// `INET_DIAG_*`: numbers of attributes.
mod attribute {
    /// In requests: the protocol, where its number needs more than a byte.
    pub(super) const PROTOCOL: u16 = 3;
    pub(super) const INFO: u16 = 2;
    pub(super) const CONGESTION: u16 = 4;
    pub(super) const MEMORY: u16 = 7;
    pub(super) const ONLY_IPV6: u16 = 11;
    pub(super) const MARK: u16 = 15;
    pub(super) const UPPER_LAYER: u16 = 19;
    pub(super) const CGROUP: u16 = 21;
    /// Inside of `UPPER_LAYER`.
    pub(super) const UPPER_LAYER_NAME: u16 = 1;
}

/// `struct inet_diag_req_v2`: all sockets of a protocol and family, in whatever state, with all that we read.
pub(super) fn request(protocol: u32, family: Family) -> Vec<u8> {
    // Attributes are asked for by bits, counted from the one numbered 1; others come unasked.
    let wanted = [attribute::INFO, attribute::CONGESTION, attribute::MEMORY]
        .iter()
        .fold(0_u8, |bits, number| bits | 1 << (number - 1));
    // Bits 1 to 11 are TCP's states; 12 is a request socket, which SYN_RECV stands for.
    let states = 0x0fff_u32;
    let byte = u8::try_from(protocol);
    let mut request = vec![family.number(), byte.unwrap_or(u8::MAX), wanted, 0];
    request.extend_from_slice(&states.to_ne_bytes());
    request.resize(request.len() + SOCKET_ID, 0);
    if byte.is_err() {
        netlink::push(&mut request, attribute::PROTOCOL, &protocol.to_ne_bytes());
    }
    request
}

/// One socket of an answer, and the length of its `tcp_info`; `None` if that is no socket.
///
/// Interfaces have no names yet, nor sockets processes.
pub(super) fn parse(protocol: Protocol, bytes: &[u8]) -> Option<(Socket, Option<usize>)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let word = |offset: usize| -> Option<u32> { netlink::u32(header.get(offset..offset + 4)?) };
    let port = |offset: usize| {
        Some(u16::from_be_bytes(
            *header.get(offset..)?.first_chunk::<2>()?,
        ))
    };
    let [family, state, timer, retransmits, ..] = *header;
    let family = Family::of(family)?;
    let state = State::of(protocol, state)?;
    let endpoint = |port_at, address_at| {
        Some(Endpoint {
            address: address(family, header.get(address_at..)?)?,
            port: port(port_at)?,
        })
    };
    let (local, remote) = (endpoint(4, 8)?, endpoint(6, 24)?);
    let cookie = (u64::from(word(48)?) << 32) | u64::from(word(44)?);
    let (expires_ms, receive, send, uid, inode) =
        (word(52)?, word(56)?, word(60)?, word(64)?, word(68)?);
    let listens = protocol == Protocol::Tcp && state == State::Listen;
    let mut socket = Socket::new(protocol, family, state, local);
    socket.remote = (remote.port != 0 || !remote.address.is_unspecified()).then_some(remote);
    socket.interface = match word(40)? {
        0 => None,
        index => Some(Interface { index, name: None }),
    };
    if listens {
        socket.backlog = Some(Backlog {
            pending: receive,
            limit: send,
            dropped: None,
        });
    } else if state != State::Listen {
        // MPTCP's listeners have theirs at the TCP listener below.
        socket.queues = Some(Queues {
            receive_bytes: receive,
            send_bytes: send,
        });
    }
    // Without an inode nobody has it open: the kernel says 0, which would be root.
    if inode != 0 {
        (socket.uid, socket.inode) = (Some(uid), Some(inode));
    }
    socket.timer = TimerKind::of(timer).map(|kind| Timer {
        kind,
        expires_ms,
        retransmits,
    });
    socket.cookie = Some(cookie);
    let mut info = None;
    for (kind, value) in attributes(rest) {
        match kind {
            // A listener's has but defaults in it, and its backlog once more.
            attribute::INFO if protocol == Protocol::Tcp && !listens => {
                info = Some(value.len());
                socket.tcp = Some(Box::new(TcpInfo::parse(value)));
            }
            attribute::CONGESTION => socket.congestion = Some(netlink::text(value)),
            attribute::MEMORY => socket.memory = Memory::parse(value),
            attribute::ONLY_IPV6 => socket.only_ipv6 = netlink::u8(value).map(|flag| flag != 0),
            attribute::MARK => socket.mark = netlink::u32(value),
            attribute::CGROUP => socket.cgroup = netlink::u64(value),
            attribute::UPPER_LAYER => {
                socket.upper_layer = attributes(value)
                    .find(|(kind, _)| *kind == attribute::UPPER_LAYER_NAME)
                    .map(|(_, name)| netlink::text(name));
            }
            _ => {}
        }
    }
    if let Some(backlog) = &mut socket.backlog {
        backlog.dropped = socket.memory.as_ref().and_then(|memory| memory.drops);
    }
    Some((socket, info))
}

fn address(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    Some(match family {
        Family::Ipv4 => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
        Family::Ipv6 => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::netlink::{push, push_nested};

    /// An answer: 10.0.0.1:80, its peer 10.0.0.2:4242.
    fn header(state: u8, timer: u8, inode: u32) -> Vec<u8> {
        let mut bytes = vec![2, state, timer, 3];
        bytes.extend_from_slice(&80_u16.to_be_bytes());
        bytes.extend_from_slice(&4242_u16.to_be_bytes());
        for address in [[10, 0, 0, 1], [10, 0, 0, 2]] {
            bytes.extend_from_slice(&address);
            bytes.extend_from_slice(&[0; 12]);
        }
        for word in [7_u32, 0x11, 0x22, 1500, 5, 6, 1000, inode] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(bytes.len(), HEADER);
        bytes
    }

    #[test]
    fn a_connection_with_all_its_attributes() {
        let mut bytes = header(1, 1, 99);
        push(&mut bytes, 2, &[1; 232]);
        push(&mut bytes, 4, b"cubic\0");
        push(&mut bytes, 7, &[2; 36]);
        push(&mut bytes, 15, &9_u32.to_ne_bytes());
        push(&mut bytes, 999, b"from the future");
        let mut name = Vec::new();
        push(&mut name, 1, b"tls\0");
        push_nested(&mut bytes, 19, &name);
        push(&mut bytes, 21, &77_u64.to_ne_bytes());
        let (socket, info) = parse(Protocol::Tcp, &bytes).unwrap();
        assert_eq!(info, Some(232));
        assert_eq!(socket.local.to_string(), "10.0.0.1:80");
        assert_eq!(socket.remote.as_ref().unwrap().to_string(), "10.0.0.2:4242");
        assert_eq!(socket.interface.as_ref().unwrap().index, 7);
        assert_eq!(socket.cookie, Some(0x22_0000_0011));
        let queues = socket.queues.as_ref().unwrap();
        assert_eq!((queues.receive_bytes, queues.send_bytes), (5, 6));
        let timer = socket.timer.as_ref().unwrap();
        assert_eq!(
            (timer.kind, timer.expires_ms, timer.retransmits),
            (TimerKind::Retransmit, 1500, 3)
        );
        assert_eq!((socket.uid, socket.inode), (Some(1000), Some(99)));
        assert_eq!((socket.mark, socket.cgroup), (Some(9), Some(77)));
        assert_eq!(socket.congestion.as_deref(), Some("cubic"));
        assert_eq!(socket.upper_layer.as_deref(), Some("tls"));
        assert_eq!(socket.memory.unwrap().drops, Some(0x0202_0202));
        assert_eq!(socket.tcp.unwrap().rtt_us, Some(0x0101_0101));
    }

    #[test]
    fn a_listener_has_a_backlog_and_nobody_an_uid_without_an_inode() {
        let mut bytes = header(10, 0, 1);
        push(&mut bytes, 2, &[0; 232]);
        push(&mut bytes, 7, &[0, 0, 0, 0].repeat(8));
        let (listener, info) = parse(Protocol::Tcp, &bytes).unwrap();
        let backlog = listener.backlog.unwrap();
        assert_eq!(
            (backlog.pending, backlog.limit, backlog.dropped),
            (5, 6, None)
        );
        assert!(listener.queues.is_none() && listener.tcp.is_none() && info.is_none());
        let (waiting, _) = parse(Protocol::Tcp, &header(6, 3, 0)).unwrap();
        assert_eq!(
            (waiting.state, waiting.uid, waiting.inode),
            (State::TimeWait, None, None)
        );
        assert_eq!(waiting.timer.unwrap().kind, TimerKind::TimeWait);
        assert_eq!(
            parse(Protocol::Udp, &header(7, 0, 1)).unwrap().0.state,
            State::Unconnected
        );
        assert!(parse(Protocol::Tcp, &header(99, 0, 1)).is_none());
    }

    #[test]
    fn a_request_is_as_long_as_the_structure() {
        let request = request(17, Family::Ipv6);
        assert_eq!(request.len(), 56);
        assert_eq!(request[..4], [10, 17, 0b0100_1010, 0]);
        // MPTCP's number is too large for its place.
        let request = super::request(262, Family::Ipv4);
        assert_eq!(request[..4], [2, 255, 0b0100_1010, 0]);
        assert_eq!(request[56..], [8, 0, 3, 0, 6, 1, 0, 0]);
    }

    proptest! {
        /// Cut anywhere, and with unknown attributes: what is read is what the whole has.
        #[test]
        fn cut_short_nothing_changes(
            values in proptest::collection::vec((0_u16..30, proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            state in 0_u8..14,
            cut in 0_usize..3000,
        ) {
            let mut bytes = header(state, 1, 99);
            for (kind, value) in &values {
                push(&mut bytes, *kind, value);
            }
            let whole = parse(Protocol::Tcp, &bytes);
            let part = parse(Protocol::Tcp, &bytes[..cut.min(bytes.len())]);
            if let Some((part, _)) = part {
                let (whole, _) = whole.unwrap();
                prop_assert_eq!(part.local, whole.local);
                prop_assert_eq!(part.queues, whole.queues);
                prop_assert_eq!(part.inode, whole.inode);
            }
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for protocol in Protocol::ALL {
                let _ = parse(protocol, &bytes);
            }
        }
    }
}
