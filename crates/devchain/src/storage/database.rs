//! Writing: one transaction per block, on disk before anybody hears of it.

use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256};
use redb::{Durability, ReadableDatabase, ReadableTable, Table, WriteTransaction};

use super::{
    StorageError,
    block::{Block, BlockHead},
    roots::{self, Source},
    state::{Account, Changes, Place, versioned},
    tables,
    view::{CodeCache, View},
};
use crate::Error;

/// Raised whenever the meaning of a table changes.
const FORMAT: u64 = 2;

/// Pages that redb may keep in memory. Its own default is a gigabyte.
const CACHE_BYTES: usize = 24 * 1024 * 1024;
/// The same when all pages are in memory anyway.
const MEMORY_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A file of that size or more is written so that it opens at once after a kill, which costs a second sync for each block;
/// a smaller one is looked through in less time than that is worth.
const LARGE_BYTES: u64 = 32 << 20;

/// What a database belongs to.
pub(crate) struct Identity {
    pub(crate) chain_id: u64,
}

/// The chain's tables.
pub(crate) struct Database {
    inner: redb::Database,
    /// None in memory.
    file: Option<PathBuf>,
    code_cache: CodeCache,
}

impl Database {
    /// Opens the chain in `dir`, or an empty one in memory. Says whether it is new.
    ///
    /// # Errors
    /// If it cannot be opened, is in use, was written in another format or belongs to another chain id.
    pub(crate) fn open(dir: Option<&Path>, identity: &Identity) -> Result<(Self, bool), Error> {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(if dir.is_some() { CACHE_BYTES } else { MEMORY_CACHE_BYTES });
        let file = dir.map(|dir| dir.join("chain.redb"));
        let inner = match dir {
            None => builder
                .create_with_backend(redb::backends::InMemoryBackend::new())
                .map_err(StorageError::from)?,
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .map_err(|source| Error::Directory { path: dir.to_owned(), source })?;
                builder.create(dir.join("chain.redb")).map_err(|error| match error {
                    redb::DatabaseError::DatabaseAlreadyOpen => Error::InUse(dir.to_owned()),
                    redb::DatabaseError::UpgradeRequired(found) => {
                        Error::Format { path: dir.to_owned(), found: found.into(), wanted: FORMAT }
                    }
                    other => StorageError::from(other).into(),
                })?
            }
        };
        let database = Self { inner, file, code_cache: CodeCache::default() };
        let fresh = database.check(dir, identity)?;
        Ok((database, fresh))
    }

    /// The chain as of now.
    pub(crate) fn view(&self) -> Result<View, StorageError> {
        View::new(&self.inner.begin_read()?, self.code_cache.clone())
    }

    /// Does `write` in one transaction that is on disk when this returns.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(&mut Writer<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut tx = self.inner.begin_write()?;
        // Without this a kill -9 loses everything since redb last chose to sync.
        tx.set_durability(Durability::Immediate)?;
        tx.set_quick_repair(self.is_large());
        let result = write(&mut Writer::open(&tx)?)?;
        tx.commit()?;
        Ok(result)
    }

    fn is_large(&self) -> bool {
        let about = self.file.as_ref().and_then(|file| std::fs::metadata(file).ok());
        about.is_some_and(|about| about.len() >= LARGE_BYTES)
    }

    fn check(&self, dir: Option<&Path>, identity: &Identity) -> Result<bool, Error> {
        let path = dir.unwrap_or(Path::new("memory")).to_owned();
        let stored = {
            let tx = self.inner.begin_read().map_err(StorageError::from)?;
            match tx.open_table(tables::META) {
                Ok(meta) => {
                    let number = |key: &str| -> Result<Option<u64>, StorageError> {
                        Ok(meta.get(key)?.map(|it| it.value()))
                    };
                    Some((number("format")?, number("chain_id")?))
                }
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                Err(redb::TableError::TableTypeMismatch { .. }) => {
                    return Err(Error::Format { path, found: 0, wanted: FORMAT });
                }
                Err(error) => return Err(StorageError::from(error).into()),
            }
        };
        match stored {
            None => {
                self.write(|writer| {
                    writer.meta.insert("format", FORMAT)?;
                    writer.meta.insert("chain_id", identity.chain_id)?;
                    Ok(())
                })?;
                Ok(true)
            }
            Some((format, _)) if format != Some(FORMAT) => {
                Err(Error::Format { path, found: format.unwrap_or_default(), wanted: FORMAT })
            }
            Some((_, Some(stored))) if stored != identity.chain_id => {
                Err(Error::ChainId { path, stored, asked: identity.chain_id })
            }
            Some(_) => {
                let empty = self.view()?.block(0)?.is_none();
                Ok(empty)
            }
        }
    }
}

