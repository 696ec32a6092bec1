//! The chain, as far as the book needs it.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256, keccak256};
use async_trait::async_trait;
use chain::{AssetKind, Category, ChainEvent, Client, Deal, Follower, Update};
use orders::Domain;
use primitives::{CategoryId, DealId, Nrlc, OrderHash, TaskId, UnixSeconds};
use store::Cursor;

use crate::{Error, multicall};

/// What the book asks of the chain. All answers are as of the newest block.
#[async_trait]
pub(crate) trait Ledger: Send + Sync + 'static {
    fn chain_id(&self) -> u64;

    fn domain(&self) -> Domain;

    fn registry(&self, kind: AssetKind) -> Address;

    /// The newest block known here without asking.
    fn head(&self) -> u64;

    async fn is_registered(&self, kind: AssetKind, asset: Address) -> Result<bool, Error>;

    /// Who owns an asset; nobody's address, which is zero, if there is no such asset.
    async fn owner(&self, asset: Address) -> Result<Address, Error>;

    async fn is_signed_by(
        &self,
        account: Address,
        hash: OrderHash,
        sign: &Bytes,
    ) -> Result<bool, Error>;

    async fn consumed(&self, order: OrderHash) -> Result<U256, Error>;

    /// [`Self::consumed`] for each of several, in their sequence.
    async fn consumed_all(&self, orders: &[OrderHash]) -> Result<Vec<U256>, Error>;

    /// Whether there is a contract at that address.
    async fn has_code(&self, account: Address) -> Result<bool, Error>;

    async fn stake(&self, account: Address) -> Result<Nrlc, Error>;

    async fn deal(&self, deal: DealId) -> Result<Deal, Error>;

    /// The deal that a task is of.
    async fn deal_of(&self, task: TaskId) -> Result<DealId, Error>;

    async fn category(&self, category: CategoryId) -> Result<Category, Error>;
}

/// What happens on the chain.
#[async_trait]
pub(crate) trait News: Send + 'static {
    /// What happened next; nothing when nothing will. May be dropped while it waits.
    async fn next(&mut self) -> Option<Heard>;
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// A block with market events in it, or the last one up to which there are none.
    Block(Block),
    /// Blocks after this one are no longer part of the chain.
    Rewound(Cursor),
}

/// A block, as far as the book looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) at: Cursor,
    pub(crate) time: UnixSeconds,
    pub(crate) events: Vec<ChainEvent>,
}

#[async_trait]
impl Ledger for Client {
    fn chain_id(&self) -> u64 {
        Self::chain_id(self)
    }

    fn domain(&self) -> Domain {
        Self::domain(self)
    }

    fn registry(&self, kind: AssetKind) -> Address {
        Self::registry(self, kind)
    }

    fn head(&self) -> u64 {
        self.last_head().number
    }

    async fn is_registered(&self, kind: AssetKind, asset: Address) -> Result<bool, Error> {
        Ok(Self::is_registered(self, kind, asset).await?)
    }

    async fn owner(&self, asset: Address) -> Result<Address, Error> {
        match self.owner_of_asset(asset).await {
            Err(error) if error.is_unknown() => Ok(Address::ZERO),
            answer => Ok(answer?),
        }
    }

    async fn is_signed_by(
        &self,
        account: Address,
        hash: OrderHash,
        sign: &Bytes,
    ) -> Result<bool, Error> {
        match self.verify_signature(account, hash.0, sign.clone()).await {
            // The contract reverts on bytes that are no signature at all.
            Err(error) if error.is_revert() => Ok(false),
            answer => Ok(answer?),
        }
    }

    async fn consumed(&self, order: OrderHash) -> Result<U256, Error> {
        Ok(Self::consumed(self, order).await?)
    }

    async fn consumed_all(&self, orders: &[OrderHash]) -> Result<Vec<U256>, Error> {
        if let [_, _, ..] = orders
            && let Some(consumed) = all_at_once(self, orders).await
        {
            return Ok(consumed);
        }
        let questions = orders.iter().map(|order| Ledger::consumed(self, *order));
        futures::future::try_join_all(questions).await
    }

    async fn has_code(&self, account: Address) -> Result<bool, Error> {
        Ok(Self::has_code(self, account).await?)
    }

    async fn stake(&self, account: Address) -> Result<Nrlc, Error> {
        Ok(self.account(account).await?.stake)
    }

    async fn deal(&self, deal: DealId) -> Result<Deal, Error> {
        Ok(Self::deal(self, deal).await?)
    }

    async fn deal_of(&self, task: TaskId) -> Result<DealId, Error> {
        Ok(self.task(task).await?.deal)
    }

    async fn category(&self, category: CategoryId) -> Result<Category, Error> {
        Ok(Self::category(self, category).await?)
    }
}

/// All answers from one call; nothing if the node does not go along with it.
pub(crate) async fn all_at_once(client: &Client, orders: &[OrderHash]) -> Option<Vec<U256>> {
    let words: Vec<_> = orders.iter().map(|order| order.0).collect();
    let selector = keccak256("viewConsumed(bytes32)").0.first_chunk().copied()?;
    let program = multicall::program(client.hub(), selector, &words)?;
    let params = serde_json::json!([{ "data": program }, "latest"]);
    let answer = client.request("eth_call", params).await.ok()?;
    let answer: Bytes = answer.as_str()?.parse().ok()?;
    multicall::words(&answer, orders.len())
}

#[async_trait]
impl News for Follower {
    async fn next(&mut self) -> Option<Heard> {
        Some(match Self::next(self).await? {
            Update::Block(block) => Heard::Block(Block {
                at: Cursor { number: block.number, hash: block.hash },
                time: block.timestamp,
                events: block.events.clone(),
            }),
            Update::Rewound { to } => Heard::Rewound(Cursor { number: to.number, hash: to.hash }),
        })
    }
}

/// News of that chain after that cursor.
pub(crate) fn follow(client: &Client, from: Cursor) -> Follower {
    client.follow(chain::Cursor { number: from.number, hash: from.hash })
}

/// The ledger, shared.
pub(crate) type SharedLedger = Arc<dyn Ledger>;
