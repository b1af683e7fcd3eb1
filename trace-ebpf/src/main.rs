//! The eBPF programs: thin wrappers, one for each hook and probe kind. What a hook does is in
//! [`hooks`]; which program is attached where is user space's choice (`probe::catalogue`).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // eBPF's own (see `memory`); the nested cargo may use what is unstable
#![allow(missing_docs, reason = "the names are the documentation: HOOK_KIND")]

#[macro_use]
mod maps;
mod chosen;
mod filter;
mod hooks;
mod memory;
mod packet;
mod reading;
mod segment;

use core::ffi::c_void;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext,
    },
};
use hooks::{drop, napi, netfilter, receive, socket, transmit, transport};
use memory::{Direct, Helper, NetfilterContext, Returned};

/// A tracepoint, reached by tp_btf or raw_tp.
macro_rules! tracepoints {
    ($($body:path => $tp_btf:ident, $raw_tp:ident;)*) => {$(
        #[btf_tracepoint]
        pub fn $tp_btf(context: BtfTracePointContext) -> i32 {
            $body(&context);
            0
        }
        #[raw_tracepoint]
        pub fn $raw_tp(context: RawTracePointContext) -> i32 {
            $body(&context);
            0
        }
    )*};
}

/// A function's entry, reached by fentry or kprobe.
macro_rules! functions {
    ($($body:path => $fentry:ident, $kprobe:ident;)*) => {$(
        #[fentry]
        pub fn $fentry(context: FEntryContext) -> i32 {
            $body(&context);
            0
        }
        #[kprobe]
        pub fn $kprobe(context: ProbeContext) -> u32 {
            $body(&context);
            0
        }
    )*};
}

tracepoints! {
    napi::irq_entry => irq_entry_tp_btf, irq_entry_raw_tp;
    napi::irq_exit => irq_exit_tp_btf, irq_exit_raw_tp;
    napi::softirq_raise => softirq_raise_tp_btf, softirq_raise_raw_tp;
    napi::softirq_entry => softirq_entry_tp_btf, softirq_entry_raw_tp;
    napi::softirq_exit => softirq_exit_tp_btf, softirq_exit_raw_tp;
    napi::napi_poll => napi_poll_tp_btf, napi_poll_raw_tp;
    receive::gro => gro_tp_btf, gro_raw_tp;
    receive::gro_done => gro_done_tp_btf, gro_done_raw_tp;
    receive::backlog => backlog_tp_btf, backlog_raw_tp;
    receive::receive => receive_tp_btf, receive_raw_tp;
    transport::tcp_socket => tcp_socket_tp_btf, tcp_socket_raw_tp;
    transport::queued => queued_tp_btf, queued_raw_tp;
    transport::waking => waking_tp_btf, waking_raw_tp;
    socket::write => write_tp_btf, write_raw_tp;
    socket::send_exit => send_exit_tp_btf, send_exit_raw_tp;
    socket::copy => copy_tp_btf, copy_raw_tp;
    socket::recv_exit => recv_exit_tp_btf, recv_exit_raw_tp;
    socket::retransmit => retransmit_tp_btf, retransmit_raw_tp;
    transmit::dev_queue => dev_queue_tp_btf, dev_queue_raw_tp;
    transmit::qdisc_enqueue => qdisc_enqueue_tp_btf, qdisc_enqueue_raw_tp;
    transmit::qdisc_dequeue => qdisc_dequeue_tp_btf, qdisc_dequeue_raw_tp;
    transmit::start_xmit => start_xmit_tp_btf, start_xmit_raw_tp;
    transmit::xmit_done => xmit_done_tp_btf, xmit_done_raw_tp;
    drop::consume => consume_tp_btf, consume_raw_tp;
    drop::drop => drop_tp_btf, drop_raw_tp;
}

functions! {
    napi::napi_schedule => napi_schedule_fentry, napi_schedule_kprobe;
    napi::poll_begin => poll_begin_fentry, poll_begin_kprobe;
    receive::classify => classify_fentry, classify_kprobe;
    receive::xdp_generic => xdp_generic_fentry, xdp_generic_kprobe;
    receive::ip => ip_fentry, ip_kprobe;
    receive::deliver => deliver_fentry, deliver_kprobe;
    receive::forward => forward_fentry, forward_kprobe;
    transport::tcp_backlog => tcp_backlog_fentry, tcp_backlog_kprobe;
    transport::queued => queued_fentry, queued_kprobe;
    socket::send_entry => send_fentry, send_kprobe;
    socket::write => write_fentry, write_kprobe;
    socket::tcp_transmit => tcp_transmit_fentry, tcp_transmit_kprobe;
    transmit::ip_output => ip_output_fentry, ip_output_kprobe;
    transmit::ip6_xmit => ip6_xmit_fentry, ip6_xmit_kprobe;
    transmit::neighbour => neighbour_fentry, neighbour_kprobe;
    transmit::dev_queue => dev_queue_fentry, dev_queue_kprobe;
    drop::freed => freed_fentry, freed_kprobe;
}

