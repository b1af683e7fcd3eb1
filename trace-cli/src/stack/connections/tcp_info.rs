//! `struct tcp_info` (`include/uapi/linux/tcp.h`): what TCP knows of a connection.
//!
//! It grew at its end from release to release and never changed what was there: so its length says what a kernel gives.

use serde::Serialize;

/// A number as it lies in the kernel's memory.
trait Field: Sized {
    /// Reads one at `offset`; `None` if the structure ends before its last byte.
    fn at(bytes: &[u8], offset: usize) -> Option<Self>;
}

macro_rules! field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn at(bytes: &[u8], offset: usize) -> Option<Self> {
                let bytes = bytes.get(offset..)?.first_chunk()?;
                Some(Self::from_ne_bytes(*bytes))
            }
        }
    )*};
}

field! { u8 u16 u32 u64 }

/// One row a field: documentation, name, type, its place in bytes, and the value that says that there is none.
macro_rules! tcp_info {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $offset:literal $(, none $none:expr)?;)*) => {
        /// TCP's own view of a connection; `None` is what this kernel does not give, or what is not measured yet.
        #[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
        pub struct TcpInfo {
            $($(#[$doc])* pub $name: Option<$type>,)*
        }

        impl TcpInfo {
            /// Reads what a kernel gave of it, however long that is.
            pub fn parse(bytes: &[u8]) -> Self {
                Self {
                    $($name: <$type as Field>::at(bytes, $offset)$(.filter(|value| *value != $none))?,)*
                }
            }

            /// Names of the fields that a structure of this length does not reach.
            pub fn not_given(length: usize) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if length < $offset + size_of::<$type>() {
                    names.push(stringify!($name));
                })*
                names
            }

            #[cfg(test)]
            const ROWS: &[(&str, usize, usize)] = &[$((stringify!($name), $offset, size_of::<$type>()),)*];
        }
    };
}

