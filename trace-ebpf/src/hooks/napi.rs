//! Facts of the CPU, not of one packet: interrupt, NAPI scheduling, softirq, poll. They are kept
//! until a packet's first receive stamp takes them along (`segment::note_poll`).

use trace_ebpf::{Counter, Kind, PollEvent};

use crate::{
    maps::{count, send, this_cpu},
    memory::{Memory as _, Pointer, Probe},
    segment::now,
};

/// `NET_RX_SOFTIRQ` (include/linux/interrupt.h).
const NET_RX: u64 = 3;

/// `irq_handler_entry(irq, action)`.
#[inline(always)]
pub fn irq_entry<P: Probe>(probe: &P) {
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: interrupts are off; nobody else on this CPU writes these fields.
    unsafe {
        (*cpu).irq_time = now();
        (*cpu).irq = probe.number(0) as u16;
    }
}

/// `irq_handler_exit(irq, action, ret)`.
#[inline(always)]
pub fn irq_exit<P: Probe>(_probe: &P) {
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: as above.
    unsafe { (*cpu).irq_time = 0 }
}

/// `softirq_raise(vec)`: NAPI scheduled, by an interrupt's handler or by software.
#[inline(always)]
pub fn softirq_raise<P: Probe>(probe: &P) {
    if probe.number(0) & 0xffff_ffff != NET_RX {
        return;
    }
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: interrupts are off while a softirq is raised.
    unsafe {
        let irq_time = (*cpu).irq_time;
        if (*cpu).raise_time == 0 {
            (*cpu).raise_time = now();
            (*cpu).raise_irq_time = irq_time;
            (*cpu).raise_irq = if irq_time != 0 {
                (*cpu).irq
            } else {
                PollEvent::NO_INTERRUPT
            };
        } else if irq_time != 0 && (*cpu).raise_irq != (*cpu).irq {
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
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: only an interrupt can come between, and it writes irq_* and raise_* only.
    unsafe {
        let time = now();
        (*cpu).cause_time = (*cpu).raise_time;
        (*cpu).cause_irq_time = (*cpu).raise_irq_time;
        (*cpu).cause_irq = (*cpu).raise_irq;
        (*cpu).raise_time = 0;
        (*cpu).softirq_time = time;
        (*cpu).poll_start = time;
        (*cpu).first_poll = 1;
        (*cpu).poll_used = 0;
        (*cpu).poll_number += 1;
    }
}

/// `softirq_exit(vec)`.
#[inline(always)]
pub fn softirq_exit<P: Probe>(probe: &P) {
    if probe.number(0) & 0xffff_ffff != NET_RX {
        return;
    }
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: as above.
    unsafe {
        (*cpu).softirq_time = 0;
        (*cpu).poll_start = 0;
        (*cpu).receiving = 0;
        (*cpu).waking = 0;
    }
}

/// `napi_poll(napi, work, budget)`: a poll has ended.
#[inline(always)]
pub fn napi_poll<P: Probe>(probe: &P) {
    let Some(cpu) = this_cpu() else { return };
    // SAFETY: as above; `napi` is live.
    unsafe {
        let time = now();
        if (*cpu).poll_used != 0 {
            let device = P::Memory::load::<Pointer>(probe.pointer(0), offset!(napi_dev)).0;
            let mut ifindex = 0;
            if !device.is_null() {
                ifindex = P::Memory::load::<u32>(device, offset!(dev_ifindex));
            }
            let record = PollEvent {
                kind: Kind::Poll as u8,
                spare: 0,
                bytes: size_of::<PollEvent>() as u16,
                cpu: aya_ebpf::helpers::bpf_get_smp_processor_id() as u16,
                irq: (*cpu).cause_irq,
                number: (*cpu).poll_number,
                ifindex,
                start: (*cpu).poll_start,
                end: time,
                work: probe.number(1) as u32,
                budget: probe.number(2) as u32,
                softirq: (*cpu).softirq_time,
            };
            if !send((&raw const record).cast(), size_of::<PollEvent>() as u64) {
                count(Counter::RecordsLost);
            }
        }
        // Outside of a softirq (threaded NAPI, busy polling) nothing says when the next poll begins.
        (*cpu).poll_start = if (*cpu).softirq_time != 0 { time } else { 0 };
        (*cpu).first_poll = 0;
        (*cpu).poll_used = 0;
        (*cpu).poll_number += 1;
    }
}
