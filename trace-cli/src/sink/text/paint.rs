//! Colours, or none; and text of others, made safe for a terminal.

use std::borrow::Cow;
use std::fmt;

use anstyle::{AnsiColor, Style};

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(super) const BAR: Style = AnsiColor::Cyan.on_default();

/// Paints text, or leaves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    pub(super) const fn new(on: bool) -> Self {
        Self { on }
    }

    pub(super) fn with<T: fmt::Display>(self, style: Style, text: T) -> Painted<T> {
        Painted {
            style: if self.on { style } else { PLAIN },
            text,
        }
    }
}

/// Text with its colour.
pub(super) struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text } = self;
        write!(f, "{style}{text}{style:#}")
    }
}

/// Without control characters, which could move the cursor or worse: names of processes and interfaces may hold any.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(
            text.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paints_when_on() {
        assert_eq!(Paint::new(false).with(BAD, "x").to_string(), "x");
        assert_eq!(
            Paint::new(true).with(GOOD, "x").to_string(),
            "\u{1b}[32mx\u{1b}[0m"
        );
        assert_eq!(Paint::new(true).with(PLAIN, "x").to_string(), "x");
    }

    #[test]
    fn escapes_of_others_are_harmless() {
        assert_eq!(clean("\u{1b}[31mevil\n"), "\u{fffd}[31mevil\u{fffd}");
        assert_eq!(clean("nginx: worker"), "nginx: worker");
    }
}
