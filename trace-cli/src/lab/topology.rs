//! Ready-made little networks: two hosts on a wire, and two hosts with a router between them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{LabError, Netns};

/// The addresses of a laboratory: one subnet (IPv4 /24, IPv6 /64) for each of its two wires.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    v4: [[u8; 3]; 2],
    v6: [[u16; 4]; 2],
}

impl Addresses {
    /// Addresses that no other laboratory on this machine uses at the same time: from the process id and a count.
    pub fn unique() -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        let second = 64 + (low ^ high.rotate_left(3)) % 128;
        let third = u8::try_from(count % 128).unwrap_or(0);
        let group = u16::from_be_bytes([high, low]);
        Self {
            v4: [[10, second, third], [10, second, third + 128]],
            v6: [
                [0xfd70, 0x6a, group, count * 2],
                [0xfd70, 0x6a, group, count * 2 + 1],
            ],
        }
    }

    /// Addresses set aside for documentation (RFC 5737, RFC 3849): for output that is to be read.
    pub const fn documentation() -> Self {
        Self {
            v4: [[192, 0, 2], [198, 51, 100]],
            v6: [[0x2001, 0xdb8, 0, 1], [0x2001, 0xdb8, 0, 2]],
        }
    }

    /// IPv4 address of a host (1–254) on a wire (0 or 1).
    pub const fn v4(&self, wire: usize, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.v4[wire];
        Ipv4Addr::new(a, b, c, host)
    }

    /// IPv6 address of a host on a wire.
    pub const fn v6(&self, wire: usize, host: u8) -> Ipv6Addr {
        let [a, b, c, d] = self.v6[wire];
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, host as u16)
    }

    /// `ip` lines that give a device its addresses and set it up.
    pub(super) fn lines(&self, wire: usize, host: u8, device: &str) -> String {
        format!(
            "addr add {}/24 dev {device}\naddr add {}/64 dev {device} nodad\nlink set {device} up\n",
            self.v4(wire, host),
            self.v6(wire, host)
        )
    }
}

/// Two namespaces on one veth wire: device `a0` in `a`, `b0` in `b`.
#[derive(Debug)]
pub struct Pair {
    /// Host 1.
    pub a: Netns,
    /// Host 2.
    pub b: Netns,
    /// Wire 0 is in use.
    pub addresses: Addresses,
}

impl Pair {
    /// Makes it, with the neighbours known, so that no packet waits for one.
    pub fn new(addresses: Addresses) -> Result<Self, LabError> {
        let (a, b) = (Netns::new("a")?, Netns::new("b")?);
        wire(&a, "a0", &b, "b0")?;
        a.ip(&addresses.lines(0, 1, "a0"))?;
        b.ip(&addresses.lines(0, 2, "b0"))?;
        let pair = Self { a, b, addresses };
        introduce((&pair.a, "a0", 1), (&pair.b, "b0", 2), &addresses, 0)?;
        Ok(pair)
    }

    /// IPv4 addresses of `a` and `b`.
    pub const fn v4(&self) -> (IpAddr, IpAddr) {
        (
            IpAddr::V4(self.addresses.v4(0, 1)),
            IpAddr::V4(self.addresses.v4(0, 2)),
        )
    }

    /// IPv6 addresses of `a` and `b`.
    pub const fn v6(&self) -> (IpAddr, IpAddr) {
        (
            IpAddr::V6(self.addresses.v6(0, 1)),
            IpAddr::V6(self.addresses.v6(0, 2)),
        )
    }
}

/// Two hosts and a router that forwards IPv4 and IPv6 between them:
/// `a` (device `a0`) – (`ra`) `router` (`rb`) – (`b0`) `b`.
#[derive(Debug)]
pub struct Router {
    /// Host 1 on wire 0.
    pub a: Netns,
    /// Host 254 on both wires.
    pub router: Netns,
    /// Host 2 on wire 1.
    pub b: Netns,
    /// Both wires are in use.
    pub addresses: Addresses,
}

impl Router {
    /// Makes it, with the neighbours known, so that no packet waits for one.
    pub fn new(addresses: Addresses) -> Result<Self, LabError> {
        let (a, router, b) = (Netns::new("a")?, Netns::new("r")?, Netns::new("b")?);
        wire(&a, "a0", &router, "ra")?;
        wire(&b, "b0", &router, "rb")?;
        let routes = |wire| {
            format!(
                "route add default via {}\nroute add default via {}\n",
                addresses.v4(wire, 254),
                addresses.v6(wire, 254)
            )
        };
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        router.ip(&(addresses.lines(0, 254, "ra") + &addresses.lines(1, 254, "rb")))?;
        a.ip(&(addresses.lines(0, 1, "a0") + &routes(0)))?;
        b.ip(&(addresses.lines(1, 2, "b0") + &routes(1)))?;
        introduce((&a, "a0", 1), (&router, "ra", 254), &addresses, 0)?;
        introduce((&b, "b0", 2), (&router, "rb", 254), &addresses, 1)?;
        Ok(Self {
            a,
            router,
            b,
            addresses,
        })
    }

    /// IPv4 addresses of `a` and `b`.
    pub const fn v4(&self) -> (IpAddr, IpAddr) {
        (
            IpAddr::V4(self.addresses.v4(0, 1)),
            IpAddr::V4(self.addresses.v4(1, 2)),
        )
    }

    /// IPv6 addresses of `a` and `b`.
    pub const fn v6(&self) -> (IpAddr, IpAddr) {
        (
            IpAddr::V6(self.addresses.v6(0, 1)),
            IpAddr::V6(self.addresses.v6(1, 2)),
        )
    }
}

/// Lays a veth wire between two namespaces.
fn wire(a: &Netns, a_device: &str, b: &Netns, b_device: &str) -> Result<(), LabError> {
    a.ip(&format!(
        "link add {a_device} type veth peer name {b_device} netns {}\n",
        b.name()
    ))
}

/// Makes each end (namespace, device, host number) know the other's link-layer address for good.
pub(super) fn introduce(
    a: (&Netns, &str, u8),
    b: (&Netns, &str, u8),
    addresses: &Addresses,
    wire: usize,
) -> Result<(), LabError> {
    for ((netns, device, _), (other, other_device, host)) in [(a, b), (b, a)] {
        let address = link_address(other, other_device)?;
        let tell = |ip: IpAddr| {
            format!("neigh replace {ip} lladdr {address} dev {device} nud permanent\n")
        };
        let v4 = tell(addresses.v4(wire, host).into());
        netns.ip(&(v4 + &tell(addresses.v6(wire, host).into())))?;
    }
    Ok(())
}

/// A device's link-layer address, once its carrier is on (the kernel may take a moment to notice).
pub fn link_address(netns: &Netns, device: &str) -> Result<String, LabError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = netns.exec("ip", &["-o", "link", "show", "dev", device])?;
        let address = text
            .split_once("link/ether ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        match address {
            Some(address) if text.contains("state UP") => return Ok(address.to_owned()),
            _ if Instant::now() > deadline => {
                return Err(LabError::Traffic(format!(
                    "{device} does not come up: {}",
                    text.trim()
                )));
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laboratories_do_not_share_addresses() {
        let (one, two) = (Addresses::unique(), Addresses::unique());
        for wire in 0..2 {
            assert_ne!(one.v4(wire, 1), two.v4(wire, 1));
            assert_ne!(one.v6(wire, 1), two.v6(wire, 1));
        }
        assert_ne!(one.v4(0, 1), one.v4(1, 1));
    }
}
