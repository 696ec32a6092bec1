//! The store, on files and in memory.

mod book;
mod deals;
mod opening;
mod outcomes;
mod sealed;
mod shelves;
mod work;

use alloy_primitives::{Address, B256, Bytes};
use orders::OrderKind;
use primitives::{OrderHash, Tag};
use store::{Change, OrderRow, OrderState, Range, Status, Store};

const FIRST: Range = Range { skip: 0, limit: 100 };

async fn empty() -> Store {
    Store::in_memory().await.expect("opens")
}

fn wallet(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn order(kind: OrderKind, number: u8) -> OrderRow {
    OrderRow {
        hash: OrderHash(B256::repeat_byte(number)),
        kind,
        signer: wallet(1),
        published_ms: 1_000,
        state: OrderState { status: Status::Open, remaining: 5, changed_block: 1 },
        app: Address::ZERO,
        dataset: Address::ZERO,
        workerpool: Address::ZERO,
        requester: Address::ZERO,
        app_price: 0,
        dataset_price: 0,
        workerpool_price: 0,
        volume: 5,
        category: 0,
        trust: 0,
        tag: Tag::NONE,
        beneficiary: Address::ZERO,
        callback: Address::ZERO,
        params: "{}".into(),
        salt: B256::repeat_byte(9),
        sign: Bytes::from_static(&[1, 2, 3]),
    }
}

async fn put(store: &Store, rows: impl IntoIterator<Item = OrderRow>) {
    let changes = rows.into_iter().map(|row| Change::PutOrder(Box::new(row))).collect();
    store.apply(changes).await.expect("writes");
}
