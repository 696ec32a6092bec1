//! A worker: it takes tasks from one scheduler, runs them, and stands for their results on the chain.
//!
//! ```text
//!            assign ──► deal, app, category (chain) ──► program, inputs (gateway, web) ──► sandbox
//! scheduler                                                                                  │
//!            ◄── computed {hash} ◄───────────────────────────────────────────────────────────┘
//!            settle     ──► trust 1: journal, upload all, one transaction for all
//!            contribute ──► trust 1: upload, contributeAndFinalize
//!                           else:    stake, journal, contribute
//!            reveal     ──► consensus is ours? reveal, upload
//!            release    ──► drop everything, but what is promised
//! chain      ──► consensus is ours, and nobody asks: reveal all the same
//! ```
//!
//! * A worker believes the chain, and the scheduler only for what to do next. What a task is, what it may use, who pays
//!   and who wins, it reads itself. So a scheduler can waste a worker's time, but not its stake.
//! * Programs and inputs are strangers' addresses: the fetcher asks for public addresses only, and for the gateway.
//! * What it has promised on the chain is in the journal before it is promised, so that a restart can still reveal; and
//!   stays there until no reorganisation can bring it up again.
//! * A worker that is asked to end takes nothing new and finishes what it has, or hands it back.
//! * A lost connection loses nothing: work goes on, and the last word about every task is said again.
//!
//! Not here: choosing who works on what (`scheduler`), running programs (`sandbox`), the link's frames (`wire`), nonces
//! and fees (`chain`).
//!
//! **Layout:** `again` running a task again to compare · `service` start, connection, end · `desk` what to do about each message · `table` the tasks in hand ·
//! `deals` what the chain says about a deal · `fetch`, `address` getting files · `registry` pulling images · `programs`, `inputs` keeping them ·
//! `vigil` stakes, until they are safe · `enclave` confidential tasks, SIMULATED · `batch` many tasks with one transaction · `settle` contribute, reveal,
//! upload · `tap` what programs print · `machine`, `idle` the machine and its owner · `stake` · `journal` · `space` directories · `trouble` what can go wrong.

mod address;
mod again;
mod batch;
mod config;
mod deals;
mod desk;
mod enclave;
mod error;
mod fetch;
mod idle;
mod inputs;
mod journal;
mod link;
mod machine;
mod programs;
mod recent;
mod registry;
mod service;
mod settle;
mod space;
mod stake;
mod table;
mod tap;
mod trouble;
mod vigil;

pub use again::{Again, AgainError, Ingredient, Rerun, again};
pub use config::{Config, Tee};
pub use error::Error;
pub use idle::Policy;
pub use machine::{Machine, Networked, WhenIdle};
pub use service::{Handle, LinkState, Worker};
