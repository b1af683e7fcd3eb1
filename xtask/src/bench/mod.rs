//! `cargo xtask bench`: what tracing costs, beside nothing, beside a floor that only reads the clock, and beside other tools. What
//! measures are the examples of `trace-cli`; here they are told what to do, and what they say becomes tables.

mod plan;
mod results;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use plan::Peer;
use results::Results;
use serde_json::Value;

use crate::{
    util::{self, run, say},
    vm::{self, Guest, Payload},
};

/// Growth of a row of instructions that is a regression.
const TOLERANCE: f64 = 1.03;
/// Where the accepted instructions are kept.
const ACCEPTED: &str = "docs/performance.json";

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure; all when none is named. All but those in a guest and `user-side` need root; they measure this machine
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The guests' kernel lines, for `instructions` and `hook-instructions`
    #[arg(long, default_value = "6.12,5.10", value_delimiter = ',')]
    kernel: Vec<String>,
    /// Fail when a row of instructions is 3 % above the accepted one (docs/performance.json)
    #[arg(long, conflicts_with = "accept")]
    check: bool,
    /// Accept the instructions measured now
    #[arg(long)]
    accept: bool,
    /// Only tools whose name contains this, besides nothing at all; repeatable
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// A program of yours beside the others, in `instructions` and `rates`: its name, what it says once it is at work, and its
    /// command; in a guest, its file is put there. Like 'retis|probe(s) loaded|/opt/retis collect'; repeatable
    #[arg(long, value_name = "NAME|READY|COMMAND", conflicts_with = "accept")]
    peer: Vec<Peer>,
    /// Where the raw results go, one JSON object a line
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Instructions a packet, counted in a guest: the same on every machine
    Instructions,
    /// Instructions of each eBPF program in such a guest, beside the floor's
    HookInstructions,
    /// Runs and ns of all eBPF programs here, beside the floor's
    Hooks,
    /// Packets a second here, the tools by turns; records and bytes a packet
    Rates,
    /// Segments a second through decode, assembler and latency table; memory for each open journey
    UserSide,
    /// Start, stop, and nothing to do
    StartStop,
    /// The ledger at the highest rate, and with the reader stopped
    Overload,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Instructions,
        Self::HookInstructions,
        Self::Hooks,
        Self::Rates,
        Self::UserSide,
        Self::StartStop,
        Self::Overload,
    ];

    /// The example that measures it.
    const fn example(self) -> &'static str {
        match self {
            Self::Instructions | Self::HookInstructions | Self::Hooks | Self::Rates => "cost",
            Self::UserSide => "user_side",
            Self::StartStop => "start_stop_idle",
            Self::Overload => "overload",
        }
    }
}

/// What an example says of itself that becomes a column, and the column's head.
type Column = (&'static str, &'static str);

const USER_SIDE: [Column; 4] = [
    ("open", "open journeys"),
    ("segments_per_second", "segments a second"),
    ("bytes_per_open_journey", "bytes for each open journey"),
    ("peak_bytes", "bytes at most"),
];
const START_STOP: [Column; 6] = [
    ("start_ms", "start, ms"),
    ("stop_ms", "stop, ms"),
    ("idle_seconds", "idle for, s"),
    ("cpu_ms", "CPU time meanwhile, ms"),
    ("wakeups", "wake-ups"),
    ("program_ms", "in eBPF programs, ms"),
];
const OVERLOAD: [Column; 11] = [
    ("command", "command"),
    ("asleep", "stopped"),
    ("sent", "sent"),
    ("per_second", "a second"),
    ("read", "read"),
    ("seen", "`seen`"),
    ("delivered", "`delivered`"),
    ("dropped", "`dropped`"),
    ("lost", "`lost`"),
    ("balances", "balances"),
    ("peak_kib", "memory at most, KiB"),
];

