//! What is taken in, what is refused and with which words, and taking back.

use alloy_primitives::{Address, B256, U256};
use expect_test::{Expect, expect};
use orders::{AppOrder, DatasetOrder, OrderKind, RequestOrder, WorkerpoolOrder};
use primitives::Tag;
use wire::market::{ApiError, Order, OrderStatus, Unpublish};

use super::fair::{
    APP, DATASET, Fair, OWNER, POOL, REQUESTER, STRANGER, app_order, dataset_order, pool_order,
    request_order,
};

async fn refused(fair: &Fair, order: impl Into<Order>, wallet: Address, expected: &Expect) {
    let refusal = fair.publish(order, wallet).await.expect_err("refused");
    assert!(matches!(refusal, ApiError::Refused(_)), "{refusal:?}");
    expected.assert_eq(&refusal.to_string());
}

fn salted(salt: u8) -> AppOrder {
    AppOrder { salt: B256::repeat_byte(salt), ..app_order() }
}

#[tokio::test]
async fn orders_of_all_kinds_are_published() {
    let fair = Fair::open().await;
    fair.offer(app_order()).await;
    fair.offer(dataset_order()).await;
    fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    assert_eq!(
        (request.status, request.remaining, request.signer),
        (OrderStatus::Open, 2, REQUESTER)
    );
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
}

#[tokio::test]
async fn an_order_is_published_once() {
    let fair = Fair::open().await;
    fair.offer(app_order()).await;
    refused(&fair, app_order(), OWNER, &expect!["order already published"]).await;
}

