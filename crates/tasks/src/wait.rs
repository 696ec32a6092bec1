//! What a task waits for.

use std::fmt;

use primitives::UnixSeconds;

/// What a task waits for. Its text is for a person, [`Wait::code`] for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Workers with a free slot, beside those that compute it already.
    Workers {
        /// How many more.
        wanted: usize,
        /// How many compute it.
        computing: usize,
    },
    /// Workers that compute it.
    Computing(usize),
    /// The transaction that makes it exist on chain.
    Initialisation,
    /// Its turn to be settled together with other tasks of its deal.
    Settlement,
    /// The secret manager, for the key of its enclave.
    Challenge {
        /// What went wrong the last time.
        trouble: Option<String>,
    },
    /// Contributions that were let in.
    Contributions(usize),
    /// Contributors that must reveal, and an upload.
    Reveals(usize),
    /// The transaction that finishes it.
    Finalisation,
    /// The time of its refund.
    Refund {
        /// When.
        at: UnixSeconds,
    },
    /// Nothing: it has ended.
    Nothing,
}

impl Wait {
    /// A word that stays the same when the text is improved.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Workers { .. } => "free-workers",
            Self::Computing(_) => "computing",
            Self::Initialisation => "initialisation",
            Self::Settlement => "settlement",
            Self::Challenge { .. } => "enclave-challenge",
            Self::Contributions(_) => "contributions",
            Self::Reveals(_) => "reveals",
            Self::Finalisation => "finalisation",
            Self::Refund { .. } => "refund",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workers { wanted, computing: 0 } => write!(f, "{wanted} free worker(s)"),
            Self::Workers { wanted, computing } => {
                write!(f, "{wanted} free worker(s), {computing} worker(s) computing")
            }
            Self::Computing(count) => write!(f, "{count} worker(s) computing"),
            Self::Initialisation => f.write_str("its initialisation on chain"),
            Self::Settlement => {
                f.write_str("its settlement on chain, together with other tasks of its deal")
            }
            Self::Challenge { trouble: None } => {
                f.write_str("the secret manager, for the key of its enclave")
            }
            Self::Challenge { trouble: Some(trouble) } => {
                write!(f, "the secret manager, for the key of its enclave: {trouble}")
            }
            Self::Contributions(count) => write!(f, "{count} contribution(s) on chain"),
            Self::Reveals(count) => write!(f, "{count} reveal(s) and an upload"),
            Self::Finalisation => f.write_str("finalisation on chain"),
            Self::Refund { .. } => f.write_str("the final deadline, to refund the requester"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}
