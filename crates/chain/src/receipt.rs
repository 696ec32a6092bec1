//! What became of a transaction.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U64, U256};
use alloy_rpc_types_eth::Log;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A mined transaction.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The transaction.
    pub hash: B256,
    /// Its sender.
    pub from: Address,
    /// The block it is in.
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: B256,
    /// Gas that it used.
    pub gas_used: u64,
    /// What a unit of gas cost, in wei.
    pub gas_price: u128,
    /// Whether it took effect; if not, only gas was spent.
    pub succeeded: bool,
    /// The contract that it created, if it did.
    pub created: Option<Address>,
    /// What contracts logged, unread: a settlement of a hundred tasks has a thousand logs, and its sender knows what it did.
    logs: Arc<RawValue>,
}

impl Receipt {
    /// What contracts logged; nothing if the node's answer makes no sense.
    pub(crate) fn logs(&self) -> Vec<Log> {
        serde_json::from_str(self.logs.get()).unwrap_or_else(|error| {
            tracing::warn!(transaction = %self.hash, %error, "its logs cannot be read");
            Vec::new()
        })
    }
}

/// As nodes write it. Only what we read: the rest differs from chain to chain.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawReceipt {
    transaction_hash: B256,
    from: Address,
    block_number: U64,
    block_hash: B256,
    gas_used: U64,
    #[serde(default)]
    effective_gas_price: Option<U256>,
    #[serde(default)]
    status: Option<U64>,
    #[serde(default)]
    contract_address: Option<Address>,
    logs: Box<RawValue>,
}

impl From<RawReceipt> for Receipt {
    fn from(raw: RawReceipt) -> Self {
        Self {
            hash: raw.transaction_hash,
            from: raw.from,
            block_number: raw.block_number.to(),
            block_hash: raw.block_hash,
            gas_used: raw.gas_used.to(),
            gas_price: raw.effective_gas_price.map_or(0, |price| price.saturating_to()),
            succeeded: raw.status != Some(U64::ZERO),
            created: raw.contract_address,
            logs: raw.logs.into(),
        }
    }
}
