//! The eBPF program that counts NAPI polls for `stack`: an object of its own, so that nothing of the tracer is loaded with it.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the names are the documentation")]

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::{
    helpers::bpf_probe_read_kernel,
    macros::{map, raw_tracepoint},
    maps::{PerCpuArray, PerCpuHashMap},
    programs::RawTracePointContext,
};
use trace_ebpf::{Offsets, POLLED_DEVICES, PollCount, PollKey, PollOffsets};

/// Where the kernel keeps what we read; filled by the loader.
#[unsafe(no_mangle)]
pub static OFFSETS: PollOffsets = PollOffsets {
    napi_dev: 0,
    dev_ifindex: 0,
    dev_name: 0,
    dev_net: 0,
    net_inum: 0,
};

#[map]
static POLLS: PerCpuHashMap<PollKey, PollCount> =
    PerCpuHashMap::with_max_entries(POLLED_DEVICES, 0);
/// Polls of devices that found no room.
#[map]
static OTHERS: PerCpuArray<PollCount> = PerCpuArray::with_max_entries(1, 0);

/// `offset!(napi_dev)`: volatile, so that the compiler does not fold the initial value in.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: the address of a field of a static.
        unsafe { read_volatile(&raw const OFFSETS.$field) }
    };
}

/// The member at `base + offset`; zero where it cannot be read.
#[inline(always)]
fn load<T: Copy>(base: *const c_void, offset: u32, zero: T) -> T {
    let place = base.cast::<u8>().wrapping_add(offset as usize).cast();
    // SAFETY: the helper checks the address itself.
    unsafe { bpf_probe_read_kernel(place) }.unwrap_or(zero)
}

#[inline(always)]
fn pointer(base: *const c_void, offset: u32) -> *const c_void {
    load(base, offset, 0_u64) as *const c_void
}

/// `napi_poll(napi, work, budget)`: a poll has ended.
#[raw_tracepoint]
pub fn count_poll(context: RawTracePointContext) -> i32 {
    let napi: *const c_void = context.arg(0);
    let (work, budget): (u64, u64) = (context.arg(1), context.arg(2));
    let (work, budget) = (work & 0xffff_ffff, budget & 0xffff_ffff);
    let device = pointer(napi, offset!(napi_dev));
    let mut key = PollKey::default();
    if !device.is_null() {
        key.ifindex = load(device, offset!(dev_ifindex), 0);
        if offset!(dev_net) != Offsets::ABSENT && offset!(net_inum) != Offsets::ABSENT {
            let net = pointer(device, offset!(dev_net));
            key.netns = load(net, offset!(net_inum), 0);
        }
    }
    let mut place = POLLS.get_ptr_mut(&key);
    if place.is_none() {
        let mut new = PollCount::default();
        if !device.is_null() {
            new.name = load(device, offset!(dev_name), [0; 16]);
        }
        let _ = POLLS.insert(&key, &new, 0);
        place = POLLS.get_ptr_mut(&key).or_else(|| OTHERS.get_ptr_mut(0));
    }
    let Some(count) = place else { return 0 };
    // SAFETY: this CPU's own; polls of one CPU do not interrupt each other.
    unsafe {
        (*count).polls += 1;
        (*count).packets += work;
        (*count).full += u64::from(budget > 0 && work >= budget);
    }
    0
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
