//! One packet: a header, and for each leg its stages as bars that follow one another.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::bar::{self, Fill};
use super::paint::{BAD, BAR, BOLD, DIM, DOUBTFUL, GOOD, PLAIN, Paint};
use super::place;
use super::table::{Align, Cell, Table};
use super::{Look, flow, process, units};
use crate::dictionary::Dictionary;
use crate::journey::model::{Drop, Journey, Leg, LinkKind, Outcome, Poll, StageState};
use crate::sink::names as words;

/// A bar that is shorter says nothing.
const SHORTEST_BAR: usize = 8;
const LEG: &str = "  ";
const STAGE: &str = "    ";
/// Where the time of day lies in RFC 3339.
const TIME_OF_DAY: usize = "2026-11-23T".len();

/// Writes one journey, and an empty line.
pub(super) fn write(
    out: &mut dyn Write,
    journey: &Journey,
    names: &Dictionary,
    look: Look,
) -> io::Result<()> {
    let paint = Paint::new(look.color);
    header(out, journey, names, look)?;
    notes(out, journey, names, paint)?;
    let stages = stages(journey, look.width);
    for (index, leg) in journey.legs.iter().enumerate() {
        writeln!(out, "{LEG}{}", leg_line(leg, names, paint))?;
        for poll in journey
            .polls
            .iter()
            .filter(|poll| usize::from(poll.leg) == index)
        {
            writeln!(
                out,
                "{STAGE}{}",
                paint.with(DIM, poll_line(poll, leg.netns, names))
            )?;
        }
        if let Some(table) = stages.get(index) {
            table.write(out, paint, STAGE)?;
        }
    }
    if let Some(drop) = &journey.drop {
        write_drop(out, drop, names, look)?;
    }
    writeln!(out)
}

fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Delivered | Outcome::Sent | Outcome::Forwarded => GOOD,
        Outcome::Dropped => BAD,
        Outcome::Consumed => PLAIN,
        Outcome::Unfinished(_) => DOUBTFUL,
    }
}

/// Facts with two spaces between them, on as many lines as they need.
fn header(
    out: &mut dyn Write,
    journey: &Journey,
    names: &Dictionary,
    look: Look,
) -> io::Result<()> {
    let paint = Paint::new(look.color);
    let time = names.clock().rfc3339(journey.start);
    let outcome = match (journey.outcome, &journey.drop) {
        (Outcome::Dropped, Some(drop)) => format!(
            "dropped {}",
            names.drop_reason_at(drop.reason, Some(drop.location))
        ),
        (Outcome::Unfinished(why), _) => format!("unfinished: {}", words::unfinished_meaning(why)),
        (outcome, _) => words::outcome(outcome).to_owned(),
    };
    let packet = match &journey.flow {
        Some(flow) => flow::packet(flow),
        None => words::ether_type(journey.ether_type).into_owned(),
    };
    let facts = [
        (format!("#{}", journey.id.0), BOLD),
        (time.get(TIME_OF_DAY..).unwrap_or(&time).to_owned(), PLAIN),
        (words::direction(journey.direction).to_owned(), PLAIN),
        (outcome, style(journey.outcome)),
        (format!("{packet} {} B", journey.len), BOLD),
        (units::duration(journey.total), PLAIN),
    ];
    let mut column = 0;
    for (text, style) in facts {
        let width = text.width();
        if column == 0 {
            column = width;
        } else if column + 2 + width > look.width {
            write!(out, "\n{LEG}")?;
            column = LEG.len() + width;
        } else {
            write!(out, "  ")?;
            column += 2 + width;
        }
        write!(out, "{}", paint.with(style, text))?;
    }
    writeln!(out)
}

/// What else is known of the whole packet, where there is something.
fn notes(
    out: &mut dyn Write,
    journey: &Journey,
    names: &Dictionary,
    paint: Paint,
) -> io::Result<()> {
    let process = |p| process::process(p, names);
    match (&journey.sender, &journey.receiver) {
        (Some(sender), Some(receiver)) => {
            writeln!(out, "{LEG}{} → {}", process(sender), process(receiver))?
        }
        (Some(sender), None) => writeln!(out, "{LEG}sent by {}", process(sender))?,
        (None, Some(receiver)) => writeln!(out, "{LEG}read by {}", process(receiver))?,
        (None, None) => {}
    }
    for rewritten in &journey.rewrites {
        writeln!(out, "{LEG}rewritten: {}", flow::packet(rewritten))?;
    }
    for link in &journey.links {
        let kind = match link.kind {
            LinkKind::CloneOf => "clone of",
            LinkKind::MergedInto => "merged into",
            LinkKind::SplitFrom => "split from",
            LinkKind::RetransmitOf => "retransmission of",
        };
        writeln!(out, "{LEG}{kind} #{}", link.journey.0)?;
    }
    if journey.partial {
        writeln!(
            out,
            "{LEG}{}",
            paint.with(DOUBTFUL, "its beginning was not seen")
        )?;
    }
    Ok(())
}

