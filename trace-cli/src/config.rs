//! What is done: the command line, checked as a whole, with defaults and surroundings worked in.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::budget::Share;
use crate::cli::{
    CaptureArgs, Cli, ColorArg, CommandArgs, CostArgs, OutputArgs, ProbeArgs, SelectArgs, StackArgs,
};
use crate::filter::{Filter, FilterError};
use crate::probe::{Kinds, StageSet};
use crate::stack::{Scope, Section};

/// Columns of text that is not written to a terminal.
pub const DEFAULT_WIDTH: usize = 100;
/// Below, nothing is readable.
const NARROWEST: usize = 40;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to do.
    pub command: Command,
    /// How results are written.
    pub output: Output,
    /// `-v`: 1, `-vv`: 2 (the eBPF programs log).
    pub verbose: u8,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Each packet.
    Trace(Capture),
    /// Percentiles for each stage.
    Latency(Capture),
    /// Drops, grouped.
    Drops(Capture),
    /// What this kernel allows.
    Check(Probes),
    /// Counters and settings of the stack.
    Stack(Stack),
    /// Own namespaces, own traffic.
    Demo(Probes),
}

/// What of the stack is shown, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack {
    /// Of which namespaces.
    pub scope: Scope,
    /// Which sections, at length; none is an overview of all.
    pub sections: Vec<Section>,
    /// Again and again, this far apart.
    pub watch: Option<Duration>,
    /// Stop after this many.
    pub count: Option<u64>,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    /// JSON lines instead of text.
    pub json: bool,
    /// Colours in text.
    pub color: bool,
    /// Columns of text.
    pub width: usize,
    /// The kernel stack of drops.
    pub stacks: bool,
}

/// From where packets come, which count, and until when.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Where they come from.
    pub source: Source,
    /// Record into this file, too.
    pub write: Option<PathBuf>,
    /// Which count.
    pub selection: Selection,
    /// Stop after this many that match.
    pub count: Option<u64>,
    /// Stop after this time (of the packets, when a recording is read).
    pub duration: Option<Duration>,
    /// Journeys that may be open at once.
    pub max_journeys: usize,
}

/// Where packets come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// This kernel.
    Live(Probes),
    /// A recording.
    File(PathBuf),
}

/// How to look into the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probes {
    /// Kinds that may be used.
    pub kinds: Kinds,
    /// Namespaces (names or paths) for netfilter bookends; when `kinds.nf` is set and there is none, our own.
    pub bookends: Vec<String>,
    /// Size of each CPU's ring: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Which hooks are attached.
    pub stages: StageSet,
    /// One flow in so many is followed; `None`: all are.
    pub sample: Option<NonZeroU32>,
    /// Fewer are, to keep what tracing takes under this.
    pub budget: Option<Share>,
}

/// Which journeys count: all of these must hold.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The expression.
    pub filter: Filter,
    /// As it was typed; `None` when there was none.
    pub filter_text: Option<String>,
    /// Passes an interface of this name.
    pub interface: Option<String>,
    /// Passes one of these namespaces (names or paths), if there are any.
    pub netns: Vec<String>,
    /// Its total is at least this.
    pub min_latency: Duration,
    /// Was dropped.
    pub only_drops: bool,
}

/// What surrounds the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Environment {
    /// stdout is a terminal.
    pub terminal: bool,
    /// Its columns, where known.
    pub columns: Option<usize>,
    /// NO_COLOR is set, or the terminal cannot.
    pub no_color: bool,
}

/// What was typed makes no sense; exit code 2.
#[derive(Clone, Debug)]
pub enum UsageError {
    /// The filter expression is wrong.
    Filter(FilterError),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => write!(f, "filter expression: {error}"),
        }
    }
}

impl Error for UsageError {}

impl Environment {
    /// Looks around.
    pub fn detect() -> Self {
        let stdout = std::io::stdout();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let typed = std::env::var("COLUMNS")
            .ok()
            .and_then(|text| text.parse().ok());
        let measured = || {
            rustix::termios::tcgetwinsize(&stdout)
                .ok()
                .map(|size| usize::from(size.ws_col))
        };
        Self {
            terminal: stdout.is_terminal(),
            columns: typed.or_else(measured).filter(|&columns| columns > 0),
            no_color: set("NO_COLOR")
                || std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
        }
    }
}

impl Config {
    /// Checks what was typed.
    ///
    /// # Errors
    /// If the filter expression is wrong.
    pub fn new(cli: Cli, environment: Environment) -> Result<Self, UsageError> {
        let mut output = output(&cli.output, environment);
        let command = match cli.command {
            CommandArgs::Trace(args) => {
                output.stacks = !args.no_stack;
                Command::Trace(capture(
                    args.select,
                    args.only_drops,
                    args.capture,
                    probes(args.probe, args.cost),
                )?)
            }
            CommandArgs::Latency(args) => {
                let probes = probes(args.probe, args.cost);
                Command::Latency(capture(args.select, false, args.capture, probes)?)
            }
            CommandArgs::Drops(args) => {
                output.stacks = !args.no_stack;
                let probes = probes(args.probe, CostArgs::default());
                Command::Drops(capture(args.select, true, args.capture, probes)?)
            }
            CommandArgs::Check(args) => {
                let cost = CostArgs {
                    stages: args.stages,
                    ..CostArgs::default()
                };
                Command::Check(probes(args.probe, cost))
            }
            CommandArgs::Stack(args) => Command::Stack(stack(args)),
            CommandArgs::Demo(args) => Command::Demo(probes(args.probe, CostArgs::default())),
        };
        Ok(Self {
            command,
            output,
            verbose: cli.output.verbose,
        })
    }
}

