//! What became of the last tasks of each workerpool.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use primitives::TaskId;
use sqlx::SqliteConnection;

use crate::column::{self, Columns};
use crate::{Error, Result, Store};

/// Tasks of a workerpool that are remembered; of the block in which the oldest of them ended, all are.
const TASKS_MAX: i64 = 1_000;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeRow {
    /// Which task.
    pub task: TaskId,
    /// Whose.
    pub workerpool: Address,
    /// The block in which it ended.
    pub block_number: u64,
    /// Whether it was finalized rather than claimed.
    pub completed: bool,
    /// How long after its deal it ended, in seconds.
    pub latency_s: u64,
}

/// How the last tasks of a workerpool ended: about a thousand of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackRecord {
    /// Finalized.
    pub completed: u64,
    /// Claimed: not done in time, and refunded.
    pub failed: u64,
    /// Half of those finalized took no longer, in seconds.
    pub median_latency_s: Option<u64>,
}

impl Store {
    /// How the last tasks of that workerpool ended.
    pub async fn track_record(&self, workerpool: Address) -> Result<TrackRecord> {
        let unread = || Error::query("read how tasks ended");
        let row = sqlx::query(
            "SELECT COALESCE(SUM(completed), 0) AS completed, COUNT(*) AS ended FROM outcomes \
             WHERE workerpool = $1",
        )
        .bind(column::address(workerpool))
        .fetch_one(self.pool())
        .await
        .map_err(unread())?;
        let (completed, ended) =
            (Columns(&row).number("completed")?, Columns(&row).number("ended")?);
        let middle = column::number("tasks", completed.saturating_sub(1) / 2)?;
        let row = sqlx::query(
            "SELECT latency_s FROM outcomes WHERE workerpool = $1 AND completed = 1 \
             ORDER BY latency_s LIMIT 1 OFFSET $2",
        )
        .bind(column::address(workerpool))
        .bind(middle)
        .fetch_optional(self.pool())
        .await
        .map_err(unread())?;
        let median_latency_s = row.map(|row| Columns(&row).number("latency_s")).transpose()?;
        Ok(TrackRecord { completed, failed: ended.saturating_sub(completed), median_latency_s })
    }

    /// Workerpools of which it is known how tasks ended, at most so many.
    pub async fn workerpools_with_outcomes(&self, limit: u64) -> Result<Vec<Address>> {
        let rows = sqlx::query("SELECT DISTINCT workerpool FROM outcomes LIMIT +$1")
            .bind(column::number("limit", limit)?)
            .fetch_all(self.pool())
            .await
            .map_err(Error::query("read whose tasks ended"))?;
        rows.iter().map(|row| Columns(row).address("workerpool")).collect()
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, rows: &[OutcomeRow]) -> Result<()> {
    for row in rows {
        sqlx::query(
            "INSERT INTO outcomes (task, workerpool, block_number, completed, latency_s) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (task) DO UPDATE SET \
             block_number = excluded.block_number, completed = excluded.completed, \
             latency_s = excluded.latency_s",
        )
        .bind(column::word(row.task.0))
        .bind(column::address(row.workerpool))
        .bind(column::number("the block number", row.block_number)?)
        .bind(i64::from(row.completed))
        .bind(column::number("how long a task took", row.latency_s)?)
        .execute(&mut *to)
        .await
        .map_err(Error::query("write how a task ended"))?;
    }
    let workerpools: BTreeSet<_> = rows.iter().map(|row| row.workerpool).collect();
    for workerpool in workerpools {
        sqlx::query(
            "DELETE FROM outcomes WHERE workerpool = $1 AND block_number < (SELECT block_number \
             FROM outcomes WHERE workerpool = $1 ORDER BY block_number DESC LIMIT 1 OFFSET $2)",
        )
        .bind(column::address(workerpool))
        .bind(TASKS_MAX - 1)
        .execute(&mut *to)
        .await
        .map_err(Error::query("forget how tasks ended long ago"))?;
    }
    Ok(())
}

pub(crate) async fn forget_after(to: &mut SqliteConnection, block: u64) -> Result<()> {
    sqlx::query("DELETE FROM outcomes WHERE block_number > $1")
        .bind(column::number("the block number", block)?)
        .execute(to)
        .await
        .map_err(Error::query("forget rewound outcomes"))?;
    Ok(())
}
