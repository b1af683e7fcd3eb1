//! Reading kernel memory. What differs between probe kinds is only this: behind tp_btf and fentry the
//! verifier knows the pointers' types and allows plain loads; behind raw_tp and kprobe every read is a helper call.

use core::{
    arch::asm,
    ffi::c_void,
    ptr::{addr_of_mut, read_volatile},
};

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, generated},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext,
    },
};

use trace_ebpf::SKB_SPAN;

use crate::maps::Cpu;

/// A way of reading a structure member.
pub trait Memory {
    /// The program may ask for the running thread's name.
    const NAMES: bool = true;

    /// The value at `base + offset`, zero where it cannot be read.
    ///
    /// # Safety
    /// `base` is a kernel pointer given to the program, `offset` that of a member of type `T`.
    unsafe fn load<T: Copy + Default>(base: *const c_void, offset: usize) -> T;

    /// An sk_buff of which many members are wanted: itself where each load is cheap, else one copy of it all.
    ///
    /// # Safety
    /// `cpu` is this CPU's state and its busy flag is ours; `skb` is a live sk_buff. It holds until the next view.
    #[inline(always)]
    unsafe fn view(_cpu: *mut Cpu, skb: *const c_void) -> *const c_void {
        skb
    }

    /// A member of the sk_buff in view.
    ///
    /// # Safety
    /// `view` is what [`view`](Self::view) gave, `offset` that of a member of type `T`.
    #[inline(always)]
    unsafe fn member<T: Copy + Default>(view: *const c_void, offset: usize) -> T {
        // SAFETY: as the caller promised.
        unsafe { Self::load(view, offset) }
    }
}

/// Plain loads through pointers whose BTF type the verifier knows.
pub struct Direct;
/// `bpf_probe_read_kernel`.
pub struct Helper;

impl Memory for Direct {
    #[inline(always)]
    unsafe fn load<T: Copy + Default>(base: *const c_void, offset: usize) -> T {
        // SAFETY: the verifier checks the access against the pointer's BTF type; a fault reads as zero.
        unsafe { read_volatile(base.cast::<u8>().add(offset).cast::<T>()) }
    }
}

impl Memory for Helper {
    #[inline(always)]
    unsafe fn load<T: Copy + Default>(base: *const c_void, offset: usize) -> T {
        // SAFETY: the helper checks the address itself.
        unsafe {
            bpf_probe_read_kernel(base.cast::<u8>().wrapping_add(offset).cast::<T>())
                .unwrap_or_default()
        }
    }
    #[inline(always)]
    unsafe fn view(cpu: *mut Cpu, skb: *const c_void) -> *const c_void {
        // SAFETY: the helper checks the address and the verifier the size; what cannot be read is zero.
        unsafe {
            let copy = addr_of_mut!((*cpu).skb).cast::<c_void>();
            generated::bpf_probe_read_kernel(copy, offset!(skb_span) as u32, skb);
            copy
        }
    }
    #[inline(always)]
    unsafe fn member<T: Copy + Default>(view: *const c_void, offset: usize) -> T {
        if offset > SKB_SPAN - size_of::<T>() {
            return T::default(); // this kernel has no such member
        }
        // SAFETY: it lies inside of the copy.
        unsafe { read_volatile(view.cast::<u8>().add(offset).cast::<T>()) }
    }
}

/// As [`Direct`], in netfilter's programs: 6.12 does not let those ask for a name.
pub struct Bookend;

impl Memory for Bookend {
    const NAMES: bool = false;

    #[inline(always)]
    unsafe fn load<T: Copy + Default>(base: *const c_void, offset: usize) -> T {
        // SAFETY: as the caller promised.
        unsafe { Direct::load(base, offset) }
    }
}

/// A pointer read from kernel memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Pointer(pub *const c_void);

impl Default for Pointer {
    fn default() -> Self {
        Self(core::ptr::null())
    }
}

/// A probe's context: its arguments, whichever kind it is.
pub trait Probe: EbpfContext {
    /// How members of what the arguments point to are read.
    type Memory: Memory;
    /// Argument `n` as a pointer.
    fn pointer(&self, n: usize) -> *const c_void;
    /// Argument `n` as a number.
    fn number(&self, n: usize) -> u64;
}

macro_rules! probe {
    ($context:ty, $memory:ty) => {
        impl Probe for $context {
            type Memory = $memory;
            #[inline(always)]
            fn pointer(&self, n: usize) -> *const c_void {
                self.arg(n)
            }
            #[inline(always)]
            fn number(&self, n: usize) -> u64 {
                self.arg(n)
            }
        }
    };
}
probe!(BtfTracePointContext, Direct);
probe!(FEntryContext, Direct);
probe!(FExitContext, Direct);
probe!(RawTracePointContext, Helper);

/// A register that the interrupted function was called with or returned, out of its `pt_regs`: at `$x86_64` on x86_64, at
/// `$aarch64` on aarch64. Which it is, user space says, so that one object does for both; the verifier removes the other
/// load. In assembly, for of two loads the compiler would make one, from a computed place, which the verifier refuses.
macro_rules! register {
    ($context:expr, $x86_64:literal, $aarch64:literal) => {{
        let registers = $context.as_ptr();
        let value: u64;
        // SAFETY: the verifier checks that the load lies inside of `pt_regs`; both places do on both machines.
        unsafe {
            if config!(aarch64) != 0 {
                asm!(concat!("{0} = *(u64 *)({1} + ", $aarch64, ")"), out(reg) value, in(reg) registers);
            } else {
                asm!(concat!("{0} = *(u64 *)({1} + ", $x86_64, ")"), out(reg) value, in(reg) registers);
            }
        }
        value
    }};
}

impl Probe for ProbeContext {
    type Memory = Helper;
    #[inline(always)]
    fn pointer(&self, n: usize) -> *const c_void {
        self.number(n) as *const c_void
    }
    /// `di`, `si`, `dx`, `cx`, `r8`, `r9`; or `x0` and those after it.
    #[inline(always)]
    fn number(&self, n: usize) -> u64 {
        match n {
            0 => register!(self, 112, 0),
            1 => register!(self, 104, 8),
            2 => register!(self, 96, 16),
            3 => register!(self, 88, 24),
            4 => register!(self, 72, 32),
            5 => register!(self, 64, 40),
            _ => 0,
        }
    }
}

/// At a function's return there are no arguments, only the value returned.
pub struct Returned<'a>(pub &'a RetProbeContext);

impl Returned<'_> {
    /// The value returned: `ax` or `x0`.
    #[inline(always)]
    pub fn value(&self) -> u64 {
        register!(self.0, 80, 0)
    }
}

/// A netfilter program's context: `struct bpf_nf_ctx { state, skb }` (net/netfilter/nf_bpf_link.c).
#[derive(Clone, Copy)]
pub struct NetfilterContext(pub *mut c_void);

impl Probe for NetfilterContext {
    type Memory = Bookend;
    /// 0 is the `nf_hook_state`, 1 the sk_buff.
    #[inline(always)]
    fn pointer(&self, n: usize) -> *const c_void {
        // SAFETY: the verifier knows both members of bpf_nf_ctx as pointers with BTF types.
        unsafe { read_volatile(self.0.cast::<*const c_void>().add(n)) }
    }
    #[inline(always)]
    fn number(&self, _n: usize) -> u64 {
        0
    }
}

impl EbpfContext for NetfilterContext {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}
