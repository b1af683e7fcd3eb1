//! Facts of the CPU, not of one packet: interrupt, NAPI scheduling, softirq, poll. They are kept
//! until a packet's first receive stamp takes them along (`segment::note_poll`).

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use trace_ebpf::{Counter, Kind, PollEvent};

use super::{claim, release};
use crate::{
    maps::{Cpu, Scheduled, VECTORS, Vector, count, facts, scheduled, send},
    memory::{Memory as _, Pointer, Probe},
    segment::{end_poll, now},
};

/// `NET_RX_SOFTIRQ` (include/linux/interrupt.h).
const NET_RX: u64 = 3;

/// `irq_handler_entry(irq, action)`.
#[inline(always)]
pub fn irq_entry<P: Probe>(probe: &P) {
    let Some(cpu) = facts() else { return };
    // SAFETY: interrupts are off; nobody else on this CPU writes these fields.
    unsafe {
        let (time, irq) = (now(), probe.number(0) & 0xffff);
        (*cpu).irq_time = time;
        (*cpu).irq = irq as u16;
        let vector = vector(cpu, irq);
        (*vector).time = time;
        (*vector).irq = irq;
    }
}

/// `irq_handler_exit(irq, action, ret)`.
#[inline(always)]
pub fn irq_exit<P: Probe>(_probe: &P) {
    let Some(cpu) = facts() else { return };
    // SAFETY: as above.
    unsafe { (*cpu).irq_time = 0 }
}

/// Number of the interrupt being handled here.
#[inline(always)]
unsafe fn interrupt(cpu: *mut Cpu) -> u16 {
    // SAFETY: plain reads of this CPU's state.
    unsafe {
        if (*cpu).irq_time != 0 {
            (*cpu).irq
        } else {
            PollEvent::NO_INTERRUPT
        }
    }
}

/// The place of an interrupt.
#[inline(always)]
unsafe fn vector(cpu: *mut Cpu, irq: u64) -> *mut Vector {
    // SAFETY: the mask keeps the index inside the array.
    unsafe {
        addr_of_mut!((*cpu).vectors)
            .cast::<Vector>()
            .add((irq & (VECTORS as u64 - 1)) as usize)
    }
}

/// The address of the NAPI that is a hook's first argument, and its place in the table. (The verifier allows no
/// arithmetic on pointers.)
#[inline(always)]
unsafe fn place<P: Probe>(cpu: *mut Cpu, probe: &P) -> Option<(u64, *mut Scheduled)> {
    // SAFETY: whoever interrupts us here leaves the field as it was.
    let napi = unsafe {
        let before = read_volatile(addr_of!((*cpu).napi));
        write_volatile(addr_of_mut!((*cpu).napi).cast(), probe.pointer(0));
        let napi = read_volatile(addr_of!((*cpu).napi));
        write_volatile(addr_of_mut!((*cpu).napi), before);
        napi
    };
    Some((napi, scheduled(napi)?))
}

/// `__napi_schedule(napi)`, `__napi_schedule_irqoff(napi)`: the interrupt being handled, if there is one, is
/// what brings the packets of the NAPI's next polls. One that came while the NAPI was polled only leaves a mark
/// (`NAPIF_STATE_MISSED`), for which `napi_complete_done` schedules it again.
#[inline(always)]
pub fn napi_schedule<P: Probe>(probe: &P) {
    let Some(cpu) = facts() else { return };
    // SAFETY: a NAPI that was scheduled is nobody else's until it has been polled.
    unsafe {
        let Some((napi, place)) = place(cpu, probe) else {
            return;
        };
        let known = read_volatile(addr_of!((*place).napi)) == napi;
        write_volatile(addr_of_mut!((*place).napi), 0);
        (*place).time = now();
        (*place).irq_time = (*cpu).irq_time;
        (*place).irq = interrupt(cpu);
        if (*place).irq != PollEvent::NO_INTERRUPT || !known {
            (*place).vector = (*place).irq;
        } else if (*place).vector != PollEvent::NO_INTERRUPT {
            let vector = vector(cpu, u64::from((*place).vector));
            if (*vector).irq == u64::from((*place).vector) && (*vector).time > (*place).polled {
                (*place).irq_time = (*vector).time;
                (*place).irq = (*place).vector;
            }
        }
        (*place).cpu = aya_ebpf::helpers::bpf_get_smp_processor_id();
        write_volatile(addr_of_mut!((*place).napi), napi);
        (*cpu).announced = (*cpu).begins;
    }
}

/// `__napi_poll(napi, repoll)`: a poll begins, in a softirq or in a NAPI thread.
#[inline(always)]
pub fn poll_begin<P: Probe>(probe: &P) {
    let Some(cpu) = facts() else { return };
    // SAFETY: polls of one CPU do not interrupt each other; an interrupt writes irq_*, raise_* and the
    // places of other NAPIs only.
    unsafe {
        let Some((napi, place)) = place(cpu, probe) else {
            return;
        };
        let time = now();
        (*cpu).begins = 1;
        (*cpu).poll_start = time;
        if read_volatile(addr_of!((*place).napi)) != napi {
            // scheduled where no hook is: what the softirq knows is about its first poll
            if (*cpu).first_poll == 0 {
                (*cpu).cause_irq = PollEvent::NO_INTERRUPT;
            }
            return;
        }
        (*place).polled = time;
        let scheduled = (*place).time;
        let here = (*place).cpu == aya_ebpf::helpers::bpf_get_smp_processor_id();
        (*cpu).cause_irq = (*place).irq;
        if scheduled == 0 {
            // polled again, as there was more to do
            (*cpu).cause_irq_time = 0;
            return;
        }
        (*place).time = 0;
        // a stamp is its segment's CPU's
        (*cpu).cause_time = if here { scheduled } else { 0 };
        (*cpu).cause_irq_time = if here { (*place).irq_time } else { 0 };
        let softirq = (*cpu).softirq_time;
        (*cpu).cause_softirq = if softirq > scheduled { softirq } else { 0 };
        (*cpu).first_poll = 1;
    }
}

