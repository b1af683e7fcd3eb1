//! What is wrong, how it is known, and the command that would change it. Nothing is changed by us.
//!
//! [`RULES`] is the table; what each rule looks for is in `machine`, `tcp`, `queues` and `tables`. Over an interval, a rule judges what
//! was counted in it; else, what was counted since the machine (or the namespace) began.

mod machine;
mod queues;
mod tables;
mod tcp;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{Machine, Namespace, Report};

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Advice {
    /// The rule that found it: a stable word for programs.
    pub rule: &'static str,
    /// What it is about: an interface, a CPU, a protocol.
    pub subject: String,
    /// What is wrong.
    pub what: &'static str,
    /// How it is known.
    pub evidence: Vec<Evidence>,
    /// Commands that would change it, or would show more, to choose from.
    pub commands: Vec<String>,
    /// What the commands cost.
    pub trade_off: &'static str,
    /// The namespace; `None` for the whole machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

/// A value that something is known by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Evidence {
    /// The counter or setting, by the name that the kernel or its tools give it.
    pub name: String,
    /// Its value: of a counter over an interval, its growth.
    pub value: u64,
}

/// A line of the table.
pub struct Rule {
    /// A stable word.
    pub name: &'static str,
    /// What is wrong when it finds something.
    pub what: &'static str,
    /// What its commands cost.
    pub trade_off: &'static str,
    /// Where it looks.
    find: Find,
}

