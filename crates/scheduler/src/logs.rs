//! What programs printed: kept on disk for a while, and told to those who follow it.
//!
//! ```text
//! workers ──pieces──▶ books ──▶ pending ──every quarter of a second──▶ store ──▶ followers, readers
//! ```
//!
//! Everything is bounded: what waits to be written, what is kept of one task and of all, for how long, and how many follow.
//! The oldest goes first. A scheduler that is killed loses what it had not written yet; one that is stopped, nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_primitives::Address;
use parking_lot::Mutex;
use primitives::TaskId;
use store::{Change, LogRow, Store};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use wire::UnixMillis;
use wire::link::{LOG_TEXT_BYTES_MAX, LogStream};
use wire::scheduler::LogPiece;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Of one task, in bytes; the end of it.
    pub task_bytes: u64,
    /// Of all tasks, in bytes.
    pub all_bytes: u64,
    /// For how long.
    pub keep: Duration,
    /// How many may follow at once.
    pub followers: usize,
}

impl Default for LogLimits {
    /// A megabyte of each task, 256 of all, for three days, and 256 followers.
    fn default() -> Self {
        Self {
            task_bytes: 1 << 20,
            all_bytes: 256 << 20,
            keep: Duration::from_secs(3 * 24 * 3_600),
            followers: 256,
        }
    }
}

/// How long pieces gather before they are written together.
const GATHER: Duration = Duration::from_millis(250);
/// How often it is looked for what is too old.
const SWEEP: Duration = Duration::from_secs(600);
/// What may wait to be written.
const PENDING_BYTES_MAX: u64 = 16 << 20;
/// Pieces looked at in one go when something must go.
const SWEEP_ROWS: u32 = 4_096;
/// Tasks whose size is remembered.
const SIZES_MAX: usize = 8_192;

/// Keeps logs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shelf {
    inner: Arc<Inner>,
}

struct Inner {
    workerpool: Address,
    store: Store,
    limits: LogLimits,
    pending: Mutex<Pending>,
    /// Held while writing, so that whoever reads afterwards finds everything.
    sizes: tokio::sync::Mutex<Sizes>,
    next: AtomicU64,
    wake: Notify,
    /// Counts up when something was written.
    written: watch::Sender<u64>,
    followers: Arc<Semaphore>,
}

#[derive(Default)]
struct Pending {
    rows: Vec<LogRow>,
    bytes: u64,
    lost: u64,
}

/// What is kept, in bytes.
struct Sizes {
    all: u64,
    /// Whether `all` is of more than what this process wrote: adding up takes long where there is much.
    is_counted: bool,
    /// Of tasks that something was written of lately.
    tasks: HashMap<TaskId, Size>,
    /// Whether the store may hold pieces of a task that is not in the map.
    has_others: bool,
}

/// What is kept of a task.
#[derive(Clone, Copy)]
struct Size {
    bytes: u64,
    /// Whether there may be more of it than that. Asked only of a task that prints much, so most cost no question.
    is_least: bool,
}

/// A piece, before it has a number.
#[derive(Debug)]
pub(crate) struct Print {
    pub(crate) task: TaskId,
    pub(crate) worker: Address,
    pub(crate) is_error: bool,
    pub(crate) text: String,
    /// Bytes before it that the worker left out.
    pub(crate) missed: u64,
}

