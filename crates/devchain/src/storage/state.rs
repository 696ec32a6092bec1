//! What the state consists of: accounts and slots, as keys and values of a table.
//!
//! Every place in the state has one byte string, so that blocks, development writes, history and undoing are all the
//! same thing: a set of places and their new values.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};

/// An account without its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    const LEN: usize = 8 + 32 + 32;

    /// Whether EIP-161 says that it is not there at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend_from_slice(&self.nonce.to_be_bytes());
        bytes.extend_from_slice(&self.balance.to_be_bytes::<32>());
        bytes.extend_from_slice(self.code_hash.as_slice());
        bytes
    }

    /// The account in `bytes`; nothing if they are empty, which is how "was not there" is written in history.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let nonce = u64::from_be_bytes(bytes[..8].try_into().ok()?);
        let balance = U256::from_be_slice(&bytes[8..40]);
        Some(Self { nonce, balance, code_hash: B256::from_slice(&bytes[40..]) })
    }
}

/// A place in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Account(Address),
    Slot(Address, U256),
}

impl Place {
    /// Its key. The leading tag keeps accounts and slots apart, so that the versions of one place lie side by side.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + 20 + 32 + 8);
        match self {
            Self::Account(address) => {
                key.push(0);
                key.extend_from_slice(address.as_slice());
            }
            Self::Slot(address, slot) => {
                key.push(1);
                key.extend_from_slice(address.as_slice());
                key.extend_from_slice(&slot.to_be_bytes::<32>());
            }
        }
        key
    }

    /// The place of that key.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (0, address) => Some(Self::Account(Address::try_from(address).ok()?)),
            (1, rest) => {
                let (address, slot) = rest.split_at_checked(20)?;
                let slot: [u8; 32] = slot.try_into().ok()?;
                Some(Self::Slot(Address::from_slice(address), U256::from_be_bytes(slot)))
            }
            _ => None,
        }
    }

    /// The key of its value *before* `version`, in the history.
    pub(crate) fn history_key(&self, version: u64) -> Vec<u8> {
        versioned(self.key(), version)
    }
}

/// `key` followed by `version`, so that the versions of one key sort by age.
pub(crate) fn versioned(mut key: Vec<u8>, version: u64) -> Vec<u8> {
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// New values for places of the state, and new code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    places: BTreeMap<Place, Vec<u8>>,
    pub(crate) codes: BTreeMap<B256, Bytes>,
}

impl Changes {
    pub(crate) fn set_account(&mut self, address: Address, account: Option<Account>) {
        let value = account.filter(|it| !it.is_empty()).map(|it| it.encode()).unwrap_or_default();
        self.places.insert(Place::Account(address), value);
    }

    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        let value = if value.is_zero() { Vec::new() } else { value.to_be_bytes::<32>().to_vec() };
        self.places.insert(Place::Slot(address, slot), value);
    }

    /// Sets a place as it stands in the tables; an empty value empties it.
    pub(crate) fn set(&mut self, place: Place, value: Vec<u8>) {
        self.places.insert(place, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Keys and new values in order; an empty value means that the place becomes empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        self.places.iter().map(|(place, value)| (place, value.as_slice()))
    }
}
