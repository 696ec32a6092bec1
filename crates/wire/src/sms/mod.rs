//! The door of secrets: the official secret management service (SMS), and the broker that gives sessions to enclaves.
//!
//! | method, path | who | answer |
//! |---|---|---|
//! | `HEAD /secrets/web3?secretAddress` | anybody | 204 there is one, 404 |
//! | `POST /secrets/web3?secretAddress` | the dataset's owner | 204; 401, 409, 413 |
//! | `HEAD /secrets/web2?ownerAddress&secretName` | anybody | 204, 404 |
//! | `POST`, `PUT /secrets/web2?ownerAddress&secretName` | the owner | 204; 401, 413; 409 (`POST`), 404 (`PUT`) |
//! | `HEAD`, `POST /requesters/{address}/secrets/{key}` | anybody; the requester | 204; 400, 401, 404, 409 |
//! | `HEAD`, `POST /apps/{address}/secrets` | anybody; the app's owner | 204; 401, 404, 409, 413 |
//! | `GET /tee/framework` | anybody | `"TDX"`; 404 when nothing trusted runs here |
//! | `GET /tee/properties/{framework}[/{version}]` | anybody | [`TeeProperties`]; 404 version, 409 framework |
//! | `POST /tee/challenges/{task}` | the workerpool's owner | the address of the task's enclave, as text; 401, 404 |
//! | `POST /tee/sessions` | a worker | [`SessionTicket`]; 401 or 500 with a [`SessionError`] |
//! | `POST /simulated-tdx/sessions/{id}` | an enclave | the [`Session`], sealed to its key; ours, not the original's |
//!
//! Proof of who asks is the header `Authorization`: the signature alone, in hex, over the messages of
//! [`seal::challenge`]. Values travel as text and are signed as they are, so not a byte of them is changed here.
//!
//! ```text
//! worker ── POST /tee/sessions ──▶ SMS      who may run this task? the chain knows ── ticket ──▶ worker
//! enclave ─ POST {broker}/sessions/{id} ──▶ evidence for an ephemeral key ── sealed session ──▶ enclave
//! ```
//!
//! **Layout:** `model` the shapes · `session` what an enclave is given · `server` trait and routes · `admin` backups, for the
//! operator · `client`.

pub mod admin;
mod client;
mod model;
mod server;
mod session;

pub use client::{SmsClient, fetch_session};
pub use model::{
    Framework, Release, SecretsMetric, SessionError, SessionTicket, StageProperties, TeeProperties,
    WorkerpoolAuthorization,
};
pub use server::{Sms, SmsError, Write, router, standalone};
pub use session::{Environment, Service, Session, Stage};

/// The path of the broker for software enclaves, below the origin.
pub const BROKER_PATH: &str = "/simulated-tdx";
/// The largest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 4096;
