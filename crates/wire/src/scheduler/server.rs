//! What a scheduler must be able to answer, and the routes made of it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use primitives::TaskId;
use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::uploads;
use super::{
    ComputeLogs, LOGS_REALM, LogFeed, PoolNetwork, PoolReputation, TaskLogs, TaskModel, follow,
};
use crate::Failure;
use crate::auth::{Authorization, Challenge, OpenChallenges};
use crate::http::json_answer;
use crate::json::{ShapeError, parse_address};
use crate::parts::{UploadPlace, Uploaded};

/// The content of an upload as it arrives: bounded, read once. Reading it fails when the sender stops or exceeds the
/// limit.
pub type ResultBody = Pin<Box<dyn AsyncRead + Send>>;

/// How large a result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// The zip, in bytes.
    pub result_bytes_max: u64,
}

impl Default for UploadLimits {
    /// A little more than any program may write, since packing and encrypting add some.
    fn default() -> Self {
        Self { result_bytes_max: (1 << 30) + (64 << 20) }
    }
}

/// Why a scheduler does not answer what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerRefusal {
    /// The task is not known here.
    #[error("task not found")]
    NotFound,
    /// The caller has not proved who it is.
    #[error("invalid authorization")]
    Unauthorized,
    /// The caller may not have this.
    #[error("not allowed")]
    Forbidden,
    /// What was sent cannot be taken.
    #[error("{0}")]
    Rejected(Failure),
    /// A part of an upload that does not continue it.
    #[error("the upload goes on at byte {0}")]
    Misplaced(u64),
    /// There is no room for what was sent.
    #[error("{0}")]
    Full(Failure),
    /// Something behind the scheduler does not answer; asking again later may work.
    #[error("{0}")]
    Unavailable(Failure),
}

/// What a scheduler answers over HTTP.
#[async_trait]
pub trait SchedulerApi: Send + Sync + 'static {
    /// The chain it works on.
    fn chain_id(&self) -> u64;

    /// The task, if this scheduler knows it.
    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal>;

    /// What the task's programs printed; only for the deal's requester. `reader` has proved to be who it is.
    async fn logs(
        &self,
        task: TaskId,
        reader: Address,
    ) -> Result<Vec<ComputeLogs>, SchedulerRefusal>;

    /// The same as it comes, from after that number on; only for the deal's requester. A scheduler that keeps no logs as
    /// they come knows of none.
    async fn follow_logs(
        &self,
        _task: TaskId,
        _reader: Address,
        _after: u64,
    ) -> Result<LogFeed, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    /// What is known of its workers, if it is that workerpool's.
    async fn reputation(&self, _workerpool: Address) -> Result<PoolReputation, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    /// How many of its workers give that app's containers a network in that category, if it is that workerpool's.
    async fn network(
        &self,
        _workerpool: Address,
        _app: Address,
        _category: u64,
    ) -> Result<PoolNetwork, SchedulerRefusal> {
        Err(SchedulerRefusal::NotFound)
    }

    /// Stores a worker's result and says where: `/ipfs/<cid>`. The token is the one its login was answered with.
    async fn accept_result(
        &self,
        task: TaskId,
        token: &str,
        body: ResultBody,
    ) -> Result<String, SchedulerRefusal>;

    /// Where the upload of a worker's result stands; nothing if none was begun. A scheduler that takes no uploads in parts
    /// knows of none.
    async fn upload_place(
        &self,
        _task: TaskId,
        _token: &str,
    ) -> Result<Option<UploadPlace>, SchedulerRefusal> {
        Ok(None)
    }

    /// Takes a part of a worker's result.
    async fn accept_part(
        &self,
        _task: TaskId,
        _token: &str,
        _place: UploadPlace,
        _body: ResultBody,
    ) -> Result<Uploaded, SchedulerRefusal> {
        Err(rejected("GM-8605", "results are not taken in parts here"))
    }

    /// Whether the task is one of this scheduler's; decides who gets an upload where several answer at one origin.
    async fn knows(&self, task: TaskId) -> bool {
        self.task(task).await.is_ok()
    }
}

