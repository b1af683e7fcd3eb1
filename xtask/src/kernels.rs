//! `cargo xtask kernels`: the tables of docs/kernels.md, from what `pktjourney check` says on each kernel. With `--check` they are only
//! compared: it fails when a kernel gives something else than the document says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    util::{self, output, run, say},
    vm::{self, Guest, Payload},
};

/// The document.
const DOCUMENT: &str = "docs/kernels.md";
/// The kernel that names the targets.
const REFERENCE: &str = vm::DEFAULT;
/// The column of the machine that is no guest: what it says is taken where it can be asked, and kept where not.
const HARDENED: &str = "6.18 hardened";
/// Lines that begin so name versions, and are not compared.
const SEEN: &str = "Seen on ";

/// What `cargo xtask kernels` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing; fail when the document says something else
    #[arg(long)]
    check: bool,
    /// The guests' kernel line, or all; the other columns are kept
    #[arg(long, default_value = "all")]
    kernel: String,
}

/// Name of the row, and what stands there.
type Column = Vec<(String, String)>;

/// A table: a first column, more of them that name the row, and one for each kernel.
#[derive(Clone, Default)]
struct Table {
    /// The row's name → what is beside it, by column.
    rows: Vec<(String, BTreeMap<String, String>)>,
}

/// Asks all kernels, and writes or compares.
pub fn kernels(arguments: &Arguments) -> Result<ExitCode> {
    let path = util::workspace().join(DOCUMENT);
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let mut hooks = Table::read(&between(&before, "hooks")?);
    let mut circumstances = Table::read(&between(&before, "circumstances")?);
    let mut releases = BTreeMap::new();
    let mut silent = Vec::new();

    let tools = Tools::build()?;
    for line in vm::LINES {
        if arguments.kernel != "all" && arguments.kernel != line {
            continue;
        }
        match tools.ask(line) {
            Ok(said) => {
                releases.insert(line.to_owned(), said.release);
                hooks.take(line, said.hooks);
                if line == REFERENCE {
                    hooks.take("at", said.targets);
                }
                circumstances.take(line, said.circumstances);
            }
            Err(error) if error.is::<vm::Vanished>() => {
                say(format!("{line} is left as it is: {error:#}"));
            }
            Err(error) => {
                say(format!("Linux {line}: {error:#}"));
                silent.push(line);
            }
        }
    }
    if let Some((release, rows)) = tools.hardened()? {
        releases.insert(HARDENED.to_owned(), release);
        hooks.take(HARDENED, rows);
    }

    let guests: Vec<&str> = vm::LINES.to_vec();
    let all: Vec<&str> = guests.iter().copied().chain([HARDENED]).collect();
    let seen: Vec<&str> = releases.values().map(String::as_str).collect();
    let heads: Vec<&str> = ["at"].into_iter().chain(all).collect();
    let hooks = format!(
        "{SEEN}{}.\n\n{}",
        seen.join(", "),
        hooks.write("hook", &heads)
    );
    let circumstances = circumstances.write("circumstance", &guests);
    let after = replaced(&before, "hooks", &hooks)?;
    let after = replaced(&after, "circumstances", &circumstances)?;
    let compared = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with(SEEN));
        lines.map(str::to_owned).collect()
    };
    let (before, now) = (compared(&before), compared(&after));
    let complete = || {
        if !silent.is_empty() {
            bail!(
                "no answer from {}: its column is as it was",
                silent.join(", ")
            );
        }
        Ok(ExitCode::SUCCESS)
    };
    if before == now {
        say(format!("{DOCUMENT} is what the kernels say"));
        return complete();
    }
    for (what, these, others) in [("was", &before, &now), ("is ", &now, &before)] {
        for line in these.iter().filter(|line| !others.contains(line)) {
            say(format!("{what}  {line}"));
        }
    }
    if arguments.check {
        bail!(
            "{DOCUMENT} is not what the kernels say: run `cargo xtask kernels` and see whether that is as it should be"
        );
    }
    fs::write(&path, after)?;
    say(format!("{DOCUMENT} written"));
    complete()
}

