//! Headers, receipts and transactions of a block, in the encoding that the block commits to.

use alloy_consensus::{Header as ConsensusHeader, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, U64, keccak256};
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use receipts::{Entry, Outcome, ordered};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ProofError, Result, lacking};
use crate::client::Client;

/// Headers asked for at once.
const AT_ONCE: usize = 16;

/// A header as its block's hash is made of it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) encoded: Bytes,
    receipts_root: B256,
    transactions_root: B256,
}

/// The headers `from..=to`.
pub(super) async fn headers(client: &Client, from: u64, to: u64) -> Result<Vec<Head>> {
    iter((from..=to).map(|number| header(client, number))).buffered(AT_ONCE).try_collect().await
}

async fn header(client: &Client, number: u64) -> Result<Head> {
    let params = json!([U64::from(number), false]);
    let block = client.request("eth_getBlockByNumber", params).await?;
    let hash: B256 = serde_json::from_value(block["hash"].clone())
        .map_err(|_| ProofError::NotFound("a block went away"))?;
    let why = "its headers are of a kind that is not understood";
    let misfit = || ProofError::Misfit { what: "fields", block: number, why };
    let header: ConsensusHeader = serde_json::from_value(block).map_err(|_| misfit())?;
    let encoded: Bytes = alloy_rlp::encode(&header).into();
    if keccak256(&encoded) != hash {
        return Err(misfit());
    }
    let ConsensusHeader { receipts_root, transactions_root, .. } = header;
    Ok(Head { number, hash, encoded, receipts_root, transactions_root })
}

/// For each of the transactions of that block, what proves its receipt.
pub(super) async fn receipts(
    client: &Client,
    head: &Head,
    indices: &[u32],
) -> Result<Vec<Vec<Bytes>>> {
    const METHOD: &str = "eth_getBlockReceipts";
    let answer = client.request(METHOD, json!([head.hash])).await;
    let told = answer.map_err(|error| lacking(METHOD, error))?;
    let why = "its receipts are of a kind that is not understood";
    let misfit = || ProofError::Misfit { what: "receipts", block: head.number, why };
    let told: Vec<Told> = serde_json::from_value(told).map_err(|_| misfit())?;
    let entries: Vec<Vec<u8>> = told
        .into_iter()
        .map(|one| one.entry().map(|entry| entry.encode()))
        .collect::<Option<_>>()
        .ok_or_else(misfit)?;
    let trie = ordered(&entries, &places(indices));
    if trie.root != head.receipts_root {
        return Err(misfit());
    }
    Ok(trie.proofs)
}

/// What proves a transaction of that block; nothing if the block has some whose encoding is not told.
pub(super) async fn transaction(
    client: &Client,
    head: &Head,
    index: u32,
) -> Result<Option<Vec<Bytes>>> {
    let mut block = client.request("eth_getBlockByHash", json!([head.hash, true])).await?;
    let told: Vec<Value> = serde_json::from_value(block["transactions"].take()).unwrap_or_default();
    let encoded: Option<Vec<Vec<u8>>> = told
        .into_iter()
        .map(|one| serde_json::from_value::<TxEnvelope>(one).ok().map(|tx| tx.encoded_2718()))
        .collect();
    let Some(encoded) = encoded else { return Ok(None) };
    let mut trie = ordered(&encoded, &places(&[index]));
    Ok(if trie.root == head.transactions_root { trie.proofs.pop() } else { None })
}

fn places(indices: &[u32]) -> Vec<usize> {
    indices.iter().map(|index| usize::try_from(*index).unwrap_or(usize::MAX)).collect()
}

/// A receipt as nodes write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default, rename = "type")]
    kind: Option<U64>,
    #[serde(default)]
    status: Option<U64>,
    #[serde(default)]
    root: Option<B256>,
    cumulative_gas_used: U64,
    logs_bloom: Bloom,
    logs: Vec<ToldLog>,
}

#[derive(Debug, Deserialize)]
struct ToldLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

impl Told {
    fn entry(self) -> Option<Entry> {
        let logs = self.logs.into_iter().map(|log| Log::new(log.address, log.topics, log.data));
        let outcome = match (self.status, self.root) {
            (Some(status), _) => Outcome::Status(!status.is_zero()),
            (None, root) => Outcome::Root(root?),
        };
        Some(Entry {
            kind: self.kind.unwrap_or_default().to::<u64>().try_into().ok()?,
            outcome,
            cumulative_gas: self.cumulative_gas_used.to(),
            bloom: self.logs_bloom,
            logs: logs.collect::<Option<_>>()?,
        })
    }
}