/// The routes of the schedulers at one origin.
pub fn router(
    schedulers: impl IntoIterator<Item = Arc<dyn SchedulerApi>>,
    limits: UploadLimits,
) -> Router {
    let challenges = OpenChallenges::new(CHALLENGE_LIFETIME, CHALLENGES_PER_WALLET, CHALLENGES_MAX);
    let schedulers = schedulers.into_iter().collect();
    let desk = Arc::new(Desk { schedulers, limits, challenges: Mutex::new(challenges) });
    Router::new()
        .route("/tasks/{id}", get(task))
        .route("/tasks/logs/challenge", get(logs_challenge))
        .route("/tasks/{id}/logs", get(logs))
        .route("/tasks/{id}/replicates/{wallet}", get(replicate))
        .route("/tasks/{id}/replicates/{wallet}/logs", get(replicate_logs))
        .route("/workerpools/{address}/reputation", get(reputation))
        .route("/workerpools/{address}/network", get(network))
        .route("/workers/results/{id}", post(upload).head(upload_place).patch(upload_part))
        // Uploads are streamed and have a limit of their own.
        .layer(DefaultBodyLimit::disable())
        .with_state(desk)
}

/// How long a wallet may read logs with one signature, as often as it likes; the official time.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3_600);
const CHALLENGES_PER_WALLET: usize = 4;
const CHALLENGES_MAX: usize = 10_000;

struct Desk {
    schedulers: Vec<Arc<dyn SchedulerApi>>,
    limits: UploadLimits,
    /// Of all schedulers here: a reader need not know which of them has its task.
    challenges: Mutex<OpenChallenges>,
}

impl Desk {
    async fn scheduler_of(&self, task: TaskId) -> Result<&Arc<dyn SchedulerApi>, SchedulerRefusal> {
        for scheduler in &self.schedulers {
            if self.schedulers.len() == 1 || scheduler.knows(task).await {
                return Ok(scheduler);
            }
        }
        Err(SchedulerRefusal::NotFound)
    }

    async fn task(&self, task: TaskId) -> Result<TaskModel, SchedulerRefusal> {
        for scheduler in &self.schedulers {
            match scheduler.task(task).await {
                Err(SchedulerRefusal::NotFound) => {}
                known => return known,
            }
        }
        Err(SchedulerRefusal::NotFound)
    }

    async fn logs(
        &self,
        task: &str,
        headers: &HeaderMap,
    ) -> Result<(TaskId, Vec<ComputeLogs>), SchedulerRefusal> {
        let (task, reader) = self.reader(task, headers)?;
        for scheduler in &self.schedulers {
            match scheduler.logs(task, reader).await {
                Err(SchedulerRefusal::NotFound) => {}
                known => return known.map(|logs| (task, logs)),
            }
        }
        Err(SchedulerRefusal::NotFound)
    }

    async fn follow(
        &self,
        task: &str,
        headers: &HeaderMap,
        after: u64,
    ) -> Result<LogFeed, SchedulerRefusal> {
        let (task, reader) = self.reader(task, headers)?;
        for scheduler in &self.schedulers {
            match scheduler.follow_logs(task, reader, after).await {
                Err(SchedulerRefusal::NotFound) => {}
                known => return known,
            }
        }
        Err(SchedulerRefusal::NotFound)
    }

    /// Who wants to read whose logs, proved.
    fn reader(
        &self,
        task: &str,
        headers: &HeaderMap,
    ) -> Result<(TaskId, Address), SchedulerRefusal> {
        let task = task_id(task)?;
        let authorization = authorization(headers)?;
        let reader = self.challenges.lock().check(&authorization, Instant::now());
        Ok((task, reader.ok_or(SchedulerRefusal::Unauthorized)?))
    }

