//! Which hooks this kernel lets us see.

use trace_ebpf::Hook;

/// A set of hooks: those that the attach plan could attach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed(u64);

impl Probed {
    /// Every hook.
    pub const ALL: Self = Self(u64::MAX);
    /// No hook.
    pub const NONE: Self = Self(0);

    /// With this hook.
    #[must_use]
    pub const fn with(self, hook: Hook) -> Self {
        Self(self.0 | 1 << hook as u8)
    }

    /// Without this hook.
    #[must_use]
    pub const fn without(self, hook: Hook) -> Self {
        Self(self.0 & !(1 << hook as u8))
    }

    /// Whether this hook is seen.
    pub const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u8) != 0
    }
}

impl Default for Probed {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<Hook> for Probed {
    fn from_iter<I: IntoIterator<Item = Hook>>(hooks: I) -> Self {
        hooks.into_iter().fold(Self::NONE, Self::with)
    }
}
