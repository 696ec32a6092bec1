//! Published orders.

use alloy_primitives::{Address, B256, Bytes};
use orders::OrderKind;
use primitives::{OrderHash, Tag};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::column::{self, Columns};
use crate::{Error, Result, Store, shelves};

/// Orders written by one statement.
const LINES_MAX: usize = 32;

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It can be matched.
    Open,
    /// Its volume is used up.
    Filled,
    /// Its owner closed it on chain.
    Canceled,
    /// It cannot be matched any more.
    Dead,
}

impl Status {
    fn number(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Filled => 1,
            Self::Canceled => 2,
            Self::Dead => 3,
        }
    }

    fn read(number: u64) -> Result<Self> {
        match number {
            0 => Ok(Self::Open),
            1 => Ok(Self::Filled),
            2 => Ok(Self::Canceled),
            3 => Ok(Self::Dead),
            _ => Err(Error::Garbled { what: "status" }),
        }
    }
}

/// What changes about an order while it is in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderState {
    /// What became of it.
    pub status: Status,
    /// How many tasks it is still good for.
    pub remaining: u64,
    /// The block that this is known from; if it is rewound, the state must be found out again.
    pub changed_block: u64,
}

/// An order, flat: columns that its kind does not have are zero or empty. Numbers must fit 63 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Its EIP-712 hash.
    pub hash: OrderHash,
    /// Which of the four.
    pub kind: OrderKind,
    /// Who signed it.
    pub signer: Address,
    /// When it was first published, in milliseconds since 1970.
    pub published_ms: u64,
    /// What became of it.
    pub state: OrderState,
    /// The app it is about or restricted to.
    pub app: Address,
    /// The dataset it is about or restricted to.
    pub dataset: Address,
    /// The workerpool it is about or restricted to.
    pub workerpool: Address,
    /// The requester it is from or restricted to.
    pub requester: Address,
    /// An app order's price; the most a request pays for the app.
    pub app_price: u64,
    /// A dataset order's price; the most a request pays for the dataset.
    pub dataset_price: u64,
    /// A workerpool order's price; the most a request pays for computing.
    pub workerpool_price: u64,
    /// How many tasks it was for.
    pub volume: u64,
    /// Its category.
    pub category: u64,
    /// Its trust.
    pub trust: u64,
    /// Its demands.
    pub tag: Tag,
    /// Whom the results are for.
    pub beneficiary: Address,
    /// The contract told of each result.
    pub callback: Address,
    /// A request's parameters.
    pub params: String,
    /// Its salt.
    pub salt: B256,
    /// Its signature.
    pub sign: Bytes,
}

/// Which orders, by one of the parties they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Party {
    /// Whoever they name.
    #[default]
    Any,
    /// Only those that name nobody.
    Nobody,
    /// Those that name nobody or this one.
    Admits(Address),
    /// Only those that name this one.
    Is(Address),
}

/// Which open orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of which kind.
    pub kind: OrderKind,
    /// By app.
    pub app: Party,
    /// By dataset.
    pub dataset: Party,
    /// By workerpool.
    pub workerpool: Party,
    /// By requester.
    pub requester: Party,
    /// Signed by this one.
    pub signer: Option<Address>,
    /// For this beneficiary.
    pub beneficiary: Option<Address>,
    /// Of this category.
    pub category: Option<u64>,
    /// With at least these demands.
    pub min_tag: Option<Tag>,
    /// With no other demands than these.
    pub max_tag: Option<Tag>,
    /// With at least that trust.
    pub min_trust: Option<u64>,
    /// With at most that trust.
    pub max_trust: Option<u64>,
    /// With at least that much remaining.
    pub min_remaining: Option<u64>,
    /// Of at least that volume from the start.
    pub min_volume: Option<u64>,
    /// Not dearer than that, by the price the kind is sorted by.
    pub max_price: Option<u64>,
}

impl OrderFilter {
    /// All open orders of that kind.
    pub fn all(kind: OrderKind) -> Self {
        Self {
            kind,
            app: Party::Any,
            dataset: Party::Any,
            workerpool: Party::Any,
            requester: Party::Any,
            signer: None,
            beneficiary: None,
            category: None,
            min_tag: None,
            max_tag: None,
            min_trust: None,
            max_trust: None,
            min_remaining: None,
            min_volume: None,
            max_price: None,
        }
    }

    /// The parties that orders name, by the kind of order that they would sign.
    pub(crate) fn parties(&self) -> [(OrderKind, Party); 4] {
        [
            (OrderKind::App, self.app),
            (OrderKind::Dataset, self.dataset),
            (OrderKind::Workerpool, self.workerpool),
            (OrderKind::Request, self.requester),
        ]
    }
}

