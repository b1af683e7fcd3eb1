//! A socket's memory: `INET_DIAG_SKMEMINFO` (`SK_MEMINFO_*` in `include/uapi/linux/sock_diag.h`), as `ss -m` shows it.

use serde::Serialize;

use crate::kernel::netlink;

/// Memory is counted with what the kernel keeps beside the data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Memory {
    /// Held by what was received and not yet read, in bytes.
    pub receive_bytes: u32,
    /// Limit of the former, in bytes (`SO_RCVBUF`, or auto-tuned).
    pub receive_limit_bytes: u32,
    /// Held by what qdisc and device have in hand, in bytes.
    pub transmit_bytes: u32,
    /// Limit for sending, in bytes (`SO_SNDBUF`, or auto-tuned).
    pub send_limit_bytes: u32,
    /// Reserved and not used, in bytes; for a moment it may be below zero.
    pub reserved_bytes: i32,
    /// Held by what TCP has to send or to have acknowledged, in bytes.
    pub queued_bytes: u32,
    /// Held by options and filters, in bytes.
    pub options_bytes: u32,
    /// Waiting until the process leaves the socket alone, in bytes.
    pub backlog_bytes: u32,
    /// Packets dropped because of this socket, of a listener: attempts to connect.
    pub drops: Option<u32>,
}

impl Memory {
    /// Reads an array of 32-bit numbers; `None` if even those that all kernels give are not there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |number: usize| netlink::u32(bytes.get(4 * number..4 * number + 4)?);
        Some(Self {
            receive_bytes: word(0)?,
            receive_limit_bytes: word(1)?,
            transmit_bytes: word(2)?,
            send_limit_bytes: word(3)?,
            reserved_bytes: word(4)?.cast_signed(),
            queued_bytes: word(5)?,
            options_bytes: word(6)?,
            backlog_bytes: word(7)?,
            drops: word(8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_long_as_it_is() {
        let words: Vec<u8> = (1..=10_u32).flat_map(u32::to_ne_bytes).collect();
        assert_eq!(Memory::parse(&words[..31]), None);
        assert_eq!(Memory::parse(&words[..35]).unwrap().drops, None);
        let whole = Memory::parse(&words).unwrap();
        assert_eq!(
            (whole.receive_bytes, whole.backlog_bytes, whole.drops),
            (1, 8, Some(9))
        );
        let mut negative = words;
        negative[16..20].copy_from_slice(&(-4096_i32).to_ne_bytes());
        assert_eq!(Memory::parse(&negative).unwrap().reserved_bytes, -4096);
    }
}
