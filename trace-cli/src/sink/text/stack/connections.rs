//! Sockets, much as `ss` shows them.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::super::paint::{BAD, BOLD, DIM, DOUBTFUL, PLAIN, Paint, clean};
use super::super::table::{Align, Cell, Table};
use super::super::units;
use crate::stack::connections::{
    Connections, Endpoint, Protocol, Socket, State, Summary, TcpInfo, Timer, TimerKind,
};

/// Of so many processes of one socket, names are shown.
const NAMES: usize = 3;

/// Writes the summary, and with `all` every socket; `growth` is what changed in so many seconds.
pub(super) fn write(
    out: &mut dyn Write,
    paint: Paint,
    now: &Connections,
    growth: Option<(&Connections, f64)>,
    all: bool,
) -> io::Result<()> {
    writeln!(out, "{}", paint.with(BOLD, "connections"))?;
    summary(out, paint, &now.summary)?;
    let listens = |socket: &&Socket| socket.backlog.is_some();
    let troubled = |socket: &&Socket| {
        all || socket.backlog.is_some_and(|backlog| {
            backlog.is_full() || backlog.dropped.is_some_and(|drops| drops > 0)
        })
    };
    listeners(
        out,
        paint,
        now.sockets.iter().filter(listens).filter(troubled),
    )?;
    if all {
        let seconds = growth.map(|(_, seconds)| seconds);
        let grown: HashMap<_, _> = growth
            .iter()
            .flat_map(|(growth, _)| &growth.sockets)
            .filter_map(|socket| Some((socket.cookie?, socket)))
            .collect();
        let grown = |socket: &Socket| {
            let growth = grown.get(&socket.cookie?)?;
            Some((*growth, seconds?))
        };
        let mut table = Table::new(&[
            ("STATE", Align::Left),
            ("RECV-Q", Align::Right),
            ("SEND-Q", Align::Right),
            ("LOCAL", Align::Left),
            ("PEER", Align::Left),
            ("PROCESS", Align::Left),
            ("TIMER", Align::Left),
        ]);
        for socket in now.sockets.iter().filter(|socket| !listens(socket)) {
            table.row(row(socket), details(socket, grown(socket)));
        }
        if now.sockets.iter().any(|socket| !listens(&socket)) {
            table.write(out, paint, "  ")?;
        }
    }
    notes(out, paint, now, all)
}

fn summary(out: &mut dyn Write, paint: Paint, summary: &Summary) -> io::Result<()> {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Right), ("", Align::Left)]);
    if summary.sockets == 0 {
        return writeln!(out, "  {}", paint.with(DIM, "no sockets"));
    }
    for protocol in Protocol::ALL {
        let counts = || {
            let all = summary.counts.iter();
            all.filter(move |count| count.protocol == protocol)
        };
        let total: u64 = counts().map(|count| count.sockets).sum();
        if total == 0 {
            continue;
        }
        let mut states: Vec<(State, u64)> = Vec::new();
        for count in counts() {
            match states.last_mut() {
                Some((state, sockets)) if *state == count.state => *sockets += count.sockets,
                _ => states.push((count.state, count.sockets)),
            }
        }
        let mut parts: Vec<String> = states
            .iter()
            .map(|(state, sockets)| format!("{sockets} {}", state.name()))
            .collect();
        if protocol == Protocol::Tcp && summary.tcp_orphaned > 0 {
            parts.push(format!("{} of them orphaned", summary.tcp_orphaned));
        }
        table.row(
            vec![
                Cell::new(protocol.name()).styled(BOLD),
                Cell::new(total.to_string()),
                Cell::new(parts.join(", ")),
            ],
            Vec::new(),
        );
    }
    table.write(out, paint, "  ")
}

fn listeners<'a>(
    out: &mut dyn Write,
    paint: Paint,
    listeners: impl Iterator<Item = &'a Socket>,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("LISTENER", Align::Left),
        ("WAITING", Align::Right),
        ("LIMIT", Align::Right),
        ("DROPPED", Align::Right),
        ("PROCESS", Align::Left),
    ]);
    let mut any = false;
    for socket in listeners {
        let Some(backlog) = socket.backlog else {
            continue;
        };
        any = true;
        let full = if backlog.is_full() { BAD } else { PLAIN };
        let dropped = match backlog.dropped {
            Some(0) => Cell::new("0"),
            Some(drops) => Cell::new(drops.to_string()).styled(DOUBTFUL),
            None => Cell::new("?").styled(DIM),
        };
        table.row(
            vec![
                Cell::new(endpoint(socket, Some(&socket.local))),
                Cell::new(backlog.pending.to_string()).styled(full),
                Cell::new(backlog.limit.to_string()),
                dropped,
                Cell::new(processes(socket)),
            ],
            Vec::new(),
        );
    }
    if any {
        table.write(out, paint, "  ")
    } else {
        Ok(())
    }
}

