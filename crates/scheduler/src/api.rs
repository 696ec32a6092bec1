//! What the scheduler answers over HTTP.

use std::sync::Arc;

use alloy_primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use primitives::TaskId;
use tasks::ReplicaState;
use wire::Failure;
use wire::scheduler::{ComputeLogs, ResultBody, SchedulerApi, SchedulerRefusal, TaskModel};

use crate::books::{Books, Entry};
use crate::config::{Config, ResultStore};
use crate::gate::Doorkeeper;
use crate::model;
use crate::past::Past;

/// Answers from the books.
pub(crate) struct Desk {
    books: Arc<Mutex<Books>>,
    gate: Arc<Doorkeeper>,
    past: Past,
    results: Arc<dyn ResultStore>,
    chain_id: u64,
}

impl Desk {
    pub(crate) fn new(config: &Config, books: Arc<Mutex<Books>>, gate: Arc<Doorkeeper>) -> Self {
        let (past, chain_id) = (Past::new(config), config.client.chain_id());
        Self { books, gate, past, results: Arc::clone(&config.results), chain_id }
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
        let (requester, logs) =
            self.entry(task, |_, entry| (entry.deal.deal.requester, model::logs(entry))).await?;
        if requester == reader { Ok(logs) } else { Err(SchedulerRefusal::Forbidden) }
    }

    async fn accept_result(
        &self,
        task: TaskId,
        token: &str,
        body: ResultBody,
    ) -> Result<String, SchedulerRefusal> {
        let worker = self.gate.bearer(token).ok_or(SchedulerRefusal::Unauthorized)?;
        if !self.may_upload(task, worker)? {
            return Err(SchedulerRefusal::Forbidden);
        }
        self.results.keep(task, body).await.map_err(|failure| {
            let told = Failure::new(
                "GM-4206",
                format!("the result of {task} was not stored: {}", failure.reason),
                "",
            );
            if failure.is_senders_fault {
                SchedulerRefusal::Rejected(told)
            } else {
                SchedulerRefusal::Unavailable(told)
            }
        })
    }

    async fn knows(&self, task: TaskId) -> bool {
        self.books.lock().entry(task).is_some()
    }
}

impl Desk {
    /// Only a worker that was let in: nobody fills the store with what nobody asked for.
    fn may_upload(&self, task: TaskId, worker: Address) -> Result<bool, SchedulerRefusal> {
        let books = self.books.lock();
        let entry = books.entry(task).ok_or(SchedulerRefusal::NotFound)?;
        let state = entry.task.replica(worker).map(|replica| replica.state);
        Ok(matches!(
            state,
            Some(ReplicaState::Granted | ReplicaState::Contributed | ReplicaState::Revealed)
        ))
    }
}
