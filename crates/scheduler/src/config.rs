//! What a scheduler is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, Keccak256, U256};
use async_trait::async_trait;
use primitives::{CategoryId, Nrlc, TaskId, UnixSeconds};
use url::Url;
use wire::market::MarketClient;
use wire::scheduler::{ResultBody, UploadPlace, Uploaded};

use crate::logs::LogLimits;

use crate::checks::Policy;

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
    /// How often results are confirmed by a second worker although the deal asks for one.
    pub checks: Policy,
    /// How much of what programs print is kept.
    pub logs: LogLimits,
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
    /// Who or what is to blame.
    pub kind: StoreFault,
}

/// Who or what is to blame for a result that was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// The sender: too large, broken off, not what was announced.
    Sender,
    /// The sender goes on in the wrong place; this is the right one.
    Misplaced(u64),
    /// There is no room.
    Full,
    /// The store.
    Store,
}

/// A result on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Whose task.
    pub task: TaskId,
    /// Who sends it.
    pub worker: Address,
    /// Until when its deal may be open: it must be kept for so long at least.
    pub needed_until: UnixSeconds,
}

impl Delivery {
    /// What its upload is called where it may be interrupted: another for each task and each sender.
    pub fn upload_key(&self) -> blobs::Key {
        let mut hash = Keccak256::new();
        hash.update(self.task.0);
        hash.update(self.worker);
        hash.finalize().0
    }

    /// The time as the system has it.
    pub fn needed_until(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.needed_until.0)).unwrap_or(UNIX_EPOCH)
    }
}

/// Where results are kept.
#[async_trait]
pub trait ResultStore: Send + Sync + 'static {
    /// Keeps the content and says where it is: `/ipfs/<cid>`.
    async fn keep(&self, delivery: Delivery, content: ResultBody) -> Result<String, StoreFailure>;

    /// How far the upload of that delivery is; nothing if none was begun.
    async fn place(&self, delivery: Delivery) -> Result<Option<UploadPlace>, StoreFailure>;

    /// Takes a part of it.
    async fn take(
        &self,
        delivery: Delivery,
        place: UploadPlace,
        content: ResultBody,
    ) -> Result<Uploaded, StoreFailure>;
}

#[async_trait]
impl ResultStore for blobs::Blobs {
    async fn keep(&self, delivery: Delivery, content: ResultBody) -> Result<String, StoreFailure> {
        let added = self.add_result(content, delivery.needed_until()).await;
        added.map(|added| location(&added)).map_err(StoreFailure::from)
    }

    async fn place(&self, delivery: Delivery) -> Result<Option<UploadPlace>, StoreFailure> {
        Ok(self.uploads().standing(delivery.upload_key()).await?.map(upload_place))
    }

    async fn take(
        &self,
        delivery: Delivery,
        place: UploadPlace,
        content: ResultBody,
    ) -> Result<Uploaded, StoreFailure> {
        let store = self.clone();
        take_part(self.uploads(), delivery, place, content, async move |whole| {
            let added = store.add_uploaded(whole, delivery.needed_until()).await?;
            Ok(location(&added))
        })
        .await
    }
}

/// Takes a part of an upload; when it is whole, `finish` brings it to its place and says where that is.
///
/// # Errors
/// The upload's, or that of `finish`; then the whole stays, and an empty part at its end tries again.
pub async fn take_part<F>(
    uploads: &blobs::Uploads,
    delivery: Delivery,
    place: UploadPlace,
    content: ResultBody,
    finish: F,
) -> Result<Uploaded, StoreFailure>
where
    F: AsyncFnOnce(&blobs::Whole) -> Result<String, StoreFailure>,
{
    let announced = blobs::Announced { size: place.size_bytes, sha256: place.sha256.0 };
    let taken = uploads.take(delivery.upload_key(), announced, place.offset_bytes, content).await?;
    Ok(match taken {
        blobs::Part::UpTo(offset) => Uploaded::UpTo(offset),
        blobs::Part::Known(location) => Uploaded::Stored(location),
        blobs::Part::Whole(whole) => {
            let location = finish(&whole).await?;
            whole.done(&location).await;
            Uploaded::Stored(location)
        }
    })
}

/// How far an upload is, as it is told.
pub fn upload_place(standing: blobs::Standing) -> UploadPlace {
    let blobs::Standing { announced, offset } = standing;
    let sha256 = B256::from(announced.sha256);
    UploadPlace { size_bytes: announced.size, sha256, offset_bytes: offset }
}

fn location(added: &blobs::Added) -> String {
    format!("/ipfs/{}", added.cid)
}

impl From<blobs::Error> for StoreFailure {
    fn from(error: blobs::Error) -> Self {
        let kind = match error {
            blobs::Error::Misplaced { offset } => StoreFault::Misplaced(offset),
            blobs::Error::Full { .. } => StoreFault::Full,
            _ if error.is_retryable() => StoreFault::Store,
            _ => StoreFault::Sender,
        };
        Self { reason: error.to_string(), kind }
    }
}
