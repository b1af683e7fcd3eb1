//! How many sockets there are of each kind, as `ss -s` counts them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::socket::{Family, Protocol, Socket, State, TimerKind};

/// Sockets of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Count {
    /// Transport protocol.
    pub protocol: Protocol,
    /// IP version.
    pub family: Family,
    /// What they are doing.
    pub state: State,
    /// How many.
    pub sockets: u64,
}

/// Counts of all sockets, those beyond the list's limit included.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// All of them.
    pub sockets: u64,
    /// Connected TCP sockets: ESTABLISHED and CLOSE-WAIT, what `Tcp: CurrEstab` counts.
    pub tcp_connected: u64,
    /// TCP sockets that no process has open any more and that still have something to send or to wait for.
    pub tcp_orphaned: u64,
    /// What the kernel keeps of connections that are over: TIME-WAIT, and FIN-WAIT-2 without a process.
    pub tcp_time_wait: u64,
    /// Listeners whose next connection would be refused.
    pub full_listeners: u64,
    /// Counts of each kind.
    pub counts: Vec<Count>,
}

/// A summary in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    summary: Summary,
    counts: BTreeMap<(Protocol, State, Family), u64>,
}

impl Tally {
    pub(super) fn count(&mut self, socket: &Socket) {
        self.summary.sockets += 1;
        *self
            .counts
            .entry((socket.protocol, socket.state, socket.family))
            .or_default() += 1;
        if socket.protocol != Protocol::Tcp {
            return;
        }
        let over = socket
            .timer
            .is_some_and(|timer| timer.kind == TimerKind::TimeWait);
        // A request socket has no inode because nobody has accepted it yet.
        let orphan = socket.inode.is_none() && !over && socket.state != State::SynRecv;
        self.summary.tcp_time_wait += u64::from(over);
        self.summary.tcp_orphaned += u64::from(orphan && !waits_for_accept(socket));
        self.summary.tcp_connected += u64::from(matches!(
            socket.state,
            State::Established | State::CloseWait
        ));
        self.summary.full_listeners +=
            u64::from(socket.backlog.is_some_and(super::Backlog::is_full));
    }

    pub(super) fn finish(self) -> Summary {
        let counts = self.counts.into_iter();
        Summary {
            counts: counts
                .map(|((protocol, state, family), sockets)| Count {
                    protocol,
                    family,
                    state,
                    sockets,
                })
                .collect(),
            ..self.summary
        }
    }
}

/// Connected, and no process has it: it lies in its listener's backlog.
const fn waits_for_accept(socket: &Socket) -> bool {
    socket.inode.is_none() && matches!(socket.state, State::Established | State::CloseWait)
}
