//! Blocks, transactions and state.

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag, FeeHistory};
use serde_json::{Value, json};

use super::{Answer, RequestError, Rpc, answer, nothing, params::Params, quantity, shapes};
use crate::{
    shared::Head,
    storage::{BlockHead, MinedTransaction, StateAt},
};

/// What clients are told to tip. Nobody competes for blocks here.
pub(super) const PRIORITY_FEE: U64 = U64::ZERO;

/// Blocks that one fee history may span, as in geth.
const FEE_HISTORY_MAX: u64 = 1_024;

/// Slots that one proof may be about.
const PROOF_SLOTS_MAX: usize = 1_024;

impl Rpc {
    pub(super) fn get_block(&self, name: &str, params: &Params) -> Answer {
        let full = params.opt::<bool>(1)?.unwrap_or_default();
        let head = self.head();
        let block = if name == "getBlockByHash" {
            self.find_hash(&head, params.get(0)?)?
        } else {
            let tag: BlockNumberOrTag = params.get(0)?;
            if tag == BlockNumberOrTag::Pending {
                return self.pending_block(&head, full);
            }
            self.find_block(&head, tag.into())?
        };
        match block {
            Some(block) => {
                let transactions = head.view.transactions(block.header.number)?;
                answer(shapes::block(&block, transactions, full))
            }
            None => nothing(),
        }
    }

    pub(super) fn get_block_receipts(&self, params: &Params) -> Answer {
        let head = self.head();
        let Some(block) = self.find_block(&head, params.get(0)?)? else { return nothing() };
        let transactions = head.view.transactions(block.header.number)?;
        let receipts =
            (0u64..).zip(&transactions).map(|(index, tx)| shapes::receipt(&block, index, tx));
        answer(receipts.collect::<Vec<_>>())
    }

    pub(super) fn get_block_transaction_count(&self, params: &Params) -> Answer {
        let head = self.head();
        match self.find_block(&head, params.get(0)?)? {
            Some(block) => quantity(block.transactions.into()),
            None => nothing(),
        }
    }

    pub(super) fn get_transaction(&self, params: &Params) -> Answer {
        let hash: B256 = params.get(0)?;
        if let Some((block, index, mined)) = self.find_transaction(&hash)? {
            return answer(shapes::transaction(&block, index.into(), mined.tx));
        }
        match self.shared().pool.lock().get(&hash) {
            Some(waiting) => answer(shapes::waiting(waiting.tx.clone())),
            None => nothing(),
        }
    }

    pub(super) fn get_raw_transaction(&self, params: &Params) -> Answer {
        let hash: B256 = params.get(0)?;
        if let Some((_, _, mined)) = self.find_transaction(&hash)? {
            return answer(Bytes::from(mined.tx.encoded_2718()));
        }
        match self.shared().pool.lock().get(&hash) {
            Some(waiting) => answer(Bytes::from(waiting.tx.encoded_2718())),
            None => nothing(),
        }
    }

    pub(super) fn get_transaction_in_block(&self, params: &Params) -> Answer {
        let head = self.head();
        let index = params.number(1)?;
        let Some(block) = self.find_block(&head, params.get(0)?)? else { return nothing() };
        let Ok(position) = u32::try_from(index) else { return nothing() };
        match head.view.transaction(block.header.number, position)? {
            Some(mined) => answer(shapes::transaction(&block, index, mined.tx)),
            None => nothing(),
        }
    }

    pub(super) fn get_receipt(&self, params: &Params) -> Answer {
        match self.find_transaction(&params.get(0)?)? {
            Some((block, index, mined)) => answer(shapes::receipt(&block, index.into(), &mined)),
            None => nothing(),
        }
    }

    pub(super) fn get_balance(&self, params: &Params) -> Answer {
        let account = self.state(params.opt(1)?)?.account(params.get(0)?)?;
        answer(account.unwrap_or_default().balance)
    }

    pub(super) fn get_transaction_count(&self, params: &Params) -> Answer {
        let address: Address = params.get(0)?;
        let id: Option<BlockId> = params.opt(1)?;
        self.shared().nonce_requests.note(address);
        let nonce = self.state(id)?.account(address)?.unwrap_or_default().nonce;
        match id {
            Some(BlockId::Number(BlockNumberOrTag::Pending)) => {
                quantity(self.shared().pool.lock().next_nonce(address, nonce))
            }
            _ => quantity(nonce),
        }
    }

    pub(super) fn get_code(&self, params: &Params) -> Answer {
        answer(self.state(params.opt(1)?)?.code_of(params.get(0)?)?)
    }

    pub(super) fn get_storage_at(&self, params: &Params) -> Answer {
        let value = self.state(params.opt(2)?)?.slot(params.get(0)?, params.get::<U256>(1)?)?;
        answer(B256::from(value))
    }

    pub(super) async fn get_proof(&self, params: &Params) -> Answer {
        let address: Address = params.get(0)?;
        let keys: Vec<Value> = params.get(1)?;
        if keys.len() > PROOF_SLOTS_MAX {
            let many = format!("more than {PROOF_SLOTS_MAX} storage keys in one request");
            return Err(RequestError::params(many));
        }
        let state = self.state(params.opt(2)?)?;
        self.heavily(move |_| proof_of(&state, address, &keys)).await
    }

