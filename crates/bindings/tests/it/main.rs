//! The compiled contracts, run on an EVM in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abi;
mod boost;
mod chaos;
mod gas;
mod lifecycle;
mod pitfalls;
mod reentrancy;
mod settle;
mod token;
mod traps;
mod upgrade;
mod vectors;
mod widths;
mod world;
