//! What a scheduler tells of its workers' past, and how sure a result is.

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};

/// How sure a result is, by the consensus rule of the chain: what is believed of it, in parts per million.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confidence {
    /// What the deal's trust asks to be exceeded: `(trust − 1) / trust`.
    pub asked_ppm: u32,
    /// What was reached; nothing before there is a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_ppm: Option<u32>,
    /// How many workers brought a result, let in or not.
    pub runs: u32,
    /// How many of them found what won.
    pub agreeing: u32,
    /// Whether one worker's result was confirmed by another's although the deal asked for one only.
    pub checked: bool,
    /// What the requester pays the workerpool for all that.
    #[serde(with = "crate::json::text")]
    pub price_nrlc: U256,
}

/// What is known of a workerpool, told by its scheduler: nobody else vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolReputation {
    /// The workerpool.
    #[serde(with = "crate::json::text")]
    pub workerpool: Address,
    /// The least share of tasks of one worker that a second one confirms, in parts per million.
    pub canary_rate_ppm: u32,
    /// All its workers together.
    pub total: Reputation,
    /// Results of deals for one worker only that another worker found too, or that were known before.
    pub canaries_passed: u64,
    /// Wrong results of such deals.
    pub canaries_failed: u64,
    /// Its workers, those with most results first; at most [`WORKERS_MAX`]. Which of their tasks were canaries is not told.
    pub workers: Vec<WorkerReputation>,
}

/// The most workers that are told of.
pub const WORKERS_MAX: usize = 1_000;

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReputation {
    /// Its wallet.
    #[serde(with = "crate::json::text")]
    pub worker: Address,
    /// Whether it is connected.
    pub connected: bool,
    /// Its score on chain; nothing if it is not connected.
    #[serde(default, with = "crate::json::text::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<U256>,
    /// `new`, `proven`, or `barred`: takes no task that rests on its word alone.
    pub standing: String,
    /// Its past.
    #[serde(flatten)]
    pub past: Reputation,
}

/// How many of a workerpool's workers give an app's containers a network, in the workers' own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNetwork {
    /// Connected workers that run images.
    pub workers: u32,
    /// Those of them that give it.
    pub granting: u32,
    /// Those of them that do not say.
    pub silent: u32,
}

/// How tasks ended, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reputation {
    /// Results that were let in and won.
    pub completed: u64,
    /// Results that another worker found too.
    pub confirmed: u64,
    /// Wrong results.
    pub wrong: u64,
    /// Two results for one task.
    pub equivocated: u64,
    /// Failures blamed on programs that ran elsewhere.
    pub false_alarms: u64,
    /// Agreed results that were not revealed.
    pub unrevealed: u64,
    /// Revealed results that were not brought.
    pub withheld: u64,
    /// Tasks that a worker disappeared from.
    pub lost: u64,
    /// Tasks that a worker could not do.
    pub failed: u64,
    /// The median of the last run times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_seconds_median: Option<u32>,
}
