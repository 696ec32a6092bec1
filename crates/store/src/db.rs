//! The database and its one writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::orders::put as put_orders;
use crate::shelves::{Known, ShelfList};
use crate::{Change, Error, OrderRow, Result};

/// Every step of the schema, in order, by number and name. A step that was released is never changed: a new one is added.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "market", include_str!("../migrations/0001_market.sql")),
    (2, "shelves", include_str!("../migrations/0002_shelves.sql")),
    (3, "sealed", include_str!("../migrations/0003_sealed.sql")),
    (4, "logs", include_str!("../migrations/0004_logs.sql")),
    (5, "reputations", include_str!("../migrations/0005_reputations.sql")),
    (6, "walking", include_str!("../migrations/0006_walking.sql")),
    (7, "outcomes", include_str!("../migrations/0007_outcomes.sql")),
    (8, "enclaves", include_str!("../migrations/0008_enclaves.sql")),
];

/// How long to wait for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers at once, besides the writer.
const READERS_MAX: u32 = 4;
/// What each connection keeps of the file in memory, in KiB. With the number of connections this is what bounds the
/// memory of a database of any size; the rest is the operating system's cache.
const CACHE_KIB: u32 = 8 * 1_024;
/// Pages in the write-ahead log before they are moved to where they belong. What many writes change is moved once, so the more
/// the less there is to move; 16 MiB also bound what is read again after a crash.
const LOG_PAGES: u32 = 4_096;
/// Prepared statements that each connection keeps.
const STATEMENTS_MAX: usize = 256;
/// Lists of changes that wait to be written; more callers than that wait for room.
const QUEUE_LEN: usize = 1_024;
/// The most lists that share a transaction, so that the first does not wait for ever.
const BATCH_MAX: usize = 256;
/// What a database without a file is called in errors.
const IN_MEMORY: &str = "in memory";

/// A database. Cheap to clone; all clones share its connections and its writer.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    pen: SqlitePool,
    shelves: Arc<ShelfList>,
    writer: mpsc::Sender<Batch>,
}

#[derive(Debug)]
struct Batch {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<()>>,
}

impl Store {
    /// Opens the database file, which is created if it does not exist, and brings its schema up to date. Must be called
    /// within a Tokio runtime.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_MAX)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string());
        // Asking a file whether it is still there before each query would double the queries.
        let pool = SqlitePoolOptions::new().test_before_acquire(false);
        let path = path.display().to_string();
        // The writer never waits for readers to give a connection back.
        let pen = open(&path, pool.clone().max_connections(1), options.clone()).await?;
        migrator().run(&pen).await.map_err(|error| unmigrated(&path, error))?;
        let readers = open(&path, pool.max_connections(READERS_MAX), options).await?;
        Self::start(readers, pen).await
    }

    /// A database that is gone when its last clone is. Must be called within a Tokio runtime.
    pub async fn in_memory() -> Result<Self> {
        // The database lives in its connection, so there is exactly one and it is never closed for idleness.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let options =
            SqliteConnectOptions::new().in_memory(true).statement_cache_capacity(STATEMENTS_MAX);
        let pool = open(IN_MEMORY, pool.test_before_acquire(false), options).await?;
        migrator().run(&pool).await.map_err(|error| unmigrated(IN_MEMORY, error))?;
        Self::start(pool.clone(), pool).await
    }

    /// Writes all of the changes or, on an error, none. Done means that they survive the process.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        self.writer.send(Batch { changes, done }).await.map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }

    /// Waits until nothing uses the database and closes it. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
        self.pen.close().await;
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) fn shelves(&self) -> &ShelfList {
        &self.shelves
    }

    async fn start(pool: SqlitePool, pen: SqlitePool) -> Result<Self> {
        let shelves = Arc::new(ShelfList::open(&pen).await?);
        let (writer, queue) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(write(pen.clone(), Arc::clone(&shelves), queue));
        Ok(Self { pool, pen, shelves, writer })
    }
}

async fn open(
    path: &str,
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
) -> Result<SqlitePool> {
    let unopened = |source| Error::Open { path: path.to_owned(), source: Arc::new(source) };
    pool.connect_with(options).await.map_err(unopened)
}

/// Put together here rather than by sqlx's macro, which compiles SQLite a second time for the build.
fn migrator() -> Migrator {
    let step = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(step).collect())
}

fn unmigrated(path: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(found) => Error::Newer { path: path.to_owned(), found },
        source => Error::Migrate { path: path.to_owned(), source: Arc::new(source) },
    }
}

