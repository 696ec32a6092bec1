//! Reading blocks and the market's events in them, without being fooled by a chain that moves meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bloom, BloomInput, U64, U256};
use alloy_rpc_types_eth::Log;
use primitives::UnixSeconds;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::events::{self, ChainEvent};
use crate::rpc::Rpc;

/// The root of a block without transactions.
const NO_TRANSACTIONS: B256 = alloy_consensus::EMPTY_ROOT_HASH;

/// A block's head, as far as we look at it. Nodes differ in the rest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    number: U64,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    logs_bloom: Option<Bloom>,
    #[serde(default)]
    transactions_root: Option<B256>,
    #[serde(default)]
    base_fee_per_gas: Option<U256>,
}

impl Header {
    pub(crate) fn number(&self) -> u64 {
        self.number.to()
    }

    pub(crate) fn timestamp(&self) -> UnixSeconds {
        UnixSeconds(self.timestamp.to())
    }

    /// In wei; none on a chain before EIP-1559.
    pub(crate) fn base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.map(|fee| fee.saturating_to())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactions_root == Some(NO_TRANSACTIONS)
    }

    fn may_concern(&self, watched: &[Address]) -> bool {
        match &self.logs_bloom {
            // Some rollups leave the filter blank rather than compute it.
            Some(bloom) if !bloom.is_zero() => {
                watched.iter().any(|address| bloom.contains_input(BloomInput::Raw(&address[..])))
            }
            Some(_) => !self.is_empty() && self.transactions_root.is_none(),
            None => true,
        }
    }
}

/// A block with the market's events in it, in the order in which they happened.
#[derive(Debug, Clone)]
pub struct MarketBlock {
    /// Height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it.
    pub parent: B256,
    /// As the block says.
    pub timestamp: UnixSeconds,
    /// What happened in the market.
    pub events: Vec<ChainEvent>,
    /// Whether it is known to hold no transaction at all.
    pub(crate) empty: bool,
}

impl MarketBlock {
    fn new(header: &Header, events: Vec<ChainEvent>) -> Self {
        Self {
            number: header.number(),
            hash: header.hash,
            parent: header.parent_hash,
            timestamp: header.timestamp(),
            events,
            empty: header.is_empty(),
        }
    }
}

/// Reads for one market: its contracts' addresses are the filter.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) rpc: Arc<Rpc>,
    /// The hub first, then its registries. Empty: no events are looked for.
    pub(crate) watched: Arc<Vec<Address>>,
}

impl Reader {
    pub(crate) async fn head(&self) -> Result<Header> {
        self.header("eth_getBlockByNumber", json!(["latest", false]))
            .await?
            .ok_or_else(|| Error::new("reading the head", ErrorKind::Unknown("block")))
    }

    pub(crate) async fn header_at(&self, number: u64) -> Result<Option<Header>> {
        self.header("eth_getBlockByNumber", json!([U64::from(number), false])).await
    }

    async fn header(&self, method: &'static str, params: Value) -> Result<Option<Header>> {
        self.rpc.request(method, params).await
    }

    /// The block of that header: asks for logs by the block's hash, so the answer is of that very block, and not at
    /// all if the block's filter excludes the market.
    pub(crate) async fn block(&self, header: &Header) -> Result<MarketBlock> {
        if self.watched.is_empty() || !header.may_concern(&self.watched) {
            return Ok(MarketBlock::new(header, Vec::new()));
        }
        let filter = json!([{ "blockHash": header.hash, "address": &*self.watched }]);
        let logs: Vec<Log> = match self.rpc.request("eth_getLogs", filter).await {
            // A block that was replaced while we asked.
            Err(error) if matches!(error.kind(), ErrorKind::Refused { .. }) => {
                tracing::debug!(%error, "a block went away");
                return Err(Error::new("reading a block", ErrorKind::Moved));
            }
            logs => logs?,
        };
        Ok(MarketBlock::new(header, self.events(logs)))
    }

    /// Blocks of consecutive headers, each the parent of the next.
    pub(crate) async fn blocks(&self, headers: &[Header]) -> Result<Vec<MarketBlock>> {
        let [first, .., last] = headers else {
            return match headers {
                [only] => Ok(vec![self.block(only).await?]),
                _ => Ok(Vec::new()),
            };
        };
        let concerned = !self.watched.is_empty()
            && headers.iter().any(|header| header.may_concern(&self.watched));
        let mut events = if concerned {
            let events = self.events_between(first.number(), last.number()).await?;
            self.still_in_place(last).await?;
            events
        } else {
            BTreeMap::new()
        };
        Ok(headers
            .iter()
            .map(|header| {
                MarketBlock::new(header, events.remove(&header.number()).unwrap_or_default())
            })
            .collect())
    }

    /// Blocks `from..=to` that have events, and always the last: enough to move a cursor to `to`, and all of one branch.
    /// The first block must follow `parent`, unless that is zero.
    pub(crate) async fn range(&self, from: u64, to: u64, parent: B256) -> Result<Vec<MarketBlock>> {
        let first = self.sure_header(from).await?;
        if !parent.is_zero() && first.parent_hash != parent {
            return Err(Error::new("reading blocks", ErrorKind::Moved));
        }
        let last = if from == to { first } else { self.sure_header(to).await? };
        let mut events = if self.watched.is_empty() {
            BTreeMap::new()
        } else {
            self.events_between(from, to).await?
        };
        events.entry(to).or_default();
        let numbers: BTreeSet<u64> = events.keys().copied().collect();
        let headers = futures::future::try_join_all(
            numbers
                .into_iter()
                .filter(|number| *number != to)
                .map(|number| self.sure_header(number)),
        )
        .await?;
        self.still_in_place(&last).await?;
        let mut blocks: Vec<MarketBlock> = headers
            .iter()
            .map(|header| {
                MarketBlock::new(header, events.remove(&header.number()).unwrap_or_default())
            })
            .collect();
        blocks.push(MarketBlock::new(&last, events.remove(&to).unwrap_or_default()));
        Ok(blocks)
    }

    async fn sure_header(&self, number: u64) -> Result<Header> {
        let header = self.header_at(number).await?;
        header.ok_or_else(|| Error::new("reading blocks", ErrorKind::Moved))
    }

    /// That a block is in place before and after other questions means that their answers are of its branch.
    async fn still_in_place(&self, last: &Header) -> Result<()> {
        match self.sure_header(last.number()).await?.hash == last.hash {
            true => Ok(()),
            false => Err(Error::new("reading blocks", ErrorKind::Moved)),
        }
    }

    /// Events by block number.
    async fn events_between(&self, from: u64, to: u64) -> Result<BTreeMap<u64, Vec<ChainEvent>>> {
        let filter = json!([{
            "fromBlock": U64::from(from),
            "toBlock": U64::from(to),
            "address": &*self.watched,
        }]);
        let logs: Vec<Log> = self.rpc.request("eth_getLogs", filter).await?;
        let mut by_block: BTreeMap<u64, Vec<Log>> = BTreeMap::new();
        for log in logs {
            by_block.entry(log.block_number.unwrap_or(to)).or_default().push(log);
        }
        Ok(by_block.into_iter().map(|(number, logs)| (number, self.events(logs))).collect())
    }

    fn events(&self, mut logs: Vec<Log>) -> Vec<ChainEvent> {
        logs.sort_by_key(|log| log.log_index);
        let hub = self.watched.first().copied().unwrap_or_default();
        logs.iter().filter(|log| !log.removed).filter_map(|log| events::decode(hub, log)).collect()
    }
}
