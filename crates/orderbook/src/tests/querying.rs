//! Logging in and asking.

use alloy_primitives::U256;
use alloy_signer_local::PrivateKeySigner;
use orders::{DatasetOrder, OrderKind, WorkerpoolOrder};
use primitives::{CategoryId, DealId};
use wire::market::{ApiError, CategoryQuery, DealQuery, OrderQuery, PageRequest, PartyFilter};

use super::fair::{APP, DATASET, Fair, OWNER, POOL, app_order, dataset_order, pool_order};

#[tokio::test]
async fn a_wallet_logs_in_several_times_at_once_and_once_each() {
    let fair = Fair::open().await;
    let alice = PrivateKeySigner::random();
    let first = fair.book.challenge(alice.address()).await.expect("opens");
    let second = fair.book.challenge(alice.address()).await.expect("opens");
    assert_ne!(first, second);
    for challenge in [second, first] {
        let authorization = challenge.sign(&alice).expect("signs");
        assert_eq!(fair.book.login(&authorization).await, Ok(alice.address()));
        assert_eq!(fair.book.login(&authorization).await, Err(ApiError::Unauthorized));
    }
}

#[tokio::test]
async fn offers_come_best_price_first_a_page_at_a_time() {
    let fair = Fair::open().await;
    for price in [3, 1, 2] {
        fair.offer(WorkerpoolOrder { price: U256::from(price), ..pool_order() }).await;
    }
    fair.offer(WorkerpoolOrder { app_restrict: APP, price: U256::ZERO, ..pool_order() }).await;
    let all = OrderQuery::all(OrderKind::Workerpool);
    let open = OrderQuery { app: PartyFilter::Unrestricted, ..all.clone() };
    let prices = async |query: &OrderQuery| {
        let page = fair.book.orders(query).await.expect("answers");
        let prices = page.items.iter().map(|found| match &found.order {
            wire::market::Order::Workerpool(order) => order.price.to::<u64>(),
            other => panic!("{other:?}"),
        });
        (prices.collect::<Vec<_>>(), page.count)
    };
    assert_eq!(prices(&open).await, (vec![1, 2, 3], 3));
    assert_eq!(prices(&all).await, (vec![0, 1, 2, 3], 4));
    let beyond = OrderQuery { page: PageRequest::new(1, 10), ..all };
    assert_eq!(prices(&beyond).await, (vec![], 4));
    let owned = OrderQuery { owner: Some(OWNER), workerpool: PartyFilter::Exactly(POOL), ..open };
    assert_eq!(prices(&owned).await.1, 3);
}

#[tokio::test]
async fn bulk_offers_are_free_and_endless() {
    let fair = Fair::open().await;
    fair.offer(dataset_order()).await;
    let endless = U256::from((1u64 << 53) - 1);
    let bulk = DatasetOrder { price: U256::ZERO, volume: endless, ..dataset_order() };
    let bulk = fair.offer(bulk).await;
    let query = OrderQuery {
        dataset: PartyFilter::Exactly(DATASET),
        bulk_only: true,
        ..OrderQuery::all(OrderKind::Dataset)
    };
    let page = fair.book.orders(&query).await.expect("answers");
    assert_eq!(page.items, [bulk]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let fair = Fair::open().await;
    let deal = fair.book.deal(DealId::default()).await;
    assert_eq!(deal.expect_err("none").to_string(), "deal not found");
    let category = fair.book.category(CategoryId(U256::MAX)).await;
    assert_eq!(category.expect_err("none").to_string(), "category not found");
    assert_eq!(fair.book.deals(&DealQuery::default()).await.expect("answers").count, 0);
    assert_eq!(fair.book.categories(&CategoryQuery::default()).await.expect("answers").count, 0);
}

#[tokio::test]
async fn metrics_count_what_is_open() {
    let mut fair = Fair::open().await;
    fair.offer(app_order()).await;
    fair.block([]).await;
    let metrics = fair.book.metrics().await.expect("answers");
    assert_eq!((metrics.last_block, metrics.app_orders, metrics.request_orders), (1, 1, 0));
}
