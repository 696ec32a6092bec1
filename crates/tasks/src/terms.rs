//! What a task is bound by: what its deal says, and how patient its scheduler is.

use alloy_primitives::U256;
use primitives::UnixSeconds;

/// What a deal says about each of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How much agreement is wanted, at least 1.
    pub trust: U256,
    /// Whether a contract is called with the result.
    pub callback: bool,
    /// Whether it may be settled together with others of its deal, uninitialised before: only where the hub can, trust is
    /// 1 and there is neither enclave nor callback.
    pub batch: bool,
    /// Whether it runs in an enclave.
    pub enclave: bool,
    /// How long a program may run: the category's unit of time.
    pub run_seconds: u64,
    /// Contributions are taken before this.
    pub contribution_deadline: UnixSeconds,
    /// It can be claimed from then on.
    pub final_deadline: UnixSeconds,
}

/// How patient a scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For downloads, on top of the run time, before a computing worker counts as lost.
    pub run_grace_seconds: u64,
    /// From a grant to its contribution on chain.
    pub grant_seconds: u64,
    /// From being told to settle many tasks at once, with an upload for each, to their end on chain.
    pub settle_seconds: u64,
    /// Until a request to reveal and upload is repeated.
    pub ask_again_seconds: u64,
    /// Until a transaction that showed no effect is sent again.
    pub resend_seconds: u64,
    /// Until a transaction that was refused, or a question that was not answered, is sent again.
    pub retry_seconds: u64,
    /// How often a transaction is tried before the pauses between attempts grow.
    pub call_attempts_max: u32,
    /// Failures of workers before the task is given up.
    pub tries_max: u32,
    /// Workers that disappear before the task is given up. More than failures, since a machine that is switched off says
    /// nothing about the task; but bounded, since a task may be what brings machines down.
    pub losses_max: u32,
    /// How often one worker may try in a row.
    pub tries_per_worker_max: u32,
    /// How long a worker that tried that often leaves it to others before it may try once more. In a small pool there may
    /// be nobody else.
    pub rest_seconds: u64,
    /// Failures over the input before the task is given up.
    pub input_failures_max: usize,
    /// The most workers on one task; trust that needs more is not served.
    pub replicas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_grace_seconds: 60,
            grant_seconds: 120,
            settle_seconds: 600,
            ask_again_seconds: 30,
            resend_seconds: 120,
            retry_seconds: 5,
            call_attempts_max: 5,
            tries_max: 8,
            losses_max: 24,
            tries_per_worker_max: 2,
            rest_seconds: 60,
            input_failures_max: 2,
            replicas_max: 24,
        }
    }
}
