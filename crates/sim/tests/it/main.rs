//! Whole simulations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contracts;
mod page;
mod seeds;
mod shrinking;
#[path = "../../../bindings/tests/it/world.rs"]
#[expect(dead_code, reason = "the contracts' own tests use more of it")]
mod world;
