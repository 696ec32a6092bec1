//! The ground: a type for each thing that the rest of the house talks about.
//!
//! What belongs here: ids, amounts, times, digests and tags, as newtypes that cannot be mixed up, with parsing and
//! printing in the protocol's own form. What does not: rules (`orders`, `tasks`, `verdict`), hashing, IO, JSON shapes.
//!
//! Amounts are [`Nrlc`]: 1 RLC = 1e9 nRLC, always unsigned 256 bits because that is what the contracts hold.

mod amount;
mod ids;
mod tag;
mod time;

pub use amount::{Nrlc, ParseNrlcError};
pub use ids::{
    CategoryId, DealId, OrderHash, ParseIdError, ResultDigest, ResultHash, ResultSeal, TaskId,
};
pub use tag::Tag;
pub use time::UnixSeconds;