fn output(args: &OutputArgs, environment: Environment) -> Output {
    Output {
        json: args.json,
        color: match args.color {
            ColorArg::Auto => environment.terminal && !environment.no_color,
            ColorArg::Always => true,
            ColorArg::Never => false,
        },
        width: environment.columns.unwrap_or(DEFAULT_WIDTH).max(NARROWEST),
        stacks: true,
    }
}

fn capture(
    select: SelectArgs,
    only_drops: bool,
    capture: CaptureArgs,
    probes: Probes,
) -> Result<Capture, UsageError> {
    let text = select.filter.join(" ");
    Ok(Capture {
        source: match capture.read {
            Some(file) => Source::File(file),
            None => Source::Live(probes),
        },
        write: capture.write,
        selection: Selection {
            filter: Filter::parse(&text).map_err(UsageError::Filter)?,
            filter_text: Some(text).filter(|text| !text.trim().is_empty()),
            interface: select.interface,
            netns: select.netns,
            min_latency: select.min_latency.unwrap_or_default(),
            only_drops,
        },
        count: capture.count,
        duration: capture.duration,
        max_journeys: usize::try_from(capture.max_journeys).unwrap_or(usize::MAX),
    })
}

fn stack(args: StackArgs) -> Stack {
    Stack {
        scope: if args.all_netns {
            Scope::All
        } else if args.netns.is_empty() {
            Scope::Own
        } else {
            Scope::Named(args.netns)
        },
        sections: args.sections,
        watch: args.watch,
        count: args.count,
    }
}

/// 64 MiB for all CPUs: half a second of what a busy CPU sends, and no more memory on a large machine.
fn default_ring() -> u32 {
    const ALL: u32 = 64 << 20;
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    (ALL / cpus.next_power_of_two()).clamp(1 << 20, 32 << 20)
}

fn probes(args: ProbeArgs, cost: CostArgs) -> Probes {
    let mut kinds = args.probes;
    kinds.nf |= !args.bookends.is_empty();
    Probes {
        kinds,
        bookends: args.bookends,
        ring_bytes: args.buffer_size.unwrap_or_else(default_ring),
        stages: cost.stages,
        sample: cost.sample.filter(|one_in| one_in.get() > 1),
        budget: cost.budget,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const PIPE: Environment = Environment {
        terminal: false,
        columns: None,
        no_color: false,
    };
    const TERMINAL: Environment = Environment {
        terminal: true,
        columns: Some(132),
        no_color: false,
    };

    fn config(line: &str, environment: Environment) -> Config {
        let cli = Cli::try_parse_from(line.split_whitespace()).expect(line);
        Config::new(cli, environment).expect(line)
    }

    fn trace(line: &str) -> Capture {
        match config(line, PIPE).command {
            Command::Trace(capture) => capture,
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn the_filter_is_the_trailing_words() {
        let capture = trace("pktjourney trace -c 5 tcp and port 443 --min-latency 1ms");
        assert_eq!(
            capture.selection.filter_text.as_deref(),
            Some("tcp and port 443")
        );
        assert_eq!(capture.selection.min_latency, Duration::from_millis(1));
        assert_eq!(capture.count, Some(5));
        assert_eq!(trace("pktjourney trace").selection.filter_text, None);
    }

    #[test]
    fn a_wrong_filter_is_wrong_usage() {
        let cli =
            Cli::try_parse_from(["pktjourney", "trace", "tpc"]).expect("clap takes any words");
        let error = Config::new(cli, PIPE).expect_err("tpc is no protocol");
        assert!(
            error.to_string().starts_with("filter expression: "),
            "{error}"
        );
    }

    #[test]
    fn bookends_imply_nf_and_netns_does_not() {
        let live = |line| match trace(line).source {
            Source::Live(probes) => probes,
            Source::File(file) => panic!("{line} reads {}", file.display()),
        };
        let bookends = live("pktjourney trace --bookends blue --bookends red");
        assert!(bookends.kinds.nf && bookends.kinds.tp_btf);
        assert_eq!(bookends.bookends, ["blue", "red"]);
        assert!(!live("pktjourney trace --netns blue").kinds.nf);
        assert!(live("pktjourney trace --probes auto,nf").kinds.nf);
    }

    #[test]
    fn colour_and_width_follow_the_terminal() {
        let output = |line, environment| config(line, environment).output;
        assert!(output("pktjourney check", TERMINAL).color);
        assert_eq!(output("pktjourney check", TERMINAL).width, 132);
        assert!(!output("pktjourney check", PIPE).color);
        assert_eq!(output("pktjourney check", PIPE).width, DEFAULT_WIDTH);
        assert!(output("pktjourney check --color always", PIPE).color);
        assert!(
            !output(
                "pktjourney check",
                Environment {
                    no_color: true,
                    ..TERMINAL
                }
            )
            .color
        );
        assert_eq!(
            output(
                "pktjourney check",
                Environment {
                    columns: Some(3),
                    ..TERMINAL
                }
            )
            .width,
            NARROWEST
        );
    }

    #[test]
    fn drops_shows_drops_only() {
        let Command::Drops(capture) = config("pktjourney drops --no-stack", PIPE).command else {
            panic!("drops is drops");
        };
        assert!(capture.selection.only_drops);
        assert!(!config("pktjourney drops --no-stack", PIPE).output.stacks);
    }
}
