use super::*;

fn bytes(parts: &[&[u8]]) -> [u8; PACKET_BYTES] {
    let mut out = [0; PACKET_BYTES];
    for (to, from) in out.iter_mut().zip(parts.concat()) {
        *to = from;
    }
    out
}

/// An IPv4 header: words of options, total length, fragment field, protocol.
fn v4(options: u8, total: u16, fragment: u16, protocol: u8) -> Vec<u8> {
    let [t1, t0] = total.to_be_bytes();
    let [f1, f0] = fragment.to_be_bytes();
    let mut header = vec![
        0x45 + options,
        0,
        t1,
        t0,
        0x12,
        0x34,
        f1,
        f0,
        63,
        protocol,
        0,
        0,
    ];
    header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    header.resize(20 + usize::from(options) * 4, 1);
    header
}

fn v6(payload: u16, next: u8) -> Vec<u8> {
    let [p1, p0] = payload.to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, p1, p0, next, 62];
    header.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    header.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    header
}

/// Ports 4000 → 80, seq 0x01020304, ack 5, `words` of header.
fn tcp(words: u8, flags: u8) -> Vec<u8> {
    let mut header = vec![0x0f, 0xa0, 0, 80, 1, 2, 3, 4, 0, 0, 0, 5, words << 4, flags];
    header.resize(usize::from(words) * 4, 0);
    header
}

const UDP_HEADER: &[u8] = &[0x0f, 0xa0, 0, 53, 0, 40, 0, 0];

#[test]
fn ipv4_tcp_counts_its_payload_from_the_ip_length() {
    let flow = parse(
        &bytes(&[&v4(0, 1500, 0x4000, 6), &tcp(8, 0x18)]),
        0x0800,
        9999,
    )
    .unwrap();
    assert_eq!(flow.ports, Some((4000, 80)));
    let tcp = flow.tcp.unwrap();
    assert_eq!((tcp.seq, tcp.ack, tcp.flags), (0x0102_0304, 5, 0x18));
    assert_eq!(tcp.payload, 1500 - 20 - 32);
    assert_eq!(
        (flow.ip_id, flow.ttl, flow.fragment),
        (Some(0x1234), 63, None)
    );
}

#[test]
fn options_move_the_transport_header() {
    let flow = parse(&bytes(&[&v4(5, 100, 0, 17), UDP_HEADER]), 0x0800, 100).unwrap();
    assert_eq!(flow.ports, Some((4000, 53)));
    // All ten words of options: of the TCP header the ports are there, and no more.
    let cut = parse(&bytes(&[&v4(10, 100, 0, 6), &tcp(5, 2)]), 0x0800, 100).unwrap();
    assert_eq!(cut.ports, Some((4000, 80)));
    assert_eq!(cut.tcp, None);
}

#[test]
fn a_gso_packet_too_long_for_its_length_field_uses_the_sk_buffs() {
    let long = parse(&bytes(&[&v4(0, 0, 0, 6), &tcp(5, 16)]), 0x0800, 100_040).unwrap();
    assert_eq!(long.tcp.unwrap().payload, 100_000);
    let jumbo = parse(&bytes(&[&v6(0, 6), &tcp(5, 16)]), 0x86dd, 100_060).unwrap();
    assert_eq!(jumbo.tcp.unwrap().payload, 100_000);
}