type BytesTable<'tx> = Table<'tx, tables::Bytes, tables::Bytes>;

/// All tables, open for writing in one transaction.
pub(crate) struct Writer<'tx> {
    meta: Table<'tx, &'static str, u64>,
    blocks: Table<'tx, u64, tables::Bytes>,
    hashes: Table<'tx, tables::Bytes, u64>,
    transactions: Table<'tx, (u64, u32), tables::Bytes>,
    locations: Table<'tx, tables::Bytes, (u64, u32)>,
    state: BytesTable<'tx>,
    history: BytesTable<'tx>,
    undo: Table<'tx, u64, tables::Bytes>,
    nodes: BytesTable<'tx>,
    codes: BytesTable<'tx>,
}

impl Source for Writer<'_> {
    fn trie_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.nodes.get(key)?.map(|it| it.value().to_vec()))
    }

    fn newest_account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        let stored = self.state.get(Place::Account(address).key().as_slice())?;
        Ok(stored.and_then(|it| Account::decode(it.value())))
    }
}

impl<'tx> Writer<'tx> {
    fn open(tx: &'tx WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            meta: tx.open_table(tables::META)?,
            blocks: tx.open_table(tables::BLOCKS)?,
            hashes: tx.open_table(tables::HASHES)?,
            transactions: tx.open_table(tables::TRANSACTIONS)?,
            locations: tx.open_table(tables::LOCATIONS)?,
            state: tx.open_table(tables::STATE)?,
            history: tx.open_table(tables::HISTORY)?,
            undo: tx.open_table(tables::UNDO)?,
            nodes: tx.open_table(tables::NODES)?,
            codes: tx.open_table(tables::CODES)?,
        })
    }

    /// Adds a block whose state changes were applied as its version.
    pub(crate) fn add_block(&mut self, block: &Block) -> Result<(), StorageError> {
        let number = block.head.header.number;
        for (index, tx) in (0u32..).zip(&block.transactions) {
            self.transactions.insert((number, index), tx.encode().as_slice())?;
            self.locations.insert(tx.hash().as_slice(), (number, index))?;
        }
        self.put_head(&block.head)?;
        self.hashes.insert(block.head.hash.as_slice(), number)?;
        self.meta.insert("head", number)?;
        Ok(())
    }

    /// Replaces what is known about a block that is already there.
    pub(crate) fn put_head(&mut self, head: &BlockHead) -> Result<(), StorageError> {
        self.blocks.insert(head.header.number, head.encode().as_slice())?;
        Ok(())
    }

    /// Makes `changes` the newest state and remembers what they replaced under `version`. Returns the state's root.
    pub(crate) fn apply(&mut self, version: u64, changes: &Changes) -> Result<B256, StorageError> {
        for (hash, code) in &changes.codes {
            self.codes.insert(hash.as_slice(), code.as_ref())?;
        }
        let mut changed = Vec::new();
        for (place, value) in changes.iter() {
            let key = place.key();
            let before = self.put_state(&key, value)?;
            changed.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
            changed.extend_from_slice(&key);
            self.history.insert(versioned(key, version).as_slice(), before.as_slice())?;
        }
        self.undo.insert(version, changed.as_slice())?;
        self.put_nodes(changes)
    }

    /// Takes back every version after `version` and every block after `number`.
    pub(crate) fn rewind(&mut self, number: u64, version: u64) -> Result<(), StorageError> {
        let mut back = Changes::default();
        while let Some(last) = self.last_version()? {
            if last <= version {
                break;
            }
            for key in self.take_undo(last)? {
                let before = self.history.remove(versioned(key.clone(), last).as_slice())?;
                let before = before.map(|it| it.value().to_vec()).unwrap_or_default();
                self.put_state(&key, &before)?;
                let place = Place::of_key(&key)
                    .ok_or_else(|| StorageError::Corrupt(format!("undo record {last}")))?;
                back.set(place, before);
            }
        }
        self.put_nodes(&back)?;
        while let Some(last) = self.last_block()? {
            if last <= number {
                break;
            }
            self.remove_block(last)?;
        }
        self.meta.insert("head", number)?;
        Ok(())
    }

    /// Forgets how the state was before `block`.
    pub(crate) fn prune(&mut self, block: &BlockHead) -> Result<(), StorageError> {
        while let Some(first) = self.first_version()? {
            if first > block.version {
                break;
            }
            for key in self.take_undo(first)? {
                self.history.remove(versioned(key, first).as_slice())?;
            }
        }
        self.meta.insert("oldest", block.header.number)?;
        Ok(())
    }

    fn first_version(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.undo.first()?.map(|(version, _)| version.value()))
    }

    fn last_version(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.undo.last()?.map(|(version, _)| version.value()))
    }

    fn last_block(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.blocks.last()?.map(|(number, _)| number.value()))
    }

    fn put_state(&mut self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StorageError> {
        let before = if value.is_empty() {
            self.state.remove(key)?
        } else {
            self.state.insert(key, value)?
        };
        Ok(before.map(|it| it.value().to_vec()).unwrap_or_default())
    }

    /// Brings the tries to where the state is after `changes`.
    fn put_nodes(&mut self, changes: &Changes) -> Result<B256, StorageError> {
        let roots = roots::after(self, changes)?;
        tracing::trace!(places = changes.len(), nodes = roots.nodes.len(), "state root");
        for (key, node) in &roots.nodes {
            match node {
                Some(node) => self.nodes.insert(key.as_slice(), node.as_slice())?,
                None => self.nodes.remove(key.as_slice())?,
            };
        }
        Ok(roots.root)
    }

    fn take_undo(&mut self, version: u64) -> Result<Vec<Vec<u8>>, StorageError> {
        let changed = self.undo.remove(version)?.map(|it| it.value().to_vec()).unwrap_or_default();
        undo_keys(version, &changed)
    }

    fn remove_block(&mut self, number: u64) -> Result<(), StorageError> {
        let removed = self.blocks.remove(number)?.map(|it| BlockHead::decode(it.value()));
        if let Some(head) = removed.transpose()? {
            self.hashes.remove(head.hash.as_slice())?;
        }
        let mut hashes: Vec<B256> = Vec::new();
        let range = (number, 0)..=(number, u32::MAX);
        for entry in self.transactions.range(range.clone())? {
            hashes.push(super::MinedTransaction::decode(entry?.1.value())?.hash());
        }
        self.transactions.retain_in(range, |_, _| false)?;
        for hash in hashes {
            self.locations.remove(hash.as_slice())?;
        }
        Ok(())
    }
}

