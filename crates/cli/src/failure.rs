//! What a person is told when something does not work: a code, what happened, why, and what would make it work.
//!
//! Every code has a page in `docs/errors/`; a test holds the two together.

use std::fmt;

use serde_json::{Value, json};

/// How the process ends. The numbers are part of the command line's contract (`gristmill --help`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The market worked, the task did not.
    TaskFailed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Refused before any money was locked.
    Refused = 3,
    /// The market cannot start, or cannot be reached.
    Market = 4,
    /// A result was delivered and is not the one that the chain agreed on.
    Unverified = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A failure as the user sees it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// `GM-….`; the name of its page.
    pub code: String,
    /// What did not work, one line.
    pub what: String,
    /// Why, as far as known; may have several lines.
    pub cause: Option<String>,
    /// The smallest change that would make it work.
    pub remedy: Option<String>,
    /// How the process ends because of it.
    pub exit: Exit,
}

impl Failure {
    /// A failure of that code.
    pub fn new(code: &str, exit: Exit, what: impl Into<String>) -> Self {
        Self { code: code.to_owned(), what: what.into(), cause: None, remedy: None, exit }
    }

    /// A failure that a service tells in its own words.
    pub fn told(failure: &wire::Failure, exit: Exit) -> Self {
        let told = Self::new(&failure.code, exit, failure.message.clone());
        if failure.remedy.is_empty() { told } else { told.fix(failure.remedy.clone()) }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what to change.
    #[must_use]
    pub fn fix(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same, told by something that goes on all the same.
    pub fn as_warning(&self) -> String {
        self.to_string().replacen("error", "warning", 1)
    }

    /// The same as JSON, for `--json`.
    pub fn to_json(&self) -> Value {
        json!({ "error": {
            "code": self.code, "message": self.what, "cause": self.cause, "remedy": self.remedy,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.what)?;
        let mut line = |name: &str, text: &Option<String>| match text {
            Some(text) => write!(f, "\n  {name}: {}", text.replace('\n', "\n         ")),
            None => Ok(()),
        };
        line("cause", &self.cause)?;
        line("fix", &self.remedy)?;
        write!(f, "\n  more: docs/errors/{}.md", self.code)
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a failure of a code, with the error's whole chain as the cause.
pub trait OrFail<T> {
    /// The value, or the failure that `what` describes.
    fn or_fail(self, code: &str, exit: Exit, what: &str) -> Result<T, Failure>;
}

impl<T, E: std::error::Error> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: &str, exit: Exit, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, exit, what).because(chain_of(&error)))
    }
}

/// An error and what led to it, outermost first.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_what_why_and_fix() {
        let failure = Failure::new("GM-2101", Exit::Refused, "no offer at or below 0.001 RLC")
            .because("the cheapest is 0.03 RLC")
            .fix("--max-price 0.03RLC");
        let expected = "error[GM-2101]: no offer at or below 0.001 RLC\n  cause: the cheapest is 0.03 RLC\n  \
                        fix: --max-price 0.03RLC\n  more: docs/errors/GM-2101.md";
        assert_eq!(failure.to_string(), expected);
    }
}
