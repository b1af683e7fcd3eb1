//! `send()` and `recv()`.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use trace_ebpf::{Counter, Hook, Kind, SocketEvent, SocketOp};

use super::{alone, claim, interrupted, release};
use crate::{
    chosen::followed,
    maps::{Caller, caller, count, send},
    memory::{Memory, Pointer, Probe},
    packet,
    reading::{Taken, soil, taken},
    segment::{
        Detail, Stamp, copied, end_read, holds, name_process, now, number, phase, queued_on, stamp,
        take_read, tell_received, thread,
    },
};

const TCP: u16 = packet::TCP as u16;

/// A member of `struct tcp_sock`, through a `struct sock` pointer: the verifier knows only the latter.
#[inline(always)]
unsafe fn tcp_member(sk: u64, offset: usize) -> u32 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((sk as usize + offset) as *const u32).unwrap_or(0) }
}

/// A socket's `sk_protocol`.
#[inline(always)]
pub unsafe fn protocol<M: Memory>(sk: *const c_void) -> u16 {
    // SAFETY: `sk` is a live full socket; 5.10 has a byte here, later kernels two.
    unsafe { M::load::<u16>(sk, offset!(sk_protocol)) & 0xff }
}

/// Whether the filter may ask for packets of this protocol.
#[inline(always)]
fn wanted(protocol: u16) -> bool {
    let asked = config!(filter_protocol);
    asked == 0 || asked == u32::from(protocol)
}

/// `inet_sendmsg(sock, msg, size)`, `inet6_sendmsg`: a process is in `send()`.
#[inline(always)]
pub fn send_entry<P: Probe>(probe: &P) {
    let socket = probe.pointer(0);
    // SAFETY: `socket` is live.
    let sk = unsafe { P::Memory::load::<Pointer>(socket, offset!(socket_sk)).0 };
    if sk.is_null() {
        return;
    }
    // SAFETY: the entry is the running thread's own; `sk` is live.
    unsafe {
        let protocol = protocol::<P::Memory>(sk);
        if !wanted(protocol) {
            return;
        }
        let tcp = protocol == TCP;
        let pid = thread();
        let time = now();
        alone(|cpu| {
            let key = number(cpu, sk);
            if let Some(caller) = caller(pid) {
                begin(caller, pid, key, tcp);
                (*caller).start = time;
                if tcp {
                    writes(caller, key);
                }
            }
        });
    }
}

/// What the call writes begins where the socket's stream ends, and nothing of it is sent yet.
#[inline(always)]
unsafe fn writes(caller: *mut Caller, sk: u64) {
    // SAFETY: the entry is the running thread's own.
    unsafe {
        (*caller).seq = tcp_member(sk, offset!(tcp_write_seq));
        (*caller).sent = (*caller).seq;
    }
}

/// Takes the entry for a new call.
#[inline(always)]
unsafe fn begin(caller: *mut Caller, pid: u32, sk: u64, tcp: bool) {
    // SAFETY: the entry is the running thread's own.
    unsafe {
        (*caller).pid = pid;
        (*caller).sk = sk;
        (*caller).start = 0;
        (*caller).write = 0;
        (*caller).copy = 0;
        (*caller).tcp = u32::from(tcp);
    }
}

/// `tcp_sendmsg_locked(sk, …)`, `sock_alloc_send_pskb(sk, …)`: the data is about to be copied into sk_buffs.
#[inline(always)]
pub fn write<P: Probe>(probe: &P) {
    let sk = probe.pointer(0);
    let pid = thread();
    alone(|cpu| {
        // SAFETY: the entry is the running thread's own; `sk` is live.
        unsafe {
            let key = number(cpu, sk);
            let Some(caller) = caller(pid) else { return };
            let known = (*caller).pid == pid && (*caller).sk == key;
            if known && (*caller).write != 0 {
                return;
            }
            let protocol = protocol::<P::Memory>(sk);
            if !known {
                if protocol != TCP || !wanted(TCP) {
                    return;
                }
                begin(caller, pid, key, true);
                writes(caller, key);
            }
            (*caller).write = now();
        }
    });
}

/// `sock_send_length(sk, ret, flags)`: `send()` is done.
#[inline(always)]
pub fn send_exit<P: Probe>(probe: &P) {
    sent(probe.pointer(0));
}

/// `inet_sendmsg(sock, msg, size)`, `inet6_sendmsg` returned.
#[inline(always)]
pub fn send_return<P: Probe>(probe: &P) {
    // SAFETY: `socket` is live.
    sent(unsafe { P::Memory::load::<Pointer>(probe.pointer(0), offset!(socket_sk)).0 });
}

/// … by a probe that is not told the arguments.
#[inline(always)]
pub fn send_return_blind() {
    sent(core::ptr::null());
}

