//! What the scheduler answers over HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use primitives::TaskId;
use tasks::{ReplicaState, Status};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wire::Failure;
use wire::link::LogStream;
use wire::scheduler::{
    ComputeLogs, LogFeed, LogNews, LogPiece, PoolNetwork, PoolReputation, ResultBody, SchedulerApi,
    SchedulerRefusal, TaskModel, UploadPlace, Uploaded,
};

use crate::books::{Books, Entry};
use crate::config::{Config, Delivery, ResultStore, StoreFailure, StoreFault};
use crate::gate::Doorkeeper;
use crate::logs::Shelf;
use crate::model;
use crate::past::Past;

/// Answers from the books.
pub(crate) struct Desk {
    books: Arc<Mutex<Books>>,
    gate: Arc<Doorkeeper>,
    past: Past,
    results: Arc<dyn ResultStore>,
    shelf: Shelf,
    chain_id: u64,
}

/// Pieces of a log that are read at once; a task has fewer, of what is kept.
const PIECES_MAX: u32 = 65_536;
/// Pieces that a follower is told in one go.
const PIECES_PER_READ: u32 = 256;
/// How often a follower looks whether the task has ended, and how many looks make a sign of life.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_PER_SIGN: u32 = 10;

impl Desk {
    pub(crate) fn new(
        config: &Config,
        books: Arc<Mutex<Books>>,
        gate: Arc<Doorkeeper>,
        shelf: Shelf,
    ) -> Self {
        let (past, chain_id) = (Past::new(config), config.client.chain_id());
        Self { books, gate, past, results: Arc::clone(&config.results), shelf, chain_id }
    }

    /// What `read` makes of the task, from the books or, if they have forgotten it, from the chain.
    async fn entry<T>(
        &self,
        task: TaskId,
        read: impl Fn(&Books, &Entry) -> T,
    ) -> Result<T, SchedulerRefusal> {
        {
            let books = self.books.lock();
            if let Some(entry) = books.entry(task) {
                return Ok(read(&books, entry));
            }
        }
        let past = self.past.task(task).await.map_err(|error| {
            let told = format!("the chain does not say what became of {task}: {error}");
            SchedulerRefusal::Unavailable(Failure::new("GM-4209", told, "ask again later"))
        })?;
        let entry = past.ok_or(SchedulerRefusal::NotFound)?;
        Ok(read(&self.books.lock(), &entry))
    }
}

