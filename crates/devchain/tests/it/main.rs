//! The chain from outside: everything here goes through JSON-RPC, in process, over HTTP or on a websocket.

#![expect(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "helpers fail as the test does, and take what is easiest to write"
)]

mod blocks;
mod calls;
mod develop;
mod logs;
mod node;
mod persistence;
mod proofs;
mod subscriptions;
mod support;
mod transactions;
mod transport;
