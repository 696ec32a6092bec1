//! When a result counts as right, and who is owed what: the hub's rules, as pure functions.
//!
//! - [`Ballot`]: contributions weigh by the contributors' scores; a result wins once its group outweighs doubt enough for
//!   the deal's trust.
//! - [`late::decide`]: whom a scheduler should let contribute when workers have announced what they found, so that agreement
//!   is reached and those who disagree are on the losing side.
//! - [`confidence`]: how sure a result is, and how few workers of which weight make it so.
//! - [`money`]: how a task's price, stakes and kitty are split when it ends, to the last nRLC.
//! - [`commitment`]: the hashes that bind a result to a task, to a worker, and a worker to a permission.
//!
//! Off-chain code never decides a balance: these figures predict and explain what the contract does.

mod ballot;
pub mod commitment;
pub mod confidence;
pub mod late;
pub mod money;

pub use ballot::{Ballot, FRESH_WEIGHT, workers_needed};
pub use commitment::{authorization_hash, result_hash, result_seal, settlement_hash};
pub use confidence::{Confidence, Quorum};
pub use money::{DealMoney, Outcome, Payment, Why, Worker, split};

use alloy_primitives::U256;

/// A number outgrew 256 bits; the contract panics in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the numbers of this deal outgrow 256 bits; the contract would refuse too")]
pub struct Overflow;

/// How much a worker's word counts: a third of the score, at least 3, less one. A fresh worker weighs 2.
pub fn weight(score: U256) -> U256 {
    (score / U256::from(3)).max(U256::from(3)) - U256::ONE
}
