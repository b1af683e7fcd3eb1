//! Files as other kernels write them: of Linux 5.10 and 6.18, cut short, changed, and with columns and lines that nobody knows yet.

use std::{fs, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Machine, files::Files, growth::Growth as _, interrupts, protocols, sockets, softirq, tables,
};

/// A file below `/proc`, and what it says on a kernel.
type File = (&'static str, &'static str);

const SOCKSTAT: &str = "\
sockets: used 22
TCP: inuse 5 orphan 1 tw 2 alloc 9 mem 217
UDP: inuse 3 mem 107
FRAG: inuse 1 memory 4096
";
const SOFTIRQS: &str = "\
                    CPU0       CPU1
      NET_TX:          1          2
      NET_RX:          3          4
";
const INTERRUPTS: &str = "\
           CPU0       CPU1
  24:          0       8138   PCI-MSI 49152-edge      eth0-input.0
 NMI:          1          2   Non-maskable interrupts
";

/// Linux 5.10: no CPU's name but in the thirteenth column of softnet_stat, `searched` and `delete_list` in nf_conntrack.
const OLD: &[File] = &[
    (
        "net/softnet_stat",
        "004f19b1 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000006 00000007 00000000\n\
         0036a3f7 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001\n",
    ),
    ("net/sockstat", SOCKSTAT),
    ("net/sockstat6", "TCP6: inuse 1\nFRAG6: inuse 0 memory 0\n"),
    ("softirqs", SOFTIRQS),
    ("interrupts", INTERRUPTS),
    (
        "net/snmp",
        "Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 100\nUdp: InDatagrams NoPorts\nUdp: 18 2\n",
    ),
    (
        "net/netstat",
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 3 4\n",
    ),
    (
        "net/snmp6",
        "Ip6InReceives                   \t7\nUdp6NoPorts                     \t1\n",
    ),
    (
        "net/stat/nf_conntrack",
        "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop\n\
         00000003  00000000 00000001 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000004 00000000\n\
         00000003  00000000 00000001 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000001 00000000\n",
    ),
    (
        "net/stat/arp_cache",
        "entries  allocs destroys table_fulls\n0000001a  000005ec 00000001 00000002\n",
    ),
];
/// Linux 6.18: two more columns of softnet_stat, `clashres` and `chainlength` in nf_conntrack, more counters.
const NEW: &[File] = &[
    (
        "net/softnet_stat",
        "004f19b1 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000005 00000006 00000007 00000000 00000003 00000004\n\
         0036a3f7 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000\n",
    ),
    ("net/sockstat", SOCKSTAT),
    ("net/sockstat6", "TCP6: inuse 1\nFRAG6: inuse 0 memory 0\n"),
    ("softirqs", SOFTIRQS),
    ("interrupts", INTERRUPTS),
    (
        "net/snmp",
        "Ip: Forwarding DefaultTTL InReceives OutTransmits\nIp: 1 64 100 9\nUdp: InDatagrams NoPorts MemErrors\nUdp: 18 2 0\n",
    ),
    (
        "net/netstat",
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAOBad\nTcpExt: 0 3 4 0\nMPTcpExt: MPCapableSYNRX\nMPTcpExt: 2\n",
    ),
    (
        "net/snmp6",
        "Ip6InReceives                   \t7\nIp6OutTransmits                 \t8\nUdp6NoPorts                     \t1\n",
    ),
    (
        "net/stat/nf_conntrack",
        "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n\
         00000003  00000000 00000001 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000004 00000000\n\
         00000003  00000000 00000001 00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000001 00000000\n",
    ),
    (
        "net/stat/arp_cache",
        "entries  allocs   destroys table_fulls\n0000001a 000005ec 00000001 00000002\n",
    ),
];

/// All files, each as `change` makes it.
fn written(files: &[File], change: impl Fn(&str, &str) -> Vec<u8>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, change(name, text)).unwrap();
    }
    folder
}

