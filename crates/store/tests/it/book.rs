//! Order-book queries against the table of orders.

use orders::OrderKind;
use primitives::{OrderHash, Tag};
use proptest::prelude::*;
use store::{OpenCounts, OrderFilter, OrderRow, OrderState, Party, Range, Status};

use crate::{FIRST, empty, order, put, wallet};

fn offer(number: u8, price: u64, published_ms: u64) -> OrderRow {
    OrderRow {
        workerpool: wallet(7),
        workerpool_price: price,
        published_ms,
        ..order(OrderKind::Workerpool, number)
    }
}

/// Puts the orders into an empty book and compares the numbers of those that come back, in sequence.
async fn check(rows: Vec<OrderRow>, filter: &OrderFilter, expected: &[u8]) {
    let store = empty().await;
    put(&store, rows).await;
    let (found, count) = store.open_orders(filter, FIRST).await.expect("reads");
    let numbers: Vec<u8> = found.iter().map(|row| row.hash.0[0]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(count, expected.len() as u64);
}

#[tokio::test]
async fn the_best_price_comes_first_then_the_oldest_then_the_hash() {
    let offers = vec![offer(5, 3, 10), offer(4, 3, 10), offer(3, 3, 5), offer(2, 1, 99)];
    check(offers, &OrderFilter::all(OrderKind::Workerpool), &[2, 3, 4, 5]).await;
    let request =
        |number, price| OrderRow { workerpool_price: price, ..order(OrderKind::Request, number) };
    let requests = vec![request(1, 5), request(2, 9)];
    check(requests, &OrderFilter::all(OrderKind::Request), &[2, 1]).await;
}

#[tokio::test]
async fn restrictions_let_through_by_party() {
    let free = offer(1, 1, 1);
    let only_for = |number, requester| OrderRow { requester, ..offer(number, 1, 1) };
    let offers = vec![free, only_for(2, wallet(20)), only_for(3, wallet(30))];
    let by = |requester| OrderFilter { requester, ..OrderFilter::all(OrderKind::Workerpool) };
    check(offers.clone(), &by(Party::Any), &[1, 2, 3]).await;
    check(offers.clone(), &by(Party::Nobody), &[1]).await;
    check(offers.clone(), &by(Party::Admits(wallet(20))), &[1, 2]).await;
    check(offers, &by(Party::Is(wallet(30))), &[3]).await;
}

#[tokio::test]
async fn numbers_and_status_let_through() {
    let offers = vec![
        OrderRow { trust: 4, category: 2, ..offer(1, 10, 1) },
        OrderRow { trust: 1, category: 0, ..offer(2, 20, 1) },
        OrderRow {
            state: OrderState { status: Status::Dead, remaining: 5, changed_block: 3 },
            ..offer(3, 1, 1)
        },
    ];
    let all = OrderFilter::all(OrderKind::Workerpool);
    check(offers.clone(), &all, &[1, 2]).await;
    check(offers.clone(), &OrderFilter { min_trust: Some(2), ..all.clone() }, &[1]).await;
    check(offers.clone(), &OrderFilter { max_trust: Some(2), ..all.clone() }, &[2]).await;
    check(offers.clone(), &OrderFilter { category: Some(2), ..all.clone() }, &[1]).await;
    check(offers.clone(), &OrderFilter { max_price: Some(10), ..all.clone() }, &[1]).await;
    check(offers.clone(), &OrderFilter { min_remaining: Some(6), ..all.clone() }, &[]).await;
    check(offers, &OrderFilter::all(OrderKind::App), &[]).await;
}

#[tokio::test]
async fn pages_know_how_many_there_are_in_all() {
    let store = empty().await;
    put(&store, (1..=25).map(|number| offer(number, u64::from(number), 1))).await;
    let filter = OrderFilter::all(OrderKind::Workerpool);
    let page = Range { skip: 20, limit: 10 };
    let (rows, count) = store.open_orders(&filter, page).await.expect("reads");
    assert_eq!((rows.len(), count), (5, 25));
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_put_and_may_change_or_go() {
    let store = empty().await;
    let row = OrderRow {
        tag: Tag::TEE | Tag::bit(63) | Tag::bit(200) | Tag::bit(255),
        params: "{\"iexec_args\":\"é\"}".into(),
        ..offer(1, 7, 1_568_196_218_068)
    };
    put(&store, [row.clone()]).await;
    assert_eq!(store.order(row.hash).await.expect("reads"), Some(row.clone()));

    let state = OrderState { status: Status::Filled, remaining: 0, changed_block: 44 };
    let set = store::Change::SetOrder { hash: row.hash, state };
    store.apply(vec![set]).await.expect("writes");
    let changed = store.orders_changed_after(43).await.expect("reads");
    assert_eq!(changed, [OrderRow { state, ..row.clone() }]);
    assert_eq!(store.orders_changed_after(44).await.expect("reads"), []);

    store.apply(vec![store::Change::RemoveOrder(row.hash)]).await.expect("writes");
    assert_eq!(store.order(row.hash).await.expect("reads"), None);
}

#[tokio::test]
async fn orders_and_signers_are_found_among_many() {
    let store = empty().await;
    put(&store, [offer(1, 1, 1), offer(2, 1, 1)]).await;
    let hashes: Vec<_> =
        (0..=255).map(|n| OrderHash(alloy_primitives::B256::repeat_byte(n))).collect();
    assert_eq!(store.orders_among(&hashes).await.expect("reads").len(), 2);
    assert_eq!(store.orders_among(&[]).await.expect("reads"), []);
    let wallets = [wallet(1), wallet(2)];
    let kinds = [OrderKind::Workerpool, OrderKind::Request];
    let signers = store.signers_with_open_orders(&wallets, &kinds).await.expect("reads");
    assert_eq!(signers, [wallet(1)]);
    let counts = store.open_counts().await.expect("counts");
    assert_eq!(counts, OpenCounts { workerpool: 2, ..OpenCounts::default() });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the bits, the query lets through exactly the tags that a comparison bit by bit does.
    #[test]
    fn tags_are_compared_bit_by_bit(
        tags in proptest::collection::vec(any::<[u8; 32]>(), 1..6),
        least in proptest::collection::vec(any::<u8>(), 0..3),
        most in any::<[u8; 32]>(),
    ) {
        let least = least.into_iter().fold(Tag::NONE, |tag, bit| tag | Tag::bit(bit));
        let most = Tag(most.into()) | least;
        // Every other tag is cut down to what is allowed, else hardly any would pass.
        let tags: Vec<Tag> = tags
            .into_iter()
            .enumerate()
            .map(|(at, tag)| if at % 2 == 0 { (Tag(tag.into()) & most) | least } else { Tag(tag.into()) })
            .collect();
        let expected: Vec<u8> = (1u8..)
            .zip(&tags)
            .filter(|(_, tag)| tag.contains(least) && most.contains(**tag))
            .map(|(number, _)| number)
            .collect();
        let rows = (1u8..).zip(&tags).map(|(number, tag)| OrderRow { tag: *tag, ..offer(number, 1, 1) });
        let filter = OrderFilter {
            min_tag: Some(least),
            max_tag: Some(most),
            ..OrderFilter::all(OrderKind::Workerpool)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(check(rows.collect(), &filter, &expected));
    }
}
