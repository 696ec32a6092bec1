//! The one shape of a failure that a user can meet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something was refused or failed, and the smallest change that would make it work. The code is the same in logs,
/// in API answers and in the pages of `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `GM-` and four digits.
    pub code: String,
    /// What went wrong, for a person.
    pub message: String,
    /// What would make it work; empty when nothing the reader can do would.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Failure {
    /// A failure of that code.
    pub fn new(
        code: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), message: message.into(), remedy: remedy.into() }
    }
}

/// `message (code); remedy`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl std::error::Error for Failure {}
