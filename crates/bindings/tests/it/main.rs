//! The compiled contracts, run on an EVM in this process.

mod gas;
mod lifecycle;
mod world;
