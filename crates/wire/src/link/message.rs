//! What is said over a link.

use alloy_primitives::{Address, B256, Bytes};
use primitives::{DealId, ResultHash, TaskId};
use serde::{Deserialize, Serialize};

use super::Capabilities;
use crate::Failure;

/// The first word, the scheduler's: who it is and the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hello {
    pub(super) protocol: u32,
    #[serde(with = "crate::json::text")]
    pub(super) workerpool: Address,
    #[serde(with = "crate::json::text")]
    pub(super) scheduler: Address,
    pub(super) chain_id: u64,
    #[serde(with = "crate::json::text")]
    pub(super) hub: Address,
    pub(super) nonce: B256,
    #[serde(with = "crate::json::hex")]
    pub(super) proof: Bytes,
}

/// The answer, the worker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    #[serde(with = "crate::json::text")]
    pub(super) worker: Address,
    #[serde(with = "crate::json::hex")]
    pub(super) signature: Bytes,
    pub(super) capabilities: Capabilities,
    #[serde(default, with = "crate::json::text::list")]
    pub(super) holding: Vec<TaskId>,
}

/// What is said until the link stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Handshake {
    Hello(Hello),
    Login(Login),
    Welcome {
        token: String,
        /// What the scheduler understands beyond the first form of this protocol's version.
        #[serde(default, skip_serializing_if = "is_first")]
        revision: u32,
    },
    Refused {
        error: Failure,
    },
}

/// What a worker needs to run a task in its enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnclaveTask {
    /// The origin of the secret manager that gives out the session.
    pub sms_url: String,
    /// The key that the enclave's signature must come from, made by the secret manager for this task.
    #[serde(with = "crate::json::text")]
    pub enclave_challenge: Address,
    /// The pool owner's signature over worker, task and enclave challenge; 65 bytes. The same that
    /// [`ToWorker::Contribute`] carries later: the secret manager asks for it first.
    #[serde(with = "crate::json::hex")]
    pub authorization: Bytes,
}

/// The most tasks that are settled with one transaction.
pub const SETTLE_MAX: usize = 100;

/// What the scheduler says to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToWorker {
    /// Compute this task. The worker reads everything else about it from the chain and trusts nothing else.
    Assign {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// Of which deal.
        #[serde(with = "crate::json::text")]
        deal_id: DealId,
        /// Its index in the deal's bag.
        index: u64,
        /// For deals that demand an enclave; the task is then initialised on chain already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tee: Option<EnclaveTask>,
    },
    /// The worker may contribute what it computed: the task is initialised on chain.
    Contribute {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// The pool owner's signature over worker, task and enclave challenge; 65 bytes.
        #[serde(with = "crate::json::hex")]
        authorization: Bytes,
        /// The key that the enclave's signature must come from; zero without an enclave.
        #[serde(with = "crate::json::text")]
        enclave_challenge: Address,
    },
    /// The worker may settle these tasks of one deal, which it computed alone, with one transaction that initialises,
    /// contributes and finalizes all of them. It uploads each result first. If the transaction cannot be sent or the
    /// chain refuses it, the worker answers with [`ToScheduler::Unsettled`], and each task goes on by itself.
    Settle {
        /// Of which deal.
        #[serde(with = "crate::json::text")]
        deal_id: DealId,
        /// Which tasks, 1 to [`SETTLE_MAX`]. The transaction must have exactly these in this order.
        #[serde(with = "crate::json::text::list")]
        task_ids: Vec<TaskId>,
        /// The pool owner's signature over worker, deal and the tasks' indices (`verdict::settlement_hash`); 65 bytes.
        #[serde(with = "crate::json::hex")]
        authorization: Bytes,
    },
    /// There is a consensus: reveal and upload.
    Reveal {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
    },
    /// The task is finished or no longer wanted: drop everything kept for it.
    Release {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
    },
}

/// What a worker says to its scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToScheduler {
    /// The program ran. The hash binds the digest to the task; the digest itself stays with the worker until the reveal.
    Computed {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// `keccak(task ‖ digest)`.
        #[serde(with = "crate::json::text")]
        result_hash: ResultHash,
        /// The end of what the program printed; the requester may read it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stdout_tail: String,
        /// The end of what it printed as errors.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stderr_tail: String,
    },
    /// The task failed here.
    Failed {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// How.
        failure: RunFailure,
    },
    /// The contribution was sent to the chain (and mined, as far as the worker knows).
    Contributed {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// The transaction.
        tx_hash: B256,
    },
    /// What [`ToWorker::Settle`] asked for did not come about: nothing of it is on chain, and the results are still
    /// here. The scheduler lets each task contribute by itself.
    Unsettled {
        /// Which tasks: all of the batch.
        #[serde(with = "crate::json::text::list")]
        task_ids: Vec<TaskId>,
        /// Why, for the scheduler's log.
        reason: String,
    },
    /// The reveal was sent to the chain.
    Revealed {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// The transaction.
        tx_hash: B256,
    },
    /// The result is stored where `finalize` can point to.
    Uploaded {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// Where: `/ipfs/<cid>`, or empty for a result that only a contract receives.
        location: String,
        /// What the callback contract receives; empty without callback.
        #[serde(default, with = "crate::json::hex")]
        callback_data: Bytes,
    },
    /// The worker takes no new tasks and leaves when those it has are done.
    Draining {},
    /// A piece of what a program printed, while it runs. From revision 1.
    Log {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// Where it printed.
        stream: LogStream,
        /// What, at most [`LOG_TEXT_BYTES_MAX`].
        text: String,
        /// Bytes before this piece that were left out, because there were too many at once.
        #[serde(default, skip_serializing_if = "is_none")]
        missed: u64,
    },
    /// The worker takes no new tasks for now: its owner uses the machine. From revision 1.
    Paused {
        /// Why, for who waits.
        reason: String,
    },
    /// It takes tasks again. From revision 1.
    Resumed {},
    /// The worker gives back a task that it has not contributed to. It did not fail: another may take it, and this one
    /// again later. From revision 1.
    Returned {
        /// Which task.
        #[serde(with = "crate::json::text")]
        task_id: TaskId,
        /// Why, for the scheduler's log.
        reason: String,
    },
    /// The programs that need not be fetched are now these; see [`Capabilities::images`](super::Capabilities::images). From
    /// revision 1.
    Warm {
        /// The addresses that they are registered with.
        images: Vec<String>,
    },
    /// Something that this version does not know; a scheduler that hears it goes on.
    #[serde(other)]
    Unknown,
}

/// The longest piece of a log.
pub const LOG_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Where a program printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Its answer.
    Stdout,
    /// What it said beside.
    Stderr,
}

/// Whose fault a failed run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Blame {
    /// The program: it would fail elsewhere too.
    App,
    /// This worker: another one may succeed.
    Worker,
    /// What the program was given.
    Input,
}

/// A run that brought no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFailure {
    /// Code, what happened, what would help.
    #[serde(flatten)]
    pub failure: Failure,
    /// What the program returned, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The end of what it printed.
    #[serde(default)]
    pub stdout_tail: String,
    /// The end of what it printed as errors.
    #[serde(default)]
    pub stderr_tail: String,
    /// Whose fault.
    pub blame: Blame,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_first(revision: &u32) -> bool {
    *revision == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}
