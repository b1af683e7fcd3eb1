//! Protocol counters: all that `nstat` shows, by the names that it gives them.
//!
//! `/proc/net/snmp` and `netstat` (`net/ipv4/proc.c`) have pairs of lines `Group: name name …` and `Group: value value …`;
//! `snmp6` (`net/ipv6/proc.c`) and `sctp/snmp` one line a counter. Names come from the file, never from us: kernels add some
//! with each release.

mod loss;

use std::{collections::BTreeMap, io};

use serde::Serialize;

use super::{SectionError, files::Files, growth::Growth};

pub use loss::{LOSS, meaning};

const SECTION: &str = "protocols";
/// What is no counter: settings, and one number of connections.
const GAUGES: [&str; 7] = [
    "IpForwarding",
    "IpDefaultTTL",
    "TcpRtoAlgorithm",
    "TcpRtoMin",
    "TcpRtoMax",
    "TcpMaxConn",
    "TcpCurrEstab",
];

/// All protocol counters of a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Protocols {
    /// Counters, by name (`TcpRetransSegs`, `Udp6RcvbufErrors`, …).
    pub counters: BTreeMap<String, u64>,
    /// Values of these files that are no counters (`TcpCurrEstab`, `IpForwarding`, …); -1 is the kernel's "no limit".
    pub gauges: BTreeMap<String, i64>,
}

impl Protocols {
    /// One counter, if this kernel has it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    fn add(&mut self, name: String, value: &str) {
        if GAUGES.contains(&name.as_str()) {
            if let Ok(value) = value.parse() {
                self.gauges.insert(name, value);
            }
        } else if let Ok(value) = value.parse() {
            self.counters.insert(name, value);
        }
    }
}

impl Growth for Protocols {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            counters: self.counters.since(&earlier.counters),
            gauges: self.gauges.clone(),
        }
    }
}

/// Reads them. IPv6 and SCTP may be missing.
///
/// # Errors
/// If IPv4's cannot be read.
pub fn read(files: &Files) -> Result<Protocols, SectionError> {
    let mut protocols = Protocols::default();
    for name in ["snmp", "netstat"] {
        let text = files
            .net(name)
            .map_err(|error| SectionError::io(SECTION, format!("/proc/net/{name}"), &error))?;
        pairs(&text, &mut protocols);
    }
    for name in ["snmp6", "sctp/snmp"] {
        match files.net(name) {
            Ok(text) => lines(&text, &mut protocols),
            // Not built in, not loaded, or switched off.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(SectionError::io(
                    SECTION,
                    format!("/proc/net/{name}"),
                    &error,
                ));
            }
        }
    }
    Ok(protocols)
}

/// Reads pairs of lines `Group: name name …`, `Group: value value …`; what does not pair up is passed over.
pub fn pairs(text: &str, protocols: &mut Protocols) {
    let mut heading: Option<(&str, &str)> = None;
    for line in text.lines() {
        let Some((group, rest)) = line.split_once(':') else {
            heading = None;
            continue;
        };
        match heading.take() {
            Some((of, names)) if of == group => {
                for (name, value) in names.split_whitespace().zip(rest.split_whitespace()) {
                    protocols.add(format!("{group}{name}"), value);
                }
            }
            _ => heading = Some((group, rest)),
        }
    }
}

/// Reads lines `name value`.
pub fn lines(text: &str, protocols: &mut Protocols) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) {
            protocols.add(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SNMP: &str = "\
Tcp: RtoAlgorithm RtoMin MaxConn CurrEstab RetransSegs
Tcp: 1 200 -1 3 12
IcmpMsg: InType3 OutType3
IcmpMsg: 1 2
Udp: InDatagrams NoPorts NewInLaterKernels
Udp: 18446744073709551615 2 5
";

    fn parsed(text: &str) -> Protocols {
        let mut protocols = Protocols::default();
        pairs(text, &mut protocols);
        protocols
    }

    #[test]
    fn counters_have_nstats_names() {
        let protocols = parsed(SNMP);
        assert_eq!(protocols.get("TcpRetransSegs"), Some(12));
        assert_eq!(protocols.get("IcmpMsgOutType3"), Some(2));
        assert_eq!(protocols.get("UdpInDatagrams"), Some(u64::MAX));
        assert_eq!(protocols.get("UdpNewInLaterKernels"), Some(5));
        assert_eq!(protocols.get("TcpNoSuch"), None);
        assert_eq!(protocols.gauges["TcpMaxConn"], -1);
        assert_eq!(protocols.gauges["TcpCurrEstab"], 3);
    }

    #[test]
    fn lines_that_do_not_pair_up_are_passed_over() {
        let protocols = parsed("Ip: InReceives\nTcp: InSegs\nTcp: 5\nnonsense\nUdp: NoPorts\n");
        assert_eq!(
            protocols.counters,
            BTreeMap::from([("TcpInSegs".to_owned(), 5)])
        );
    }

    #[test]
    fn one_line_a_counter() {
        let mut protocols = Protocols::default();
        lines(
            "Ip6InReceives  \t7\nIp6Bad\nIp6Worse x\nIp6OutRequests 8\n",
            &mut protocols,
        );
        assert_eq!(protocols.get("Ip6InReceives"), Some(7));
        assert_eq!(protocols.counters.len(), 2);
    }

    #[test]
    fn growth_is_of_counters_only() {
        let growth = parsed("Tcp: CurrEstab InSegs\nTcp: 4 9\n")
            .since(&parsed("Tcp: CurrEstab InSegs\nTcp: 1 5\n"));
        assert_eq!(growth.get("TcpInSegs"), Some(4));
        assert_eq!(growth.gauges["TcpCurrEstab"], 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in ".*", cut in 0..SNMP.len()) {
            parsed(&text);
            lines(&text, &mut Protocols::default());
            // A cut file gives no counter that the whole one has not; at most the last value is cut short.
            let (whole, part) = (parsed(SNMP), parsed(&SNMP[..cut]));
            let differing = part.counters.iter().filter(|(name, value)| whole.get(name) != Some(**value));
            prop_assert!(differing.count() <= 1);
        }
    }
}
