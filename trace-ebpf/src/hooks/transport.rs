//! TCP, UDP and ICMP take the packet, and queue it on a socket.

use core::ffi::c_void;

use trace_ebpf::{Hook, flags};

use super::{
    alone, claim, interrupted,
    receive::receiving,
    release,
    socket::{is_inet, protocol},
};
use crate::{
    maps::{Cpu, facts},
    memory::{Memory, Probe},
    packet::{Packet, TCP},
    reading::soil,
    segment::{Detail, Stamp, now, number, phase, read_queued, slot_for, stamp_key, unread},
};

/// `tcp_v4_rcv(skb)`, `udp_rcv(skb)`, `icmp_rcv(skb)` and their IPv6 sisters.
#[inline(always)]
pub fn transport<P: Probe>(probe: &P) {
    receiving(probe, Stamp::at(Hook::Transport, phase::LOCAL));
}

/// kprobe: [`transport`], and remember the packet for the return, which is told nothing.
#[inline(always)]
pub fn transport_call<P: Probe>(probe: &P) {
    transport(probe);
    // SAFETY: the address is a key only.
    alone(|cpu| unsafe { (*cpu).inside = number(cpu, probe.pointer(0)) });
}

/// `tcp_v4_rcv` or `tcp_v6_rcv` returned: the packet may be gone, its address is a key only.
#[inline(always)]
pub fn transport_done<P: Probe>(probe: &P) {
    // SAFETY: the address is a key only.
    alone(|cpu| unsafe { done::<P::Memory>(cpu, number(cpu, probe.pointer(0))) });
}

/// kretprobe: [`transport_done`] for the packet remembered.
#[inline(always)]
pub fn transport_done_call<M: Memory>() {
    // SAFETY: plain reads and writes of this CPU's state.
    alone(|cpu| unsafe {
        let key = (*cpu).inside;
        (*cpu).inside = 0;
        let slot = slot_for(cpu, key);
        if key != 0 && !slot.is_null() && is_tcp(slot) {
            done::<M>(cpu, key);
        }
    });
}

#[inline(always)]
unsafe fn done<M: Memory>(cpu: *mut Cpu, key: u64) {
    let what = Stamp {
        opens: false,
        hands: true,
        ..Stamp::at(Hook::TransportDone, 0)
    };
    // SAFETY: `opens` is false.
    unsafe {
        stamp_key::<M>(cpu, core::ptr::null(), key, what, Detail::default());
    }
}

/// As far as the slot's packet bytes say.
#[inline(always)]
unsafe fn is_tcp(slot: *const crate::maps::Slot) -> bool {
    // SAFETY: the slot's body is longer than PACKET_BYTES.
    unsafe {
        (*slot).head.flags & flags::PACKET != 0
            && Packet::ip((&raw const (*slot).body).cast()).protocol() == TCP
    }
}

/// `tcp_probe(sk, skb)`: an established socket has been found.
#[inline(always)]
pub fn tcp_socket<P: Probe>(probe: &P) {
    let what = Stamp {
        after: phase::UNCLAIMED,
        again: true,
        ..Stamp::at(Hook::TcpSocket, phase::SOCKET)
    };
    socket_takes(probe, what);
}

/// `tcp_add_backlog(sk, skb, …)`: the socket is in use by a process; it takes the packet when it is done.
#[inline(always)]
pub fn tcp_backlog<P: Probe>(probe: &P) {
    let what = Stamp {
        hands: true,
        again: true,
        ..Stamp::at(Hook::TcpBacklog, phase::SOCKET)
    };
    socket_takes(probe, what);
}

#[inline(always)]
fn socket_takes<P: Probe>(probe: &P, what: Stamp) {
    let (sk, skb) = (probe.pointer(0), probe.pointer(1));
    // SAFETY: both are live.
    unsafe {
        let Some(cpu) = claim() else {
            return interrupted::<P::Memory>(skb, what, Detail::default());
        };
        let socket = number(cpu, sk);
        let key = number(cpu, skb);
        (*cpu).receiving = key;
        stamp_key::<P::Memory>(
            cpu,
            skb,
            key,
            what,
            Detail {
                sk: socket,
                ..Default::default()
            },
        );
        release(cpu);
    }
}

