//! What the demonstration prints: one packet of each kind, the latency table, the drop table, the ledger.

use std::io::{self, BufWriter, Write as _};

use crate::{
    aggregate::{
        drops::{DropGroup, Drops},
        latency::{Excluded, Latency, LatencyRow},
    },
    config::Output,
    dictionary::Dictionary,
    journey::model::{Flow, Journey, Outcome},
    session::Session,
    sink::{
        End, Sink, Warning,
        json::Json,
        text::{Look, Text},
    },
    stack::meanwhile::Meanwhile,
};

/// A kind of packet to show one of.
struct Kind {
    title: &'static str,
    is: fn(&Journey, &Flow) -> bool,
}

const ICMP_ECHO: (u8, u8) = (8, 0);
const ICMPV6_ECHO: (u8, u8) = (128, 0);
const UDP: u8 = 17;

/// In the order in which they are shown.
const KINDS: &[Kind] = &[
    Kind {
        title: "An HTTP request over TCP",
        is: |journey, flow| is_request(journey, flow) && flow.source.is_ipv4(),
    },
    Kind {
        title: "A UDP datagram",
        is: |journey, flow| is_datagram(journey, flow) && journey.legs.len() == 2,
    },
    Kind {
        title: "A ping, which the kernel answers by itself",
        is: |journey, flow| is_answered(journey, flow, ICMP_ECHO),
    },
    Kind {
        title: "An HTTP request over IPv6",
        is: |journey, flow| is_request(journey, flow) && flow.source.is_ipv6(),
    },
    Kind {
        title: "A ping over IPv6",
        is: |journey, flow| is_answered(journey, flow, ICMPV6_ECHO),
    },
    Kind {
        title: "A datagram that a router forwards: one journey, three legs",
        is: |journey, flow| is_datagram(journey, flow) && journey.legs.len() == 3,
    },
    Kind {
        title: "A dropped packet",
        is: |journey, flow| journey.outcome == Outcome::Dropped && flow.protocol == UDP,
    },
];

/// The client has the lower address.
fn is_request(journey: &Journey, flow: &Flow) -> bool {
    flow.tcp.is_some_and(|tcp| tcp.payload > 0)
        && flow.source < flow.destination
        && journey.outcome == Outcome::Delivered
}

fn is_datagram(journey: &Journey, flow: &Flow) -> bool {
    flow.protocol == UDP && journey.outcome == Outcome::Delivered
}

fn is_answered(journey: &Journey, flow: &Flow, echo: (u8, u8)) -> bool {
    flow.icmp == Some(echo) && journey.outcome == Outcome::Consumed
}

/// Takes every journey, and shows what is worth it at the end; as JSON, everything.
pub(super) struct Show {
    json: bool,
    sink: Box<dyn Sink>,
    hidden: bool,
    journeys: Vec<Journey>,
    names: Option<Dictionary>,
    latency: Latency,
    drops: Drops,
    meanwhile: Option<Meanwhile>,
}

impl Show {
    pub(super) fn new(output: Output) -> Self {
        let out = BufWriter::with_capacity(1 << 16, io::stdout());
        let look = Look {
            color: output.color,
            width: output.width,
            stacks: false,
        };
        Self {
            json: output.json,
            sink: if output.json {
                Box::new(Json::new(out).stacks(output.stacks))
            } else {
                Box::new(Text::new(out, io::stderr(), look))
            },
            hidden: false,
            journeys: Vec::new(),
            names: None,
            latency: Latency::new(),
            drops: Drops::default(),
            meanwhile: None,
        }
    }

    /// Of each kind, the packet that took the median time: neither the first one, with cold caches, nor a lucky one.
    fn typical(&self, kind: &Kind) -> Option<&Journey> {
        let is_one = |journey: &&Journey| {
            let flow = journey.flow.as_ref();
            !journey.partial && flow.is_some_and(|flow| (kind.is)(journey, flow))
        };
        let mut those: Vec<&Journey> = self.journeys.iter().filter(is_one).collect();
        those.sort_by_key(|journey| journey.total);
        those.get(those.len() / 2).copied()
    }

    fn packets(&mut self, names: &Dictionary) -> io::Result<()> {
        for kind in KINDS {
            if let Some(journey) = self.typical(kind).cloned() {
                heading(kind.title)?;
                self.sink.journey(&journey, names)?;
                self.sink.flush()?;
            }
        }
        Ok(())
    }
}

/// Between the sink's own output, which is flushed before and ends with an empty line.
fn heading(title: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "── {title} ──\n")
}

impl Sink for Show {
    fn session(&mut self, session: &Session) -> io::Result<()> {
        self.hidden = !session.not_probed.is_empty();
        self.sink.session(session)
    }

    fn plan(&mut self, session: &Session) -> io::Result<()> {
        self.sink.plan(session)
    }

    fn journey(&mut self, journey: &Journey, names: &Dictionary) -> io::Result<()> {
        self.latency.add(journey);
        self.drops.add(journey);
        self.names = Some(names.clone());
        if self.json {
            self.sink.journey(journey, names)
        } else {
            self.journeys.push(journey.clone());
            Ok(())
        }
    }

    fn latency(&mut self, rows: &[LatencyRow], excluded: Excluded) -> io::Result<()> {
        self.sink.latency(rows, excluded)
    }

    fn drops(&mut self, groups: &[DropGroup], names: &Dictionary) -> io::Result<()> {
        self.sink.drops(groups, names)
    }

    fn meanwhile(&mut self, meanwhile: &Meanwhile) -> io::Result<()> {
        self.meanwhile = Some(meanwhile.clone());
        Ok(())
    }

    fn warning(&mut self, warning: &Warning) -> io::Result<()> {
        self.sink.warning(warning)
    }

    fn end(&mut self, end: &End) -> io::Result<()> {
        let json = self.json;
        let heading = |title| if json { Ok(()) } else { heading(title) };
        if let Some(names) = self.names.take() {
            if !json {
                self.packets(&names)?;
            }
            heading("Where the time goes")?;
            self.sink
                .latency(&self.latency.rows(), self.latency.excluded())?;
            self.sink.flush()?;
            heading("Where packets are dropped")?;
            self.sink.drops(&self.drops.groups(), &names)?;
            self.sink.flush()?;
        }
        if let Some(meanwhile) = self.meanwhile.take() {
            heading("What the kernel itself counted")?;
            self.sink.meanwhile(&meanwhile)?;
            self.sink.flush()?;
        }
        heading("What became of all packets")?;
        self.sink.end(end)?;
        self.sink.flush()?;
        if self.hidden && !json {
            let hint = "This kernel does not let anyone see the stages named above. `cargo xtask demo --vm` shows them \
                        all,\nin a Debian kernel under QEMU.";
            writeln!(io::stdout().lock(), "\n{hint}")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