/// `send()` is done, on this socket; null where it is not known. (The verifier refuses what an `Option` of none leaves
/// unset.)
#[inline(always)]
fn sent(sk: *const c_void) {
    let pid = thread();
    let Some(caller) = caller(pid) else { return };
    // SAFETY: the entry is the running thread's own; its socket is live until the call returns.
    unsafe {
        if (*caller).pid != pid {
            return;
        }
        // of datagrams nothing is told here: their packets have told it
        if (*caller).tcp == 0 {
            (*caller).pid = 0;
            return;
        }
        alone(|cpu| {
            let key = (*caller).sk;
            if !sk.is_null() && number(cpu, sk) != key {
                return;
            }
            (*caller).pid = 0;
            if !followed(key) {
                return;
            }
            let first = (*caller).seq;
            let len = tcp_member(key, offset!(tcp_write_seq)).wrapping_sub(first);
            if len == 0 || (*caller).sent == first.wrapping_add(len) {
                return;
            }
            name_process(cpu, pid);
            let start = if (*caller).start != 0 {
                (*caller).start
            } else {
                (*caller).write
            };
            tell(SocketOp::Send, start, now(), key, first, len, pid);
        });
    }
}

#[inline(always)]
fn tell(op: SocketOp, start: u64, end: u64, sk: u64, seq: u32, len: u32, pid: u32) -> bool {
    // SAFETY: takes nothing.
    let cpu = unsafe { aya_ebpf::helpers::bpf_get_smp_processor_id() } as u16;
    let record = SocketEvent {
        kind: Kind::Socket as u8,
        op: op as u8,
        bytes: size_of::<SocketEvent>() as u16,
        cpu,
        spare: 0,
        start,
        end,
        sk,
        seq,
        len,
        pid,
        spare2: 0,
    };
    let sent = send((&raw const record).cast(), size_of::<SocketEvent>() as u64);
    if !sent {
        count(Counter::RecordsLost);
    }
    sent
}

/// `skb_copy_datagram_iovec(skb, len)`: `recv()` copies a piece.
#[inline(always)]
pub fn copy<P: Probe>(probe: &P) {
    let skb = probe.pointer(0);
    let len = probe.number(1) as u32;
    // SAFETY: `skb` is live, and so is its socket if it has one.
    unsafe {
        let sk = P::Memory::load::<Pointer>(skb, offset!(skb_sk)).0;
        let pid = thread();
        if !sk.is_null() && protocol::<P::Memory>(sk) == TCP {
            if !wanted(TCP) {
                return;
            }
            copy_tcp(sk, len, pid);
            return;
        }
        let what = Stamp {
            after: phase::UNCOPIED,
            late: true,
            again: true,
            ..Stamp::at(Hook::Copy, phase::COPIED)
        };
        let detail = Detail {
            pid,
            ..Default::default()
        };
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, what, detail);
        };
        let slot = stamp::<P::Memory>(cpu, skb, what, detail);
        if !slot.is_null() {
            copied(cpu, slot, pid);
            name_process(cpu, pid);
        }
        release(cpu);
    }
}

/// `__skb_recv_udp(sk, flags, off, err)` returned the packet that is about to be copied: small ones are
/// copied without `skb_copy_datagram_iovec`.
#[inline(always)]
pub fn recv_udp<M: Memory>(skb: *const c_void) {
    if skb.is_null() {
        return;
    }
    let pid = thread();
    let detail = Detail {
        pid,
        ..Default::default()
    };
    let what = Stamp {
        after: phase::UNTAKEN,
        late: true,
        again: true,
        ..Stamp::at(Hook::Copy, phase::TAKEN)
    };
    // SAFETY: `skb` is live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<M>(skb, what, detail);
        };
        let slot = stamp::<M>(cpu, skb, what, detail);
        if !slot.is_null() {
            copied(cpu, slot, pid);
        }
        release(cpu);
    }
}

/// TCP: by sequence range, because the sk_buff in the queue may hold several packets' data.
#[inline(always)]
unsafe fn copy_tcp(sk: *const c_void, len: u32, pid: u32) {
    alone(|cpu| {
        // SAFETY: the entry is the running thread's own.
        unsafe {
            let key = number(cpu, sk);
            if !followed(key) {
                return;
            }
            let Some(caller) = caller(pid) else { return };
            let first = tcp_member(key, offset!(tcp_copied_seq));
            if (*caller).pid == pid && (*caller).sk == key && (*caller).copy != 0 {
                if (*caller).copy_seq == first {
                    return; // MSG_PEEK: nothing was taken
                }
                name_process(cpu, pid);
                tell(
                    SocketOp::Receive,
                    (*caller).copy,
                    0,
                    key,
                    (*caller).copy_seq,
                    (*caller).copy_len,
                    pid,
                );
            } else {
                begin(caller, pid, key, true);
            }
            (*caller).copy = now();
            (*caller).copy_seq = first;
            (*caller).copy_len = len;
        }
    });
}

const MSG_PEEK: u64 = 2;

/// `sock_recv_length(sk, ret, flags)`: `recv()` is done.
#[inline(always)]
pub fn recv_exit<P: Probe>(probe: &P) {
    let (returned, flags) = (probe.number(1) as i32, probe.number(2));
    received::<P::Memory>(probe.pointer(0), returned, flags);
}

