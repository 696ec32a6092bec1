//! The database and its one writer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::{Change, Error, Result};

/// Every step of the schema, in order, by number and name. A step that was released is never changed: a new one is added.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "market", include_str!("../migrations/0001_market.sql"))];

/// How long to wait for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers at once. Writes go through one of them.
const CONNECTIONS_MAX: u32 = 4;
/// Lists of changes that wait to be written; more callers than that wait for room.
const QUEUE_LEN: usize = 1_024;
/// The most lists that share a transaction, so that the first does not wait for ever.
const BATCH_MAX: usize = 256;

/// A database. Cheap to clone; all clones share its connections and its writer.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
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
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX);
        Self::start(&path.display().to_string(), pool, options).await
    }

    /// A database that is gone when its last clone is. Must be called within a Tokio runtime.
    pub async fn in_memory() -> Result<Self> {
        // The database lives in its connection, so there is exactly one and it is never closed for idleness.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let options = SqliteConnectOptions::new().in_memory(true);
        Self::start("in memory", pool, options).await
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
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    async fn start(
        path: &str,
        pool: SqlitePoolOptions,
        options: SqliteConnectOptions,
    ) -> Result<Self> {
        let unopened = |source| Error::Open { path: path.to_owned(), source: Arc::new(source) };
        let pool = pool.connect_with(options).await.map_err(unopened)?;
        migrator().run(&pool).await.map_err(|error| unmigrated(path, error))?;
        let (writer, queue) = mpsc::channel(QUEUE_LEN);
        tokio::spawn(write(pool.clone(), queue));
        Ok(Self { pool, writer })
    }
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
async fn write(pool: SqlitePool, mut queue: mpsc::Receiver<Batch>) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        match commit(&pool, &waiting).await {
            Ok(()) => answer(waiting.drain(..), &Ok(())),
            Err(error) if waiting.len() == 1 => answer(waiting.drain(..), &Err(error)),
            // One of them is at fault: each stands by itself, so that the others do not fail with it.
            Err(_) => {
                for batch in waiting.drain(..) {
                    let outcome = commit(&pool, std::slice::from_ref(&batch)).await;
                    answer([batch].into_iter(), &outcome);
                }
            }
        }
    }
}

async fn commit(pool: &SqlitePool, batches: &[Batch]) -> Result<()> {
    // A transaction that starts as a writer waits for its turn; one that becomes a writer later would fail.
    let begun = pool.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(Error::query("begin to write"))?;
    for change in batches.iter().flat_map(|batch| &batch.changes) {
        change.write(&mut transaction).await?;
    }
    transaction.commit().await.map_err(Error::query("commit what was written"))
}

fn answer(batches: impl Iterator<Item = Batch>, outcome: &Result<()>) {
    for batch in batches {
        // A caller that has gone away does not need the answer.
        let _ = batch.done.send(outcome.clone());
    }
}
