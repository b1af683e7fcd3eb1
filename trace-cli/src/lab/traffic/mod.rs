//! Traffic by real sockets inside the laboratory's namespaces, bounded in count and time.
//!
//! A socket belongs to the namespace in which it was made, whoever uses it later: so these types open their
//! sockets inside ([`super::Netns::enter`]) and are then used from any thread.
pub mod http;
pub mod icmp;
pub mod raw;
pub mod tcp;
pub mod udp;

use std::time::Duration;

/// How long a packet may take before we say that it does not come (an emulated machine is slow).
pub const PATIENCE: Duration = Duration::from_secs(20);