/// `router  eth0 → eth1  forwarded`
fn leg_line(leg: &Leg, names: &Dictionary, paint: Paint) -> String {
    let interface = |index| place::interface(leg.netns, index, names);
    let way = match (leg.input, leg.output) {
        (Some(input), Some(output)) => format!("{} → {}", interface(input), interface(output)),
        (Some(input), None) => format!("{} →", interface(input)),
        (None, Some(output)) => format!("→ {}", interface(output)),
        (None, None) => words::direction(leg.direction).to_owned(),
    };
    format!(
        "{}  {way}  {}",
        paint.with(BOLD, place::namespace(leg.netns, names)),
        paint.with(style(leg.outcome), words::outcome(leg.outcome))
    )
}

/// `irq 24 → softirq → poll of 12/64 on cpu 1, eth0, 45.6 µs`
fn poll_line(poll: &Poll, netns: u32, names: &Dictionary) -> String {
    let irq = poll.irq.map_or("none".to_owned(), |irq| irq.to_string());
    let softirq = if poll.softirq.is_some() {
        "softirq"
    } else {
        "no softirq"
    };
    let device = match poll.ifindex {
        0 => "backlog".into(),
        index => place::interface(netns, index, names),
    };
    format!(
        "irq {irq} → {softirq} → poll of {}/{} on cpu {}, {device}, {}",
        poll.work,
        poll.budget,
        poll.cpu,
        units::duration(poll.ns)
    )
}

/// A table for each leg, with the same columns in all of them.
fn stages(journey: &Journey, width: usize) -> Vec<Table> {
    let offset = |start: u64| start.saturating_sub(journey.start);
    let columns = [
        ("", Align::Left),
        ("", Align::Right),
        ("", Align::Right),
        ("", Align::Left),
        ("", Align::Left),
    ];
    let longest = journey
        .stages
        .iter()
        .map(|stage| stage.ns)
        .max()
        .unwrap_or(0);
    let fields: Vec<[String; 4]> = journey
        .stages
        .iter()
        .map(|stage| {
            let at_most = if stage.state == StageState::Gap {
                "≤"
            } else {
                ""
            };
            [
                stage.name.as_str().to_owned(),
                format!("+{}", units::duration(offset(stage.start))),
                format!("{at_most}{}", units::duration(stage.ns)),
                format!("cpu {}", stage.cpu),
            ]
        })
        .collect();
    let mut widths = [0; 4];
    for row in &fields {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(field.width());
        }
    }
    let taken = STAGE.len() + widths.iter().sum::<usize>() + 2 * widths.len();
    let room = width.saturating_sub(taken);
    let mut tables: Vec<Table> = journey.legs.iter().map(|_| Table::new(&columns)).collect();
    for (stage, row) in journey.stages.iter().zip(fields) {
        let gap = stage.state == StageState::Gap;
        let fill = if gap { Fill::Light } else { Fill::Solid };
        let bar = if room < SHORTEST_BAR {
            String::new()
        } else {
            bar::span(offset(stage.start), stage.ns, journey.total, room, fill)
        };
        let styles = match (gap, stage.ns == longest) {
            (true, _) => [PLAIN, DIM, DOUBTFUL, DIM],
            (false, true) => [BOLD, DIM, BOLD, DIM],
            (false, false) => [PLAIN, DIM, PLAIN, DIM],
        };
        // Padded here, so that the legs' tables line up with each other.
        let [name, start, ns, cpu] = row;
        let [name_width, start_width, ns_width, cpu_width] = widths;
        let cells = [
            pad_right(&name, name_width),
            pad_left(&start, start_width),
            pad_left(&ns, ns_width),
            if bar.is_empty() {
                cpu
            } else {
                pad_right(&cpu, cpu_width)
            },
        ];
        let mut cells: Vec<Cell> = cells
            .into_iter()
            .zip(styles)
            .map(|(text, style)| Cell::new(text).styled(style))
            .collect();
        cells.push(Cell::new(bar).styled(if gap { DOUBTFUL } else { BAR }));
        if let Some(table) = tables.get_mut(usize::from(stage.leg)) {
            table.row(cells, Vec::new());
        }
    }
    tables
}

fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width - text.width())
}

fn pad_left(text: &str, width: usize) -> String {
    format!("{:1$}{text}", "", width - text.width())
}

fn write_drop(out: &mut dyn Write, drop: &Drop, names: &Dictionary, look: Look) -> io::Result<()> {
    let paint = Paint::new(look.color);
    writeln!(
        out,
        "{LEG}{} in {} at {}, cpu {}",
        paint.with(
            BAD,
            format_args!(
                "dropped: {}",
                names.drop_reason_at(drop.reason, Some(drop.location))
            )
        ),
        drop.stage.as_str(),
        place::function(drop.location, names),
        drop.cpu
    )?;
    if look.stacks {
        for address in &drop.stack {
            writeln!(
                out,
                "{STAGE}{}",
                paint.with(DIM, place::function(*address, names))
            )?;
        }
    }
    Ok(())
}
