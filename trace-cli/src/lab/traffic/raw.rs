//! Packets made by hand, for what no well-behaved socket sends: bad checksums, forged senders.

use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::lab::{LabError, Netns};

/// The transport header to put into a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A segment with SYN.
    TcpSyn,
}

/// A packet to make.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Sender, true or forged.
    pub source: (IpAddr, u16),
    /// Receiver.
    pub destination: (IpAddr, u16),
    /// What is inside.
    pub transport: Transport,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Spoil the transport's checksum.
    pub bad_checksum: bool,
}

impl Packet {
    /// A datagram with nothing wrong.
    pub fn udp<A: Into<IpAddr>, B: Into<IpAddr>>(source: (A, u16), destination: (B, u16)) -> Self {
        Self {
            source: (source.0.into(), source.1),
            destination: (destination.0.into(), destination.1),
            transport: Transport::Udp,
            ttl: 64,
            bad_checksum: false,
        }
    }

    /// Its bytes. The kernel fills in length, identification and checksum of an IPv4 header, nothing of an IPv6 one.
    fn bytes(&self) -> Vec<u8> {
        let (protocol, transport) = match self.transport {
            Transport::Udp => (17, self.datagram()),
            Transport::TcpSyn => (6, self.syn()),
        };
        let [high, low] = u16::try_from(transport.len()).unwrap_or(0).to_be_bytes();
        let header = if self.is_v6() {
            vec![0x60, 0, 0, 0, high, low, protocol, self.ttl]
        } else {
            vec![0x45, 0, 0, 0, 0, 0, 0, 0, self.ttl, protocol, 0, 0]
        };
        [header, self.addresses(), transport].concat()
    }

    const fn is_v6(&self) -> bool {
        self.destination.0.is_ipv6()
    }

    fn addresses(&self) -> Vec<u8> {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        [octets(self.source.0), octets(self.destination.0)].concat()
    }

    /// A UDP header and 16 bytes.
    fn datagram(&self) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend([0, 24, 0, 0]);
        bytes.extend([b'x'; 16]);
        self.seal(bytes, 17, 6)
    }

    /// A TCP header with SYN.
    fn syn(&self) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
        self.seal(bytes, 6, 16)
    }

    fn ports(&self) -> Vec<u8> {
        [
            self.source.1.to_be_bytes(),
            self.destination.1.to_be_bytes(),
        ]
        .concat()
    }

    /// Puts the checksum at `place`.
    fn seal(&self, mut bytes: Vec<u8>, protocol: u8, place: usize) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let mut sum = u32::from(protocol) + length;
        for pair in self.addresses().chunks(2).chain(bytes.chunks(2)) {
            sum += u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let good = !(sum as u16);
        // 0 would mean "not computed".
        let sealed = match (self.bad_checksum, good) {
            (false, good) => good,
            (true, 0x1234) => 0x4321,
            (true, _) => 0x1234,
        };
        bytes[place..place + 2].copy_from_slice(&sealed.to_be_bytes());
        bytes
    }
}

/// Sends a packet `count` times from a namespace.
pub fn send(netns: &Netns, packet: &Packet, count: u64) -> Result<(), LabError> {
    let failed = |what: &str| LabError::io::<rustix::io::Errno>(format!("raw packet: {what}"));
    let family = if packet.is_v6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = netns
        .enter(|| socket(family, SocketType::RAW, Some(ipproto::RAW)).map_err(failed("socket")))?;
    let bytes = packet.bytes();
    let to = SocketAddr::from((packet.destination.0, 0));
    for _ in 0..count {
        sendto(&socket, &bytes, SendFlags::empty(), &to).map_err(failed("send"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_checksum_sums_to_all_ones() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            let packet = Packet::udp((address(source), 7), (address(destination), 9));
            let bytes = [packet.addresses(), packet.datagram()].concat();
            let mut sum = 17 + packet.datagram().len() as u32;
            for pair in bytes.chunks(2) {
                sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            }
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
    }
}
