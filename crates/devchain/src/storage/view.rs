//! Reading: the chain as of one commit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use parking_lot::Mutex;
use redb::{ReadOnlyTable, ReadTransaction};
use revm::{database_interface::DatabaseRef, state::AccountInfo, state::Bytecode};

use super::{
    StorageError,
    block::{BlockHead, MinedTransaction},
    database::undo_keys,
    roots::{self, Proofs, Source},
    state::{Account, Changes, Place},
    tables,
};

/// Analysed code by its hash. Analysis of a large contract costs more than most calls of it.
pub(crate) type CodeCache = Arc<Mutex<HashMap<B256, Bytecode>>>;

/// Places that a proof may have to take back. They and the nodes above them are in memory meanwhile.
const TAKEN_BACK_MAX: usize = 50_000;

/// Contracts kept analysed; a market has a few dozen kinds.
const CODE_CACHE_MAX: usize = 512;

/// The chain as of one commit. Cheap to clone; holds its pages in the database until dropped.
#[derive(Clone)]
pub(crate) struct View(Arc<Tables>);

struct Tables {
    blocks: ReadOnlyTable<u64, tables::Bytes>,
    hashes: ReadOnlyTable<tables::Bytes, u64>,
    transactions: ReadOnlyTable<(u64, u32), tables::Bytes>,
    locations: ReadOnlyTable<tables::Bytes, (u64, u32)>,
    state: ReadOnlyTable<tables::Bytes, tables::Bytes>,
    history: ReadOnlyTable<tables::Bytes, tables::Bytes>,
    undo: ReadOnlyTable<u64, tables::Bytes>,
    nodes: ReadOnlyTable<tables::Bytes, tables::Bytes>,
    codes: ReadOnlyTable<tables::Bytes, tables::Bytes>,
    code_cache: CodeCache,
    /// The oldest block whose state can be told.
    oldest: u64,
    head: u64,
}

impl View {
    pub(super) fn new(tx: &ReadTransaction, code_cache: CodeCache) -> Result<Self, StorageError> {
        let meta = tx.open_table(tables::META)?;
        let number = |key: &str| -> Result<u64, StorageError> {
            Ok(meta.get(key)?.map(|it| it.value()).unwrap_or_default())
        };
        Ok(Self(Arc::new(Tables {
            blocks: tx.open_table(tables::BLOCKS)?,
            hashes: tx.open_table(tables::HASHES)?,
            transactions: tx.open_table(tables::TRANSACTIONS)?,
            locations: tx.open_table(tables::LOCATIONS)?,
            state: tx.open_table(tables::STATE)?,
            history: tx.open_table(tables::HISTORY)?,
            undo: tx.open_table(tables::UNDO)?,
            nodes: tx.open_table(tables::NODES)?,
            codes: tx.open_table(tables::CODES)?,
            code_cache,
            oldest: number("oldest")?,
            head: number("head")?,
        })))
    }

    pub(crate) fn head_number(&self) -> u64 {
        self.0.head
    }

    pub(crate) fn block(&self, number: u64) -> Result<Option<BlockHead>, StorageError> {
        self.0.blocks.get(number)?.map(|it| BlockHead::decode(it.value())).transpose()
    }

    pub(crate) fn number_of(&self, hash: &B256) -> Result<Option<u64>, StorageError> {
        Ok(self.0.hashes.get(hash.as_slice())?.map(|it| it.value()))
    }

    /// Where a mined transaction is: block and index.
    pub(crate) fn location(&self, hash: &B256) -> Result<Option<(u64, u32)>, StorageError> {
        Ok(self.0.locations.get(hash.as_slice())?.map(|it| it.value()))
    }

    pub(crate) fn transaction(
        &self,
        block: u64,
        index: u32,
    ) -> Result<Option<MinedTransaction>, StorageError> {
        let record = self.0.transactions.get((block, index))?;
        record.map(|it| MinedTransaction::decode(it.value())).transpose()
    }

    /// All transactions of a block, in order.
    pub(crate) fn transactions(&self, block: u64) -> Result<Vec<MinedTransaction>, StorageError> {
        self.0
            .transactions
            .range((block, 0)..=(block, u32::MAX))?
            .map(|entry| MinedTransaction::decode(entry?.1.value()))
            .collect()
    }

    /// The newest state.
    pub(crate) fn newest(&self) -> StateAt {
        StateAt { view: self.clone(), version: None }
    }

    /// The state after `block`, which must be a block of this chain.
    ///
    /// # Errors
    /// `Pruned` if its history is gone.
    pub(crate) fn after(&self, block: &BlockHead) -> Result<StateAt, StorageError> {
        let number = block.header.number;
        if number < self.0.oldest {
            return Err(StorageError::Pruned { block: number, oldest: self.0.oldest });
        }
        let version = (number < self.0.head).then_some(block.version);
        Ok(StateAt { view: self.clone(), version })
    }
}

