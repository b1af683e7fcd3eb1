//! A flow in one line: `10.0.0.1:1234 → 10.0.0.2:80 tcp [S]`.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::aggregate::drops::FiveTuple;
use crate::journey::model::Flow;
use crate::sink::names;

/// Addresses, ports and protocol.
pub(super) fn tuple(flow: FiveTuple) -> String {
    format!(
        "{} → {} {}",
        endpoint(flow.source, flow.ports.map(|p| p.0)),
        endpoint(flow.destination, flow.ports.map(|p| p.1)),
        names::protocol(flow.protocol)
    )
}

/// The same with what sets this packet apart from the flow's others.
pub(super) fn packet(flow: &Flow) -> String {
    let mut text = tuple(flow.into());
    let mut add =
        |part: std::fmt::Arguments<'_>| text.write_fmt(part).expect("a string takes everything");
    if let Some(tcp) = flow.tcp {
        add(format_args!(" [{}]", flags(tcp.flags)));
    }
    if let Some((kind, code)) = flow.icmp {
        match icmp(flow.protocol, kind) {
            Some(name) if code == 0 => add(format_args!(" {name}")),
            Some(name) => add(format_args!(" {name} (code {code})")),
            None => add(format_args!(" type {kind} code {code}")),
        }
    }
    if let Some((offset, more)) = flow.fragment {
        add(format_args!(
            " fragment at {offset}{}",
            if more { "+" } else { "" }
        ));
    }
    text
}

fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

/// As tcpdump has them: `S`, `S.`, `P.`, `.`.
fn flags(flags: u8) -> String {
    let letters = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];
    let text: String = letters
        .iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 == 1)
        .map(|(_, letter)| letter)
        .filter(|&&letter| letter != '.')
        .collect();
    match (flags >> 4 & 1 == 1, text.is_empty()) {
        (true, _) => text + ".",
        (false, true) => "none".to_owned(),
        (false, false) => text,
    }
}

/// The usual ICMP and ICMPv6 types.
const fn icmp(protocol: u8, kind: u8) -> Option<&'static str> {
    Some(match (protocol, kind) {
        (1, 0) | (58, 129) => "echo reply",
        (1, 8) | (58, 128) => "echo request",
        (1, 3) | (58, 1) => "unreachable",
        (1, 5) | (58, 137) => "redirect",
        (1, 11) | (58, 3) => "time exceeded",
        (58, 2) => "packet too big",
        (58, 133) => "router solicitation",
        (58, 134) => "router advertisement",
        (58, 135) => "neighbour solicitation",
        (58, 136) => "neighbour advertisement",
        (58, 143) => "multicast listener report",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::sample;

    #[test]
    fn flows() {
        let flow = sample::flow();
        assert_eq!(packet(&flow), "10.0.0.1:1234 → 10.0.0.2:80 tcp [P.]");
        let ping = Flow {
            protocol: 1,
            ports: None,
            tcp: None,
            icmp: Some((8, 0)),
            ..flow
        };
        assert_eq!(packet(&ping), "10.0.0.1 → 10.0.0.2 icmp echo request");
        let odd = Flow {
            icmp: Some((42, 3)),
            ..ping
        };
        assert_eq!(packet(&odd), "10.0.0.1 → 10.0.0.2 icmp type 42 code 3");
        let part = Flow {
            protocol: 17,
            ports: None,
            tcp: None,
            fragment: Some((1480, true)),
            ..flow
        };
        assert_eq!(packet(&part), "10.0.0.1 → 10.0.0.2 udp fragment at 1480+");
        let six = FiveTuple {
            source: "fe80::1".parse().expect("an address"),
            destination: "::1".parse().expect("an address"),
            protocol: 253,
            ports: Some((1, 2)),
        };
        assert_eq!(tuple(six), "[fe80::1]:1 → [::1]:2 253");
    }

    #[test]
    fn tcp_flags_are_tcpdumps() {
        for (bits, text) in [
            (0x02, "S"),
            (0x12, "S."),
            (0x10, "."),
            (0x11, "F."),
            (0, "none"),
            (0x04, "R"),
        ] {
            assert_eq!(flags(bits), text);
        }
    }
}
