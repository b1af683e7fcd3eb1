//! Links and qdiscs from netlink's bytes. Only the attributes that are wanted are taken apart, so that one that a later kernel
//! writes otherwise costs nothing.

use super::{Interface, Qdisc};
use crate::kernel::netlink::{attributes, text, u32, u64};

/// Size of `struct ifinfomsg` (`linux/rtnetlink.h`): family, type, index at 4, flags at 8, change.
pub(super) const LINK_HEADER: usize = 16;
/// Size of `struct tcmsg`: family, index at 4, handle at 8, parent at 12, info.
pub(super) const QDISC_HEADER: usize = 20;
/// Of `linux/if.h`.
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

/// Of `linux/if_link.h`.
mod ifla {
    pub const ADDRESS: u16 = 1;
    pub const IFNAME: u16 = 3;
    pub const MTU: u16 = 4;
    pub const MASTER: u16 = 10;
    pub const TXQLEN: u16 = 13;
    pub const LINKINFO: u16 = 18;
    pub const STATS64: u16 = 23;
    pub const CARRIER_CHANGES: u16 = 35;
    pub const INFO_KIND: u16 = 1;
}

/// Of `linux/rtnetlink.h` and `linux/gen_stats.h`.
mod tca {
    pub const KIND: u16 = 1;
    pub const STATS2: u16 = 7;
    pub const STATS_BASIC: u16 = 1;
    pub const STATS_QUEUE: u16 = 3;
    pub const STATS_PKT64: u16 = 8;
}

/// Members of `struct rtnl_link_stats64`, all of 64 bits, in their order; later kernels may have more.
const STATS64: [&str; 25] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
];

