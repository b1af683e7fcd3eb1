//! The errors, word for word.

use super::super::Filter;

#[test]
fn errors() {
    for (text, error) in TABLE {
        let found = Filter::parse(text)
            .map(|filter| filter.to_string())
            .expect_err(text)
            .to_string();
        // In the table the text starts on a line of its own, so that the carets stand under their place.
        assert_eq!(format!("\n{found}"), *error, "{text}");
    }
}

const TABLE: &[(&str, &str)] = &[
    (
        "tpc port 80",
        "
expected a condition, found `tpc`
  tpc port 80
  ^^^
help: did you mean `tcp`?",
    ),
    (
        "TCP",
        "
expected a condition, found `TCP`
  TCP
  ^^^
help: did you mean `tcp`?",
    ),
    (
        "ip or (tcp and",
        "
expected a condition, found the end of the expression
  ip or (tcp and
                ^",
    ),
    (
        "ip or tcp)",
        "
this parenthesis closes nothing
  ip or tcp)
           ^",
    ),
    (
        "(ip or tcp",
        "
this parenthesis is never closed
  (ip or tcp
  ^",
    ),
    (
        "ip (tcp)",
        "
expected `and`, `or` or the end, found `(`
  ip (tcp)
     ^",
    ),
    (
        "tcp udp",
        "
expected `and`, `or` or the end, found `udp`
  tcp udp
      ^^^
help: join two conditions with `and`",
    ),
    (
        "tcp nad udp",
        "
expected `and`, `or` or the end, found `nad`
  tcp nad udp
      ^^^
help: did you mean `and`?",
    ),
    (
        "tcp & udp",
        "
expected `and`, found `&`
  tcp & udp
      ^
help: did you mean `&&`?",
    ),
    (
        "tcp and",
        "
expected a condition, found the end of the expression
  tcp and
         ^",
    ),
    (
        "and tcp",
        "
expected a condition, found `and`
  and tcp
  ^^^",
    ),
    (
        "not",
        "
expected a condition, found the end of the expression
  not
     ^",
    ),
    (
        "host example.org",
        "
`example.org` is a host name; only addresses are looked up
  host example.org
       ^^^^^^^^^^^
help: give the address itself, such as 192.0.2.1 or 2001:db8::1",
    ),
    (
        "src example and tcp",
        "
`example` is a host name; only addresses are looked up
  src example and tcp
      ^^^^^^^
help: give the address itself, such as 192.0.2.1 or 2001:db8::1",
    ),
    (
        "host 192.0.2",
        "
`192.0.2` is not a whole IPv4 address
  host 192.0.2
       ^^^^^^^
help: for the network use `net 192.0.2`",
    ),
    (
        "host 192.0.2.300",
        "
`192.0.2.300` is not a whole IPv4 address
  host 192.0.2.300
       ^^^^^^^^^^^",
    ),
    (
        "host fe80:::1",
        "
`fe80:::1` is not an IPv6 address
  host fe80:::1
       ^^^^^^^^",
    ),
    (
        "host 02:00:00:00:00:01",
        "
an Ethernet address is part of pcap-filter syntax and not supported yet
  host 02:00:00:00:00:01
       ^^^^^^^^^^^^^^^^^
help: use the packet's IP addresses",
    ),
    (
        "host",
        "
expected an IPv4 or IPv6 address, found the end of the expression
  host
      ^",
    ),
    (
        "host tcp",
        "
expected an IPv4 or IPv6 address, found `tcp`
  host tcp
       ^^^",
    ),
    (
        "src",
        "
expected `host`, `net`, `port`, `portrange` or an address, found the end of the expression
  src
     ^",
    ),
    (
        "src port",
        "
expected a port's number or service name, found the end of the expression
  src port
          ^",
    ),
    (
        "192.0.2.1",
        "
expected a keyword before the value, found `192.0.2.1`
  192.0.2.1
  ^^^^^^^^^
help: did you mean `host 192.0.2.1`?",
    ),
    (
        "80",
        "
expected a keyword before the value, found `80`
  80
  ^^
help: did you mean `port 80`?",
    ),
    (
        "(port 80) or 443",
        "
expected a keyword before the value, found `443`
  (port 80) or 443
               ^^^
help: did you mean `port 443`?",
    ),
    (
        "tcp or 443",
        "
expected a keyword before the value, found `443`
  tcp or 443
         ^^^
help: did you mean `port 443`?",
    ),
    (
        "tcp host 192.0.2.1",
        "
`tcp` cannot qualify `host`
  tcp host 192.0.2.1
  ^^^
help: did you mean `tcp and host …`?",
    ),
    (
        "ip port 80",
        "
`ip` cannot qualify `port`
  ip port 80
  ^^
help: did you mean `ip and port …`?",
    ),
    (
        "ip host ::1",
        "
`ip` has no IPv6 addresses
  ip host ::1
          ^^^",
    ),
    (
        "net 10.0.0.1/8",
        "
the address has bits outside the network's mask
  net 10.0.0.1/8
      ^^^^^^^^^^
help: did you mean `10.0.0.0/8`?",
    ),
    (
        "net 2001:db8::1/32",
        "
the address has bits outside the network's mask
  net 2001:db8::1/32
      ^^^^^^^^^^^^^^
help: did you mean `2001:db8::/32`?",
    ),
    (
        "net 10.0.0.0/33",
        "
expected a length from 0 to 32 after the `/`, found `33`
  net 10.0.0.0/33
               ^^",
    ),
    (
        "net localnet",
        "
`localnet` is a network's name; only addresses are looked up
  net localnet
      ^^^^^^^^
help: give the network itself, such as 192.0.2.0/24 or 2001:db8::/32",
    ),
    (
        "net fe80:: mask 255.0.0.0",
        "
an IPv6 network takes no mask
  net fe80:: mask 255.0.0.0
             ^^^^
help: use `fe80::/LENGTH`",
    ),
    (
        "net 10 mask x",
        "
expected a mask such as 255.255.255.0, found `x`
  net 10 mask x
              ^",
    ),
    (
        "port 70000",
        "
`70000` is more than 65535, the highest port
  port 70000
       ^^^^^",
    ),
    (
        "port 080",
        "
`080` starts with 0 and so is octal, but has a digit above 7
  port 080
       ^^^",
    ),
    (
        "port htpt",
        "
expected a port's number or service name, found `htpt`
  port htpt
       ^^^^
help: did you mean `http`?",
    ),
    (
        "port 80-90",
        "
expected a port's number or service name, found `80-90`
  port 80-90
       ^^^^^
help: a range is `portrange 6000-6008`",
    ),
    (
        "udp port http",
        "
`http` is a service of tcp only
  udp port http
           ^^^^",
    ),
    (
        "portrange a-b",
        "
expected a range of ports such as 6000-6008, found `a-b`
  portrange a-b
            ^^^
help: write the first and the last port, joined by `-`",
    ),
    (
        "proto 256",
        "
`256` is more than 255, the highest protocol
  proto 256
        ^^^",
    ),
    (
        "proto upd",
        "
expected an IP protocol's number or name after `proto`, found `upd`
  proto upd
        ^^^
help: did you mean `udp`?",
    ),
    (
        "less many",
        "
expected a length in bytes after `less`, found `many`
  less many
       ^^^^",
    ),
    (
        "less 99999999999",
        "
`99999999999` is more than 4294967295
  less 99999999999
       ^^^^^^^^^^^",
    ),
    (
        "direction recieve",
        "
expected `receive`, `transmit`, `forward` or `loop`, found `recieve`
  direction recieve
            ^^^^^^^
help: did you mean `receive`?",
    ),
    (
        "direction nods",
        "
802.11's `direction nods` is part of pcap-filter syntax and not supported yet
  direction nods
            ^^^^",
    ),
    (
        "direction",
        "
expected `receive`, `transmit`, `forward` or `loop`, found the end of the expression
  direction
           ^",
    ),
    (
        "pid nginx",
        "
expected a process ID after `pid`, found `nginx`
  pid nginx
      ^^^^^",
    ),
    (
        "process kworker/0:1",
        "
`/` cannot stand in a name without quotes
  process kworker/0:1
                 ^
help: put the name in double quotes",
    ),
    (
        "process nginx or prot 80",
        r#"
`prot` could be a name or a slip
  process nginx or prot 80
                   ^^^^
help: write `port`, or "prot" in quotes for the name"#,
    ),
    (
        r#"process "nginx"#,
        r#"
this quote is never closed
  process "nginx
          ^^^^^^"#,
    ),
    (
        "ip # comment",
        "
`#` has no meaning in a filter expression
  ip # comment
     ^",
    ),
    (
        "日本 and tcp",
        "
expected a condition, found `日本`
  日本 and tcp
  ^^^^",
    ),
    (
        "tcp and\tprot 80",
        "
expected a condition, found `prot`
  tcp and prot 80
          ^^^^
help: did you mean `port`?",
    ),
    (
        "ether host 02:00:00:00:00:01",
        "
`ether` is part of pcap-filter syntax and not supported yet
  ether host 02:00:00:00:00:01
  ^^^^^",
    ),
    (
        "vlan 100",
        "
`vlan` is part of pcap-filter syntax and not supported yet
  vlan 100
  ^^^^",
    ),
    (
        "broadcast",
        "
`broadcast` is part of pcap-filter syntax and not supported yet
  broadcast
  ^^^^^^^^^",
    ),
    (
        "ip broadcast",
        "
`ip broadcast` is part of pcap-filter syntax and not supported yet
  ip broadcast
  ^^^^^^^^^^^^",
    ),
    (
        "gateway router",
        "
`gateway` is part of pcap-filter syntax and not supported yet
  gateway router
  ^^^^^^^",
    ),
    (
        "mpls",
        "
`mpls` is part of pcap-filter syntax and not supported yet
  mpls
  ^^^^",
    ),
    (
        "src gateway x",
        "
`gateway` is part of pcap-filter syntax and not supported yet
  src gateway x
      ^^^^^^^",
    ),
    (
        "tcp[13] & 2 != 0",
        "
looking at bytes (`tcp[…]`) is part of pcap-filter syntax and not supported yet
  tcp[13] & 2 != 0
  ^^^^^^^",
    ),
    (
        "tcp and tcp[tcpflags] & tcp-syn != 0",
        "
looking at bytes (`tcp[…]`) is part of pcap-filter syntax and not supported yet
  tcp and tcp[tcpflags] & tcp-syn != 0
          ^^^^^^^^^^^^^",
    ),
    (
        "len > 100",
        "
`len` is part of pcap-filter syntax and not supported yet
  len > 100
  ^^^
help: use `less N` or `greater N`",
    ),
    (
        "1 + 1 = 2",
        "
arithmetic on numbers is part of pcap-filter syntax and not supported yet
  1 + 1 = 2
  ^",
    ),
    (
        "icmp-echo = 8",
        "
`icmp-echo` is part of pcap-filter syntax and not supported yet
  icmp-echo = 8
  ^^^^^^^^^",
    ),
    (
        "ifname eth0",
        "
`ifname` is part of pcap-filter syntax and not supported yet
  ifname eth0
  ^^^^^^
help: for an interface use `iface NAME`",
    ),
    (
        "host 192.0.2.1 > 5",
        "
expected `and`, `or` or the end, found `>`
  host 192.0.2.1 > 5
                 ^",
    ),
];
