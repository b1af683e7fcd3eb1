//! Where the eBPF programs find the members they read, on the running kernel.
//!
//! rustc emits no CO-RE relocations, so user space looks the members up and puts their offsets into read-only data
//! before the programs are loaded.

use trace_ebpf::{Offsets, SKB_SPAN};

use super::btf::Btf;

/// The kernel lacks members without which no packet can be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel's BTF lacks {}", members.join(", "))]
pub struct MissingMembers {
    /// Which, as `struct.member`.
    pub members: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// No packet can be followed without it.
    Required,
    /// What rests on it is left out on kernels that lack it.
    Optional,
}
use Need::{Optional, Required};

struct Row {
    strukt: &'static str,
    path: &'static str,
    need: Need,
    field: fn(&mut Offsets) -> &mut u32,
}

const fn row(
    strukt: &'static str,
    path: &'static str,
    need: Need,
    field: fn(&mut Offsets) -> &mut u32,
) -> Row {
    Row {
        strukt,
        path,
        need,
        field,
    }
}

/// One row for each field of [`Offsets`] that is an offset. Namespaces are optional: without `CONFIG_NET_NS` the members
/// that lead to them do not exist. Widths are the reader's affair; `nf_hook_state.hook` is the one that changed (four
/// bytes on 5.10, one since; on little endian a load of one byte serves both).
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("sk_buff",         "dev",                    Required, |to| &mut to.skb_dev),
    row("sk_buff",         "sk",                     Required, |to| &mut to.skb_sk),
    row("sk_buff",         "len",                    Required, |to| &mut to.skb_len),
    row("sk_buff",         "data_len",               Required, |to| &mut to.skb_data_len),
    row("sk_buff",         "head",                   Required, |to| &mut to.skb_head),
    row("sk_buff",         "data",                   Required, |to| &mut to.skb_data),
    row("sk_buff",         "end",                    Required, |to| &mut to.skb_end),
    row("sk_buff",         "network_header",         Required, |to| &mut to.skb_network_header),
    row("sk_buff",         "protocol",               Required, |to| &mut to.skb_protocol),
    row("sk_buff",         "cb",                     Optional, |to| &mut to.skb_cb),
    row("sk_buff",         "cloned",                 Optional, |to| &mut to.skb_cloned),
    row("skb_shared_info", "dataref",                Optional, |to| &mut to.shinfo_dataref),
    row("net_device",      "ifindex",                Required, |to| &mut to.dev_ifindex),
    row("net_device",      "name",                   Required, |to| &mut to.dev_name),
    row("net_device",      "nd_net.net",             Optional, |to| &mut to.dev_net),
    row("net",             "ns.inum",                Optional, |to| &mut to.net_inum),
    row("sock",            "__sk_common.skc_family", Required, |to| &mut to.sk_family),
    row("sock",            "__sk_common.skc_num",    Required, |to| &mut to.sk_num),
    row("sock",            "__sk_common.skc_net.net",Optional, |to| &mut to.sk_net),
    row("sock",            "sk_protocol",            Optional, |to| &mut to.sk_protocol),
    row("tcp_sock",        "copied_seq",             Optional, |to| &mut to.tcp_copied_seq),
    row("tcp_sock",        "write_seq",              Optional, |to| &mut to.tcp_write_seq),
    row("tcp_skb_cb",      "seq",                    Optional, |to| &mut to.tcp_cb_seq),
    row("nf_hook_state",   "hook",                   Optional, |to| &mut to.nf_hook),
    row("nf_hook_state",   "pf",                     Optional, |to| &mut to.nf_pf),
    row("napi_struct",     "dev",                    Optional, |to| &mut to.napi_dev),
    row("task_struct",     "pid",                    Optional, |to| &mut to.task_pid),
    row("socket",          "sk",                     Optional, |to| &mut to.socket_sk),
    row("sock",            "sk_receive_queue",       Required, |to| &mut to.sk_receive_queue),
    row("udp_sock",        "reader_queue",           Required, |to| &mut to.udp_reader_queue),
];

/// All fields but the two that are no offsets: `skb_cloned_shift` and `skb_span`.
const _: () = assert!(
    (TABLE.len() + 2) * 4 == size_of::<Offsets>(),
    "each field of trace_ebpf::Offsets needs a row in TABLE"
);

/// Looks all of [`Offsets`] up; members that may be missing and are become [`Offsets::ABSENT`].
pub fn resolve(btf: &Btf) -> Result<Offsets, MissingMembers> {
    let mut offsets = Offsets::NONE;
    let mut missing = Vec::new();
    for row in TABLE {
        match btf.member(row.strukt, row.path) {
            Some(member) => *(row.field)(&mut offsets) = member.byte_offset,
            None if row.need == Required => missing.push(format!("{}.{}", row.strukt, row.path)),
            None => {}
        }
    }
    if let Some(cloned) = btf.member("sk_buff", "cloned") {
        offsets.skb_cloned_shift = cloned.bit_offset;
    }
    let looked_at = [
        (offsets.skb_dev, 8),
        (offsets.skb_sk, 8),
        (offsets.skb_len, 4),
        (offsets.skb_data_len, 4),
        (offsets.skb_head, 8),
        (offsets.skb_data, 8),
        (offsets.skb_network_header, 2),
        (offsets.skb_protocol, 2),
        (offsets.skb_cloned, 1),
    ];
    offsets.skb_span = looked_at
        .iter()
        .filter(|(offset, _)| *offset != Offsets::ABSENT)
        .map(|(offset, bytes)| offset.saturating_add(*bytes))
        .max()
        .unwrap_or(0);
    if offsets.skb_span as usize > SKB_SPAN {
        missing.push(format!("sk_buff members within {SKB_SPAN} bytes"));
    }
    if missing.is_empty() {
        Ok(offsets)
    } else {
        Err(MissingMembers { members: missing })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::kernel::btf::{VMLINUX, testing::Builder};

    #[test]
    fn the_table_has_every_field_once() {
        let mut offsets = Offsets::NONE;
        for (number, row) in TABLE.iter().enumerate() {
            *(row.field)(&mut offsets) = number as u32;
        }
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(
                *(row.field)(&mut offsets),
                number as u32,
                "{}.{}",
                row.strukt,
                row.path
            );
        }
        let names: BTreeSet<_> = TABLE.iter().map(|row| (row.strukt, row.path)).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn missing_members_are_named() {
        let mut builder = Builder::new();
        let int = builder.int("int", 4);
        builder.strukt("net_device", 8, &[("ifindex", int, 32, 0)]);
        let error = resolve(&Btf::parse(builder.bytes()).unwrap()).unwrap_err();
        assert!(error.members.contains(&"net_device.name".to_owned()));
        assert!(!error.members.contains(&"net_device.ifindex".to_owned()));
        assert!(!error.members.contains(&"net.ns.inum".to_owned()));
        assert!(error.to_string().contains("sk_buff.dev"));
    }

    #[test]
    fn running_kernel() {
        if !Path::new(VMLINUX).exists() {
            return;
        }
        let mut offsets = resolve(&Btf::from_kernel().unwrap()).unwrap();
        for row in TABLE.iter().filter(|row| row.need == Required) {
            assert_ne!(
                *(row.field)(&mut offsets),
                Offsets::ABSENT,
                "{}.{}",
                row.strukt,
                row.path
            );
        }
        assert!(offsets.skb_cloned_shift < 8);
        assert!(offsets.skb_span > offsets.skb_head && offsets.skb_span as usize <= SKB_SPAN);
    }
}
