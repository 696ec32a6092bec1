//! What must survive a restart: contributions whose stake is at risk, and what it takes to reveal and upload.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use primitives::{Nrlc, TaskId};
use store::{Store, WorkRow};

use crate::table::{Assignment, Finding};

/// The one state of a row: whether the contribution arrived and was revealed, the chain knows better.
const CONTRIBUTED: &str = "contributed";

/// A row.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) task: TaskId,
    pub(crate) finding: Finding,
    /// How long ago it was written.
    pub(crate) age: Duration,
}

/// One worker's journal.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    store: Store,
    worker: Address,
}

impl Journal {
    pub(crate) fn new(store: Store, worker: Address) -> Self {
        Self { store, worker }
    }

    /// Notes it. When this returns it survives the process.
    pub(crate) async fn note(&self, task: TaskId, finding: &Finding) -> Result<(), store::Error> {
        let row = WorkRow {
            worker: self.worker,
            task,
            deal: finding.assignment.deal,
            index: finding.assignment.index,
            state: CONTRIBUTED.to_owned(),
            digest: finding.digest,
            archive: finding.archive.to_string_lossy().into_owned(),
            callback: finding.callback_data.clone(),
            location: String::new(),
            changed_ms: now_ms(),
        };
        self.store.put_work(row).await
    }

    /// Strikes it out. A row that stays is found and judged at the next start.
    pub(crate) async fn strike(&self, task: TaskId) {
        if let Err(error) = self.store.remove_work(self.worker, task).await {
            tracing::warn!(%task, %error, "a finished task stays in the journal");
        }
    }

    /// All that is noted.
    pub(crate) async fn all(&self) -> Result<Vec<Row>, store::Error> {
        let rows = self.store.work_of(self.worker).await?;
        let now = now_ms();
        let read = |row: WorkRow| Row {
            task: row.task,
            age: Duration::from_millis(now.saturating_sub(row.changed_ms)),
            finding: finding(row),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}

fn finding(row: WorkRow) -> Finding {
    Finding {
        assignment: Assignment { deal: row.deal, index: row.index },
        digest: row.digest,
        archive: PathBuf::from(row.archive),
        callback: Address::ZERO,
        callback_data: row.callback,
        // Only those are noted that need others.
        needs_one: false,
        stake: Nrlc::ZERO,
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
