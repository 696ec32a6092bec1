//! Sending transactions: one lane of nonces per address.
//!
//! A lane gives out nonces itself, so the next transaction need not wait for the one before. It learns what was mined
//! from the pushed blocks, asks for each receipt once, and looks after what is overdue: sends it again, and at the
//! head of the line with a higher fee and the same nonce. After a crash nothing is remembered and nothing needs to be:
//! a lane starts at the node's count of pending transactions, so a nonce already out there is not given to another.
//!
//! ```text
//!   send ─► nonce, sign ─► node ─► block push ─► receipt ─► Pending::mined
//!             ▲                └─ nonce refused ─► ask the node's count, sign anew
//!             └─ overdue: same nonce, higher fee
//! ```
//!
//! A chain that goes back takes transactions with it that were told of as mined. The lane keeps the latest of those, and
//! sends again what does not come back by itself and would still succeed, and what was waiting. Where another process with
//! the same key does not do the same, its nonces are used for nothing, lest ours wait for them for ever.
//!
//! Not here: what to call (`calls`), and whether a reverted transaction should be tried again (the caller knows).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_rpc_client::RpcCall;
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_transport::TransportError;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocks::MarketBlock;
use crate::client::{Client, Link};
use crate::error::{Error, ErrorKind, Result};
use crate::follow::Update;
use crate::receipt::{RawReceipt, Receipt};
use crate::revert::{Reason, Revert};
use crate::rpc;

const SEND_ATTEMPTS: u32 = 6;
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const NONCE_PAUSE: Duration = Duration::from_millis(50);
/// Nodes accept a replacement that pays at least a tenth more; some want an eighth.
const BUMP_PERCENT: u128 = 25;
/// On top of a node's estimate, since the state may differ by the time it is mined.
const ESTIMATE_MARGIN_PERCENT: u64 = 25;
/// Up to so many transactions in flight it is cheaper to ask for each receipt than for the block's list first.
const FEW: usize = 3;
/// Mined transactions kept by a lane, should the chain take them back.
const MINED_KEPT: usize = 256;
/// Bytes of all of them: one that settles a hundred tasks has some 30 KB.
const MINED_BYTES_KEPT: usize = 1 << 20;
/// Overdue transactions looked after in one go.
const UPKEEP_BATCH: usize = 32;
/// JSON-RPC's code for trouble of the node's own, which says nothing about the transaction.
const INTERNAL_ERROR: i64 = -32_603;
const TRANSFER_GAS: u64 = 21_000;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxRequest {
    /// A contract or account; `TxKind::Create` for a new contract.
    pub to: TxKind,
    /// Call data, or creation code.
    pub data: Bytes,
    /// In wei.
    pub value: U256,
    /// Most gas to use; estimated by the node if not given.
    pub gas_limit: Option<u64>,
}

impl TxRequest {
    /// A call, its gas to be estimated.
    pub fn call(to: Address, data: impl Into<Bytes>) -> Self {
        Self { to: TxKind::Call(to), data: data.into(), value: U256::ZERO, gas_limit: None }
    }

    /// A new contract.
    pub fn create(code: impl Into<Bytes>) -> Self {
        Self { to: TxKind::Create, data: code.into(), value: U256::ZERO, gas_limit: None }
    }

    /// The same with that limit of gas.
    pub fn gas(self, gas_limit: u64) -> Self {
        Self { gas_limit: Some(gas_limit), ..self }
    }

    /// The same with that much ether, in wei.
    pub fn value(self, value: U256) -> Self {
        Self { value, ..self }
    }

    pub(crate) fn as_call(&self, from: Address, gas: Option<u64>) -> Value {
        let mut call = json!({ "from": from, "data": self.data, "value": self.value });
        if let TxKind::Call(to) = self.to {
            call["to"] = json!(to);
        }
        if let Some(gas) = gas {
            call["gas"] = json!(U64::from(gas));
        }
        call
    }
}

/// How a lane behaves.
#[derive(Debug, Clone)]
pub struct WalletOptions {
    /// Transactions sent and not yet mined, at most; further ones wait.
    pub max_in_flight: usize,
    /// How long a transaction may stay unmined before it is sent again, with a higher fee if it is the next in line.
    pub resubmit_after: Duration,
}

impl Default for WalletOptions {
    fn default() -> Self {
        Self { max_in_flight: 256, resubmit_after: Duration::from_secs(15) }
    }
}

/// Sends transactions of one address. Wallets of the same address and client share their lane of nonces.
#[derive(Clone)]
pub struct Wallet {
    client: Client,
    lane: Arc<Lane>,
}