/// The state at one moment of the chain. To revm it is a database.
#[derive(Clone)]
pub(crate) struct StateAt {
    view: View,
    /// The last change that counts; nothing: all of them.
    version: Option<u64>,
}

impl StateAt {
    pub(crate) fn account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        self.read(&Place::Account(address), Account::decode)
    }

    pub(crate) fn slot(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        self.read(&Place::Slot(address, slot), U256::from_be_slice)
    }

    /// What proves an account and some of its slots against the root of this state.
    ///
    /// # Errors
    /// `ProofsPruned` if too much happened since.
    pub(crate) fn prove(&self, address: Address, slots: &[U256]) -> Result<Proofs, StorageError> {
        let back = roots::after(self, &self.since()?)?;
        roots::prove(&Past { newest: self, nodes: back.nodes }, address, slots)
    }

    /// The Merkle root of this state.
    #[cfg(test)]
    pub(crate) fn root(&self) -> Result<B256, StorageError> {
        Ok(roots::after(self, &self.since()?)?.root)
    }

    /// What takes everything back that came after this state.
    fn since(&self) -> Result<Changes, StorageError> {
        let mut back = Changes::default();
        let Some(version) = self.version else { return Ok(back) };
        for entry in self.view.0.undo.range(version.saturating_add(1)..)? {
            let (later, changed) = entry?;
            for key in undo_keys(later.value(), changed.value())? {
                let unreadable = || StorageError::Corrupt(format!("undo record {}", later.value()));
                let place = Place::of_key(&key).ok_or_else(unreadable)?;
                back.set(place, self.read(&place, <[u8]>::to_vec)?);
            }
            if back.len() > TAKEN_BACK_MAX {
                return Err(StorageError::ProofsPruned { max: TAKEN_BACK_MAX });
            }
        }
        Ok(back)
    }

    pub(crate) fn code_of(&self, address: Address) -> Result<Bytes, StorageError> {
        match self.account(address)? {
            Some(account) => Ok(self.code(account.code_hash)?.original_bytes()),
            None => Ok(Bytes::new()),
        }
    }

    pub(crate) fn code(&self, hash: B256) -> Result<Bytecode, StorageError> {
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.view.0.code_cache.lock().get(&hash) {
            return Ok(code.clone());
        }
        let Some(stored) = self.view.0.codes.get(hash.as_slice())? else {
            return Err(StorageError::Corrupt(format!("code {hash} is missing")));
        };
        let code = Bytecode::new_raw_checked(Bytes::copy_from_slice(stored.value()))
            .map_err(|error| StorageError::Corrupt(error.to_string()))?;
        let mut cache = self.view.0.code_cache.lock();
        if cache.len() >= CODE_CACHE_MAX {
            cache.clear();
        }
        cache.insert(hash, code.clone());
        Ok(code)
    }

    fn read<T>(&self, place: &Place, decode: impl Fn(&[u8]) -> T) -> Result<T, StorageError> {
        if let Some(version) = self.version {
            let from = place.history_key(version.saturating_add(1));
            let to = place.history_key(u64::MAX);
            let mut later = self.view.0.history.range(from.as_slice()..=to.as_slice())?;
            if let Some(entry) = later.next() {
                return Ok(decode(entry?.1.value()));
            }
        }
        match self.view.0.state.get(place.key().as_slice())? {
            Some(value) => Ok(decode(value.value())),
            None => Ok(decode(&[])),
        }
    }
}

impl Source for StateAt {
    fn trie_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.view.0.nodes.get(key)?.map(|it| it.value().to_vec()))
    }

    fn newest_account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        self.account(address)
    }
}

/// The tries of a past state: the newest nodes, but for those that were made anew for it.
struct Past<'a> {
    newest: &'a StateAt,
    nodes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Source for Past<'_> {
    fn trie_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        match self.nodes.get(key) {
            Some(node) => Ok(node.clone()),
            None => self.newest.trie_node(key),
        }
    }

    fn newest_account(&self, address: Address) -> Result<Option<Account>, StorageError> {
        self.newest.account(address)
    }
}

impl DatabaseRef for StateAt {
    type Error = StorageError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StorageError> {
        Ok(self.account(address)?.map(|it| AccountInfo {
            nonce: it.nonce,
            balance: it.balance,
            code_hash: it.code_hash,
            code: None,
            account_id: None,
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, StorageError> {
        self.code(code_hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StorageError> {
        self.slot(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StorageError> {
        Ok(self.view.block(number)?.map(|it| it.hash).unwrap_or_default())
    }
}
