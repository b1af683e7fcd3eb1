//! The `pktjourney` command.
fn main() {}
