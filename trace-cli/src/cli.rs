//! What can be typed. [`config`](crate::config) turns it into what is done; nothing else reads it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::budget::Share;
use crate::probe::{Kinds, StageSet};
use crate::stack::Section;

#[cfg(test)]
mod tests;
mod value;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, also when ended by Ctrl-C, SIGTERM or a closed pipe
  1    failure: a file cannot be read or written, a recording is damaged
  2    wrong usage: an option or the filter expression
  3    missing privilege (root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)
  4    this kernel cannot: no BTF, eBPF locked down, wrong architecture
  130  a second Ctrl-C left at once

Results go to stdout, messages to stderr. NO_COLOR is honoured.";

const MAIN_EXAMPLES: &str = "\
Examples:
  pktjourney trace tcp port 443        each packet, stage by stage, until Ctrl-C
  pktjourney latency --duration 10s    where the time goes: percentiles for each stage
  pktjourney drops                     where packets are dropped, and why
  pktjourney check                     what this kernel and these privileges allow
  pktjourney demo                      all of it, on traffic of its own
";

const TRACE_EXAMPLES: &str = "\
Examples:
  pktjourney trace -c 10 icmp
          the next ten pings
  pktjourney trace -i eth0 tcp port 443 and host 192.0.2.1
          one peer's packets, as far as they pass eth0
  pktjourney trace --min-latency 1ms udp
          only packets that took a millisecond or more
  pktjourney trace --only-drops --netns blue
          what namespace blue drops
  pktjourney trace -w slow.pjy --duration 1m
  pktjourney trace -r slow.pjy --json | jq 'select(.type == \"journey\") | .total_ns'
          record now, read later or elsewhere
";

const LATENCY_EXAMPLES: &str = "\
Examples:
  pktjourney latency --duration 10s
          ten seconds of everything
  pktjourney latency tcp dst port 5432
          one service, until Ctrl-C
  pktjourney latency -r slow.pjy --json
          the percentiles of a recording
";

const DROPS_EXAMPLES: &str = "\
Examples:
  pktjourney drops
          all drops until Ctrl-C, by reason, place, stage and flow
  pktjourney drops --duration 1m --no-stack udp
          a minute's UDP drops, without kernel stacks
";

const STACK_EXAMPLES: &str = "\
Examples:
  pktjourney stack
          an overview, and advice; nothing is changed
  pktjourney stack protocols --watch 1s
          protocol counters, and each second how fast they grow
  pktjourney stack --all-netns --json
          everything, of all network namespaces
";

/// Follow each packet through the Linux kernel: where it spent its time, and where it was dropped.
///
/// Every packet is stamped at each place it passes in the network stack. From the stamps comes one record
/// for each packet, its journey: from the card's interrupt to recv(), and from send() to the card.
#[derive(Parser, Debug)]
#[command(name = "pktjourney", version, max_term_width = 100, after_long_help = format!("{MAIN_EXAMPLES}\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of all commands.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Write one JSON object a line instead of text (docs/output.md describes them)
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(crate) color: ColorArg,
    /// Say more about what is done; twice, the eBPF programs speak, too
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CommandArgs {
    /// Show each packet: every stage with its start, duration and CPU
    #[command(after_long_help = format!("{TRACE_EXAMPLES}\n{}\n{EXIT_CODES}", crate::filter::HELP))]
    Trace(TraceArgs),
    /// Show where the time goes: percentiles for each direction and stage
    #[command(after_long_help = format!("{LATENCY_EXAMPLES}\n{}\n{EXIT_CODES}", crate::filter::HELP))]
    Latency(LatencyArgs),
    /// Show where packets are dropped: by reason, place, stage and flow
    #[command(after_long_help = format!("{DROPS_EXAMPLES}\n{}\n{EXIT_CODES}", crate::filter::HELP))]
    Drops(DropsArgs),
    /// Show what this kernel and these privileges allow: which probe at which hook, and which stages stay unseen
    #[command(after_long_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Show the network stack's counters and settings, and what is wrong with them
    #[command(after_long_help = format!("{STACK_EXAMPLES}\n{EXIT_CODES}"))]
    Stack(StackArgs),
    /// Make namespaces and traffic of its own, follow it, and show one packet of each kind, latencies and drops
    #[command(after_long_help = EXIT_CODES)]
    Demo(DemoArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Show only packets that were dropped
    #[arg(long, help_heading = "What to show")]
    pub(crate) only_drops: bool,
    /// Leave out the kernel stack of drops
    #[arg(long, help_heading = "What to show")]
    pub(crate) no_stack: bool,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DropsArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Leave out the kernel stack
    #[arg(long, help_heading = "What to show")]
    pub(crate) no_stack: bool,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StackArgs {
    /// Show these sections at length, instead of an overview of all
    #[arg(value_name = "SECTION")]
    pub(crate) sections: Vec<Section>,
    /// Look into this network namespace (a name from `ip netns`, or a path); repeatable
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "all_netns",
        help_heading = "What to show"
    )]
    pub(crate) netns: Vec<String>,
    /// Look into all network namespaces that have a name or a process
    #[arg(long, help_heading = "What to show")]
    pub(crate) all_netns: bool,
    /// Look again each time this has passed, and show how fast counters grow: 1s, 500ms
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "When to stop")]
    pub(crate) watch: Option<Duration>,
    /// Stop after having looked this many times
    #[arg(short, long, value_name = "COUNT", requires = "watch", value_parser = clap::value_parser!(u64).range(1..), help_heading = "When to stop")]
    pub(crate) count: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// What of it `--stages` of trace and latency takes: all, standard, few
    #[arg(long, value_name = "SET", default_value = "all", help_heading = "Cost")]
    pub(crate) stages: StageSet,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