/// `inet_recvmsg(sock, msg, size, flags)`, `inet6_recvmsg` returned a number of bytes.
#[inline(always)]
pub fn recv_return<P: Probe>(probe: &P, returned: i32) {
    // SAFETY: `socket` is live.
    let sk = unsafe { P::Memory::load::<Pointer>(probe.pointer(0), offset!(socket_sk)).0 };
    received::<P::Memory>(sk, returned, probe.number(3));
}

/// … to a probe that is not told the arguments: TCP, whose socket was kept when it copied, and a datagram that has ended.
#[inline(always)]
pub fn recv_return_blind(returned: i32) {
    if returned >= 0 {
        received_tcp(core::ptr::null());
        let read = take_read(thread());
        if read != 0 {
            // SAFETY: this CPU's state.
            alone(|cpu| unsafe { end_read(cpu, read) });
        }
    }
}

#[inline(always)]
fn received<M: Memory>(sk: *const c_void, returned: i32, flags: u64) {
    const UDP: u16 = packet::UDP as u16;
    if returned < 0 || sk.is_null() {
        return;
    }
    // SAFETY: `sk` is live.
    unsafe {
        let family = M::load::<u16>(sk, offset!(sk_family));
        if !is_inet(family) {
            return;
        }
        let protocol = protocol::<M>(sk);
        if !wanted(protocol) {
            return;
        }
        if protocol == UDP {
            received_datagram(sk, returned, flags);
        }
        if protocol == TCP {
            received_tcp(sk);
        }
    }
}

/// A thread's `recv()` on a datagram socket is done.
#[inline(always)]
fn received_datagram(sk: *const c_void, returned: i32, flags: u64) {
    let pid = thread();
    let read = take_read(pid);
    if flags & MSG_PEEK != 0 {
        return;
    }
    // SAFETY: `sk` is live.
    unsafe {
        alone(|cpu| {
            let told = end_read(cpu, read);
            let key = number(cpu, sk);
            if !followed(key) {
                return;
            }
            name_process(cpu, pid);
            let taken = taken(key);
            if told {
                return;
            }
            let time = now();
            let (op, skb) = match taken {
                Taken::Oldest => {
                    let slot = queued_on(cpu, key);
                    if !slot.is_null() && tell_received(slot, time, 0, pid) {
                        return;
                    }
                    (SocketOp::Datagram, 0)
                }
                Taken::At(skb) => (SocketOp::DatagramAt, skb),
                Taken::Before(skb) => (SocketOp::DatagramBefore, skb),
            };
            if !tell(op, skb, time, key, 0, returned as u32, pid) {
                soil(key);
            }
        });
    }
}

/// A thread's `recv()` on a TCP socket is done, on this one; null where it is not known.
#[inline(always)]
fn received_tcp(sk: *const c_void) {
    let pid = thread();
    // SAFETY: the entry is the running thread's own; its socket is live until the call returns.
    unsafe {
        let Some(entry) = caller(pid) else { return };
        if (*entry).pid != pid || (*entry).copy == 0 {
            return;
        }
        alone(|cpu| {
            let key = (*entry).sk;
            if !sk.is_null() && number(cpu, sk) != key {
                return;
            }
            (*entry).pid = 0;
            let copy = (*entry).copy;
            (*entry).copy = 0;
            if tcp_member(key, offset!(tcp_copied_seq)) == (*entry).copy_seq {
                return; // MSG_PEEK: nothing was taken
            }
            name_process(cpu, pid);
            let time = now();
            let (first, len) = ((*entry).copy_seq, (*entry).copy_len);
            let slot = queued_on(cpu, key);
            if slot.is_null()
                || !holds(slot, first, len)
                || !tell_received(slot, time, time - copy, pid)
            {
                tell(SocketOp::Receive, copy, time, key, first, len, pid);
            }
        });
    }
}

/// AF_INET or AF_INET6.
#[inline(always)]
pub fn is_inet(family: u16) -> bool {
    matches!(family, 2 | 10)
}

/// `tcp_retransmit_skb(sk, skb)`.
#[inline(always)]
pub fn retransmit<P: Probe>(probe: &P) {
    let (sk, skb) = (probe.pointer(0), probe.pointer(1));
    // SAFETY: both are live; `cb` of a TCP packet begins with tcp_skb_cb.
    unsafe {
        let seq = P::Memory::load::<u32>(skb, offset!(skb_cb) + offset!(tcp_cb_seq));
        alone(|cpu| {
            let key = number(cpu, sk);
            if !followed(key) {
                return;
            }
            tell(SocketOp::Retransmit, now(), 0, key, seq, 0, 0);
        });
    }
}

/// `__tcp_transmit_skb(sk, …)`: what is stamped next with this socket is the segment it builds.
#[inline(always)]
pub fn tcp_transmit<P: Probe>(probe: &P) {
    let sk = probe.pointer(0);
    alone(|cpu| {
        // SAFETY: this CPU's state.
        unsafe {
            (*cpu).tcp_sk = number(cpu, sk);
            (*cpu).tcp_time = now();
        }
    });
}
