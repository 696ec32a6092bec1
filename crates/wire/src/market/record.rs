//! What the book says about orders, deals and categories.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use orders::OrderKind;
use primitives::{CategoryId, DealId, OrderHash, Tag, UnixSeconds};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Claim, Order};
use crate::UnixMillis;
use crate::json::{Fields, ShapeError, number_or_text, parse_bytes32};

/// What became of a published order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// It can be matched.
    Open,
    /// Its volume is used up.
    Filled,
    /// Its owner closed it on chain.
    Canceled,
    /// It cannot be matched any more: the stake behind it is gone, or what it offers has another owner.
    Dead,
}

impl OrderStatus {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Filled => "filled",
            Self::Canceled => "canceled",
            Self::Dead => "dead",
        }
    }

    fn read(text: &str) -> Result<Self, ShapeError> {
        let all = [Self::Open, Self::Filled, Self::Canceled, Self::Dead];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| ShapeError("status is unknown".to_owned()))
    }
}

/// A published order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The order.
    pub order: Order,
    /// Its hash.
    pub hash: OrderHash,
    /// The chain it is for.
    pub chain_id: u64,
    /// When it was first published.
    pub published_at: UnixMillis,
    /// Who signed it.
    pub signer: Address,
    /// What became of it.
    pub status: OrderStatus,
    /// How many tasks it is still good for.
    pub remaining: u64,
    /// Of a workerpool order: how its last tasks ended, if any have. The official record has no such field.
    pub track_record: Option<TrackRecord>,
    /// Of a workerpool order: what the workerpool says of its own past, lately. The official record has no such field.
    pub claimed: Option<Arc<Claim>>,
}

/// How the last tasks of a workerpool ended on the chain, about a thousand of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackRecord {
    /// Finalized.
    pub completed: u64,
    /// Claimed: not done in time, and refunded.
    pub failed: u64,
    /// Half of those finalized took no longer from the deal to the end, in seconds; nothing when none was.
    pub median_latency_s: Option<u64>,
}

impl TrackRecord {
    /// Finalized of all, in millionths; a workerpool of which nothing is known has failed nobody.
    pub fn success_ppm(self) -> u64 {
        let ended = self.completed.saturating_add(self.failed);
        self.completed.saturating_mul(PPM).checked_div(ended).unwrap_or(PPM)
    }

    /// What the book tells.
    pub fn to_json(self) -> Value {
        let share = (self.completed + self.failed > 0)
            .then(|| f64::from(u32::try_from(self.success_ppm()).unwrap_or(u32::MAX)) / 1e6);
        json!({
            "completed": self.completed,
            "failed": self.failed,
            "successShare": share,
            "medianLatencySeconds": self.median_latency_s,
        })
    }

    /// Reads what the book tells.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("trackRecord", value)?;
        let latency = from.optional("medianLatencySeconds");
        Ok(Self {
            completed: from.number("completed", 0)?,
            failed: from.number("failed", 0)?,
            median_latency_s: latency
                .map(|_| from.number("medianLatencySeconds", 0))
                .transpose()?,
        })
    }
}

const PPM: u64 = 1_000_000;

impl Published {
    /// The official record.
    pub fn to_json(&self) -> Result<Map<String, Value>, ShapeError> {
        let mut record = Map::new();
        let mut put = |name: &str, value: Value| record.insert(name.to_owned(), value);
        put("order", self.order.to_json()?);
        put("orderHash", self.hash.to_string().into());
        put("chainId", self.chain_id.into());
        put("publicationTimestamp", self.published_at.to_string().into());
        put("signer", self.signer.to_checksum(None).into());
        put("status", self.status.as_str().into());
        put("remaining", self.remaining.into());
        if self.order.kind() == OrderKind::Dataset {
            put("bulk", self.order.is_bulk().into());
        }
        if let Some(track_record) = self.track_record {
            put("trackRecord", track_record.to_json());
        }
        if let Some(claim) = &self.claimed {
            put("claimed", claim.to_json()?);
        }
        Ok(record)
    }

