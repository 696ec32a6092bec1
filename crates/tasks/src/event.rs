//! What can happen to a task.

use alloy_primitives::{Address, Bytes, U256};
use primitives::{ResultDigest, ResultHash, UnixSeconds};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The task exists in a deal. The first event of every task.
    Noticed,
    /// A worker with a free slot was found for it.
    Taken {
        /// Who.
        worker: Address,
        /// How much its word counts on chain.
        weight: U256,
    },
    /// A worker ran the program and announces the hash of what it found.
    Computed {
        /// Who.
        worker: Address,
        /// `keccak256(task ‖ digest)`.
        hash: ResultHash,
    },
    /// A worker could not do its part.
    Failed {
        /// Who.
        worker: Address,
        /// Why.
        failure: Failure,
    },
    /// A worker gives the task back without having failed: it ends, or its owner wants the machine.
    Returned {
        /// Who.
        worker: Address,
    },
    /// A worker is gone: disconnected or silent.
    Lost {
        /// Who.
        worker: Address,
    },
    /// A worker that contributed is here again, with what it needs to reveal.
    Back {
        /// Who.
        worker: Address,
    },
    /// Its result is to be confirmed by a second worker before anyone is let in, although the deal asks for one worker only.
    Check,
    /// That is not worth waiting for any longer: what was found counts.
    Unchecked,
    /// Whoever takes it cannot settle it together with others: it goes on by itself, beginning with its initialisation.
    Single,
    /// The worker that [`ripe`](crate::Task::ripe) named was told to settle it, together with others of its deal.
    Settling {
        /// Who.
        worker: Address,
    },
    /// The settlement did not come about; the worker still has its result.
    Unsettled {
        /// Who.
        worker: Address,
    },
    /// Nobody here could ever do it: it is given up, unless somebody takes part already.
    Unservable {
        /// What is missing.
        failure: Failure,
    },
    /// The secret manager has made the key that the task's enclave signs with.
    Challenged {
        /// The key's address.
        challenge: Address,
    },
    /// The secret manager has not.
    Unchallenged {
        /// Why.
        failure: Failure,
        /// Whether asking again is useless.
        is_final: bool,
    },
    /// A worker stored the result.
    Uploaded {
        /// Who.
        worker: Address,
        /// Where: `/ipfs/<cid>`; empty for a result that only a contract receives.
        location: String,
        /// What the callback contract receives.
        callback_data: Bytes,
    },
    /// On chain: the task takes contributions.
    Initialized,
    /// On chain: a contribution.
    Contributed {
        /// Who.
        worker: Address,
        /// What it says it found.
        hash: ResultHash,
        /// Its weight, if known; a worker that was assigned here is known already.
        weight: Option<U256>,
    },
    /// On chain: enough contributions agree.
    Consensus {
        /// On what.
        hash: ResultHash,
        /// When: the time to reveal counts from here.
        at: UnixSeconds,
    },
    /// On chain: a contributor showed its digest, and it fits.
    Revealed {
        /// Who.
        worker: Address,
        /// The digest.
        digest: ResultDigest,
    },
    /// On chain: nobody revealed, contributions of the winning result are void.
    Reopened,
    /// On chain: done and paid.
    Finalized,
    /// On chain: given up and refunded.
    Claimed,
    /// The scheduler's own transaction was refused.
    Refused {
        /// Which.
        call: Call,
    },
    /// Time passed.
    Tick,
}

/// What the scheduler sends for a task and may have to send again: transactions, and a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `initialize`.
    Initialize,
    /// `finalize`.
    Finalize,
    /// `reopen`.
    Reopen,
    /// `claim`.
    Claim,
    /// The question for an enclave's challenge.
    Challenge,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The program: it would fail elsewhere too.
    App,
    /// This worker: another one may succeed.
    Worker,
    /// What the program was given.
    Input,
}

/// Why a worker could not do its part, or why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault.
    pub blame: Blame,
    /// `GM-` and four digits.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// What would help.
    pub remedy: String,
    /// What the program returned, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The end of what it printed.
    pub stdout_tail: String,
    /// The end of what it printed as errors.
    pub stderr_tail: String,
}

impl Failure {
    /// A failure that no program had a part in.
    pub fn new(blame: Blame, code: &str, message: &str, remedy: &str) -> Self {
        Self {
            blame,
            code: code.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
            exit_code: None,
            stdout_tail: String::new(),
            stderr_tail: String::new(),
        }
    }
}