fn row(socket: &Socket) -> Vec<Cell> {
    let queue = |bytes: Option<u32>| {
        let style = if bytes.is_some_and(|bytes| bytes > 0) {
            DOUBTFUL
        } else {
            DIM
        };
        Cell::new(bytes.map(|bytes| bytes.to_string()).unwrap_or_default()).styled(style)
    };
    let state = match socket.protocol {
        Protocol::Tcp => socket.state.name().to_owned(),
        protocol => format!("{} {}", protocol.name(), socket.state.name()),
    };
    let timer = socket.timer.map(|timer| {
        let again = match timer.retransmits {
            0 => String::new(),
            times => format!(", {times} times in vain"),
        };
        let expires = units::duration(u64::from(timer.expires_ms) * 1_000_000);
        format!("{} in {expires}{again}", timer.kind.name())
    });
    vec![
        Cell::new(state),
        queue(socket.queues.map(|queues| queues.receive_bytes)),
        queue(socket.queues.map(|queues| queues.send_bytes)),
        Cell::new(endpoint(socket, Some(&socket.local))),
        Cell::new(endpoint(socket, socket.remote.as_ref())),
        Cell::new(processes(socket)),
        Cell::new(timer.unwrap_or_default()).styled(DIM),
    ]
}

/// Address and port, with the interface that the socket is bound to; a raw socket's port is a protocol.
fn endpoint(socket: &Socket, endpoint: Option<&Endpoint>) -> String {
    let Some(endpoint) = endpoint else {
        return "*".to_owned();
    };
    let mut text = endpoint.to_string();
    if std::ptr::eq(endpoint, &raw const socket.local)
        && let Some(interface) = &socket.interface
    {
        let name = interface.name.clone();
        text.push('%');
        text.push_str(&clean(&name.unwrap_or_else(|| interface.index.to_string())));
    }
    text
}

