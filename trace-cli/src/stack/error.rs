//! Why a section, or a part of one, is missing.

use std::{borrow::Cow, io};

use serde::{Deserialize, Serialize};

/// A section (or a named part of one) that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{what}: {why}{}", remedy.as_deref().map(|remedy| format!(" ({remedy})")).unwrap_or_default())]
pub struct SectionError {
    /// The section, as it is named on the command line.
    pub section: Cow<'static, str>,
    /// What is missing.
    pub what: String,
    /// What the kernel said, or what was wrong with it.
    pub why: String,
    /// What can be done about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl SectionError {
    /// Says what is missing and why.
    pub fn new(section: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            section: section.into(),
            what: what.into(),
            why: why.into(),
            remedy: None,
        }
    }

    /// A file, or the kernel's answer, that could not be read; a lack of privilege brings its remedy.
    pub fn io(section: &'static str, what: impl Into<String>, error: &io::Error) -> Self {
        let missing = Self::new(section, what, error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied => missing.remedy("run it as root"),
            _ => missing,
        }
    }

    /// Says what can be done about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_and_what_to_do() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            SectionError::io("nic", "rings of eth0", &denied).to_string(),
            "rings of eth0: permission denied (run it as root)"
        );
        assert_eq!(
            SectionError::new("protocols", "snmp", "empty").to_string(),
            "snmp: empty"
        );
    }
}
