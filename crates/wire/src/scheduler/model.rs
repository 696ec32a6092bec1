//! A task as its scheduler tells it.

use alloy_primitives::{Address, B256};
use primitives::{DealId, ResultHash, Tag, TaskId};
use serde::{Deserialize, Serialize};

use super::Confidence;
use crate::json::{Fields, ShapeError};
use crate::{Failure, UnixMillis};

/// A task. Where the official scheduler has a field it has the same name and form; `dealId`, `taskIndex`, `waitingFor`,
/// `tee`, `failure`, `dissent` and `confidence` are ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskModel {
    /// The task.
    #[serde(with = "crate::json::text")]
    pub chain_task_id: TaskId,
    /// Its deal.
    #[serde(with = "crate::json::text")]
    pub deal_id: DealId,
    /// Its index in the deal's bag.
    pub task_index: u64,
    /// How long it may run, in milliseconds.
    #[serde(rename = "maxExecutionTime")]
    pub execution_time_max_ms: u64,
    /// What it demands.
    #[serde(serialize_with = "tag_text", deserialize_with = "tag_from_text")]
    pub tag: Tag,
    /// The kind of program: `WASM`, `DOCKER`.
    pub dapp_type: String,
    /// The program: its address in storage, or its image.
    pub dapp_name: String,
    /// The program's arguments.
    pub command_line: String,
    /// The block of its initialisation; 0 before.
    pub initialization_block_number: u64,
    /// Where it stands: `RECEIVED` … `COMPLETED`, or `FAILED`.
    pub current_status: String,
    /// How sure the requester wants to be.
    pub trust: u64,
    /// The worker whose upload is the result.
    #[serde(default, with = "crate::json::text::option", skip_serializing_if = "Option::is_none")]
    pub uploading_worker_wallet_address: Option<Address>,
    /// The result hash that won.
    #[serde(default, with = "crate::json::text::option", skip_serializing_if = "Option::is_none")]
    pub consensus: Option<ResultHash>,
    /// Until when workers may contribute.
    pub contribution_deadline: UnixMillis,
    /// Until when winners may reveal; 1970 before there is a consensus.
    pub reveal_deadline: UnixMillis,
    /// From when the requester may claim back.
    pub final_deadline: UnixMillis,
    /// Where the result is: `/ipfs/<cid>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_link: Option<String>,
    /// What the callback contract receives, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_callback_data: Option<String>,
    /// How it came to where it stands, oldest first.
    pub date_status_list: Vec<DatedStatus>,
    /// Who works on it.
    pub replicates: Vec<ReplicateModel>,
    /// How sure the result is, and what that costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// What it waits for; nothing once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
    /// `SIMULATED` if it runs in an enclave that is simulated, and so protects nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Workers whose result differed and who were left out, so that the others' could win.
    #[serde(default, with = "crate::json::text::list", skip_serializing_if = "Vec::is_empty")]
    pub dissent: Vec<Address>,
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// A word for programs, of lower-case letters and dashes: `free-workers`, `able-worker`, `computing`, …
    pub code: String,
    /// The same for a person, after "waiting for".
    pub text: String,
}

/// A status and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatedStatus {
    /// Since when.
    pub date: UnixMillis,
    /// The status.
    pub status: String,
    /// The transaction that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_receipt: Option<ChainReceipt>,
}

/// A transaction and its block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReceipt {
    /// The block.
    pub block_number: u64,
    /// The transaction.
    pub tx_hash: B256,
}

/// One worker's part in a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicateModel {
    /// Where this is: an absolute path at the scheduler.
    #[serde(rename = "self", default, skip_serializing_if = "String::is_empty")]
    pub self_link: String,
    /// The task.
    #[serde(with = "crate::json::text")]
    pub chain_task_id: TaskId,
    /// The worker.
    #[serde(with = "crate::json::text")]
    pub wallet_address: Address,
    /// Where it stands: `CREATED` … `COMPLETED`.
    pub current_status: String,
    /// How it came there, oldest first.
    pub status_update_list: Vec<StatusUpdate>,
    /// Where its result is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_link: Option<String>,
    /// What it contributed.
    #[serde(default, with = "crate::json::text::option", skip_serializing_if = "Option::is_none")]
    pub contribution_hash: Option<ResultHash>,
    /// Where its logs are, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_logs: Option<String>,
    /// What the program returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_exit_code: Option<i32>,
}

/// A status of a worker's part, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusUpdate {
    /// The status.
    pub status: String,
    /// Since when.
    pub date: UnixMillis,
    /// Why, when it is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What a task's programs printed, worker by worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLogs {
    /// The task.
    #[serde(with = "crate::json::text")]
    pub chain_task_id: TaskId,
    /// One entry for each worker that sent logs.
    pub compute_logs_list: Vec<ComputeLogs>,
}

/// What a program printed at one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComputeLogs {
    /// The worker.
    #[serde(with = "crate::json::text")]
    pub wallet_address: Address,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
}

fn tag_text<S: serde::Serializer>(tag: &Tag, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(tag)
}

fn tag_from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Tag, D::Error> {
    B256::deserialize(from).map(Tag)
}

/// The path of the result inside a worker's upload answer.
pub(super) fn location_of(answer: &serde_json::Value) -> Result<String, ShapeError> {
    Ok(Fields::of("answer", answer)?.text("location")?.to_owned())
}
