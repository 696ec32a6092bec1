//! Publishing: the official checks, in the official sequence, with the official words.

use alloy_primitives::Address;
use orders::OrderKind;
use primitives::{Nrlc, OrderHash, Tag};
use store::{Change, OrderRow, OrderState, Status};
use wire::UnixMillis;
use wire::market::{ApiError, Order};

use crate::Error;
use crate::book::{Book, order_name};
use crate::rows::{self, Entry};
use crate::standing::{appraise, asset_kind, best_offer, required_stake};

/// Publishes an order for a wallet that has logged in.
pub(crate) async fn publish(
    book: &Book,
    wallet: Address,
    order: &Order,
) -> Result<OrderRow, ApiError> {
    // The encoding of an order in the book has numbers that fit; wire has seen to it for what came over HTTP.
    order.to_json()?;
    let hash = order.hash(&book.ledger.domain());
    let _lane = book.lane(wallet).await;
    let generation = book.generation();
    let (known, open) = unpublished(book, hash, order.kind(), wallet).await?;
    let signer = signer(book, wallet, order).await?;
    let facts = Facts::read(book, order, hash, signer).await?;
    if !facts.signed {
        return Err(refused("invalid sign"));
    }
    check_open_orders(book, order.kind(), signer, open)?;
    if facts.remaining == 0 {
        return Err(refused("order already consumed"));
    }
    let entry = Entry {
        hash,
        signer,
        // A dead order that comes back keeps its place among those of the same price.
        published: known.unwrap_or_else(UnixMillis::now),
        state: OrderState {
            status: Status::Open,
            remaining: facts.remaining,
            changed_block: book.ledger.head(),
        },
    };
    let mut row = rows::to_row(order, entry);
    check_stake(&row, facts.stake)?;
    if row.kind == OrderKind::Request {
        check_offers(book, &row).await?;
    }
    save(book, &row).await?;
    book.tell_published(&row);
    if book.generation() != generation {
        let state = appraise(&*book.ledger, &row, book.ledger.head()).await?;
        let change = Change::SetOrder { hash, state };
        book.store.apply(vec![change]).await.map_err(Error::from)?;
        book.tell_state(&row, state);
        row.state = state;
    }
    Ok(row)
}

/// What the chain says about an order, asked all at once.
struct Facts {
    signed: bool,
    remaining: u64,
    stake: Nrlc,
}

impl Facts {
    async fn read(
        book: &Book,
        order: &Order,
        hash: OrderHash,
        signer: Address,
    ) -> Result<Self, Error> {
        let volume = order.volume();
        let remaining = async {
            let consumed = book.memory.consumed(hash).await?;
            Ok(volume.saturating_sub(consumed).saturating_to())
        };
        let stake = async {
            match order.kind() {
                OrderKind::App | OrderKind::Dataset => Ok(Nrlc::ZERO),
                OrderKind::Workerpool | OrderKind::Request => book.memory.stake(signer).await,
            }
        };
        let signed = book.memory.is_signed_by(signer, hash, order.sign());
        let (signed, remaining, stake) = futures::try_join!(signed, remaining, stake)?;
        Ok(Self { signed, remaining, stake })
    }
}

/// When the order was published, if it is in the book as a dead one, and how many open orders of this kind the wallet has;
/// an order that is in the book otherwise is refused.
async fn unpublished(
    book: &Book,
    hash: OrderHash,
    kind: OrderKind,
    wallet: Address,
) -> Result<(Option<UnixMillis>, u64), ApiError> {
    let (before, open) = book.store.published(hash, kind, wallet).await.map_err(Error::from)?;
    match before {
        Some((status, _)) if status != Status::Dead => Err(refused("order already published")),
        dead => Ok((dead.map(|(_, published_ms)| UnixMillis(published_ms)), open)),
    }
}

/// Who must have signed the order, which must be who has logged in.
async fn signer(book: &Book, wallet: Address, order: &Order) -> Result<Address, ApiError> {
    let subject = order.subject();
    let signer = match asset_kind(order.kind()) {
        None => subject,
        Some(kind) => {
            let owner = book.memory.owner(kind, subject).await?;
            owner.ok_or_else(|| refused("Resource not deployed"))?
        }
    };
    if signer != wallet {
        return Err(refused(format!("only order signer {signer} can publish an order")));
    }
    Ok(signer)
}

fn check_open_orders(
    book: &Book,
    kind: OrderKind,
    signer: Address,
    open: u64,
) -> Result<(), ApiError> {
    if open < book.open_orders_max {
        return Ok(());
    }
    Err(refused(format!(
        "maximum of {} published open {} has been reached for wallet {signer}",
        book.open_orders_max,
        order_name(kind)
    )))
}

fn check_stake(row: &OrderRow, stake: Nrlc) -> Result<(), ApiError> {
    let required = required_stake(row, row.state.remaining);
    if stake >= required {
        return Ok(());
    }
    Err(refused(match row.kind {
        OrderKind::Request => format!(
            "requester stake is too low to cover requestorder payment, minimum stake required is {} nRLC",
            required.0
        ),
        _ => "workerpool owner's stake is too low to cover required workerpool lock".to_owned(),
    }))
}

async fn check_offers(book: &Book, request: &OrderRow) -> Result<(), ApiError> {
    let app = request.app;
    let offer = best_offer(&book.store, request, OrderKind::App).await?;
    let enabled = if request.tag.contains(Tag::TEE) { "tee enabled " } else { "" };
    let Some(offer) = offer else {
        return Err(refused(format!("No {enabled}apporder published for app {app}")));
    };
    if offer.app_price > request.app_price {
        return Err(too_dear("app", app, offer.app_price));
    }
    let dataset = request.dataset;
    if dataset.is_zero() {
        return Ok(());
    }
    let Some(offer) = best_offer(&book.store, request, OrderKind::Dataset).await? else {
        return Err(refused(format!("No datasetorder published for dataset {dataset}")));
    };
    if offer.dataset_price > request.dataset_price {
        return Err(too_dear("dataset", dataset, offer.dataset_price));
    }
    Ok(())
}

fn too_dear(what: &str, asset: Address, price: u64) -> ApiError {
    refused(format!(
        "{what}maxprice for {what} {asset} is too low, actual best price is {price} nRLC"
    ))
}

async fn save(book: &Book, row: &OrderRow) -> Result<(), Error> {
    Ok(book.store.apply(vec![Change::PutOrder(Box::new(row.clone()))]).await?)
}

fn refused(why: impl Into<String>) -> ApiError {
    ApiError::Refused(why.into())
}
