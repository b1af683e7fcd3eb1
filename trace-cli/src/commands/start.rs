//! From options to attached probes, and the preface that describes them.

use std::{num::NonZeroU32, path::Path};

use rustix::system::uname;
use trace_ebpf::Config as Programs;

use super::Failure;
use crate::{
    budget::Budget,
    config::Probes,
    dictionary::Dictionary,
    filter::{Filter, Rewriting},
    kernel::{
        btf::Btf,
        clock::{ClockOffset, monotonic_ns},
        drop_reason::{DropReasons, kfree_skb_has_reason},
        features::Facts,
        netns,
        obstacle::{self, require},
        offsets,
    },
    pipeline::{Preface, Report},
    probe::{self, Loaded, Plan, State, counts},
    session::{NotProbed, PlanRow, PlanState, SCHEMA_VERSION, Sample, Session},
    stack::meanwhile::{Moment, Watch},
};

/// What is asked of the kernel side.
pub struct Wanted<'a> {
    /// The command.
    pub report: Report,
    /// Kinds, bookends, rings.
    pub probes: &'a Probes,
    /// The expression, for what of it the kernel side can decide.
    pub filter: &'a Filter,
    /// As it was typed.
    pub filter_text: Option<String>,
    /// Namespaces asked for, by name, file or inode number.
    pub netns: &'a [String],
    /// Take kernel stacks of drops.
    pub stacks: bool,
    /// Let the programs log.
    pub log: bool,
}

/// A trace that has begun.
pub struct Started {
    /// Probes in place.
    pub loaded: Loaded,
    /// What was attached.
    pub preface: Preface,
    /// What the kernel counts by itself, to be read again at the end.
    pub watch: Watch,
    /// What it had counted at the start.
    pub moment: Moment,
}

/// Attaches, and describes what was attached.
pub fn start(wanted: &Wanted<'_>) -> Result<Started, Failure> {
    let btf = Btf::from_kernel();
    let facts = Facts::gather(btf.as_ref());
    require(&facts)?;
    let Ok(btf) = btf else {
        unreachable!("`require` has asked for BTF")
    };
    for name in wanted.netns {
        if name.parse::<u32>().is_err() && name != netns::HOST {
            netns::path(name)?;
        }
    }
    if wanted.probes.budget.is_some() {
        // only to see whether we may
        counts::statistics().map_err(Failure::Statistics)?;
    }
    let reasons = DropReasons::from_kernel(&btf);
    let options = probe::Options {
        kinds: wanted.probes.kinds,
        offsets: offsets::resolve(&btf)?,
        config: programs(wanted, &btf),
        bookends: bookends(wanted.probes)?,
        ring_bytes: wanted.probes.ring_bytes,
        only_drops: wanted.report == Report::Drops,
        stages: wanted.probes.stages,
        one_in: wanted.probes.sample.unwrap_or(NonZeroU32::MIN),
        log: wanted.log,
        floor: false,
    };
    drop(btf);
    let loaded = probe::load(&options).map_err(|error| {
        let kept_from = error
            .is_permission()
            .then(|| obstacle::of_memory(&facts))
            .flatten();
        kept_from.map_or_else(|| Failure::from(error), Failure::from)
    })?;

    let mut watch = Watch::open(wanted.netns);
    let moment = watch.read();

    let clock = ClockOffset::measure();
    let mut names = Dictionary::new(clock);
    for (code, name) in reasons.iter() {
        names.insert_drop_reason(code, name);
    }
    if let Some(host) = netns::host() {
        names.insert_namespace(host, netns::HOST);
    }
    for (inode, name) in netns::names() {
        names.insert_namespace(inode, name);
    }
    let preface = Preface {
        session: session(wanted, &facts, clock, &loaded),
        names,
        stamps: loaded
            .plan
            .stamps()
            .into_iter()
            .map(|hook| hook as u8)
            .collect(),
    };
    Ok(Started {
        loaded,
        preface,
        watch,
        moment,
    })
}

fn bookends(probes: &Probes) -> Result<Vec<Option<String>>, Failure> {
    if !probes.kinds.nf {
        return Ok(Vec::new());
    }
    if probes.bookends.is_empty() {
        return Ok(vec![None]);
    }
    for name in &probes.bookends {
        netns::path(name)?;
    }
    Ok(probes.bookends.iter().cloned().map(Some).collect())
}

