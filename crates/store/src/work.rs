//! A worker's journal: what it has promised on chain and not yet finished.

use alloy_primitives::{Address, Bytes};
use primitives::{DealId, ResultDigest, TaskId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::column::{self, Columns};
use crate::{Change, Error, Result, Store};

/// A task that a worker contributed to. Its stake is at risk until the task ends, so everything needed to reveal and
/// upload is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkRow {
    /// Which worker.
    pub worker: Address,
    /// Which task.
    pub task: TaskId,
    /// Of which deal.
    pub deal: DealId,
    /// Its index in the deal's bag.
    pub index: u64,
    /// How far the worker is; the worker's own word.
    pub state: String,
    /// The digest it found.
    pub digest: ResultDigest,
    /// Where the result's archive is on this machine; empty if there is none.
    pub archive: String,
    /// What the callback contract receives; empty without callback.
    pub callback: Bytes,
    /// What an enclave said of the result, in the worker's own form; empty without one.
    pub enclave: Bytes,
    /// Where the result was uploaded to; empty before.
    pub location: String,
    /// When this was written, in milliseconds since 1970.
    pub changed_ms: u64,
}

impl Store {
    /// What that worker has not finished, oldest first.
    pub async fn work_of(&self, worker: Address) -> Result<Vec<WorkRow>> {
        let rows = sqlx::query("SELECT * FROM work WHERE worker = $1 ORDER BY changed_ms, task")
            .bind(column::address(worker))
            .fetch_all(self.pool())
            .await
            .map_err(Error::query("read a worker's journal"))?;
        rows.iter().map(read).collect()
    }

    /// What that worker has noted of a task.
    pub async fn work(&self, worker: Address, task: TaskId) -> Result<Option<WorkRow>> {
        let row = sqlx::query("SELECT * FROM work WHERE worker = $1 AND task = $2")
            .bind(column::address(worker))
            .bind(column::word(task.0))
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read a worker's journal"))?;
        row.as_ref().map(read).transpose()
    }

    /// Notes it, replacing what was noted of the same task.
    pub async fn put_work(&self, row: WorkRow) -> Result<()> {
        self.apply(vec![Change::PutWork(Box::new(row))]).await
    }

    /// Strikes it out.
    pub async fn remove_work(&self, worker: Address, task: TaskId) -> Result<()> {
        self.apply(vec![Change::RemoveWork { worker, task }]).await
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, row: &WorkRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO work (worker, task, deal, task_index, state, digest, archive, callback, \
         location, changed_ms, enclave) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (worker, task) DO UPDATE SET state = excluded.state, \
         digest = excluded.digest, archive = excluded.archive, callback = excluded.callback, \
         location = excluded.location, changed_ms = excluded.changed_ms, \
         enclave = excluded.enclave",
    )
    .bind(column::address(row.worker))
    .bind(column::word(row.task.0))
    .bind(column::word(row.deal.0))
    .bind(column::number("the task's index", row.index)?)
    .bind(row.state.as_str())
    .bind(column::word(row.digest.0))
    .bind(row.archive.as_str())
    .bind(row.callback.to_vec())
    .bind(row.location.as_str())
    .bind(column::number("the time", row.changed_ms)?)
    .bind(row.enclave.to_vec())
    .execute(to)
    .await
    .map_err(Error::query("write a worker's journal"))?;
    Ok(())
}

pub(crate) async fn remove(to: &mut SqliteConnection, worker: Address, task: TaskId) -> Result<()> {
    sqlx::query("DELETE FROM work WHERE worker = $1 AND task = $2")
        .bind(column::address(worker))
        .bind(column::word(task.0))
        .execute(to)
        .await
        .map_err(Error::query("strike out of a worker's journal"))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<WorkRow> {
    let from = Columns(row);
    Ok(WorkRow {
        worker: from.address("worker")?,
        task: TaskId(from.word("task")?),
        deal: DealId(from.word("deal")?),
        index: from.number("task_index")?,
        state: from.text("state")?,
        digest: ResultDigest(from.word("digest")?),
        archive: from.text("archive")?,
        callback: from.bytes("callback")?,
        enclave: from.bytes("enclave")?,
        location: from.text("location")?,
        changed_ms: from.number("changed_ms")?,
    })
}