/// What one kernel says.
struct Said {
    release: String,
    /// Hook → kinds.
    hooks: Column,
    /// Hook → targets.
    targets: Column,
    circumstances: Column,
}

/// What asks.
struct Tools {
    pktjourney: PathBuf,
    circumstances: PathBuf,
}

impl Tools {
    fn build() -> Result<Self> {
        say("building pktjourney and the example that changes its circumstances (release)");
        run(util::cargo()
            .args(["build", "--release", "--quiet", "--package", "trace-cli"])
            .args(["--bin", "pktjourney", "--example", "circumstances"]))?;
        let release = util::target_dir()?.join("release");
        Ok(Self {
            pktjourney: release.join("pktjourney"),
            circumstances: release.join("examples/circumstances"),
        })
    }

    /// A guest's answers.
    fn ask(&self, line: &str) -> Result<Said> {
        let folder = tempfile::tempdir()?;
        let mut guest = Guest::new(
            line,
            Payload {
                files: vec![
                    (self.pktjourney.clone(), "usr/bin/pktjourney".into()),
                    (self.circumstances.clone(), "usr/bin/circumstances".into()),
                ],
                script: Some(
                    "pktjourney check --json >/out/check && circumstances /usr/bin/pktjourney >/out/circumstances\n"
                        .to_owned(),
                ),
                ..Payload::default()
            },
        );
        guest.out = Some(folder.path().to_path_buf());
        let ended = guest.run()?;
        if ended.code != 0 {
            bail!("the guest's job ended with {}", ended.code);
        }
        let read = |name: &str| {
            fs::read_to_string(folder.path().join(name)).context("the guest's answers")
        };
        let (release, hooks, targets) = plan(&read("check")?)?;
        let circumstances = read("circumstances")?
            .lines()
            .map(|line| Ok(circumstance(&serde_json::from_str(line)?)))
            .collect::<Result<_>>()?;
        Ok(Said {
            release,
            hooks,
            targets,
            circumstances,
        })
    }

    /// This machine's answer, where it is the hardened one.
    fn hardened(&self) -> Result<Option<(String, Column)>> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
        if !util::root() || has_kprobes || !release.starts_with("6.18.") {
            say(format!(
                "this machine is not the hardened one: its column ({HARDENED}) is kept"
            ));
            return Ok(None);
        }
        let said = output(Command::new(&self.pktjourney).args(["check", "--json"]))?;
        let (_, hooks, _) = plan(&said)?;
        // A release of its maker's own says nothing to others.
        Ok(Some(("a hardened 6.18".to_owned(), hooks)))
    }
}

/// Release, kinds and targets by hook, from what `check --json` wrote.
type Plan = (String, Column, Column);
fn plan(text: &str) -> Result<Plan> {
    let session = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["type"] == "session")
        .context("`check` wrote no session")?;
    let mut hooks: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for row in session["attach_plan"]
        .as_array()
        .context("no attach plan")?
    {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let at = hooks.iter().position(|(hook, ..)| *hook == text("hook"));
        let at = at.unwrap_or_else(|| {
            hooks.push((text("hook"), Vec::new(), Vec::new()));
            hooks.len() - 1
        });
        if row["state"] == "attached" {
            let (_, kinds, targets) = &mut hooks[at];
            if !kinds.contains(&text("kind")) {
                kinds.push(text("kind"));
            }
            targets.push(format!("`{}`", text("target")));
        }
    }
    let or_none = |words: &[String]| {
        if words.is_empty() {
            "–".to_owned()
        } else {
            words.join(", ")
        }
    };
    let kinds = hooks
        .iter()
        .map(|(hook, kinds, _)| (format!("`{hook}`"), or_none(kinds)));
    let targets = hooks
        .iter()
        .map(|(hook, _, at)| (format!("`{hook}`"), or_none(at)));
    let release = session["kernel"].as_str().unwrap_or_default().to_owned();
    Ok((release, kinds.collect(), targets.collect()))
}

