//! Deals, as the chain told them.

use alloy_primitives::{Address, B256, U256};
use primitives::{DealId, OrderHash, Tag};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::column::{self, Columns};
use crate::{Error, Range, Result, Store};

/// What one party put into a deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssetColumns {
    /// The app, dataset or workerpool.
    pub pointer: Address,
    /// Its owner.
    pub owner: Address,
    /// Its price per task, in nRLC.
    pub price: U256,
}

/// A deal, flat.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the contract's deal and of its event")]
pub struct DealRow {
    pub id: DealId,
    pub block_number: u64,
    pub block_time: u64,
    pub tx_hash: B256,
    pub app: AssetColumns,
    pub dataset: AssetColumns,
    pub workerpool: AssetColumns,
    pub requester: Address,
    pub beneficiary: Address,
    pub callback: Address,
    pub app_hash: OrderHash,
    pub dataset_hash: OrderHash,
    pub workerpool_hash: OrderHash,
    pub request_hash: OrderHash,
    pub params: String,
    pub volume: U256,
    pub category: U256,
    pub tag: Tag,
    pub trust: U256,
    pub start_time: u64,
    pub bot_first: U256,
    pub bot_size: U256,
    pub scheduler_reward_ratio: U256,
    pub worker_stake: U256,
}

/// Which deals; what is not said does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the column it compares")]
pub struct DealFilter {
    pub category: Option<U256>,
    pub requester: Option<Address>,
    pub beneficiary: Option<Address>,
    pub app: Option<Address>,
    pub dataset: Option<Address>,
    pub workerpool: Option<Address>,
    pub app_owner: Option<Address>,
    pub dataset_owner: Option<Address>,
    pub workerpool_owner: Option<Address>,
    pub app_hash: Option<OrderHash>,
    pub dataset_hash: Option<OrderHash>,
    pub workerpool_hash: Option<OrderHash>,
    pub request_hash: Option<OrderHash>,
}

impl Store {
    /// A deal.
    pub async fn deal(&self, id: DealId) -> Result<Option<DealRow>> {
        let row = sqlx::query("SELECT * FROM deals WHERE id = $1")
            .bind(column::word(id.0))
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read a deal"))?;
        row.as_ref().map(read).transpose()
    }

    /// Deals, newest block first, then by id; and how many there are in all.
    pub async fn deals(&self, filter: &DealFilter, range: Range) -> Result<(Vec<DealRow>, u64)> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
        push_filter(&mut query, filter);
        query.push(" ORDER BY block_number DESC, id LIMIT +");
        query.push_bind(column::number("limit", range.limit)?);
        query.push(" OFFSET ").push_bind(column::number("offset", range.skip)?);
        let rows = query.build().fetch_all(self.pool()).await;
        let rows: Vec<_> =
            rows.map_err(Error::query("read deals"))?.iter().map(read).collect::<Result<_>>()?;
        let all_here = range.skip == 0 && (rows.len() as u64) < range.limit;
        let count = if all_here { rows.len() as u64 } else { self.count_deals(filter).await? };
        Ok((rows, count))
    }

    /// The last deals of a category: block time, the workerpool's price, volume. Newest block first, then the cheapest.
    pub async fn prices(&self, category: U256, limit: u64) -> Result<Vec<(u64, U256, U256)>> {
        let rows = sqlx::query(
            "SELECT block_time, workerpool_price, volume FROM deals WHERE category = $1 \
             ORDER BY block_number DESC, workerpool_price, id LIMIT +$2",
        )
        .bind(column::amount(category))
        .bind(column::number("limit", limit)?)
        .fetch_all(self.pool())
        .await
        .map_err(Error::query("read prices"))?;
        let read = |row| {
            let from = Columns(row);
            Ok((
                from.number("block_time")?,
                from.amount("workerpool_price")?,
                from.amount("volume")?,
            ))
        };
        rows.iter().map(read).collect()
    }

    async fn count_deals(&self, filter: &DealFilter) -> Result<u64> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) AS counted");
        push_filter(&mut query, filter);
        let row = query.build().fetch_one(self.pool()).await;
        Columns(&row.map_err(Error::query("count deals"))?).number("counted")
    }
}

