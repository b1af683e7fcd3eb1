//! Network cards: settings, offloads, and the counters that mean loss.

use std::io::{self, Write};

use super::super::paint::{BAD, BOLD, DIM, DOUBTFUL, Paint, clean};
use super::super::table::{Align, Cell, Table};
use crate::stack::nic::{Channels, Coalescing, Counter, Link, Nic, Nics, Pause, Rings};

/// Offloads by the names that `ethtool -K` takes, and the kernel's names of which each stands.
const OFFLOADS: [(&str, &[&str]); 11] = [
    ("rx", &["rx-checksum"]),
    (
        "tx",
        &[
            "tx-checksum-ip-generic",
            "tx-checksum-ipv4",
            "tx-checksum-ipv6",
        ],
    ),
    ("sg", &["tx-scatter-gather"]),
    ("tso", &["tx-tcp-segmentation", "tx-tcp6-segmentation"]),
    ("gso", &["tx-generic-segmentation"]),
    ("gro", &["rx-gro"]),
    ("lro", &["rx-lro"]),
    ("rx-gro-hw", &["rx-gro-hw"]),
    ("rxhash", &["rx-hashing"]),
    ("ntuple", &["rx-ntuple-filter"]),
    ("tx-udp-segmentation", &["tx-udp-segmentation"]),
];

/// Writes the cards, with `all` every interface and every counter; `growth` is what changed in so many seconds.
pub(super) fn write(
    out: &mut dyn Write,
    paint: Paint,
    now: &Nics,
    growth: Option<(&Nics, f64)>,
    all: bool,
) -> io::Result<()> {
    writeln!(out, "{}", paint.with(BOLD, "nic"))?;
    for nic in now.devices.iter().filter(|nic| all || nic.driver.is_some()) {
        let grown = growth.and_then(|(growth, seconds)| {
            let same = |before: &&Nic| (before.index, &before.name) == (nic.index, &nic.name);
            Some((growth.devices.iter().find(same)?, seconds))
        });
        device(out, paint, nic, grown, all)?;
    }
    for missing in &now.missing {
        let text = format!("not seen: {missing}");
        writeln!(out, "  {}", paint.with(DOUBTFUL, clean(&text)))?;
    }
    Ok(())
}

fn device(
    out: &mut dyn Write,
    paint: Paint,
    nic: &Nic,
    growth: Option<(&Nic, f64)>,
    all: bool,
) -> io::Result<()> {
    let mut title = vec![paint.with(BOLD, clean(&nic.name).into_owned()).to_string()];
    if let Some(driver) = &nic.driver {
        title.push(clean(&driver.name).into_owned());
        let parts = [("firmware", &driver.firmware), ("at", &driver.bus)];
        for (name, value) in parts {
            title.extend(
                value
                    .as_ref()
                    .map(|value| format!("{name} {}", clean(value))),
            );
        }
    }
    title.extend(nic.link.as_ref().map(link));
    title.extend(nic.pause.as_ref().and_then(pause));
    writeln!(out, "  {}", title.join("  "))?;
    let settings = [
        nic.rings.as_ref().and_then(rings),
        nic.channels.as_ref().and_then(channels),
        nic.coalescing.as_ref().and_then(coalescing),
        offloads(nic),
    ];
    for line in settings.into_iter().flatten() {
        writeln!(out, "    {line}")?;
    }
    counters(out, paint, nic, growth, all)
}

fn link(link: &Link) -> String {
    let up = match link.up {
        Some(true) => "link up",
        Some(false) => "link down",
        None => "link unknown",
    };
    let speed = link.speed_mbit_per_s.map(|speed| match speed {
        0..1000 => format!("{speed} Mbit/s"),
        _ if speed.is_multiple_of(1000) => format!("{} Gbit/s", speed / 1000),
        _ => format!("{:.1} Gbit/s", f64::from(speed) / 1000.0),
    });
    let duplex = link
        .full_duplex
        .map(|full| if full { "full duplex" } else { "half duplex" }.to_owned());
    let negotiated = link
        .autonegotiation
        .map(|on| if on { "negotiated" } else { "fixed" }.to_owned());
    let downs = link
        .downs
        .filter(|downs| *downs > 0)
        .map(|downs| format!("went down {downs} times"));
    let known = [speed, duplex, negotiated, downs].into_iter().flatten();
    std::iter::once(up.to_owned())
        .chain(known)
        .collect::<Vec<_>>()
        .join(", ")
}

fn pause(pause: &Pause) -> Option<String> {
    let (rx, tx) = (pause.rx?, pause.tx?);
    Some(match (rx, tx) {
        (true, true) => "pause both ways".to_owned(),
        (true, false) => "pause when asked".to_owned(),
        (false, true) => "pause asked for".to_owned(),
        (false, false) => "no pause".to_owned(),
    })
}

