//! The link: its speed and what it is made of (`ethtool DEVICE`).

use serde::Serialize;

use super::bits;
use crate::kernel::netlink::{self, attributes};

/// What a link is, as far as its driver says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Link {
    /// There is a carrier.
    pub up: Option<bool>,
    /// In Mbit/s; none while there is no link.
    pub speed_mbit_per_s: Option<u32>,
    /// Both ways at once.
    pub full_duplex: Option<bool>,
    /// Speed and the like are agreed on with the peer.
    pub autonegotiation: Option<bool>,
    /// Pairs of wires or fibres.
    pub lanes: Option<u32>,
    /// `twisted_pair`, `fibre`, `direct_attach` and so on.
    pub port: Option<&'static str>,
    /// Modes that the device can do.
    pub supported: Vec<String>,
    /// Of these, what is offered to the peer.
    pub advertised: Vec<String>,
    /// What the peer offers.
    pub peer: Vec<String>,
    /// How often the link went down.
    pub downs: Option<u32>,
}

/// `ETHTOOL_A_LINKMODES_*`, `ETHTOOL_A_LINKINFO_PORT`, `ETHTOOL_A_LINKSTATE_*`.
mod attribute {
    pub(super) const AUTONEG: u16 = 2;
    pub(super) const OURS: u16 = 3;
    pub(super) const PEER: u16 = 4;
    pub(super) const SPEED: u16 = 5;
    pub(super) const DUPLEX: u16 = 6;
    pub(super) const LANES: u16 = 9;

    pub(super) const PORT: u16 = 2;

    pub(super) const LINK: u16 = 2;
    pub(super) const DOWNS: u16 = 7;
}

impl Link {
    /// Takes the answer to `ETHTOOL_MSG_LINKMODES_GET`.
    pub(super) fn modes(&mut self, answer: &[u8]) {
        for (number, value) in attributes(answer) {
            match number {
                attribute::AUTONEG => self.autonegotiation = netlink::u8(value).map(|on| on != 0),
                attribute::OURS => {
                    let ours = bits::parse(value);
                    self.advertised = ours
                        .iter()
                        .filter(|bit| bit.set)
                        .map(|bit| bit.name.clone())
                        .collect();
                    self.supported = ours.into_iter().map(|bit| bit.name).collect();
                }
                attribute::PEER => self.peer = bits::set(value),
                // SPEED_UNKNOWN; some drivers say 0.
                attribute::SPEED => {
                    self.speed_mbit_per_s =
                        netlink::u32(value).filter(|speed| !matches!(*speed, 0 | u32::MAX));
                }
                attribute::DUPLEX => {
                    self.full_duplex = match netlink::u8(value) {
                        Some(0) => Some(false),
                        Some(1) => Some(true),
                        _ => None,
                    };
                }
                attribute::LANES => self.lanes = netlink::u32(value),
                _ => {}
            }
        }
    }

    /// Takes the answer to `ETHTOOL_MSG_LINKINFO_GET`.
    pub(super) fn info(&mut self, answer: &[u8]) {
        let port = attributes(answer).find(|(number, _)| *number == attribute::PORT);
        self.port = port.and_then(|(_, value)| match netlink::u8(value)? {
            0 => Some("twisted_pair"),
            1 => Some("aui"),
            2 => Some("mii"),
            3 => Some("fibre"),
            4 => Some("bnc"),
            5 => Some("direct_attach"),
            0xef => Some("none"),
            0xff => Some("other"),
            _ => None,
        });
    }

    /// Takes the answer to `ETHTOOL_MSG_LINKSTATE_GET`.
    pub(super) fn state(&mut self, answer: &[u8]) {
        for (number, value) in attributes(answer) {
            match number {
                attribute::LINK => self.up = netlink::u8(value).map(|up| up != 0),
                attribute::DOWNS => self.downs = netlink::u32(value),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::push;

    #[test]
    fn unknown_is_no_number() {
        for (speed, known) in [(u32::MAX, None), (0, None), (10_000, Some(10_000))] {
            let mut answer = Vec::new();
            push(&mut answer, attribute::SPEED, &speed.to_ne_bytes());
            push(&mut answer, attribute::DUPLEX, &[0xff]);
            push(&mut answer, attribute::AUTONEG, &[0]);
            let mut link = Link::default();
            link.modes(&answer);
            assert_eq!(link.speed_mbit_per_s, known);
            assert_eq!(
                (link.full_duplex, link.autonegotiation),
                (None, Some(false))
            );
        }
        let mut link = Link::default();
        let mut answer = Vec::new();
        push(&mut answer, attribute::PORT, &[3]);
        link.info(&answer);
        link.state(&answer);
        assert_eq!((link.port, link.up), (Some("fibre"), Some(true)));
    }
}
