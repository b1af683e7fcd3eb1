//! `cargo xtask test`: everything that must pass, with one command. Cheap steps come first; the
//! ground-truth tests run on the machine's own kernel when we are root, and in guests always: all of them on 6.12, those
//! that depend on the kernel on the others, two guests at a time.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build_ebpf,
    util::{self, output, run, say},
    vm::{self, Guest, Payload, quoted},
};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the guests
    #[arg(long, conflicts_with = "vm_only")]
    no_vm: bool,
    /// Only the ground-truth tests in the guests
    #[arg(long)]
    vm_only: bool,
    /// The guests' kernel line, or all
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Only tests whose name contains this; leaves out formatting, lints and the eBPF object
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Programs that the ground-truth tests call, and the Debian packages that have them.
const NEEDED: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("sysctl", "procps"),
];
/// Test targets that need root and a kernel's network stack: those run in the guest.
const GROUND_TRUTH: [&str; 3] = ["netns", "stack", "vm"];

/// The one that leaves the guest unfit for any other.
const LAST: &str = "vm";

/// Tests left out on all kernels but the default one: what they prove rests on this program alone, or takes long and is
/// shown on a smaller scale by others.
const ONCE: [&str; 7] = [
    "ending::",
    "lab::",
    "load::",
    "delivered::ten_thousand_datagrams",
    "cost::a_sample",
    "meanwhile::people",
    "privileges::check_says",
];
/// Tests that run a second time on the default line, with kprobes only …
const BY_KPROBE: [&str; 4] = ["delivered::", "tcp::", "forward::", "drops::"];
/// … without the long ones.
const NOT_BY_KPROBE: [&str; 3] = ["ten_thousand", "bulk_data", "grouped_and_counted"];
/// Runs a test program in the guest. What fails is run once more by itself: an emulated machine is thirty times slower, and
/// takes the processor from a thread where none ever did. That a test needed it is said ([`UNSTEADY`]), and a test that
/// fails twice has failed.
const TESTS: &str = r#"failed=0
tests() {
    program=$1
    { "$@" 2>&1; echo $? >/tmp/code; } | tee /tmp/said
    [ "$(cat /tmp/code)" = 0 ] && return
    names=$(sed -n 's/^test \([^ ]*\).* \.\.\. FAILED$/\1/p' /tmp/said)
    [ -n "$names" ] || failed=101
    for name in $names; do
        if "$program" --test-threads=1 --exact "$name"; then
            echo "unsteady: $name"
        else
            failed=101
        fi
    done
}
"#;
/// How a line begins that names a test which passed only when it was run again.
const UNSTEADY: &str = "unsteady: ";

/// Guests that run at once. Each has two processors, of which it seldom uses both.
const AT_ONCE: usize = 2;

/// Passed and failed tests.
#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs it all; the last line is the sum.
pub fn test(arguments: &Arguments) -> Result<ExitCode> {
    let mut count = Count::default();
    let mut broken = Vec::new();
    if !arguments.vm_only {
        if arguments.filter.is_empty() {
            step(&mut broken, "formatting", || {
                run(util::cargo().args(["fmt", "--all", "--check"]))
            });
            step(&mut broken, "lints", || {
                run(util::cargo()
                    .args(["clippy", "--quiet", "--workspace", "--all-targets"])
                    .args(["--", "-D", "warnings"]))
            });
            step(&mut broken, "the eBPF object", || {
                build_ebpf::build_ebpf(true)
            });
        }
        let mut local = || {
            if util::root() {
                install()?;
            }
            local(&arguments.filter, &mut count)
        };
        step(&mut broken, "tests", &mut local);
    }
    if !arguments.no_vm {
        let lines = match arguments.kernel.as_str() {
            "all" => vm::LINES.to_vec(),
            line => vec![line],
        };
        match payloads(&lines, &arguments.filter) {
            Ok(work) => guests(work, &mut count, &mut broken),
            Err(error) => step(&mut broken, "tests in guests", || Err(error)),
        }
    }
    if !broken.is_empty() {
        say(format!("did not pass: {}", broken.join(", ")));
    }
    // A step that broke without a failed test of its own counts as one.
    let failed = count.failed.max(broken.len() as u64);
    writeln!(
        io::stdout(),
        "{} passed, {failed} failed, {} ignored",
        count.passed,
        count.ignored
    )?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one step to its end; a broken one does not keep the others from running.
fn step(broken: &mut Vec<String>, name: &str, work: impl FnOnce() -> Result<()>) {
    say(format!("--- {name}"));
    if let Err(error) = work() {
        say(format!("{name}: {error:#}"));
        broken.push(name.to_owned());
    }
}

/// Installs what the ground-truth tests call, where that is ours to do.
fn install() -> Result<()> {
    let mut packages: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| util::which(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if util::which("apt-get").is_none() {
        bail!("the ground-truth tests need these packages (Debian's names): {names}");
    }
    say(format!(
        "installing what the ground-truth tests call: {names}"
    ));
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .stdout(Stdio::null());
        command
    };
    // An old list names packages that the mirror no longer has; other sources may be out of reach.
    let _ = apt().arg("update").status();
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(&packages))
    .with_context(|| format!("install them yourself: apt-get install {names}"))
}

/// The tests that run on this machine.
fn local(filter: &[String], count: &mut Count) -> Result<()> {
    let mut cargo = util::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if !util::root() {
        say("not root: the ground-truth tests run only in the guest");
        cargo.args(["--lib", "--bins"]);
        for (name, _) in executables(false)? {
            if !ground_truth(&name) {
                cargo.args(["--test", &name]);
            }
        }
    }
    cargo.arg("--").args(filter);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let pipe = child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(pipe).lines() {
        let line = line?;
        count.add(&line);
        writeln!(io::stdout(), "{line}")?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo test: {status}");
    }
    Ok(())
}