impl Wallet {
    /// A wallet with the usual options.
    pub async fn new(client: &Client, signer: PrivateKeySigner) -> Result<Self> {
        Self::with_options(client, signer, WalletOptions::default()).await
    }

    /// A wallet; the options of the first wallet of an address hold for all of them.
    pub async fn with_options(
        client: &Client,
        signer: PrivateKeySigner,
        options: WalletOptions,
    ) -> Result<Self> {
        let lane = client.lanes().lane(client.link(), signer, options);
        lane.freshen().await?;
        Ok(Self { client: client.clone(), lane })
    }

    /// Whose wallet it is.
    pub fn address(&self) -> Address {
        self.lane.address()
    }

    /// The key, for signatures that are not transactions.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.lane.signer
    }

    /// The client that it sends through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The nonce that the next transaction will get, if nothing goes wrong meanwhile.
    pub fn next_nonce(&self) -> u64 {
        let state = self.lane.state.lock();
        state.gaps.first().copied().unwrap_or(state.next)
    }

    /// Sends, without waiting for the node's answer. Transactions are offered to it in the order of these calls.
    ///
    /// With a gas limit nothing is simulated, and whatever goes wrong after this shows in [`Pending::mined`]. An
    /// unreachable node is no error: the transaction is signed and will be sent again until it is mined.
    ///
    /// # Errors
    /// When gas is to be estimated and the contract refuses.
    pub async fn send(&self, request: TxRequest) -> Result<Pending> {
        let (hash, outcome) = self.lane.send(request.clone()).await?;
        Ok(Pending { hash, request, outcome, wallet: self.clone() })
    }

    /// Sends and waits until it is mined.
    pub async fn execute(&self, request: TxRequest) -> Result<Receipt> {
        self.send(request).await?.mined().await
    }
}

/// A transaction on its way.
pub struct Pending {
    hash: B256,
    request: TxRequest,
    outcome: watch::Receiver<Option<Outcome>>,
    wallet: Wallet,
}

impl Pending {
    /// Its hash as first sent. If it must be sent again with another fee or nonce, the receipt has another.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Waits for the block.
    ///
    /// # Errors
    /// The contract refused (with the reason), the node did (no ether for gas), or the nonce went to another transaction.
    pub async fn mined(&self) -> Result<Receipt> {
        const DOING: &str = "sending a transaction";
        let mut outcome = self.outcome.clone();
        let settled = match outcome.wait_for(Option::is_some).await {
            Ok(settled) => settled.clone(),
            Err(_) => None,
        };
        match settled {
            Some(Outcome::Mined(receipt)) if receipt.succeeded => Ok(*receipt),
            Some(Outcome::Mined(receipt)) => {
                let revert = self.wallet.lane.why(&self.request, &receipt).await;
                Err(Error::new(DOING, ErrorKind::Reverted(revert.of(receipt.hash))))
            }
            Some(Outcome::Failed(error)) => Err(error),
            None => Err(Error::new(DOING, ErrorKind::Unreachable("the client was closed".into()))),
        }
    }
}

#[derive(Debug, Clone)]
enum Outcome {
    Mined(Box<Receipt>),
    Failed(Error),
}

/// What a transaction offers for gas, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fees {
    /// EIP-1559.
    Market { max: u128, tip: u128 },
    /// Before EIP-1559.
    Flat { price: u128 },
}

impl Fees {
    pub(crate) fn bumped(self) -> Self {
        let more = |fee: u128| fee.saturating_add(fee / 100 * BUMP_PERCENT).saturating_add(1);
        match self {
            Self::Market { max, tip } => Self::Market { max: more(max), tip: more(tip) },
            Self::Flat { price } => Self::Flat { price: more(price) },
        }
    }

    pub(crate) fn at_least(self, other: Self) -> Self {
        match (self, other) {
            (Self::Market { max, tip }, Self::Market { max: m, tip: t }) => {
                Self::Market { max: max.max(m), tip: tip.max(t) }
            }
            (Self::Flat { price }, Self::Flat { price: other }) => {
                Self::Flat { price: price.max(other) }
            }
            (fees, _) => fees,
        }
    }
}

/// A transaction without a nonce.
struct Draft {
    request: TxRequest,
    gas: u64,
    outcome: watch::Sender<Option<Outcome>>,
    /// Its place among those in flight.
    _slot: Option<OwnedSemaphorePermit>,
}