pub(crate) async fn put(to: &mut SqliteConnection, row: &DealRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO deals (id, block_number, block_time, tx_hash, app, app_owner, app_price, \
         dataset, dataset_owner, dataset_price, workerpool, workerpool_owner, workerpool_price, \
         requester, beneficiary, callback, app_hash, dataset_hash, workerpool_hash, request_hash, \
         params, volume, category, tag, trust, start_time, bot_first, bot_size, \
         scheduler_reward_ratio, worker_stake) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30) \
         ON CONFLICT (id) DO UPDATE SET block_number = excluded.block_number, \
         block_time = excluded.block_time, tx_hash = excluded.tx_hash, \
         start_time = excluded.start_time",
    )
    .bind(column::word(row.id.0))
    .bind(column::number("the block number", row.block_number)?)
    .bind(column::number("the block's time", row.block_time)?)
    .bind(column::word(row.tx_hash))
    .bind(column::address(row.app.pointer))
    .bind(column::address(row.app.owner))
    .bind(column::amount(row.app.price))
    .bind(column::address(row.dataset.pointer))
    .bind(column::address(row.dataset.owner))
    .bind(column::amount(row.dataset.price))
    .bind(column::address(row.workerpool.pointer))
    .bind(column::address(row.workerpool.owner))
    .bind(column::amount(row.workerpool.price))
    .bind(column::address(row.requester))
    .bind(column::address(row.beneficiary))
    .bind(column::address(row.callback))
    .bind(column::word(row.app_hash.0))
    .bind(column::word(row.dataset_hash.0))
    .bind(column::word(row.workerpool_hash.0))
    .bind(column::word(row.request_hash.0))
    .bind(row.params.as_str())
    .bind(column::amount(row.volume))
    .bind(column::amount(row.category))
    .bind(column::word(row.tag.0))
    .bind(column::amount(row.trust))
    .bind(column::number("the start time", row.start_time)?)
    .bind(column::amount(row.bot_first))
    .bind(column::amount(row.bot_size))
    .bind(column::amount(row.scheduler_reward_ratio))
    .bind(column::amount(row.worker_stake))
    .execute(to)
    .await
    .map_err(Error::query("write a deal"))?;
    Ok(())
}

pub(crate) async fn forget_after(to: &mut SqliteConnection, block: u64) -> Result<()> {
    sqlx::query("DELETE FROM deals WHERE block_number > $1")
        .bind(column::number("the block number", block)?)
        .execute(to)
        .await
        .map_err(Error::query("forget deals"))?;
    Ok(())
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &DealFilter) {
    query.push(" FROM deals WHERE 1 = 1");
    let addresses = [
        ("requester", filter.requester),
        ("beneficiary", filter.beneficiary),
        ("app", filter.app),
        ("dataset", filter.dataset),
        ("workerpool", filter.workerpool),
        ("app_owner", filter.app_owner),
        ("dataset_owner", filter.dataset_owner),
        ("workerpool_owner", filter.workerpool_owner),
    ];
    for (name, address) in addresses {
        if let Some(address) = address {
            query.push(" AND ").push(name).push(" = ").push_bind(column::address(address));
        }
    }
    let hashes = [
        ("app_hash", filter.app_hash),
        ("dataset_hash", filter.dataset_hash),
        ("workerpool_hash", filter.workerpool_hash),
        ("request_hash", filter.request_hash),
    ];
    for (name, hash) in hashes {
        if let Some(hash) = hash {
            query.push(" AND ").push(name).push(" = ").push_bind(column::word(hash.0));
        }
    }
    if let Some(category) = filter.category {
        query.push(" AND category = ").push_bind(column::amount(category));
    }
}

fn read(row: &SqliteRow) -> Result<DealRow> {
    let from = Columns(row);
    let asset = |pointer, owner, price| {
        Ok::<_, Error>(AssetColumns {
            pointer: from.address(pointer)?,
            owner: from.address(owner)?,
            price: from.amount(price)?,
        })
    };
    Ok(DealRow {
        id: DealId(from.word("id")?),
        block_number: from.number("block_number")?,
        block_time: from.number("block_time")?,
        tx_hash: from.word("tx_hash")?,
        app: asset("app", "app_owner", "app_price")?,
        dataset: asset("dataset", "dataset_owner", "dataset_price")?,
        workerpool: asset("workerpool", "workerpool_owner", "workerpool_price")?,
        requester: from.address("requester")?,
        beneficiary: from.address("beneficiary")?,
        callback: from.address("callback")?,
        app_hash: OrderHash(from.word("app_hash")?),
        dataset_hash: OrderHash(from.word("dataset_hash")?),
        workerpool_hash: OrderHash(from.word("workerpool_hash")?),
        request_hash: OrderHash(from.word("request_hash")?),
        params: from.text("params")?,
        volume: from.amount("volume")?,
        category: from.amount("category")?,
        tag: Tag(from.word("tag")?),
        trust: from.amount("trust")?,
        start_time: from.number("start_time")?,
        bot_first: from.amount("bot_first")?,
        bot_size: from.amount("bot_size")?,
        scheduler_reward_ratio: from.amount("scheduler_reward_ratio")?,
        worker_stake: from.amount("worker_stake")?,
    })
}
