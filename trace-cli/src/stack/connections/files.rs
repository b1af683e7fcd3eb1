//! Sockets that only files list: ping sockets always, raw ones on kernels without `raw_diag`.
//!
//! `/proc/net/icmp` and `/proc/net/raw` and their IPv6 sisters have one line a socket (`ping_format_sock()`,
//! `raw_sock_seq_show()` in `net/ipv4`). procfs 0.18 reads neither.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::socket::{Endpoint, Family, Protocol, Queues, Socket, State};

/// The file that lists sockets of a protocol; `None` if there is none.
pub(super) const fn name(protocol: Protocol, family: Family) -> Option<&'static str> {
    match (protocol, family) {
        (Protocol::Raw, Family::Ipv4) => Some("raw"),
        (Protocol::Raw, Family::Ipv6) => Some("raw6"),
        (Protocol::Ping, Family::Ipv4) => Some("icmp"),
        (Protocol::Ping, Family::Ipv6) => Some("icmp6"),
        _ => None,
    }
}

/// All sockets of such a file, and how many lines could not be read.
pub(super) fn parse(protocol: Protocol, family: Family, text: &str) -> (Vec<Socket>, u64) {
    let lines = || text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let sockets: Vec<Socket> = lines()
        .filter_map(|text| line(protocol, family, text))
        .collect();
    let unread = lines().count() - sockets.len();
    (sockets, u64::try_from(unread).unwrap_or(u64::MAX))
}

/// `sl local remote st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops`, numbers up to `retrnsmt` in hexadecimal.
fn line(protocol: Protocol, family: Family, line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = endpoint(family, fields.next()?)?;
    let remote = endpoint(family, fields.next()?)?;
    let state = State::of(protocol, u8::from_str_radix(fields.next()?, 16).ok()?)?;
    let (send, receive) = fields.next()?.split_once(':')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let mut fields = fields.skip(2);
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let mut socket = Socket::new(protocol, family, state, local);
    socket.remote = (remote.port != 0 || !remote.address.is_unspecified()).then_some(remote);
    socket.queues = Some(Queues {
        receive_bytes: hex(receive)?,
        send_bytes: hex(send)?,
    });
    (socket.uid, socket.inode) = (Some(uid), Some(inode));
    Some(socket)
}

/// `0100007F:0001`: an address in words of the machine's byte order, and the port, the identifier or the protocol.
fn endpoint(family: Family, text: &str) -> Option<Endpoint> {
    let (address, port) = text.split_once(':')?;
    if !address.is_ascii() {
        return None;
    }
    let word = |number: usize| {
        let digits = address.get(8 * number..8 * number + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let (words, address) = match family {
        Family::Ipv4 => (1, IpAddr::from(Ipv4Addr::from(word(0)?))),
        Family::Ipv6 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            (4, Ipv6Addr::from(*words.first_chunk::<16>()?).into())
        }
    };
    (text.len() == 8 * words + 1 + port.len()).then_some(())?;
    Some(Endpoint {
        address,
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RAW: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: 0100007F:0001 00000000:0000 07 00000010:00000300 00:00000000 00000000  1000        0 4242 2 00000000abcdef01 0
";
    const ICMP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   42: 00000000000000000000000001000000:002A 00000000000000000000000001000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 77 2 0000000000000000 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both() {
        let (raw, unread) = parse(Protocol::Raw, Family::Ipv4, RAW);
        assert_eq!((raw.len(), unread), (1, 0));
        assert_eq!(raw[0].local.to_string(), "127.0.0.1:1");
        assert_eq!(
            (raw[0].remote.as_ref(), raw[0].state),
            (None, State::Unconnected)
        );
        let queues = raw[0].queues.unwrap();
        assert_eq!((queues.send_bytes, queues.receive_bytes), (16, 768));
        assert_eq!((raw[0].uid, raw[0].inode), (Some(1000), Some(4242)));
        let (ping, unread) = parse(Protocol::Ping, Family::Ipv6, ICMP6);
        assert_eq!((ping.len(), unread), (1, 0));
        assert_eq!(ping[0].local.to_string(), "[::1]:42");
        assert_eq!(ping[0].remote.as_ref().unwrap().to_string(), "[::1]:0");
    }

    #[test]
    fn what_is_no_socket_is_counted() {
        let (sockets, unread) = parse(Protocol::Raw, Family::Ipv4, "heading\n 1: nonsense\n\n");
        assert_eq!((sockets.len(), unread), (0, 1));
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in ".{0,200}", cut in 0_usize..400) {
            let _ = parse(Protocol::Raw, Family::Ipv6, &format!("\n{text}"));
            let _ = endpoint(Family::Ipv6, &text);
            let cut = cut.min(RAW.len());
            let (sockets, _) = parse(Protocol::Raw, Family::Ipv4, &RAW[..cut]);
            prop_assert!(sockets.len() <= 1);
        }
    }
}
