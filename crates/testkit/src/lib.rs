//! A whole market as users meet it, for tests: the real binary, started, used and killed like any other program.
//!
//! * [`Gristmill`] runs verbs of the binary to their end.
//! * [`House`] is a market kept by `gristmill up`, on a free port, in a directory of its own.
//! * [`original`] puts the original contracts on a chain.
//! * [`Apart`] is a market of separate processes, each killed and started alone.
//! * [`faults`] has proxies that misbehave; [`campaign`] kills such a market while they do, and looks for what is lost.
//! * [`Dice`] is chance that can be played again.
//! * [`programs`] makes small WebAssembly programs, good and bad.
//! * [`eventually`] waits for a condition, and fails with its name.
//!
//! ```text
//!   test ─ House::start ─► gristmill up --port 0 ──┐ one origin
//!        ─ house.run    ─► gristmill run … ────────┤
//!        ─ house.client ─► chain ──────────────────┘
//! ```
//!
//! Not here: anything that reaches into a service. What a test cannot see from outside, a user cannot either; the rooms
//! have tests of their own. Everything is found under a home of its own, so tests run beside each other and beside a
//! market that somebody keeps on this machine.

mod apart;
pub mod campaign;
mod command;
mod dice;
pub mod faults;
mod house;
pub mod original;
pub mod programs;
mod remains;
mod wait;

pub use apart::{Apart, ApartConfig, Service};
pub use command::{Gristmill, Ran};
pub use dice::Dice;
pub use house::{House, HouseConfig};
pub use wait::eventually;
