//! What was wrong with an expression, and where: the text with carets under the place.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What sort of mistake it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterErrorKind {
    /// Right in tcpdump, but we do not have it yet.
    Unsupported,
    /// Wrong everywhere.
    Invalid,
}

/// An expression that cannot be used.
///
/// Its `Display` takes several lines: what is wrong, the expression, carets under the place, and a help line where there is help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    kind: FilterErrorKind,
    message: String,
    help: Option<String>,
    span: Range<usize>,
    text: String,
}

impl FilterError {
    pub(super) fn invalid(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            kind: FilterErrorKind::Invalid,
            message: message.into(),
            help: None,
            span,
            text: String::new(),
        }
    }

    pub(super) fn unsupported(span: Range<usize>, what: impl fmt::Display) -> Self {
        Self {
            kind: FilterErrorKind::Unsupported,
            ..Self::invalid(
                span,
                format!("{what} is part of pcap-filter syntax and not supported yet"),
            )
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `did you mean` as the help, where there is a near word.
    pub(super) fn near(self, word: Option<&str>) -> Self {
        match word {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// The expression that the span is of.
    pub(super) fn within(mut self, text: &str) -> Self {
        text.clone_into(&mut self.text);
        self
    }

    /// What sort of mistake it was.
    pub fn kind(&self) -> FilterErrorKind {
        self.kind
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What may help, in one line.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The place in the expression, in bytes; empty at its end.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One column for each control character, so that a tab or a line break cannot move the carets (or the terminal).
        let shown = |part: &str| {
            part.chars()
                .map(|c| if c.width().is_none() { ' ' } else { c })
                .collect::<String>()
        };
        let before = shown(&self.text[..self.span.start]);
        let place = shown(&self.text[self.span.clone()]);
        writeln!(f, "{}", self.message)?;
        writeln!(f, "  {}", shown(&self.text).trim_end())?;
        write!(
            f,
            "  {}{}",
            " ".repeat(before.width()),
            "^".repeat(place.width().max(1))
        )?;
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl Error for FilterError {}
