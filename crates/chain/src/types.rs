//! What the contracts hold, in our own types.

use alloy_primitives::{Address, B256, Bytes, U256};
use primitives::{
    CategoryId, DealId, Nrlc, ResultDigest, ResultHash, ResultSeal, Tag, UnixSeconds,
};
use serde::{Deserialize, Serialize};

/// Where a market's contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contracts {
    /// The hub: escrow, deals, tasks.
    pub hub: Address,
    /// The token it takes.
    pub rlc: Address,
    /// Registry of apps.
    pub app_registry: Address,
    /// Registry of datasets.
    pub dataset_registry: Address,
    /// Registry of workerpools.
    pub workerpool_registry: Address,
}

/// Which registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssetKind {
    /// Programs.
    App,
    /// Data.
    Dataset,
    /// Groups of workers.
    Workerpool,
}

/// An asset in a deal, as it was when the deal was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetTerms {
    /// The asset; zero for no dataset.
    pub pointer: Address,
    /// Its owner at the time: who is paid, whoever owns it now.
    pub owner: Address,
    /// For one task.
    pub price: Nrlc,
}

/// A deal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deal {
    /// The program.
    pub app: AssetTerms,
    /// The data; its pointer is zero if there is none.
    pub dataset: AssetTerms,
    /// Who executes. Its owner is the scheduler.
    pub workerpool: AssetTerms,
    /// At least 1. Consensus needs `1 − 1/trust` of the weight.
    pub trust: U256,
    /// How long a task may run.
    pub category: CategoryId,
    /// What the execution demands.
    pub tag: Tag,
    /// Who asked.
    pub requester: Address,
    /// Who may read the result.
    pub beneficiary: Address,
    /// A contract to call with the result; zero for none.
    pub callback: Address,
    /// The requester's parameters, as JSON.
    pub params: String,
    /// When it was made.
    pub start: UnixSeconds,
    /// Index of its first task in the request order.
    pub first: U256,
    /// How many tasks it has.
    pub size: U256,
    /// What a contributor locks for a task.
    pub worker_stake: Nrlc,
    /// Per cent of the workerpool's price that the scheduler keeps.
    pub scheduler_reward_ratio: U256,
    /// Who pays.
    pub sponsor: Address,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Not initialised, or no such task.
    Unset,
    /// Takes contributions.
    Active,
    /// Consensus is reached; winners reveal.
    Revealing,
    /// Finalized and paid.
    Completed,
    /// Claimed and refunded.
    Failed,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// How far it is. Of an [`TaskStatus::Unset`] task everything else is zero.
    pub status: TaskStatus,
    /// Whose task it is.
    pub deal: DealId,
    /// Its index in the request order.
    pub index: U256,
    /// The category's unit of time, in seconds.
    pub work_clock_seconds: u64,
    /// Contributions are taken before this.
    pub contribution_deadline: UnixSeconds,
    /// Reveals are taken before this; zero before consensus.
    pub reveal_deadline: UnixSeconds,
    /// It can be finalized before this, and claimed from then on.
    pub final_deadline: UnixSeconds,
    /// What was agreed on.
    pub consensus: ResultHash,
    /// How many of the winners have revealed.
    pub revealed: u64,
    /// How many contributed what was agreed on.
    pub winners: u64,
    /// In the order in which they contributed.
    pub contributors: Vec<Address>,
    /// What was revealed.
    pub digest: ResultDigest,
    /// Where the result is, as stored by the scheduler.
    pub results: Bytes,
    /// What the callback gets.
    pub results_callback: Bytes,
}

/// What became of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContributionStatus {
    /// There is none.
    Unset,
    /// Made.
    Contributed,
    /// Revealed, and right.
    Proved,
    /// Thrown out when the task was reopened.
    Rejected,
}

/// A worker's contribution to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// What became of it.
    pub status: ContributionStatus,
    /// What it claims, bound to the task.
    pub hash: ResultHash,
    /// The same bound to the worker.
    pub seal: ResultSeal,
    /// The enclave's address; zero without one.
    pub enclave: Address,
    /// Base-2 logarithm of the worker's weight.
    pub weight: U256,
}

/// A category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Such as `XS`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Unit of time of its deadlines, in seconds: 7 units to contribute, 2 to reveal, 10 in all.
    pub work_clock_seconds: u64,
}

/// An account in the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Free.
    pub stake: Nrlc,
    /// Bound in deals and contributions.
    pub locked: Nrlc,
}

/// An app as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Who is paid for it.
    pub owner: Address,
    /// For people.
    pub name: String,
    /// Such as `WASM` or `DOCKER`.
    pub kind: String,
    /// Where it is.
    pub multiaddr: Bytes,
    /// SHA-256 of it.
    pub checksum: B256,
    /// What an enclave must measure.
    pub mrenclave: Bytes,
}

/// A dataset as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Who is paid for it.
    pub owner: Address,
    /// For people.
    pub name: String,
    /// Where it is.
    pub multiaddr: Bytes,
    /// SHA-256 of it.
    pub checksum: B256,
}

/// A workerpool as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workerpool {
    /// The scheduler.
    pub owner: Address,
    /// For people.
    pub description: String,
    /// Per cent of the price that a worker locks for a task.
    pub worker_stake_ratio: U256,
    /// Per cent of the price that the scheduler keeps.
    pub scheduler_reward_ratio: U256,
}