#[fentry]
pub fn nf_enter_fentry(context: FEntryContext) -> i32 {
    netfilter::enter(&context);
    0
}

#[fexit]
pub fn nf_leave_fexit(context: FExitContext) -> i32 {
    // nf_hook_slow(skb, state, entries, index): the value returned lies behind the four arguments
    netfilter::leave(&context, context.arg::<i32>(4));
    0
}

#[kprobe]
pub fn nf_enter_kprobe(context: ProbeContext) -> u32 {
    netfilter::enter_call(&context);
    0
}

#[kretprobe]
pub fn nf_leave_kretprobe(context: RetProbeContext) -> u32 {
    netfilter::leave_call::<Helper>(Returned(&context).value() as i32);
    0
}

#[fentry]
pub fn transport_fentry(context: FEntryContext) -> i32 {
    transport::transport(&context);
    0
}

#[kprobe]
pub fn transport_kprobe(context: ProbeContext) -> u32 {
    transport::transport_call(&context);
    0
}

#[kretprobe]
pub fn transport_done_kretprobe(_context: RetProbeContext) -> u32 {
    transport::transport_done_call::<Helper>();
    0
}

#[fexit]
pub fn transport_done_fexit(context: FExitContext) -> i32 {
    transport::transport_done(&context);
    0
}

#[fexit]
pub fn recv_udp_fexit(context: FExitContext) -> i32 {
    // __skb_recv_udp(sk, flags, off, err) → sk_buff; before 5.18 with `noblock` after the flags. Not read alike in
    // both cases: the compiler would make one read of them, from a computed place, which the verifier refuses.
    if config!(recv_udp_noblock) != 0 {
        socket::recv_udp::<Helper>(context.arg(5));
    } else {
        socket::recv_udp::<Direct>(context.arg(4));
    }
    0
}

#[kretprobe]
pub fn recv_udp_kretprobe(context: RetProbeContext) -> u32 {
    socket::recv_udp::<Helper>(Returned(&context).value() as *const c_void);
    0
}

#[fexit]
pub fn recv_exit_fexit(context: FExitContext) -> i32 {
    // inet_recvmsg(sock, msg, size, flags) → bytes
    socket::recv_return(&context, context.arg::<i32>(4));
    0
}

#[kretprobe]
pub fn recv_exit_kretprobe(context: RetProbeContext) -> u32 {
    socket::recv_return_blind(Returned(&context).value() as i32);
    0
}

#[fexit]
pub fn send_exit_fexit(context: FExitContext) -> i32 {
    socket::send_return(&context);
    0
}

#[kretprobe]
pub fn send_exit_kretprobe(_context: RetProbeContext) -> u32 {
    socket::send_return_blind();
    0
}

/// Attached by user space through the netfilter link (`probe::netfilter`): aya 0.14 has no such kind, so
/// the section's name is one that it can parse.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp/nf_first")]
pub extern "C" fn nf_first(context: *mut c_void) -> i32 {
    netfilter::first(NetfilterContext(context));
    1 // NF_ACCEPT
}

/// See [`nf_first`].
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp/nf_last")]
pub extern "C" fn nf_last(context: *mut c_void) -> i32 {
    netfilter::last(NetfilterContext(context));
    1
}

/// The least that any tracer does at a hook: reads the clock and keeps it; or nothing at all, which is what the hook alone costs.
/// `cargo xtask bench` compares ours with it.
macro_rules! floor {
    ($($attribute:ident($context:ty) -> $result:ty => $name:ident;)*) => {$(
        #[$attribute]
        pub fn $name(_context: $context) -> $result {
            if config!(floor_idles) == 0
                && let Some(kept) = maps::floor()
            {
                // SAFETY: this CPU's own.
                unsafe { core::ptr::write_volatile(kept, segment::now()) }
            }
            0
        }
    )*};
}

floor! {
    btf_tracepoint(BtfTracePointContext) -> i32 => floor_tp_btf;
    raw_tracepoint(RawTracePointContext) -> i32 => floor_raw_tp;
    fentry(FEntryContext) -> i32 => floor_fentry;
    fexit(FExitContext) -> i32 => floor_fexit;
    kprobe(ProbeContext) -> u32 => floor_kprobe;
    kretprobe(RetProbeContext) -> u32 => floor_kretprobe;
}

/// Run by user space on each CPU: sends the slots that are idle or old; the context's first two words say what that is
/// ([`segment::sweep`]). 1 when it could not. By hand, for `#[raw_tracepoint]` makes a program that returns 0 whatever its
/// function returns.
///
/// # Safety
/// The context is a raw tracepoint's.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
pub unsafe fn sweep(context: *const [u64; 2]) -> u32 {
    // SAFETY: a raw tracepoint's context is twelve words (`MAX_BPF_FUNC_ARGS`).
    let [idle, age] = unsafe { *context };
    u32::from(!segment::sweep(idle, age))
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
