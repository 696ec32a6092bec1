//! Taking orders out of the book.

use alloy_primitives::Address;
use orders::OrderKind;
use primitives::OrderHash;
use store::{Change, OrderFilter, OrderRow, Party, Status};
use wire::market::{ApiError, Unpublish};

use crate::Error;
use crate::book::{Book, order_name};
use crate::standing::subject;
use crate::watcher::without_offers;

/// Takes open orders of a wallet that has logged in out of the book, and marks the requests that need them.
pub(crate) async fn unpublish(
    book: &Book,
    wallet: Address,
    kind: OrderKind,
    target: Unpublish,
) -> Result<Vec<OrderHash>, ApiError> {
    let rows = match target {
        Unpublish::Order(hash) => vec![one(book, wallet, kind, hash).await?],
        Unpublish::All(of) => all(book, wallet, kind, of).await?,
        Unpublish::Last(of) => {
            let rows = all(book, wallet, kind, of).await?;
            rows.into_iter().max_by_key(|row| (row.published_ms, row.hash)).into_iter().collect()
        }
    };
    let hashes: Vec<_> = rows.iter().map(|row| row.hash).collect();
    let removals = hashes.iter().map(|hash| Change::RemoveOrder(*hash)).collect();
    book.store.apply(removals).await.map_err(Error::from)?;
    rows.iter().for_each(|row| book.tell_unpublished(row));
    let assets = rows.iter().map(|row| (kind, subject(row)));
    without_offers(book, assets, book.ledger.head()).await?;
    Ok(hashes)
}

async fn one(
    book: &Book,
    wallet: Address,
    kind: OrderKind,
    hash: OrderHash,
) -> Result<OrderRow, ApiError> {
    let row = book.store.order(hash).await.map_err(Error::from)?;
    let row = row.filter(|row| row.kind == kind && row.state.status == Status::Open);
    let name = order_name(kind);
    let row = row.ok_or_else(|| {
        ApiError::Refused(format!("{name} with orderHash {hash} is not published"))
    })?;
    if row.signer != wallet {
        let signer = row.signer;
        return Err(ApiError::Refused(format!(
            "only order signer {signer} can unpublish an order"
        )));
    }
    Ok(row)
}

async fn all(
    book: &Book,
    wallet: Address,
    kind: OrderKind,
    of: Address,
) -> Result<Vec<OrderRow>, ApiError> {
    let mut filter = OrderFilter { signer: Some(wallet), ..OrderFilter::all(kind) };
    let (field, party) = match kind {
        OrderKind::App => ("app", &mut filter.app),
        OrderKind::Dataset => ("dataset", &mut filter.dataset),
        OrderKind::Workerpool => ("workerpool", &mut filter.workerpool),
        OrderKind::Request => ("requester", &mut filter.requester),
    };
    *party = Party::Is(of);
    let rows = book.store.all_open_orders(&filter).await.map_err(Error::from)?;
    if rows.is_empty() {
        let name = order_name(kind);
        return Err(ApiError::Refused(format!(
            "no open {name} published by signer {wallet} for {field} {of}"
        )));
    }
    Ok(rows)
}
