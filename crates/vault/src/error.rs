//! How the vault fails.

use wire::Failure;
use wire::sms::SmsError;

/// What the vault needs does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no storage key to work with.
    #[error("the storage key cannot be had from {from}: {why}")]
    Key {
        /// Where it was looked for.
        from: String,
        /// What is wrong there.
        why: String,
    },
    /// The secrets were sealed with another key.
    #[error("the secrets in the store were sealed with another storage key")]
    WrongKey,
    /// A secret is not what was put there.
    #[error("a secret in the store was altered, or is not its own")]
    Altered,
    /// The chain does not answer, or not sensibly.
    #[error("the chain cannot be asked")]
    Chain(#[source] chain::Error),
    /// The operator's key cannot be had.
    #[error("the operator's key cannot be had from {file}: {why}")]
    Operator {
        /// Where it was looked for.
        file: String,
        /// What is wrong there.
        why: String,
    },
    /// A backup cannot be written or removed.
    #[error("the directory of backups cannot be used: {why}")]
    Backup {
        /// What the system said.
        why: String,
    },
    /// The store does not do what it should.
    #[error("the vault's store fails")]
    Store(#[from] store::Error),
    /// Simulated enclaves are asked for where others would take them for real ones.
    #[error("{origin} is not on this machine, and trusted execution is only simulated")]
    SimulatedInPublic {
        /// Where the vault would answer.
        origin: String,
    },
    /// Simulated enclaves are asked for where money is real.
    #[error("chain {chain_id} is not a development chain, and trusted execution is only simulated")]
    SimulatedForReal {
        /// The market's chain.
        chain_id: u64,
    },
}

impl Error {
    /// Whether the same may work later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Key { .. }
            | Self::WrongKey
            | Self::Altered
            | Self::Operator { .. }
            | Self::Backup { .. }
            | Self::SimulatedInPublic { .. }
            | Self::SimulatedForReal { .. } => false,
        }
    }

    /// As a user is told.
    pub fn failure(&self) -> Failure {
        let (code, remedy) = match self {
            Self::Key { .. } => ("GM-7001", "name a readable key of 32 bytes, for its owner only"),
            Self::WrongKey => ("GM-7002", "start with the key that was used before"),
            Self::Altered => ("GM-7003", "restore the data directory from a copy"),
            Self::Chain(_) => ("GM-7004", "try again when the chain answers"),
            Self::Operator { .. } => (
                "GM-7008",
                "name a file with 16 random characters or more in vault.admin_key_file, chmod 600",
            ),
            Self::Backup { .. } => (
                "GM-7007",
                "make room in vault.backup_dir, or name a directory that can be written",
            ),
            Self::Store(_) => ("GM-7005", "see the log of the service"),
            Self::SimulatedInPublic { .. } => {
                ("GM-7006", "serve on 127.0.0.1, or say that simulation in public is meant")
            }
            Self::SimulatedForReal { .. } => {
                ("GM-7006", "use a development chain, or say that simulation in public is meant")
            }
        };
        Failure::new(code, self.to_string(), remedy)
    }
}

/// Callers learn that something is wrong; the log learns what.
impl From<Error> for SmsError {
    fn from(error: Error) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "a request to the vault failed");
        if error.is_retryable() {
            Self::Unavailable(error.failure())
        } else {
            Self::Internal(error.failure())
        }
    }
}
