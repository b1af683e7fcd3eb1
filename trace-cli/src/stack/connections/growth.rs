//! What the counters of sockets became between two readings.

use std::collections::HashMap;

use super::{Connections, Memory, Socket, TcpInfo};
use crate::stack::growth::{Growth, counter};

impl Growth for Connections {
    /// Sockets that are new since then are left out; the summary is that of now.
    fn since(&self, earlier: &Self) -> Self {
        let before: HashMap<_, _> = earlier
            .sockets
            .iter()
            .filter_map(|socket| Some((socket.cookie?, socket)))
            .collect();
        let sockets = self.sockets.iter().filter_map(|now| {
            let before = before.get(&now.cookie?)?;
            Some(now.since(before))
        });
        Self {
            sockets: sockets.collect(),
            ..self.clone()
        }
    }
}

impl Growth for Socket {
    fn since(&self, earlier: &Self) -> Self {
        let mut growth = self.clone();
        growth.memory = self.memory.since(&earlier.memory);
        growth.tcp = self
            .tcp
            .as_deref()
            .zip(earlier.tcp.as_deref())
            .map(|(now, before)| Box::new(now.since(before)));
        if let Some(backlog) = &mut growth.backlog {
            let before = earlier.backlog.and_then(|backlog| backlog.dropped);
            backlog.dropped = number(backlog.dropped, before);
        }
        growth
    }
}

impl Growth for Memory {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            drops: number(self.drops, earlier.drops),
            ..self.clone()
        }
    }
}

/// The kernel keeps these in as many bits as it gives: they begin again from zero when they are full.
trait Number: Copy {
    fn grown(self, before: Self) -> Self;
}

impl Number for u16 {
    fn grown(self, before: Self) -> Self {
        self.wrapping_sub(before)
    }
}

impl Number for u32 {
    fn grown(self, before: Self) -> Self {
        self.wrapping_sub(before)
    }
}

impl Number for u64 {
    fn grown(self, before: Self) -> Self {
        counter(self, before)
    }
}

fn number<T: Number>(now: Option<T>, before: Option<T>) -> Option<T> {
    Some(now?.grown(before?))
}

macro_rules! counters {
    ($($name:ident)*) => {
        impl Growth for TcpInfo {
            fn since(&self, earlier: &Self) -> Self {
                Self {
                    $($name: number(self.$name, earlier.$name),)*
                    ..self.clone()
                }
            }
        }
    };
}

counters! {
    retransmits acked_bytes received_bytes sent_segments received_segments received_data_segments sent_data_segments busy_us
    receive_window_limited_us send_buffer_limited_us delivered_segments delivered_ce_segments sent_bytes
    retransmitted_bytes duplicate_sacks reorderings out_of_order_segments rehashes timeouts timeout_recoveries
    timeout_recovery_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_and_the_rest_stays() {
        let before = TcpInfo {
            received_bytes: Some(10),
            retransmits: Some(u32::MAX),
            rtt_us: Some(5),
            timeouts: None,
            ..TcpInfo::default()
        };
        let now = TcpInfo {
            received_bytes: Some(25),
            retransmits: Some(1),
            rtt_us: Some(7),
            timeouts: Some(1),
            ..TcpInfo::default()
        };
        let growth = now.since(&before);
        assert_eq!(
            (growth.received_bytes, growth.retransmits),
            (Some(15), Some(2))
        );
        assert_eq!((growth.rtt_us, growth.timeouts), (Some(7), None));
    }
}
