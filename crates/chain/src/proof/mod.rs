//! What a receipt is made of, collected from a node.
//!
//! ```text
//!   task ─▶ deal ─▶ its block (by time) ─▶ logs of the hub about the task ─▶ blocks, their receipts and headers
//!                                                                        └─▶ eth_getProof, where the node has it
//! ```
//! Only what standard nodes answer is asked: logs, blocks, receipts of a block, and proofs where there are any. Nothing
//! that a node says is believed: the receipt that comes out was checked, and hangs on hashes alone.

mod blocks;
mod find;

use std::collections::BTreeMap;

use alloy_primitives::{B256, U64, U256};
use orders::{DatasetOrder, Quartet};
use primitives::TaskId;
use receipts::{Evidence, Layout, Orders, Receipt, Refused, Segment, StateProof, Transaction};
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::types::TaskStatus;

/// Blocks between two events whose headers are all put into the receipt. Across more, there is a new segment, whose last
/// block must be trusted as well.
const GAP_MAX: u64 = 4_096;
/// Transactions that one task may have: each worker contributes and reveals.
const TRANSACTIONS_MAX: usize = 1_024;

/// A receipt, and what a person should know about how it came about.
#[derive(Debug, Clone)]
pub struct Collected {
    /// The receipt, checked in all but what is trusted.
    pub receipt: Receipt,
    /// What could not be had and is left out.
    pub notes: Vec<String>,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The node failed.
    #[error(transparent)]
    Chain(#[from] Error),
    /// There is no such task.
    #[error("there is no such task on the chain")]
    NoTask,
    /// It is not over yet.
    #[error("the task is not over: a receipt is of one that is completed or was refunded")]
    NotOver,
    /// The node lacks something.
    #[error("the node does not answer {method} ({error}); another one may")]
    Lacks {
        /// What was asked.
        method: &'static str,
        /// Its answer.
        error: String,
    },
    /// The node's answers do not fit together.
    #[error("the node's {what} of block {block} do not give what its header says; {why}")]
    Misfit {
        /// What does not fit.
        what: &'static str,
        /// Which block.
        block: u64,
        /// What may be the cause.
        why: &'static str,
    },
    /// What should be there was not found.
    #[error("{0}")]
    NotFound(&'static str),
    /// The orders are not in the transaction that made the deal, or not as the hub takes them.
    #[error(
        "the transaction that made the deal does not carry its orders in a form that is understood"
    )]
    NoOrders,
    /// All was answered, and does not make a receipt.
    #[error("what the node told does not make a receipt: {0}")]
    Refused(#[from] Refused),
}

impl ProofError {
    /// Whether the same may work later, without anything else changing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Chain(error) => error.is_retryable(),
            Self::NotOver => true,
            _ => false,
        }
    }

    /// Whether another node may do better.
    pub fn is_of_the_node(&self) -> bool {
        matches!(self, Self::Chain(_) | Self::Lacks { .. } | Self::Misfit { .. })
    }
}

type Result<T> = std::result::Result<T, ProofError>;

impl Client {
    /// Collects the receipt of a task that is over.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub async fn receipt_of(&self, id: TaskId) -> Result<Collected> {
        let task = self.task(id).await?;
        match task.status {
            TaskStatus::Completed | TaskStatus::Failed => {}
            TaskStatus::Unset => return Err(ProofError::NoTask),
            TaskStatus::Active | TaskStatus::Revealing => return Err(ProofError::NotOver),
        }
        let deal = self.deal(task.deal).await?;
        let made = find::deal(self, task.deal, deal.start).await?;
        let mut places = find::task(self, id, made.block, task.final_deadline).await?;
        places.insert((made.block, made.index), ());
        if places.len() > TRANSACTIONS_MAX {
            return Err(ProofError::NotFound(
                "the task has more transactions than a receipt takes",
            ));
        }

        let mut notes = Vec::new();
        let mut wanted: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (block, index) in places.keys() {
            wanted.entry(*block).or_default().push(*index);
        }
        let numbers: Vec<u64> = wanted.keys().copied().collect();
        let (segments, heads) = self.segments(&numbers).await?;
        let mut transactions = Vec::new();
        for (block, indices) in wanted {
            let head = heads.get(&block).ok_or(ProofError::NotFound("a block went away"))?;
            let proofs = blocks::receipts(self, head, &indices).await?;
            for (index, receipt) in indices.into_iter().zip(proofs) {
                transactions.push(Transaction { block, index, receipt, transaction: None });
            }
        }