/// A transaction offered to the node and not yet known to be mined.
struct Sent {
    draft: Draft,
    fees: Fees,
    raw: Bytes,
    /// One for each fee it was offered at, the newest last.
    hashes: Vec<B256>,
    at: Instant,
    /// How often its nonce was found to be mined and its receipt was not.
    missed: u32,
}

/// A transaction on its way to the node.
struct Offered {
    nonce: u64,
    hash: B256,
    call: Pin<Box<RpcCall<(Bytes,), B256>>>,
    answer: Option<Result<B256, TransportError>>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Whether `next` is in accord with the node.
    fresh: bool,
    sent: BTreeMap<u64, Sent>,
    by_hash: HashMap<B256, u64>,
    /// Nonces given out whose transactions the node refused.
    gaps: BTreeSet<u64>,
    /// The latest that were mined, in the order in which that was learned.
    mined: VecDeque<Mined>,
    /// What they take together.
    mined_bytes: usize,
}

/// A transaction whose receipt was told of.
struct Mined {
    nonce: u64,
    block: u64,
    block_hash: B256,
    /// Whether its block was told of: if the chain goes back beyond it, that is told too.
    told: bool,
    request: TxRequest,
    gas: u64,
    fees: Fees,
    raw: Bytes,
    hashes: Vec<B256>,
}

impl Mined {
    fn bytes(&self) -> usize {
        self.request.data.len() + self.raw.len()
    }
}

impl State {
    fn take_nonce(&mut self) -> u64 {
        self.gaps.pop_first().unwrap_or_else(|| {
            let nonce = self.next;
            self.next += 1;
            nonce
        })
    }

    fn insert(&mut self, nonce: u64, sent: Sent) {
        self.by_hash.extend(sent.hashes.iter().map(|hash| (*hash, nonce)));
        self.sent.insert(nonce, sent);
    }

    /// Remembers what was mined, for as long as there is room.
    fn bury(&mut self, mined: Mined) {
        self.mined_bytes += mined.bytes();
        self.mined.push_back(mined);
        while self.mined.len() > MINED_KEPT
            || (self.mined_bytes > MINED_BYTES_KEPT && self.mined.len() > 1)
        {
            let oldest = self.mined.pop_front();
            self.mined_bytes -= oldest.map_or(0, |mined| mined.bytes());
        }
    }

    /// Whether what was mined up to that block may be gone although the chain was not seen to go back: a receipt may be had
    /// before its block is told of, and then the block may be replaced unseen. If so, the block before the first of these.
    fn doubts(&mut self, block: &MarketBlock) -> Option<u64> {
        let mut after = None;
        for mined in self.mined.iter_mut().filter(|it| !it.told && it.block <= block.number) {
            mined.told = mined.block_hash == block.hash;
            if !mined.told {
                let before = mined.block.saturating_sub(1);
                after = Some(after.map_or(before, |after: u64| after.min(before)));
            }
        }
        after
    }

    /// What was mined after that block, by nonce; forgets it.
    fn exhume(&mut self, after: u64) -> Vec<Mined> {
        let (mut lost, kept): (Vec<Mined>, Vec<Mined>) =
            std::mem::take(&mut self.mined).into_iter().partition(|mined| mined.block > after);
        self.mined_bytes = kept.iter().map(Mined::bytes).sum();
        self.mined = kept.into();
        lost.sort_by_key(|mined| mined.nonce);
        lost
    }

    fn remove(&mut self, nonce: u64) -> Option<Sent> {
        let sent = self.sent.remove(&nonce)?;
        sent.hashes.iter().for_each(|hash| {
            self.by_hash.remove(hash);
        });
        Some(sent)
    }
}

impl Sent {
    fn new(draft: Draft, fees: Fees, hash: B256, raw: Bytes) -> Self {
        Self { draft, fees, raw, hashes: vec![hash], at: Instant::now(), missed: 0 }
    }
}

/// What the node said to a transaction.
pub(crate) enum Answer {
    Accepted,
    /// No answer: it may or may not have arrived.
    Unheard,
    /// The nonce is used or promised.
    Taken,
    /// The nonce is too far ahead of what the node knows.
    Ahead,
    Refused(Error),
}

