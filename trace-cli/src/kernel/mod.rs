//! What we learn about the machine we run on, before and beside tracing: the layout of the kernel's types, the names of
//! its drop reasons and functions, its clocks and namespaces, and what it allows us to do.
//!
//! Nothing here loads a program or prints a line. Each part is plain data with a reader, so that a recording can carry
//! what was true on the machine that made it, and be read on another.

pub mod bpf;
pub mod btf;
pub mod clock;
pub mod drop_reason;
pub mod features;
pub mod netlink;
pub mod netns;
pub mod obstacle;
pub mod offsets;
pub mod privileges;
pub mod switches;
pub mod symbols;
