//! The scheduler of a workerpool: turns deals into finished tasks.
//!
//! ```text
//!  chain ──blocks──▶ feed ──deals, events──▶ ┌───────┐ ──effects──▶ outbox ──transactions──▶ chain
//!                                            │ books │
//!  workers ◀─websocket─▶ gate ──messages───▶ └───────┘ ──effects──▶ workers
//!                                              ▲   │
//!                                 GET /tasks ──┘   └─ plan: which worker takes what (pure)
//! ```
//!
//! * [`plan`] decides, from what is known, who takes which task. It is a pure function.
//! * [`choice`] picks the workers of one task, [`checks`] says whose result is confirmed by another's, and [`reputation`]
//!   what is known of whom. All three are pure.
//! * [`room`] is what tasks take up and machines have.
//! * `books` keeps all tasks, workers and deals and answers everything that happens with effects. It does nothing itself.
//! * `act` does: follows the chain, talks to workers, sends transactions. Nothing in it waits for a receipt.
//! * `logs` keeps what programs print, and tells it to who follows.
//! * `offers` keeps the pool's signed orders open in the market and its owner's stake sufficient.
//! * `sms` asks the secret manager for the keys of enclaves.
//! * `memory` keeps what is known of workers.
//! * `past` reads finished tasks again that the books have forgotten.
//! * `gate` lets workers in; `api` answers `/tasks/{id}` and takes results.
//!
//! The chain is the memory: a restart reads it again from the oldest block with an unfinished deal. What is kept besides
//! is one cursor. Rules are elsewhere (`tasks`, `verdict`); so are paths and JSON (`wire`).

mod act;
mod api;
mod books;
pub mod checks;
pub mod choice;
mod claim;
mod config;
mod deal;
mod error;
mod gate;
mod logs;
mod memory;
mod model;
mod offers;
mod past;
pub mod plan;
pub mod reputation;
pub mod room;
mod sms;

pub use act::{Handle, Scheduler};
pub use config::{
    Config, Delivery, Limits, Offer, ResultStore, StoreFailure, StoreFault, take_part, upload_place,
};
pub use error::Error;
pub use logs::LogLimits;
