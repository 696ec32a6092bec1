//! A scheduler at work: on the embedded chain, with workers that behave and workers that do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod book;
mod enclaves;
mod fake_worker;
mod logs;
mod market;
mod settlements;
mod slashing;
mod stories;
