//! Names of places: kernel functions, namespaces, interfaces.

use std::borrow::Cow;

use super::paint::clean;
use crate::dictionary::Dictionary;

/// `function+0x12 [module] (file:line)`, or the address.
pub(super) fn function(address: u64, names: &Dictionary) -> String {
    if address == 0 {
        return "an unknown place".to_owned();
    }
    let Some(symbol) = names.symbol(address) else {
        return format!("{address:#018x}");
    };
    let Some(function) = &symbol.function else {
        return format!("{address:#018x}");
    };
    let mut text = format!("{function}+{:#x}", symbol.offset);
    if let Some(module) = &symbol.module {
        text.push_str(&format!(" [{module}]"));
    }
    if let Some(source) = &symbol.source {
        text.push_str(&format!(" ({}:{})", source.file, source.line));
    }
    text
}

/// A namespace's name, or its number.
pub(super) fn namespace(netns: u32, names: &Dictionary) -> Cow<'_, str> {
    match (names.namespace(netns), netns) {
        (Some(name), _) => clean(name),
        (None, 0) => Cow::Borrowed("netns ?"),
        (None, netns) => Cow::Owned(format!("netns {netns}")),
    }
}

/// An interface's name, or its index.
pub(super) fn interface(netns: u32, index: u32, names: &Dictionary) -> Cow<'_, str> {
    match names.interface(netns, index) {
        Some(name) => clean(name),
        None => Cow::Owned(format!("if{index}")),
    }
}
