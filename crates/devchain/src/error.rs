//! Why a chain cannot be opened.

use std::path::PathBuf;

use crate::storage::StorageError;

/// A chain could not be opened or stopped. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be made or used.
    #[error("GM-1101: the chain's directory {} cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has the chain open.
    #[error("GM-1102: the chain in {} is open in another process; stop that one or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The chain was written by a version with another format.
    #[error(
        "GM-1103: the chain in {} has format {found}, this version reads format {wanted}; \
         start with a new directory, or use the version that wrote it", path.display()
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format; 0 if it says none.
        found: u64,
        /// Ours.
        wanted: u64,
    },
    /// The chain has another chain id than asked for.
    #[error(
        "GM-1104: the chain in {} has chain id {stored}, not {asked}; \
         ask for {stored} or use another directory", path.display()
    )]
    ChainId {
        /// The directory.
        path: PathBuf,
        /// What it is.
        stored: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The mnemonic is not one.
    #[error("GM-1105: the accounts' mnemonic is not valid: {0}")]
    Mnemonic(String),
    /// The database failed.
    #[error("GM-1106: {0}")]
    Storage(String),
    /// The chain's thread could not be started, or has stopped.
    #[error("GM-1107: the chain's writer is not running")]
    Stopped,
}

impl Error {
    /// Whether the same call may succeed later without any change of its arguments.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::InUse(_))
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}
