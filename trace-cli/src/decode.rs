//! The only place where bytes become types.
//!
//! [`decode`] takes one record as it lies in a ring (or in a recording) and gives a [`Record`], or says
//! what is wrong with it. It copies fields out by position and never reinterprets memory, so that no
//! input can do more harm than a [`DecodeError`]. The layouts are those of the [`trace_ebpf`] crate,
//! whose size assertions the offsets below rest on.

mod segment;

use trace_ebpf::{
    DropHead, Kind, MAX_CPUS, MAX_STACK, NAME_BYTES, PollEvent, SocketEvent, SocketOp,
};

pub use segment::{Call, Item, Segment, Tags, hook};

/// One record of the kernel side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// Stamps of one packet on one CPU.
    Segment(Segment<'a>),
    /// A drop.
    Drop(DropRecord),
    /// A system call on a TCP socket, or a retransmission.
    Socket(SocketRecord),
    /// A NAPI poll.
    Poll(PollRecord),
    /// A network device's name.
    Device(Device),
    /// A process' name.
    Process(ProcessRecord),
}

/// A drop, and who asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropRecord {
    /// CPU it happened on.
    pub cpu: u16,
    /// `skb->protocol`.
    pub ether_type: u16,
    /// Address of the sk_buff.
    pub skb: u64,
    /// CLOCK_MONOTONIC, ns.
    pub time: u64,
    /// Address of the caller.
    pub location: u64,
    /// `None` on kernels that give none.
    pub reason: Option<u32>,
    /// Another sk_buff still shares the data.
    pub shared: bool,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}

/// A system call on a socket (TCP: by sequence range), or a retransmission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketRecord {
    /// What happened.
    pub op: SocketOp,
    /// CPU of the call's end.
    pub cpu: u16,
    /// CLOCK_MONOTONIC, ns; or an address, as the operation says.
    pub start: u64,
    /// CLOCK_MONOTONIC, ns; `None` when not known (yet).
    pub end: Option<u64>,
    /// The socket.
    pub sk: u64,
    /// First sequence number.
    pub seq: u32,
    /// Bytes; 0 of a datagram's `recv()` of which a segment told.
    pub len: u32,
    /// Thread id of the caller.
    pub pid: u32,
}

/// One NAPI poll.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PollRecord {
    /// CPU it ran on.
    pub cpu: u16,
    /// Interrupt that scheduled it.
    pub irq: Option<u16>,
    /// Its number on this CPU.
    pub number: u32,
    /// Interface index of the NAPI's device; 0 for the backlog.
    pub ifindex: u32,
    /// CLOCK_MONOTONIC, ns.
    pub start: u64,
    /// CLOCK_MONOTONIC, ns.
    pub end: u64,
    /// Packets handled.
    pub work: u32,
    /// Packets allowed.
    pub budget: u32,
    /// When the softirq that ran it began.
    pub softirq: Option<u64>,
}

/// A network device's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Interface index.
    pub ifindex: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// As the kernel has it, unprintable bytes replaced.
    pub name: String,
}

/// A process' name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessRecord {
    /// Thread id.
    pub pid: u32,
    /// Process id.
    pub tgid: u32,
    /// `comm`, unprintable bytes replaced.
    pub name: String,
}

/// Why a record was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not even a kind and a length.
    #[error("{0} bytes are too few for a record")]
    TooShort(usize),
    /// A kind this version does not know.
    #[error("unknown kind of record: {0}")]
    UnknownKind(u8),
    /// The length inside the record is not that of the slice.
    #[error("the record says {said} bytes, {got} came")]
    Length {
        /// `bytes` of the record.
        said: usize,
        /// Bytes that came.
        got: usize,
    },
    /// The length does not fit the kind.
    #[error("{0} bytes do not fit this kind of record")]
    Shape(usize),
    /// A CPU number that no ring has.
    #[error("CPU {0} is out of range")]
    Cpu(u16),
    /// A hook, tag or operation this version does not know.
    #[error("unknown tag: {0}")]
    UnknownTag(u8),
}