    /// A challenge for reading logs, on the chain asked for if somebody here works on it.
    fn challenge(
        &self,
        wallet: Address,
        chain: Option<u64>,
    ) -> Result<Challenge, SchedulerRefusal> {
        let mut chains = self.schedulers.iter().map(|scheduler| scheduler.chain_id());
        let first = chains.clone().next().ok_or(SchedulerRefusal::NotFound)?;
        let chain_id = chain.filter(|chain| chains.any(|its| its == *chain)).unwrap_or(first);
        let fresh = Challenge::fresh(LOGS_REALM, chain_id, "");
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }
}

async fn task(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    let found = match task_id(&id) {
        Ok(task) => desk.task(task).await,
        Err(refusal) => Err(refusal),
    };
    answer(found)
}

async fn reputation(State(desk): State<Arc<Desk>>, Path(pool): Path<String>) -> Response {
    let found = async {
        let pool = wallet_of(&pool)?;
        for scheduler in &desk.schedulers {
            match scheduler.reputation(pool).await {
                Err(SchedulerRefusal::NotFound) => {}
                known => return known,
            }
        }
        Err(SchedulerRefusal::NotFound)
    };
    answer(found.await)
}

async fn network(
    State(desk): State<Arc<Desk>>,
    Path(pool): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let found = async {
        let asked = |name: &str| query.get(name).map_or("", String::as_str);
        let (pool, app) = (wallet_of(&pool)?, wallet_of(asked("app"))?);
        let category = asked("category").parse();
        let category = category.map_err(|_| rejected("GM-4511", "category must be a number"))?;
        for scheduler in &desk.schedulers {
            match scheduler.network(pool, app, category).await {
                Err(SchedulerRefusal::NotFound) => {}
                known => return known,
            }
        }
        Err(SchedulerRefusal::NotFound)
    };
    answer(found.await)
}

async fn replicate(
    State(desk): State<Arc<Desk>>,
    Path((id, wallet)): Path<(String, String)>,
) -> Response {
    let found = async {
        let (task, wallet) = (task_id(&id)?, wallet_of(&wallet)?);
        let replicates = desk.task(task).await?.replicates;
        let mine = replicates.into_iter().find(|replicate| replicate.wallet_address == wallet);
        mine.ok_or(SchedulerRefusal::NotFound)
    };
    answer(found.await)
}

async fn logs_challenge(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let chain = query.get("chainId").and_then(|chain| chain.parse().ok());
    let wallet = wallet_of(query.get("address").map_or("", String::as_str));
    let challenge = wallet.and_then(|wallet| desk.challenge(wallet, chain));
    answer(challenge.map(|challenge| challenge.to_json()))
}

async fn logs(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if query.get("follow").is_some_and(|follow| follow == "1" || follow == "true") {
        let after = query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
        return match desk.follow(&id, &headers, after).await {
            Ok(feed) => follow::answer(feed),
            Err(refusal) => answer::<()>(Err(refusal)),
        };
    }
    let logs = desk.logs(&id, &headers).await;
    answer(logs.map(|(task, logs)| TaskLogs { chain_task_id: task, compute_logs_list: logs }))
}

async fn replicate_logs(
    State(desk): State<Arc<Desk>>,
    Path((id, wallet)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let wallet = wallet_of(&wallet)?;
        let (_, logs) = desk.logs(&id, &headers).await?;
        let mine = logs.into_iter().find(|logs| logs.wallet_address == wallet);
        mine.ok_or(SchedulerRefusal::NotFound)
    };
    answer(found.await)
}

async fn upload(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let stored = async {
        let task = task_id(&id)?;
        let token = bearer(&headers).ok_or(SchedulerRefusal::Unauthorized)?;
        let body = bounded(body, &headers, desk.limits.result_bytes_max)?;
        let scheduler = desk.scheduler_of(task).await?;
        scheduler.accept_result(task, token, body).await
    };
    answer(stored.await.map(|location| json!({"location": location})))
}