impl Store {
    /// The order of that hash, whatever became of it.
    pub async fn order(&self, hash: OrderHash) -> Result<Option<OrderRow>> {
        let row = sqlx::query("SELECT * FROM orders WHERE hash = $1")
            .bind(column::word(hash.0))
            .fetch_optional(self.pool())
            .await
            .map_err(Error::query("read an order"))?;
        row.as_ref().map(read).transpose()
    }

    /// What a publication needs to know: what became of the order, if it was published before, and when that was; and how
    /// many open orders of that kind the wallet has.
    pub async fn published(
        &self,
        hash: OrderHash,
        kind: OrderKind,
        wallet: Address,
    ) -> Result<(Option<(Status, u64)>, u64)> {
        // The kind is written into the text: a value compared with what a partial index is about would make the database
        // prepare the statement anew each time.
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT (SELECT COUNT(*) FROM orders WHERE status = 0 AND kind = ",
        );
        query.push(kind_number(kind)).push(" AND signer = ").push_bind(column::address(wallet));
        query.push(") AS open, (SELECT status FROM orders WHERE hash = ");
        query.push_bind(column::word(hash.0));
        query.push(") AS status, (SELECT published_ms FROM orders WHERE hash = ");
        query.push_bind(column::word(hash.0)).push(") AS published_ms");
        let row = query.build().fetch_one(self.pool()).await;
        let row = row.map_err(Error::query("read what is published"))?;
        let columns = Columns(&row);
        let status: Option<i64> =
            row.try_get("status").map_err(|_| Error::Garbled { what: "status" })?;
        let before = match status {
            None => None,
            Some(_) => {
                let status = Status::read(columns.number("status")?)?;
                Some((status, columns.number("published_ms")?))
            }
        };
        Ok((before, columns.number("open")?))
    }

    /// Those of the orders that are in the book, in no particular sequence.
    pub async fn orders_among(&self, hashes: &[OrderHash]) -> Result<Vec<OrderRow>> {
        // Databases bound how many values a query may carry.
        const CHUNK: usize = 500;
        let mut found = Vec::new();
        for chunk in hashes.chunks(CHUNK) {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM orders WHERE hash IN (");
            let mut list = query.separated(", ");
            for hash in chunk {
                list.push_bind(column::word(hash.0));
            }
            query.push(")");
            found.extend(self.fetch(query).await?);
        }
        Ok(found)
    }

    /// Those of the wallets that have open orders of those kinds.
    pub async fn signers_with_open_orders(
        &self,
        wallets: &[Address],
        kinds: &[OrderKind],
    ) -> Result<Vec<Address>> {
        const CHUNK: usize = 500;
        let mut found = Vec::new();
        for chunk in wallets.chunks(CHUNK) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT DISTINCT signer FROM orders WHERE status = 0 AND kind IN (",
            );
            let mut list = query.separated(", ");
            for kind in kinds {
                list.push(kind_number(*kind));
            }
            query.push(") AND signer IN (");
            let mut list = query.separated(", ");
            for wallet in chunk {
                list.push_bind(column::address(*wallet));
            }
            query.push(")");
            let rows =
                query.build().fetch_all(self.pool()).await.map_err(Error::query("read signers"))?;
            for row in &rows {
                found.push(Columns(row).address("signer")?);
            }
        }
        Ok(found)
    }

    /// All open orders of that kind that the filter lets through, unsorted and unpaged: for the book's own upkeep, with
    /// filters that let few through.
    pub async fn all_open_orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT *");
        push_filter(&mut query, filter)?;
        self.fetch(query).await
    }

    /// Orders whose state is known from a later block than that.
    pub async fn orders_changed_after(&self, block: u64) -> Result<Vec<OrderRow>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM orders WHERE changed_block > ");
        query.push_bind(column::number("block", block)?);
        self.fetch(query).await
    }

    pub(crate) async fn fetch(&self, mut query: QueryBuilder<Sqlite>) -> Result<Vec<OrderRow>> {
        let rows = query.build().fetch_all(self.pool()).await;
        rows.map_err(Error::query("read orders"))?.iter().map(read).collect()
    }
}

/// Publishes the orders, or brings them up to date, many in one statement: each statement is a trip to the database's thread.
pub(crate) async fn put(
    to: &mut SqliteConnection,
    known: &mut shelves::Known,
    rows: &[&OrderRow],
) -> Result<()> {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let (named, shelf) = shelves::put(to, known, row).await?;
        lines.push(Line { row, named, shelf, numbers: numbers(row)? });
    }
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        // Few lengths, so that there are few statements to prepare.
        let length = 1 << rest.len().min(LINES_MAX).ilog2();
        let (lines, others) = rest.split_at(length);
        insert(lines).build().execute(&mut *to).await.map_err(Error::query("write an order"))?;
        rest = others;
    }
    Ok(())
}