/// Writes what comes, as much at once as has come meanwhile. Ends with the last clone of the store.
async fn write(pool: SqlitePool, shelves: Arc<ShelfList>, mut queue: mpsc::Receiver<Batch>) {
    let mut waiting = Vec::new();
    let mut pen = Pen { pool, shelves, known: Known::default() };
    while queue.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        match pen.commit(&waiting).await {
            Ok(()) => answer(waiting.drain(..), &Ok(())),
            Err(error) if waiting.len() == 1 => answer(waiting.drain(..), &Err(error)),
            // One of them is at fault: each stands by itself, so that the others do not fail with it.
            Err(_) => {
                for batch in waiting.drain(..) {
                    let outcome = pen.commit(std::slice::from_ref(&batch)).await;
                    answer([batch].into_iter(), &outcome);
                }
            }
        }
    }
}

/// Who writes, and what it keeps in mind while it does.
struct Pen {
    pool: SqlitePool,
    shelves: Arc<ShelfList>,
    known: Known,
}

impl Pen {
    async fn commit(&mut self, batches: &[Batch]) -> Result<()> {
        let outcome = self.try_commit(batches).await;
        if outcome.is_err() {
            self.known.forget();
            self.shelves.reload(&self.pool).await;
        }
        outcome
    }

    async fn try_commit(&mut self, batches: &[Batch]) -> Result<()> {
        // A transaction that starts as a writer waits for its turn; one that becomes a writer later would fail.
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(Error::query("begin to write"))?;
        let mut orders: Vec<&OrderRow> = Vec::new();
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            // Publications that follow each other are written together.
            if let Change::PutOrder(row) = change {
                orders.push(row);
                continue;
            }
            put_orders(&mut transaction, &mut self.known, &orders).await?;
            orders.clear();
            change.write(&mut transaction, &mut self.known).await?;
        }
        put_orders(&mut transaction, &mut self.known, &orders).await?;
        let touched = self.known.take_touched(&mut transaction).await?;
        transaction.commit().await.map_err(Error::query("commit what was written"))?;
        self.shelves.update(touched);
        Ok(())
    }
}

fn answer(batches: impl Iterator<Item = Batch>, outcome: &Result<()>) {
    for batch in batches {
        // A caller that has gone away does not need the answer.
        let _ = batch.done.send(outcome.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OrderFilter, Party, Range};
    use orders::OrderKind;

    /// A book of the first schema, with an offer to everybody and one to a single requester.
    const OLD_BOOK: &str = "INSERT INTO orders VALUES \
        (zeroblob(32), 2, 0, zeroblob(20), 1, 5, 0, zeroblob(20), zeroblob(20), zeroblob(20), zeroblob(20), \
         0, 0, 7, 5, 1, 0, 0, 0, 0, 0, zeroblob(20), zeroblob(20), '', zeroblob(32), zeroblob(65)), \
        (CAST(X'0101010101010101010101010101010101010101010101010101010101010101' AS BLOB), 2, 0, \
         zeroblob(20), 1, 5, 0, zeroblob(20), zeroblob(20), zeroblob(20), \
         X'0909090909090909090909090909090909090909', 0, 0, 3, 5, 1, 0, 0, 0, 0, 0, zeroblob(20), zeroblob(20), \
         '', zeroblob(32), zeroblob(65)), \
        (CAST(X'0202020202020202020202020202020202020202020202020202020202020202' AS BLOB), 2, 3, \
         zeroblob(20), 1, 5, 0, zeroblob(20), zeroblob(20), zeroblob(20), zeroblob(20), \
         0, 0, 1, 5, 1, 0, 0, 0, 0, 0, zeroblob(20), zeroblob(20), '', zeroblob(32), zeroblob(65))";

    #[tokio::test]
    async fn orders_of_the_first_schema_find_their_shelves() {
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None);
        let options = SqliteConnectOptions::new().in_memory(true);
        let pool = open(IN_MEMORY, pool, options).await.expect("opens");
        let (number, name, sql) = MIGRATIONS[0];
        let first =
            Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false);
        Migrator::with_migrations(vec![first]).run(&pool).await.expect("the first schema");
        sqlx::query(OLD_BOOK).execute(&pool).await.expect("orders");
        migrator().run(&pool).await.expect("the schema of today");
        let store = Store::start(pool.clone(), pool).await.expect("starts");

        let requester = Party::Admits(alloy_primitives::Address::repeat_byte(9));
        let all = OrderFilter { category: Some(1), ..OrderFilter::all(OrderKind::Workerpool) };
        for (filter, prices) in [
            (OrderFilter { requester: Party::Nobody, ..all.clone() }, vec![7]),
            (OrderFilter { requester, ..all.clone() }, vec![3, 7]),
            (all, vec![3, 7]),
        ] {
            let range = Range { skip: 0, limit: 10 };
            let (rows, count) = store.open_orders(&filter, range).await.expect("reads");
            let found: Vec<_> = rows.iter().map(|row| row.workerpool_price).collect();
            assert_eq!((found, count), (prices.clone(), prices.len() as u64));
            assert_eq!(store.count_open(&filter).await.expect("counts"), prices.len() as u64);
        }
    }
}
