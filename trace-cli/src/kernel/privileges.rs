//! Giving privileges back: once the probes are attached, hardly any is needed.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What reading rings, sweeping (`BPF_PROG_TEST_RUN`, before Linux 5.19) and naming symbols still needs.
const KEPT: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYSLOG);

/// Gives up every capability but CAP_BPF and CAP_SYSLOG, for good, and for programs started later too.
/// Threads started before keep theirs. Who has no CAP_BPF traces by CAP_SYS_ADMIN, and keeps that.
pub fn drop_privileges() -> io::Result<()> {
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
    let kept = now.permitted.intersection(needed);
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)?;
    Ok(())
}
