//! The rules of secrecy: what a secret is, who may set it, how it is kept, and who may be given it.
//!
//! | module | what it settles |
//! |---|---|
//! | [`challenge`] | the hash that an owner signs to set a secret, and those that schedulers, workers and enclaves sign |
//! | [`rest`] | secrets in a database: AES-256-GCM, bound to their name |
//! | [`dataset`] | encrypted datasets: checksum and AES-256-CBC, as a stream |
//! | [`result`](mod@result) | results that only their beneficiary can read |
//! | [`provision`] | handing secrets to an enclave that has shown what it is |
//!
//! Functions on values: no IO, no clock, and chance is handed in as [`Entropy`]. What is secret is a [`Secret`], which
//! has no `Debug`, no serialisation and no `Clone`, and is wiped when it is dropped. Errors never quote what they are
//! about.
//!
//! What is not here: storage and HTTP (`vault`, `wire`), the JSON of a session (`wire::sms`), money.

pub mod challenge;
pub mod dataset;
mod entropy;
pub mod provision;
pub mod rest;
pub mod result;
mod secret;

pub use entropy::Entropy;
pub use secret::Secret;
