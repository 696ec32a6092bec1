//! What must survive a restart: tables, migrations and queries.
//!
//! * *cursors*: how far each service has read the chain;
//! * *orders*, *deals*, *outcomes*, *categories*: the order book's memory;
//! * *work*: what a worker has promised on chain and not yet finished;
//! * *sealed*: a vault's secrets, as ciphertext;
//! * *reputations*: what a scheduler knows of its workers beyond the chain;
//! * *logs*: what programs printed, for a while.
//!
//! Reads are methods. Writes are lists of [`Change`]s, each list all or nothing: so what a block brought and the
//! cursor behind it are written together. Lists that arrive at the same time share one transaction:
//!
//! ```text
//! apply([…]) ─┐
//! apply([…]) ─┼─► queue ─► one writer: begin, all of them, commit ─► each caller gets its answer
//! apply([…]) ─┘
//! ```
//!
//! What is not here: rules about what to write, JSON, secrets, and results (`blobs`). The database is SQLite; the SQL
//! keeps to what others know too. Written data survives the death of the process at any moment; when the machine
//! itself loses power, the last moments may be lost, and the chain, from which they came, tells them again.
//!
//! **Layout:** `db` the database and its writer · `change` what can be written · `cursors`, `orders`, `deals`,
//! `outcomes`, `categories`, `work`, `reputations`, `logs` a table each · `column` how values are kept · `error`.

mod categories;
mod change;
mod column;
mod cursors;
mod db;
mod deals;
mod error;
mod logs;
mod orders;
mod outcomes;
mod reputations;
mod sealed;
mod shelves;
mod work;

pub use categories::{CategoryFilter, CategoryRow};
pub use change::Change;
pub use cursors::Cursor;
pub use db::Store;
pub use deals::{AssetColumns, DealFilter, DealRow};
pub use error::Error;
pub use logs::{LogRow, LogStub};
pub use orders::{OrderFilter, OrderRow, OrderState, Party, Status};
pub use outcomes::{OutcomeRow, TrackRecord};
pub use sealed::{SealedRow, sealed_in_copy};
pub use shelves::OpenCounts;
pub use work::WorkRow;

/// What the methods of this crate give back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which part of a sorted answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// How many rows to leave out.
    pub skip: u64,
    /// How many to give at most.
    pub limit: u64,
}
