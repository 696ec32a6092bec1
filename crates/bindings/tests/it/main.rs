//! The compiled contracts, run on an EVM in this process.

mod abi;
mod chaos;
mod gas;
mod lifecycle;
mod traps;
mod world;
