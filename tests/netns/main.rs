//! Ground truth: traffic that we made ourselves, counted by the kernel, against what the tool says of it.
//!
//! Needs root and iproute2, nftables, ethtool. Every packet stays in network namespaces that the test makes and
//! removes, and no test looks at packets that are not its own, so several may run at once.
mod cost;
mod delivered;
mod drops;
mod ending;
mod forward;
mod kernels;
mod lab;
mod load;
mod meanwhile;
mod missed;
mod nic;
mod privileges;
mod qdisc;
mod reads;
mod schema;
mod sums;
mod tcp;
mod trace;
mod tracer;
