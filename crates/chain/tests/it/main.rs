//! The chain crate against nodes: a scripted one that misbehaves on demand, and the embedded one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deploy;
mod embedded;
mod follow;
mod market;
mod probe;
mod receipts;
mod scripted;
mod wallet;