async fn upload_place(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let task = task_id(&id)?;
        let token = bearer(&headers).ok_or(SchedulerRefusal::Unauthorized)?;
        desk.scheduler_of(task).await?.upload_place(task, token).await
    };
    uploads::standing(found.await)
}

async fn upload_part(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = async {
        let task = task_id(&id)?;
        let token = bearer(&headers).ok_or(SchedulerRefusal::Unauthorized)?;
        let place = UploadPlace::of(&headers).ok_or_else(|| {
            rejected("GM-4511", "a part says its Upload-Offset, Upload-Length and Upload-Sha256")
        })?;
        let limit = desk.limits.result_bytes_max;
        if place.size_bytes > limit {
            return Err(rejected("GM-4512", &format!("a result may have {limit} bytes at most")));
        }
        let body = bounded(body, &headers, limit)?;
        desk.scheduler_of(task).await?.accept_part(task, token, place, body).await
    };
    match taken.await {
        Ok(Uploaded::UpTo(offset)) => uploads::up_to(offset),
        Ok(Uploaded::Stored(location)) => answer(Ok(json!({"location": location}))),
        Err(refusal) => refused(&refusal),
    }
}

fn task_id(text: &str) -> Result<TaskId, SchedulerRefusal> {
    text.parse().map_err(|_| rejected("GM-4511", "a task id is 0x and 64 hexadecimal digits"))
}

fn wallet_of(text: &str) -> Result<Address, SchedulerRefusal> {
    parse_address("address", text).map_err(|ShapeError(reason)| rejected("GM-4511", &reason))
}

fn rejected(code: &str, message: &str) -> SchedulerRefusal {
    SchedulerRefusal::Rejected(Failure::new(code, message, ""))
}

fn authorization(headers: &HeaderMap) -> Result<Authorization, SchedulerRefusal> {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or(SchedulerRefusal::Unauthorized)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

/// The body as a reader that fails beyond the limit. A length announced beyond it is refused before anything is read.
fn bounded(body: Body, headers: &HeaderMap, limit: u64) -> Result<ResultBody, SchedulerRefusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
    let too_large = format!("a result may have {limit} bytes at most");
    if announced > limit {
        return Err(rejected("GM-4512", &too_large));
    }
    let mut left = limit;
    let chunks = body.into_data_stream().map_err(io::Error::other).map(move |chunk| {
        let chunk = chunk?;
        let len = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        left = left
            .checked_sub(len)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, too_large.clone()))?;
        Ok::<_, io::Error>(chunk)
    });
    Ok(Box::pin(StreamReader::new(chunks)))
}

fn answer<T: Serialize>(outcome: Result<T, SchedulerRefusal>) -> Response {
    match outcome {
        Ok(found) => json_answer(StatusCode::OK, &json!(found)),
        Err(refusal) => refused(&refusal),
    }
}

pub(super) fn refused(refusal: &SchedulerRefusal) -> Response {
    let status = match refusal {
        SchedulerRefusal::NotFound => StatusCode::NOT_FOUND,
        SchedulerRefusal::Unauthorized => StatusCode::UNAUTHORIZED,
        SchedulerRefusal::Forbidden => StatusCode::FORBIDDEN,
        SchedulerRefusal::Rejected(_) => StatusCode::BAD_REQUEST,
        SchedulerRefusal::Misplaced(_) => StatusCode::CONFLICT,
        SchedulerRefusal::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        SchedulerRefusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = match refusal {
        SchedulerRefusal::Rejected(failure)
        | SchedulerRefusal::Full(failure)
        | SchedulerRefusal::Unavailable(failure) => {
            json!({"error": failure.message, "failure": failure})
        }
        SchedulerRefusal::NotFound
        | SchedulerRefusal::Unauthorized
        | SchedulerRefusal::Misplaced(_)
        | SchedulerRefusal::Forbidden => json!({"error": refusal.to_string()}),
    };
    let answer = json_answer(status, &body);
    match refusal {
        SchedulerRefusal::Misplaced(offset) => uploads::misplaced(answer, *offset),
        _ => answer,
    }
}
