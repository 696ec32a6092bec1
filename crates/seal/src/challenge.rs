//! What is signed in the protocol of secrets.
//!
//! Every message is the 32-byte Keccak hash of some bytes put next to each other, signed by a wallet as an Ethereum
//! message (EIP-191) of 32 bytes. The hashes here are before that prefix; [`signed_hash`] adds it.
//!
//! | who signs | what |
//! |---|---|
//! | owner of a secret | `H(D ‖ owner or asset ‖ keccak(name)? ‖ keccak(value))`, see [`to_set`] |
//! | owner of a workerpool, for an enclave's address | `H(task)`, see [`for_task`] |
//! | owner of a workerpool, for a worker; and the worker, to be given the session | `H(worker ‖ task ‖ enclave)`, see [`for_worker`] |
//! | enclave, towards its worker | `H(task ‖ worker)`, see [`from_enclave`] |
//! | enclave, for a result | `H(result hash ‖ result seal)`, see [`for_result`] |
//!
//! `D` is `keccak("IEXEC_SMS_DOMAIN")`. None of these messages holds a time or a number used once: whoever takes them
//! must know from elsewhere whether they are still meant.

use alloy_primitives::{Address, B256, eip191_hash_message, keccak256};
use primitives::{ResultDigest, TaskId};

/// Names of secrets with a meaning of their own.
pub mod reserved {
    /// Of a beneficiary: the public key that results are encrypted for, base64 of PEM.
    pub const RESULT_ENCRYPTION_KEY: &str = "iexec-result-encryption-public-key";
    /// Of a requester: where results go when Dropbox was asked for.
    pub const DROPBOX_TOKEN: &str = "iexec-result-dropbox-token";
    /// Of a worker, or of a requester: the upload token of a result proxy.
    pub const IPFS_TOKEN: &str = "iexec-result-iexec-ipfs-token";
    /// Of a workerpool's owner: the result proxy that its workers upload to.
    pub const RESULT_PROXY_URL: &str = "iexec-result-iexec-result-proxy-url";
}

/// The only number that an app's secret has.
pub const APP_SECRET_INDEX: &str = "1";

/// Letters of a requester's key, at most.
const KEY_LEN_MAX: usize = 64;

/// Which secret. The name of a secret is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretId {
    /// The key of a dataset; set by its owner, once. Also called web3.
    Dataset(Address),
    /// A named secret of an account; may be changed. Also called web2.
    Named {
        /// Whose.
        owner: Address,
        /// Its name; any text.
        name: String,
    },
    /// A secret that an account gives to programs it pays for; set once.
    Requester {
        /// Whose.
        owner: Address,
        /// Its name; letter case counts.
        key: String,
    },
    /// The secret of an app's developer; set by the app's owner, once.
    App(Address),
}

impl SecretId {
    /// The account that must sign, where it is known without asking a chain; of assets it is their owner.
    pub fn signer(&self) -> Option<Address> {
        match self {
            Self::Named { owner, .. } | Self::Requester { owner, .. } => Some(*owner),
            Self::Dataset(_) | Self::App(_) => None,
        }
    }

    /// The asset whose owner must sign, or the account itself.
    pub fn address(&self) -> Address {
        match self {
            Self::Dataset(address) | Self::App(address) => *address,
            Self::Named { owner, .. } | Self::Requester { owner, .. } => *owner,
        }
    }

    /// Whether the name is one that may be used: a requester's is 1 to 64 of `0-9 A-Z a-z - _`.
    pub fn is_well_named(&self) -> bool {
        let Self::Requester { key, .. } = self else { return true };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(plain)
    }
}

/// What the owner of a secret signs to set it to `value`.
pub fn to_set(id: &SecretId, value: &[u8]) -> B256 {
    let value = keccak256(value);
    let named = |name: &str| {
        hash(&[
            domain().as_slice(),
            id.address().as_slice(),
            keccak256(name).as_slice(),
            value.as_slice(),
        ])
    };
    match id {
        SecretId::Dataset(dataset) => {
            hash(&[domain().as_slice(), dataset.as_slice(), value.as_slice()])
        }
        SecretId::Named { name, .. } => named(name),
        SecretId::Requester { key, .. } => named(key),
        SecretId::App(_) => named(APP_SECRET_INDEX),
    }
}

/// What the owner of a workerpool signs to ask for a task's enclave address.
pub fn for_task(task: TaskId) -> B256 {
    keccak256(task.0)
}

/// What the owner of a workerpool signs to let a worker work on a task with that enclave, and what the worker signs to be
/// given the session. The contracts read the first of these as well.
pub fn for_worker(worker: Address, task: TaskId, enclave: Address) -> B256 {
    verdict::authorization_hash(worker, task, enclave)
}

/// What an enclave signs when it talks to its worker.
pub fn from_enclave(task: TaskId, worker: Address) -> B256 {
    hash(&[task.0.as_slice(), worker.as_slice()])
}

/// What an enclave signs to vouch for a result: the contracts check it.
pub fn for_result(worker: Address, task: TaskId, digest: ResultDigest) -> B256 {
    let (result, seal) =
        (verdict::result_hash(task, digest), verdict::result_seal(worker, task, digest));
    hash(&[result.0.as_slice(), seal.0.as_slice()])
}

/// The hash that a key signs for a message of these 32 bytes (EIP-191).
pub fn signed_hash(message: B256) -> B256 {
    eip191_hash_message(message)
}

fn domain() -> B256 {
    keccak256("IEXEC_SMS_DOMAIN")
}

fn hash(parts: &[&[u8]]) -> B256 {
    keccak256(parts.concat())
}