#[async_trait]
impl SchedulerApi for Desk {
    fn chain_id(&self) -> u64 {
        self.chain_id
    }

    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        self.entry(task, model::task_model).await
    }

    async fn logs(
        &self,
        task: TaskId,
        reader: Address,
    ) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        let (requester, tails) =
            self.entry(task, |_, entry| (entry.deal.deal.requester, model::logs(entry))).await?;
        if requester != reader {
            return Err(SchedulerRefusal::Forbidden);
        }
        let pieces = self.shelf.read(task, 0, PIECES_MAX).await.map_err(|error| no_logs(&error))?;
        let mut logs = together(pieces);
        let known: Vec<_> = logs.iter().map(|log| log.wallet_address).collect();
        logs.extend(tails.into_iter().filter(|tail| !known.contains(&tail.wallet_address)));
        Ok(logs)
    }

    async fn follow_logs(
        &self,
        task: TaskId,
        reader: Address,
        after: u64,
    ) -> Result<LogFeed, SchedulerRefusal> {
        let requester = self.entry(task, |_, entry| entry.deal.deal.requester).await?;
        if requester != reader {
            return Err(SchedulerRefusal::Forbidden);
        }
        let Some((seat, written)) = self.shelf.seat() else {
            let told = "too many follow logs here at once".to_owned();
            let told = Failure::new("GM-8502", told, "read them without following, or come later");
            return Err(SchedulerRefusal::Unavailable(told));
        };
        let (shelf, books) = (self.shelf.clone(), Arc::clone(&self.books));
        Ok(Box::pin(Follower { task, after, shelf, books, written, _seat: seat }.feed()))
    }

    async fn reputation(&self, workerpool: Address) -> Result<PoolReputation, SchedulerRefusal> {
        let books = self.books.lock();
        if books.workerpool() == workerpool {
            Ok(model::reputation(&books))
        } else {
            Err(SchedulerRefusal::NotFound)
        }
    }

    async fn network(
        &self,
        workerpool: Address,
        app: Address,
        category: u64,
    ) -> Result<PoolNetwork, SchedulerRefusal> {
        let books = self.books.lock();
        if books.workerpool() == workerpool {
            Ok(books.network(app, category))
        } else {
            Err(SchedulerRefusal::NotFound)
        }
    }

    async fn accept_result(
        &self,
        task: TaskId,
        token: &str,
        body: ResultBody,
    ) -> Result<String, SchedulerRefusal> {
        let delivery = self.delivery(task, token)?;
        self.results.keep(delivery, body).await.map_err(|failure| not_stored(task, &failure))
    }

    async fn upload_place(
        &self,
        task: TaskId,
        token: &str,
    ) -> Result<Option<UploadPlace>, SchedulerRefusal> {
        let delivery = self.delivery(task, token)?;
        self.results.place(delivery).await.map_err(|failure| not_stored(task, &failure))
    }

    async fn accept_part(
        &self,
        task: TaskId,
        token: &str,
        place: UploadPlace,
        body: ResultBody,
    ) -> Result<Uploaded, SchedulerRefusal> {
        let delivery = self.delivery(task, token)?;
        let results = Arc::clone(&self.results);
        // What is whole is brought to its place even if the sender has lost patience: he asks again, and is told.
        let taken = tokio::spawn(async move { results.take(delivery, place, body).await });
        match taken.await {
            Ok(taken) => taken.map_err(|failure| not_stored(task, &failure)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn knows(&self, task: TaskId) -> bool {
        self.books.lock().entry(task).is_some()
    }
}

impl Desk {
    /// What that worker sends, if it may. Only one that was let in: nobody fills the store with what nobody asked for.
    fn delivery(&self, task: TaskId, token: &str) -> Result<Delivery, SchedulerRefusal> {
        let worker = self.gate.bearer(token).ok_or(SchedulerRefusal::Unauthorized)?;
        let books = self.books.lock();
        let entry = books.entry(task).ok_or(SchedulerRefusal::NotFound)?;
        let state = entry.task.replica(worker).map(|replica| replica.state);
        let may = matches!(
            state,
            Some(ReplicaState::Granted | ReplicaState::Contributed | ReplicaState::Revealed)
        );
        let needed_until = entry.task.terms.final_deadline;
        if may {
            Ok(Delivery { task, worker, needed_until })
        } else {
            Err(SchedulerRefusal::Forbidden)
        }
    }
}

fn not_stored(task: TaskId, failure: &StoreFailure) -> SchedulerRefusal {
    let told = format!("the result of {task} was not stored: {}", failure.reason);
    match failure.kind {
        StoreFault::Sender => SchedulerRefusal::Rejected(Failure::new("GM-4206", told, "")),
        StoreFault::Misplaced(offset) => SchedulerRefusal::Misplaced(offset),
        StoreFault::Full => SchedulerRefusal::Full(Failure::new(
            "GM-8601",
            told,
            "the operator makes room: gristmill blobs gc, a larger disk, or a larger blobs.max_bytes",
        )),
        StoreFault::Store => SchedulerRefusal::Unavailable(Failure::new("GM-4206", told, "")),
    }
}

fn no_logs(error: &store::Error) -> SchedulerRefusal {
    let told = format!("the logs cannot be read: {error}");
    SchedulerRefusal::Unavailable(Failure::new("GM-8503", told, "ask again later"))
}

/// Pieces as the official answer has them: all that a worker's program printed, in one text for each stream.
fn together(pieces: Vec<LogPiece>) -> Vec<ComputeLogs> {
    let mut by_worker: BTreeMap<Address, ComputeLogs> = BTreeMap::new();
    for piece in pieces {
        let logs = by_worker.entry(piece.worker).or_insert_with(|| ComputeLogs {
            wallet_address: piece.worker,
            stdout: String::new(),
            stderr: String::new(),
        });
        match piece.stream {
            LogStream::Stdout => logs.stdout.push_str(&piece.text),
            LogStream::Stderr => logs.stderr.push_str(&piece.text),
        }
    }
    by_worker.into_values().collect()
}

/// Somebody who reads along.
struct Follower {
    task: TaskId,
    /// The last piece that was told.
    after: u64,
    shelf: Shelf,
    books: Arc<Mutex<Books>>,
    written: watch::Receiver<u64>,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    /// Tells until the task has ended and everything is told.
    fn feed(self) -> impl futures::Stream<Item = LogNews> + Send {
        futures::stream::unfold((Some(self), VecDeque::new()), |(follower, mut told)| async move {
            let mut follower = follower;
            if told.is_empty()
                && let Some(it) = follower.as_mut()
            {
                told = it.next().await;
                if matches!(told.back(), Some(LogNews::End { .. })) {
                    follower = None;
                }
            }
            told.pop_front().map(|news| (news, (follower, told)))
        })
    }

    async fn next(&mut self) -> VecDeque<LogNews> {
        for _ in 0..LOOKS_PER_SIGN {
            self.written.mark_unchanged();
            // Asked before reading: what is written until then is read, so the end comes last.
            let ended = self.ended();
            match self.shelf.read(self.task, self.after, PIECES_PER_READ).await {
                Ok(pieces) if !pieces.is_empty() => {
                    self.after = pieces.last().map_or(self.after, |piece| piece.seq);
                    return pieces.into_iter().map(LogNews::Piece).collect();
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "logs cannot be read"),
            }
            if let Some(status) = ended {
                return VecDeque::from([LogNews::End { status }]);
            }
            // Whichever comes first; a scheduler that has stopped writes no more, and its listener goes.
            let _ = tokio::time::timeout(LOOK, self.written.changed()).await;
        }
        VecDeque::from([LogNews::Alive])
    }

    /// How the task ended, if it has. One that the books have forgotten has.
    fn ended(&self) -> Option<String> {
        let books = self.books.lock();
        match books.entry(self.task) {
            Some(entry) if !is_over(entry) => None,
            Some(entry) => Some(model::current_status(entry).to_owned()),
            None => Some("COMPLETED".to_owned()),
        }
    }
}

/// Whether no program will print anything more.
fn is_over(entry: &Entry) -> bool {
    matches!(entry.task.status(), Status::Completed | Status::Failed | Status::Doomed)
}
