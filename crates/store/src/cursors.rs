//! How far each service has read the chain.

use alloy_primitives::B256;
use sqlx::{Row, SqliteConnection};

use crate::column::{self, Columns};
use crate::{Change, Error, Result, Store};

/// A block, by number and hash: what came up to it has been dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The block's number.
    pub number: u64,
    /// Its hash, by which a reorganisation is noticed.
    pub hash: B256,
}

impl Store {
    /// The cursor of that name; nothing if it was never set.
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>> {
        let row = sqlx::query("SELECT number, hash FROM cursors WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read a cursor"))?;
        let read = |row| {
            let columns = Columns(&row);
            Ok(Cursor { number: columns.number("number")?, hash: columns.word("hash")? })
        };
        row.map(read).transpose()
    }

    /// Sets the cursor of that name.
    pub async fn set_cursor(&self, name: &str, cursor: Cursor) -> Result<()> {
        self.apply(vec![Change::Cursor { name: name.to_owned(), cursor }]).await
    }

    /// How many rows the database has of each table that grows, by name; for watching growth.
    pub async fn row_counts(&self) -> Result<Vec<(&'static str, u64)>> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM orders) AS orders, (SELECT COUNT(*) FROM deals) AS deals, \
             (SELECT COUNT(*) FROM work) AS work",
        )
        .fetch_one(self.pool())
        .await
        .map_err(Error::query("count rows"))?;
        let count = |name| {
            let count: i64 = row.try_get(name).map_err(Error::query("count rows"))?;
            Ok((name, u64::try_from(count).unwrap_or_default()))
        };
        ["orders", "deals", "work"].into_iter().map(count).collect()
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, name: &str, cursor: Cursor) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursors (name, number, hash) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET number = excluded.number, hash = excluded.hash",
    )
    .bind(name)
    .bind(column::number("a cursor", cursor.number)?)
    .bind(column::word(cursor.hash))
    .execute(to)
    .await
    .map_err(Error::query("write a cursor"))?;
    Ok(())
}
