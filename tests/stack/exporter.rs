//! `stack` against the Prometheus node exporter, in one namespace at the same moment: what it says lies between what we say
//! before and after it, so that what did not move meanwhile is the same.
//!
//! The exporter is Debian's. Where it is not installed, its package is unpacked into a temporary folder: installing it would
//! start a service that listens.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pktjourney::lab::{Addresses, LabError, Netns, Pair, faults, traffic::icmp};
use serde_json::Value;

use crate::tool;

const PROGRAM: &str = "prometheus-node-exporter";
const PORT: u16 = 9100;
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, or what is in the way of having it.
fn program(folder: &Path) -> Result<PathBuf, String> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut installed = std::env::split_paths(&paths).map(|path| path.join(PROGRAM));
    if let Some(program) = installed.find(|path| path.is_file()) {
        return Ok(program);
    }
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{program}: {}", said.trim()))
        }
    };
    run("apt-get", &["-qq", "download", PROGRAM])?;
    let package = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .ok_or("apt-get downloaded nothing")?;
    run("dpkg-deb", &["-x", &package.to_string_lossy(), "root"])?;
    Ok(folder.join("root/usr/bin").join(PROGRAM))
}

/// A running exporter; killed when dropped.
struct Exporter(Child);

impl Exporter {
    fn start(program: &Path, netns: &Netns) -> Self {
        let child = Command::new("ip")
            .args(["netns", "exec", netns.name()])
            .arg(program)
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
            .args([
                "--web.disable-exporter-metrics",
                "--collector.disable-defaults",
            ])
            .args(["--collector.sockstat", "--collector.softnet"])
            .args(["--collector.netstat", "--collector.netstat.fields=.*"])
            .arg("--collector.netdev")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("start the exporter"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it exports: value by name with labels.
fn scrape(netns: &Netns) -> Result<BTreeMap<String, f64>, LabError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let failed = |what: &str| LabError::io(format!("{what} the exporter"));
    let deadline = Instant::now() + PATIENCE;
    let text = netns.enter(|| {
        let mut stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(failed("connect to")(error)),
            }
        };
        let mut text = String::new();
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            .and_then(|()| stream.read_to_string(&mut text))
            .map_err(failed("ask"))?;
        Ok(text)
    })?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect())
}

/// What we say, by the exporter's names.
fn ours(netns: &Netns) -> BTreeMap<String, f64> {
    let records = tool::records(&["--netns", netns.name()]);
    let (machine, stack) = (
        tool::only(&records, "machine"),
        tool::only(&records, "stack"),
    );
    let number = |value: &Value| value.as_f64();
    let mut all = BTreeMap::new();
    for cpu in machine["softirq"]["cpus"].as_array().expect("CPUs") {
        for (name, field) in [
            ("processed_total", "processed"),
            ("dropped_total", "dropped"),
            ("times_squeezed_total", "time_squeeze"),
        ] {
            let name = format!("node_softnet_{name}{{cpu=\"{}\"}}", cpu["cpu"]);
            all.extend(number(&cpu[field]).map(|value| (name, value)));
        }
    }
    let protocols = &stack["protocols"];
    // `TcpExtListenDrops` is `TcpExt_ListenDrops` there.
    const GROUPS: [&str; 13] = [
        "IpExt", "Ip6", "Ip", "IcmpMsg", "Icmp6", "Icmp", "TcpExt", "Tcp", "UdpLite6", "UdpLite",
        "Udp6", "Udp", "MPTcpExt",
    ];
    for kind in ["counters", "gauges"] {
        for (name, value) in protocols[kind].as_object().expect("counters") {
            let Some((group, rest)) = GROUPS
                .iter()
                .find_map(|group| Some((group, name.strip_prefix(group)?)))
            else {
                continue;
            };
            let name = format!("node_netstat_{group}_{rest}");
            all.extend(number(value).map(|value| (name, value)));
        }
    }
    all.extend(
        number(&stack["sockets"]["used"])
            .map(|used| ("node_sockstat_sockets_used".to_owned(), used)),
    );
    for one in stack["sockets"]["protocols"].as_array().expect("protocols") {
        let protocol = one["name"].as_str().expect("a name");
        for (field, word) in [
            ("in_use", "inuse"),
            ("orphans", "orphan"),
            ("time_wait", "tw"),
            ("allocated", "alloc"),
            (
                "memory_bytes",
                if protocol.starts_with("FRAG") {
                    "memory"
                } else {
                    "mem_bytes"
                },
            ),
        ] {
            let name = format!("node_sockstat_{protocol}_{word}");
            all.extend(number(&one[field]).map(|value| (name, value)));
        }
    }
    for one in stack["interfaces"]["interfaces"]
        .as_array()
        .expect("interfaces")
    {
        let counter = |name: &str| one["counters"][name].as_f64().unwrap_or(0.0);
        for (way, short) in [("receive", "rx"), ("transmit", "tx")] {
            for (name, value) in [
                ("packets", counter(&format!("{short}_packets"))),
                ("bytes", counter(&format!("{short}_bytes"))),
                ("errs", counter(&format!("{short}_errors"))),
                // As /proc/net/dev adds it up.
                (
                    "drop",
                    counter(&format!("{short}_dropped"))
                        + if short == "rx" {
                            counter("rx_missed_errors")
                        } else {
                            0.0
                        },
                ),
            ] {
                let name = format!("node_network_{way}_{name}_total{{device={}}}", one["name"]);
                all.insert(name, value);
            }
        }
    }
    all
}

