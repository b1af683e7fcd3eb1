//! What each way of writing means, shown in the canonical form.

use super::parse;

#[test]
fn canonical_forms() {
    let table = [
        ("empty", "", ""),
        ("blank", " \t\n", ""),
        (
            "network protocols",
            "ip or ip6 or arp",
            "(ip or ip6 or arp)",
        ),
        (
            "transport protocols",
            "tcp or udp or sctp",
            "(proto 6 or proto 17 or proto 132)",
        ),
        ("icmp is IPv4's", "icmp", "ip proto 1"),
        ("icmp6 is IPv6's", "icmp6", "ip6 proto 58"),
        (
            "proto by number, name, escaped name",
            r"proto 47 or gre or \tcp",
            "(proto 47 or proto 47 or proto 6)",
        ),
        (
            "proto with a network protocol",
            "ip6 proto 0x3a",
            "ip6 proto 58",
        ),
        ("host", "host 192.0.2.1", "host 192.0.2.1"),
        (
            "host is assumed after an end",
            "src 192.0.2.1",
            "src host 192.0.2.1",
        ),
        ("src or dst", "src or dst host ::1", "host ::1"),
        ("dst or src", "dst or src host ::1", "host ::1"),
        (
            "src and dst",
            "src and dst host ::1",
            "src and dst host ::1",
        ),
        ("dst and src", "dst and src port 53", "src and dst port 53"),
        (
            "host with a network protocol",
            "arp host 192.0.2.1",
            "arp host 192.0.2.1",
        ),
        (
            "host of a network is a net",
            "host 192.0.2.0/24",
            "net 192.0.2.0/24",
        ),
        ("net", "dst net 192.0.2.0/24", "dst net 192.0.2.0/24"),
        ("net of one number", "net 10", "net 10.0.0.0/8"),
        ("net of two numbers", "net 172.16/12", "net 172.16.0.0/12"),
        (
            "net of four numbers is a host",
            "net 192.0.2.0",
            "net 192.0.2.0/32",
        ),
        (
            "net with a mask",
            "net 10.0.0.0 mask 255.0.0.0",
            "net 10.0.0.0/8",
        ),
        (
            "net with a mask with holes",
            "net 10.0.7.0 mask 255.0.255.0",
            "net 10.0.7.0 mask 255.0.255.0",
        ),
        (
            "net of everything",
            "net 0/0 or ::/0",
            "(net 0.0.0.0/0 or net ::/0)",
        ),
        ("net of IPv6", "ip6 net fe80::/10", "ip6 net fe80::/10"),
        ("net of an IPv6 address", "net ::1", "net ::1/128"),
        ("port", "tcp dst port 443", "tcp dst port 443"),
        (
            "port in hexadecimal and octal",
            "port 0x50 or 0120",
            "(port 80 or port 80)",
        ),
        ("service of one transport", "port ssh", "tcp port 22"),
        ("service of several transports", "port domain", "port 53"),
        (
            "service with a transport",
            "udp src port domain",
            "udp src port 53",
        ),
        (
            "portrange",
            "src portrange 6000-6008",
            "src portrange 6000-6008",
        ),
        (
            "portrange turned round",
            "portrange 90-80",
            "portrange 80-90",
        ),
        ("portrange of one", "portrange 80", "port 80"),
        (
            "portrange of services",
            "portrange ftp-data-ssh",
            "tcp portrange 20-22",
        ),
        (
            "lengths",
            "less 64 or greater 0x200",
            "(less 64 or greater 512)",
        ),
        (
            "directions",
            "inbound or outbound or direction loop",
            "(inbound or outbound or direction loop)",
        ),
        (
            "netns by name and inode",
            "netns blue or 4026531840",
            "(netns \"blue\" or netns 4026531840)",
        ),
        ("netns with a name of digits", "netns '7'", "netns \"7\""),
        ("process", "process nginx", "process \"nginx\""),
        (
            "process with a quoted name",
            r#"process "kworker/0:1 \"x\"""#,
            r#"process "kworker/0:1 \"x\"""#,
        ),
        (
            "process with a keyword's name",
            "process tcp",
            "process \"tcp\"",
        ),
        ("pid", "pid 1 or 2", "(pid 1 or pid 2)"),
        (
            "iface",
            "iface eth0.7 or veth1@if2",
            "(iface \"eth0.7\" or iface \"veth1@if2\")",
        ),
        (
            "signs for the joining words",
            "!tcp&&udp||arp",
            "((not proto 6 and proto 17) or arp)",
        ),
        (
            "equal precedence, or first",
            "ip or tcp and udp",
            "((ip or proto 6) and proto 17)",
        ),
        (
            "equal precedence, and first",
            "ip and tcp or udp",
            "((ip and proto 6) or proto 17)",
        ),
        (
            "negation binds most",
            "not tcp or udp",
            "(not proto 6 or proto 17)",
        ),
        ("double negation", "not not tcp", "not not proto 6"),
        (
            "parentheses",
            "ip and (tcp or udp)",
            "(ip and (proto 6 or proto 17))",
        ),
        (
            "needless parentheses",
            "((tcp)) and ((udp and (arp)))",
            "(proto 6 and proto 17 and arp)",
        ),
        (
            "elided: hosts",
            "host 192.0.2.1 or 192.0.2.2",
            "(host 192.0.2.1 or host 192.0.2.2)",
        ),
        (
            "elided: all qualifiers",
            "tcp dst port 80 or 443",
            "(tcp dst port 80 or tcp dst port 443)",
        ),
        (
            "elided: after not",
            "not host ::1 and ::2",
            "(not host ::1 and host ::2)",
        ),
        (
            "elided: negated value",
            "port 80 or not 443",
            "(port 80 or not port 443)",
        ),
        (
            "elided: the last one counts",
            "src port 80 or dst port 90 or 100",
            "(src port 80 or dst port 90 or dst port 100)",
        ),
        (
            "elided: values in parentheses",
            "host ::1 and port (80 or 443)",
            "(host ::1 and (port 80 or port 443))",
        ),
        (
            "elided: into parentheses",
            "port 80 or (443 and 8080)",
            "(port 80 or (port 443 and port 8080))",
        ),
        (
            "elided: not out of parentheses",
            "host ::1 and (port 80) and ::2",
            "(host ::1 and port 80 and host ::2)",
        ),
        (
            "man page: hosts",
            "host ::1 and not port ftp and not port ftp-data",
            "(host ::1 and not tcp port 21 and not tcp port 20)",
        ),
        (
            "man page: elision",
            "tcp dst port ftp or ftp-data or domain",
            "(tcp dst port 21 or tcp dst port 20 or tcp dst port 53)",
        ),
    ];
    for (name, text, canonical) in table {
        assert_eq!(parse(text).to_string(), canonical, "{name}: {text}");
        assert_eq!(parse(canonical), parse(text), "{name}: {canonical} again");
    }
}