/// An order as it is written.
struct Line<'a> {
    row: &'a OrderRow,
    named: i64,
    shelf: i64,
    numbers: [i64; 9],
}

/// In the sequence of their columns.
fn numbers(row: &OrderRow) -> Result<[i64; 9]> {
    let number = column::number;
    Ok([
        number("the publication time", row.published_ms)?,
        number("the remaining volume", row.state.remaining)?,
        number("the block number", row.state.changed_block)?,
        number("the app's price", row.app_price)?,
        number("the dataset's price", row.dataset_price)?,
        number("the workerpool's price", row.workerpool_price)?,
        number("the volume", row.volume)?,
        number("the category", row.category)?,
        number("the trust", row.trust)?,
    ])
}

fn insert(lines: &[Line<'_>]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        "INSERT INTO orders (hash, kind, status, signer, published_ms, remaining, changed_block, \
         app_price, dataset_price, workerpool_price, volume, category, trust, \
         app, dataset, workerpool, requester, tag_0, tag_1, tag_2, tag_3, \
         beneficiary, callback, params, salt, sign, named, shelf) ",
    );
    query.push_values(lines, |mut to, line| {
        let row = line.row;
        to.push_bind(column::word(row.hash.0))
            .push_bind(kind_number(row.kind))
            .push_bind(row.state.status.number())
            .push_bind(column::address(row.signer));
        for number in line.numbers {
            to.push_bind(number);
        }
        for party in [row.app, row.dataset, row.workerpool, row.requester] {
            to.push_bind(column::address(party));
        }
        for bits in column::tag(row.tag) {
            to.push_bind(bits);
        }
        to.push_bind(column::address(row.beneficiary))
            .push_bind(column::address(row.callback))
            .push_bind(row.params.clone())
            .push_bind(column::word(row.salt))
            .push_bind(row.sign.to_vec())
            .push_bind(line.named)
            .push_bind(line.shelf);
    });
    query.push(
        " ON CONFLICT (hash) DO UPDATE SET status = excluded.status, signer = excluded.signer, \
         published_ms = excluded.published_ms, remaining = excluded.remaining, \
         changed_block = excluded.changed_block, sign = excluded.sign",
    );
    query
}

pub(crate) async fn set(
    to: &mut SqliteConnection,
    known: &mut shelves::Known,
    hash: OrderHash,
    state: OrderState,
) -> Result<()> {
    let changed = sqlx::query(
        "UPDATE orders SET status = $1, remaining = $2, changed_block = $3 WHERE hash = $4 \
         RETURNING shelf",
    )
    .bind(state.status.number())
    .bind(column::number("the remaining volume", state.remaining)?)
    .bind(column::number("the block number", state.changed_block)?)
    .bind(column::word(hash.0))
    .fetch_optional(to)
    .await
    .map_err(Error::query("change an order"))?;
    touch(known, changed.as_ref())
}

pub(crate) async fn remove(
    to: &mut SqliteConnection,
    known: &mut shelves::Known,
    hash: OrderHash,
) -> Result<()> {
    let removed = sqlx::query("DELETE FROM orders WHERE hash = $1 RETURNING shelf")
        .bind(column::word(hash.0))
        .fetch_optional(to)
        .await
        .map_err(Error::query("remove an order"))?;
    touch(known, removed.as_ref())
}

/// The shelf of an order that was changed has more or fewer open orders now.
fn touch(known: &mut shelves::Known, order: Option<&SqliteRow>) -> Result<()> {
    if let Some(order) = order {
        known.touch(column::number("a shelf", Columns(order).number("shelf")?)?);
    }
    Ok(())
}

/// Kind and status are written into the text, not bound: only then does the database see that a partial index serves.
pub(crate) fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) -> Result<()> {
    query.push(" FROM orders WHERE status = 0 AND kind = ").push(kind_number(filter.kind));
    push_parties(query, filter);
    push_wallets(query, filter);
    push_alike(query, filter)?;
    push_rest(query, filter)
}

fn push_parties(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) {
    for (party, value) in filter.parties() {
        push_party(query, party_column(party), value);
        let Party::Is(address) = value else { continue };
        // Said again in the words of the partial index that serves.
        if let Some(restricted) = shelves::restricted_to_somebody(filter.kind, party)
            && !address.is_zero()
        {
            query.push(restricted);
        } else if (filter.kind, party) == (OrderKind::Request, OrderKind::Dataset)
            && !address.is_zero()
        {
            query.push(" AND dataset <> X'0000000000000000000000000000000000000000'");
        }
    }
}

fn push_wallets(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) {
    let addresses = [("signer", filter.signer), ("beneficiary", filter.beneficiary)];
    for (column, address) in addresses {
        if let Some(address) = address {
            query.push(" AND ").push(column).push(" = ").push_bind(column::address(address));
        }
    }
}

