//! Going back: snapshots, and reorganisations on purpose.

use std::sync::Arc;

use alloy_consensus::{TxEnvelope, transaction::Recovered};

use super::Engine;
use crate::{
    clock::Clock,
    feed::Event,
    pool::Pool,
    storage::{Block, BlockHead, StorageError},
};

/// Snapshots that may be held at once. Each keeps the history since then from being cut.
const SNAPSHOTS_MAX: usize = 1_024;
/// Blocks whose removal is announced, newest first. Going further back is somebody resetting a test, not a reorganisation.
const ANNOUNCED_MAX: u64 = 256;

/// A moment to go back to.
pub(super) struct Snapshot {
    pub(super) number: u64,
    version: u64,
    clock: Clock,
    gas_limit: u64,
    pool: Pool,
}

/// Why the chain cannot go back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewindError {
    #[error("too many snapshots are held ({SNAPSHOTS_MAX}); revert to one of them first")]
    TooManySnapshots,
    #[error("depth {depth} goes beyond the first block; the chain has {have} blocks")]
    TooDeep { depth: u64, have: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Engine {
    /// Remembers this moment. Returns its number.
    pub(crate) fn snapshot(&mut self) -> Result<u64, RewindError> {
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            return Err(RewindError::TooManySnapshots);
        }
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        let snapshot = Snapshot {
            number: self.head.block.header.number,
            version: self.head.block.version,
            clock: self.head.clock,
            gas_limit: self.head.gas_limit,
            pool: self.shared.pool.lock().clone(),
        };
        self.snapshots.insert(id, snapshot);
        Ok(id)
    }

    /// Goes back to a remembered moment, which is forgotten with all later ones. Says whether there was such a moment.
    pub(crate) fn revert(&mut self, id: u64) -> Result<bool, RewindError> {
        let mut later = self.snapshots.split_off(&id);
        let Some(snapshot) = later.remove(&id) else {
            self.snapshots.append(&mut later);
            return Ok(false);
        };
        self.rewind(snapshot.number, snapshot.version)?;
        self.head.clock = snapshot.clock;
        self.head.gas_limit = snapshot.gas_limit;
        self.shared.set_head(self.head.clone());
        *self.shared.pool.lock() = snapshot.pool;
        Ok(true)
    }

    /// Takes the last `depth` blocks off. Their transactions are gone, as if never sent.
    pub(crate) fn rollback(&mut self, depth: u64) -> Result<(), RewindError> {
        let have = self.head.block.header.number;
        let Some(number) = have.checked_sub(depth) else {
            return Err(RewindError::TooDeep { depth, have });
        };
        let Some(target) = self.head.view.block(number)? else {
            return Err(RewindError::TooDeep { depth, have });
        };
        // Refuses when the history needed is gone.
        self.head.view.after(&target)?;
        self.snapshots.retain(|_, it| it.number <= number);
        self.rewind(number, target.version)?;
        Ok(())
    }

    /// Replaces the last `depth` blocks by as many others, which hold what `transactions` gives for each of them.
    pub(crate) fn reorg(
        &mut self,
        depth: u64,
        transactions: Vec<Vec<Recovered<TxEnvelope>>>,
    ) -> Result<(), RewindError> {
        self.rollback(depth)?;
        self.head.salt = self.head.salt.wrapping_add(1);
        let mut transactions = transactions.into_iter();
        for _ in 0..depth {
            for tx in transactions.next().unwrap_or_default() {
                let account = self.overlay.account(tx.signer())?;
                let terms = self.head.terms(self.shared.chain_id);
                if let Err(rejection) = self.shared.pool.lock().add(tx, &account, terms) {
                    tracing::warn!(%rejection, "a transaction was left out of a reorganisation");
                }
            }
            self.mine_block()?;
        }
        Ok(())
    }

    fn rewind(&mut self, number: u64, version: u64) -> Result<(), StorageError> {
        let removed = self.announced_after(number)?;
        let Some(mut target) = self.head.view.block(number)? else {
            return Err(StorageError::Corrupt(format!("block {number} is missing")));
        };
        target.version = version;
        self.database.write(|writer| {
            writer.rewind(number, version)?;
            writer.put_head(&target)
        })?;
        self.reload()?;
        self.forget_impossible(target)?;
        for block in removed {
            self.shared.feed.push(Event::Removed(block));
        }
        Ok(())
    }

    fn forget_impossible(&mut self, target: BlockHead) -> Result<(), StorageError> {
        self.adopt(target)?;
        self.shared.pool.lock().clear();
        Ok(())
    }

    /// The blocks after `number`, newest first, of which listeners should hear that they are gone.
    fn announced_after(&self, number: u64) -> Result<Vec<Arc<Block>>, StorageError> {
        let view = &self.head.view;
        let newest = view.head_number();
        let oldest = (number + 1).max(newest.saturating_sub(ANNOUNCED_MAX));
        let mut blocks = Vec::new();
        for number in (oldest..=newest).rev() {
            if let Some(head) = view.block(number)? {
                let transactions = view.transactions(number)?;
                blocks.push(Arc::new(Block { head, transactions }));
            }
        }
        Ok(blocks)
    }
}
