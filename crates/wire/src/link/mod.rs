//! The connection between a scheduler and each of its workers.
//!
//! One websocket per worker, opened by the worker, so a worker needs no open port. Both ends prove who they are before
//! anything else is said, each over a nonce that the other has just made up, so nothing can be replayed:
//!
//! ```text
//! worker ── GET /workers/connect?workerpool=…&nonce=… ──▶ scheduler
//!        ◀── hello   {protocol, workerpool, scheduler, chainId, hub, nonce, proof}      the pool owner's signature
//!        ──▶ login   {worker, signature, capabilities, holding}                         the worker's signature
//!        ◀── welcome {token, revision}  |  refused {error}
//!        ◀── assign · contribute · settle · reveal · release
//!                             computed · failed · contributed · unsettled · revealed · uploaded · draining ──▶
//!                             log · paused · resumed · returned · warm (if welcome says revision ≥ 1) ──▶
//! ```
//!
//! Frames are JSON text, `{"type": "…", …}`, and bounded; so are the queues on both sides. Silence is noticed through
//! websocket pings. What to do with a message is for `scheduler` and `worker` to decide; here is only how it travels.
//!
//! **Layout:** `capabilities` what a worker offers · `message` what is said · `proof` what is signed · `session` a connection once it stands · `client` the
//! worker's end · `server` the scheduler's end.

mod capabilities;
mod client;
mod message;
mod proof;
mod server;
mod session;

use crate::Failure;

pub use capabilities::{
    Capabilities, Enclave, GPUS_MAX, GRANTS_MAX, Gpu, IMAGES_MAX, NetworkGrant, TEXT_BYTES_MAX,
    warm,
};
pub use client::{ClientConfig, LinkClient, WorkerLink};
pub use message::{
    Blame, EnclaveTask, LOG_TEXT_BYTES_MAX, LogStream, RunFailure, SETTLE_MAX, ToScheduler,
    ToWorker,
};
pub use server::{Arrival, Gate, Identity, SchedulerLink, router};
pub use session::{LinkReceiver, LinkSender};

/// The version of this protocol; both ends must speak the same.
pub const PROTOCOL: u32 = 1;

/// What a scheduler of this version understands beyond the first form of the protocol. A worker says what came later only
/// to a scheduler that knows it, so either end may be upgraded first.
pub const REVISION: u32 = 1;

/// Where workers connect.
pub const CONNECT_PATH: &str = "/workers/connect";

/// A link that could not be made or did not last.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answered, or not with a websocket.
    #[error("no scheduler answers at {url}: {reason}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The other end is not the scheduler that the chain names as the pool's owner.
    #[error("what answers is not the scheduler of this workerpool: {0}")]
    NotTheScheduler(&'static str),
    /// The scheduler does not take this worker.
    #[error("the scheduler refused this worker: {0}")]
    Refused(Failure),
    /// The other end said something that the protocol does not allow here.
    #[error("the other end does not keep to the protocol: {0}")]
    Protocol(String),
    /// The other end said nothing for too long.
    #[error("the other end has gone silent")]
    Silent,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The signer could not sign.
    #[error("cannot sign the login: {0}")]
    Signer(String),
}

impl LinkError {
    /// Whether connecting again later may work without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent | Self::Closed => true,
            Self::NotTheScheduler(_) | Self::Refused(_) | Self::Protocol(_) | Self::Signer(_) => {
                false
            }
        }
    }
}