enum Find {
    Machine(fn(&Machine, &View<'_>) -> Vec<Finding>),
    Namespace(fn(&View<'_>) -> Vec<Finding>),
}

/// What a rule found.
struct Finding {
    subject: String,
    evidence: Vec<Evidence>,
    commands: Vec<String>,
}

/// What a rule looks at: values as they are, and counters as they count.
struct View<'a> {
    /// Settings and levels.
    now: &'a Namespace,
    /// Counters: their growth over an interval if there is one, else `now`.
    counted: &'a Namespace,
    /// The same, of the machine.
    machine: &'a Machine,
}

/// All rules, in the order in which a packet meets what they are about.
pub const RULES: &[Rule] = &[
    Rule {
        name: "ring_overrun",
        what: "the card had no room for packets: its receive ring was full",
        trade_off: "a larger ring takes more memory and cache, and lets packets wait longer",
        find: Find::Namespace(queues::ring_overrun),
    },
    Rule {
        name: "napi_budget",
        what: "softirqs ended with packets left in the ring: budget or time was used up",
        trade_off: "longer softirqs keep other work from their CPU",
        find: Find::Machine(machine::napi_budget),
    },
    Rule {
        name: "backlog_drops",
        what: "packets were dropped because a CPU's backlog was full",
        trade_off: "a longer backlog takes more memory, and lets packets wait longer before they are dropped",
        find: Find::Machine(machine::backlog_drops),
    },
    Rule {
        name: "one_cpu",
        what: "one CPU takes in nearly all packets",
        trade_off: "spreading costs an interrupt between CPUs for each batch, and cache misses",
        find: Find::Namespace(machine::one_cpu),
    },
    Rule {
        name: "interrupts_on_one_cpu",
        what: "a card has several queues, but one CPU takes nearly all of its interrupts",
        trade_off: "what is pinned is no longer moved away from a busy CPU; irqbalance must be told or stopped",
        find: Find::Namespace(machine::interrupts_on_one_cpu),
    },
    Rule {
        name: "listen_overflow",
        what: "connections were refused because a listener's queue of accepted connections was full",
        trade_off: "a longer queue hides that the program accepts too slowly; its own listen() backlog must be raised, too",
        find: Find::Namespace(tcp::listen_overflow),
    },
    Rule {
        name: "syn_queue",
        what: "too many half-open connections: SYNs were dropped or answered with cookies",
        trade_off: "each half-open connection takes memory; a SYN flood takes all that it is given",
        find: Find::Namespace(tcp::syn_queue),
    },
    Rule {
        name: "udp_receive_buffer",
        what: "datagrams were dropped because a socket's receive buffer was full",
        trade_off: "larger buffers take memory for each socket, and hide that the program reads too slowly",
        find: Find::Namespace(tcp::udp_receive_buffer),
    },
    Rule {
        name: "tcp_receive_buffer",
        what: "full TCP receive buffers were squeezed, or segments dropped for want of room",
        trade_off: "larger buffers take memory for each connection, and hide that the program reads too slowly",
        find: Find::Namespace(tcp::tcp_receive_buffer),
    },
    Rule {
        name: "socket_memory",
        what: "a protocol's sockets hold about as much memory as they may have",
        trade_off: "the kernel cannot swap this memory: what sockets get, nothing else has",
        find: Find::Namespace(tcp::socket_memory),
    },
    Rule {
        name: "orphans",
        what: "too many closed sockets whose connection is not over, or no memory for them: connections were broken off",
        trade_off: "each orphan takes up to 64 KiB that cannot be swapped; a shorter timeout cuts slow peers off",
        find: Find::Namespace(tcp::orphans),
    },
    Rule {
        name: "time_wait",
        what: "as many connections in TIME-WAIT as there may be: further ones are cut short",
        trade_off: "each takes memory and a port; cut short, a late segment may meet the next connection",
        find: Find::Namespace(tcp::time_wait),
    },
    Rule {
        name: "retransmits",
        what: "one in a hundred TCP segments or more was sent again",
        trade_off: "these only show where segments are lost; what to change depends on it",
        find: Find::Namespace(tcp::retransmits),
    },
    Rule {
        name: "mtu_black_hole",
        what: "packets were too large for the way, and the senders may never hear of it",
        trade_off: "probing begins only after timeouts, and keeps segments smaller than they might be",
        find: Find::Namespace(tcp::mtu_black_hole),
    },
    Rule {
        name: "conntrack_full",
        what: "the connection tracking table is full, or nearly: new connections are dropped",
        trade_off: "each entry takes some 300 bytes; with more entries, raise the hash table with them",
        find: Find::Namespace(tables::conntrack_full),
    },
    Rule {
        name: "neighbour_table",
        what: "the neighbour table is full, or nearly: packets to new neighbours are dropped",
        trade_off: "more entries take memory, and a scan of the network can fill them all",
        find: Find::Namespace(tables::neighbour_table),
    },
    Rule {
        name: "qdisc_drops",
        what: "a qdisc dropped one in a thousand packets or more",
        trade_off: "a longer queue lets packets wait longer; fq_codel and its like drop on purpose, to keep waits short",
        find: Find::Namespace(queues::qdisc_drops),
    },
];

/// Everything that is wrong, as far as the rules know.
pub fn advise(report: &Report) -> Vec<Advice> {
    let now = &report.now;
    let counted = report.growth.as_ref().map_or(now, |growth| &growth.of);
    let views: Vec<View<'_>> = now
        .namespaces
        .iter()
        .filter_map(|now| {
            let same = |one: &&Namespace| (one.inode, &one.name) == (now.inode, &now.name);
            Some(View {
                now,
                counted: counted.namespaces.iter().find(same)?,
                machine: &counted.machine,
            })
        })
        .collect();
    let mut all = Vec::new();
    for rule in RULES {
        let mut found = |findings: Vec<Finding>, netns: Option<&str>| {
            all.extend(findings.into_iter().map(|finding| Advice {
                rule: rule.name,
                subject: finding.subject,
                what: rule.what,
                evidence: finding.evidence,
                commands: finding.commands,
                trade_off: rule.trade_off,
                netns: netns.map(str::to_owned),
            }));
        };
        match rule.find {
            // Counters of the machine are of the same interval in each view.
            Find::Machine(find) => {
                if let Some(view) = views.first() {
                    found(find(&now.machine, view), None);
                }
            }
            Find::Namespace(find) => {
                for view in &views {
                    found(find(view), Some(&view.now.name));
                }
            }
        }
    }
    all
}

impl View<'_> {
    /// A protocol counter; 0 if this kernel does not have it.
    fn protocol(&self, name: &str) -> u64 {
        let protocols = self.counted.protocols.as_ref();
        protocols.and_then(|all| all.get(name)).unwrap_or(0)
    }

    /// Those of these protocol counters that have counted something.
    fn counted(&self, names: &[&str]) -> Vec<Evidence> {
        names
            .iter()
            .map(|name| evidence(*name, self.protocol(name)))
            .filter(|evidence| evidence.value > 0)
            .collect()
    }

    /// A limit among the socket settings.
    fn limit(&self, name: &str) -> Option<u64> {
        let limits = &self.now.sockets.as_ref()?.limits;
        u64::try_from(*limits.get(name)?).ok()
    }
}

fn evidence(name: impl Into<String>, value: u64) -> Evidence {
    Evidence {
        name: name.into(),
        value,
    }
}

/// `sysctl -w`, with a name that is written with slashes.
fn sysctl(name: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w net.{}={value}", name.replace('/', "."))
}

/// Twice as much as a setting is now.
fn doubled(name: &str, now: u64) -> String {
    sysctl(name, now.saturating_mul(2))
}

/// Nine tenths of it are used.
fn nearly_full(used: u64, limit: u64) -> bool {
    limit > 0 && used >= limit - limit / 10
}

/// Whether a part is at least one in `whole_in` of the whole.
fn at_least_one_in(part: u64, one_in: u64, whole: u64) -> bool {
    part > 0 && part.saturating_mul(one_in) >= whole
}