tcp_info! {
    /// Congestion state: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss (`enum tcp_ca_state`).
    ca_state: u8, 1;
    /// Timeouts in a row of the segment that is being retransmitted.
    timeouts_in_a_row: u8, 2;
    /// Window or keepalive probes in a row without an answer.
    probes: u8, 3;
    /// Doublings of the retransmission timer.
    backoff: u8, 4;
    /// Bits of `TCPI_OPT_*`: 1 timestamps, 2 SACK, 4 window scaling, 8 ECN, 16 ECN seen, 32 data in SYN.
    options: u8, 5;
    /// Retransmission timeout, in µs.
    rto_us: u32, 8;
    /// Delayed-ACK timeout, in µs.
    ato_us: u32, 12, none 0;
    /// Segment size for sending, in bytes.
    send_mss_bytes: u32, 16;
    /// Segment size that is estimated for receiving, in bytes.
    receive_mss_bytes: u32, 20;
    /// Segments sent and not acknowledged.
    unacked_segments: u32, 24;
    /// Of these, acknowledged selectively.
    sacked_segments: u32, 28;
    /// Of these, taken for lost.
    lost_segments: u32, 32;
    /// Of these, sent again and still on their way.
    retransmitted_segments: u32, 36;
    /// Time since data was last sent, in ms.
    last_data_sent_ms: u32, 44;
    /// Time since data was last received, in ms.
    last_data_received_ms: u32, 52;
    /// Time since an acknowledgement was last received, in ms.
    last_ack_received_ms: u32, 56;
    /// Path MTU, in bytes.
    path_mtu_bytes: u32, 60;
    /// Slow-start threshold of the receive window, in bytes.
    receive_ssthresh_bytes: u32, 64;
    /// Smoothed round-trip time, in µs.
    rtt_us: u32, 68, none 0;
    /// Its mean deviation, in µs.
    rttvar_us: u32, 72;
    /// Slow-start threshold, in segments; none before the first loss.
    ssthresh_segments: u32, 76, none 0x7fff_ffff;
    /// Congestion window, in segments.
    cwnd_segments: u32, 80;
    /// Segment size that we announced, in bytes.
    announced_mss_bytes: u32, 84;
    /// How far, in segments, the network is taken to reorder.
    reordering_segments: u32, 88;
    /// Round-trip time as the receiver measures it, in µs.
    receive_rtt_us: u32, 92, none 0;
    /// Receive buffer that auto-tuning aims at, in bytes.
    receive_space_bytes: u32, 96;
    /// Segments sent again since the connection began.
    retransmits: u32, 100;
    /// Rate at which segments are paced, in bytes a second; none if they are not.
    pacing_rate_bytes_per_s: u64, 104, none u64::MAX;
    /// Limit of that rate, in bytes a second; none if there is none.
    max_pacing_rate_bytes_per_s: u64, 112, none u64::MAX;
    /// Bytes that the peer acknowledged.
    acked_bytes: u64, 120;
    /// Bytes received in order.
    received_bytes: u64, 128;
    /// Segments sent.
    sent_segments: u32, 136;
    /// Segments received.
    received_segments: u32, 140;
    /// Bytes written but not yet sent.
    not_sent_bytes: u32, 144;
    /// Smallest round-trip time of late, in µs.
    min_rtt_us: u32, 148, none u32::MAX;
    /// Segments with data received.
    received_data_segments: u32, 152;
    /// Segments with data sent.
    sent_data_segments: u32, 156;
    /// Rate at which data arrived at the peer, in bytes a second.
    delivery_rate_bytes_per_s: u64, 160, none 0;
    /// Time with data to send, in µs.
    busy_us: u64, 168;
    /// Of this, waiting for the peer's window, in µs.
    receive_window_limited_us: u64, 176;
    /// Of this, waiting for send buffer, in µs.
    send_buffer_limited_us: u64, 184;
    /// Segments delivered, retransmissions included.
    delivered_segments: u32, 192;
    /// Of these, marked by ECN.
    delivered_ce_segments: u32, 196;
    /// Bytes sent, retransmissions included.
    sent_bytes: u64, 200;
    /// Bytes sent again.
    retransmitted_bytes: u64, 208;
    /// Duplicate SACKs: segments that the peer had twice.
    duplicate_sacks: u32, 216;
    /// Times that reordering was seen.
    reorderings: u32, 220;
    /// Segments received out of order.
    out_of_order_segments: u32, 224;
    /// The peer's window, scaled, in bytes.
    send_window_bytes: u32, 228;
    /// Our window, scaled, in bytes (Linux 6.2).
    receive_window_bytes: u32, 232;
    /// Times that another path was tried after a timeout (Linux 6.2).
    rehashes: u32, 236;
    /// Retransmission timeouts (Linux 6.7).
    timeouts: u16, 240;
    /// Recoveries from them (Linux 6.7).
    timeout_recoveries: u16, 242;
    /// Time in them, in ms (Linux 6.7).
    timeout_recovery_ms: u32, 244;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lengths of the structure, and the first release that had it (`git log include/uapi/linux/tcp.h`).
    const LENGTHS: [(usize, &str, usize); 4] = [
        (232, "5.4", 5),
        (240, "6.2", 3),
        (248, "6.7", 0),
        (280, "6.18", 0),
    ];

    #[test]
    fn rows_are_in_order_and_do_not_overlap() {
        let mut end = 0;
        for (name, offset, size) in TcpInfo::ROWS {
            assert!(*offset >= end && offset % size == 0, "{name}");
            end = offset + size;
        }
        assert_eq!(end, 248);
    }

    #[test]
    fn each_release_gives_what_it_has() {
        for (length, release, missing) in LENGTHS {
            assert_eq!(TcpInfo::not_given(length).len(), missing, "{release}");
            let read = TcpInfo::parse(&vec![1; length]);
            assert_eq!(read.send_window_bytes, Some(0x0101_0101), "{release}");
            assert_eq!(
                read.receive_window_bytes.is_some(),
                length >= 236,
                "{release}"
            );
            assert_eq!(read.timeouts.is_some(), length >= 242, "{release}");
        }
        assert_eq!(TcpInfo::parse(&[]), TcpInfo::default());
    }

    #[test]
    fn what_is_not_measured_is_no_number() {
        let mut bytes = [0; 248];
        bytes[76..80].copy_from_slice(&0x7fff_ffff_u32.to_ne_bytes());
        bytes[104..120].fill(0xff);
        bytes[148..152].fill(0xff);
        let read = TcpInfo::parse(&bytes);
        assert_eq!(
            (read.rtt_us, read.ssthresh_segments, read.min_rtt_us),
            (None, None, None)
        );
        assert_eq!(
            (read.pacing_rate_bytes_per_s, read.delivery_rate_bytes_per_s),
            (None, None)
        );
        assert_eq!(read.retransmits, Some(0));
    }

    proptest! {
        /// A shorter structure only loses fields; it changes none.
        #[test]
        fn cut_short_nothing_changes(bytes in proptest::collection::vec(any::<u8>(), 248..300), cut in 0_usize..300) {
            let whole = serde_json::to_value(TcpInfo::parse(&bytes)).unwrap();
            let cut = cut.min(bytes.len());
            let part = serde_json::to_value(TcpInfo::parse(&bytes[..cut])).unwrap();
            let missing = TcpInfo::not_given(cut);
            for (name, value) in part.as_object().unwrap() {
                if missing.contains(&name.as_str()) {
                    prop_assert!(value.is_null());
                } else {
                    prop_assert_eq!(value, &whole[name]);
                }
            }
        }
    }
}
