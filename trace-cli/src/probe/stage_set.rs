//! How many of the hooks are attached (`--stages`): each costs every packet that passes it, and many bound a stage that
//! few ever ask for.

use std::{fmt, str::FromStr};

/// Which stages are wanted, from cheap to dear. Each set has the hooks of those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum StageSet {
    /// Where packets wait, end and change hands: devices, qdiscs, sockets.
    Few,
    /// The way through the layers too; not what the CPU did around it.
    Standard,
    /// Every hook in the catalogue.
    #[default]
    All,
}

/// By name in the catalogue. What is read of a TCP packet, and how a bare one ends, is known by its socket only: those hooks
/// cost nothing to others.
const FEW: &[&str] = &[
    "receive",
    "transport_done",
    "tcp_socket",
    "tcp_backlog",
    "queued",
    "copy",
    "recv_exit",
    "retransmit",
    "dev_queue",
    "qdisc_enqueue",
    "qdisc_dequeue",
    "consume",
    "drop",
];
/// … besides [`FEW`]. Without the poll's own hooks, and without those between two that are there already.
const STANDARD: &[&str] = &[
    "gro",
    "gro_done",
    "backlog",
    "ip",
    "nf_enter",
    "nf_leave",
    "forward",
    "transport",
    "waking",
    "recv_udp",
    "send",
    "write",
    "send_exit",
    "tcp_transmit",
    // netfilter's POSTROUTING can be the first else to see a packet of ours, at an address that was freed unseen
    "ip_output",
    "ip6_xmit",
    "start_xmit",
    "xmit_done",
    // not in `FEW`: it would tell of each packet that GRO merged, which is told of by hooks that are not there
    "freed",
];

impl StageSet {
    /// The name used on the command line and in all output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Few => "few",
            Self::Standard => "standard",
            Self::All => "all",
        }
    }

    /// Whether the hook of this name is attached.
    pub fn has(self, hook: &str) -> bool {
        match self {
            Self::All => true,
            Self::Standard => FEW.contains(&hook) || STANDARD.contains(&hook),
            Self::Few => FEW.contains(&hook),
        }
    }
}

impl fmt::Display for StageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StageSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Few, Self::Standard, Self::All]
            .into_iter()
            .find(|set| set.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of all, standard, few"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::catalogue::CATALOGUE;

    #[test]
    fn sets_name_hooks_of_the_catalogue() {
        for name in FEW.iter().chain(STANDARD) {
            assert!(CATALOGUE.iter().any(|spec| spec.name == *name), "{name}");
        }
        assert!(!FEW.iter().any(|name| STANDARD.contains(name)));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for set in [StageSet::Few, StageSet::Standard, StageSet::All] {
            assert_eq!(set.as_str().parse(), Ok(set));
        }
        assert!("most".parse::<StageSet>().is_err());
    }
}
