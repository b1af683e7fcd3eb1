//! A place in the kernel: address, function and offset, and the line of source where it is known.

use serde::{Serialize, Serializer};

use crate::dictionary::Dictionary;

#[derive(Serialize)]
pub(super) struct Place<'a> {
    address: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    /// Only where the function is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// Kernel addresses do not fit into the numbers of most JSON readers.
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#018x}", self.0))
    }
}

/// Describes an address.
pub(super) fn place(address: u64, names: &Dictionary) -> Place<'_> {
    let symbol = names.symbol(address);
    let function = symbol.and_then(|s| s.function.as_deref());
    let source = symbol.and_then(|s| s.source.as_ref());
    Place {
        address: Hex(address),
        function,
        offset: symbol.filter(|_| function.is_some()).map(|s| s.offset),
        module: symbol.and_then(|s| s.module.as_deref()),
        file: source.map(|s| s.file.as_str()),
        line: source.map(|s| s.line),
    }
}

/// Describes a stack; `None` when there is none.
pub(super) fn stack<'a>(addresses: &[u64], names: &'a Dictionary) -> Option<Vec<Place<'a>>> {
    if addresses.is_empty() {
        return None;
    }
    Some(
        addresses
            .iter()
            .map(|&address| place(address, names))
            .collect(),
    )
}