#[tokio::test]
async fn at_once_it_is_published_once_too() {
    let fair = Fair::open().await;
    let both = futures::join!(fair.publish(app_order(), OWNER), fair.publish(app_order(), OWNER));
    assert_eq!([both.0, both.1].iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn only_the_owner_of_a_deployed_asset_publishes() {
    let fair = Fair::open().await;
    let unknown = AppOrder { app: STRANGER, ..app_order() };
    refused(&fair, unknown, OWNER, &expect!["Resource not deployed"]).await;
    refused(
        &fair,
        app_order(),
        STRANGER,
        &expect![
            "only order signer 0x0101010101010101010101010101010101010101 can publish an order"
        ],
    )
    .await;
    refused(
        &fair,
        request_order(),
        OWNER,
        &expect![
            "only order signer 0x0202020202020202020202020202020202020202 can publish an order"
        ],
    )
    .await;
}

#[tokio::test]
async fn a_signature_that_the_hub_does_not_take_is_refused() {
    let fair = Fair::open().await;
    let hash = Order::from(app_order())
        .hash(&orders::Domain { chain_id: 65_535, hub: Address::repeat_byte(0x88) });
    fair.change(|world| {
        world.forged.insert(hash);
        // What comes later in the sequence is not looked at.
        world.consumed.insert(hash, 10);
    });
    refused(&fair, app_order(), OWNER, &expect!["invalid sign"]).await;
    fair.change(|world| world.forged.clear());
    refused(&fair, app_order(), OWNER, &expect!["order already consumed"]).await;
    fair.change(|world| {
        world.consumed.insert(hash, 4);
    });
    assert_eq!(fair.offer(app_order()).await.remaining, 6);
}

#[tokio::test]
async fn a_wallet_may_have_so_many_open_orders() {
    let fair = Fair::open().await;
    for salt in 0..5 {
        fair.offer(salted(salt)).await;
    }
    refused(&fair, salted(5), OWNER, &expect!["maximum of 5 published open apporder has been reached for wallet 0x0101010101010101010101010101010101010101"]).await;
    fair.offer(dataset_order()).await;
}

#[tokio::test]
async fn a_stake_that_does_not_cover_is_refused() {
    let mut fair = Fair::open().await;
    // 30 % of 100, ten times.
    fair.restake(OWNER, 299).await;
    fair.restake(REQUESTER, 209).await;
    refused(
        &fair,
        pool_order(),
        OWNER,
        &expect!["workerpool owner's stake is too low to cover required workerpool lock"],
    )
    .await;
    // Rounded down for each task: 30 % of 3 is nothing.
    fair.restake(OWNER, 0).await;
    fair.offer(WorkerpoolOrder { price: U256::from(3), ..pool_order() }).await;
    fair.offer(app_order()).await;
    refused(&fair, request_order(), REQUESTER, &expect!["requester stake is too low to cover requestorder payment, minimum stake required is 210 nRLC"]).await;
    fair.restake(REQUESTER, 210).await;
    fair.offer(request_order()).await;
}

#[tokio::test]
async fn a_request_needs_offers_that_it_could_be_matched_with() {
    let fair = Fair::open().await;
    let with_dataset = RequestOrder {
        dataset: DATASET,
        dataset_max_price: U256::from(6),
        app_max_price: U256::from(4),
        ..request_order()
    };
    refused(
        &fair,
        with_dataset.clone(),
        REQUESTER,
        &expect!["No apporder published for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0"],
    )
    .await;
    let tee = RequestOrder { tag: Tag::TEE, ..with_dataset.clone() };
    let elsewhere = AppOrder { workerpool_restrict: POOL, ..salted(1) };
    fair.offer(elsewhere).await;
    refused(
        &fair,
        with_dataset.clone(),
        REQUESTER,
        &expect!["No apporder published for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0"],
    )
    .await;
    fair.offer(app_order()).await;
    refused(
        &fair,
        tee,
        REQUESTER,
        &expect![
            "No tee enabled apporder published for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0"
        ],
    )
    .await;
    refused(&fair, with_dataset.clone(), REQUESTER, &expect!["appmaxprice for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0 is too low, actual best price is 5 nRLC"]).await;
    let pays_app = RequestOrder { app_max_price: U256::from(5), ..with_dataset };
    refused(
        &fair,
        pays_app.clone(),
        REQUESTER,
        &expect![
            "No datasetorder published for dataset 0xD0D0d0d0d0D0D0d0D0D0D0D0d0D0d0d0d0d0D0D0"
        ],
    )
    .await;
    fair.offer(DatasetOrder { app_restrict: APP, ..dataset_order() }).await;
    refused(&fair, pays_app.clone(), REQUESTER, &expect!["datasetmaxprice for dataset 0xD0D0d0d0d0D0D0d0D0D0D0D0d0D0d0d0d0d0D0D0 is too low, actual best price is 7 nRLC"]).await;
    fair.offer(RequestOrder { dataset_max_price: U256::from(7), ..pays_app }).await;
}

#[tokio::test]
async fn a_chain_that_does_not_answer_is_not_the_callers_fault() {
    let fair = Fair::open().await;
    fair.change(|world| world.unreachable = true);
    let refusal = fair.publish(app_order(), OWNER).await.expect_err("unavailable");
    assert_eq!(refusal, ApiError::Unavailable);
    let too_large = AppOrder { price: U256::from(1u64 << 53), ..app_order() };
    let refusal = fair.publish(too_large, OWNER).await.expect_err("too large");
    assert!(matches!(refusal, ApiError::Invalid(_)), "{refusal:?}");
}

#[tokio::test]
async fn an_order_is_taken_back_by_its_hash() {
    let fair = Fair::open().await;
    let order = fair.offer(app_order()).await;
    let target = Unpublish::Order(order.hash);
    let by = async |wallet, kind| fair.book.unpublish(wallet, kind, target).await;
    expect!["only order signer 0x0101010101010101010101010101010101010101 can unpublish an order"]
        .assert_eq(&by(STRANGER, OrderKind::App).await.expect_err("not theirs").to_string());
    expect!["datasetorder with orderHash 0x5b59a7729bfb0e9d45def4bc8742781c3fe2e49bd775fdb91417e8cb84f05fb0 is not published"].assert_eq(&by(OWNER, OrderKind::Dataset).await.expect_err("no such").to_string());
    assert_eq!(by(OWNER, OrderKind::App).await, Ok(vec![order.hash]));
    expect!["apporder with orderHash 0x5b59a7729bfb0e9d45def4bc8742781c3fe2e49bd775fdb91417e8cb84f05fb0 is not published"].assert_eq(&by(OWNER, OrderKind::App).await.expect_err("gone").to_string());
    let gone = fair.book.order(OrderKind::App, order.hash).await;
    assert_eq!(gone, Err(ApiError::NotFound("apporder")));
}

#[tokio::test]
async fn the_last_or_all_of_an_asset_are_taken_back() {
    let fair = Fair::open().await;
    let first = fair.offer(salted(1)).await;
    // So that one of them is the newest.
    while wire::UnixMillis::now() <= first.published_at {
        tokio::task::yield_now().await;
    }
    let second = fair.offer(salted(2)).await;
    let target = |target| fair.book.unpublish(OWNER, OrderKind::App, target);
    assert_eq!(target(Unpublish::Last(APP)).await, Ok(vec![second.hash]));
    assert_eq!(target(Unpublish::All(APP)).await, Ok(vec![first.hash]));
    let none = target(Unpublish::All(APP)).await.expect_err("none left");
    expect!["no open apporder published by signer 0x0101010101010101010101010101010101010101 for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0"].assert_eq(&none.to_string());
}

#[tokio::test]
async fn taking_back_the_only_offer_strands_the_request() {
    let fair = Fair::open().await;
    let cheap = fair.offer(app_order()).await;
    let request = fair.offer(request_order()).await;
    fair.offer(AppOrder { price: U256::from(50), ..app_order() }).await;
    let target = Unpublish::Order(cheap.hash);
    fair.book.unpublish(OWNER, OrderKind::App, target).await.expect("is taken back");
    assert_eq!(fair.state(&request).await, (OrderStatus::Dead, 2), "what is left is too dear");
    // A dead one may be published again once it can be matched, and keeps its place.
    fair.offer(salted(9)).await;
    let revived = fair.offer(request_order()).await;
    assert_eq!(revived.published_at, request.published_at);
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
}
