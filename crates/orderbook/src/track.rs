//! How tasks ended, workerpool by workerpool.
//!
//! ```text
//! matched ─► Tasks: whose task is it, and since when ─┐
//! finalized, claimed ─────────────────────────────────┴─► outcomes, written with the cursor
//! ```
//!
//! Of a task whose deal was made before the book was started, or when there was no room, the chain is asked. Only what the
//! chain says counts, so a workerpool can neither improve its record nor spoil another's without paying for tasks.

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Address, U256};
use chain::MarketEvent;
use orders::task_id;
use parking_lot::Mutex;
use primitives::TaskId;
use store::{DealRow, OutcomeRow, Store};
use wire::market::TrackRecord;

use crate::Error;
use crate::ledger::{Block, Ledger};

/// Tasks under way of which is remembered whose they are.
const TASKS_MAX: usize = 65_536;
/// Workerpools of which is remembered how they do.
const WORKERPOOLS_MAX: usize = 16_384;

/// Whose a task is, and when its deal was made, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Origin {
    workerpool: Address,
    since: u64,
}

/// What is remembered of tasks and workerpools; all of it can be had again from the chain and the store.
pub(crate) struct Track {
    tasks: Mutex<HashMap<TaskId, Origin>>,
    /// Workerpools that have outcomes in the store; nothing until it was looked, or when they are too many.
    workerpools: Mutex<Option<HashSet<Address>>>,
    track_records: Mutex<HashMap<Address, TrackRecord>>,
}

/// A task that ended in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    task: TaskId,
    block: u64,
    time: u64,
    completed: bool,
}

impl Track {
    pub(crate) async fn open(store: &Store) -> Result<Self, Error> {
        let known = store.workerpools_with_outcomes(WORKERPOOLS_MAX as u64 + 1).await?;
        let known = (known.len() <= WORKERPOOLS_MAX).then(|| known.into_iter().collect());
        Ok(Self {
            tasks: Mutex::default(),
            workerpools: Mutex::new(known),
            track_records: Mutex::default(),
        })
    }

    /// A deal was made: its tasks are under way.
    pub(crate) fn begin(&self, deal: &DealRow) {
        let mut tasks = self.tasks.lock();
        let room = TASKS_MAX.saturating_sub(tasks.len()) as u64;
        let origin = Origin { workerpool: deal.workerpool.pointer, since: deal.start_time };
        for number in 0..room.min(deal.bot_size.saturating_to()) {
            let index = deal.bot_first.saturating_add(U256::from(number));
            tasks.insert(task_id(deal.id, index), origin);
        }
    }

    /// The rows of tasks that ended.
    pub(crate) async fn outcomes(
        &self,
        ledger: &dyn Ledger,
        ended: &[Ended],
    ) -> Result<Vec<OutcomeRow>, Error> {
        let mut rows = Vec::new();
        for ended in ended {
            let known = self.tasks.lock().get(&ended.task).copied();
            let origin = match known {
                Some(origin) => origin,
                None => {
                    let deal = ledger.deal(ledger.deal_of(ended.task).await?).await?;
                    Origin { workerpool: deal.workerpool.pointer, since: deal.start.0 }
                }
            };
            rows.push(OutcomeRow {
                task: ended.task,
                workerpool: origin.workerpool,
                block_number: ended.block,
                completed: ended.completed,
                latency_s: ended.time.saturating_sub(origin.since),
            });
        }
        Ok(rows)
    }

    /// What was written changes what is known.
    pub(crate) fn ended(&self, rows: &[OutcomeRow]) {
        let mut tasks = self.tasks.lock();
        let mut workerpools = self.workerpools.lock();
        let mut track_records = self.track_records.lock();
        for row in rows {
            tasks.remove(&row.task);
            track_records.remove(&row.workerpool);
            if let Some(known) = workerpools.as_mut() {
                known.insert(row.workerpool);
            }
        }
        if workerpools.as_ref().is_some_and(|known| known.len() > WORKERPOOLS_MAX) {
            *workerpools = None;
        }
    }

    /// The chain was rewound: what was remembered may never have been.
    pub(crate) fn forget(&self) {
        self.tasks.lock().clear();
        self.track_records.lock().clear();
    }

    /// How the last tasks of a workerpool ended; nothing if none has.
    pub(crate) async fn track_record(
        &self,
        store: &Store,
        workerpool: Address,
    ) -> Result<Option<TrackRecord>, Error> {
        let unknown =
            self.workerpools.lock().as_ref().is_some_and(|known| !known.contains(&workerpool));
        if unknown {
            return Ok(None);
        }
        let known = self.track_records.lock().get(&workerpool).copied();
        if let Some(known) = known {
            return Ok(told(known));
        }
        let record = store.track_record(workerpool).await?;
        let track_record = TrackRecord {
            completed: record.completed,
            failed: record.failed,
            median_latency_s: record.median_latency_s,
        };
        let mut track_records = self.track_records.lock();
        if track_records.len() >= WORKERPOOLS_MAX {
            track_records.clear();
        }
        track_records.insert(workerpool, track_record);
        Ok(told(track_record))
    }
}

/// The tasks that ended in those blocks.
pub(crate) fn ended(blocks: &[Block]) -> Vec<Ended> {
    let mut ended = Vec::new();
    for block in blocks {
        for event in &block.events {
            let (task, completed) = match event.event {
                MarketEvent::Finalized { task, .. } => (task, true),
                MarketEvent::Claimed { task } => (task, false),
                _ => continue,
            };
            ended.push(Ended { task, block: block.at.number, time: block.time.0, completed });
        }
    }
    ended
}

fn told(track_record: TrackRecord) -> Option<TrackRecord> {
    (track_record != TrackRecord::default()).then_some(track_record)
}