    pub(super) fn gas_price(&self) -> Answer {
        answer(U256::from(self.head().base_fee).saturating_add(U256::from(PRIORITY_FEE)))
    }

    pub(super) fn fee_history(&self, params: &Params) -> Answer {
        let head = self.head();
        let newest = self.need_block(&head, Some(params.get::<BlockNumberOrTag>(1)?.into()))?;
        let percentiles: Vec<f64> = params.opt(2)?.unwrap_or_default();
        if percentiles.len() > 100
            || percentiles.iter().any(|it| !(0.0..=100.0).contains(it))
            || percentiles.windows(2).any(|pair| pair[0] > pair[1])
        {
            return Err(RequestError::params("invalid reward percentiles"));
        }
        let last = newest.header.number;
        let count = params.number(0)?.min(FEE_HISTORY_MAX).min(last + 1);
        let mut history = FeeHistory { oldest_block: last + 1 - count, ..FeeHistory::default() };
        let mut rewards = Vec::new();
        for number in history.oldest_block..=last {
            let block = self.need_block(&head, Some(number.into()))?;
            history.base_fee_per_gas.push(block.base_fee().into());
            history.gas_used_ratio.push(ratio(block.header.gas_used, block.header.gas_limit));
            if !percentiles.is_empty() {
                rewards.push(reward(&block, &head.view.transactions(number)?, &percentiles));
            }
        }
        let next = self.find_block(&head, (last + 1).into())?;
        history.base_fee_per_gas.push(next.map_or(head.base_fee, |it| it.base_fee()).into());
        history.base_fee_per_blob_gas = vec![1; history.base_fee_per_gas.len()];
        history.blob_gas_used_ratio = vec![0.0; history.gas_used_ratio.len()];
        history.reward = (!percentiles.is_empty()).then_some(rewards);
        answer(history)
    }

    /// The state that `id` means.
    pub(super) fn state(&self, id: Option<BlockId>) -> Result<StateAt, RequestError> {
        let head = self.head();
        let block = self.need_block(&head, id)?;
        Ok(head.view.after(&block)?)
    }

    pub(super) fn find_transaction(
        &self,
        hash: &B256,
    ) -> Result<Option<(BlockHead, u32, MinedTransaction)>, RequestError> {
        let view = &self.head().view;
        let Some((number, index)) = view.location(hash)? else { return Ok(None) };
        let (block, mined) = (view.block(number)?, view.transaction(number, index)?);
        Ok(block.zip(mined).map(|(block, mined)| (block, index, mined)))
    }

    /// The next block as far as it is known: what waits for it, and nothing that comes of it.
    fn pending_block(&self, head: &Head, full: bool) -> Answer {
        let draft =
            BlockHead { hash: B256::ZERO, version: 0, transactions: 0, header: head.draft() };
        let waiting = self.shared().pool.lock().all();
        let mut block = shapes::block(&draft, Vec::new(), full);
        block.transactions = if full {
            alloy_rpc_types_eth::BlockTransactions::Full(
                waiting.iter().map(|it| shapes::waiting(it.tx.clone())).collect(),
            )
        } else {
            alloy_rpc_types_eth::BlockTransactions::Hashes(
                waiting.iter().map(|it| it.hash()).collect(),
            )
        };
        let unwritable = |error: serde_json::Error| RequestError::internal(error.to_string());
        let mut block = serde_json::to_value(block).map_err(unwritable)?;
        for unknown in ["hash", "nonce", "logsBloom"] {
            block[unknown] = Value::Null;
        }
        answer(block)
    }
}

/// As EIP-1186 has it; keys come back in the spelling they were asked in.
fn proof_of(state: &StateAt, address: Address, keys: &[Value]) -> Answer {
    let slot = |key: &Value| serde_json::from_value::<U256>(key.clone());
    let slots = keys.iter().map(slot).collect::<Result<Vec<_>, _>>();
    let slots = slots.map_err(|error| RequestError::params(error.to_string()))?;
    let account = state.account(address)?.unwrap_or_default();
    let proofs = state.prove(address, &slots)?;
    let mut storage = Vec::with_capacity(keys.len());
    for ((key, slot), proof) in keys.iter().zip(slots).zip(proofs.slots) {
        storage.push(json!({ "key": key, "value": state.slot(address, slot)?, "proof": proof }));
    }
    answer(json!({
        "address": address,
        "balance": account.balance,
        "codeHash": account.code_hash,
        "nonce": U64::from(account.nonce),
        "storageHash": proofs.storage_root,
        "accountProof": proofs.account,
        "storageProof": storage,
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people and fee estimators")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The tips paid in a block at each percentile of its gas.
fn reward(block: &BlockHead, transactions: &[MinedTransaction], percentiles: &[f64]) -> Vec<u128> {
    let mut tips: Vec<(u128, u64)> = transactions
        .iter()
        .map(|it| (it.tx.effective_tip_per_gas(block.base_fee()).unwrap_or_default(), it.gas_used))
        .collect();
    tips.sort_unstable();
    let mut rewards = Vec::with_capacity(percentiles.len());
    for percentile in percentiles {
        let mut passed = 0u64;
        let found = tips.iter().find(|(_, gas)| {
            passed = passed.saturating_add(*gas);
            ratio(passed, block.header.gas_used) * 100.0 >= *percentile
        });
        rewards.push(found.or(tips.last()).map_or(0, |(tip, _)| *tip));
    }
    rewards
}