/// A row's name and what came of it.
fn circumstance(said: &Value) -> (String, String) {
    let name = said["name"].as_str().unwrap_or_default().to_owned();
    let cell = match said["code"].as_i64() {
        _ if said["cannot"] == true => "cannot be".to_owned(),
        Some(0) => {
            let mut cell = format!("{} hooks", said["hooks"]);
            if said["bookends"] == true {
                cell += ", bookends";
            }
            if said["named"] == false {
                cell += ", no names";
            }
            cell
        }
        Some(code) => format!("exit {code}"),
        None => "killed".to_owned(),
    };
    (name, cell)
}

impl Table {
    /// From a document.
    fn read(text: &str) -> Self {
        let mut lines =
            text.lines()
                .filter(|line| line.starts_with('|'))
                .map(|line| -> Vec<&str> {
                    line.trim_matches('|').split(" | ").map(str::trim).collect()
                });
        let heads = lines.next().unwrap_or_default();
        let rows = lines
            .filter(|cells| cells.len() == heads.len())
            .map(|cells| {
                let beside = heads.iter().zip(&cells).skip(1);
                let beside = beside.map(|(head, cell)| ((*head).to_owned(), (*cell).to_owned()));
                (cells[0].to_owned(), beside.collect())
            });
        Self {
            rows: rows.collect(),
        }
    }

    /// Takes a column over. A row that is new comes behind the one before it.
    fn take(&mut self, column: &str, cells: Column) {
        for (_, beside) in &mut self.rows {
            beside.remove(column);
        }
        let mut behind = 0;
        for (name, cell) in cells {
            let at = self.rows.iter().position(|(row, _)| *row == name);
            let at = at.unwrap_or_else(|| {
                self.rows.insert(behind, (name, BTreeMap::new()));
                behind
            });
            self.rows[at].1.insert(column.to_owned(), cell);
            behind = at + 1;
        }
    }

    fn write(&self, first: &str, columns: &[&str]) -> String {
        let mut text = format!("| {first} | {} |\n", columns.join(" | "));
        text += &format!("|---|{}\n", "---|".repeat(columns.len()));
        for (name, beside) in &self.rows {
            // What no kernel names any more.
            if beside.is_empty() {
                continue;
            }
            let cells = columns
                .iter()
                .map(|&column| beside.get(column).map_or("", String::as_str));
            let _ = writeln!(
                text,
                "| {name} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        text
    }
}

fn marks(name: &str) -> [String; 2] {
    [
        format!("<!-- {name}: written by `cargo xtask kernels` -->\n"),
        format!("<!-- end of {name} -->\n"),
    ]
}

/// What stands between a block's marks.
fn between(document: &str, name: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let text = document
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end));
    Ok(text
        .with_context(|| format!("{DOCUMENT} has no block {name}"))?
        .0
        .to_owned())
}

fn replaced(document: &str, name: &str, text: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let (head, rest) = document
        .split_once(&begin)
        .with_context(|| format!("no block {name}"))?;
    let (_, tail) = rest
        .split_once(&end)
        .with_context(|| format!("no end of {name}"))?;
    Ok(format!("{head}{begin}{text}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_replaced_and_the_others_are_kept() {
        let text = "| hook | at | 6.1 | 6.18 hardened |\n|---|---|---|---|\n| `a` | `x`, `y` | fentry | – |\n";
        let mut table = Table::read(text);
        let columns = ["at", "6.1", "6.18 hardened"];
        assert_eq!(table.write("hook", &columns), text);
        let row = |name: &str, cell: &str| (name.to_owned(), cell.to_owned());
        table.take("6.1", vec![row("`a`", "kprobe"), row("`b`", "tp_btf")]);
        assert_eq!(
            table.write("hook", &columns),
            "| hook | at | 6.1 | 6.18 hardened |\n|---|---|---|---|\n| `a` | `x`, `y` | kprobe | – |\n| `b` |  | tp_btf |  |\n"
        );
    }

    #[test]
    fn a_block_is_replaced_between_its_marks() {
        let [begin, end] = marks("hooks");
        let document = format!("before\n{begin}old\n{end}after\n");
        assert_eq!(between(&document, "hooks").unwrap(), "old\n");
        assert_eq!(
            replaced(&document, "hooks", "new\n").unwrap(),
            format!("before\n{begin}new\n{end}after\n")
        );
        assert!(between(&document, "other").is_err());
    }
}