fn programs(wanted: &Wanted<'_>, btf: &Btf) -> Programs {
    let filter = wanted.filter.prefilter().despite(rewriting());
    let mut programs = Programs {
        kfree_has_reason: u32::from(kfree_skb_has_reason(btf)),
        recv_udp_noblock: u32::from(has_parameter(btf, "__skb_recv_udp", "noblock")),
        stacks: u32::from(wanted.stacks),
        unseen_drivers: u32::from(!wanted.probes.stages.has("start_xmit")),
        sample: u32::from(wanted.probes.sample.is_some() || wanted.probes.budget.is_some()),
        ..Programs::default()
    };
    if !filter.is_empty() {
        programs.filter = 1;
        programs.filter_ethertype = filter.ether_type.map_or(0, u32::from);
        programs.filter_protocol = filter.protocol.map_or(0, u32::from);
        programs.filter_port = filter.port.map_or(0, u32::from);
        match filter.host {
            Some(std::net::IpAddr::V4(host)) => {
                programs.filter_host_len = 4;
                programs.filter_host[..4].copy_from_slice(&host.octets());
            }
            Some(std::net::IpAddr::V6(host)) => {
                programs.filter_host_len = 16;
                programs.filter_host = host.octets();
            }
            None => {}
        }
    }
    programs
}

fn has_parameter(btf: &Btf, function: &str, name: &str) -> bool {
    btf.func_params(function)
        .is_some_and(|params| params.iter().any(|param| param.name == name))
}

/// What may change a packet's headers or namespace on its way, on this host. Namespaces always may.
fn rewriting() -> Rewriting {
    let interfaces = std::fs::read_dir("/sys/class/net");
    let tunnels = interfaces.into_iter().flatten().flatten().any(|interface| {
        let read = |file| std::fs::read_to_string(interface.path().join(file)).unwrap_or_default();
        // ARPHRD_TUNNEL, _TUNNEL6, _SIT, _IPGRE, _IP6GRE, _NONE (tun, wireguard)
        let kind = read("type");
        matches!(kind.trim(), "768" | "769" | "776" | "778" | "823" | "65534")
            || ["vxlan", "geneve", "bareudp"]
                .iter()
                .any(|name| read("uevent").contains(&format!("DEVTYPE={name}")))
    });
    Rewriting {
        nat: Path::new("/proc/sys/net/netfilter/nf_conntrack_count").exists(),
        tunnels,
        namespaces: true,
    }
}

fn session(wanted: &Wanted<'_>, facts: &Facts, clock: ClockOffset, loaded: &Loaded) -> Session {
    let plan = &loaded.plan;
    Session {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: uname().nodename().to_string_lossy().into_owned(),
        kernel: facts.release.clone(),
        arch: facts.architecture.clone(),
        clock,
        start_ns: monotonic_ns(),
        command: wanted.report.name().to_owned(),
        filter: wanted.filter_text.clone(),
        sample: wanted.probes.sample.map(|one_in| Sample {
            one_in: one_in.get(),
        }),
        budget: wanted.probes.budget.map(|share| Budget {
            share,
            cpus: loaded.cpus(),
        }),
        attach_plan: rows(plan),
        not_probed: if wanted.report == Report::Drops {
            Vec::new()
        } else {
            not_probed(plan)
        },
    }
}

/// The plan as the session tells it.
pub fn rows(plan: &Plan) -> Vec<PlanRow> {
    plan.rows
        .iter()
        .map(|row| {
            let (state, reason) = match &row.state {
                State::Attached => (PlanState::Attached, row.refused.clone()),
                State::Failed(why) => (PlanState::Failed, Some(why.clone())),
                State::Skipped(why) => (PlanState::Skipped, Some(why.clone())),
            };
            PlanRow {
                hook: row.hook.to_owned(),
                kind: row.kind.as_str().to_owned(),
                target: row.target.clone(),
                state,
                reason,
                netns: row.netns.clone(),
            }
        })
        .collect()
}

/// The stages nobody will see, as the session tells them.
pub fn not_probed(plan: &Plan) -> Vec<NotProbed> {
    plan.not_probed()
        .into_iter()
        .map(|(stage, why)| NotProbed {
            stage: stage.as_str().to_owned(),
            why,
        })
        .collect()
}
