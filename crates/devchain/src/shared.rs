//! What the writer shows to everybody else.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256, keccak256};
use parking_lot::{Mutex, RwLock};

use crate::{
    accounts::DevAccount,
    clock::Clock,
    feed::Feed,
    pool::{Pool, Terms},
    storage::{BlockHead, View},
};

/// Senders whose nonce requests are remembered before old ones are forgotten.
const NONCE_REQUESTS_MAX: usize = 4_096;

/// The chain as of the last block (or development write), and all that is needed to draft the next one.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) block: BlockHead,
    pub(crate) view: View,
    pub(crate) clock: Clock,
    pub(crate) gas_limit: u64,
    pub(crate) coinbase: Address,
    pub(crate) base_fee: u64,
    /// Tells blocks apart that replace each other with the same content.
    pub(crate) salt: u64,
}

impl Head {
    /// The header of the next block as far as it is known before it is mined.
    pub(crate) fn draft(&self) -> Header {
        let parent = &self.block;
        let number = parent.header.number + 1;
        let mut mix = Vec::with_capacity(48);
        mix.extend_from_slice(parent.hash.as_slice());
        mix.extend_from_slice(&number.to_be_bytes());
        mix.extend_from_slice(&self.salt.to_be_bytes());
        Header {
            parent_hash: parent.hash,
            number,
            beneficiary: self.coinbase,
            gas_limit: self.gas_limit,
            timestamp: self.clock.peek(parent.header.timestamp),
            base_fee_per_gas: Some(self.base_fee),
            mix_hash: keccak256(&mix),
            ..empty_header()
        }
    }

    pub(crate) fn terms(&self, chain_id: u64) -> Terms {
        Terms { chain_id, base_fee: self.base_fee, gas_limit: self.gas_limit }
    }
}

/// A header with what all our headers have in common.
pub(crate) fn empty_header() -> Header {
    Header {
        withdrawals_root: Some(alloy_consensus::EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(alloy_eips::eip7685::EMPTY_REQUESTS_HASH),
        difficulty: U256::ZERO,
        ..Header::default()
    }
}

/// What all threads share. Only the writer changes it, except for who is impersonated and who asked for a nonce.
pub(crate) struct Shared {
    pub(crate) chain_id: u64,
    pub(crate) accounts: Vec<DevAccount>,
    pub(crate) feed: Feed,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) impersonated: RwLock<Impersonated>,
    pub(crate) nonce_requests: NonceRequests,
    head: RwLock<Arc<Head>>,
}

/// Accounts that may send without a signature.
#[derive(Debug, Default)]
pub(crate) struct Impersonated {
    pub(crate) everybody: bool,
    pub(crate) accounts: HashSet<Address>,
}

impl Shared {
    pub(crate) fn new(chain_id: u64, accounts: Vec<DevAccount>, head: Head) -> Self {
        Self {
            chain_id,
            accounts,
            feed: Feed::new(),
            pool: Mutex::default(),
            impersonated: RwLock::default(),
            nonce_requests: NonceRequests::default(),
            head: RwLock::new(Arc::new(head)),
        }
    }

    pub(crate) fn head(&self) -> Arc<Head> {
        self.head.read().clone()
    }

    pub(crate) fn set_head(&self, head: Head) {
        *self.head.write() = Arc::new(head);
    }

    pub(crate) fn dev_account(&self, address: &Address) -> Option<&DevAccount> {
        self.accounts.iter().find(|it| it.address == *address)
    }

    pub(crate) fn is_impersonated(&self, address: &Address) -> bool {
        let impersonated = self.impersonated.read();
        impersonated.everybody || impersonated.accounts.contains(address)
    }
}

/// Who asked for a sender's nonce, and when.
///
/// ethers v6 keeps the answer to any request for 250 ms. A program that awaits one transaction after the other would,
/// on a chain that mines at once, send the second with the nonce of the first. So the transaction is mined at once, but
/// the answer to its submission waits until the nonce that the client remembers has expired. Clients that count their
/// own nonces ask once and never wait; neither does anybody who asked long ago.
///
/// The client forgets by a timer, and on a busy machine timers are late. If the answer overtakes the timer, the next
/// transaction is refused. So there is some slack, and more of it where something shows that the machine is busy: our
/// own timer was late, or the client needed longer than its own memory lasts to sign what it had asked for.
#[derive(Debug, Default)]
pub(crate) struct NonceRequests(Mutex<HashMap<Address, Instant>>);

/// How long a client may keep an answer: 250 ms in ethers v6, and some for its timer being late.
const CLIENT_CACHE: Duration = Duration::from_millis(275);
/// A client that asked no longer ago than this may be a slow one, whose timer is late.
const CLIENT_SLOW: Duration = Duration::from_millis(1_500);
/// How late a timer may be on a machine that has time.
const LATE: Duration = Duration::from_millis(5);
/// What a busy machine gets on top: longer than the pauses that a scheduler makes.
const BUSY_SLACK: Duration = Duration::from_millis(125);

impl NonceRequests {
    pub(crate) fn note(&self, sender: Address) {
        let mut requests = self.0.lock();
        let now = Instant::now();
        if requests.len() >= NONCE_REQUESTS_MAX {
            requests.retain(|_, at| now.duration_since(*at) < CLIENT_SLOW);
        }
        if requests.len() < NONCE_REQUESTS_MAX {
            requests.insert(sender, now);
        }
    }

    /// Waits until the answer to a submission by `sender` may go out.
    pub(crate) async fn hold(&self, sender: &Address) {
        let Some(asked) = self.0.lock().get(sender).copied() else { return };
        let due = asked + CLIENT_CACHE;
        if asked.elapsed() < CLIENT_CACHE {
            tokio::time::sleep_until(due.into()).await;
            if due.elapsed() <= LATE {
                return;
            }
        } else {
            // Once for each time that it asked, so that clients with nonces of their own are not slowed down.
            self.0.lock().remove(sender);
            if asked.elapsed() >= CLIENT_SLOW {
                return;
            }
        }
        tokio::time::sleep(BUSY_SLACK).await;
    }
}
