//! The shelves in memory: which there are, and how many open orders stand on each.
//!
//! The table is the truth, and the one writer sees to it that this follows: what a transaction has touched is read again
//! at its end and shown here once it is committed, before whoever waits for it hears of it. So a plan and a count cost no
//! question to the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use orders::OrderKind;
use parking_lot::RwLock;
use primitives::Tag;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};

use super::{bit, named};
use crate::column::{self, Columns};
use crate::orders::{kind_number, read_kind};
use crate::{Error, OrderFilter, OrderRow, Party, Result};

/// Shelves kept in memory. Beyond that many, none are, and the database is asked.
const SHELVES_MAX: usize = 16_384;
/// Shelves read in one question.
const CHUNK: usize = 200;

/// What a query tells orders apart by, save price, volume and the addresses named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Alike {
    kind: OrderKind,
    category: u64,
    trust: u64,
    tag: Tag,
    named: i64,
}

impl Alike {
    fn of(row: &OrderRow) -> Self {
        Self {
            kind: row.kind,
            category: row.category,
            trust: row.trust,
            tag: row.tag,
            named: named(row),
        }
    }

    /// Whether the filter lets such orders through, restrictions to somebody aside.
    fn passes(&self, filter: &OrderFilter, unnamed: i64) -> bool {
        self.named & unnamed == 0
            && filter.category.is_none_or(|category| self.category == category)
            && filter.min_trust.is_none_or(|least| self.trust >= least)
            && filter.max_trust.is_none_or(|most| self.trust <= most)
            && filter.min_tag.is_none_or(|least| self.tag.contains(least))
            && filter.max_tag.is_none_or(|most| most.contains(self.tag))
    }
}

#[derive(Debug, Clone)]
struct Shelf {
    alike: Alike,
    open: u64,
}

/// Shelves that an answer is found on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fitting {
    /// Their numbers.
    pub(super) ids: Vec<i64>,
    /// Open orders on them.
    pub(super) open: u64,
    /// Open orders of that kind on all shelves.
    pub(super) of: u64,
}

/// All shelves, as of the last commit.
#[derive(Debug)]
pub(crate) struct ShelfList {
    /// By kind and number; nothing when there are too many.
    shelves: RwLock<Option<BTreeMap<(i64, i64), Shelf>>>,
}

impl ShelfList {
    pub(crate) async fn open(pool: &SqlitePool) -> Result<Self> {
        Ok(Self { shelves: RwLock::new(read_all(pool).await?) })
    }

    /// What a transaction has left on the shelves that it touched.
    pub(crate) fn update(&self, touched: Touched) {
        let mut shelves = self.shelves.write();
        if let Some(known) = shelves.as_mut() {
            known.extend(touched.0);
            if known.len() > SHELVES_MAX {
                *shelves = None;
            }
        }
    }

    /// Reads all of them anew, when it is not known what became of a transaction.
    pub(crate) async fn reload(&self, pool: &SqlitePool) {
        // Without an answer the database is asked each time, which is slower and as right.
        let read = read_all(pool).await.unwrap_or_default();
        *self.shelves.write() = read;
    }

    /// Shelves whose orders the filter lets through, or would but for whom they name; nothing when they are not known here.
    pub(super) fn fitting(&self, filter: &OrderFilter) -> Option<Fitting> {
        let shelves = self.shelves.read();
        let kind = kind_number(filter.kind);
        let unnamed = unnamed(filter);
        let mut fitting = Fitting::default();
        for ((_, id), shelf) in shelves.as_ref()?.range((kind, i64::MIN)..=(kind, i64::MAX)) {
            fitting.of = fitting.of.saturating_add(shelf.open);
            if shelf.open > 0 && shelf.alike.passes(filter, unnamed) {
                fitting.ids.push(*id);
                fitting.open = fitting.open.saturating_add(shelf.open);
            }
        }
        Some(fitting)
    }
}

/// Where the query cares whom orders are restricted to, only those restricted to nobody are found by shelf: the bits of
/// `named` that must not be set.
pub(super) fn unnamed(filter: &OrderFilter) -> i64 {
    let cares = filter.parties().into_iter().filter(|(_, party)| *party != Party::Any);
    cares.map(|(party, _)| bit(filter.kind, party)).sum()
}

