//! What the kernel counts of each eBPF program: runs, and ns spent in them.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use anyhow::Result;
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde::Serialize;

/// The kernel counts while this lives.
pub struct Statistics {
    _enabled: OwnedFd,
}

/// Of one program name, over all programs of that name.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Runs {
    pub runs: u64,
    pub ns: u64,
}

impl Statistics {
    pub fn enable() -> Result<Self> {
        Ok(Self {
            _enabled: enable_stats(Stats::RunTime)?,
        })
    }

    /// By program id.
    pub fn read(&self) -> Result<BTreeMap<u32, (String, Runs)>> {
        let mut all = BTreeMap::new();
        for program in loaded_programs() {
            // one that has gone meanwhile is none of ours
            let Ok(program) = program else { continue };
            let runs = Runs {
                runs: program.run_count(),
                ns: u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX),
            };
            let name = program.name_as_str().unwrap_or_default().to_owned();
            all.insert(program.id(), (name, runs));
        }
        Ok(all)
    }

    /// By name, what was added.
    pub fn since(&self, before: &BTreeMap<u32, (String, Runs)>) -> Result<BTreeMap<String, Runs>> {
        let mut sums: BTreeMap<String, Runs> = BTreeMap::new();
        for (id, (name, now)) in self.read()? {
            let then = before.get(&id).map(|(_, runs)| *runs).unwrap_or_default();
            if now.runs > then.runs {
                let sum = sums.entry(name).or_default();
                sum.runs += now.runs - then.runs;
                sum.ns += now.ns - then.ns;
            }
        }
        Ok(sums)
    }
}
