//! How the book fails.

use std::error::Error as StdError;

use wire::market::ApiError;

/// What the book needs does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain does not answer, or not sensibly.
    #[error("the chain cannot be asked")]
    Chain {
        /// What the client said.
        source: Box<dyn StdError + Send + Sync>,
        /// Whether asking again may work.
        retryable: bool,
    },
    /// The store does not do what it should.
    #[error("the order book's store fails")]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether the same may work later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Chain { retryable, .. } => *retryable,
            Self::Store(error) => error.is_retryable(),
        }
    }
}

impl From<chain::Error> for Error {
    fn from(error: chain::Error) -> Self {
        Self::Chain { retryable: error.is_retryable(), source: Box::new(error) }
    }
}

/// Callers learn that something is wrong; the log learns what.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "a request to the order book failed");
        if error.is_retryable() { Self::Unavailable } else { Self::Internal }
    }
}
