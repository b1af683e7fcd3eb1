//! The record of what the kernel counted by itself during a trace: `meanwhile`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stack::{
    SectionError,
    interfaces::Interface,
    meanwhile::{Counted, Meanwhile},
    sockets::Protocol,
    softirq::Cpu,
};

#[derive(Serialize)]
pub(super) struct MeanwhileRecord<'a> {
    start_ns: u64,
    end_ns: u64,
    cpus: &'a [Cpu],
    namespaces: Vec<NamespaceRecord<'a>>,
    missing: &'a [SectionError],
}

#[derive(Serialize)]
struct NamespaceRecord<'a> {
    name: &'a str,
    inode: u32,
    protocols: &'a BTreeMap<String, u64>,
    sockets_before: &'a [Protocol],
    sockets_after: &'a [Protocol],
    interfaces: &'a [Interface],
}

pub(super) fn record(meanwhile: &Meanwhile) -> MeanwhileRecord<'_> {
    MeanwhileRecord {
        start_ns: meanwhile.start_ns,
        end_ns: meanwhile.end_ns,
        cpus: &meanwhile.cpus,
        namespaces: meanwhile.namespaces.iter().map(namespace).collect(),
        missing: &meanwhile.missing,
    }
}

fn namespace(counted: &Counted) -> NamespaceRecord<'_> {
    let [before, after] = &counted.sockets;
    NamespaceRecord {
        name: &counted.name,
        inode: counted.inode,
        protocols: &counted.protocols,
        sockets_before: before,
        sockets_after: after,
        interfaces: &counted.interfaces,
    }
}
