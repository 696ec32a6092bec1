//! Making blocks.

use std::{collections::HashSet, sync::Arc};

use alloy_consensus::{
    Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxEnvelope,
    proofs::{calculate_receipt_root, calculate_transaction_root},
};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_primitives::{Address, Bloom, Log};
use revm::{
    DatabaseCommit as _, ExecuteEvm as _,
    context::result::{EVMError, ExecutionResult},
};

use super::Engine;
use crate::{
    Mining, evm,
    feed::{Announced, Event},
    pool::{Rejection, Waiting},
    storage::{Block, BlockHead, MinedTransaction, StorageError},
};

/// Transactions in one block at most.
const BLOCK_TRANSACTIONS_MAX: usize = 4_096;

impl Engine {
    /// Mines until nothing is left that could be mined.
    pub(crate) fn mine_ready(&mut self) -> Result<(), StorageError> {
        while !self.ready(1)?.is_empty() {
            let before = self.shared.pool.lock().len();
            self.mine_block()?;
            // What did not fit the block waits for the next; if nothing moved at all, trying again would not help.
            if self.shared.pool.lock().len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Mines one block of what can be mined, be it nothing.
    pub(crate) fn mine_block(&mut self) -> Result<Arc<Block>, StorageError> {
        let ready = self.ready(BLOCK_TRANSACTIONS_MAX)?;
        self.mine(&ready)
    }

    /// Mines one block of `candidates`, in their order. Those that turn out impossible leave the pool.
    pub(crate) fn mine(&mut self, candidates: &[Arc<Waiting>]) -> Result<Arc<Block>, StorageError> {
        let mut header = self.head.draft();
        header.timestamp = self.head.clock.take(self.head.block.header.timestamp);
        let transactions = match self.execute(&header, candidates) {
            Ok(transactions) => transactions,
            Err(error) => {
                // Half a block may be in the overlay: start again from what is written.
                self.reload()?;
                return Err(error);
            }
        };
        let changes = self.overlay.take_changes();
        seal(&mut header, &transactions);
        let version = self.head.block.version + 1;
        let prune = self.prunable(header.number)?;
        let written = self.database.write(|writer| {
            header.state_root = writer.apply(version, &changes)?;
            let head = BlockHead {
                hash: header.hash_slow(),
                version,
                transactions: transactions.len().try_into().unwrap_or(u32::MAX),
                header,
            };
            let block = Arc::new(Block { head, transactions });
            writer.add_block(&block)?;
            if let Some(oldest) = &prune {
                writer.prune(oldest)?;
            }
            Ok(block)
        });
        let block = match written {
            Ok(block) => block,
            Err(error) => {
                self.reload()?;
                return Err(error);
            }
        };
        self.adopt(block.head.clone())?;
        self.leave_pool(&block);
        let at_once = self.policy.mining == Mining::Instant;
        let announced = if at_once { Announced::No } else { Announced::Yes };
        self.shared.feed.push(Event::Mined(block.clone(), announced));
        Ok(block)
    }

    /// Makes `head`, which is written, the head for everybody.
    pub(super) fn adopt(&mut self, head: BlockHead) -> Result<(), StorageError> {
        let view = self.database.view()?;
        self.overlay.rebase(view.newest());
        self.head.view = view;
        // An edit leaves the block, and what was set for the next one, as they were.
        if head.hash != self.head.block.hash {
            self.head.base_fee = next_base_fee(&head, self.policy.min_base_fee);
        }
        self.head.block = head;
        self.shared.set_head(self.head.clone());
        Ok(())
    }

    /// Forgets everything that is not written.
    pub(super) fn reload(&mut self) -> Result<(), StorageError> {
        self.overlay = evm::Overlay::new(self.database.view()?.newest());
        Ok(())
    }

    fn ready(&mut self, max: usize) -> Result<Vec<Arc<Waiting>>, StorageError> {
        let pool = self.shared.pool.lock();
        pool.ready(max, |sender| Ok(self.overlay.account(sender)?.nonce))
    }

    fn execute(
        &mut self,
        header: &alloy_consensus::Header,
        candidates: &[Arc<Waiting>],
    ) -> Result<Vec<MinedTransaction>, StorageError> {
        let mut mined: Vec<MinedTransaction> = Vec::with_capacity(candidates.len());
        let mut skipped: HashSet<Address> = HashSet::new();
        let (mut gas_used, mut logs_so_far) = (0u64, 0u64);
        let mut evm =
            evm::for_blocks(&mut self.overlay, self.shared.chain_id, evm::block_env(header));
        for candidate in candidates {
            let sender = candidate.tx.signer();
            if skipped.contains(&sender) {
                continue;
            }
            if gas_used.saturating_add(candidate.tx.gas_limit()) > header.gas_limit && gas_used > 0
            {
                break;
            }
            let outcome = match evm.transact(evm::tx_env(&candidate.tx)) {
                Ok(outcome) => outcome,
                Err(EVMError::Database(error)) => return Err(error),
                Err(error) => {
                    skipped.insert(sender);
                    let rejection = Rejection::of(&candidate.tx, &error, header);
                    self.dropped.insert(candidate.hash(), rejection);
                    self.shared.pool.lock().remove(&candidate.hash());
                    continue;
                }
            };
            evm.ctx.journaled_state.database.commit(outcome.state);
            let result = outcome.result;
            let tx_gas = result.tx_gas_used();
            gas_used += tx_gas;
            let success = result.is_success();
            let logs = logs_of(result);
            let first_log = logs_so_far;
            logs_so_far += u64::try_from(logs.len()).unwrap_or(u64::MAX);
            mined.push(MinedTransaction {
                tx: candidate.tx.clone(),
                success,
                gas_used: tx_gas,
                cumulative_gas: gas_used,
                first_log,
                logs,
            });
        }
        Ok(mined)
    }

    fn leave_pool(&mut self, block: &Block) {
        let mut pool = self.shared.pool.lock();
        for tx in &block.transactions {
            pool.remove(&tx.hash());
        }
        for tx in &block.transactions {
            pool.forget_below(tx.tx.signer(), tx.tx.nonce() + 1);
        }
    }

    /// The block whose state becomes the oldest that can be told, once the block of that number is mined.
    fn prunable(&self, number: u64) -> Result<Option<BlockHead>, StorageError> {
        let Some(mut oldest) = number.checked_sub(self.policy.history) else {
            return Ok(None);
        };
        // Going back to a snapshot needs the history since then.
        if let Some(held) = self.snapshots.values().map(|it| it.number).min() {
            oldest = oldest.min(held);
        }
        self.head.view.block(oldest)
    }
}

/// The base fee after `head`, by EIP-1559 but never below `min`.
pub(crate) fn next_base_fee(head: &BlockHead, min: u64) -> u64 {
    let header = &head.header;
    let fee = calc_next_block_base_fee(
        header.gas_used,
        header.gas_limit,
        head.base_fee(),
        BaseFeeParams::ethereum(),
    );
    fee.max(min)
}

/// Fills in what a header says of its transactions.
fn seal(header: &mut alloy_consensus::Header, transactions: &[MinedTransaction]) {
    let envelopes: Vec<TxEnvelope> = transactions.iter().map(|it| it.tx.inner().clone()).collect();
    let receipts: Vec<ReceiptEnvelope> = transactions.iter().map(receipt).collect();
    header.transactions_root = calculate_transaction_root(&envelopes);
    header.receipts_root = calculate_receipt_root(&receipts);
    header.logs_bloom =
        receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
    header.gas_used = transactions.last().map_or(0, |it| it.cumulative_gas);
}

fn receipt(mined: &MinedTransaction) -> ReceiptEnvelope {
    let receipt: ReceiptWithBloom<Receipt<Log>> = Receipt {
        status: Eip658Value::Eip658(mined.success),
        cumulative_gas_used: mined.cumulative_gas,
        logs: mined.logs.clone(),
    }
    .with_bloom();
    ReceiptEnvelope::from_typed(mined.tx.tx_type(), receipt)
}

fn logs_of(result: ExecutionResult) -> Vec<Log> {
    match result {
        ExecutionResult::Success { logs, .. } => logs,
        ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
    }
}
