//! Blocks as they are kept: the header once, each transaction with its receipt in a record of its own.
//!
//! One record per transaction makes a receipt one read, however full its block is.

use alloy_consensus::{Header, TxEnvelope, transaction::Recovered};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Log};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

use super::StorageError;

/// A header, its hash, and the version of the state after it.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct BlockHead {
    pub(crate) hash: B256,
    /// The last change of the state that belongs to this block: its own, or a later one by a development method.
    pub(crate) version: u64,
    pub(crate) transactions: u32,
    pub(crate) header: Header,
}

impl BlockHead {
    pub(crate) fn encode(&self) -> Vec<u8> {
        alloy_rlp::encode(self)
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, StorageError> {
        Ok(Decodable::decode(&mut bytes)?)
    }

    pub(crate) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }
}

/// A mined transaction and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinedTransaction {
    pub(crate) tx: Recovered<TxEnvelope>,
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    /// Gas used in the block up to and including this one.
    pub(crate) cumulative_gas: u64,
    /// Number of logs in the block before this transaction's.
    pub(crate) first_log: u64,
    pub(crate) logs: Vec<Log>,
}

impl MinedTransaction {
    pub(crate) fn hash(&self) -> B256 {
        *self.tx.tx_hash()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let record = Record {
            raw: self.tx.encoded_2718().into(),
            sender: self.tx.signer(),
            success: self.success,
            gas_used: self.gas_used,
            cumulative_gas: self.cumulative_gas,
            first_log: self.first_log,
            logs: self.logs.clone(),
        };
        let mut out = Vec::with_capacity(record.length());
        record.encode(&mut out);
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, StorageError> {
        let record = Record::decode(&mut bytes)?;
        let tx = TxEnvelope::decode_2718_exact(&record.raw)
            .map_err(|error| StorageError::Corrupt(error.to_string()))?;
        Ok(Self {
            tx: Recovered::new_unchecked(tx, record.sender),
            success: record.success,
            gas_used: record.gas_used,
            cumulative_gas: record.cumulative_gas,
            first_log: record.first_log,
            logs: record.logs,
        })
    }
}

/// A block with everything in it, as it is announced to subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) head: BlockHead,
    pub(crate) transactions: Vec<MinedTransaction>,
}

/// The sender is kept because an impersonated account's transaction carries no signature to recover it from.
#[derive(RlpEncodable, RlpDecodable)]
struct Record {
    raw: Bytes,
    sender: Address,
    success: bool,
    gas_used: u64,
    cumulative_gas: u64,
    first_log: u64,
    logs: Vec<Log>,
}