/// `rx 256 of 4096`; nothing where there is nothing to set.
fn of(name: &str, now: Option<u32>, most: Option<u32>) -> Option<String> {
    match (now?, most) {
        (0, None | Some(0)) => None,
        (now, Some(most)) => Some(format!("{name} {now} of {most}")),
        (now, None) => Some(format!("{name} {now}")),
    }
}

fn line(name: &str, parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{name:<10}{}", parts.join(", ")))
}

fn rings(rings: &Rings) -> Option<String> {
    line(
        "rings",
        [
            of("rx", rings.rx, rings.rx_max),
            of("mini", rings.rx_mini, rings.rx_mini_max),
            of("jumbo", rings.rx_jumbo, rings.rx_jumbo_max),
            of("tx", rings.tx, rings.tx_max),
            rings
                .rx_buffer_bytes
                .map(|bytes| format!("buffers of {bytes} B")),
        ],
    )
}

fn channels(channels: &Channels) -> Option<String> {
    line(
        "queues",
        [
            of("combined", channels.combined, channels.combined_max),
            of("rx", channels.rx, channels.rx_max),
            of("tx", channels.tx, channels.tx_max),
            of("other", channels.other, channels.other_max),
        ],
    )
}

fn coalescing(coalescing: &Coalescing) -> Option<String> {
    let way = |name: &str, adaptive: Option<bool>, us: Option<u32>, frames: Option<u32>| {
        let parts = [
            adaptive.filter(|on| *on).map(|_| "adaptive".to_owned()),
            us.map(|us| format!("{us} µs")),
            frames
                .filter(|frames| *frames > 0)
                .map(|frames| format!("{frames} frames")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("{name} {}", parts.join(" or ")))
    };
    line(
        "coalesce",
        [
            way(
                "rx",
                coalescing.adaptive_rx,
                coalescing.rx_us,
                coalescing.rx_frames,
            ),
            way(
                "tx",
                coalescing.adaptive_tx,
                coalescing.tx_us,
                coalescing.tx_frames,
            ),
        ],
    )
}

fn offloads(nic: &Nic) -> Option<String> {
    let features = nic.features.as_ref()?;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for (name, kernel) in OFFLOADS {
        let known = || kernel.iter().filter_map(|name| features.get(*name));
        if known().any(|feature| feature.on) {
            on.push(name);
        } else if known().any(|feature| feature.changeable) {
            off.push(name);
        }
    }
    let list = |what: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")))
    };
    line("offloads", [list("on:", on), list("off:", off)])
}

fn counters(
    out: &mut dyn Write,
    paint: Paint,
    nic: &Nic,
    growth: Option<(&Nic, f64)>,
    all: bool,
) -> io::Result<()> {
    let Some(counters) = &nic.counters else {
        return Ok(());
    };
    let grown = growth.and_then(|(growth, seconds)| Some((growth.counters.as_deref()?, seconds)));
    let rate = |place: usize| {
        let (growth, seconds) = grown?;
        let growth = growth.get(place)?.value;
        Some(format!("{:.1}/s", growth as f64 / seconds))
    };
    let shown: Vec<(usize, &Counter)> = counters
        .iter()
        .enumerate()
        .filter(|(_, counter)| counter.value > 0 && (all || counter.loss.is_some()))
        .collect();
    let watched = counters
        .iter()
        .filter(|counter| counter.loss.is_some())
        .count();
    if watched > 0 && !shown.iter().any(|(_, counter)| counter.loss.is_some()) {
        let text = format!("    counters  no loss in any of the driver's {watched} that count it");
        writeln!(out, "{}", paint.with(DIM, text))?;
    }
    let mut table = Table::new(&[
        ("", Align::Left),
        ("", Align::Right),
        ("", Align::Right),
        ("", Align::Left),
        ("", Align::Left),
    ]);
    for (place, counter) in &shown {
        let (loss, style) = match counter.loss {
            Some(loss) => (loss.name(), BAD),
            None => ("", DIM),
        };
        table.row(
            vec![
                Cell::new(clean(counter.name.trim())),
                Cell::new(counter.value.to_string()),
                Cell::new(rate(*place).unwrap_or_default()),
                Cell::new(loss).styled(style),
                Cell::new(counter.loss.and(counter.meaning).unwrap_or_default()).styled(DIM),
            ],
            Vec::new(),
        );
    }
    table.write(out, paint, "    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::sample_stack;

    #[test]
    fn a_card_with_losses() {
        let mut out = Vec::new();
        let now = sample_stack::nics();
        write(&mut out, Paint::new(false), &now, Some((&now, 2.0)), false)
            .expect("a vector takes everything");
        let text = String::from_utf8(out).expect("text");
        let expected = "\
nic
  eth0  ixgbe  at 0000:03:00.0  link up, 10 Gbit/s, full duplex  pause when asked
    rings     rx 512 of 4096
    queues    combined 8 of 63
    coalesce  rx adaptive or 50 µs
    offloads  on: gro
    rx_no_dma_resources  3  1.5/s  missed  no free buffer
  not seen: rings of eth0: Permission denied (run it as root)
";
        assert_eq!(text, expected);
    }
}
