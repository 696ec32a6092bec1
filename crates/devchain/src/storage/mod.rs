//! Where the chain is kept: one redb database, in a file or in memory, with the same tables.
//!
//! ```text
//!   Database ──write(f)──▶ one transaction, fsynced: a block and everything that came of it, or nothing
//!      └─────view()──────▶ View: the chain as of the last commit, readable from any thread while the next one is written
//! ```
//!
//! The state is kept at its newest. For each change, `history` holds the value *before* it under (place, version), and
//! `undo` lists the places that a version changed. A past value is then one range lookup, rolling back is walking
//! `undo` backwards, and old history can be cut off block by block.
//!
//! The nodes of the state's tries are kept at their newest only (`trie`, `roots`): going back is changing them again, and
//! a proof of a past block is made from the newest nodes with everything since then taken back in memory.

mod block;
mod database;
mod roots;
mod state;
mod trie;
mod view;

pub(crate) use block::{Block, BlockHead, MinedTransaction};
pub(crate) use database::{Database, Identity};
pub(crate) use state::{Account, Changes};
pub(crate) use view::{StateAt, View};

/// What can go wrong below.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("the chain's database failed: {0}")]
    Redb(#[from] redb::Error),
    #[error("the chain's database holds something unreadable: {0}")]
    Corrupt(String),
    #[error("state of block {block} is pruned; this node answers from block {oldest} on")]
    Pruned { block: u64, oldest: u64 },
    #[error(
        "proofs of a block so long ago are pruned: more than {max} places changed since; ask for a newer block"
    )]
    ProofsPruned { max: usize },
}

impl revm::database_interface::DBErrorMarker for StorageError {}

impl From<alloy_rlp::Error> for StorageError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StorageError {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}
from_redb!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError,
    SetDurabilityError
);

mod tables {
    use redb::TableDefinition;

    pub(super) type Bytes = &'static [u8];

    /// Single numbers: what this database is and where it stands.
    pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    /// Number → `BlockHead`.
    pub(super) const BLOCKS: TableDefinition<'_, u64, Bytes> = TableDefinition::new("blocks");
    /// Block hash → number.
    pub(super) const HASHES: TableDefinition<'_, Bytes, u64> = TableDefinition::new("hashes");
    /// (Block, index) → `MinedTransaction`.
    pub(super) const TRANSACTIONS: TableDefinition<'_, (u64, u32), Bytes> =
        TableDefinition::new("transactions");
    /// Transaction hash → (block, index).
    pub(super) const LOCATIONS: TableDefinition<'_, Bytes, (u64, u32)> =
        TableDefinition::new("locations");
    /// Place → newest value.
    pub(super) const STATE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("state");
    /// (Place, version) → value before that version.
    pub(super) const HISTORY: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("history");
    /// Version → places it changed.
    pub(super) const UNDO: TableDefinition<'_, u64, Bytes> = TableDefinition::new("undo");
    /// Trie and path → encoded node, of the newest state; see `roots`.
    pub(super) const NODES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("nodes");
    /// Code hash → code.
    pub(super) const CODES: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("codes");
}
