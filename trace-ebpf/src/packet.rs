//! An IP packet's first bytes, as far as the kernel side reads them. What follows an IPv6 header's extensions it does not see.

use core::ptr::read_volatile;

use trace_ebpf::PACKET_BYTES;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const IPV6_FRAGMENT: u8 = 44;

/// The bytes from its network header on.
#[derive(Clone, Copy)]
pub struct Packet {
    bytes: *const u8,
    v4: bool,
}

impl Packet {
    /// Of this ethertype (host byte order); none if that is not IP.
    ///
    /// # Safety
    /// [`PACKET_BYTES`] can be read at `bytes` for as long as this lives.
    #[inline(always)]
    pub unsafe fn of(ethertype: u16, bytes: *const u8) -> Option<Self> {
        match ethertype {
            0x0800 => Some(Self { bytes, v4: true }),
            0x86dd => Some(Self { bytes, v4: false }),
            _ => None,
        }
    }

    /// An IP packet, of the version that it says itself.
    ///
    /// # Safety
    /// As for [`of`](Self::of).
    #[inline(always)]
    pub unsafe fn ip(bytes: *const u8) -> Self {
        let mut packet = Self { bytes, v4: true };
        packet.v4 = packet.byte(0) >> 4 == 4;
        packet
    }

    #[inline(always)]
    fn byte(self, at: usize) -> u8 {
        // SAFETY: only constants below PACKET_BYTES come here.
        unsafe { read_volatile(self.bytes.add(at)) }
    }

    /// As it lies in memory.
    #[inline(always)]
    fn word(self, at: usize) -> u32 {
        // SAFETY: the mask keeps it inside of PACKET_BYTES, which is a power of two; callers align.
        unsafe { read_volatile(self.bytes.add(at & (PACKET_BYTES - 4)).cast()) }
    }

    pub fn is_v4(self) -> bool {
        self.v4
    }

    /// The protocol's number; IPv6: the first next header.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        self.byte(if self.v4 { 9 } else { 6 })
    }

    /// Bytes of the IP header.
    #[inline(always)]
    pub fn header(self) -> usize {
        if self.v4 {
            usize::from(self.byte(0) & 15) * 4
        } else {
            40
        }
    }

    /// An IPv4 fragment that is not the first: it has no transport header.
    #[inline(always)]
    pub fn is_later_part(self) -> bool {
        self.v4 && (self.byte(6) & 0x1f != 0 || self.byte(7) != 0)
    }

    /// A fragment, the first included. Of IPv6: says its first next header.
    #[inline(always)]
    pub fn is_part(self) -> bool {
        if self.v4 {
            self.byte(6) & 0x3f != 0 || self.byte(7) != 0
        } else {
            self.byte(6) == IPV6_FRAGMENT
        }
    }

    /// A protocol whose header begins with two ports.
    #[inline(always)]
    pub fn has_ports(self) -> bool {
        matches!(self.protocol(), TCP | UDP | SCTP | UDP_LITE)
    }

    /// A protocol that is what the packet is about: no extension header, no tunnel.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        matches!(self.protocol(), ICMP | ICMPV6) || self.has_ports()
    }

    /// Source and destination port, host byte order; to be believed where it [has ports](Self::has_ports).
    #[inline(always)]
    pub fn ports(self) -> (u16, u16) {
        let both = self.word(self.header());
        (u16::from_be(both as u16), u16::from_be((both >> 16) as u16))
    }

    /// First bytes that hold all headers that are ever read of it; a multiple of an entry's size.
    #[inline(always)]
    pub fn kept(self) -> usize {
        const WITHOUT_OPTIONS: u8 = 0x45;
        match self.protocol() {
            _ if self.byte(0) != WITHOUT_OPTIONS => PACKET_BYTES,
            TCP => 40,
            UDP | ICMP => 32,
            _ => PACKET_BYTES,
        }
    }

    /// The sequence numbers of a TCP segment's payload, from and to; none if the headers do not say.
    #[inline(always)]
    pub fn tcp_range(self) -> Option<(u32, u32)> {
        let header = self.header();
        // an option-laden header has its TCP header's end behind PACKET_BYTES
        if self.protocol() != TCP || header > PACKET_BYTES - 16 {
            return None;
        }
        let total = if self.v4 {
            u32::from(u16::from_be((self.word(0) >> 16) as u16))
        } else {
            u32::from(u16::from_be(self.word(4) as u16)) + 40
        };
        let headers = header as u32 + (self.word(header + 12) >> 4 & 15) * 4;
        if total <= headers {
            return None; // 0: longer than the field can say (BIG TCP)
        }
        let seq = u32::from_be(self.word(header + 4));
        Some((seq, seq.wrapping_add(total - headers)))
    }

    /// Source and destination address in words as they lie in memory; IPv4 has one word.
    #[inline(always)]
    pub fn addresses(self) -> ([u32; 4], [u32; 4]) {
        let words = |at: usize| {
            if self.v4 {
                [self.word(at), 0, 0, 0]
            } else {
                [
                    self.word(at),
                    self.word(at + 4),
                    self.word(at + 8),
                    self.word(at + 12),
                ]
            }
        };
        if self.v4 {
            (words(12), words(16))
        } else {
            (words(8), words(24))
        }
    }

    /// Words of an address.
    #[inline(always)]
    pub fn address_words(self) -> usize {
        if self.v4 { 1 } else { 4 }
    }
}

const _: () = assert!(PACKET_BYTES.is_power_of_two());
