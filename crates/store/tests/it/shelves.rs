//! Whatever is in the book and whatever became of it, an answer is what a plain search would give.

use alloy_primitives::{Address, B256, U256};
use orders::OrderKind;
use primitives::{OrderHash, Tag};
use proptest::prelude::*;
use proptest::sample::select;
use store::{Change, OrderFilter, OrderRow, OrderState, Party, Range, Status, Store};

use crate::{empty, order, wallet};

fn few_wallets() -> impl Strategy<Value = Address> {
    select(vec![Address::ZERO, Address::ZERO, wallet(1), wallet(2)])
}

fn few_tags() -> impl Strategy<Value = Tag> {
    select(vec![Tag::NONE, Tag::NONE, Tag::TEE, Tag::bit(8), Tag::TEE | Tag::bit(8)])
}

fn row() -> impl Strategy<Value = OrderRow> {
    let parties = [few_wallets(), few_wallets(), few_wallets(), few_wallets()];
    let numbers = (0usize..4, 0u64..4, 0u64..3, 0u64..3, 1u64..4, 0u64..2);
    (parties, numbers, few_tags(), 0u8..5).prop_map(|(parties, numbers, tag, status)| {
        let [app, dataset, workerpool, requester] = parties;
        let (kind, price, category, trust, remaining, published_ms) = numbers;
        let kind = OrderKind::ALL[kind];
        let statuses = [Status::Open, Status::Open, Status::Open, Status::Filled, Status::Dead];
        let works = matches!(kind, OrderKind::Workerpool | OrderKind::Request);
        OrderRow {
            app,
            dataset,
            workerpool,
            requester,
            signer: if kind == OrderKind::Request { requester } else { wallet(3) },
            app_price: price,
            dataset_price: price,
            workerpool_price: price,
            category: if works { category } else { 0 },
            trust: if works { trust } else { 0 },
            published_ms,
            tag,
            state: OrderState {
                status: statuses[usize::from(status)],
                remaining,
                changed_block: 1,
            },
            ..order(kind, 0)
        }
    })
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        2 => Just(Party::Any),
        2 => Just(Party::Nobody),
        3 => few_wallets().prop_map(Party::Admits),
        1 => few_wallets().prop_map(Party::Is),
    ]
}

fn filter() -> impl Strategy<Value = OrderFilter> {
    let parties = [party(), party(), party(), party()];
    let numbers = (
        0usize..4,
        proptest::option::of(0u64..3),
        proptest::option::weighted(0.3, 0u64..4),
        proptest::option::weighted(0.3, 0u64..4),
    );
    let tags =
        (proptest::option::weighted(0.4, few_tags()), proptest::option::weighted(0.4, few_tags()));
    let others = (
        proptest::option::weighted(0.3, 0u64..3),
        proptest::option::weighted(0.1, Just(wallet(1))),
    );
    (parties, numbers, tags, others).prop_map(|(parties, numbers, tags, others)| {
        let [app, dataset, workerpool, requester] = parties;
        let (kind, category, min_trust, min_remaining) = numbers;
        OrderFilter {
            app,
            dataset,
            workerpool,
            requester,
            category,
            min_trust,
            min_remaining,
            min_tag: tags.0,
            max_tag: tags.1,
            max_price: others.0,
            signer: others.1,
            ..OrderFilter::all(OrderKind::ALL[kind])
        }
    })
}

fn price(row: &OrderRow) -> u64 {
    match row.kind {
        OrderKind::App => row.app_price,
        OrderKind::Dataset => row.dataset_price,
        OrderKind::Workerpool | OrderKind::Request => row.workerpool_price,
    }
}

fn passes(filter: &OrderFilter, row: &OrderRow) -> bool {
    let party = |filter, address: Address| match filter {
        Party::Any => true,
        Party::Nobody => address.is_zero(),
        Party::Admits(one) => address.is_zero() || address == one,
        Party::Is(one) => address == one,
    };
    row.kind == filter.kind
        && row.state.status == Status::Open
        && party(filter.app, row.app)
        && party(filter.dataset, row.dataset)
        && party(filter.workerpool, row.workerpool)
        && party(filter.requester, row.requester)
        && filter.signer.is_none_or(|signer| row.signer == signer)
        && filter.category.is_none_or(|category| row.category == category)
        && filter.min_trust.is_none_or(|trust| row.trust >= trust)
        && filter.min_remaining.is_none_or(|least| row.state.remaining >= least)
        && filter.max_price.is_none_or(|most| price(row) <= most)
        && filter.min_tag.is_none_or(|least| row.tag.contains(least))
        && filter.max_tag.is_none_or(|most| most.contains(row.tag))
}