/// The keys of the places that an undo record lists.
pub(super) fn undo_keys(version: u64, mut rest: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut keys = Vec::new();
    while let Some((&len, after)) = rest.split_first() {
        let Some((key, after)) = after.split_at_checked(len.into()) else {
            return Err(StorageError::Corrupt(format!("undo record {version}")));
        };
        keys.push(key.to_vec());
        rest = after;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use alloy_consensus::Header;
    use alloy_primitives::{Address, U256};
    use alloy_trie::{
        TrieAccount,
        root::{state_root_unhashed, storage_root_unhashed},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{Account, StateAt};

    const OWNERS: u8 = 3;

    #[derive(Clone, Debug)]
    enum Step {
        /// A block that sets these accounts' balances and first slots; zero removes them.
        Block(Vec<(u8, u64)>),
        /// A change that belongs to the head block.
        Edit(u8, u64),
        Rewind(u64),
        Prune(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let write = || (0..OWNERS, 0u64..4);
        prop_oneof![
            4 => prop::collection::vec(write(), 0..4).prop_map(Step::Block),
            2 => write().prop_map(|(owner, value)| Step::Edit(owner, value)),
            1 => (0u64..4).prop_map(Step::Rewind),
            1 => (0u64..4).prop_map(Step::Prune),
        ]
    }

    /// What should be so: the values after each block.
    type Model = Vec<BTreeMap<u8, u64>>;

    struct Chain {
        database: Database,
        heads: Vec<BlockHead>,
        oldest: usize,
        model: Model,
    }

    fn changes(writes: &[(u8, u64)]) -> Changes {
        let mut changes = Changes::default();
        for (owner, value) in writes {
            let (address, value) = (Address::repeat_byte(*owner), U256::from(*value));
            changes.set_account(address, Some(Account { balance: value, ..Account::default() }));
            changes.set_slot(address, U256::ZERO, value);
        }
        changes
    }

    impl Chain {
        fn new() -> Self {
            let (database, fresh) = Database::open(None, &Identity { chain_id: 1 }).unwrap();
            assert!(fresh);
            let mut chain =
                Self { database, heads: Vec::new(), oldest: 0, model: vec![BTreeMap::new()] };
            chain.add_block(&[]);
            chain.model.remove(0);
            chain
        }

        fn add_block(&mut self, writes: &[(u8, u64)]) {
            let number = u64::try_from(self.heads.len()).unwrap();
            let header = Header { number, ..Header::default() };
            let version = self.heads.last().map_or(0, |it| it.version + 1);
            let head = BlockHead { hash: header.hash_slow(), version, transactions: 0, header };
            let block = Block { head: head.clone(), transactions: Vec::new() };
            self.database
                .write(|writer| {
                    writer.apply(version, &changes(writes))?;
                    writer.add_block(&block)
                })
                .unwrap();
            self.heads.push(head);
            let mut values = self.model.last().cloned().unwrap();
            values.extend(writes.iter().copied());
            self.model.push(values);
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Block(writes) => self.add_block(&writes),
                Step::Edit(owner, value) => {
                    let head = self.heads.last_mut().unwrap();
                    head.version += 1;
                    let edit = changes(&[(owner, value)]);
                    let write = |writer: &mut Writer<'_>| {
                        writer.apply(head.version, &edit)?;
                        writer.put_head(head)
                    };
                    self.database.write(write).unwrap();
                    self.model.last_mut().unwrap().insert(owner, value);
                }
                Step::Rewind(depth) => {
                    let back = usize::try_from(depth).unwrap();
                    let target = (self.heads.len() - 1).saturating_sub(back).max(self.oldest);
                    self.heads.truncate(target + 1);
                    self.model.truncate(target + 1);
                    let head = self.heads.last().unwrap();
                    let number = head.header.number;
                    self.database.write(|writer| writer.rewind(number, head.version)).unwrap();
                }
                Step::Prune(kept) => {
                    let kept = usize::try_from(kept).unwrap();
                    self.oldest = (self.heads.len() - 1).saturating_sub(kept).max(self.oldest);
                    let oldest = &self.heads[self.oldest];
                    self.database.write(|writer| writer.prune(oldest)).unwrap();
                }
            }
        }

        fn check(&self) {
            let view = self.database.view().unwrap();
            for (number, (head, values)) in self.heads.iter().zip(&self.model).enumerate() {
                let state = view.after(head);
                if number < self.oldest {
                    assert!(matches!(state, Err(StorageError::Pruned { .. })));
                    continue;
                }
                check_state(&state.unwrap(), values);
            }
            check_state(&view.newest(), self.model.last().unwrap());
            assert_eq!(view.head_number(), self.heads.last().unwrap().header.number);
            let beyond = u64::try_from(self.heads.len()).unwrap();
            assert_eq!(view.block(beyond).unwrap(), None);
        }
    }

    fn check_state(state: &StateAt, values: &BTreeMap<u8, u64>) {
        for owner in 0..OWNERS {
            let address = Address::repeat_byte(owner);
            let expected = U256::from(values.get(&owner).copied().unwrap_or_default());
            let account = state.account(address).unwrap();
            assert_eq!(account.map_or(U256::ZERO, |it| it.balance), expected);
            assert_eq!(account.is_none(), expected.is_zero());
            assert_eq!(state.slot(address, U256::ZERO).unwrap(), expected);
        }
        assert_eq!(state.root().unwrap(), root_from_scratch(values));
    }

    fn root_from_scratch(values: &BTreeMap<u8, u64>) -> B256 {
        let there = values.iter().filter(|(_, value)| **value != 0);
        state_root_unhashed(there.map(|(owner, value)| {
            let balance = U256::from(*value);
            let storage_root = storage_root_unhashed([(B256::ZERO, balance)]);
            let account = TrieAccount { balance, storage_root, ..TrieAccount::default() };
            (Address::repeat_byte(*owner), account)
        }))
    }

    /// Whether the file, as a kill would leave it now, must be looked through to be opened.
    fn is_looked_through(file: &Path) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("left.redb");
        std::fs::copy(file, &left).unwrap();
        let looked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&looked);
        let mut builder = redb::Database::builder();
        builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
        drop(builder.open(&left).unwrap());
        looked.load(Ordering::Relaxed)
    }

    #[test]
    fn a_large_file_opens_at_once_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = Database::open(Some(dir.path()), &Identity { chain_id: 1 }).unwrap();
        let file = dir.path().join("chain.redb");
        assert!(is_looked_through(&file), "or the test sees nothing");
        let mut large = Changes::default();
        let half = usize::try_from(LARGE_BYTES / 2).unwrap();
        for byte in [1, 2] {
            large.codes.insert(B256::repeat_byte(byte), vec![byte; half].into());
        }
        for (version, changes) in [(1, large), (2, changes(&[(1, 1)]))] {
            database.write(|writer| writer.apply(version, &changes)).unwrap();
        }
        assert!(!is_looked_through(&file));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// At every moment, every block that is not pruned answers with what was written up to it, and has the root
        /// that a trie made anew of that has.
        #[test]
        fn every_block_keeps_its_state(steps in prop::collection::vec(step(), 1..16)) {
            let mut chain = Chain::new();
            for step in steps {
                chain.take(step);
                chain.check();
            }
        }
    }
}