/// `softirq_raise(vec)`: NAPI scheduled, by an interrupt's handler or by software.
#[inline(always)]
pub fn softirq_raise<P: Probe>(probe: &P) {
    if probe.number(0) & 0xffff_ffff != NET_RX {
        return;
    }
    let Some(cpu) = facts() else { return };
    // SAFETY: interrupts are off while a softirq is raised.
    unsafe {
        if (*cpu).announced != 0 {
            (*cpu).announced = 0;
            return;
        }
        let irq = interrupt(cpu);
        if (*cpu).raise_time == 0 {
            (*cpu).raise_time = now();
            (*cpu).raise_irq_time = (*cpu).irq_time;
            (*cpu).raise_irq = irq;
        } else if (*cpu).raise_irq != irq {
            // two sources before one softirq: which of them brought a packet is not known
            (*cpu).raise_irq = PollEvent::NO_INTERRUPT;
            (*cpu).raise_irq_time = 0;
        }
    }
}

/// `softirq_entry(vec)`.
#[inline(always)]
pub fn softirq_entry<P: Probe>(probe: &P) {
    if probe.number(0) & 0xffff_ffff != NET_RX {
        return;
    }
    let Some(cpu) = facts() else { return };
    // SAFETY: only an interrupt can come between, and it writes irq_* and raise_* only.
    unsafe {
        let time = now();
        (*cpu).cause_time = (*cpu).raise_time;
        (*cpu).cause_irq_time = (*cpu).raise_irq_time;
        (*cpu).cause_irq = (*cpu).raise_irq;
        (*cpu).raise_time = 0;
        (*cpu).raise_irq_time = 0;
        (*cpu).raise_irq = PollEvent::NO_INTERRUPT;
        (*cpu).announced = 0;
        (*cpu).softirq_time = time;
        (*cpu).cause_softirq = time;
        (*cpu).poll_start = time;
        (*cpu).first_poll = 1;
        (*cpu).poll_used = 0;
        (*cpu).poll_key = 0;
        (*cpu).poll_number += 1;
    }
}

/// `softirq_exit(vec)`.
#[inline(always)]
pub fn softirq_exit<P: Probe>(probe: &P) {
    if probe.number(0) & 0xffff_ffff != NET_RX {
        return;
    }
    let Some(cpu) = facts() else { return };
    // SAFETY: as above.
    unsafe {
        (*cpu).softirq_time = 0;
        (*cpu).announced = 0;
        (*cpu).poll_start = 0;
        (*cpu).receiving = 0;
        (*cpu).waking = 0;
    }
}

/// `napi_poll(napi, work, budget)`: a poll has ended.
#[inline(always)]
pub fn napi_poll<P: Probe>(probe: &P) {
    let Some(cpu) = facts() else { return };
    // SAFETY: as above; `napi` is live.
    unsafe {
        let time = now();
        if (*cpu).poll_used != 0 {
            let device = P::Memory::load::<Pointer>(probe.pointer(0), offset!(napi_dev)).0;
            let mut ifindex = 0;
            if !device.is_null() {
                ifindex = P::Memory::load::<u32>(device, offset!(dev_ifindex));
            }
            if (*cpu).begins == 0
                && let Some((napi, place)) = place(cpu, probe)
                && read_volatile(addr_of!((*place).napi)) == napi
            {
                (*cpu).cause_irq = (*place).irq;
            }
            let (work, budget) = (probe.number(1) & 0xffff_ffff, probe.number(2) & 0xffff_ffff);
            let mut told = false;
            if ifindex == 0
                && let Some(state) = claim()
            {
                told = end_poll(cpu, state, time, work, budget);
                release(state);
            }
            if !told {
                tell(cpu, ifindex, time, work as u32, budget as u32);
            }
        }
        // Outside of a softirq (threaded NAPI, busy polling) only `poll_begin` says when the next one begins.
        (*cpu).poll_start = if (*cpu).softirq_time != 0 { time } else { 0 };
        (*cpu).first_poll = 0;
        (*cpu).poll_used = 0;
        (*cpu).poll_key = 0;
        (*cpu).poll_number += 1;
    }
}

/// A poll's own record.
#[inline(always)]
unsafe fn tell(cpu: *const Cpu, ifindex: u32, end: u64, work: u32, budget: u32) {
    // SAFETY: plain reads of this CPU's state.
    unsafe {
        let record = PollEvent {
            kind: Kind::Poll as u8,
            spare: 0,
            bytes: size_of::<PollEvent>() as u16,
            cpu: aya_ebpf::helpers::bpf_get_smp_processor_id() as u16,
            irq: (*cpu).cause_irq,
            number: (*cpu).poll_number,
            ifindex,
            start: (*cpu).poll_start,
            end,
            work,
            budget,
            softirq: (*cpu).softirq_time,
        };
        if !send((&raw const record).cast(), size_of::<PollEvent>() as u64) {
            count(Counter::RecordsLost);
        }
    }
}