pub(crate) struct Lane {
    link: Arc<Link>,
    signer: PrivateKeySigner,
    options: WalletOptions,
    /// Held from taking a nonce to having offered its transaction, so that nonces leave in order.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Lane {
    fn new(
        link: Arc<Link>,
        signer: PrivateKeySigner,
        options: WalletOptions,
        stop: CancellationToken,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.max_in_flight.max(1)));
        Self {
            link,
            signer,
            options,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            slots,
            stop,
        }
    }

    fn address(&self) -> Address {
        self.signer.address()
    }

    /// Brings `next` in accord with the node's count, unless it is.
    async fn freshen(&self) -> Result<()> {
        if self.state.lock().fresh {
            return Ok(());
        }
        let count = self.count("pending").await?;
        let mut state = self.state.lock();
        let after_sent = state.sent.last_key_value().map_or(0, |(nonce, _)| nonce + 1);
        state.next = count.max(after_sent);
        state.gaps.retain(|nonce| *nonce >= count && *nonce < after_sent);
        state.fresh = true;
        Ok(())
    }

    async fn count(&self, at: &'static str) -> Result<u64> {
        transaction_count(&self.link, self.address(), at).await
    }

    async fn send(
        self: &Arc<Self>,
        request: TxRequest,
    ) -> Result<(B256, watch::Receiver<Option<Outcome>>)> {
        let gas = match request.gas_limit {
            Some(gas) => gas.saturating_add(self.link.data_gas(&request).await),
            None => self.estimate(&request).await?,
        };
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (outcome, outcomes) = watch::channel(None);
        let draft = Draft { request, gas, outcome, _slot: slot };
        let offered = self.offer(draft).await.map_err(|refused| refused.1)?;
        let hash = offered.hash;
        let see_through = Arc::clone(self).see_through(offered);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(see_through));
        Ok((hash, outcomes))
    }

    /// Takes a nonce, signs, and offers to the node, in turn.
    async fn offer(&self, draft: Draft) -> Result<Offered, Box<(Draft, Error)>> {
        let _turn = self.turn.lock().await;
        let fees = match self.freshen().await {
            Ok(()) => self.link.fees().await,
            Err(error) => Err(error),
        };
        let fees = match fees {
            Ok(fees) => fees,
            Err(error) => return Err(Box::new((draft, error))),
        };
        let nonce = self.state.lock().take_nonce();
        let (hash, raw) = match self.sign(&draft.request, nonce, draft.gas, fees) {
            Ok(signed) => signed,
            Err(error) => {
                self.state.lock().gaps.insert(nonce);
                return Err(Box::new((draft, error)));
            }
        };
        // Known to the lane before it is known to the node: the block may be pushed before the node's answer.
        self.state.lock().insert(nonce, Sent::new(draft, fees, hash, raw.clone()));
        let mut call = Box::pin(self.link.rpc.once("eth_sendRawTransaction", (raw,)));
        // The first poll puts the request on its way; the answer need not hold up the next in turn.
        let answer = match futures::poll!(&mut call) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        };
        Ok(Offered { nonce, hash, call, answer })
    }

    /// Waits for the node's answer, and offers anew under another nonce where that helps.
    async fn see_through(self: Arc<Self>, mut offered: Offered) {
        const DOING: &str = "sending a transaction";
        for _ in 0..SEND_ATTEMPTS {
            let answer = match offered.answer {
                Some(answer) => Some(answer),
                None => tokio::time::timeout(SEND_TIMEOUT, offered.call).await.ok(),
            };
            let (nonce, hash) = (offered.nonce, offered.hash);
            let withdrawn = match understand(self.address(), answer) {
                Answer::Accepted | Answer::Unheard => return,
                Answer::Taken if self.is_mined(hash).await => return,
                Answer::Taken => self.withdraw(nonce, false),
                Answer::Ahead => {
                    tokio::time::sleep(NONCE_PAUSE).await;
                    self.withdraw(nonce, true)
                }
                Answer::Refused(error) => {
                    if let Some(draft) = self.withdraw(nonce, true) {
                        draft.outcome.send_replace(Some(Outcome::Failed(error)));
                    }
                    return;
                }
            };
            // Nothing to withdraw: it was mined meanwhile.
            let Some(draft) = withdrawn else {
                return;
            };
            tracing::debug!(address = %self.address(), nonce, "the nonce is not the one; another");
            self.state.lock().fresh = false;
            offered = match self.offer(draft).await {
                Ok(offered) => offered,
                Err(failed) => {
                    let (draft, error) = *failed;
                    draft.outcome.send_replace(Some(Outcome::Failed(error)));
                    return;
                }
            };
        }
        let nonce = offered.nonce;
        let kind = ErrorKind::Displaced { address: self.address(), nonce };
        if let Some(draft) = self.withdraw(nonce, true) {
            draft.outcome.send_replace(Some(Outcome::Failed(Error::new(DOING, kind))));
        }
    }

    /// Takes back a transaction that the node does not have. Its nonce is offered again if it is still to be used.
    fn withdraw(&self, nonce: u64, reusable: bool) -> Option<Draft> {
        let mut state = self.state.lock();
        let sent = state.remove(nonce)?;
        if reusable && nonce + 1 == state.next {
            state.next = nonce;
        } else if reusable {
            state.gaps.insert(nonce);
        }
        Some(sent.draft)
    }

    fn sign(
        &self,
        request: &TxRequest,
        nonce: u64,
        gas_limit: u64,
        fees: Fees,
    ) -> Result<(B256, Bytes)> {
        sign(&self.signer, self.link.chain_id, request, nonce, gas_limit, fees)
    }

    async fn estimate(&self, request: &TxRequest) -> Result<u64> {
        let call = request.as_call(self.address(), None);
        let gas: U64 = self.link.rpc.request("eth_estimateGas", json!([call])).await?;
        let gas = gas.to::<u64>();
        Ok(gas.saturating_add(gas / 100 * ESTIMATE_MARGIN_PERCENT))
    }

    /// Why a mined transaction failed: asks what the call would do just before its block, and just after.
    async fn why(&self, request: &TxRequest, receipt: &Receipt) -> Revert {
        let silent = |reason| Revert { reason, data: Bytes::new(), transaction: None };
        if request.gas_limit.is_some_and(|limit| receipt.gas_used >= limit) {
            return silent(Reason::OutOfGas);
        }
        let call = request.as_call(self.address(), request.gas_limit);
        for block in [receipt.block_number.saturating_sub(1), receipt.block_number] {
            let params = json!([call, U64::from(block)]);
            let replayed: Result<Bytes> = self.link.rpc.request("eth_call", params).await;
            if let Err(error) = replayed
                && let Some(revert) = error.revert()
            {
                return revert.clone();
            }
        }
        silent(Reason::Silent)
    }

    async fn is_mined(&self, hash: B256) -> bool {
        match fetch_receipt(&self.link, hash).await {
            Ok(Some(receipt)) => {
                self.settle(receipt);
                true
            }
            _ => false,
        }
    }

    fn settle(&self, receipt: Receipt) {
        let mut state = self.state.lock();
        let Some(nonce) = state.by_hash.get(&receipt.hash).copied() else {
            return;
        };
        if let Some(Sent { draft, fees, raw, hashes, .. }) = state.remove(nonce) {
            let Draft { request, gas, outcome, _slot } = draft;
            let (block, block_hash) = (receipt.block_number, receipt.block_hash);
            let told = false;
            state.bury(Mined { nonce, block, block_hash, told, request, gas, fees, raw, hashes });
            outcome.send_replace(Some(Outcome::Mined(Box::new(receipt))));
        }
    }

    /// Sends once more what was mined after that block and is not any longer. Nodes put such transactions back among
    /// those that wait, but need not. What would fail now is let go: it was told of once, and whoever wanted it sees the
    /// chain go back and decides anew. Blocks up to `told` were told of.
    async fn restore(&self, after: u64, told: u64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let (lost, waiting) = {
            let mut state = self.state.lock();
            state.fresh = false;
            let waiting: Vec<Bytes> = state.sent.values().map(|sent| sent.raw.clone()).collect();
            (state.exhume(after), waiting)
        };
        for mined in lost {
            let mut again = None;
            for hash in mined.hashes.iter().rev() {
                again = again.or(fetch_receipt(&self.link, *hash).await?);
            }
            if let Some(receipt) = again {
                let (block, block_hash) = (receipt.block_number, receipt.block_hash);
                let told = block <= told;
                self.state.lock().bury(Mined { block, block_hash, told, ..mined });
                continue;
            }
            let nonce = mined.nonce;
            if self.state.lock().sent.contains_key(&nonce) {
                continue;
            }
            let call = mined.request.as_call(self.address(), Some(mined.gas));
            let simulated: Result<Bytes> =
                self.link.rpc.request("eth_call", json!([call, "latest"])).await;
            if simulated.is_err_and(|error| error.is_revert()) {
                tracing::info!(address = %self.address(), nonce, "undone, and would fail now");
                self.state.lock().gaps.insert(nonce);
                continue;
            }
            tracing::info!(address = %self.address(), nonce, "undone by the chain; sent again");
            let Mined { request, gas, fees, raw, hashes, .. } = mined;
            let draft = Draft { request, gas, outcome: watch::channel(None).0, _slot: None };
            let sent =
                Sent { draft, fees, raw: raw.clone(), hashes, at: Instant::now(), missed: 0 };
            self.state.lock().insert(nonce, sent);
            self.push(raw).await;
        }
        // What still waited for its block some nodes have forgotten with the blocks.
        for raw in waiting {
            self.push(raw).await;
        }
        Ok(())
    }

    fn displaced(&self, nonce: u64) {
        if let Some(sent) = self.state.lock().remove(nonce) {
            let kind = ErrorKind::Displaced { address: self.address(), nonce };
            let error = Error::new("sending a transaction", kind);
            sent.draft.outcome.send_replace(Some(Outcome::Failed(error)));
        }
    }

    fn hashes(&self) -> Vec<B256> {
        self.state.lock().by_hash.keys().copied().collect()
    }

    async fn upkeep_loop(self: Arc<Self>) {
        let tick = (self.options.resubmit_after / 4)
            .clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(tick).await;
            if let Err(error) = self.upkeep().await {
                tracing::debug!(address = %self.address(), %error, "looking after transactions");
            }
        }
    }

    /// Looks after what is overdue and closes gaps that hold up later nonces.
    async fn upkeep(&self) -> Result<()> {
        let overdue: Vec<u64> = {
            let state = self.state.lock();
            if state.sent.is_empty() {
                return Ok(());
            }
            let late = |sent: &Sent| sent.at.elapsed() >= self.options.resubmit_after;
            let late = state.sent.iter().filter(|(_, sent)| late(sent));
            late.map(|(nonce, _)| *nonce).take(UPKEEP_BATCH).collect()
        };
        let has_gaps = !self.state.lock().gaps.is_empty();
        if overdue.is_empty() && !has_gaps {
            return Ok(());
        }
        let mined = self.count("latest").await?;
        let first = overdue.first().copied();
        for nonce in overdue {
            self.chase(nonce, mined).await?;
        }
        self.note_holes(first, mined).await?;
        self.fill_gaps(mined).await
    }

    /// Nonces before the first of ours that nobody uses: another process with the same key had sent something under them,
    /// and a chain that went back lost it.
    async fn note_holes(&self, overdue: Option<u64>, mined: u64) -> Result<()> {
        let first = self.state.lock().sent.first_key_value().map(|(nonce, _)| *nonce);
        let Some(first) = first.filter(|first| Some(*first) == overdue && *first > mined) else {
            return Ok(());
        };
        let next = self.count("pending").await?;
        self.state.lock().gaps.extend((next..first).take(UPKEEP_BATCH));
        Ok(())
    }

    async fn chase(&self, nonce: u64, mined: u64) -> Result<()> {
        let Some(hashes) = self.state.lock().sent.get(&nonce).map(|sent| sent.hashes.clone())
        else {
            return Ok(());
        };
        for hash in &hashes {
            if let Some(receipt) = fetch_receipt(&self.link, *hash).await? {
                self.settle(receipt);
                return Ok(());
            }
        }
        if nonce < mined {
            // Nodes behind one address may differ for a moment: believe it when seen twice.
            let missed = self.state.lock().sent.get_mut(&nonce).map(|sent| {
                sent.missed += 1;
                sent.missed
            });
            if missed.is_some_and(|missed| missed > 1) {
                self.displaced(nonce);
            }
            return Ok(());
        }
        let known: Option<Value> = match hashes.last() {
            Some(hash) => self.link.rpc.request("eth_getTransactionByHash", (*hash,)).await?,
            None => None,
        };
        if nonce == mined && known.is_some() {
            self.raise(nonce).await
        } else {
            self.again(nonce).await
        }
    }

    /// The same once more, in case the node has lost it.
    async fn again(&self, nonce: u64) -> Result<()> {
        let raw = self.state.lock().sent.get_mut(&nonce).map(|sent| {
            sent.at = Instant::now();
            sent.raw.clone()
        });
        if let Some(raw) = raw {
            self.push(raw).await;
        }
        Ok(())
    }

    /// The same nonce at a higher fee.
    async fn raise(&self, nonce: u64) -> Result<()> {
        let now = self.link.fees().await?;
        let held = |sent: &Sent| (sent.draft.request.clone(), sent.draft.gas, sent.fees);
        let Some((request, gas, fees)) = self.state.lock().sent.get(&nonce).map(held) else {
            return Ok(());
        };
        let fees = fees.bumped().at_least(now);
        let (hash, raw) = self.sign(&request, nonce, gas, fees)?;
        {
            let mut state = self.state.lock();
            let Some(sent) = state.sent.get_mut(&nonce) else {
                return Ok(());
            };
            sent.fees = fees;
            sent.raw = raw.clone();
            sent.hashes.push(hash);
            sent.at = Instant::now();
            state.by_hash.insert(hash, nonce);
        }
        tracing::info!(address = %self.address(), nonce, %hash, "offering a higher fee");
        self.push(raw).await;
        Ok(())
    }

    async fn push(&self, raw: Bytes) {
        let pushed: Result<B256> = self.link.rpc.request("eth_sendRawTransaction", (raw,)).await;
        if let Err(error) = pushed {
            // Usually "already known"; whatever it is, the next round looks at the outcome.
            tracing::debug!(address = %self.address(), %error, "sending once more");
        }
    }

    /// A refused transaction leaves a nonce unused, and all later ones wait for it: use it for nothing.
    async fn fill_gaps(&self, mined: u64) -> Result<()> {
        let _turn = self.turn.lock().await;
        let holding_up: Vec<u64> = {
            let mut state = self.state.lock();
            state.gaps.retain(|nonce| *nonce >= mined);
            let last = state.sent.last_key_value().map_or(0, |(nonce, _)| *nonce);
            state.gaps.iter().copied().filter(|nonce| *nonce < last).collect()
        };
        for nonce in holding_up {
            let fees = self.link.fees().await?;
            let request = TxRequest::call(self.address(), Bytes::new()).gas(TRANSFER_GAS);
            let (hash, raw) = self.sign(&request, nonce, TRANSFER_GAS, fees)?;
            let outcome = watch::channel(None).0;
            let draft = Draft { request, gas: TRANSFER_GAS, outcome, _slot: None };
            let sent = Sent::new(draft, fees, hash, raw.clone());
            {
                let mut state = self.state.lock();
                state.gaps.remove(&nonce);
                state.insert(nonce, sent);
            }
            self.push(raw).await;
        }
        Ok(())
    }
}

