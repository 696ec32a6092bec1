//! The compiled contracts, run on an EVM in this process.

mod abi;
mod gas;
mod lifecycle;
mod world;
