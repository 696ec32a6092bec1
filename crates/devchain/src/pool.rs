//! Transactions that wait: for a block, or for the nonce before theirs.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use alloy_consensus::{Header, Transaction, TxEnvelope, transaction::Recovered};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, U256};
use revm::context::result::{EVMError, InvalidTransaction};

use crate::storage::{Account, StorageError};

/// Transactions that may wait in all.
const POOL_MAX: usize = 65_536;
/// Transactions of one sender that may wait.
const PER_SENDER_MAX: usize = 8_192;
/// How far ahead of its account a nonce may be. More can be nothing but a mistake.
const NONCE_GAP_MAX: u64 = 16_384;
/// How much more a replacement must offer, in percent, as every client expects.
const REPLACEMENT_BUMP_PERCENT: u128 = 10;
/// Longest transaction accepted, as geth has it.
const TX_BYTES_MAX: usize = 128 * 1024;

/// Why a transaction is refused. The words are geth's: clients match on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("already known")]
    AlreadyKnown,
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { next: u64, nonce: u64 },
    #[error("nonce too high: next nonce {next}, tx nonce {nonce}")]
    NonceTooHigh { next: u64, nonce: u64 },
    #[error(
        "insufficient funds for gas * price + value: address {address} have {have} want {want}"
    )]
    InsufficientFunds { address: Address, have: U256, want: U256 },
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas { gas: u64, needed: u64 },
    #[error("exceeds block gas limit: gas {gas}, limit {limit}")]
    GasLimit { gas: u64, limit: u64 },
    #[error(
        "max fee per gas less than block base fee: address {address}, maxFeePerGas: {fee}, baseFee: {base_fee}"
    )]
    FeeTooLow { address: Address, fee: u128, base_fee: u64 },
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
    )]
    TipAboveFee { tip: u128, fee: u128 },
    #[error("replacement transaction underpriced")]
    Underpriced,
    #[error("invalid chain id for signer: have {have} want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("transaction type not supported")]
    Type,
    #[error("oversized data: transaction size {size}, limit {TX_BYTES_MAX}")]
    Size { size: usize },
    #[error("txpool is full")]
    Full,
    #[error("transaction was dropped: {0}")]
    Dropped(String),
    #[error("{0}")]
    Internal(String),
}

impl Rejection {
    /// Why `tx`, which was fine when it was taken in, cannot be mined under `header`.
    pub(crate) fn of<E: std::fmt::Display>(
        tx: &Recovered<TxEnvelope>,
        error: &EVMError<E>,
        header: &Header,
    ) -> Self {
        let address = tx.signer();
        match error {
            EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
                Self::InsufficientFunds { address, have: **balance, want: **fee }
            }
            EVMError::Transaction(InvalidTransaction::GasPriceLessThanBasefee) => {
                let base_fee = header.base_fee_per_gas.unwrap_or_default();
                Self::FeeTooLow { address, fee: tx.max_fee_per_gas(), base_fee }
            }
            other => Self::Dropped(other.to_string()),
        }
    }
}

impl From<StorageError> for Rejection {
    fn from(error: StorageError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A waiting transaction.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) tx: Recovered<TxEnvelope>,
    /// Order of arrival, which is the order of mining.
    arrival: u64,
}

impl Waiting {
    pub(crate) fn hash(&self) -> B256 {
        *self.tx.tx_hash()
    }
}

/// What the next block asks of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) chain_id: u64,
    pub(crate) base_fee: u64,
    pub(crate) gas_limit: u64,
}

/// All waiting transactions. Pure data: reads no state, takes no time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    senders: HashMap<Address, BTreeMap<u64, Arc<Waiting>>>,
    by_hash: HashMap<B256, Arc<Waiting>>,
    arrivals: u64,
}

