//! The state and the logs of tasks, and uploads of results: what a scheduler answers over HTTP.
//!
//! | method, path | who | answer |
//! |---|---|---|
//! | `GET /tasks/{id}` | anybody | [`TaskModel`], or 404 |
//! | `GET /tasks/{id}/replicates/{wallet}` | anybody | [`ReplicateModel`], or 404 |
//! | `GET /tasks/logs/challenge?chainId&address` | anybody | typed data to sign, bare |
//! | `GET /tasks/{id}/logs` | the requester, by `Authorization` | [`TaskLogs`] |
//! | `GET /tasks/{id}/logs?follow=1` | the same | lines of JSON as they come, see `follow` |
//! | `GET /workerpools/{address}/reputation` | anybody | [`PoolReputation`], or 404 |
//! | `GET /workerpools/{address}/network?app&category` | anybody | [`PoolNetwork`], or 404 |
//! | `POST /workers/results/{id}` | a worker, by bearer token | `{"location": "/ipfs/…"}` |
//! | `HEAD`, `PATCH /workers/results/{id}` | the same, in parts | see `uploads` |
//!
//! The shapes of the first four are those of the official scheduler, with a few fields more. Several schedulers may
//! answer at one origin: each is asked in turn until one knows the task.
//!
//! **Layout:** `model`, `reputation` the shapes · `server` trait and router · `uploads` in parts · `client`.

mod client;
pub(crate) mod follow;
mod model;
mod reputation;
mod server;
mod uploads;

pub use client::SchedulerClient;
pub use follow::{LogFeed, LogNews, LogPiece};
pub use model::{
    ChainReceipt, ComputeLogs, DatedStatus, ReplicateModel, StatusUpdate, TaskLogs, TaskModel,
    Waiting,
};
pub use reputation::{
    Confidence, PoolNetwork, PoolReputation, Reputation, WORKERS_MAX, WorkerReputation,
};
pub use server::{ResultBody, SchedulerApi, SchedulerRefusal, UploadLimits, router};

pub use crate::parts::{Parcel, UploadPlace, Uploaded};

/// The name that log challenges are signed under.
pub const LOGS_REALM: &str = "iExec Core";
