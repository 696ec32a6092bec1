//! The state and the logs of tasks, and uploads of results: what a scheduler answers over HTTP.
//!
//! | method, path | who | answer |
//! |---|---|---|
//! | `GET /tasks/{id}` | anybody | [`TaskModel`], or 404 |
//! | `GET /tasks/{id}/replicates/{wallet}` | anybody | [`ReplicateModel`], or 404 |
//! | `GET /tasks/logs/challenge?chainId&address` | anybody | typed data to sign, bare |
//! | `GET /tasks/{id}/logs` | the requester, by `Authorization` | [`TaskLogs`] |
//! | `POST /workers/results/{id}` | a worker, by bearer token | `{"location": "/ipfs/…"}` |
//!
//! The shapes of the first four are those of the official scheduler, with a few fields more. Several schedulers may
//! answer at one origin: each is asked in turn until one knows the task.
//!
//! **Layout:** `model` the shapes · `server` trait and router · `client`.

mod client;
mod model;
mod server;

pub use client::SchedulerClient;
pub use model::{
    ChainReceipt, ComputeLogs, DatedStatus, ReplicateModel, StatusUpdate, TaskLogs, TaskModel,
    Waiting,
};
pub use server::{ResultBody, SchedulerApi, SchedulerRefusal, UploadLimits, router};

/// The name that log challenges are signed under.
pub const LOGS_REALM: &str = "iExec Core";