impl Shelf {
    pub(crate) async fn open(
        workerpool: Address,
        store: Store,
        limits: LogLimits,
    ) -> store::Result<Self> {
        let last = store.last_log(workerpool).await?;
        let has_others = last > 0;
        let sizes = Sizes { all: 0, is_counted: !has_others, tasks: HashMap::new(), has_others };
        let inner = Inner {
            workerpool,
            store,
            limits,
            pending: Mutex::default(),
            sizes: tokio::sync::Mutex::new(sizes),
            next: AtomicU64::new(last + 1),
            wake: Notify::new(),
            written: watch::channel(0).0,
            followers: Arc::new(Semaphore::new(limits.followers)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes a piece. When the disk is too slow for them, the newest are left out.
    pub(crate) fn put(&self, print: Print) {
        let Print { task, worker, is_error, mut text, missed } = print;
        text.truncate(text.floor_char_boundary(LOG_TEXT_BYTES_MAX));
        if missed > 0 {
            text.insert_str(0, &format!("\n[{missed} bytes are left out here]\n"));
        }
        let row = LogRow {
            workerpool: self.inner.workerpool,
            seq: self.inner.next.fetch_add(1, Ordering::Relaxed),
            task,
            worker,
            is_error,
            at_ms: UnixMillis::now().0,
            text,
        };
        let mut pending = self.inner.pending.lock();
        if pending.bytes.saturating_add(row.bytes()) > PENDING_BYTES_MAX {
            pending.lost += 1;
            return;
        }
        pending.bytes += row.bytes();
        pending.rows.push(row);
        self.inner.wake.notify_one();
    }

    /// Writes what comes, until stopped; then what is left.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.wake.notified() => {
                    let _ = stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
                    self.write().await;
                }
                _ = sweep.tick() => self.sweep().await,
            }
        }
        self.write().await;
    }

    /// A task's pieces after that number, oldest first, at most `limit`; also those that were taken only now.
    pub(crate) async fn read(
        &self,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> store::Result<Vec<LogPiece>> {
        self.write().await;
        let inner = &self.inner;
        let rows = inner.store.logs_of(inner.workerpool, task, after, limit).await?;
        Ok(rows.into_iter().map(piece).collect())
    }

    /// Leave to follow, if there is room for one more.
    pub(crate) fn seat(&self) -> Option<(OwnedSemaphorePermit, watch::Receiver<u64>)> {
        let permit = Arc::clone(&self.inner.followers).try_acquire_owned().ok()?;
        Some((permit, self.inner.written.subscribe()))
    }

    async fn write(&self) {
        let inner = &self.inner;
        let mut sizes = inner.sizes.lock().await;
        let Pending { rows, lost, .. } = std::mem::take(&mut *inner.pending.lock());
        if lost > 0 {
            tracing::warn!(lost, "pieces of logs came faster than they could be written");
        }
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.write_rows(&mut sizes, rows).await {
            tracing::warn!(%error, "what programs printed was not kept");
        }
        drop(sizes);
        inner.written.send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn write_rows(&self, sizes: &mut Sizes, rows: Vec<LogRow>) -> store::Result<()> {
        let (inner, mut grown) = (&self.inner, HashMap::<TaskId, u64>::new());
        for row in &rows {
            *grown.entry(row.task).or_default() += row.bytes();
        }
        let more: u64 = grown.values().sum();
        let changes = rows.into_iter().map(|row| Change::PutLog(Box::new(row))).collect();
        inner.store.apply(changes).await?;
        sizes.all = sizes.all.saturating_add(more);
        for (task, bytes) in grown {
            let unknown = Size { bytes: 0, is_least: sizes.has_others };
            let mut size = sizes.tasks.get(&task).copied().unwrap_or(unknown);
            size.bytes = size.bytes.saturating_add(bytes);
            let most = inner.limits.task_bytes;
            if size.is_least && size.bytes > most / 4 {
                let bytes = inner.store.log_bytes_of(inner.workerpool, task).await?;
                size = Size { bytes, is_least: false };
            }
            size.bytes = self.cut(sizes, Some(task), size.bytes, most).await?;
            if sizes.tasks.len() >= SIZES_MAX {
                sizes.tasks.clear();
                sizes.has_others = true;
            }
            sizes.tasks.insert(task, size);
        }
        let all = sizes.all;
        if self.cut(sizes, None, all, inner.limits.all_bytes).await? < all {
            sizes.tasks.clear();
            sizes.has_others = true;
        }
        Ok(())
    }

    /// Throws the oldest pieces away, of a task or of all, if there are too many bytes of them: down to three quarters, so
    /// that it does not happen for each piece. What is left.
    async fn cut(
        &self,
        sizes: &mut Sizes,
        task: Option<TaskId>,
        mut size: u64,
        most: u64,
    ) -> store::Result<u64> {
        if size <= most {
            return Ok(size);
        }
        let (inner, enough) = (&self.inner, most / 4 * 3);
        while size > enough {
            let oldest = inner.store.oldest_logs(inner.workerpool, task, SWEEP_ROWS).await?;
            let mut through = None;
            for stub in &oldest {
                if size <= enough {
                    break;
                }
                size = size.saturating_sub(stub.bytes);
                sizes.all = sizes.all.saturating_sub(stub.bytes);
                through = Some(stub.seq);
            }
            let Some(through) = through else { return Ok(0) };
            self.forget(task, through).await?;
        }
        Ok(size)
    }

    /// Throws away what is too old.
    async fn sweep(&self) {
        let keep = u64::try_from(self.inner.limits.keep.as_millis()).unwrap_or(u64::MAX);
        let before = UnixMillis::now().0.saturating_sub(keep);
        let mut sizes = self.inner.sizes.lock().await;
        if let Err(error) = self.sweep_before(&mut sizes, before).await {
            tracing::warn!(%error, "old logs were not thrown away");
        }
    }

    async fn sweep_before(&self, sizes: &mut Sizes, before_ms: u64) -> store::Result<()> {
        let inner = &self.inner;
        if !sizes.is_counted {
            sizes.all = inner.store.log_bytes(inner.workerpool).await?;
            sizes.is_counted = true;
        }
        loop {
            let oldest = inner.store.oldest_logs(inner.workerpool, None, SWEEP_ROWS).await?;
            let old: Vec<_> = oldest.iter().take_while(|stub| stub.at_ms < before_ms).collect();
            let Some(last) = old.last() else { return Ok(()) };
            self.forget(None, last.seq).await?;
            let gone: u64 = old.iter().map(|stub| stub.bytes).sum();
            sizes.all = sizes.all.saturating_sub(gone);
            sizes.tasks.clear();
            sizes.has_others = true;
        }
    }

    async fn forget(&self, task: Option<TaskId>, through: u64) -> store::Result<()> {
        let workerpool = self.inner.workerpool;
        self.inner.store.apply(vec![Change::ForgetLogs { workerpool, task, through }]).await
    }
}

fn piece(row: LogRow) -> LogPiece {
    LogPiece {
        seq: row.seq,
        at: UnixMillis(row.at_ms),
        worker: row.worker,
        stream: if row.is_error { LogStream::Stderr } else { LogStream::Stdout },
        text: row.text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    const POOL: Address = Address::repeat_byte(3);

    fn task(number: u8) -> TaskId {
        TaskId(B256::with_last_byte(number))
    }

    fn print(number: u8, text: &str) -> Print {
        let (task, worker) = (task(number), Address::repeat_byte(1));
        Print { task, worker, is_error: false, text: text.to_owned(), missed: 0 }
    }

    async fn texts(shelf: &Shelf, number: u8) -> Vec<String> {
        let pieces = shelf.read(task(number), 0, 10_000).await.unwrap();
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[tokio::test]
    async fn pieces_are_read_in_order_and_after_a_restart() {
        let store = Store::in_memory().await.unwrap();
        let shelf = Shelf::open(POOL, store.clone(), LogLimits::default()).await.unwrap();
        shelf.put(print(1, "one "));
        shelf.put(print(2, "other"));
        shelf.put(Print { missed: 9, ..print(1, "two") });
        let expected = ["one ", "\n[9 bytes are left out here]\ntwo"];
        assert_eq!(texts(&shelf, 1).await, expected);
        let again = Shelf::open(POOL, store.clone(), LogLimits::default()).await.unwrap();
        again.put(print(1, "three"));
        let pieces = again.read(task(1), 0, 10).await.unwrap();
        assert!(pieces.is_sorted_by_key(|piece| piece.seq) && pieces.len() == 3, "{pieces:?}");
        let after = again.read(task(1), pieces[1].seq, 10).await.unwrap();
        assert_eq!(after.len(), 1);
        let neighbour = Shelf::open(Address::ZERO, store, LogLimits::default()).await.unwrap();
        assert_eq!(texts(&neighbour, 1).await, [""; 0]);
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_is_too_much() {
        let store = Store::in_memory().await.unwrap();
        let limits = LogLimits { task_bytes: 4_000, all_bytes: 10_000, ..LogLimits::default() };
        let shelf = Shelf::open(POOL, store.clone(), limits).await.unwrap();
        for number in 0..100 {
            shelf.put(print(1, &format!("{number:0>100}")));
            if number % 7 == 0 {
                shelf.write().await;
            }
        }
        let kept = texts(&shelf, 1).await;
        assert!((5..18).contains(&kept.len()), "{} pieces", kept.len());
        assert!(kept.last().unwrap().ends_with("99"), "the end is kept");
        for number in 2..40 {
            shelf.put(print(number, &"x".repeat(500)));
        }
        shelf.write().await;
        let all = store.log_bytes(POOL).await.unwrap();
        assert!(all <= limits.all_bytes, "{all} bytes");
        assert_eq!(texts(&shelf, 1).await, [""; 0], "the oldest of all");
        assert_eq!(texts(&shelf, 39).await.len(), 1);

        // The same goes for what another process left: of all, and of a task that goes on.
        let shelf = Shelf::open(POOL, store.clone(), limits).await.unwrap();
        shelf.sweep().await;
        for number in 0..40 {
            shelf.put(print(39, &format!("{number:0>500}")));
            shelf.write().await;
            let (task, all) =
                (store.log_bytes_of(POOL, task(39)).await, store.log_bytes(POOL).await);
            let (task, all) = (task.unwrap(), all.unwrap());
            // Of what it does not know yet it finds out when a quarter more has come.
            assert!(task <= limits.task_bytes / 4 * 5 && all <= limits.all_bytes, "{task}, {all}");
        }
    }

    #[tokio::test]
    async fn what_is_too_old_is_thrown_away() {
        let store = Store::in_memory().await.unwrap();
        let shelf = Shelf::open(POOL, store, LogLimits::default()).await.unwrap();
        shelf.put(print(1, "old"));
        shelf.write().await;
        shelf.sweep().await;
        assert_eq!(texts(&shelf, 1).await, ["old"]);
        let mut sizes = shelf.inner.sizes.lock().await;
        shelf.sweep_before(&mut sizes, u64::MAX).await.unwrap();
        assert_eq!(sizes.all, 0);
        drop(sizes);
        assert_eq!(texts(&shelf, 1).await, [""; 0]);
    }
}
