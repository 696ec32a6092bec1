//! What can go wrong between here and a chain.

use std::fmt;

use alloy_primitives::{Address, B256};

use crate::revert::Revert;

/// What was being done, and how it failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}", .0.doing, .0.kind)]
pub struct Error(Box<Failure>);

#[derive(Debug, Clone)]
struct Failure {
    doing: String,
    kind: ErrorKind,
}

/// The ways to fail. Each says who could mend it: time, the node, the caller, or nobody.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The node is not reached, or the connection broke.
    #[error("the node is not reachable ({0})")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0} s")]
    TimedOut(u64),
    /// The node asks for fewer requests.
    #[error("the node limits requests ({0})")]
    Throttled(String),
    /// The chain moved while it was read; reading again gives a consistent picture.
    #[error("the chain moved while it was read")]
    Moved,
    /// The node answered with an error of its own.
    #[error("the node refused: {message} (code {code})")]
    Refused {
        /// JSON-RPC error code.
        code: i64,
        /// As the node put it.
        message: String,
    },
    /// The contract refused.
    #[error("{0}")]
    Reverted(Revert),
    /// The account cannot pay for gas.
    #[error("{address} has too little ether for gas")]
    NoGas {
        /// Who would have paid.
        address: Address,
    },
    /// The nonce went to another transaction of the same key, so this one will never be mined.
    #[error("another transaction of {address} took nonce {nonce}")]
    Displaced {
        /// Whose key it is.
        address: Address,
        /// The nonce they both wanted.
        nonce: u64,
    },
    /// There is nothing under that name.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The node's answer does not mean anything to us.
    #[error("the answer makes no sense: {0}")]
    Garbled(String),
    /// The address is not one we can connect to.
    #[error("not a usable address: {0}")]
    BadUrl(String),
}

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(doing: impl Into<String>, kind: ErrorKind) -> Self {
        Self(Box::new(Failure { doing: doing.into(), kind }))
    }

    /// How it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Whether the same request may succeed later without anything else changing.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unreachable(_)
                | ErrorKind::TimedOut(_)
                | ErrorKind::Throttled(_)
                | ErrorKind::Moved
        )
    }

    /// Whether a contract refused.
    pub fn is_revert(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Reverted(_))
    }

    /// Whether the thing asked for does not exist.
    pub fn is_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unknown(_))
    }

    /// The contract's refusal, if it was one.
    pub fn revert(&self) -> Option<&Revert> {
        match &self.0.kind {
            ErrorKind::Reverted(revert) => Some(revert),
            _ => None,
        }
    }

    /// Why, in a few words: a contract's own words where it gave some.
    pub fn reason(&self) -> String {
        match &self.0.kind {
            ErrorKind::Reverted(revert) => revert.reason.to_string(),
            kind => kind.to_string(),
        }
    }

    /// The transaction that was mined and failed, if one was.
    pub fn transaction(&self) -> Option<B256> {
        self.revert().and_then(|revert| revert.transaction)
    }

    pub(crate) fn garbled(doing: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(doing, ErrorKind::Garbled(why.to_string()))
    }
}
