//! What a driver can be set to: rings, channels, interrupt coalescing, pause frames.
//!
//! Attributes of the `ethtool` netlink family (`include/uapi/linux/ethtool_netlink.h`). A driver sends those that it has: any
//! other is `None`.

use serde::Serialize;

use crate::kernel::netlink::{self, attributes};

/// A value of an attribute.
trait Value: Sized {
    fn of(bytes: &[u8]) -> Option<Self>;
}

impl Value for u32 {
    fn of(bytes: &[u8]) -> Option<Self> {
        netlink::u32(bytes)
    }
}

impl Value for u64 {
    fn of(bytes: &[u8]) -> Option<Self> {
        netlink::u64(bytes)
    }
}

impl Value for bool {
    fn of(bytes: &[u8]) -> Option<Self> {
        Some(netlink::u8(bytes)? != 0)
    }
}

/// Each field with its type and the number of its attribute.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $number:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
        }

        impl $name {
            /// Reads the attributes of an answer.
            pub fn parse(answer: &[u8]) -> Self {
                let mut read = Self::default();
                for (number, value) in attributes(answer) {
                    match number {
                        $($number => read.$field = Value::of(value),)*
                        _ => {}
                    }
                }
                read
            }
        }
    };
}

settings! {
    /// Ring sizes, in descriptors (`ethtool -g`).
    Rings {
        /// Largest receive ring.
        rx_max: u32 = 2;
        /// Largest ring for small frames.
        rx_mini_max: u32 = 3;
        /// Largest ring for jumbo frames.
        rx_jumbo_max: u32 = 4;
        /// Largest transmit ring.
        tx_max: u32 = 5;
        /// Receive ring now.
        rx: u32 = 6;
        /// Ring for small frames now.
        rx_mini: u32 = 7;
        /// Ring for jumbo frames now.
        rx_jumbo: u32 = 8;
        /// Transmit ring now.
        tx: u32 = 9;
        /// Length of a receive buffer, in bytes.
        rx_buffer_bytes: u32 = 10;
    }
}

settings! {
    /// Queues, with an interrupt each (`ethtool -l`).
    Channels {
        /// Most queues that only receive.
        rx_max: u32 = 2;
        /// Most queues that only send.
        tx_max: u32 = 3;
        /// Most for other things.
        other_max: u32 = 4;
        /// Most queues that do both.
        combined_max: u32 = 5;
        /// Queues that only receive now.
        rx: u32 = 6;
        /// Queues that only send now.
        tx: u32 = 7;
        /// For other things now.
        other: u32 = 8;
        /// Queues that do both now.
        combined: u32 = 9;
    }
}

settings! {
    /// How long an interrupt is put off for more to come (`ethtool -c`).
    Coalescing {
        /// Receive: for so long, in µs.
        rx_us: u32 = 2;
        /// Receive: until so many frames came.
        rx_frames: u32 = 3;
        /// Receive, while an interrupt is being served: in µs.
        rx_us_irq: u32 = 4;
        /// Receive, while an interrupt is being served: frames.
        rx_frames_irq: u32 = 5;
        /// Transmit: in µs.
        tx_us: u32 = 6;
        /// Transmit: frames.
        tx_frames: u32 = 7;
        /// Transmit, while an interrupt is being served: in µs.
        tx_us_irq: u32 = 8;
        /// Transmit, while an interrupt is being served: frames.
        tx_frames_irq: u32 = 9;
        /// Interval at which the device writes its counters to memory, in µs.
        statistics_us: u32 = 10;
        /// Receive adapts to the load by itself.
        adaptive_rx: bool = 11;
        /// Transmit adapts to the load by itself.
        adaptive_tx: bool = 12;
        /// Below this rate, in packets a second, the `low` values count.
        low_rate_packets_per_s: u32 = 13;
        /// Receive at a low rate: in µs.
        rx_us_low: u32 = 14;
        /// Receive at a low rate: frames.
        rx_frames_low: u32 = 15;
        /// Transmit at a low rate: in µs.
        tx_us_low: u32 = 16;
        /// Transmit at a low rate: frames.
        tx_frames_low: u32 = 17;
        /// Above this rate, in packets a second, the `high` values count.
        high_rate_packets_per_s: u32 = 18;
        /// Receive at a high rate: in µs.
        rx_us_high: u32 = 19;
        /// Receive at a high rate: frames.
        rx_frames_high: u32 = 20;
        /// Transmit at a high rate: in µs.
        tx_us_high: u32 = 21;
        /// Transmit at a high rate: frames.
        tx_frames_high: u32 = 22;
        /// How often the rate is measured, in s.
        rate_interval_s: u32 = 23;
    }
}

settings! {
    /// Flow control by pause frames (`ethtool -a`).
    Pause {
        /// Agreed on with the peer.
        autonegotiated: bool = 2;
        /// We stop sending when asked to.
        rx: bool = 3;
        /// We ask the peer to stop.
        tx: bool = 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::netlink::{push, push_nested};

    #[test]
    fn what_is_not_sent_is_not_known() {
        let mut answer = Vec::new();
        push_nested(&mut answer, 1, &[8, 0, 1, 0, 2, 0, 0, 0]);
        push(&mut answer, 2, &4096_u32.to_ne_bytes());
        push(&mut answer, 6, &0_u32.to_ne_bytes());
        push(&mut answer, 9, &[1]);
        push(&mut answer, 77, &[1, 2, 3]);
        let rings = Rings::parse(&answer);
        assert_eq!(
            (rings.rx_max, rings.rx, rings.tx, rings.tx_max),
            (Some(4096), Some(0), None, None)
        );
        let mut answer = Vec::new();
        push(&mut answer, 11, &[1]);
        push(&mut answer, 2, &50_u32.to_ne_bytes());
        let coalescing = Coalescing::parse(&answer);
        assert_eq!(
            (coalescing.adaptive_rx, coalescing.rx_us),
            (Some(true), Some(50))
        );
        assert_eq!(coalescing.adaptive_tx, None);
    }

    proptest! {
        #[test]
        fn cut_short_nothing_changes(
            values in proptest::collection::vec((0_u16..30, proptest::collection::vec(any::<u8>(), 0..9)), 0..20),
            cut in 0_usize..300,
        ) {
            let mut answer = Vec::new();
            for (number, value) in &values {
                push(&mut answer, *number, value);
            }
            let cut = cut.min(answer.len());
            let _ = (Rings::parse(&answer[..cut]), Channels::parse(&answer[..cut]), Pause::parse(&answer[..cut]));
            // What is whole is read as if nothing had been cut off after it.
            let mut end = 0;
            for (_, value) in &values {
                let next = end + (4 + value.len()).next_multiple_of(4);
                if next > cut {
                    break;
                }
                end = next;
            }
            // The last one's padding may be missing.
            let part = Coalescing::parse(&answer[..cut]);
            let whole = Coalescing::parse(&answer[..end]);
            let all = Coalescing::parse(&answer);
            prop_assert!(part == whole || part == all || cut > end);
        }
    }
}