/// What the orders of a shelf have in common. The columns have the same names in both tables.
pub(crate) fn push_alike(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) -> Result<()> {
    let numbers = [
        ("category = ", filter.category),
        ("trust >= ", filter.min_trust),
        ("trust <= ", filter.max_trust),
    ];
    push_numbers(query, &numbers)?;
    for (index, bits) in column::tag(filter.min_tag.unwrap_or_default()).into_iter().enumerate() {
        if bits != 0 {
            query.push(format_args!(" AND (tag_{index} & ")).push_bind(bits);
            query.push(") = ").push_bind(bits);
        }
    }
    if let Some(tag) = filter.max_tag {
        for (index, bits) in column::tag(!tag).into_iter().enumerate() {
            query.push(format_args!(" AND (tag_{index} & ")).push_bind(bits).push(") = 0");
        }
    }
    Ok(())
}

/// What the orders of a shelf differ in.
pub(crate) fn push_rest(query: &mut QueryBuilder<Sqlite>, filter: &OrderFilter) -> Result<()> {
    // Every open order has at least one task left.
    let remaining = filter.min_remaining.filter(|least| *least > 1);
    push_numbers(query, &[("remaining >= ", remaining), ("volume >= ", filter.min_volume)])?;
    if let Some(price) = filter.max_price {
        let price = column::number("a price in the query", price)?;
        query.push(" AND ").push(price_column(filter.kind)).push(" <= ").push_bind(price);
    }
    Ok(())
}

fn push_numbers(
    query: &mut QueryBuilder<Sqlite>,
    numbers: &[(&'static str, Option<u64>)],
) -> Result<()> {
    for (comparison, number) in numbers {
        if let Some(number) = *number {
            let number = column::number("a number in the query", number)?;
            query.push(" AND ").push(*comparison).push_bind(number);
        }
    }
    Ok(())
}

/// The column that names a party, by the kind of order that the party would sign.
pub(crate) fn party_column(party: OrderKind) -> &'static str {
    match party {
        OrderKind::Request => "requester",
        asset => asset.as_str(),
    }
}

pub(crate) fn push_party(query: &mut QueryBuilder<Sqlite>, column: &str, party: Party) {
    match party {
        Party::Any => {}
        Party::Nobody => {
            query.push(" AND ").push(column).push(" = ").push_bind(column::address(Address::ZERO));
        }
        Party::Admits(address) => {
            query.push(" AND ").push(column).push(" IN (");
            query.push_bind(column::address(Address::ZERO)).push(", ");
            query.push_bind(column::address(address)).push(")");
        }
        Party::Is(address) => {
            query.push(" AND ").push(column).push(" = ").push_bind(column::address(address));
        }
    }
}

pub(crate) fn kind_number(kind: OrderKind) -> i64 {
    match kind {
        OrderKind::App => 0,
        OrderKind::Dataset => 1,
        OrderKind::Workerpool => 2,
        OrderKind::Request => 3,
    }
}

pub(crate) fn read_kind(number: u64) -> Result<OrderKind> {
    let found = OrderKind::ALL.into_iter().find(|kind| kind_number(*kind).unsigned_abs() == number);
    found.ok_or(Error::Garbled { what: "kind" })
}

pub(crate) fn price_column(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::App => "app_price",
        OrderKind::Dataset => "dataset_price",
        OrderKind::Workerpool | OrderKind::Request => "workerpool_price",
    }
}

fn read(row: &SqliteRow) -> Result<OrderRow> {
    let from = Columns(row);
    let params = row.try_get("params").map_err(|_| Error::Garbled { what: "params" })?;
    Ok(OrderRow {
        hash: OrderHash(from.word("hash")?),
        kind: read_kind(from.number("kind")?)?,
        signer: from.address("signer")?,
        published_ms: from.number("published_ms")?,
        state: OrderState {
            status: Status::read(from.number("status")?)?,
            remaining: from.number("remaining")?,
            changed_block: from.number("changed_block")?,
        },
        app: from.address("app")?,
        dataset: from.address("dataset")?,
        workerpool: from.address("workerpool")?,
        requester: from.address("requester")?,
        app_price: from.number("app_price")?,
        dataset_price: from.number("dataset_price")?,
        workerpool_price: from.number("workerpool_price")?,
        volume: from.number("volume")?,
        category: from.number("category")?,
        trust: from.number("trust")?,
        tag: from.tag(["tag_0", "tag_1", "tag_2", "tag_3"])?,
        beneficiary: from.address("beneficiary")?,
        callback: from.address("callback")?,
        params,
        salt: from.word("salt")?,
        sign: from.bytes("sign")?,
    })
}
