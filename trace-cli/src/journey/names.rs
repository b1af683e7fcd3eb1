//! Process names, so that a journey can say who sent and who read it.

use std::{collections::BTreeMap, sync::Arc};

use crate::decode::ProcessRecord;

use super::model::Process;

/// Names kept; beyond, those of the lowest thread ids are forgotten.
const LIMIT: usize = 65_536;

/// What is known of threads.
#[derive(Default, Debug)]
pub(super) struct Names(BTreeMap<u32, (u32, Arc<str>)>);

impl Names {
    pub(super) fn learn(&mut self, record: ProcessRecord) {
        self.0.insert(record.pid, (record.tgid, record.name.into()));
        if self.0.len() > LIMIT {
            self.0.pop_first();
        }
    }

    /// The process of a thread; `None` for thread 0, the idle task, which sends nothing by itself.
    pub(super) fn process(&self, pid: u32) -> Option<Process> {
        if pid == 0 {
            return None;
        }
        let (tgid, name) = self.0.get(&pid).cloned().unwrap_or_default();
        Some(Process { pid, tgid, name })
    }
}