/// All lanes of a client.
pub(crate) struct Lanes {
    by_address: Mutex<HashMap<Address, Arc<Lane>>>,
    stop: CancellationToken,
}

impl Lanes {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { by_address: Mutex::default(), stop }
    }

    fn lane(
        &self,
        link: &Arc<Link>,
        signer: PrivateKeySigner,
        options: WalletOptions,
    ) -> Arc<Lane> {
        let mut lanes = self.by_address.lock();
        let lane = lanes.entry(signer.address()).or_insert_with(|| {
            let lane = Arc::new(Lane::new(Arc::clone(link), signer, options, self.stop.clone()));
            let upkeep = Arc::clone(&lane).upkeep_loop();
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(upkeep));
            lane
        });
        Arc::clone(lane)
    }

    fn all(&self) -> Vec<Arc<Lane>> {
        self.by_address.lock().values().cloned().collect()
    }

    /// Learns from the chain's news which transactions were mined.
    pub(crate) async fn watch(self: Arc<Self>, link: Arc<Link>) {
        let mut news = link.live.listen();
        loop {
            let seen = match news.recv().await {
                Ok(Update::Block(block)) => {
                    let seen = self.seen(&link, &block).await;
                    seen.and(self.confirm(&block).await)
                }
                Ok(Update::Rewound { to }) => {
                    // Nonces may have gone back, and what was mined may be gone.
                    let lanes = self.all();
                    let restored = lanes.iter().map(|lane| lane.restore(to.number, to.number));
                    futures::future::try_join_all(restored).await.map(|_| ())
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.ask_for_all(&link).await,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if let Err(error) = seen {
                tracing::debug!(%error, "looking for receipts");
                if let Err(error) = self.ask_for_all(&link).await {
                    tracing::warn!(%error, "receipts are late");
                }
            }
        }
    }

    /// Makes sure of what was mined up to that block.
    async fn confirm(&self, block: &MarketBlock) -> Result<()> {
        for lane in self.all() {
            let doubtful = lane.state.lock().doubts(block);
            if let Some(after) = doubtful {
                lane.restore(after, block.number).await?;
            }
        }
        Ok(())
    }

    async fn seen(&self, link: &Link, block: &MarketBlock) -> Result<()> {
        if block.empty {
            return Ok(());
        }
        let mut waiting = self.hashes();
        if waiting.is_empty() {
            return Ok(());
        }
        if waiting.len() > FEW {
            let inside: Option<BlockHashes> =
                link.rpc.request("eth_getBlockByHash", json!([block.hash, false])).await?;
            let Some(inside) = inside else {
                return Ok(());
            };
            waiting = inside.transactions;
            let lanes = self.all();
            waiting.retain(|hash| {
                lanes.iter().any(|lane| lane.state.lock().by_hash.contains_key(hash))
            });
        }
        if waiting.len() > FEW {
            let params = json!([block.hash]);
            let receipts: Result<Option<Vec<RawReceipt>>> =
                link.rpc.request("eth_getBlockReceipts", params).await;
            if let Ok(Some(receipts)) = receipts {
                receipts.into_iter().for_each(|receipt| self.settle(receipt.into()));
                return Ok(());
            }
        }
        self.ask_for(link, waiting).await
    }

    fn hashes(&self) -> Vec<B256> {
        self.all().iter().flat_map(|lane| lane.hashes()).collect()
    }

    async fn ask_for_all(&self, link: &Link) -> Result<()> {
        let hashes = self.hashes();
        self.ask_for(link, hashes).await
    }

    async fn ask_for(&self, link: &Link, hashes: Vec<B256>) -> Result<()> {
        use futures::{StreamExt, TryStreamExt};
        const AT_ONCE: usize = 32;
        let asking = hashes.into_iter().map(|hash| fetch_receipt(link, hash));
        futures::stream::iter(asking)
            .buffer_unordered(AT_ONCE)
            .try_for_each(async |receipt| {
                if let Some(receipt) = receipt {
                    self.settle(receipt);
                }
                Ok(())
            })
            .await
    }

    fn settle(&self, receipt: Receipt) {
        if let Some(lane) = self.by_address.lock().get(&receipt.from).cloned() {
            lane.settle(receipt);
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct BlockHashes {
    transactions: Vec<B256>,
}

pub(crate) async fn fetch_receipt(link: &Link, hash: B256) -> Result<Option<Receipt>> {
    let receipt: Option<RawReceipt> =
        link.rpc.request("eth_getTransactionReceipt", (hash,)).await?;
    Ok(receipt.map(Receipt::from))
}

pub(crate) async fn transaction_count(
    link: &Link,
    address: Address,
    at: &'static str,
) -> Result<u64> {
    let count: U64 = link.rpc.request("eth_getTransactionCount", json!([address, at])).await?;
    Ok(count.to())
}

/// What a node's answer to a transaction of that sender means; none if there was no answer.
pub(crate) fn understand(sender: Address, answer: Option<Result<B256, TransportError>>) -> Answer {
    const DOING: &str = "sending a transaction";
    let Some(answer) = answer else {
        return Answer::Unheard;
    };
    let Err(error) = answer else {
        return Answer::Accepted;
    };
    let Some(payload) = error.as_error_resp() else {
        tracing::debug!(%error, "no answer to a transaction; it will be sent again");
        return Answer::Unheard;
    };
    let message = payload.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "already imported", "known transaction", "already in mempool"]) {
        Answer::Accepted
    } else if says(&["nonce too low", "nonce is too low", "already been used", "underpriced"]) {
        Answer::Taken
    } else if says(&["nonce too high", "nonce is too high", "nonce gap"]) {
        Answer::Ahead
    } else if says(&["insufficient funds", "not enough funds", "lack of funds"]) {
        Answer::Refused(Error::new(DOING, ErrorKind::NoGas { address: sender }))
    } else if payload.is_retry_err() || payload.code == INTERNAL_ERROR && !says(&["revert"]) {
        tracing::debug!(%error, "the node is in trouble; the transaction will be sent again");
        Answer::Unheard
    } else {
        Answer::Refused(rpc::classify(DOING, &error))
    }
}

/// A transaction's hash, and itself as a node takes it.
pub(crate) fn sign(
    signer: &PrivateKeySigner,
    chain_id: u64,
    request: &TxRequest,
    nonce: u64,
    gas_limit: u64,
    fees: Fees,
) -> Result<(B256, Bytes)> {
    let TxRequest { to, data, value, .. } = request;
    let (to, value, input) = (*to, *value, data.clone());
    let envelope = match fees {
        Fees::Market { max, tip } => seal(
            signer,
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: max,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list: Default::default(),
                input,
            },
        )?,
        Fees::Flat { price } => seal(
            signer,
            TxLegacy {
                chain_id: Some(chain_id),
                nonce,
                gas_price: price,
                gas_limit,
                to,
                value,
                input,
            },
        )?,
    };
    Ok((*envelope.tx_hash(), envelope.encoded_2718().into()))
}

fn seal<T>(signer: &PrivateKeySigner, transaction: T) -> Result<TxEnvelope>
where
    T: SignableTransaction<alloy_primitives::Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = signer
        .sign_hash_sync(&transaction.signature_hash())
        .map_err(|error| Error::garbled("signing a transaction", error))?;
    Ok(transaction.into_signed(signature).into())
}
