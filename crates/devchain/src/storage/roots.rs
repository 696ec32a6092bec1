//! The state's Merkle root: a trie of accounts, each with the root of a trie of its slots, all kept at their newest.
//!
//! Keys of the tries are hashes of addresses and of slots, as everywhere. An account has a leaf if it is one by EIP-161
//! or if it has slots; the latter without the former is only ever made by development methods.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};

use super::{
    StorageError,
    state::{Account, Changes, Place},
    trie::{self, Change, Nodes},
};

/// Where the tries and the newest accounts are.
pub(crate) trait Source {
    /// The encoded node under that key of the table of nodes.
    fn trie_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    /// An account as it is now.
    fn newest_account(&self, address: Address) -> Result<Option<Account>, StorageError>;
}

/// A root, and what of the table of nodes makes it so.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pub(crate) root: B256,
    /// By the table's key: written, or removed.
    pub(crate) nodes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// The root after `changes`. It does not matter whether `source` already tells the changed accounts.
pub(crate) fn after(source: &impl Source, changes: &Changes) -> Result<Roots, StorageError> {
    let mut roots = Roots::default();
    let mut accounts: Vec<Change> = Vec::new();
    let mut touched: BTreeMap<Address, Touched> = BTreeMap::new();
    for (place, value) in changes.iter() {
        match place {
            Place::Account(address) => {
                touched.entry(*address).or_default().account = Some(Account::decode(value));
            }
            Place::Slot(address, slot) => {
                let value =
                    (!value.is_empty()).then(|| alloy_rlp::encode(U256::from_be_slice(value)));
                touched.entry(*address).or_default().slots.push((slot_path(*slot), value));
            }
        }
    }
    for (address, mut touched) in touched {
        let storage = One { source, which: Which::Slots(address) };
        let storage_root = if touched.slots.is_empty() {
            trie::root(&storage)?
        } else {
            touched.slots.sort_by_key(|(path, _)| *path);
            let update = trie::update(&storage, &touched.slots)?;
            roots.take(storage.which, update.nodes);
            update.root
        };
        let account = match touched.account {
            Some(account) => account,
            None => source.newest_account(address)?,
        };
        let leaf = (account.is_some() || storage_root != EMPTY_ROOT_HASH)
            .then(|| alloy_rlp::encode(leaf(account.unwrap_or_default(), storage_root)));
        accounts.push((account_path(address), leaf));
    }
    accounts.sort_by_key(|(path, _)| *path);
    let update = trie::update(&One { source, which: Which::Accounts }, &accounts)?;
    roots.take(Which::Accounts, update.nodes);
    roots.root = update.root;
    Ok(roots)
}

/// What proves an account and some of its slots.
#[derive(Debug)]
pub(crate) struct Proofs {
    pub(crate) storage_root: B256,
    pub(crate) account: Vec<Bytes>,
    /// One for each slot that was asked for.
    pub(crate) slots: Vec<Vec<Bytes>>,
}

/// Proofs from the tries as they are in `source`.
pub(crate) fn prove(
    source: &impl Source,
    address: Address,
    slots: &[U256],
) -> Result<Proofs, StorageError> {
    let storage = One { source, which: Which::Slots(address) };
    let slots = slots.iter().map(|slot| trie::prove(&storage, &slot_path(*slot)));
    Ok(Proofs {
        storage_root: trie::root(&storage)?,
        slots: slots.collect::<Result<_, _>>()?,
        account: trie::prove(&One { source, which: Which::Accounts }, &account_path(address))?,
    })
}

#[derive(Default)]
struct Touched {
    account: Option<Option<Account>>,
    slots: Vec<Change>,
}

impl Roots {
    fn take(&mut self, which: Which, nodes: BTreeMap<Nibbles, Option<Vec<u8>>>) {
        self.nodes.extend(nodes.into_iter().map(|(path, node)| (which.key(&path), node)));
    }
}

/// Which trie.
#[derive(Clone, Copy)]
enum Which {
    Accounts,
    Slots(Address),
}

impl Which {
    /// The key of a node in the table. The length tells paths apart that are filled up to whole bytes.
    fn key(self, path: &Nibbles) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + 20 + 1 + 32);
        match self {
            Self::Accounts => key.push(0),
            Self::Slots(address) => {
                key.push(1);
                key.extend_from_slice(address.as_slice());
            }
        }
        key.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
        key.extend_from_slice(&path.pack());
        key
    }
}

/// One of the tries.
struct One<'a, S> {
    source: &'a S,
    which: Which,
}

impl<S: Source> Nodes for One<'_, S> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, StorageError> {
        self.source.trie_node(&self.which.key(path))
    }
}

fn account_path(address: Address) -> Nibbles {
    Nibbles::unpack(keccak256(address))
}

fn slot_path(slot: U256) -> Nibbles {
    Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()))
}

fn leaf(account: Account, storage_root: B256) -> TrieAccount {
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root,
        code_hash: account.code_hash,
    }
}