        let mut quartet = find::orders(&made.input).ok_or(ProofError::NoOrders)?;
        if deal.dataset.pointer.is_zero() {
            quartet.dataset = DatasetOrder::none();
        }
        let head = heads.get(&made.block).ok_or(ProofError::NotFound("a block went away"))?;
        let proof = blocks::transaction(self, head, made.index).await?;
        let at =
            transactions.iter_mut().find(|it| (it.block, it.index) == (made.block, made.index));
        match (proof, at) {
            (Some(proof), Some(transaction)) => transaction.transaction = Some(proof),
            _ => {
                unsign(&mut quartet);
                notes.push(
                    "the node does not tell the transactions of the deal's block in their own \
                     encoding, so the orders' signatures are left out; the hub checked them"
                        .to_owned(),
                );
            }
        }

        let evidence = Evidence {
            chain_id: self.chain_id(),
            hub: self.hub(),
            deal: task.deal.0,
            first_index: deal.first,
            index: task.index,
            orders: Orders::from(&quartet),
            segments,
            transactions,
            state: None,
        };
        let last = heads.last_key_value().map(|(number, _)| *number).unwrap_or_default();
        let with_state = match self.state_proof(id, last).await {
            Ok(Some(state)) => Receipt::of(Evidence { state: Some(state), ..evidence.clone() })
                .map_err(|error| error.to_string()),
            Ok(None) => Err("the hub keeps tasks in no way that is known here".to_owned()),
            Err(error) => Err(error.reason()),
        };
        let receipt = match with_state {
            Ok(receipt) => receipt,
            Err(why) => {
                notes.push(format!(
                    "there is no proof of what the hub keeps of the task (eth_getProof at block \
                     {last}: {why}), so the receipt does not show that nobody else contributed"
                ));
                Receipt::of(evidence)?
            }
        };
        Ok(Collected { receipt, notes })
    }

    /// The hash of the block of that number, if there is one: what a receipt is trusted by.
    ///
    /// # Errors
    /// The node's.
    pub async fn block_hash(&self, number: u64) -> crate::Result<Option<B256>> {
        let params = json!([U64::from(number), false]);
        let block: Option<Hashed> = self.link().rpc.request("eth_getBlockByNumber", params).await?;
        Ok(block.map(|block| block.hash))
    }

    /// Headers of these blocks and of those between, unless there are too many between.
    async fn segments(
        &self,
        numbers: &[u64],
    ) -> Result<(Vec<Segment>, BTreeMap<u64, blocks::Head>)> {
        let mut heads = BTreeMap::new();
        let mut segments: Vec<Segment> = Vec::new();
        let mut before: Option<u64> = None;
        for number in numbers {
            let near = before.filter(|before| number - before <= GAP_MAX);
            let from = near.map_or(*number, |before| before + 1);
            if near.is_none() {
                segments.push(Segment { headers: Vec::new() });
            }
            for head in blocks::headers(self, from, *number).await? {
                if let Some(segment) = segments.last_mut() {
                    segment.headers.push(head.encoded.clone());
                }
                if head.number == *number {
                    heads.insert(*number, head);
                }
            }
            before = Some(*number);
        }
        Ok((segments, heads))
    }

    /// What proves what the hub keeps of the task, after that block; nothing if it keeps it in no way that is known.
    async fn state_proof(&self, task: TaskId, block: u64) -> crate::Result<Option<StateProof>> {
        for layout in Layout::ALL {
            let keys: Vec<B256> = layout.slots(task).into_iter().map(B256::from).collect();
            let params = json!([self.hub(), keys, U64::from(block)]);
            let proof: ProofAnswer = self.link().rpc.request("eth_getProof", params).await?;
            let words: Vec<U256> = proof.storage_proof.iter().map(|slot| slot.value).collect();
            if words.len() == keys.len() && layout.tells(&words) {
                let slots = proof.storage_proof.into_iter().map(|slot| slot.proof).collect();
                return Ok(Some(StateProof { layout, account: proof.account_proof, slots }));
            }
        }
        Ok(None)
    }
}

/// Says it as a lack of the node where it does not know the method.
fn lacking(method: &'static str, error: Error) -> ProofError {
    match error.kind() {
        ErrorKind::Refused { .. } => ProofError::Lacks { method, error: error.reason() },
        _ => ProofError::Chain(error),
    }
}

fn unsign(quartet: &mut Quartet) {
    for sign in [
        &mut quartet.app.sign,
        &mut quartet.dataset.sign,
        &mut quartet.workerpool.sign,
        &mut quartet.request.sign,
    ] {
        *sign = alloy_primitives::Bytes::new();
    }
}

#[derive(Debug, Deserialize)]
struct Hashed {
    hash: B256,
}

/// The part of an EIP-1186 answer that is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofAnswer {
    account_proof: Vec<alloy_primitives::Bytes>,
    storage_proof: Vec<SlotProof>,
}

#[derive(Debug, Deserialize)]
struct SlotProof {
    value: U256,
    proof: Vec<alloy_primitives::Bytes>,
}
