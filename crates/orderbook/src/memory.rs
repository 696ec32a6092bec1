//! What a publication asks of the chain again and again, remembered for as long as it is true.
//!
//! ```text
//! owner of an asset      until the asset is transferred
//! stake of an account    until money of the account moves
//! account has a key      for good: a contract keeps its address
//! signature of a key     worked out here; the hub is asked only when the key did not sign
//! volume used            asked each time, but for many orders in one call
//! ```
//!
//! The watcher says what it has heard *before* it looks at the book, and what was asked meanwhile is not remembered:
//! so nothing outlives the block that made it false by more than the watcher lags behind. Whatever slips through in
//! between is put right when the watcher looks at that block, as for orders already in the book.
//!
//! Everything here is bounded; when there is no room, all is forgotten and asked again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use chain::{AssetKind, MarketEvent};
use orders::signature;
use parking_lot::Mutex;
use primitives::{Nrlc, OrderHash};
use tokio::sync::oneshot;

use crate::Error;
use crate::ledger::{Block, SharedLedger};

/// Assets or accounts remembered at once.
const KNOWN_MAX: usize = 65_536;
/// Orders asked about in one call.
const CALL_MAX: usize = 100;
/// Orders that wait for the next call.
const WAITING_MAX: usize = 4_096;

/// The chain as publications see it.
pub(crate) struct Memory {
    ledger: SharedLedger,
    known: Mutex<Known>,
    counter: Arc<Counter>,
}

#[derive(Default)]
struct Known {
    /// Grows with all that is heard: an answer to a question from before is not remembered.
    epoch: u64,
    owners: HashMap<(AssetKind, Address), Address>,
    stakes: HashMap<Address, Nrlc>,
    /// Accounts without code, whose signatures are those of their keys.
    keys: HashSet<Address>,
}

impl Memory {
    pub(crate) fn new(ledger: SharedLedger) -> Self {
        let counter = Arc::new(Counter::new(ledger.clone()));
        Self { ledger, known: Mutex::default(), counter }
    }

    /// Forgets what these blocks may have changed.
    pub(crate) fn hear(&self, blocks: &[Block]) {
        let mut known = self.known.lock();
        known.epoch += 1;
        for event in blocks.iter().flat_map(|block| &block.events) {
            match event.event {
                MarketEvent::Transfer { from, to, .. } => {
                    known.stakes.remove(&from);
                    known.stakes.remove(&to);
                }
                MarketEvent::AssetTransferred { asset, .. } => {
                    for kind in [AssetKind::App, AssetKind::Dataset, AssetKind::Workerpool] {
                        known.owners.remove(&(kind, asset));
                    }
                }
                _ => {}
            }
        }
    }

    /// Forgets everything: the chain was rewound.
    pub(crate) fn forget(&self) {
        let mut known = self.known.lock();
        *known = Known { epoch: known.epoch + 1, ..Known::default() };
    }

    /// The owner of a registered asset; nothing if it is not registered.
    pub(crate) async fn owner(
        &self,
        kind: AssetKind,
        asset: Address,
    ) -> Result<Option<Address>, Error> {
        let epoch = {
            let known = self.known.lock();
            if let Some(owner) = known.owners.get(&(kind, asset)) {
                return Ok(Some(*owner));
            }
            known.epoch
        };
        if !self.ledger.is_registered(kind, asset).await? {
            return Ok(None);
        }
        let owner = self.ledger.owner(asset).await?;
        self.remember(epoch, |known| {
            make_room(&mut known.owners);
            known.owners.insert((kind, asset), owner);
        });
        Ok(Some(owner))
    }

    /// What an account has staked and not locked.
    pub(crate) async fn stake(&self, account: Address) -> Result<Nrlc, Error> {
        let epoch = {
            let known = self.known.lock();
            if let Some(stake) = known.stakes.get(&account) {
                return Ok(*stake);
            }
            known.epoch
        };
        let stake = self.ledger.stake(account).await?;
        self.remember(epoch, |known| {
            make_room(&mut known.stakes);
            known.stakes.insert(account, stake);
        });
        Ok(stake)
    }

    /// Whether the hub takes that for the account's signature.
    pub(crate) async fn is_signed_by(
        &self,
        account: Address,
        hash: OrderHash,
        sign: &Bytes,
    ) -> Result<bool, Error> {
        if signature::is_signed_by(account, hash.0, sign) && self.has_key(account).await? {
            return Ok(true);
        }
        self.ledger.is_signed_by(account, hash, sign).await
    }

    /// How much of an order is used up.
    pub(crate) async fn consumed(&self, order: OrderHash) -> Result<U256, Error> {
        self.counter.consumed(order).await
    }

    /// Whether the account is one with a key rather than a contract: of a contract the hub asks whether it signed.
    async fn has_key(&self, account: Address) -> Result<bool, Error> {
        if self.known.lock().keys.contains(&account) {
            return Ok(true);
        }
        if self.ledger.has_code(account).await? {
            return Ok(false);
        }
        let mut known = self.known.lock();
        if known.keys.len() >= KNOWN_MAX {
            known.keys.clear();
        }
        known.keys.insert(account);
        Ok(true)
    }

    fn remember(&self, epoch: u64, remember: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock();
        if known.epoch == epoch {
            remember(&mut known);
        }
    }
}

fn make_room<K, V>(known: &mut HashMap<K, V>) {
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
}

/// Asks about many orders at once: what arrives while one call is under way is asked with the next.
struct Counter {
    ledger: SharedLedger,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    asking: bool,
    waiting: Vec<Question>,
}

impl Queue {
    /// Whether somebody must begin to ask.
    fn take_in(&mut self, question: Question) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.waiting.push(question);
        !std::mem::replace(&mut self.asking, true)
    }

    /// What to ask next; nothing when there is nothing more.
    fn next(&mut self) -> Vec<Question> {
        let count = self.waiting.len().min(CALL_MAX);
        self.asking = count > 0;
        self.waiting.drain(..count).collect()
    }
}

struct Question {
    order: OrderHash,
    /// `None`: the call failed; the asker asks for itself and learns why.
    answer: oneshot::Sender<Option<U256>>,
}

impl Counter {
    fn new(ledger: SharedLedger) -> Self {
        Self { ledger, queue: Mutex::default() }
    }

    async fn consumed(self: &Arc<Self>, order: OrderHash) -> Result<U256, Error> {
        let (answer, answered) = oneshot::channel();
        // Without room in the queue the question is dropped, and so is the answer's other end.
        if self.queue.lock().take_in(Question { order, answer }) {
            // A task of its own: whoever asked first may go away without leaving the others waiting.
            tokio::spawn(Arc::clone(self).ask());
        }
        match answered.await {
            Ok(Some(consumed)) => Ok(consumed),
            _ => self.ledger.consumed(order).await,
        }
    }

    async fn ask(self: Arc<Self>) {
        loop {
            let questions = self.queue.lock().next();
            if questions.is_empty() {
                return;
            }
            let orders: Vec<_> = questions.iter().map(|question| question.order).collect();
            let answers = self.ledger.consumed_all(&orders).await.unwrap_or_default();
            let mut answers = answers.into_iter();
            for question in questions {
                // Whoever has gone away does not need the answer.
                let _ = question.answer.send(answers.next());
            }
        }
    }
}