/// `sk_data_ready(sk)` or `sock_def_readable(sk)`: the packet that this CPU is receiving was queued.
/// The hook is not told which packet; the port says whether it is the one.
#[inline(always)]
pub fn queued<P: Probe>(probe: &P) {
    let sk = probe.pointer(0);
    // SAFETY: `sk` is live.
    unsafe {
        let family = P::Memory::load::<u16>(sk, offset!(sk_family));
        if !is_inet(family) {
            return;
        }
        alone(|cpu| {
            let key = (*cpu).receiving;
            if key == 0 {
                return;
            }
            let socket = number(cpu, sk);
            let what = Stamp {
                opens: false,
                hands: true,
                ..Stamp::at(Hook::Queued, phase::SOCKET)
            };
            let slot = slot_for(cpu, key);
            if slot.is_null() {
                if config!(filter) != 0 || config!(sample) != 0 {
                    soil(socket);
                }
                return;
            }
            // `udp_rcv` has pulled out the ports
            if unread(slot) && read_queued(cpu, slot) != 0 {
                soil(socket);
                return;
            }
            if !destined::<P::Memory>(slot, sk) {
                return;
            }
            let stamped = stamp_key::<P::Memory>(
                cpu,
                core::ptr::null(),
                key,
                what,
                Detail {
                    sk: socket,
                    ..Default::default()
                },
            );
            (*cpu).receiving = 0;
            (*cpu).queued = key;
            if !stamped.is_null()
                && let Some(facts) = facts()
            {
                (*facts).waking = key;
                (*facts).waking_time = (*stamped).last;
            }
        });
    }
}

/// Whether the packet in the slot is for this socket, which is bound to its port. Sockets of other protocols (raw,
/// ping) are given clones, never the packet itself.
#[inline(always)]
unsafe fn destined<M: Memory>(slot: *const crate::maps::Slot, sk: *const c_void) -> bool {
    // SAFETY: the slot's body is longer than PACKET_BYTES; `sk` is live.
    unsafe {
        if (*slot).head.flags & flags::PACKET == 0 {
            return true;
        }
        let packet = Packet::ip((&raw const (*slot).body).cast());
        if packet.is_later_part() {
            return true;
        }
        if !packet.has_ports() {
            return false;
        }
        if (*slot).head.flags & flags::UNREADABLE != 0 {
            // the IP header has been pulled out by now, the ports not
            return protocol::<M>(sk) == u16::from(packet.protocol());
        }
        packet.ports().1 == M::load::<u16>(sk, offset!(sk_num))
    }
}

/// `sched_waking(task)`, right inside `sk_data_ready`: the reader is woken.
#[inline(always)]
pub fn waking<P: Probe>(probe: &P) {
    let Some(facts) = facts() else { return };
    // SAFETY: a plain read; most wake-ups have nothing to do with us and end here.
    let key = unsafe { core::ptr::read_volatile(&raw const (*facts).waking) };
    if key == 0 {
        return;
    }
    let task: *const c_void = probe.pointer(0);
    // SAFETY: `task` is live; the packet's address is a key only.
    unsafe {
        let pid = P::Memory::load::<u32>(task, offset!(task_pid));
        alone(|cpu| {
            (*facts).waking = 0;
            // what is woken later was not woken by this packet
            if now() - (*facts).waking_time < 50_000 {
                let what = Stamp {
                    opens: false,
                    hands: true,
                    ..Stamp::at(Hook::Wakeup, 0)
                };
                stamp_key::<P::Memory>(
                    cpu,
                    core::ptr::null(),
                    key,
                    what,
                    Detail {
                        pid,
                        ..Default::default()
                    },
                );
            }
        });
    }
}
