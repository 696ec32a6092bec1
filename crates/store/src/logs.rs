//! What programs printed, piece by piece, kept for those who bought the runs.

use alloy_primitives::Address;
use primitives::TaskId;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::column::{self, Columns};
use crate::{Error, Result, Store};

/// A piece of what a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Whose scheduler keeps it.
    pub workerpool: Address,
    /// Its number among that workerpool's pieces; later ones are higher.
    pub seq: u64,
    /// Of which task.
    pub task: TaskId,
    /// At which worker.
    pub worker: Address,
    /// Whether it was printed as an error.
    pub is_error: bool,
    /// When it was told, in milliseconds since 1970.
    pub at_ms: u64,
    /// The text.
    pub text: String,
}

/// What a row costs beside its text.
const ROW_BYTES: u64 = 128;

impl LogRow {
    /// What it counts for.
    pub fn bytes(&self) -> u64 {
        ROW_BYTES.saturating_add(self.text.len() as u64)
    }
}

/// A piece without its text, to decide what is thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStub {
    /// Its number.
    pub seq: u64,
    /// When it was told, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it counts for.
    pub bytes: u64,
}

impl Store {
    /// The highest number of a workerpool's pieces; zero if there are none.
    pub async fn last_log(&self, workerpool: Address) -> Result<u64> {
        let row =
            sqlx::query("SELECT COALESCE(MAX(seq), 0) AS seq FROM task_logs WHERE workerpool = $1")
                .bind(column::address(workerpool))
                .fetch_one(self.pool())
                .await
                .map_err(Error::query("look for the last log"))?;
        Columns(&row).number("seq")
    }

    /// What all of a workerpool's pieces count for. Each of them is looked at.
    pub async fn log_bytes(&self, workerpool: Address) -> Result<u64> {
        let row = sqlx::query(
            "SELECT COALESCE(SUM(bytes), 0) AS bytes FROM task_logs WHERE workerpool = $1",
        )
        .bind(column::address(workerpool))
        .fetch_one(self.pool())
        .await
        .map_err(Error::query("add up the logs"))?;
        Columns(&row).number("bytes")
    }

    /// What a task's pieces count for.
    pub async fn log_bytes_of(&self, workerpool: Address, task: TaskId) -> Result<u64> {
        let row = sqlx::query(
            "SELECT COALESCE(SUM(bytes), 0) AS bytes FROM task_logs \
             WHERE workerpool = $1 AND task = $2",
        )
        .bind(column::address(workerpool))
        .bind(column::word(task.0))
        .fetch_one(self.pool())
        .await
        .map_err(Error::query("add up a task's logs"))?;
        Columns(&row).number("bytes")
    }

    /// A task's pieces after that number, oldest first.
    pub async fn logs_of(
        &self,
        workerpool: Address,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<LogRow>> {
        let rows = sqlx::query(
            "SELECT * FROM task_logs WHERE workerpool = $1 AND task = $2 AND seq > $3 \
             ORDER BY seq LIMIT +$4",
        )
        .bind(column::address(workerpool))
        .bind(column::word(task.0))
        .bind(column::number("the piece's number", after)?)
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await
        .map_err(Error::query("read a task's logs"))?;
        rows.iter().map(read).collect()
    }

    /// The oldest pieces, of one task or of all.
    pub async fn oldest_logs(
        &self,
        workerpool: Address,
        task: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<LogStub>> {
        let of_task = "SELECT seq, at_ms, bytes FROM task_logs \
             WHERE workerpool = $1 AND task = $2 ORDER BY seq LIMIT +$3";
        let of_all = "SELECT seq, at_ms, bytes FROM task_logs \
             WHERE workerpool = $1 ORDER BY seq LIMIT +$2";
        let query = match task {
            Some(task) => sqlx::query(of_task)
                .bind(column::address(workerpool))
                .bind(column::word(task.0))
                .bind(i64::from(limit)),
            None => sqlx::query(of_all).bind(column::address(workerpool)).bind(i64::from(limit)),
        };
        let rows = query.fetch_all(self.pool()).await;
        let rows = rows.map_err(Error::query("look for old logs"))?;
        let stub = |row: &SqliteRow| {
            let from = Columns(row);
            Ok(LogStub {
                seq: from.number("seq")?,
                at_ms: from.number("at_ms")?,
                bytes: from.number("bytes")?,
            })
        };
        rows.iter().map(stub).collect()
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, row: &LogRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO task_logs (workerpool, seq, task, worker, stream, at_ms, bytes, text) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (workerpool, seq) DO NOTHING",
    )
    .bind(column::address(row.workerpool))
    .bind(column::number("the piece's number", row.seq)?)
    .bind(column::word(row.task.0))
    .bind(column::address(row.worker))
    .bind(i64::from(row.is_error))
    .bind(column::number("the time", row.at_ms)?)
    .bind(column::number("the piece's size", row.bytes())?)
    .bind(row.text.as_str())
    .execute(to)
    .await
    .map_err(Error::query("keep what a program printed"))?;
    Ok(())
}

pub(crate) async fn forget(
    to: &mut SqliteConnection,
    workerpool: Address,
    task: Option<TaskId>,
    through: u64,
) -> Result<()> {
    let of_task = "DELETE FROM task_logs WHERE workerpool = $1 AND seq <= $2 AND task = $3";
    let of_all = "DELETE FROM task_logs WHERE workerpool = $1 AND seq <= $2";
    let through = column::number("the piece's number", through)?;
    let query = match task {
        Some(task) => sqlx::query(of_task)
            .bind(column::address(workerpool))
            .bind(through)
            .bind(column::word(task.0)),
        None => sqlx::query(of_all).bind(column::address(workerpool)).bind(through),
    };
    query.execute(to).await.map_err(Error::query("throw old logs away"))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<LogRow> {
    let from = Columns(row);
    Ok(LogRow {
        workerpool: from.address("workerpool")?,
        seq: from.number("seq")?,
        task: TaskId(from.word("task")?),
        worker: from.address("worker")?,
        is_error: from.number("stream")? != 0,
        at_ms: from.number("at_ms")?,
        text: from.text("text")?,
    })
}
