//! The vault: keeps secrets, and gives them only to an enclave that has shown what it is.
//!
//! ```text
//! owner ── POST secret, signed ─► whose is it? (chain) ─► sealed under the storage key ─► store
//!
//! scheduler ── challenge ─► an address for the task's enclave, made here
//! worker ── session ─► may it? (chain: task, deal, workerpool) ─► session held ── ticket ─► worker
//! enclave ── evidence, key ─► verified ─► the session, sealed to the key, once
//! ```
//!
//! A secret is set by whoever owns what it belongs to, and who that is, the chain says. It leaves the vault in one way
//! only: inside a session, for a task that the chain says is running, to an enclave whose evidence is taken. Nothing here
//! writes a value to a log; what is logged is who did what with which secret.
//!
//! Where no trusted hardware is, sessions may be given to a *software* enclave ([`Tee::SimulatedTdx`]). That protects
//! nothing and is for development: every answer that comes of it says so, and a vault that answers beyond this machine
//! does not start with it unless told to twice.
//!
//! What is not here: HTTP and JSON (`wire` makes routes of [`Handle::api`]), ciphers and signed messages (`seal`), SQL
//! (`store`).
//!
//! **Layout:** `service` start and stop · `keys` the storage key · `safe` secrets at rest · `guard` who may · `secrets`
//! setting them · `facts` what a session is made of · `content` the session · `bulk` datasets of a bulk request ·
//! `sessions` those that wait for their enclave · `desk` all of it behind one door · `backups` copies, behind a door for the
//! operator · `error`.

mod backups;
mod bulk;
mod content;
mod desk;
mod error;
mod facts;
mod guard;
mod keys;
mod safe;
mod secrets;
mod service;
mod sessions;

pub use backups::Backups;
pub use error::Error;
pub use keys::{KeySource, ParseKeySourceError};
pub use service::{Config, Handle, Tee, Vault};
