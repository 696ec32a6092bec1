//! Blocks: when transactions are executed, what was logged, and what is taken back.
//!
//! A block is made at the next beat of the interval once something waits for it. Dear gas makes transactions wait. A
//! reorganisation goes back to a block that was marked when it was made; its successors' transactions wait again.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::hub::{Call, Fact, Hub, Log, Tx};

/// A log with its place.
#[derive(Debug, Clone, Copy)]
pub struct Logged {
    /// In which block.
    pub block: u32,
    /// When, in seconds.
    pub at: u64,
    /// The task; the deal for [`Fact::Matched`].
    pub about: u32,
    /// What.
    pub fact: Fact,
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub struct Mined {
    /// In which block.
    pub block: u32,
    /// When, in seconds.
    pub at: u64,
    /// Which.
    pub tx: Tx,
    /// Whether the hub accepted it.
    pub accepted: bool,
}

/// Blocks up to that one stand; what came after never was.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The last block that stands.
    pub block: u32,
    /// How much of each pool's log stands.
    pub kept: Vec<usize>,
}

#[derive(Debug)]
struct Mark {
    block: u32,
    hub: Hub,
    mined: usize,
}

/// The chain.
#[derive(Debug)]
pub struct Chain {
    /// As of the last block.
    pub hub: Hub,
    /// The last block's number.
    pub height: u32,
    /// What was logged, by pool.
    pub logs: Vec<Vec<Logged>>,
    /// Reorganisations so far.
    pub forks: Vec<Fork>,
    /// All that was executed and stands.
    pub mined: Vec<Mined>,
    block_ms: u64,
    /// By when they are ready, in ms, and by their number in the order in which they came.
    waiting: BTreeMap<(u64, u64), Tx>,
    submitted: u64,
    mark: Option<Mark>,
    scratch: Vec<Log>,
}

/// How long a sender takes to see that its transaction was dropped, and to send it again.
const RESEND_MS: u64 = 15_000;
/// Of dropped blocks, the transactions that do not come back by themselves.
const DROPPED_PPM: u32 = 100_000;

impl Chain {
    /// A chain with a hub for that many pools, with a block every so often.
    pub fn new(hub: Hub, pools: usize, block_ms: u64) -> Self {
        Self {
            hub,
            height: 0,
            logs: vec![Vec::new(); pools],
            forks: Vec::new(),
            mined: Vec::new(),
            block_ms: block_ms.max(1),
            waiting: BTreeMap::new(),
            submitted: 0,
            mark: None,
            scratch: Vec::new(),
        }
    }

    /// Takes a transaction that may be in a block from `ready_ms` on.
    pub fn submit(&mut self, tx: Tx, ready_ms: u64) {
        self.submitted += 1;
        self.waiting.insert((ready_ms, self.submitted), tx);
    }

    /// Whether that transaction waits for a block.
    pub fn is_waiting(&self, tx: &Tx) -> bool {
        self.waiting.values().any(|waiting| waiting == tx)
    }

    /// When the next block is due, if anything waits for one.
    pub fn next_block_ms(&self) -> Option<u64> {
        let (ready, _) = *self.waiting.keys().next()?;
        Some(ready.div_ceil(self.block_ms) * self.block_ms)
    }

    /// Makes a block of what is ready at that time. How many transactions it holds.
    pub fn mine(&mut self, now_ms: u64, pool_of: impl Fn(&Hub, &Log) -> usize) -> usize {
        let at = now_ms / 1_000;
        let before = self.mined.len();
        // Whatever is ready goes in as it came.
        let later = self.waiting.split_off(&(now_ms + 1, 0));
        let ready = std::mem::replace(&mut self.waiting, later);
        let mut ready: Vec<_> = ready.into_iter().map(|((_, number), tx)| (number, tx)).collect();
        ready.sort_unstable_by_key(|(number, _)| *number);
        self.height += u32::from(!ready.is_empty());
        for (_, tx) in ready {
            self.scratch.clear();
            let accepted = self.hub.execute(at, &tx, &mut self.scratch).is_ok();
            self.mined.push(Mined { block: self.height, at, tx, accepted });
            for log in &self.scratch {
                let (about, fact) = *log;
                let pool = pool_of(&self.hub, log);
                self.logs[pool].push(Logged { block: self.height, at, about, fact });
            }
        }
        self.mined.len() - before
    }

    /// Marks the last block as the one that a reorganisation will go back to.
    pub fn mark(&mut self) {
        self.mark =
            Some(Mark { block: self.height, hub: self.hub.clone(), mined: self.mined.len() });
    }

    /// Goes back to the marked block. `false` if there is nothing to take back.
    pub fn reorganise(&mut self, now_ms: u64, chance: &mut Chance) -> bool {
        let Some(mark) = self.mark.take() else { return false };
        if mark.mined == self.mined.len() {
            return false;
        }
        self.hub = mark.hub;
        self.height = mark.block + 1;
        for mined in self.mined.split_off(mark.mined) {
            let late = if chance.happens(DROPPED_PPM) { RESEND_MS } else { 0 };
            let wait = late + chance.below(3 * self.block_ms);
            self.submit(mined.tx, now_ms + wait);
        }
        let mut kept = Vec::with_capacity(self.logs.len());
        for log in &mut self.logs {
            log.truncate(log.partition_point(|logged| logged.block <= mark.block));
            kept.push(log.len());
        }
        self.forks.push(Fork { block: mark.block, kept });
        true
    }
}

impl Call {
    /// Which task it is about, if it is about one; of many the first.
    pub fn task(&self) -> Option<u32> {
        match *self {
            Self::Match(_) => None,
            Self::Settle { ref items, .. } => items.first().map(|(task, _)| *task),
            Self::Initialize(task)
            | Self::Contribute { task, .. }
            | Self::Reveal { task, .. }
            | Self::Finalize(task)
            | Self::Alone { task, .. }
            | Self::Reopen(task)
            | Self::Claim(task) => Some(task),
        }
    }
}
