//! Giving privileges back: once the probes are attached, hardly any is needed.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What reading rings, sweeping (`BPF_PROG_TEST_RUN`, before Linux 5.19) and naming symbols still needs.
const KEPT: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYSLOG);

/// Gives up every capability but CAP_BPF and CAP_SYSLOG, for good, and for programs started later too.
/// Threads started before keep theirs. Who has no CAP_BPF traces by CAP_SYS_ADMIN, and keeps that. For a budget it is kept, too, but
/// in effect only inside of [`as_admin`].
pub fn drop_privileges(budget: bool) -> io::Result<()> {
    let now = capabilities(None)?;
    let needed = if now.permitted.contains(CapabilitySet::BPF) {
        KEPT
    } else {
        KEPT | CapabilitySet::SYS_ADMIN
    };
    for one in CapabilitySet::all().difference(needed).iter() {
        // refused where CAP_SETPCAP is missing: then it cannot be regained by exec either
        let _ = remove_capability_from_bounding_set(one);
    }
    let reserve = if budget {
        CapabilitySet::SYS_ADMIN
    } else {
        CapabilitySet::empty()
    };
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.permitted.intersection(needed),
            permitted: now.permitted.intersection(needed | reserve),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Does this with CAP_SYS_ADMIN in effect, if it was kept.
pub fn as_admin<T>(what: impl FnOnce() -> T) -> T {
    let before = capabilities(None);
    if let Ok(before) = before {
        let admin = before.permitted.intersection(CapabilitySet::SYS_ADMIN);
        // where this is refused, so will be what it is for
        let _ = set_capabilities(
            None,
            CapabilitySets {
                effective: before.effective | admin,
                ..before
            },
        );
    }
    let result = what();
    if let Ok(before) = before {
        let _ = set_capabilities(None, before);
    }
    result
}
