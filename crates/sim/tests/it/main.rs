//! Whole simulations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod seeds;
mod shrinking;
