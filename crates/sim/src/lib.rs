//! The whole market in one thread, with virtual time and chance from a seed.
//!
//! ```text
//!  scenario ──▶ market: one queue of events ──▶ outcome: what became of tasks, who gained what
//!                 │  requesters · pools · workers · network · chain
//!                 ├─ pool: `tasks::Task::apply` and `scheduler::plan`, as in production
//!                 ├─ hub: the contract's rules, money by `verdict`
//!                 └─ audit: what must hold, at every block
//!  seeds ──▶ sweep ──▶ tally: gain per strategy · a failing seed is shrunk
//! ```
//!
//! Here is no socket, no clock and no thread but those that run different seeds. A scenario always runs the same way.
//!
//! What is real: the life of a task, the choice of workers, who is let in, consensus and payments. What is a model: the
//! hub around them (compared with the real contracts in the tests), blocks, messages, and workers.

pub mod audit;
pub mod chain;
pub mod chance;
pub mod hub;
mod market;
mod outcome;
mod pool;
pub mod scenario;
pub mod shrink;
pub mod svg;
pub mod sweep;
pub mod tally;
pub mod trust;
mod worker;

pub use audit::{Promise, Violation};
pub use market::{CLAIM_SLACK_SECONDS, Transcript, run, runs_expected, transcript};
pub use outcome::{Gain, Outcome, Role};
pub use scenario::Scenario;
pub use worker::{is_true, truth};
