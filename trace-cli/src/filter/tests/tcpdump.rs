//! The same expression over the same packets, here and in tcpdump, where there is a tcpdump.

use std::fs;
use std::process::Command;

use super::super::{Direction, Network, Subject};
use super::{address, parse, tcp};

const EXPRESSIONS: &[&str] = &[
    "ip",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "proto 17",
    r"ip proto \tcp",
    "host 192.0.2.1",
    "src 192.0.2.1",
    "dst host 2001:db8::1",
    "src and dst net 192.0.2.0/24",
    "net 192.0.2.0/24",
    "net 192.0.0.1 mask 255.0.0.255",
    "not net 2001:db8::/32",
    "port 53",
    "udp port domain",
    "tcp dst port 80 or 443",
    "portrange 50-60",
    "src portrange 60-50",
    "less 70",
    "greater 70",
    "tcp or udp and port 53",
    "port 53 and udp or tcp",
    "not tcp or udp",
    "not (tcp or udp)",
    "not host 192.0.2.1 and 192.0.2.2",
    "host 192.0.2.1 and (port 80) and 192.0.2.2",
    "port 80 or not 443",
    "host 192.0.2.1 and port (80 or 53)",
    "not port 53 and 80 or 443",
    "ip host 192.0.2.1 and not 192.0.2.2",
    "tcp && ! port 443 || icmp6",
    "port 443 and not src 192.0.2.2",
];

fn subjects() -> Vec<Subject<'static>> {
    let v4 = [
        ("192.0.2.1", "192.0.2.2"),
        ("192.0.2.2", "192.0.2.1"),
        ("192.7.7.1", "192.0.2.1"),
        ("192.0.2.2", "192.7.7.1"),
    ];
    let v6 = [("2001:db8::1", "2001:db8::2"), ("fe80::1", "2001:db8::1")];
    let mut all = Vec::new();
    for (src, dst) in v4.into_iter().chain(v6) {
        for protocol in [1, 6, 17, 58] {
            for (src_port, dst_port) in [(40000, 80), (443, 40000), (53, 53), (55, 80)] {
                let (src, dst) = (address(src), address(dst));
                let (network, ether_type) = if src.is_ipv6() {
                    (Network::V6, 0x86dd)
                } else {
                    (Network::V4, 0x0800)
                };
                let ports = matches!(protocol, 6 | 17);
                all.push(Subject {
                    ether_type,
                    network: Some(network),
                    protocol: Some(protocol),
                    src: Some(src),
                    dst: Some(dst),
                    src_port: ports.then_some(src_port),
                    dst_port: ports.then_some(dst_port),
                    direction: Direction::Receive,
                    ..tcp()
                });
            }
        }
    }
    all
}

/// The packet as a frame: Ethernet, IP, and 20 bytes that begin with the ports.
fn frame(p: &Subject<'_>) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(p.ether_type.to_be_bytes());
    let protocol = p.protocol.unwrap_or_default();
    match (p.src, p.dst) {
        (Some(std::net::IpAddr::V4(src)), Some(std::net::IpAddr::V4(dst))) => {
            frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        (Some(std::net::IpAddr::V6(src)), Some(std::net::IpAddr::V6(dst))) => {
            frame.extend([0x60, 0, 0, 0, 0, 20, protocol, 64]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        }
        _ => unreachable!("both ends are of one family"),
    }
    for port in [p.src_port, p.dst_port] {
        frame.extend(port.unwrap_or_default().to_be_bytes());
    }
    frame.extend([0; 16]);
    frame
}

/// A pcap file of Ethernet frames; the index of each is its time in seconds.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 65535, 1] {
        file.extend(field.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        for field in [index, 0, frame.len(), frame.len()] {
            file.extend(
                u32::try_from(field)
                    .expect("few and short frames")
                    .to_le_bytes(),
            );
        }
        file.extend(frame);
    }
    file
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn tcpdump_agrees() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        eprintln!("skipped: there is no tcpdump");
        return;
    }
    let mut subjects = subjects();
    let frames: Vec<_> = subjects.iter().map(frame).collect();
    for (subject, frame) in subjects.iter_mut().zip(&frames) {
        subject.len = u32::try_from(frame.len()).expect("a short frame");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("all.pcap");
    fs::write(&file, pcap(&frames)).expect("a pcap file");
    for text in EXPRESSIONS {
        let output = Command::new("tcpdump")
            .args(["-n", "-tt", "-r"])
            .arg(&file)
            .arg(text)
            .output()
            .expect("tcpdump runs");
        assert!(
            output.status.success(),
            "{text}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let theirs: Vec<usize> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.split_once(".000000 ")?.0.parse().ok())
            .collect();
        let filter = parse(text);
        let ours: Vec<usize> = (0..subjects.len())
            .filter(|&index| filter.matches(&subjects[index]))
            .collect();
        assert_eq!(ours, theirs, "{text}");
        assert!(
            !ours.is_empty() && ours.len() < subjects.len(),
            "{text} tells packets apart"
        );
    }
}