/// For each kernel line what its guest brings and runs, the longest first.
fn payloads<'a>(lines: &[&'a str], filter: &[String]) -> Result<Vec<(&'a str, Payload)>> {
    let pktjourney = vm::pktjourney()?;
    let tests: Vec<_> = executables(true)?
        .into_iter()
        .filter(|(name, _)| ground_truth(name))
        .collect();
    let filter: Vec<String> = filter.iter().map(|word| quoted(word)).collect();
    let mut work: Vec<(&str, Payload)> = lines
        .iter()
        .map(|&line| {
            let mut files = vec![(pktjourney.clone(), "usr/bin/pktjourney".to_owned())];
            let mut script = format!(
                "export PKTJOURNEY_BIN=/usr/bin/pktjourney PKTJOURNEY_VM={} RUST_BACKTRACE=0\n\
                 {TESTS}",
                quoted(line)
            );
            let skipped = if line == vm::DEFAULT {
                String::new()
            } else {
                ONCE.map(|name| format!(" --skip {name}")).concat()
            };
            let (mut runs, mut last) = (String::new(), String::new());
            for (name, path) in &tests {
                files.push((path.clone(), format!("job/{name}")));
                let runs = if name == LAST { &mut last } else { &mut runs };
                // One at a time: an emulated processor gives several tracers too little time each.
                runs.push_str(&format!(
                    "echo; echo '     Running {name} in the guest'\n\
                     tests /job/{name} --test-threads=1{skipped} {}\n",
                    filter.join(" ")
                ));
            }
            script.push_str(&runs);
            // What `--probes kprobe` says must be as true.
            if line == vm::DEFAULT && filter.is_empty() {
                script.push_str(&format!(
                    "echo; echo '     Running netns in the guest, by kprobes'\n\
                     export PKTJOURNEY_PROBES=kprobe\n\
                     tests /job/netns --test-threads=1 {}{}\n\
                     unset PKTJOURNEY_PROBES\n",
                    BY_KPROBE.join(" "),
                    NOT_BY_KPROBE.map(|word| format!(" --skip {word}")).concat()
                ));
            }
            script.push_str(&last);
            script.push_str("exit $failed\n");
            let script = Some(script);
            let payload = Payload {
                files,
                script,
                ..Payload::default()
            };
            (line, payload)
        })
        .collect();
    work.sort_by_key(|(line, _)| *line != vm::DEFAULT);
    Ok(work)
}

/// Runs the guests, some at a time.
fn guests(work: Vec<(&str, Payload)>, count: &mut Count, broken: &mut Vec<String>) {
    let several = work.len() > 1;
    let queue = Mutex::new(work.into_iter());
    let results = Mutex::new((count, broken));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((line, payload)) = next() {
                    say(format!("--- ground-truth tests on {line}"));
                    let mut guest = Guest::new(line, payload);
                    guest.named = several;
                    let ended = guest.run();
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    let (count, broken) = &mut *results;
                    let why = match ended {
                        Ok(ended) => {
                            let mut here = Count::default();
                            for text in ended.stdout.lines() {
                                here.add(text);
                                if let Some(name) = text.strip_prefix(UNSTEADY) {
                                    say(format!("{line}: passed only when run again: {name}"));
                                }
                            }
                            if ended.code == 0 {
                                here.failed = 0;
                            }
                            count.passed += here.passed;
                            count.failed += here.failed;
                            count.ignored += here.ignored;
                            if ended.code == 0 {
                                continue;
                            }
                            format!("tests failed in the guest (exit code {})", ended.code)
                        }
                        // Mirrors drop old lines: that is said, and is nobody's fault here.
                        Err(error) if error.is::<vm::Vanished>() => {
                            say(format!("{line} is left out: {error:#}"));
                            continue;
                        }
                        Err(error) => format!("{error:#}"),
                    };
                    say(format!("{line}: {why}"));
                    broken.push(format!("ground-truth tests on {line}"));
                }
            });
        }
    });
}

fn ground_truth(target: &str) -> bool {
    GROUND_TRUTH.iter().any(|prefix| target.starts_with(prefix))
}

/// The integration-test targets of the workspace: name and executable, built first when asked.
fn executables(build: bool) -> Result<Vec<(String, PathBuf)>> {
    if build {
        say("building the tests");
        let text = output(util::cargo().args([
            "test",
            "--no-run",
            "--quiet",
            "--package",
            "trace-cli",
            "--message-format=json-render-diagnostics",
        ]))?;
        return Ok(text.lines().filter_map(built).collect());
    }
    let text = output(util::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    let targets = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    Ok(targets
        .filter(Target::is_test)
        .map(|t| (t.name, PathBuf::new()))
        .collect())
}

/// One line of cargo's messages: an integration test's name and executable.
fn built(line: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target.filter(Target::is_test)?;
    Some((
        target.name,
        message
            .executable
            .filter(|path| path.as_path() != Path::new(""))?,
    ))
}

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(serde::Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(serde::Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn is_test(&self) -> bool {
        self.kind.iter().any(|kind| kind == "test")
    }
}

impl Count {
    /// Adds what a test program's closing line says.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = rest
            .split([' ', '.'])
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed;" => self.passed += number,
                "failed;" => self.failed += number,
                "ignored;" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut count = Count::default();
        count.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s");
        count.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out");
        count.add("running 3 tests");
        assert_eq!((count.passed, count.failed, count.ignored), (15, 2, 1));
    }
}
