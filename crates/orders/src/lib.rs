//! Signed orders: what they say, how they hash, who signed them, and whether four of them make a deal.
//!
//! Four parties each sign an order: the owner of an app, of a dataset (optional), of a workerpool, and a requester. Whoever
//! holds a matching [`Quartet`] may turn it into a deal on chain. This crate knows the contract's rules for that, so that a
//! client can say *beforehand* whether a match will be accepted and, if not, the smallest change that helps.
//!
//! ```text
//! AppOrder ──┐
//! DatasetOrder ──┤                          ┌─► Terms    what the deal will say and lock
//!                ├─► Quartet ─► matching::check
//! WorkerpoolOrder┤        ▲                 └─► Refusal  code, what, remedy
//! RequestOrder ──┘      Facts  (owners, registrations, signatures, volumes used: read elsewhere)
//! ```
//!
//! What does not belong here: reading a chain, JSON, randomness (salts are arguments), keys.

mod hash;
pub mod matching;
mod order;
pub mod signature;
pub mod why;

pub use hash::{Domain, Field, deal_id, fields, task_id};
pub use order::{
    AppOrder, DatasetOrder, Operation, OrderKind, Quartet, RequestOrder, WorkerpoolOrder,
};
pub use signature::{SignatureError, recover};
