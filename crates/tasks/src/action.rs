//! Everything that a task can ask the world to do.

use alloy_primitives::{Address, Bytes};

use crate::Failure;

/// Something to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make it exist on chain.
    Initialize,
    /// Ask the secret manager for the key that an enclave of this task signs with; answered by
    /// [`Challenged`](crate::Event::Challenged) or [`Unchallenged`](crate::Event::Unchallenged).
    AskChallenge,
    /// Tell this worker to compute it.
    Assign {
        /// Who.
        worker: Address,
    },
    /// Let this worker contribute: sign its authorisation and send it.
    Grant {
        /// Who.
        worker: Address,
    },
    /// Ask this worker to reveal and upload.
    AskReveal {
        /// Who.
        worker: Address,
    },
    /// Finish it on chain with this result.
    Finalize {
        /// Where the result is; empty when only the callback contract receives it.
        location: String,
        /// What the callback contract receives.
        callback_data: Bytes,
    },
    /// Throw out a consensus that nobody revealed.
    Reopen,
    /// Give it up on chain; the requester is refunded.
    Claim,
    /// Tell this worker to stop and to drop everything kept for it.
    Release {
        /// Who.
        worker: Address,
    },
    /// Say how it ends.
    Report(Report),
}

/// How a task ends, said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Result on chain, everybody paid.
    Completed,
    /// There will be no result; the money comes back after the final deadline.
    Doomed(Failure),
    /// Claimed and refunded.
    Failed,
}
