//! The writer: the one place where the chain changes.
//!
//! ```text
//!   Chain (any thread) ──Command──▶ queue (bounded) ──▶ thread: take all that wait ─▶ pool ─▶ block(s) ─▶ fsync ─▶ answer all
//! ```
//!
//! In instant mode whatever has queued up while the last block was written goes into the next one, so a lone sender has
//! its transaction on disk within a block's time, and a crowd shares the cost of the disk.

mod chain;
mod develop;
mod mine;
mod rewind;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use alloy_consensus::{TxEnvelope, transaction::Recovered};
use alloy_primitives::{Address, B256, Signature, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_signer::SignerSync as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub(crate) use chain::{Chain, Gone};
pub(crate) use mine::next_base_fee;
pub(crate) use rewind::RewindError;

use crate::{
    Mining,
    evm::Overlay,
    feed::Event,
    pool::Rejection,
    shared::{Head, Shared},
    storage::{Database, StorageError},
};
use rewind::Snapshot;

/// Commands taken into one block at most, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 4_096;

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Take in a transaction; the answer comes when it is mined, if mining is instant.
    Submit { submission: Submission, reply: oneshot::Sender<Result<B256, Rejection>> },
    /// Do something while nothing else happens.
    Run(Box<dyn FnOnce(&mut Engine) + Send>),
}

/// A transaction to take in.
pub(crate) enum Submission {
    Signed(Box<Recovered<TxEnvelope>>),
    /// For an unlocked or impersonated account: complete but for its signature and, if left open, its nonce. The nonce
    /// is given here, since only the writer knows the next one for certain.
    Unsigned {
        from: Address,
        request: Box<TransactionRequest>,
    },
}

/// The chain's rules and pace.
pub(crate) struct Policy {
    pub(crate) mining: Mining,
    pub(crate) min_base_fee: u64,
    pub(crate) history: u64,
}

/// The writer's own things.
pub(crate) struct Engine {
    database: Database,
    shared: Arc<Shared>,
    overlay: Overlay,
    head: Head,
    policy: Policy,
    /// When the next block is due, in interval mode.
    due: Option<Instant>,
    snapshots: BTreeMap<u64, Snapshot>,
    next_snapshot: u64,
    /// Why transactions accepted into the pool were not mined, until their senders are told.
    dropped: HashMap<B256, Rejection>,
}

impl Engine {
    pub(crate) fn new(
        database: Database,
        shared: Arc<Shared>,
        policy: Policy,
    ) -> Result<Self, StorageError> {
        let head = (*shared.head()).clone();
        let overlay = Overlay::new(database.view()?.newest());
        let mut engine = Self {
            database,
            shared,
            overlay,
            head,
            policy,
            due: None,
            snapshots: BTreeMap::new(),
            next_snapshot: 1,
            dropped: HashMap::new(),
        };
        engine.schedule();
        Ok(engine)
    }

    /// Works until every handle on the queue is gone, then finishes what was queued.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.due.unwrap_or(far)) => self.tick(),
                taken = commands.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    self.handle(batch.drain(..));
                    self.dropped.clear();
                }
            }
        }
    }

    pub(crate) fn set_mining(&mut self, mining: Mining) {
        self.policy.mining = mining;
        self.schedule();
        self.mine_if_instant();
    }

    /// How blocks are made now.
    pub(crate) fn mining(&self) -> Mining {
        self.policy.mining
    }

    fn tick(&mut self) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            if let Err(error) = self.mine_block() {
                tracing::error!(%error, "a block could not be mined");
            }
            self.dropped.clear();
            self.schedule();
        }
    }

    fn schedule(&mut self) {
        self.due = match self.policy.mining {
            Mining::Interval(ms) => Some(Instant::now() + Duration::from_millis(ms.max(1))),
            Mining::Instant | Mining::Manual => None,
        };
    }

    fn handle(&mut self, batch: impl Iterator<Item = Command>) {
        let mut waiting = Vec::new();
        for command in batch {
            match command {
                Command::Submit { submission, reply } => match self.admit(submission) {
                    Ok(hash) => waiting.push((hash, reply)),
                    Err(rejection) => drop(reply.send(Err(rejection))),
                },
                Command::Run(run) => {
                    self.settle(&mut waiting);
                    run(self);
                }
            }
        }
        self.settle(&mut waiting);
    }

    /// Mines, if mining is instant, and answers those who wait.
    fn settle(&mut self, waiting: &mut Vec<(B256, oneshot::Sender<Result<B256, Rejection>>)>) {
        if waiting.is_empty() {
            return;
        }
        let failure = self.mine_if_instant();
        for (hash, reply) in waiting.drain(..) {
            let answer = match (self.dropped.remove(&hash), &failure) {
                (Some(rejection), _) => Err(rejection),
                (None, Some(error)) => Err(Rejection::Internal(error.clone())),
                (None, None) => Ok(hash),
            };
            // A client that has gone away does not want its answer.
            drop(reply.send(answer));
        }
        self.dropped.clear();
    }

    fn mine_if_instant(&mut self) -> Option<String> {
        if self.policy.mining != Mining::Instant {
            return None;
        }
        let result = self.mine_ready();
        result
            .inspect_err(|error| tracing::error!(%error, "a block could not be mined"))
            .err()
            .map(|it| it.to_string())
    }

    fn admit(&mut self, submission: Submission) -> Result<B256, Rejection> {
        let tx = match submission {
            Submission::Signed(tx) => *tx,
            Submission::Unsigned { from, request } => self.complete(from, *request)?,
        };
        let (hash, sender) = (*tx.tx_hash(), tx.signer());
        let account = self.overlay.account(sender)?;
        self.shared.pool.lock().add(tx, &account, self.head.terms(self.shared.chain_id))?;
        if self.policy.mining != Mining::Instant {
            self.shared.feed.push(Event::Pending(hash));
        }
        Ok(hash)
    }

    fn complete(
        &mut self,
        from: Address,
        mut request: TransactionRequest,
    ) -> Result<Recovered<TxEnvelope>, Rejection> {
        if request.nonce.is_none() {
            let next = self.overlay.account(from)?.nonce;
            request.nonce = Some(self.shared.pool.lock().next_nonce(from, next));
        }
        let unsigned = request.build_typed_tx().map_err(|_| Rejection::Type)?;
        let signature = match self.shared.dev_account(&from) {
            Some(account) => account
                .signer
                .sign_hash_sync(&alloy_consensus::SignableTransaction::signature_hash(&unsigned))
                .map_err(|error| Rejection::Internal(error.to_string()))?,
            None => forged(from),
        };
        Ok(Recovered::new_unchecked(unsigned.into_envelope(signature), from))
    }
}

/// Stands for the signature of an account whose key nobody has. It carries the address, so that two accounts sending
/// the same thing have transactions with different hashes.
fn forged(from: Address) -> Signature {
    Signature::new(from.into_word().into(), U256::from(1), false)
}
