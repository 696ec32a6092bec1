//! What a scheduler is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use primitives::{CategoryId, Nrlc, TaskId};
use url::Url;
use wire::market::MarketClient;
use wire::scheduler::ResultBody;

/// What a scheduler is told.
#[derive(Clone)]
pub struct Config {
    /// The market's chain.
    pub client: chain::Client,
    /// The pool owner's wallet: signs authorisations and orders, sends transactions, holds the stake.
    pub wallet: chain::Wallet,
    /// The pool.
    pub workerpool: Address,
    /// Where the cursor is kept.
    pub store: store::Store,
    /// Where results go.
    pub results: Arc<dyn ResultStore>,
    /// The order book that offers are published in; without one the scheduler only serves deals.
    pub market: Option<MarketClient>,
    /// The secret manager that makes the keys of enclaves; without one, deals that demand an enclave fail at once. With
    /// one, what is offered is offered with a *simulated* TDX.
    pub sms: Option<Url>,
    /// What is offered, all the time.
    pub offers: Vec<Offer>,
    /// Who may work here; anybody if nothing is said.
    pub workers: Option<BTreeSet<Address>>,
    /// From which block to look for deals when there is no cursor yet.
    pub from_block: u64,
    /// How much at once.
    pub limits: Limits,
}

/// A standing offer. The scheduler signs an order for it and a new one when that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// How long a task may run.
    pub category: CategoryId,
    /// The highest trust.
    pub trust: U256,
    /// Per task.
    pub price: Nrlc,
    /// Tasks per order. The owner's stake must cover 30 % of price times volume.
    pub volume: u64,
}

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unfinished tasks at work; larger deals are served in windows of so many.
    pub open_tasks_max: usize,
    /// Finished tasks that `/tasks/{id}` still tells in full.
    pub kept_tasks_max: usize,
    /// Connected workers.
    pub workers_max: usize,
    /// Tasks initialised by one transaction.
    pub initialize_batch: usize,
    /// Messages per second from one worker before it is sent away.
    pub messages_per_second: u32,
    /// How patient to be with a task.
    pub task: tasks::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_tasks_max: 2_000,
            kept_tasks_max: 5_000,
            workers_max: 1_024,
            initialize_batch: 50,
            messages_per_second: 5_000,
            task: tasks::Limits::default(),
        }
    }
}

/// A result could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoreFailure {
    /// Why.
    pub reason: String,
    /// Whether the sender is to blame (too large, broken off), rather than the store.
    pub is_senders_fault: bool,
}

/// Where results are kept.
#[async_trait]
pub trait ResultStore: Send + Sync + 'static {
    /// Keeps the content and says where it is: `/ipfs/<cid>`.
    async fn keep(&self, task: TaskId, content: ResultBody) -> Result<String, StoreFailure>;
}

#[async_trait]
impl ResultStore for blobs::Blobs {
    async fn keep(&self, _task: TaskId, content: ResultBody) -> Result<String, StoreFailure> {
        match self.add(content).await {
            Ok(added) => Ok(format!("/ipfs/{}", added.cid)),
            Err(error) => {
                let is_senders_fault = !error.is_retryable();
                Err(StoreFailure { reason: error.to_string(), is_senders_fault })
            }
        }
    }
}
