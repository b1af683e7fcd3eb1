//! `check`: what this kernel and these privileges allow, found out by attaching everything for a moment.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::{Failure, start};
use crate::{
    config::{Output, Probes},
    filter::Filter,
    kernel::{
        btf::Btf,
        features::{Answer, Facts, Lockdown, Missing, ProbeKinds, remedy},
    },
    pipeline::Report,
    session::{PlanState, Session},
    sink::{self, Sink as _, json::Json},
};

/// The JSON record; a `session` record follows when probes could be attached.
#[derive(Serialize)]
#[serde(tag = "type", rename = "check")]
struct Record<'a> {
    facts: &'a Facts,
    /// Capabilities that would let us see more.
    missing: Vec<Missing>,
    /// Why no trace can be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
}

/// Runs the command; gives the exit code: 0 when traces can be made, else that of the obstacle.
pub fn run(probes: &Probes, output: Output) -> Result<u8, Failure> {
    let mut facts = Facts::gather(Btf::from_kernel().as_ref());
    let started = start::start(&start::Wanted {
        report: Report::Trace,
        probes,
        filter: &Filter::default(),
        filter_text: None,
        netns: &[],
        stacks: true,
        log: false,
    });
    let (session, failure) = match started {
        Ok(started) => (Some(started.preface.session), None),
        Err(failure) => (None, Some(failure)),
    };
    if let Some(session) = &session {
        facts.probes = kinds(session);
    }
    write(&facts, session.as_ref(), failure.as_ref(), output).map_err(Failure::Output)?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

fn write(
    facts: &Facts,
    session: Option<&Session>,
    failure: Option<&Failure>,
    output: Output,
) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if output.json {
        let record = Record {
            facts,
            missing: facts.missing(),
            obstacle: failure.map(|failure| format!("{:#}", Chain(failure))),
        };
        serde_json::to_writer(&mut out, &record)?;
        out.write_all(b"\n")?;
        if let Some(session) = session {
            Json::new(&mut out).session(session)?;
        }
    } else {
        write_facts(&mut out, facts)?;
        if let Some(session) = session {
            writeln!(out)?;
            sink::open(output, &mut out, io::sink()).plan(session)?;
        }
    }
    out.flush()
}

/// An error with its causes.
struct Chain<'a>(&'a Failure);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// What the attach plan says of each probe kind.
fn kinds(session: &Session) -> ProbeKinds {
    let of = |names: &[&str]| {
        let mut answer = Answer::Untried;
        for row in &session.attach_plan {
            if !names.contains(&row.kind.as_str()) {
                continue;
            }
            match (row.state, &row.reason) {
                (PlanState::Attached, _) => return Answer::Yes,
                (PlanState::Failed, Some(why)) if answer == Answer::Untried => {
                    answer = Answer::No(why.clone());
                }
                _ => {}
            }
        }
        answer
    };
    // a row shows the last kind tried; what was tried before it is in its reason
    let before = |kind: &str| {
        session
            .attach_plan
            .iter()
            .filter_map(|row| row.reason.as_deref())
            .flat_map(|reason| reason.split("; "))
            .find_map(|part| part.strip_prefix(kind)?.strip_prefix(": "))
            .map_or(Answer::Untried, |why| Answer::No(why.to_owned()))
    };
    let or_before = |answer: Answer, kind| {
        if answer.is_yes() {
            answer
        } else {
            before(kind)
        }
    };
    ProbeKinds {
        tp_btf: of(&["tp_btf"]),
        raw_tp: of(&["raw_tp"]),
        fentry: or_before(of(&["fentry", "fexit"]), "fentry"),
        kprobe: or_before(of(&["kprobe", "kretprobe"]), "kprobe"),
        nf: of(&["nf"]),
    }
}

fn write_facts(out: &mut dyn Write, facts: &Facts) -> io::Result<()> {
    let capabilities = &facts.capabilities;
    let held: Vec<_> = [
        ("CAP_BPF", capabilities.bpf),
        ("CAP_PERFMON", capabilities.perfmon),
        ("CAP_NET_ADMIN", capabilities.net_admin),
        ("CAP_SYS_ADMIN", capabilities.sys_admin),
        ("CAP_SYSLOG", capabilities.syslog),
    ]
    .into_iter()
    .map(|(name, held)| format!("{name} {}", if held { "yes" } else { "no" }))
    .collect();
    let number = |value: Option<i32>| value.map_or("unknown".to_owned(), |value| value.to_string());
    let rows = [
        (
            "kernel",
            format!("Linux {} {}", facts.release, facts.architecture),
        ),
        (
            "privileges",
            format!("uid {}; {}", facts.euid, held.join(", ")),
        ),
        ("BTF", answer(&facts.btf)),
        ("bpf()", answer(&facts.bpf)),
        (
            "lockdown",
            match &facts.lockdown {
                Lockdown::Unknown => "unknown (securityfs is not mounted)".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            },
        ),
        ("reading kernel memory", answer(&facts.reads)),
        ("names of functions", answer(&facts.symbols)),
        (
            "switched off",
            match (facts.switches.no_functions(), facts.switches.no_kprobes()) {
                (None, None) => "nothing".to_owned(),
                (functions, kprobes) => [functions, kprobes]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("; "),
            },
        ),
        (
            "unprivileged_bpf_disabled",
            number(facts.unprivileged_bpf_disabled),
        ),
        ("perf_event_paranoid", number(facts.perf_event_paranoid)),
        ("tp_btf", answer(&facts.probes.tp_btf)),
        ("raw_tp", answer(&facts.probes.raw_tp)),
        ("fentry, fexit", answer(&facts.probes.fentry)),
        ("kprobe, kretprobe", answer(&facts.probes.kprobe)),
        ("netfilter link", answer(&facts.probes.nf)),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<26} {value}")?;
    }
    let missing = facts.missing();
    for Missing { capability, lost } in &missing {
        writeln!(out, "{:<26} {capability}, for {lost}", "missing")?;
    }
    if !missing.is_empty() {
        writeln!(out, "{:<26} {}", "what to do", remedy())?;
    }
    Ok(())
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Untried => "not tried".to_owned(),
        Answer::Yes => "yes".to_owned(),
        Answer::No(why) => format!("no: {why}"),
    }
}