fn processes(socket: &Socket) -> String {
    if socket.processes.is_empty() {
        return nobody(socket).to_owned();
    }
    let mut owners: Vec<(u32, &str)> = socket
        .processes
        .iter()
        .map(|owner| (owner.pid, owner.name.as_str()))
        .collect();
    owners.dedup();
    let more = owners.len().saturating_sub(NAMES);
    let names = owners.iter().take(NAMES);
    let mut text = names
        .map(|(pid, name)| format!("{}[{pid}]", clean(name)))
        .collect::<Vec<_>>()
        .join(" ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Why no process is known of a socket.
fn nobody(socket: &Socket) -> &'static str {
    let over = |timer: Timer| timer.kind == TimerKind::TimeWait;
    match socket.state {
        // Somebody has it who may not be looked at, or is in another PID namespace; or the kernel itself.
        _ if socket.inode.is_some() => "?",
        State::Established | State::CloseWait => "not accepted yet",
        State::SynRecv | State::TimeWait => "",
        _ if socket.timer.is_some_and(over) => "",
        _ => "orphaned",
    }
}

/// Lines below a socket: what TCP knows of it, and what it lost.
fn details(socket: &Socket, growth: Option<(&Socket, f64)>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(tcp) = &socket.tcp {
        lines.push(format!("    {}", path(socket, tcp)));
        let traffic = traffic(
            tcp,
            growth.and_then(|(growth, seconds)| Some((growth.tcp.as_deref()?, seconds))),
        );
        if !traffic.is_empty() {
            lines.push(format!("    {traffic}"));
        }
    }
    if let Some(memory) = &socket.memory
        && let Some(drops) = memory.drops.filter(|drops| *drops > 0)
    {
        lines.push(format!(
            "    {} dropped for want of room; receive buffer {} of {}",
            units::counted(drops.into(), "packet"),
            units::bytes(memory.receive_bytes.into()),
            units::bytes(memory.receive_limit_bytes.into()),
        ));
    }
    lines
}

fn path(socket: &Socket, tcp: &TcpInfo) -> String {
    let us = |value: u32| units::duration(u64::from(value) * 1000);
    let congestion = socket
        .congestion
        .as_deref()
        .map(|name| clean(name).into_owned());
    let upper = socket
        .upper_layer
        .as_deref()
        .map(|name| format!("over it {}", clean(name)));
    let rtt = tcp.rtt_us.map(|rtt| {
        let deviation = tcp.rttvar_us.map(|value| format!(" ± {}", us(value)));
        let least = tcp.min_rtt_us.map(|value| format!(", least {}", us(value)));
        format!(
            "rtt {}{}{}",
            us(rtt),
            deviation.unwrap_or_default(),
            least.unwrap_or_default()
        )
    });
    let named = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
    let counted = |name: &str, value: Option<u32>| {
        value
            .filter(|value| *value > 0)
            .map(|value| format!("{name} {value}"))
    };
    let rate = |name: &str, value: Option<u64>| {
        value.map(|value| format!("{name} {}/s", units::bytes(value)))
    };
    let parts = [
        congestion,
        upper,
        rtt,
        named("cwnd", tcp.cwnd_segments),
        named("ssthresh", tcp.ssthresh_segments),
        named("mss", tcp.send_mss_bytes),
        counted("unacked", tcp.unacked_segments),
        counted("lost", tcp.lost_segments),
        counted("retransmits", tcp.retransmits),
        counted("timeouts in a row", tcp.timeouts_in_a_row.map(u32::from)),
        counted("out of order", tcp.out_of_order_segments),
        rate("pacing", tcp.pacing_rate_bytes_per_s),
        rate("delivery", tcp.delivery_rate_bytes_per_s),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn traffic(tcp: &TcpInfo, growth: Option<(&TcpInfo, f64)>) -> String {
    let bytes = |name: &str, total: Option<u64>, grown: Option<Option<u64>>| {
        let total = total.filter(|total| *total > 0)?;
        let rate = grown.flatten().zip(growth).map(|(grown, (_, seconds))| {
            let rate = (grown as f64 / seconds).round() as u64;
            format!(" (now {}/s)", units::bytes(rate))
        });
        Some(format!(
            "{name} {}{}",
            units::bytes(total),
            rate.unwrap_or_default()
        ))
    };
    let parts = [
        bytes(
            "acknowledged",
            tcp.acked_bytes,
            growth.map(|(growth, _)| growth.acked_bytes),
        ),
        bytes(
            "received",
            tcp.received_bytes,
            growth.map(|(growth, _)| growth.received_bytes),
        ),
        bytes(
            "sent again",
            tcp.retransmitted_bytes,
            growth.map(|(growth, _)| growth.retransmitted_bytes),
        ),
        bytes("not sent", tcp.not_sent_bytes.map(u64::from), None),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn notes(out: &mut dyn Write, paint: Paint, now: &Connections, all: bool) -> io::Result<()> {
    let mut notes: Vec<String> = now
        .missing
        .iter()
        .map(|missing| format!("not seen: {missing}"))
        .collect();
    if now.not_listed > 0 {
        notes.push(format!(
            "not listed: {} more",
            units::counted(now.not_listed, "socket")
        ));
    }
    if now.searched.unreadable > 0 {
        let hidden = match now.searched.unreadable {
            1 => "1 other process has".to_owned(),
            more => format!("{more} other processes have"),
        };
        notes.push(format!("not seen: which sockets {hidden} (run it as root)"));
    }
    if all && !now.not_given.is_empty() {
        notes.push(format!(
            "not given by this kernel: {}",
            now.not_given.join(", ")
        ));
    }
    for note in notes {
        writeln!(out, "  {}", paint.with(DOUBTFUL, clean(&note)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sink::sample_stack, stack::growth::Growth as _};

    fn written(growth: bool, all: bool) -> String {
        let now = sample_stack::connections();
        let growth = growth.then(|| now.since(&now));
        let mut out = Vec::new();
        let growth = growth.as_ref().map(|growth| (growth, 1.0));
        write(&mut out, Paint::new(false), &now, growth, all).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_overview_names_listeners_in_trouble() {
        let text = written(false, false);
        let expected = "\
connections
  tcp  2  1 listen, 1 established
  LISTENER                WAITING  LIMIT  DROPPED  PROCESS
  [2001:db8::1]:443%eth0        2      1        4  nginx[12]
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("which sockets 1 other process has"), "{text}");
    }

    #[test]
    fn a_connection_has_what_tcp_knows_below_it() {
        let text = written(true, true);
        let row = "  established       1       2  [2001:db8::1]:443%eth0  [2001:db8::1]:443  nginx[12]  keepalive in 7.20 s\n";
        assert!(text.contains(row), "{text}");
        for part in [
            "cubic  over it tls  rtt 1.50 ms ± 250 µs",
            "cwnd 10",
            "not given by this kernel: receive_window_bytes, rehashes",
            "received 5.00 kB (now 0 B/s)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