/// What every kernel's files say.
fn check(proc: &Path) {
    let files = Files::copies(proc, proc);
    let softirq = softirq::read(&files).unwrap();
    let [first, second] = softirq.cpus[..] else {
        panic!("{softirq:?}");
    };
    assert_eq!(
        (first.cpu, first.processed, first.dropped),
        (0, 0x4f19b1, 2)
    );
    assert_eq!((first.received_rps, first.flow_limited), (5, Some(6)));
    assert_eq!(
        (second.cpu, second.time_squeeze, second.net_rx),
        (1, 1, Some(4))
    );
    let sockets = sockets::read(&files).unwrap();
    assert_eq!(sockets.used, 22);
    let tcp = sockets.protocol("TCP").unwrap();
    assert_eq!(
        (tcp.in_use, tcp.orphans, tcp.time_wait),
        (5, Some(1), Some(2))
    );
    assert_eq!(sockets.protocol("TCP6").unwrap().in_use, 1);
    let protocols = protocols::read(&files).unwrap();
    for (name, value) in [
        ("IpInReceives", 100),
        ("UdpNoPorts", 2),
        ("TcpExtListenOverflows", 3),
        ("Udp6NoPorts", 1),
    ] {
        assert_eq!(protocols.get(name), Some(value), "{name}");
    }
    let tables = tables::read(&files).unwrap();
    let conntrack = tables.get("conntrack").unwrap();
    assert_eq!(
        (conntrack.entries, conntrack.counters["drop"]),
        (Some(3), 5)
    );
    assert_eq!(tables.get("arp").unwrap().counters["table_fulls"], 2);
    let (irq, counts) = interrupts::parse(&files.proc("interrupts").unwrap())
        .map(|one| (one.irq, one.total()))
        .next()
        .unwrap();
    assert_eq!((irq, counts), (24, 8138));
}

/// The same with a column more in every line, and a line more.
fn later(name: &str, text: &str) -> Vec<u8> {
    let column = |number: usize, line: &str| match name {
        "net/softnet_stat" => " 0000000b".to_owned(),
        "net/sockstat" | "net/sockstat6" => " later 12".to_owned(),
        "net/snmp" | "net/netstat" if number.is_multiple_of(2) => " LaterCounter".to_owned(),
        "net/snmp" | "net/netstat" => " 13".to_owned(),
        "net/stat/nf_conntrack" | "net/stat/arp_cache" if number == 0 => " later".to_owned(),
        "net/stat/nf_conntrack" | "net/stat/arp_cache" => " 0000000e".to_owned(),
        // Behind the numbers and words there are only words.
        "interrupts" if line.contains("eth0") => " later".to_owned(),
        _ => String::new(),
    };
    let mut all: String = text
        .lines()
        .enumerate()
        .map(|(number, line)| format!("{line}{}\n", column(number, line)))
        .collect();
    all += match name {
        "net/sockstat" => "LATER: inuse 9 something 8\n",
        "net/snmp" | "net/netstat" => "Later: One Two\nLater: 1 2\n",
        "net/snmp6" => "Ip6LaterCounter \t5\n",
        "softirqs" => "       LATER:          5          6\n",
        _ => "",
    };
    all.into_bytes()
}

/// Reads all sections, whatever comes of it.
fn survive(proc: &Path) {
    let files = Files::copies(proc, proc);
    let machine = Machine::read(&files);
    let _ = machine.since(&machine);
    let _ = sockets::read(&files);
    let _ = protocols::read(&files);
    let _ = interrupts::read(&files, &["eth0"]);
    if let Ok(tables) = tables::read(&files) {
        let _ = tables.since(&tables);
    }
}

#[test]
fn kernels_old_and_new_are_read_alike() {
    for files in [OLD, NEW] {
        check(written(files, |_, text| text.into()).path());
        check(written(files, later).path());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn files_cut_short_or_changed_are_survived(
        part in 0.0..1.0_f64,
        at in 0.0..1.0_f64,
        byte: u8,
        new: bool,
    ) {
        let place = |length: usize, part: f64| (length as f64 * part) as usize;
        let changed = written(if new { NEW } else { OLD }, |_, text| {
            let mut bytes = text.as_bytes().to_vec();
            let at = place(bytes.len(), at);
            bytes[at] = byte;
            bytes.truncate(place(bytes.len(), part));
            bytes
        });
        survive(changed.path());
    }

    #[test]
    fn numbers_of_any_length_are_survived(digits in "[0-9a-f]{1,40}") {
        let changed = written(NEW, |_, text| text.replace("0000000", &digits).replace(" 3", &digits).into_bytes());
        survive(changed.path());
    }
}