#[test]
fn later_fragments_have_no_ports() {
    let first = parse(
        &bytes(&[&v4(0, 1500, 0x2000, 17), UDP_HEADER]),
        0x0800,
        1500,
    )
    .unwrap();
    assert_eq!(
        (first.ports, first.fragment),
        (Some((4000, 53)), Some((0, true)))
    );
    let later = parse(&bytes(&[&v4(0, 500, 185, 17), UDP_HEADER]), 0x0800, 500).unwrap();
    assert_eq!((later.ports, later.fragment), (None, Some((1480, false))));
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let hop = [43u8, 0, 5, 2, 0, 0, 1, 0];
    let routing = [17u8, 0, 0, 0, 0, 0, 0, 0];
    let packet = bytes(&[&v6(24, 0), &hop, &routing, UDP_HEADER]);
    let flow = parse(&packet, 0x86dd, 64).unwrap();
    assert_eq!((flow.protocol, flow.ports), (17, Some((4000, 53))));
    assert_eq!(flow.ttl, 62);

    let fragment = [17u8, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef];
    let first = parse(&bytes(&[&v6(100, 44), &fragment, UDP_HEADER]), 0x86dd, 140).unwrap();
    assert_eq!(first.ip_id, Some(0xdead_beef));
    assert_eq!(
        (first.fragment, first.ports),
        (Some((0, true)), Some((4000, 53)))
    );

    let later = [17u8, 0, 5, 0xa8, 0, 0, 0, 1];
    let later = parse(&bytes(&[&v6(100, 44), &later, UDP_HEADER]), 0x86dd, 140).unwrap();
    assert_eq!((later.fragment, later.ports), (Some((1448, false)), None));
}

#[test]
fn ipv6_tcp_behind_an_extension_counts_it_out() {
    let hop = [6u8, 0, 5, 2, 0, 0, 1, 0];
    let flow = parse(
        &bytes(&[&v6(8 + 20 + 100, 0), &hop, &tcp(5, 16)]),
        0x86dd,
        168,
    )
    .unwrap();
    // The flags are the 62nd byte.
    assert_eq!(flow.tcp.unwrap().payload, 100);
}

#[test]
fn an_extension_header_that_runs_out_of_the_bytes_leaves_the_rest_unknown() {
    let long = [17u8, 200, 5, 2, 0, 0, 1, 0];
    let flow = parse(&bytes(&[&v6(2000, 0), &long]), 0x86dd, 2040).unwrap();
    assert_eq!((flow.protocol, flow.ports), (17, None));
}

#[test]
fn icmp_has_type_and_code() {
    let flow = parse(&bytes(&[&v4(0, 84, 0, 1), &[8, 0]]), 0x0800, 84).unwrap();
    assert_eq!(flow.icmp, Some((8, 0)));
    let reply = parse(&bytes(&[&v6(64, 58), &[129, 0]]), 0x86dd, 104).unwrap();
    assert!(is_echo_reply(&reply));
}

#[test]
fn what_is_not_ip_has_no_flow() {
    assert_eq!(parse(&[0; PACKET_BYTES], 0x0806, 28), None);
    assert_eq!(parse(&[0; PACKET_BYTES], 0x0800, 28), None);
    assert_eq!(parse(&bytes(&[&[0x41]]), 0x0800, 28), None);
    // No ethertype yet: the version tells.
    assert!(parse(&bytes(&[&v4(0, 84, 0, 1)]), 0, 84).is_some());
}

#[test]
fn forwarding_and_nat_keep_a_packet_itself_and_the_next_packet_is_another() {
    let packet = |ip: Vec<u8>, seq: u8| {
        let mut header = tcp(5, 16);
        header[7] = seq;
        parse(&bytes(&[&ip, &header]), 0x0800, 140).unwrap()
    };
    let a = packet(v4(0, 140, 0, 6), 1);
    let mut natted = v4(0, 140, 0, 6);
    natted[8] -= 1;
    natted[12..16].copy_from_slice(&[192, 0, 2, 9]);
    assert!(may_be_same_packet(&a, &packet(natted, 1)));
    assert!(!may_be_same_packet(&a, &packet(v4(0, 140, 0, 6), 2)));
}

#[test]
fn no_bytes_do_harm() {
    let mut random = crate::decode::tests::Random(7);
    for _ in 0..200_000 {
        let mut bytes = [0; PACKET_BYTES];
        bytes.fill_with(|| random.next() as u8);
        if random.below(2) == 0 {
            bytes[0] = [0x45, 0x60, 0x4f][random.below(3) as usize];
            bytes[6] = [0, 43, 44, 51, 60, 6, 17][random.below(7) as usize];
        }
        let _ = parse(
            &bytes,
            [0x0800, 0x86dd, 0][random.below(3) as usize],
            random.next() as u32,
        );
    }
}