    /// Reads the official record of an order of that kind.
    pub fn from_json(kind: OrderKind, value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("record", value)?;
        let published_at = from.text("publicationTimestamp")?.parse();
        Ok(Self {
            order: Order::from_json(kind, from.value("order")?)?,
            hash: OrderHash(from.bytes32("orderHash")?),
            chain_id: from.number("chainId", 0)?,
            published_at: published_at
                .map_err(|error: crate::ParseMillisError| ShapeError(error.to_string()))?,
            signer: from.address("signer")?,
            status: OrderStatus::read(from.text("status")?)?,
            remaining: from.number("remaining", 0)?,
            track_record: from.optional("trackRecord").map(TrackRecord::from_json).transpose()?,
            claimed: from.optional("claimed").map(Claim::from_json).transpose()?.map(Arc::new),
        })
    }
}

/// What one party of a deal put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asset {
    /// The app, dataset or workerpool; zero for no dataset.
    pub pointer: Address,
    /// Who owned it when the deal was made.
    pub owner: Address,
    /// Its price per task, in nRLC.
    pub price: U256,
}

/// A deal, as the book remembers it from the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deal {
    /// The deal.
    pub id: DealId,
    /// The chain it is on.
    pub chain_id: u64,
    /// What runs.
    pub app: Asset,
    /// What it works on.
    pub dataset: Asset,
    /// Where it runs.
    pub workerpool: Asset,
    /// Who asked.
    pub requester: Address,
    /// Whom the results are for.
    pub beneficiary: Address,
    /// The contract told of each result; zero for none.
    pub callback: Address,
    /// The app order.
    pub app_hash: OrderHash,
    /// The dataset order; the empty order's hash when there is no dataset.
    pub dataset_hash: OrderHash,
    /// The workerpool order.
    pub workerpool_hash: OrderHash,
    /// The request order.
    pub request_hash: OrderHash,
    /// The request's parameters.
    pub params: String,
    /// How many tasks.
    pub volume: U256,
    /// How long a task may run.
    pub category: CategoryId,
    /// What the execution demands.
    pub tag: Tag,
    /// How much agreement is wanted.
    pub trust: U256,
    /// When it was made.
    pub start_time: UnixSeconds,
    /// The index of its first task.
    pub bot_first: U256,
    /// How many tasks it has.
    pub bot_size: U256,
    /// The scheduler's part of the workerpool's price, in percent.
    pub scheduler_reward_ratio: U256,
    /// What a worker locks for a task, in nRLC.
    pub worker_stake: U256,
    /// The block it was made in.
    pub block_number: u64,
    /// That block's time.
    pub block_time: UnixSeconds,
    /// The transaction that made it.
    pub tx_hash: B256,
}

impl Deal {
    /// The official record. Amounts that JSON readers could not hold are decimal text.
    pub fn to_json(&self) -> Map<String, Value> {
        let record = json!({
            "dealid": self.id.to_string(),
            "chainId": self.chain_id,
            "app": self.app.to_json(),
            "dataset": self.dataset.to_json(),
            "workerpool": self.workerpool.to_json(),
            "requester": self.requester.to_checksum(None),
            "beneficiary": self.beneficiary.to_checksum(None),
            "callback": self.callback.to_checksum(None),
            "appHash": self.app_hash.to_string(),
            "datasetHash": self.dataset_hash.to_string(),
            "workerpoolHash": self.workerpool_hash.to_string(),
            "requestHash": self.request_hash.to_string(),
            "params": self.params,
            "volume": number_or_text(self.volume),
            "category": number_or_text(self.category.0),
            "tag": self.tag.to_string(),
            "trust": number_or_text(self.trust),
            "startTime": self.start_time.0,
            "botFirst": number_or_text(self.bot_first),
            "botSize": number_or_text(self.bot_size),
            "schedulerRewardRatio": number_or_text(self.scheduler_reward_ratio),
            "workerStake": number_or_text(self.worker_stake),
            "blockNumber": self.block_number,
            "blockTimestamp": UnixMillis::from_seconds(self.block_time.0).to_string(),
            "transactionHash": self.tx_hash.to_string(),
        });
        object(record)
    }

