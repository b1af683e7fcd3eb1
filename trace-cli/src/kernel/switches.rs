//! What an administrator can switch off while the kernel runs. With these off probes can be attached all the same, and nothing
//! ever comes of them: so whoever attaches must ask first.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

/// Function tracing as a whole: off, and neither fentry nor most kprobes are called.
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
/// All kprobes. Only root may look, and only where debugfs is mounted.
const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";

/// The switches, as far as they can be seen.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Switches {
    /// `kernel.ftrace_enabled`; none where the kernel has no function tracing.
    pub ftrace: Option<bool>,
    /// `/sys/kernel/debug/kprobes/enabled`; none where it cannot be read.
    pub kprobes: Option<bool>,
}

impl Switches {
    /// Looks.
    pub fn read() -> Self {
        let read = |path: &str| parse(&fs::read_to_string(Path::new(path)).ok()?);
        Self {
            ftrace: read(FTRACE),
            kprobes: read(KPROBES),
        }
    }

    /// Why no function can be traced, by whichever means.
    pub fn no_functions(&self) -> Option<&'static str> {
        (self.ftrace == Some(false)).then_some(
            "function tracing is switched off, and probes would stay silent; sysctl -w kernel.ftrace_enabled=1 switches it on",
        )
    }

    /// Why no kprobe can be used.
    pub fn no_kprobes(&self) -> Option<&'static str> {
        (self.kprobes == Some(false)).then_some(
            "kprobes are switched off, and would stay silent; echo 1 >/sys/kernel/debug/kprobes/enabled switches them on",
        )
    }
}

fn parse(text: &str) -> Option<bool> {
    match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_said_and_how_to_switch_it_on() {
        let on = Switches {
            ftrace: parse("1\n"),
            kprobes: parse("1"),
        };
        assert_eq!((on.no_functions(), on.no_kprobes()), (None, None));
        assert_eq!(Switches::default().no_functions(), None);
        let off = Switches {
            ftrace: parse("0\n"),
            kprobes: parse("0\n"),
        };
        assert!(off.no_functions().unwrap().contains("sysctl"));
        assert!(off.no_kprobes().unwrap().contains("echo 1"));
        assert_eq!(parse("yes"), None);
    }
}