/// Whether it can be lower later than before.
fn is_gauge(name: &str) -> bool {
    name.starts_with("node_sockstat_") || name.ends_with("_CurrEstab")
}

#[test]
#[expect(clippy::print_stderr, reason = "says that a test was left out")]
fn what_the_node_exporter_exports_is_what_we_say() -> Result<(), LabError> {
    let folder = tempfile::tempdir().expect("a folder");
    let program = match program(folder.path()) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("skipped: no {PROGRAM} (Debian's package of that name): {why}");
            return Ok(());
        }
    };
    let pair = Pair::new(Addresses::unique())?;
    faults::closed_udp_port(&pair, false, 7)?;
    faults::closed_udp_port(&pair, true, 9)?;
    faults::closed_tcp_port(&pair, 3)?;
    faults::full_socket(&pair, 50)?;
    icmp::ping(&pair.a, pair.v6().1, 3, 56)?;
    let _exporter = Exporter::start(&program, &pair.b);
    scrape(&pair.b)?;
    let before = ours(&pair.b);
    let theirs = scrape(&pair.b)?;
    let after = ours(&pair.b);
    let (mut same, mut moved) = (0, Vec::new());
    for (name, value) in &theirs {
        let (Some(first), Some(second)) = (before.get(name), after.get(name)) else {
            continue;
        };
        if first == second && !is_gauge(name) {
            assert_eq!(value, first, "{name}");
            same += 1;
        } else if !is_gauge(name) {
            assert!(
                first <= value && value <= second,
                "{name}: {first} {value} {second}"
            );
            moved.push(name);
        }
    }
    // Gauges go up and down with the exporter's own connection: only where that cannot reach they must be the same.
    for name in [
        "UDP_inuse",
        "RAW_inuse",
        "FRAG_inuse",
        "FRAG_memory",
        "UDP6_inuse",
        "TCP6_inuse",
    ] {
        let name = format!("node_sockstat_{name}");
        assert_eq!(theirs.get(&name), before.get(&name), "{name}");
    }
    for group in [
        "node_netstat_TcpExt_",
        "node_netstat_Udp6_",
        "node_softnet_",
        "node_network_",
    ] {
        let shared = |name: &&String| name.starts_with(group) && before.contains_key(*name);
        assert!(theirs.keys().any(|name| shared(&name)), "{group}");
    }
    assert!(same > 150, "{same} alike, moved: {moved:?}");
    assert_eq!(theirs["node_netstat_Udp_NoPorts"], 7.0);
    assert_eq!(theirs["node_netstat_Udp6_NoPorts"], 9.0);
    Ok(())
}
