//! Whether an order in the book can still be matched.

use alloy_primitives::{Address, U256};
use chain::AssetKind;
use orders::OrderKind;
use primitives::{Nrlc, OrderHash, Tag};
use store::{OrderFilter, OrderRow, OrderState, Party, Range, Status, Store};

use crate::Error;
use crate::ledger::Ledger;

/// The part of a workerpool order's price that its owner's stake must cover, in percent; the contract locks it with
/// each match.
const WORKERPOOL_STAKE_PERCENT: u64 = 30;

/// What the stake behind an order must be for all of `remaining` to be matched; nothing for apps and datasets.
pub(crate) fn required_stake(order: &OrderRow, remaining: u64) -> Nrlc {
    let per_task = match order.kind {
        OrderKind::App | OrderKind::Dataset => U256::ZERO,
        OrderKind::Workerpool => {
            let price = U256::from(order.workerpool_price);
            price * U256::from(WORKERPOOL_STAKE_PERCENT) / U256::from(100)
        }
        OrderKind::Request => [order.app_price, order.dataset_price, order.workerpool_price]
            .into_iter()
            .map(U256::from)
            .fold(U256::ZERO, |sum, price| sum.saturating_add(price)),
    };
    Nrlc(per_task.saturating_mul(U256::from(remaining)))
}

/// What an order is about.
pub(crate) fn subject(order: &OrderRow) -> Address {
    match order.kind {
        OrderKind::App => order.app,
        OrderKind::Dataset => order.dataset,
        OrderKind::Workerpool => order.workerpool,
        OrderKind::Request => order.requester,
    }
}

/// The kind of asset that an order is about; a request is about none.
pub(crate) fn asset_kind(kind: OrderKind) -> Option<AssetKind> {
    match kind {
        OrderKind::App => Some(AssetKind::App),
        OrderKind::Dataset => Some(AssetKind::Dataset),
        OrderKind::Workerpool => Some(AssetKind::Workerpool),
        OrderKind::Request => None,
    }
}

/// How much of an order is left, by the chain.
pub(crate) async fn remaining(
    ledger: &dyn Ledger,
    hash: OrderHash,
    volume: u64,
) -> Result<u64, Error> {
    let consumed = ledger.consumed(hash).await?;
    Ok(U256::from(volume).saturating_sub(consumed).saturating_to())
}

/// The state of an order found out anew, whatever it was thought to be.
pub(crate) async fn appraise(
    ledger: &dyn Ledger,
    order: &OrderRow,
    block: u64,
) -> Result<OrderState, Error> {
    let remaining = remaining(ledger, order.hash, order.volume).await?;
    let status = if remaining == 0 && order.state.status == Status::Canceled {
        Status::Canceled
    } else if remaining == 0 {
        Status::Filled
    } else if is_backed(ledger, order, remaining).await? && is_owned(ledger, order).await? {
        Status::Open
    } else {
        Status::Dead
    };
    Ok(OrderState { status, remaining, changed_block: block })
}

async fn is_backed(ledger: &dyn Ledger, order: &OrderRow, remaining: u64) -> Result<bool, Error> {
    let required = required_stake(order, remaining);
    Ok(required.is_zero() || ledger.stake(order.signer).await? >= required)
}

async fn is_owned(ledger: &dyn Ledger, order: &OrderRow) -> Result<bool, Error> {
    match asset_kind(order.kind) {
        Some(_) => Ok(ledger.owner(subject(order)).await? == order.signer),
        None => Ok(true),
    }
}

/// The cheapest open order that offers `asset` to a request: an app's or a dataset's, by `kind`.
pub(crate) async fn best_offer(
    store: &Store,
    request: &OrderRow,
    kind: OrderKind,
) -> Result<Option<OrderRow>, Error> {
    let mut filter = OrderFilter {
        app: Party::Admits(request.app),
        dataset: Party::Admits(request.dataset),
        workerpool: Party::Admits(request.workerpool),
        requester: Party::Admits(request.requester),
        ..OrderFilter::all(kind)
    };
    match kind {
        OrderKind::App => {
            filter.app = Party::Is(request.app);
            filter.min_tag = request.tag.contains(Tag::TEE).then_some(Tag::TEE);
        }
        _ => filter.dataset = Party::Is(request.dataset),
    }
    let rows = store.open_offers(&filter, Range { skip: 0, limit: 1 }).await?;
    Ok(rows.into_iter().next())
}

/// Whether the book has offers of the app and the dataset that a request could be matched with.
pub(crate) async fn has_offers(store: &Store, request: &OrderRow) -> Result<bool, Error> {
    let app = best_offer(store, request, OrderKind::App).await?;
    if app.is_none_or(|offer| offer.app_price > request.app_price) {
        return Ok(false);
    }
    if request.dataset.is_zero() {
        return Ok(true);
    }
    let dataset = best_offer(store, request, OrderKind::Dataset).await?;
    Ok(dataset.is_some_and(|offer| offer.dataset_price <= request.dataset_price))
}

/// What is left on offer of an app or a dataset that nobody is kept from: the cheapest, and the cheapest in an enclave.
/// Most requests are served by it, so that they need not be looked at one by one.
pub(crate) struct LeftOnOffer {
    kind: OrderKind,
    price: Option<u64>,
    enclave_price: Option<u64>,
}

impl LeftOnOffer {
    pub(crate) async fn of(store: &Store, kind: OrderKind, asset: Address) -> Result<Self, Error> {
        let mut filter = OrderFilter {
            app: Party::Nobody,
            dataset: Party::Nobody,
            workerpool: Party::Nobody,
            requester: Party::Nobody,
            ..OrderFilter::all(kind)
        };
        match kind {
            OrderKind::App => filter.app = Party::Is(asset),
            _ => filter.dataset = Party::Is(asset),
        }
        let price = cheapest(store, &filter).await?;
        let enclave = OrderFilter { min_tag: Some(Tag::TEE), ..filter };
        Ok(Self { kind, price, enclave_price: cheapest(store, &enclave).await? })
    }

    /// Whether a request can be matched with it. Of a request that cannot, a restricted offer may still be meant for it.
    pub(crate) fn serves(&self, request: &OrderRow) -> bool {
        let (price, most) = match self.kind {
            OrderKind::App if request.tag.contains(Tag::TEE) => {
                (self.enclave_price, request.app_price)
            }
            OrderKind::App => (self.price, request.app_price),
            _ => (self.price, request.dataset_price),
        };
        price.is_some_and(|price| price <= most)
    }
}

async fn cheapest(store: &Store, filter: &OrderFilter) -> Result<Option<u64>, Error> {
    let rows = store.open_offers(filter, Range { skip: 0, limit: 1 }).await?;
    Ok(rows.first().map(|row| match row.kind {
        OrderKind::App => row.app_price,
        _ => row.dataset_price,
    }))
}
