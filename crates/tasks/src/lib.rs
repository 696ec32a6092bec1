//! The life of a task: events in, actions out.
//!
//! A [`Task`] is the scheduler's memory of one execution. It has one writer, [`Task::apply`], which takes an [`Event`] (from
//! the chain, from a worker, or the passing of time) and answers with the [`Action`]s that follow. It reads no clock and
//! does nothing itself; whoever drives it does.
//!
//! ```text
//!             Initialized            Consensus                     Finalized
//!  Received ───────────────▶ Active ───────────▶ Revealing ─▶ Finalizing ─▶ Completed
//!     │                        │  ▲                 │                           ▲
//!     │ app fails, too late,   │  └──── Reopened ───┘                           │ (at trust 1 at once)
//!     ▼ nobody can run it      ▼                                                │
//!   Doomed ◀───────────────────┘ ──────────── a contribution still wins ────────┘
//!     │ Claimed after the final deadline
//!     ▼
//!   Failed
//! ```
//!
//! Workers start computing before the task is initialised on chain, and *announce* what they found before they may
//! contribute it; `verdict::late` decides who may. The chain has the last word: its events move a task from any state.
//!
//! Where the hub can settle many tasks of one deal at once, a task of a lone worker stays `Received` until it is computed,
//! is [`ripe`](Task::ripe) then, and goes from there to `Completed` within one block; if that fails, or its worker cannot do
//! it, it takes the way above. A task for an enclave is initialised first, then its challenge is asked for, and only then
//! may workers take it.
//!
//! Applying an event twice is harmless, so a restart may replay everything.
//!
//! **Layout:** `event`, `action`, `replica`, `terms`, `wait` the words · `task` the machine.

mod action;
mod event;
mod replica;
mod task;
mod terms;
mod wait;

pub use action::{Action, Report};
pub use event::{Blame, Call, Event, Failure};
pub use replica::{Replica, ReplicaState, Upload};
pub use task::{Status, Task};
pub use terms::{Limits, Terms};
pub use wait::Wait;
