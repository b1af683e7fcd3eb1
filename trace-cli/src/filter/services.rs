//! Ports by name: a built-in list first, so that common names mean the same on every host, then the host's `/etc/services`.

use super::ast::Transport;

use Transport::{Sctp, Tcp, Udp};

/// A port, and the only transport for which the name stands if it stands for one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) port: u16,
    pub(super) transport: Option<Transport>,
}

/// Why a name gave no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoService {
    Unknown,
    /// The name stands for a port of this other transport.
    Only(Transport),
}

/// pcap's rule: a name of one transport tests that transport too, an ambiguous one only the port.
pub(super) fn lookup(name: &str, wanted: Option<Transport>) -> Result<Service, NoService> {
    let mut entries: Vec<(u16, Transport)> = BUILT_IN
        .iter()
        .filter(|(known, ..)| *known == name)
        .flat_map(|&(_, port, transports)| {
            transports.iter().map(move |&transport| (port, transport))
        })
        .collect();
    if entries.is_empty() {
        entries = std::fs::read_to_string("/etc/services")
            .map(|text| in_file(&text, name))
            .unwrap_or_default();
    }
    let &(port, transport) = entries
        .iter()
        .find(|(_, transport)| wanted.is_none_or(|wanted| wanted == *transport))
        .ok_or(
            entries
                .first()
                .map_or(NoService::Unknown, |&(_, transport)| {
                    NoService::Only(transport)
                }),
        )?;
    let one = wanted.is_some() || entries.iter().all(|(_, other)| *other == transport);
    Ok(Service {
        port,
        transport: one.then_some(transport),
    })
}

fn in_file(text: &str, name: &str) -> Vec<(u16, Transport)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('#').next()?.split_whitespace();
            let service = fields.next()?;
            let (port, transport) = fields.next()?.split_once('/')?;
            let transport = Transport::ALL
                .into_iter()
                .find(|known| known.to_string() == transport)?;
            let named = service == name || fields.any(|alias| alias == name);
            Some((port.parse().ok()?, transport)).filter(|_| named)
        })
        .collect()
}

/// The names known without a file.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|&(name, ..)| name)
}

const BUILT_IN: &[(&str, u16, &[Transport])] = &[
    ("ftp-data", 20, &[Tcp]),
    ("ftp", 21, &[Tcp]),
    ("ssh", 22, &[Tcp]),
    ("telnet", 23, &[Tcp]),
    ("smtp", 25, &[Tcp]),
    ("domain", 53, &[Tcp, Udp]),
    ("bootps", 67, &[Udp]),
    ("bootpc", 68, &[Udp]),
    ("tftp", 69, &[Udp]),
    ("http", 80, &[Tcp]),
    ("www", 80, &[Tcp]),
    ("kerberos", 88, &[Tcp, Udp]),
    ("pop3", 110, &[Tcp]),
    ("sunrpc", 111, &[Tcp, Udp]),
    ("ntp", 123, &[Udp]),
    ("imap2", 143, &[Tcp]),
    ("snmp", 161, &[Tcp, Udp]),
    ("snmp-trap", 162, &[Tcp, Udp]),
    ("bgp", 179, &[Tcp]),
    ("ldap", 389, &[Tcp, Udp]),
    ("https", 443, &[Tcp, Udp]),
    ("isakmp", 500, &[Udp]),
    ("syslog", 514, &[Udp]),
    ("submission", 587, &[Tcp]),
    ("ldaps", 636, &[Tcp, Udp]),
    ("imaps", 993, &[Tcp]),
    ("pop3s", 995, &[Tcp]),
    ("openvpn", 1194, &[Tcp, Udp]),
    ("nfs", 2049, &[Tcp, Udp]),
    ("diameter", 3868, &[Tcp, Sctp]),
    ("mysql", 3306, &[Tcp]),
    ("ipsec-nat-t", 4500, &[Udp]),
    ("vxlan", 4789, &[Udp]),
    ("mdns", 5353, &[Udp]),
    ("postgresql", 5432, &[Tcp]),
    ("redis", 6379, &[Tcp]),
    ("http-alt", 8080, &[Tcp]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_with_its_aliases_and_comments() {
        let text = "# ports\nsmtp 25/tcp mail # the mail\nmail 26/udp\nbroken\nold 9/ddp\n";
        assert_eq!(in_file(text, "mail"), [(25, Tcp), (26, Udp)]);
        assert_eq!(in_file(text, "the"), []);
        assert_eq!(in_file(text, "old"), []);
    }
}
