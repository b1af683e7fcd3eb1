//! Entering and leaving netfilter's hooks: by `nf_hook_slow` where functions can be probed, else by
//! *bookends*, two netfilter programs at the first and the last priority of each hook.

use core::ffi::c_void;

use trace_ebpf::{Hook, nf};

use super::{alone, claim, release};
use crate::{
    maps::Call,
    memory::{Memory, NetfilterContext, Probe},
    segment::{Detail, Stamp, bit, nested, number, phase, stamp_key, thread},
};

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// Phase inside and behind a hook.
#[inline(always)]
fn phase_of(hook: u8) -> u8 {
    match hook {
        nf::LOCAL_IN => phase::LOCAL,
        nf::FORWARD => phase::FORWARD,
        nf::LOCAL_OUT => phase::OUTPUT,
        nf::POST_ROUTING => phase::TRANSMIT,
        _ => phase::RECEIVE,
    }
}

/// After which phases a hook can be entered, or left, in the same life.
#[inline(always)]
fn after(hook: u8, enter: bool) -> u16 {
    match hook {
        // whatever was known of this address is over: an earlier life, or the inside of a tunnel
        nf::LOCAL_OUT if enter => bit(0),
        nf::LOCAL_OUT => bit(phase::OUTPUT),
        nf::POST_ROUTING => phase::ON_THE_WAY,
        _ => 0,
    }
}

/// `state->hook` of an IPv4 or IPv6 hook.
#[inline(always)]
unsafe fn hook_of<M: Memory>(state: *const c_void) -> Option<(u8, u8)> {
    // SAFETY: `state` is live; both members are one byte, or a small integer whose low byte comes first.
    unsafe {
        let family = M::load::<u8>(state, offset!(nf_pf));
        if family != NFPROTO_IPV4 && family != NFPROTO_IPV6 {
            return None;
        }
        Some((M::load::<u8>(state, offset!(nf_hook)), family))
    }
}

#[inline(always)]
unsafe fn pass<M: Memory>(skb: *const c_void, state: *const c_void, enter: bool) {
    // SAFETY: both are the hook's live arguments.
    unsafe {
        let Some((hook, family)) = hook_of::<M>(state) else {
            return;
        };
        let what = Stamp {
            after: after(hook, enter),
            // either can be the first to see a packet of ours: hooks without rules are not called
            sender: hook == nf::LOCAL_OUT || hook == nf::POST_ROUTING,
            poll: hook == nf::PRE_ROUTING,
            again: hook == nf::PRE_ROUTING,
            ..Stamp::at(
                if enter { Hook::NfEnter } else { Hook::NfLeave },
                phase_of(hook),
            )
        };
        let detail = Detail {
            a: hook,
            b: if enter { u16::from(family) } else { 1 },
            ..Default::default()
        };
        let Some(cpu) = claim() else {
            return nested::<M>(skb, what.hook as u32, &detail, false);
        };
        let key = number(cpu, skb);
        if hook == nf::LOCAL_IN {
            (*cpu).receiving = key;
        }
        stamp_key::<M>(cpu, skb, key, what, detail);
        release(cpu);
    }
}

/// `nf_hook_slow(skb, state, …)` entered.
#[inline(always)]
pub fn enter<P: Probe>(probe: &P) {
    // SAFETY: the function's arguments.
    unsafe { pass::<P::Memory>(probe.pointer(0), probe.pointer(1), true) }
}

/// `nf_hook_slow` returned `verdict`; only 1 (go on) leaves the packet to us.
#[inline(always)]
pub fn leave<P: Probe>(probe: &P, verdict: i32) {
    if verdict == 1 {
        // SAFETY: the packet goes on, so it is live; the state is the caller's.
        unsafe { pass::<P::Memory>(probe.pointer(0), probe.pointer(1), false) }
    }
}

/// First program of a netfilter hook.
#[inline(always)]
pub fn first(context: NetfilterContext) {
    // SAFETY: both members of the context are live.
    unsafe {
        pass::<<NetfilterContext as Probe>::Memory>(context.pointer(1), context.pointer(0), true)
    }
}

/// Last program of a netfilter hook.
#[inline(always)]
pub fn last(context: NetfilterContext) {
    // SAFETY: both members of the context are live.
    unsafe {
        pass::<<NetfilterContext as Probe>::Memory>(context.pointer(1), context.pointer(0), false)
    }
}

/// kprobe: [`enter`], and remember the packet for the return, which is told nothing.
#[inline(always)]
pub fn enter_call<P: Probe>(probe: &P) {
    enter(probe);
    let skb = probe.pointer(0);
    let state = probe.pointer(1);
    // SAFETY: live arguments.
    let Some((hook, _)) = (unsafe { hook_of::<P::Memory>(state) }) else {
        return remember::<P>(skb, CALL_OTHER);
    };
    remember::<P>(skb, u32::from(hook));
}

/// A remembered call of another family's hook.
const CALL_OTHER: u32 = 255;

/// Pushes a call whose return is awaited.
#[inline(always)]
pub fn remember<P: Probe>(skb: *const c_void, hook: u32) {
    let pid = thread();
    alone(|cpu| {
        // SAFETY: the mask keeps the index inside the array.
        unsafe {
            let depth = (*cpu).depth;
            let call = (&raw mut (*cpu).calls)
                .cast::<Call>()
                .add((depth & 7) as usize);
            core::ptr::write_volatile((&raw mut (*call).skb).cast(), skb);
            (*call).pid = pid;
            (*call).hook = hook;
            (*cpu).depth = (depth + 1) & 0xff;
        }
    });
}

/// kretprobe: [`leave`] for the call remembered last.
#[inline(always)]
pub fn leave_call<M: Memory>(verdict: i32) {
    let pid = thread();
    alone(|cpu| {
        // SAFETY: the mask keeps the index inside the array; the packet goes on, so it is live.
        unsafe {
            if (*cpu).depth == 0 {
                return;
            }
            let depth = (*cpu).depth - 1;
            (*cpu).depth = depth;
            let call = (&raw const (*cpu).calls)
                .cast::<Call>()
                .add((depth & 7) as usize);
            if (*call).pid != pid || (*call).hook == CALL_OTHER || verdict != 1 {
                return;
            }
            let hook = (*call).hook as u8;
            let what = Stamp {
                after: after(hook, false),
                sender: hook == nf::LOCAL_OUT || hook == nf::POST_ROUTING,
                poll: hook == nf::PRE_ROUTING,
                ..Stamp::at(Hook::NfLeave, phase_of(hook))
            };
            let key = (*call).skb;
            if hook == nf::LOCAL_IN {
                (*cpu).receiving = key;
            }
            stamp_key::<M>(
                cpu,
                key as *const c_void,
                key,
                what,
                Detail {
                    a: hook,
                    b: 1,
                    ..Default::default()
                },
            );
        }
    });
}