    /// Reads the official record.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("deal", value)?;
        let hash = |name: &str| from.bytes32(name).map(OrderHash);
        Ok(Self {
            id: DealId(from.bytes32("dealid")?),
            chain_id: from.number("chainId", 0)?,
            app: Asset::from_json("app", from)?,
            dataset: Asset::from_json("dataset", from)?,
            workerpool: Asset::from_json("workerpool", from)?,
            requester: from.address("requester")?,
            beneficiary: from.address("beneficiary")?,
            callback: from.address("callback")?,
            app_hash: hash("appHash")?,
            dataset_hash: hash("datasetHash")?,
            workerpool_hash: hash("workerpoolHash")?,
            request_hash: hash("requestHash")?,
            params: from.text("params")?.to_owned(),
            volume: from.wide_amount("volume")?,
            category: CategoryId(from.wide_amount("category")?),
            tag: from.tag("tag")?,
            trust: from.wide_amount("trust")?,
            start_time: UnixSeconds(from.number("startTime", 0)?),
            bot_first: from.wide_amount("botFirst")?,
            bot_size: from.wide_amount("botSize")?,
            scheduler_reward_ratio: from.wide_amount("schedulerRewardRatio")?,
            worker_stake: from.wide_amount("workerStake")?,
            block_number: from.number("blockNumber", 0)?,
            block_time: read_block_time(from)?,
            tx_hash: from.bytes32("transactionHash")?,
        })
    }
}

impl Asset {
    fn to_json(self) -> Value {
        json!({
            "pointer": self.pointer.to_checksum(None),
            "owner": self.owner.to_checksum(None),
            "price": number_or_text(self.price),
        })
    }

    fn from_json(name: &str, from: Fields<'_>) -> Result<Self, ShapeError> {
        let fields = Fields::of(name, from.value(name)?)?;
        Ok(Self {
            pointer: fields.address("pointer")?,
            owner: fields.address("owner")?,
            price: fields.wide_amount("price")?,
        })
    }
}

/// A category: how long a task may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its number.
    pub id: CategoryId,
    /// The chain it is on.
    pub chain_id: u64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How long a task may run, in seconds.
    pub work_clock_time_ref: U256,
    /// The transaction that made it; zero when it was read from the contract rather than from an event.
    pub tx_hash: B256,
    /// The block it was made in.
    pub block_number: u64,
    /// That block's time.
    pub block_time: UnixSeconds,
}

impl Category {
    /// The official record.
    pub fn to_json(&self) -> Map<String, Value> {
        object(json!({
            "catid": number_or_text(self.id.0),
            "chainId": self.chain_id,
            "name": self.name,
            "description": self.description,
            "workClockTimeRef": number_or_text(self.work_clock_time_ref),
            "transactionHash": self.tx_hash.to_string(),
            "blockNumber": self.block_number,
            "blockTimestamp": UnixMillis::from_seconds(self.block_time.0).to_string(),
        }))
    }

    /// Reads the official record.
    pub fn from_json(value: &Value) -> Result<Self, ShapeError> {
        let from = Fields::of("category", value)?;
        Ok(Self {
            id: CategoryId(from.wide_amount("catid")?),
            chain_id: from.number("chainId", 0)?,
            name: from.text("name")?.to_owned(),
            description: from.text("description")?.to_owned(),
            work_clock_time_ref: from.wide_amount("workClockTimeRef")?,
            tx_hash: parse_bytes32("transactionHash", from.text("transactionHash")?)?,
            block_number: from.number("blockNumber", 0)?,
            block_time: read_block_time(from)?,
        })
    }
}

/// What computing in a category cost in a deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricePoint {
    /// When the deal was made.
    pub time: UnixSeconds,
    /// The workerpool's price per task, in nRLC.
    pub price: U256,
    /// How many tasks.
    pub volume: U256,
}

impl PricePoint {
    /// The official record: a list of three.
    pub fn to_json(self) -> Value {
        let time = UnixMillis::from_seconds(self.time.0).to_string();
        json!([time, number_or_text(self.price), number_or_text(self.volume)])
    }
}

/// How the book is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// The last block that the book knows.
    pub last_block: u64,
    /// The last block from which it would go on after a restart.
    pub checkpoint_block: u64,
    /// Open app orders.
    #[serde(rename = "apporders")]
    pub app_orders: u64,
    /// Open dataset orders.
    #[serde(rename = "datasetorders")]
    pub dataset_orders: u64,
    /// Open workerpool orders.
    #[serde(rename = "workerpoolorders")]
    pub workerpool_orders: u64,
    /// Open request orders.
    #[serde(rename = "requestorders")]
    pub request_orders: u64,
}

/// One page of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub count: u64,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), count: 0 }
    }
}

fn read_block_time(from: Fields<'_>) -> Result<UnixSeconds, ShapeError> {
    let time: UnixMillis = from
        .text("blockTimestamp")?
        .parse()
        .map_err(|error: crate::ParseMillisError| ShapeError(error.to_string()))?;
    Ok(UnixSeconds(time.0 / 1_000))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
