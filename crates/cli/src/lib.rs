//! The door: the verbs of the command line, and [`market`], the one place where the whole house is wired together.
//!
//! What belongs here: reading flags, choosing among offers, asking rooms to do things in order, telling people what
//! happened. What does not: rules of the market, JSON shapes of its APIs, anything another program would want to reuse.

pub mod accounts;
pub mod apart;
pub mod args;
pub mod blobs;
pub mod chain_deploy;
pub mod failure;
pub mod home;
mod keeper;
#[cfg(test)]
mod manual;
pub mod market;
mod means;
pub mod offers;
pub mod order;
pub mod progress;
pub mod proof;
pub mod provide;
pub mod purchase;
pub mod receipt;
pub mod recheck;
pub mod roi;
pub mod run;
pub mod settings;
pub mod simulate;
pub mod task;
pub mod up;
