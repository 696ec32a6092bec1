//! Why a worker does not start.

use std::io;
use std::path::PathBuf;

use alloy_primitives::Address;

/// A worker that does not start. Once it has started nothing ends it but its owner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its directory cannot be used.
    #[error("the worker's directory {} cannot be used", dir.display())]
    Dir {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such workerpool.
    #[error("there is no workerpool {workerpool} on this chain")]
    UnknownWorkerpool {
        /// Its address.
        workerpool: Address,
    },
    /// The chain does not answer.
    #[error("the worker cannot use the chain")]
    Chain(#[from] chain::Error),
    /// The journal does not answer.
    #[error("the worker cannot use its journal")]
    Store(#[from] store::Error),
    /// Nothing can be asked over HTTP.
    #[error("the worker cannot make HTTP requests: {0}")]
    Http(String),
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dir { .. } => "GM-4231",
            Self::UnknownWorkerpool { .. } => "GM-4232",
            Self::Chain(_) => "GM-4233",
            Self::Store(_) => "GM-4234",
            Self::Http(_) => "GM-4235",
        }
    }

    /// The smallest change that would make it work.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Dir { .. } => {
                "give the worker a directory that it may write, on a disk with room"
            }
            Self::UnknownWorkerpool { .. } => "check the workerpool's address and the chain's URL",
            Self::Chain(_) => "check that the chain's node is running and its URL is right",
            Self::Store(_) => "check the data directory, and that no other process uses it",
            Self::Http(_) => "check the scheduler's and the gateway's URL",
        }
    }

    /// Whether starting again later may work without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Dir { .. } | Self::UnknownWorkerpool { .. } | Self::Http(_) => false,
        }
    }
}
