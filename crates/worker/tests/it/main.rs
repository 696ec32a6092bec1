//! A worker against a scheduler that the test plays, on the embedded chain with the real contracts. Programs are played
//! too: what is tested is what the worker does around them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod confidential;
mod failures;
mod keeper;
mod manners;
mod market;
mod played;
mod restart;
mod work;