/// Measures, prints the tables, and compares.
pub fn bench(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = |part: Part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    fs::create_dir_all(&arguments.out)?;
    let tools = Tools::build(Part::ALL.into_iter().filter(|&part| chosen(part)))?;
    let mut accepted = accepted()?;
    let mut worse = Vec::new();
    if chosen(Part::Instructions) {
        for kernel in &arguments.kernel {
            let name = format!("instructions-{kernel}");
            let plan = plan::only(plan::instructions(kernel), &arguments.tool);
            let plan = plan::with(plan, arguments.peer.iter().map(Peer::in_guest));
            let said = in_guest(kernel, &tools, &plan, &arguments.peer)?;
            let results = keep(&arguments.out, &name, &said)?;
            print(
                &format!("Instructions a packet, Linux {kernel}"),
                &results.instructions(),
            )?;
            let rows = results.rows();
            worse.extend(results::worse(&name, &accepted[&name], &rows, TOLERANCE));
            merge(&mut accepted[&name], rows);
        }
    }
    if chosen(Part::HookInstructions) {
        for kernel in &arguments.kernel {
            let plan = plan::only(plan::hook_instructions(kernel), &arguments.tool);
            let said = in_guest(kernel, &tools, &plan, &[])?;
            let results = keep(&arguments.out, &format!("hooks-{kernel}"), &said)?;
            print(
                &format!("Instructions a hook, Linux {kernel}"),
                &results.each_hook(),
            )?;
        }
    }
    if chosen(Part::Hooks) {
        let plan = plan::only(plan::hooks(&tools.pktjourney), &arguments.tool);
        let said = here(&tools, &plan)?;
        let results = keep(&arguments.out, "hooks", &said)?;
        print("Time in eBPF programs, here", &results.hooks())?;
    }
    if chosen(Part::Rates) {
        let plan = plan::only(plan::rates(&tools.pktjourney), &arguments.tool);
        let mut plan = plan::with(plan, arguments.peer.iter().cloned());
        if plan::has_bpftrace(&plan) {
            plan::start_bpftrace_by(&mut plan, &vm::bpftrace_command()?);
        }
        let said = here(&tools, &plan)?;
        let results = keep(&arguments.out, "rates", &said)?;
        print("Packets a second, here", &results.rates())?;
        print("Start and stop, here", &results.starts())?;
        print("Sent to user space a packet", &results.rings())?;
    }
    for (part, title, columns) in [
        (Part::UserSide, "User side", &USER_SIDE[..]),
        (
            Part::StartStop,
            "Start, stop, and nothing to do, here",
            &START_STOP,
        ),
        (Part::Overload, "At the highest rate, here", &OVERLOAD),
    ] {
        if chosen(part) {
            let said = tools.measure(part)?;
            let path = arguments.out.join(part.example()).with_extension("jsonl");
            fs::write(&path, &said).with_context(|| format!("cannot write {}", path.display()))?;
            print(title, &results::columns(&said, columns)?)?;
        }
    }
    if arguments.accept {
        let path = util::workspace().join(ACCEPTED);
        fs::write(&path, format!("{:#}\n", accepted))?;
    }
    if arguments.check && !worse.is_empty() {
        for line in &worse {
            say(line);
        }
        bail!("{} rows cost more than {ACCEPTED} accepts", worse.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows that were measured now replace those that were accepted; others stay.
fn merge(accepted: &mut Value, rows: Value) {
    match (accepted.as_object_mut(), rows) {
        (Some(accepted), Value::Object(rows)) => accepted.extend(rows),
        (_, rows) => *accepted = rows,
    }
}

/// What is measured, and what measures it.
struct Tools {
    pktjourney: PathBuf,
    examples: PathBuf,
}

impl Tools {
    fn build(parts: impl Iterator<Item = Part>) -> Result<Self> {
        say("building pktjourney and what measures it (release)");
        let mut build = util::cargo();
        build.args(["build", "--release", "--quiet", "--package", "trace-cli"]);
        build.args(["--bin", "pktjourney"]);
        for part in parts {
            build.args(["--example", part.example()]);
        }
        run(&mut build)?;
        let release = util::target_dir()?.join("release");
        Ok(Self {
            pktjourney: release.join("pktjourney"),
            examples: release.join("examples"),
        })
    }

    /// What the part's example says, a JSON object a line.
    fn measure(&self, part: Part) -> Result<String> {
        if part != Part::UserSide && !util::root() {
            bail!("eBPF programs are loaded and namespaces made: this needs root");
        }
        util::output(&mut Command::new(self.examples.join(part.example())))
    }
}

fn accepted() -> Result<Value> {
    let path = util::workspace().join(ACCEPTED);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{ACCEPTED} is no JSON")),
        Err(_) => Ok(Value::Object(serde_json::Map::new())),
    }
}

/// One processor, one virtual ns an instruction: the sender's CPU time is a count of instructions.
fn in_guest(kernel: &str, tools: &Tools, plan: &Value, peers: &[Peer]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let text = plan.to_string();
    let mut files = vec![
        (tools.pktjourney.clone(), "usr/bin/pktjourney".to_owned()),
        (tools.examples.join("cost"), "usr/bin/cost".to_owned()),
    ];
    files.extend(peers.iter().map(Peer::file));
    let mut others = Vec::new();
    if plan::has_bpftrace(plan) {
        others.push((vm::bpftrace()?, "bpftrace"));
        let scripts = plan::SCRIPTS.map(|name| (plan::script(name), format!("job/{name}")));
        files.extend(scripts);
    }
    let plan = folder.path().join("plan.json");
    fs::write(&plan, text)?;
    files.push((plan, "job/plan.json".to_owned()));
    let mut guest = Guest::new(
        kernel,
        Payload {
            files,
            tools: others,
            script: Some("cost </job/plan.json >/out/results\n".to_owned()),
        },
    );
    guest.deterministic = true;
    guest.out = Some(folder.path().to_path_buf());
    guest.timeout = Duration::from_secs(1200);
    let ended = guest.run()?;
    if ended.code != 0 {
        bail!("the guest's job ended with {}", ended.code);
    }
    fs::read_to_string(folder.path().join("results")).context("the guest's results")
}

fn here(tools: &Tools, plan: &Value) -> Result<String> {
    if !util::root() {
        bail!("eBPF programs are loaded and namespaces made: this needs root");
    }
    let mut child = Command::new(tools.examples.join("cost"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the example `cost`")?;
    let mut input = child.stdin.take().context("a pipe")?;
    input.write_all(plan.to_string().as_bytes())?;
    drop(input);
    let done = child.wait_with_output()?;
    if !done.status.success() {
        bail!("measuring: {}", done.status);
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// Keeps what was said, and reads it.
fn keep(out: &Path, name: &str, said: &str) -> Result<Results> {
    let path = out.join(format!("{name}.jsonl"));
    fs::write(&path, said).with_context(|| format!("cannot write {}", path.display()))?;
    let results = Results::read(said)?;
    for (tool, why) in &results.failed {
        say(format!("{tool} is left out: {why}"));
    }
    Ok(results)
}

fn print(title: &str, table: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "### {title}\n\n{table}")?;
    Ok(())
}