/// Makes a [`Record`] of one record's bytes.
///
/// # Errors
/// When kind, length, CPU or a tag is not what this version of the wire format allows.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (Some(&kind), true) = (bytes.first(), bytes.len() >= 4) else {
        return Err(DecodeError::TooShort(bytes.len()));
    };
    let fields = Fields(bytes);
    let said = usize::from(fields.u16(2));
    if said != bytes.len() {
        return Err(DecodeError::Length {
            said,
            got: bytes.len(),
        });
    }
    match kind {
        k if k == Kind::Segment as u8 => segment::segment(fields).map(Record::Segment),
        k if k == Kind::Drop as u8 => drop_record(fields).map(Record::Drop),
        k if k == Kind::Socket as u8 => socket(fields).map(Record::Socket),
        k if k == Kind::Poll as u8 => poll(fields).map(Record::Poll),
        k if k == Kind::Device as u8 => {
            fields.exactly(size_of::<trace_ebpf::DeviceName>())?;
            Ok(Record::Device(Device {
                ifindex: fields.u32(4),
                netns: fields.u32(8),
                name: fields.name(16),
            }))
        }
        k if k == Kind::Process as u8 => {
            fields.exactly(size_of::<trace_ebpf::ProcessName>())?;
            Ok(Record::Process(ProcessRecord {
                pid: fields.u32(4),
                tgid: fields.u32(8),
                name: fields.name(16),
            }))
        }
        other => Err(DecodeError::UnknownKind(other)),
    }
}

fn drop_record(fields: Fields<'_>) -> Result<DropRecord, DecodeError> {
    let head = size_of::<DropHead>();
    fields.at_least(head)?;
    let depth = usize::from(fields.0[1]);
    if depth > MAX_STACK {
        return Err(DecodeError::Shape(fields.0.len()));
    }
    // The kernel side sends room for the deepest stack always.
    fields.exactly(head + MAX_STACK * 8)?;
    let reason = fields.u32(32);
    Ok(DropRecord {
        cpu: fields.cpu(4)?,
        ether_type: fields.u16(6),
        skb: fields.u64(8),
        time: fields.u64(16),
        location: fields.u64(24),
        reason: (reason != DropHead::NO_REASON).then_some(reason),
        shared: fields.u32(36) != 0,
        stack: (0..depth).map(|i| fields.u64(head + i * 8)).collect(),
    })
}

fn socket(fields: Fields<'_>) -> Result<SocketRecord, DecodeError> {
    fields.exactly(size_of::<SocketEvent>())?;
    let op = match fields.0[1] {
        1 => SocketOp::Send,
        2 => SocketOp::Receive,
        3 => SocketOp::ReceiveEnd,
        4 => SocketOp::Retransmit,
        5 => SocketOp::Datagram,
        6 => SocketOp::DatagramAt,
        7 => SocketOp::DatagramBefore,
        other => return Err(DecodeError::UnknownTag(other)),
    };
    let end = fields.u64(16);
    Ok(SocketRecord {
        op,
        cpu: fields.cpu(4)?,
        start: fields.u64(8),
        end: (end != 0).then_some(end),
        sk: fields.u64(24),
        seq: fields.u32(32),
        len: fields.u32(36),
        pid: fields.u32(40),
    })
}

fn poll(fields: Fields<'_>) -> Result<PollRecord, DecodeError> {
    fields.exactly(size_of::<PollEvent>())?;
    let irq = fields.u16(6);
    let softirq = fields.u64(40);
    Ok(PollRecord {
        cpu: fields.cpu(4)?,
        irq: (irq != PollEvent::NO_INTERRUPT).then_some(irq),
        number: fields.u32(8),
        ifindex: fields.u32(12),
        start: fields.u64(16),
        end: fields.u64(24),
        work: fields.u32(32),
        budget: fields.u32(36),
        softirq: (softirq != 0).then_some(softirq),
    })
}

/// Fields by their byte offset. A field that is not there reads as zero; lengths are checked before.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn exactly(self, bytes: usize) -> Result<(), DecodeError> {
        if self.0.len() == bytes {
            Ok(())
        } else {
            Err(DecodeError::Shape(self.0.len()))
        }
    }

    fn at_least(self, bytes: usize) -> Result<(), DecodeError> {
        if self.0.len() >= bytes {
            Ok(())
        } else {
            Err(DecodeError::Shape(self.0.len()))
        }
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0
            .get(at..at + N)
            .and_then(|b| b.try_into().ok())
            .unwrap_or([0; N])
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    fn cpu(self, at: usize) -> Result<u16, DecodeError> {
        let cpu = self.u16(at);
        if u32::from(cpu) < MAX_CPUS {
            Ok(cpu)
        } else {
            Err(DecodeError::Cpu(cpu))
        }
    }

    /// A name padded with NUL. Names are chosen by users (and by containers): control characters,
    /// which could play tricks on a terminal, are replaced.
    fn name(self, at: usize) -> String {
        let bytes: [u8; NAME_BYTES] = self.array(at);
        let used = bytes.split(|&b| b == 0).next().unwrap_or(&[]);
        String::from_utf8_lossy(used)
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