impl Pool {
    /// Takes in a transaction of `sender`'s account.
    pub(crate) fn add(
        &mut self,
        tx: Recovered<TxEnvelope>,
        account: &Account,
        terms: Terms,
    ) -> Result<(), Rejection> {
        check(&tx, account, terms)?;
        let hash = *tx.tx_hash();
        if self.by_hash.contains_key(&hash) {
            return Err(Rejection::AlreadyKnown);
        }
        let (sender, nonce) = (tx.signer(), tx.nonce());
        let queue = self.senders.entry(sender).or_default();
        if let Some(old) = queue.get(&nonce) {
            if !outbids(&tx, &old.tx) {
                return Err(Rejection::Underpriced);
            }
            self.by_hash.remove(&old.hash());
        } else if self.by_hash.len() >= POOL_MAX || queue.len() >= PER_SENDER_MAX {
            if queue.is_empty() {
                self.senders.remove(&sender);
            }
            return Err(Rejection::Full);
        }
        let waiting = Arc::new(Waiting { tx, arrival: self.arrivals });
        self.arrivals += 1;
        queue.insert(nonce, waiting.clone());
        self.by_hash.insert(hash, waiting);
        Ok(())
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<&Arc<Waiting>> {
        self.by_hash.get(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Everything that waits, by arrival.
    pub(crate) fn all(&self) -> Vec<Arc<Waiting>> {
        let mut all: Vec<_> = self.by_hash.values().cloned().collect();
        all.sort_by_key(|it| it.arrival);
        all
    }

    pub(crate) fn remove(&mut self, hash: &B256) -> Option<Arc<Waiting>> {
        let waiting = self.by_hash.remove(hash)?;
        let sender = waiting.tx.signer();
        if let Some(queue) = self.senders.get_mut(&sender) {
            queue.remove(&waiting.tx.nonce());
            if queue.is_empty() {
                self.senders.remove(&sender);
            }
        }
        Some(waiting)
    }

    pub(crate) fn clear(&mut self) {
        self.senders.clear();
        self.by_hash.clear();
    }

    /// Forgets what an account can no longer send because its nonce is `next`.
    pub(crate) fn forget_below(&mut self, sender: Address, next: u64) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let kept = queue.split_off(&next);
        for stale in std::mem::replace(queue, kept).into_values() {
            self.by_hash.remove(&stale.hash());
        }
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// The nonce after the last one that `sender` has in a row from `next`.
    pub(crate) fn next_nonce(&self, sender: Address, next: u64) -> u64 {
        let Some(queue) = self.senders.get(&sender) else { return next };
        let in_a_row =
            (next..).zip(queue.range(next..)).take_while(|(want, (have, _))| want == *have);
        next.saturating_add(in_a_row.count().try_into().unwrap_or(u64::MAX))
    }

    /// Up to `max` transactions that can be mined now, in order of arrival and each sender's in order of nonce.
    /// `nonce_of` tells the next nonce of an account.
    pub(crate) fn ready<E>(
        &self,
        max: usize,
        mut nonce_of: impl FnMut(Address) -> Result<u64, E>,
    ) -> Result<Vec<Arc<Waiting>>, E> {
        let mut next = BinaryHeap::new();
        for (sender, queue) in &self.senders {
            let nonce = nonce_of(*sender)?;
            if let Some(first) = queue.get(&nonce) {
                next.push(Reverse((first.arrival, *sender, nonce)));
            }
        }
        let mut ready = Vec::new();
        while let Some(Reverse((_, sender, nonce))) = next.pop() {
            if ready.len() >= max {
                break;
            }
            let queue = &self.senders[&sender];
            ready.push(queue[&nonce].clone());
            if let Some(after) = queue.get(&(nonce + 1)) {
                next.push(Reverse((after.arrival, sender, nonce + 1)));
            }
        }
        Ok(ready)
    }
}

/// Whether `account` may send `tx` at all.
fn check(tx: &Recovered<TxEnvelope>, account: &Account, terms: Terms) -> Result<(), Rejection> {
    if tx.is_eip4844() {
        return Err(Rejection::Type);
    }
    let size = tx.encode_2718_len();
    if size > TX_BYTES_MAX {
        return Err(Rejection::Size { size });
    }
    if let Some(have) = tx.chain_id().filter(|it| *it != terms.chain_id) {
        return Err(Rejection::ChainId { have, want: terms.chain_id });
    }
    if tx.gas_limit() > terms.gas_limit {
        return Err(Rejection::GasLimit { gas: tx.gas_limit(), limit: terms.gas_limit });
    }
    let fee = tx.max_fee_per_gas();
    if let Some(tip) = tx.max_priority_fee_per_gas().filter(|it| *it > fee) {
        return Err(Rejection::TipAboveFee { tip, fee });
    }
    let needed = intrinsic_gas(tx);
    if tx.gas_limit() < needed {
        return Err(Rejection::IntrinsicGas { gas: tx.gas_limit(), needed });
    }
    let (next, nonce) = (account.nonce, tx.nonce());
    if nonce < next {
        return Err(Rejection::NonceTooLow { next, nonce });
    }
    if nonce - next > NONCE_GAP_MAX {
        return Err(Rejection::NonceTooHigh { next, nonce });
    }
    let want = cost(tx);
    if want > account.balance {
        let address = tx.signer();
        return Err(Rejection::InsufficientFunds { address, have: account.balance, want });
    }
    if fee < u128::from(terms.base_fee) {
        return Err(Rejection::FeeTooLow { address: tx.signer(), fee, base_fee: terms.base_fee });
    }
    Ok(())
}

/// The most that a transaction can take from its sender.
fn cost(tx: &Recovered<TxEnvelope>) -> U256 {
    U256::from(tx.gas_limit())
        .saturating_mul(U256::from(tx.max_fee_per_gas()))
        .saturating_add(tx.value())
}

/// Gas due before the first instruction, or the floor of EIP-7623 if that is more.
fn intrinsic_gas(tx: &Recovered<TxEnvelope>) -> u64 {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let input = tx.input();
    let zeros = count(input.iter().filter(|it| **it == 0).count());
    let tokens = zeros + 4 * (count(input.len()) - zeros);
    let mut gas = 21_000 + 4 * tokens;
    if tx.is_create() {
        gas += 32_000 + 2 * count(input.len().div_ceil(32));
    }
    if let Some(list) = tx.access_list() {
        let slots: usize = list.iter().map(|it| it.storage_keys.len()).sum();
        gas += 2_400 * count(list.len()) + 1_900 * count(slots);
    }
    gas += 25_000 * count(tx.authorization_list().map_or(0, <[_]>::len));
    gas.max(21_000 + 10 * tokens)
}

fn outbids(new: &Recovered<TxEnvelope>, old: &Recovered<TxEnvelope>) -> bool {
    let enough = |new: u128, old: u128| {
        new.saturating_mul(100) >= old.saturating_mul(100 + REPLACEMENT_BUMP_PERCENT)
    };
    let tip =
        |tx: &Recovered<TxEnvelope>| tx.max_priority_fee_per_gas().unwrap_or(tx.max_fee_per_gas());
    enough(new.max_fee_per_gas(), old.max_fee_per_gas()) && enough(tip(new), tip(old))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use alloy_consensus::{SignableTransaction as _, TxEip1559};
    use alloy_primitives::{Signature, TxKind};
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms { chain_id: 1, base_fee: 1, gas_limit: 1_000_000 };

    fn rich() -> Account {
        Account { balance: U256::MAX, ..Account::default() }
    }

    fn payment(sender: u8, nonce: u64, fee: u128) -> Recovered<TxEnvelope> {
        let tx = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: fee,
            to: TxKind::Call(Address::ZERO),
            ..TxEip1559::default()
        };
        let sender = Address::repeat_byte(sender);
        let signature = Signature::new(sender.into_word().into(), U256::from(1), false);
        Recovered::new_unchecked(tx.into_signed(signature).into(), sender)
    }

    fn ready(pool: &Pool, max: usize) -> Vec<(Address, u64)> {
        let Ok(ready) = pool.ready(max, |_| Ok::<_, Infallible>(0));
        ready.iter().map(|it| (it.tx.signer(), it.tx.nonce())).collect()
    }

    proptest! {
        /// However transactions arrive, each sender's come in order of nonce and without gaps, all that can be mined are
        /// there, and those that came first come first as far as nonces let them.
        #[test]
        fn what_is_ready_has_no_gaps(arrivals in prop::collection::vec((0u8..4, 0u64..6), 0..40)) {
            let mut pool = Pool::default();
            for (sender, nonce) in &arrivals {
                let added = pool.add(payment(*sender, *nonce, 10), &rich(), TERMS);
                prop_assert!(matches!(added, Ok(()) | Err(Rejection::AlreadyKnown)));
            }
            let ready = ready(&pool, usize::MAX);
            let mut total = 0;
            for sender in 0..4 {
                let sender = Address::repeat_byte(sender);
                let nonces: Vec<u64> =
                    ready.iter().filter(|it| it.0 == sender).map(|it| it.1).collect();
                let count = pool.next_nonce(sender, 0);
                prop_assert_eq!(&nonces, &(0..count).collect::<Vec<_>>());
                total += nonces.len();
            }
            prop_assert_eq!(ready.len(), total);
            if let (Some(first), Some(mined)) = (arrivals.iter().find(|it| it.1 == 0), ready.first()) {
                prop_assert_eq!(mined.0, Address::repeat_byte(first.0));
            }
        }

        /// Whatever is removed or has become stale, nothing of it stays behind.
        #[test]
        fn nothing_stays_behind(nonces in prop::collection::vec(0u64..8, 1..20), below in 0u64..9) {
            let mut pool = Pool::default();
            for nonce in &nonces {
                let _ = pool.add(payment(1, *nonce, 10), &rich(), TERMS);
            }
            pool.forget_below(Address::repeat_byte(1), below);
            prop_assert!(pool.all().iter().all(|it| it.tx.nonce() >= below));
            for waiting in pool.all() {
                prop_assert!(pool.remove(&waiting.hash()).is_some());
            }
            prop_assert_eq!(pool.len(), 0);
            prop_assert!(pool.senders.is_empty());
        }
    }

    #[test]
    fn one_sender_cannot_fill_the_pool() {
        let mut pool = Pool::default();
        for nonce in 0..u64::try_from(PER_SENDER_MAX).unwrap() {
            pool.add(payment(1, nonce, 10), &rich(), TERMS).unwrap();
        }
        let one_more = payment(1, u64::try_from(PER_SENDER_MAX).unwrap(), 10);
        assert_eq!(pool.add(one_more, &rich(), TERMS), Err(Rejection::Full));
        assert_eq!(pool.add(payment(2, 0, 10), &rich(), TERMS), Ok(()));
    }
}
