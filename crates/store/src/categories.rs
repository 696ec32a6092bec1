//! Categories: how long tasks may run.

use alloy_primitives::B256;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::column::{self, Columns};
use crate::{Error, Range, Result, Store};

/// A category.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the contract's category and of its event")]
pub struct CategoryRow {
    pub id: u64,
    pub name: String,
    pub description: String,
    pub work_clock_seconds: u64,
    pub tx_hash: B256,
    pub block_number: u64,
    pub block_time: u64,
}

/// Which categories, by how long tasks may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CategoryFilter {
    /// At least so many seconds.
    pub min_work_clock_seconds: Option<u64>,
    /// At most so many seconds.
    pub max_work_clock_seconds: Option<u64>,
}

impl Store {
    /// The category of that number.
    pub async fn category(&self, id: u64) -> Result<Option<CategoryRow>> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        let row = sqlx::query("SELECT * FROM categories WHERE id = $1")
            .bind(id)
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read a category"))?;
        row.as_ref().map(read).transpose()
    }

    /// Categories, shortest first, then by number; and how many there are in all.
    pub async fn categories(
        &self,
        filter: CategoryFilter,
        range: Range,
    ) -> Result<(Vec<CategoryRow>, u64)> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
        push_filter(&mut query, filter)?;
        query.push(" ORDER BY work_clock_seconds, id LIMIT +");
        query.push_bind(column::number("limit", range.limit)?);
        query.push(" OFFSET ").push_bind(column::number("offset", range.skip)?);
        let rows = query.build().fetch_all(self.pool()).await;
        let rows = rows.map_err(Error::query("read categories"))?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) AS counted");
        push_filter(&mut query, filter)?;
        let count = query.build().fetch_one(self.pool()).await;
        let count = Columns(&count.map_err(Error::query("count categories"))?).number("counted")?;
        Ok((rows.iter().map(read).collect::<Result<_>>()?, count))
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, row: &CategoryRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO categories (id, name, description, work_clock_seconds, tx_hash, block_number, \
         block_time) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description, \
         work_clock_seconds = excluded.work_clock_seconds, tx_hash = excluded.tx_hash, \
         block_number = excluded.block_number, block_time = excluded.block_time",
    )
    .bind(column::number("the category's number", row.id)?)
    .bind(row.name.as_str())
    .bind(row.description.as_str())
    .bind(column::number("the category's time", row.work_clock_seconds)?)
    .bind(column::word(row.tx_hash))
    .bind(column::number("the block number", row.block_number)?)
    .bind(column::number("the block's time", row.block_time)?)
    .execute(to)
    .await
    .map_err(Error::query("write a category"))?;
    Ok(())
}

pub(crate) async fn forget_after(to: &mut SqliteConnection, block: u64) -> Result<()> {
    sqlx::query("DELETE FROM categories WHERE block_number > $1")
        .bind(column::number("the block number", block)?)
        .execute(to)
        .await
        .map_err(Error::query("forget categories"))?;
    Ok(())
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: CategoryFilter) -> Result<()> {
    query.push(" FROM categories WHERE 1 = 1");
    let bounds = [
        (" AND work_clock_seconds >= ", filter.min_work_clock_seconds),
        (" AND work_clock_seconds <= ", filter.max_work_clock_seconds),
    ];
    for (comparison, seconds) in bounds {
        if let Some(seconds) = seconds {
            query.push(comparison).push_bind(column::number("a time in the query", seconds)?);
        }
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<CategoryRow> {
    let from = Columns(row);
    Ok(CategoryRow {
        id: from.number("id")?,
        name: from.text("name")?,
        description: from.text("description")?,
        work_clock_seconds: from.number("work_clock_seconds")?,
        tx_hash: from.word("tx_hash")?,
        block_number: from.number("block_number")?,
        block_time: from.number("block_time")?,
    })
}
