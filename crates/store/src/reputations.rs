//! What a scheduler knows of its workers.

use alloy_primitives::Address;
use sqlx::SqliteConnection;

use crate::column::{self, Columns};
use crate::{Error, Result, Store};

impl Store {
    /// What the scheduler of that workerpool has kept of each worker: the worker and the scheduler's own text. Under the
    /// zero address is what it has kept of all together.
    pub async fn reputations(&self, workerpool: Address) -> Result<Vec<(Address, String)>> {
        let rows = sqlx::query(
            "SELECT worker, record FROM reputations WHERE workerpool = $1 ORDER BY worker",
        )
        .bind(column::address(workerpool))
        .fetch_all(self.pool())
        .await
        .map_err(Error::query("read reputations"))?;
        let read = |row| {
            let columns = Columns(row);
            Ok((columns.address("worker")?, columns.text("record")?))
        };
        rows.iter().map(read).collect()
    }
}

pub(crate) async fn put(
    to: &mut SqliteConnection,
    workerpool: Address,
    worker: Address,
    record: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO reputations (workerpool, worker, record) VALUES ($1, $2, $3) \
         ON CONFLICT (workerpool, worker) DO UPDATE SET record = excluded.record",
    )
    .bind(column::address(workerpool))
    .bind(column::address(worker))
    .bind(record)
    .execute(to)
    .await
    .map_err(Error::query("write a reputation"))?;
    Ok(())
}
