//! Ground truth of `pktjourney stack`: what it says, against what the system's own tools say at the same moment.
//!
//! Needs root and iproute2, ethtool. Everything happens in network namespaces that a test makes and removes.
mod advice;
mod connections;
mod exporter;
mod interfaces;
mod machine;
mod nic;
mod polls;
mod protocols;
mod sockets;
mod ss;
mod tool;
mod watch;