/// Shelves after a transaction.
pub(crate) struct Touched(Vec<((i64, i64), Shelf)>);

/// What the writer knows of the shelves while it writes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Shelves that are known to exist, so that they need not be made sure of for each order.
    ids: HashMap<Alike, i64>,
    /// Shelves whose orders the transaction under way has changed.
    touched: BTreeSet<i64>,
}

impl Known {
    /// Shelves remembered at once.
    const MAX: usize = 4_096;

    /// What was written may have been taken back.
    pub(crate) fn forget(&mut self) {
        self.ids.clear();
        self.touched.clear();
    }

    /// An order on that shelf has changed.
    pub(crate) fn touch(&mut self, shelf: i64) {
        self.touched.insert(shelf);
    }

    /// How the shelves stand that were touched since this was last asked.
    pub(crate) async fn take_touched(&mut self, from: &mut SqliteConnection) -> Result<Touched> {
        let ids: Vec<_> = std::mem::take(&mut self.touched).into_iter().collect();
        let mut shelves = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM shelves WHERE id IN (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            query.push(")");
            let rows = query.build().fetch_all(&mut *from).await;
            let rows = rows.map_err(Error::query("read shelves"))?;
            shelves.extend(rows.iter().map(read).collect::<Result<Vec<_>>>()?);
        }
        Ok(Touched(shelves))
    }
}

/// Sees to it that the shelf of an order exists; gives the order's `named` and the shelf's number.
pub(crate) async fn put(
    to: &mut SqliteConnection,
    known: &mut Known,
    row: &OrderRow,
) -> Result<(i64, i64)> {
    let alike = Alike::of(row);
    let named = alike.named;
    let id = match known.ids.get(&alike) {
        Some(id) => *id,
        None => {
            let id = make(to, &alike).await?;
            if known.ids.len() >= Known::MAX {
                known.ids.clear();
            }
            known.ids.insert(alike, id);
            id
        }
    };
    known.touch(id);
    Ok((named, id))
}

async fn make(to: &mut SqliteConnection, alike: &Alike) -> Result<i64> {
    let [tag_0, tag_1, tag_2, tag_3] = column::tag(alike.tag);
    // An update that changes nothing: only of a row that was written does the database give the number back.
    let row = sqlx::query(
        "INSERT INTO shelves (id, kind, category, trust, tag_0, tag_1, tag_2, tag_3, named, open) \
         VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM shelves), $1, $2, $3, $4, $5, $6, $7, $8, 0) \
         ON CONFLICT (kind, category, trust, tag_0, tag_1, tag_2, tag_3, named) \
         DO UPDATE SET open = open RETURNING id",
    )
    .bind(kind_number(alike.kind))
    .bind(column::number("the category", alike.category)?)
    .bind(column::number("the trust", alike.trust)?)
    .bind(tag_0)
    .bind(tag_1)
    .bind(tag_2)
    .bind(tag_3)
    .bind(alike.named)
    .fetch_one(to)
    .await
    .map_err(Error::query("write a shelf"))?;
    column::number("a shelf", Columns(&row).number("id")?)
}

async fn read_all(pool: &SqlitePool) -> Result<Option<BTreeMap<(i64, i64), Shelf>>> {
    let query = format!("SELECT * FROM shelves LIMIT {}", SHELVES_MAX + 1);
    let rows = QueryBuilder::<Sqlite>::new(query).build().fetch_all(pool).await;
    let rows = rows.map_err(Error::query("read shelves"))?;
    if rows.len() > SHELVES_MAX {
        return Ok(None);
    }
    rows.iter().map(read).collect::<Result<_>>().map(Some)
}

fn read(row: &SqliteRow) -> Result<((i64, i64), Shelf)> {
    let from = Columns(row);
    let kind = read_kind(from.number("kind")?)?;
    let alike = Alike {
        kind,
        category: from.number("category")?,
        trust: from.number("trust")?,
        tag: from.tag(["tag_0", "tag_1", "tag_2", "tag_3"])?,
        named: column::number("whom a shelf names", from.number("named")?)?,
    };
    let id = column::number("a shelf", from.number("id")?)?;
    Ok(((kind_number(kind), id), Shelf { alike, open: from.number("open")? }))
}