/// An interface from the payload of an `RTM_NEWLINK`; `None` if it has no name.
pub fn link(payload: &[u8]) -> Option<Interface> {
    let flags = word(payload, 8)?;
    let mut interface = Interface {
        index: word(payload, 4)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..Interface::default()
    };
    for (kind, value) in attributes(payload.get(LINK_HEADER..)?) {
        match kind {
            ifla::IFNAME => interface.name = text(value),
            ifla::ADDRESS => interface.address = address(value),
            ifla::MTU => interface.mtu_bytes = u32(value),
            ifla::MASTER => interface.master_index = u32(value),
            ifla::TXQLEN => interface.queue_packets = u32(value),
            ifla::CARRIER_CHANGES => {
                if let Some(changes) = u32(value) {
                    let name = "carrier_changes".to_owned();
                    interface.counters.insert(name, u64::from(changes));
                }
            }
            ifla::STATS64 => {
                let values = value.as_chunks::<8>().0;
                let counters = STATS64.iter().zip(values);
                interface.counters.extend(
                    counters.map(|(name, bytes)| ((*name).to_owned(), u64::from_ne_bytes(*bytes))),
                );
            }
            ifla::LINKINFO => {
                interface.kind = attributes(value)
                    .find(|(kind, _)| *kind == ifla::INFO_KIND)
                    .map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

/// A qdisc and its interface's index from the payload of an `RTM_NEWQDISC`; `None` without its kind and statistics.
pub fn qdisc(payload: &[u8]) -> Option<(u32, Qdisc)> {
    let index = word(payload, 4)?;
    let mut qdisc = Qdisc {
        handle: handle(word(payload, 8)?),
        parent: parent(word(payload, 12)?),
        ..Qdisc::default()
    };
    let mut counted = false;
    for (kind, value) in attributes(payload.get(QDISC_HEADER..)?) {
        match kind {
            tca::KIND => qdisc.kind = text(value),
            tca::STATS2 => counted |= statistics(value, &mut qdisc).is_some(),
            _ => {}
        }
    }
    (counted && !qdisc.kind.is_empty()).then_some((index, qdisc))
}

fn statistics(nested: &[u8], qdisc: &mut Qdisc) -> Option<()> {
    let of =
        |wanted| attributes(nested).find_map(|(kind, value)| (kind == wanted).then_some(value));
    // struct gnet_stats_basic: bytes of 64 bits, packets of 32.
    let basic = of(tca::STATS_BASIC)?;
    qdisc.bytes = u64(basic.get(..8)?)?;
    // Only written where 32 bits are not enough.
    qdisc.packets = match of(tca::STATS_PKT64) {
        Some(packets) => u64(packets)?,
        None => word(basic, 8)?.into(),
    };
    // struct gnet_stats_queue: all of 32 bits.
    let queue = of(tca::STATS_QUEUE)?;
    let number = |at: usize| Some(u64::from(word(queue, 4 * at)?));
    qdisc.backlog_packets = number(0)?;
    qdisc.backlog_bytes = number(1)?;
    qdisc.drops = number(2)?;
    qdisc.requeues = number(3)?;
    qdisc.overlimits = number(4)?;
    Some(())
}

/// The 32 bits at this place of a structure.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    u32(bytes.get(at..at + 4)?)
}

fn address(value: &[u8]) -> Option<String> {
    let bytes: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    (!bytes.is_empty()).then(|| bytes.join(":"))
}

/// As tc writes it.
fn handle(handle: u32) -> String {
    format!("{:x}:", handle >> 16)
}

/// As tc writes it: `root`, `ingress`, or a class.
fn parent(parent: u32) -> String {
    match (parent, parent >> 16, parent & 0xffff) {
        (u32::MAX, ..) => "root".to_owned(),
        (0xffff_fff1, ..) => "ingress".to_owned(),
        (_, 0, minor) => format!(":{minor:x}"),
        (_, major, minor) => format!("{major:x}:{minor:x}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn numbers(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
        values.into_iter().flat_map(u64::to_ne_bytes).collect()
    }

    /// A link whose counters are 1, 2, 3, …, this many.
    fn a_link(counters: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0x1_0001_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(attribute(ifla::IFNAME, b"eth0\0"));
        bytes.extend(attribute(ifla::ADDRESS, &[2, 0, 0, 0, 0, 0x1f]));
        bytes.extend(attribute(ifla::MTU, &1500_u32.to_ne_bytes()));
        bytes.extend(attribute(60_000, b"of a later kernel"));
        bytes.extend(attribute(ifla::STATS64, &numbers(1..=counters)));
        bytes.extend(attribute(
            ifla::LINKINFO | 0x8000,
            &attribute(ifla::INFO_KIND, b"veth\0"),
        ));
        bytes
    }

    fn a_qdisc() -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for number in [7_u32, 0x8001_0000, u32::MAX, 2] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(attribute(tca::KIND, b"tbf\0"));
        let mut basic = numbers([1000]);
        basic.extend(10_u32.to_ne_bytes());
        basic.extend([0; 4]);
        // qlen, backlog, drops, requeues, overlimits
        let queue: Vec<u8> = [1_u32, 2, 3, 4, 5]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let nested = [
            attribute(tca::STATS_BASIC, &basic),
            attribute(tca::STATS_QUEUE, &queue),
        ]
        .concat();
        bytes.extend(attribute(tca::STATS2, &nested));
        bytes
    }

    #[test]
    fn a_link_of_any_kernel() {
        let now = link(&a_link(25)).unwrap();
        assert_eq!((now.index, now.name.as_str()), (7, "eth0"));
        assert!(now.up && now.carrier);
        assert_eq!(now.kind.as_deref(), Some("veth"));
        assert_eq!(now.address.as_deref(), Some("02:00:00:00:00:1f"));
        assert_eq!(now.mtu_bytes, Some(1500));
        assert_eq!(now.get("rx_packets"), Some(1));
        assert_eq!(now.get("tx_dropped"), Some(8));
        assert_eq!(now.get("rx_otherhost_dropped"), Some(25));
        // An older kernel does not have the last ones, a later one has more.
        assert_eq!(link(&a_link(24)).unwrap().get("rx_otherhost_dropped"), None);
        assert_eq!(link(&a_link(30)).unwrap(), now);
        assert_eq!(link(&a_link(25)[..16]), None);
    }

    #[test]
    fn a_qdisc_has_all_its_counters() {
        let (index, qdisc) = qdisc(&a_qdisc()).unwrap();
        assert_eq!(index, 7);
        assert_eq!(
            qdisc,
            Qdisc {
                kind: "tbf".to_owned(),
                handle: "8001:".to_owned(),
                parent: "root".to_owned(),
                bytes: 1000,
                packets: 10,
                drops: 3,
                overlimits: 5,
                requeues: 4,
                backlog_packets: 1,
                backlog_bytes: 2,
            }
        );
    }

    #[test]
    fn parents_as_tc_writes_them() {
        assert_eq!(parent(0xffff_fff1), "ingress");
        assert_eq!(parent(1), ":1");
        assert_eq!(parent(0x8001_000a), "8001:a");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            link(&bytes);
            qdisc(&bytes);
        }

        #[test]
        fn cut_or_changed_messages_are_survived(cut in 0_usize..320, at in 0_usize..320, byte: u8) {
            for mut bytes in [a_link(25), a_qdisc()] {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
                bytes.truncate(cut);
                link(&bytes);
                qdisc(&bytes);
            }
        }
    }
}