/// A book in which orders came, changed and went.
async fn book(rows: &mut Vec<OrderRow>) -> Store {
    let store = empty().await;
    let put = |row: &OrderRow| Change::PutOrder(Box::new(row.clone()));
    for (number, row) in rows.iter_mut().enumerate() {
        row.hash = OrderHash(B256::from(U256::from(number)));
    }
    store.apply(rows.iter().map(put).collect()).await.expect("writes");
    let mut changes = Vec::new();
    for (number, row) in rows.iter_mut().enumerate() {
        let status = match number % 7 {
            0 => Status::Dead,
            1 => Status::Open,
            _ => continue,
        };
        row.state = OrderState { status, ..row.state };
        changes.push(Change::SetOrder { hash: row.hash, state: row.state });
    }
    // What is put again and what changes to what it was must count once.
    changes.extend(rows.iter().step_by(5).map(put));
    store.apply(changes).await.expect("writes");
    let gone = rows.iter().skip(3).step_by(6).map(|row| Change::RemoveOrder(row.hash));
    store.apply(gone.collect()).await.expect("writes");
    let mut number = 0;
    rows.retain(|_| {
        number += 1;
        number < 4 || (number - 4) % 6 != 0
    });
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn answers_are_those_of_a_plain_search(
        mut rows in proptest::collection::vec(row(), 0..60),
        filters in proptest::collection::vec(filter(), 1..12),
        skip in 0u64..6,
        limit in 1u64..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = runtime.block_on(async {
            let store = book(&mut rows).await;
            let mut answers = Vec::new();
            for filter in &filters {
                let page = store.open_orders(filter, Range { skip, limit }).await.expect("reads");
                answers.push((page, store.count_open(filter).await.expect("counts")));
            }
            answers
        });
        for (filter, ((found, of), counted)) in filters.iter().zip(answers) {
            let mut expected: Vec<_> = rows.iter().filter(|row| passes(filter, row)).collect();
            let sign = if filter.kind == OrderKind::Request { -1 } else { 1 };
            expected.sort_by_key(|row| {
                (sign * price(row).cast_signed(), row.published_ms, row.hash)
            });
            prop_assert_eq!(counted, expected.len() as u64, "{:?}", filter);
            prop_assert_eq!(of, expected.len() as u64, "{:?}", filter);
            let wanted = (0u64..).zip(expected).filter(|(at, _)| (skip..skip + limit).contains(at));
            let page: Vec<_> = wanted.map(|(_, row)| row.clone()).collect();
            prop_assert_eq!(found, page, "{:?}", filter);
        }
    }

    /// A publisher may put each order on a shelf of its own; the answers stay right.
    #[test]
    fn very_many_shelves_are_left_aside(trusts in 170u64..200, at_least in 0u64..180, limit in 1u64..8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (found, count) = runtime.block_on(async {
            let store = empty().await;
            let rows = (0..trusts).map(|trust| OrderRow {
                hash: OrderHash(B256::from(U256::from(trust))),
                trust,
                workerpool_price: 1_000 - trust,
                requester: if trust % 3 == 0 { wallet(5) } else { Address::ZERO },
                ..order(OrderKind::Workerpool, 0)
            });
            let puts = rows.map(|row| Change::PutOrder(Box::new(row))).collect();
            store.apply(puts).await.expect("writes");
            let filter = OrderFilter {
                min_trust: Some(at_least),
                requester: Party::Admits(wallet(5)),
                ..OrderFilter::all(OrderKind::Workerpool)
            };
            store.open_orders(&filter, Range { skip: 0, limit }).await.expect("reads")
        });
        let expected = (at_least..trusts).count() as u64;
        prop_assert_eq!(count, expected);
        prop_assert_eq!(found.len() as u64, expected.min(limit));
        prop_assert!(found.first().is_none_or(|best| best.trust == trusts - 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Cheap orders that do not fit make a walk too long, and many restricted ones are not sorted in one by one; a store that
    /// is opened again knows its shelves. The answers stay right.
    #[test]
    fn whichever_way_is_taken_the_answer_is_the_same(
        unfit in 0u64..700,
        fit in 150u64..250,
        restricted in 0u64..90,
        skip in 0u64..240,
        limit in 1u64..30,
        reopen in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut number = 0;
        let mut offer = |category, trust, requester| {
            number += 7;
            OrderRow {
                hash: OrderHash(B256::from(U256::from(number))),
                category,
                trust,
                workerpool_price: number % 1_009,
                requester,
                ..order(OrderKind::Workerpool, 0)
            }
        };
        let mut rows: Vec<_> = (0..unfit).map(|_| offer(1, 0, Address::ZERO)).collect();
        rows.iter_mut().for_each(|row| row.workerpool_price = 0);
        rows.extend((0..fit).map(|trust| offer(2, trust % 9, Address::ZERO)));
        rows.extend((0..restricted).map(|trust| offer(2, trust % 3, wallet(5))));
        let filter = OrderFilter {
            category: Some(2),
            requester: Party::Admits(wallet(5)),
            ..OrderFilter::all(OrderKind::Workerpool)
        };
        let range = Range { skip, limit };
        let (found, count) = runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join("book.sqlite");
            let store = Store::open(&file).await.expect("opens");
            let puts = rows.iter().map(|row| Change::PutOrder(Box::new(row.clone())));
            store.apply(puts.collect()).await.expect("writes");
            let store = if reopen {
                store.close().await;
                Store::open(&file).await.expect("opens again")
            } else {
                store
            };
            store.open_orders(&filter, range).await.expect("reads")
        });
        let mut expected: Vec<_> = rows.iter().filter(|row| passes(&filter, row)).collect();
        expected.sort_by_key(|row| (price(row), row.published_ms, row.hash));
        prop_assert_eq!(count, expected.len() as u64);
        let wanted = (0u64..).zip(expected).filter(|(at, _)| (skip..skip + limit).contains(at));
        let page: Vec<_> = wanted.map(|(_, row)| row.clone()).collect();
        prop_assert_eq!(found, page);
    }
}
