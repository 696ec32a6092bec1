//! What keeps a scheduler from starting.

use alloy_primitives::Address;

/// Why a scheduler cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wallet given is not the owner of the pool: it could authorise nobody.
    #[error("workerpool {workerpool} belongs to {owner}, not to the scheduler's wallet {wallet}")]
    NotTheOwner {
        /// The pool.
        workerpool: Address,
        /// Whose it is.
        owner: Address,
        /// The wallet given.
        wallet: Address,
    },
    /// The chain could not be read.
    #[error("the scheduler cannot read its workerpool from the chain")]
    Chain(#[source] chain::Error),
    /// The secret manager's address cannot be used.
    #[error("the scheduler cannot speak to its secret manager")]
    Sms(#[source] wire::ClientError),
    /// The cursor could not be read.
    #[error("the scheduler cannot read where it stopped")]
    Store(#[source] store::Error),
}

impl Error {
    /// Whether starting again later may work without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotTheOwner { .. } | Self::Store(_) | Self::Sms(_) => false,
            Self::Chain(error) => error.is_retryable(),
        }
    }
}
