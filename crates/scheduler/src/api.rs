//! What the scheduler answers over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use primitives::TaskId;
use tasks::ReplicaState;
use wire::Failure;
use wire::auth::{Authorization, Challenge, OpenChallenges};
use wire::scheduler::{
    ComputeLogs, LOGS_REALM, ResultBody, SchedulerApi, SchedulerRefusal, TaskModel,
};

use crate::books::Books;
use crate::config::ResultStore;
use crate::gate::Doorkeeper;
use crate::model;

const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3_600);
const CHALLENGES_PER_WALLET: usize = 4;
const CHALLENGES_MAX: usize = 10_000;

/// Answers from the books.
pub(crate) struct Desk {
    books: Arc<Mutex<Books>>,
    gate: Arc<Doorkeeper>,
    results: Arc<dyn ResultStore>,
    chain_id: u64,
    challenges: Mutex<OpenChallenges>,
}

impl Desk {
    pub(crate) fn new(
        books: Arc<Mutex<Books>>,
        gate: Arc<Doorkeeper>,
        results: Arc<dyn ResultStore>,
        chain_id: u64,
    ) -> Self {
        let challenges =
            OpenChallenges::new(CHALLENGE_LIFETIME, CHALLENGES_PER_WALLET, CHALLENGES_MAX);
        Self { books, gate, results, chain_id, challenges: Mutex::new(challenges) }
    }
}

#[async_trait]
impl SchedulerApi for Desk {
    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        let books = self.books.lock();
        books.entry(task).map(model::task_model).ok_or(SchedulerRefusal::NotFound)
    }

    async fn logs_challenge(&self, wallet: Address) -> Result<Challenge, SchedulerRefusal> {
        let fresh = Challenge::fresh(LOGS_REALM, self.chain_id, "");
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }

    async fn logs(
        &self,
        task: TaskId,
        authorization: &Authorization,
    ) -> Result<Vec<ComputeLogs>, SchedulerRefusal> {
        let (requester, logs) = {
            let books = self.books.lock();
            let entry = books.entry(task).ok_or(SchedulerRefusal::NotFound)?;
            (entry.deal.deal.requester, model::logs(entry))
        };
        let wallet = self.challenges.lock().check(authorization, Instant::now());
        match wallet {
            None => Err(SchedulerRefusal::Unauthorized),
            Some(wallet) if wallet != requester => Err(SchedulerRefusal::Forbidden),
            Some(_) => Ok(logs),
        }
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
