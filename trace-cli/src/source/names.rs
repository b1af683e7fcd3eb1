//! Names that the kernel's records do not carry: symbols of addresses, names of namespaces. They are looked up
//! when a record first speaks of them, and travel in the stream in front of it.

use std::collections::BTreeSet;

use crate::{
    decode::{Record, decode},
    kernel::{
        netns,
        symbols::{Resolve as _, Symbols},
    },
    pipeline::Learnt,
};

/// What was looked up already.
pub struct Learner {
    symbols: Symbols,
    addresses: BTreeSet<u64>,
    namespaces: BTreeSet<u32>,
    warned: bool,
}

/// Addresses and namespaces remembered; beyond, they are looked up again.
const LIMIT: usize = 65_536;

impl Learner {
    /// Begins to read the kernel's symbols, in the background.
    pub fn new() -> Self {
        let mut symbols = Symbols::new();
        symbols.preload();
        Self {
            symbols,
            addresses: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            warned: false,
        }
    }

    /// What has to be known to print the record, if it is not known yet: an [`Item::Names`](super::item::Item::Names).
    pub fn look(&mut self, record: &[u8]) -> Option<String> {
        const DROP: u8 = trace_ebpf::Kind::Drop as u8;
        const DEVICE: u8 = trace_ebpf::Kind::Device as u8;
        // all others speak of nothing that needs looking up
        if !matches!(record.first(), Some(&DROP | &DEVICE)) {
            return None;
        }
        let mut learnt = Learnt::default();
        match decode(record).ok()? {
            Record::Drop(drop) => {
                let new: Vec<u64> = std::iter::once(drop.location)
                    .chain(drop.stack.iter().copied())
                    .filter(|address| *address != 0 && !self.addresses.contains(address))
                    .collect();
                let symbols = self.symbols.resolve_stack(&new);
                learnt.symbols = new.iter().copied().zip(symbols).collect();
                if self.addresses.len() > LIMIT {
                    self.addresses.clear();
                }
                self.addresses.extend(new);
                if !self.warned
                    && let Some(why) = self.symbols.unavailable()
                {
                    self.warned = true;
                    learnt.no_symbols = Some(why.to_owned());
                }
            }
            Record::Device(device) => {
                if self.namespaces.len() > LIMIT {
                    self.namespaces.clear();
                }
                if self.namespaces.insert(device.netns) {
                    learnt.namespaces = netns::names()
                        .into_iter()
                        .filter(|(inode, _)| *inode == device.netns)
                        .collect();
                }
            }
            _ => {}
        }
        if learnt.symbols.is_empty() && learnt.namespaces.is_empty() {
            return None;
        }
        serde_json::to_string(&learnt).ok()
    }
}

impl Default for Learner {
    fn default() -> Self {
        Self::new()
    }
}