/// Which journeys.
#[derive(Args, Debug)]
pub(crate) struct SelectArgs {
    /// Only packets that match, in tcpdump's words: tcp and port 443 and host 10.0.0.1
    #[arg(value_name = "EXPRESSION")]
    pub(crate) filter: Vec<String>,
    /// Only packets that pass this interface
    #[arg(short, long, value_name = "IFACE", value_parser = value::interface, help_heading = "What to show")]
    pub(crate) interface: Option<String>,
    /// Only packets that pass this network namespace (a name from `ip netns`, or a path); repeatable
    #[arg(long, value_name = "NAME", help_heading = "What to show")]
    pub(crate) netns: Vec<String>,
    /// Only packets whose whole journey took at least this long
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "What to show")]
    pub(crate) min_latency: Option<Duration>,
}

/// From where, and until when.
#[derive(Args, Debug)]
pub(crate) struct CaptureArgs {
    /// Stop after this many matching packets
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = "When to stop")]
    pub(crate) count: Option<u64>,
    /// Stop after this time: 500ms, 10s, 5m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = value::duration, help_heading = "When to stop")]
    pub(crate) duration: Option<Duration>,
    /// Also record everything into FILE
    #[arg(short, long, value_name = "FILE", help_heading = "Recordings")]
    pub(crate) write: Option<PathBuf>,
    /// Read a recording instead of this kernel: the output is what it was then
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with_all = ["write", "probes", "bookends", "buffer_size"],
        help_heading = "Recordings"
    )]
    pub(crate) read: Option<PathBuf>,
    /// Journeys that may be open at once; beyond, the oldest ends as unfinished
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 65_536,
        value_parser = clap::value_parser!(u32).range(1..=16_777_216),
        help_heading = "Limits"
    )]
    pub(crate) max_journeys: u32,
}

/// How much tracing may cost.
#[derive(Args, Default, Debug)]
pub(crate) struct CostArgs {
    /// How many stages are told apart: all, standard, few
    ///
    /// Fewer hooks cost each packet less. `standard` leaves out the interrupt, softirq and poll, and what lies between two
    /// hooks that stay; `few` keeps devices, qdiscs and sockets, where packets wait, end and change hands. Outcomes are the
    /// same. A span that holds stages which were left out is marked, as where a kernel hides them.
    #[arg(
        long,
        value_name = "SET",
        default_value = "all",
        conflicts_with = "read",
        help_heading = "Cost"
    )]
    pub(crate) stages: StageSet,
    /// Follow one flow in so many, as 1/100; all others are left out
    ///
    /// Which ones is a hash of protocol, addresses and ports, the same for both directions and on every CPU: a flow is seen
    /// whole or not at all. Drops belong to their flow; `drops` always sees all. Where NAT or a tunnel changes addresses,
    /// parts of a packet's way may be missing.
    #[arg(long, value_name = "1/N", conflicts_with = "read", value_parser = value::sample, help_heading = "Cost")]
    pub(crate) sample: Option<NonZeroU32>,
    /// Take at most this part of the CPU time of all CPUs together: 2%, 0.5%
    ///
    /// What the eBPF programs take, wherever they run, and what pktjourney itself takes are measured twice a second. When that
    /// is more, fewer flows are followed, as with a larger N of --sample; when there is room again, more. Each change is
    /// told, and cuts packets off that are on their way. Flows that are left out still cost a part: what that
    /// part is depends on --stages.
    #[arg(long, value_name = "PERCENT", conflicts_with = "read", value_parser = value::share, help_heading = "Cost")]
    pub(crate) budget: Option<Share>,
}

/// How to look into the kernel.
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// Probe kinds that may be used, with commas between: auto, tp_btf, fentry, raw_tp, kprobe, nf
    ///
    /// `auto` takes, for each hook, the cheapest that this kernel has, and nothing that stands in the packets' way.
    /// `nf` puts programs that accept every packet at the beginning and the end of each netfilter hook, for kernels
    /// without fentry and kprobes; `auto,nf` adds them.
    #[arg(long, value_name = "KINDS", default_value = "auto", value_parser = value::kinds, help_heading = "Probes")]
    pub(crate) probes: Kinds,
    /// Put netfilter bookends into this network namespace; repeatable
    ///
    /// Implies `nf`. Without it, `--probes nf` puts them into the namespace it is run in. What is shown does not
    /// depend on it: see --netns.
    #[arg(long, value_name = "NAME", help_heading = "Probes")]
    pub(crate) bookends: Vec<String>,
    /// Size of each CPU's buffer between kernel and pktjourney, in bytes or as 512K, 4M; a power of two
    ///
    /// Without it, 64M are shared out among the CPUs: at most 32M, at least 1M for each.
    #[arg(long, value_name = "SIZE", value_parser = value::buffer_size, help_heading = "Limits")]
    pub(crate) buffer_size: Option<u32>,
}
