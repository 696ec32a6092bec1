//! What the book need not ask the chain again, and when it must.

use alloy_primitives::{Address, B256, Bytes, U256};
use chain::MarketEvent;
use orders::AppOrder;
use wire::market::{ApiError, Change, OrderStatus};

use super::fair::{
    APP, DATASET, Fair, OWNER, REQUESTER, STRANGER, app_order, dataset_order, matched, pool_order,
    request_order,
};
use crate::ledger::Ledger;

fn salted(salt: u8) -> AppOrder {
    AppOrder { salt: B256::repeat_byte(salt), ..app_order() }
}

fn reads(fair: &Fair) -> usize {
    fair.fake.world.lock().reads
}

#[tokio::test]
async fn an_owner_is_asked_for_once_until_the_asset_is_sold() {
    let mut fair = Fair::open().await;
    fair.offer(salted(1)).await;
    let before = reads(&fair);
    fair.offer(salted(2)).await;
    // Left: how much is used up, and what the hub says to a signature that is none of a key's.
    assert_eq!(reads(&fair) - before, 2);

    fair.change(|world| {
        world.owners.insert(APP, STRANGER);
    });
    let registry = fair.fake.registry(chain::AssetKind::App);
    fair.block([MarketEvent::AssetTransferred { registry, from: OWNER, to: STRANGER, asset: APP }])
        .await;
    let refused = fair.publish(salted(3), OWNER).await.expect_err("another owner");
    assert_eq!(
        refused,
        ApiError::Refused(format!("only order signer {STRANGER} can publish an order"))
    );
    fair.publish(salted(3), STRANGER).await.expect("is published");
}

#[tokio::test]
async fn a_key_is_believed_without_asking_and_a_contract_is_asked() {
    use alloy_signer::SignerSync;
    let fair = Fair::open().await;
    let key =
        alloy_signer_local::PrivateKeySigner::from_bytes(&B256::repeat_byte(9)).expect("a key");
    fair.change(|world| {
        world.owners.insert(APP, key.address());
    });
    let signed = |salt| {
        let order = salted(salt);
        let hash = order.hash(&fair.fake.domain());
        // The hub would say no: if it is asked, the order is refused.
        fair.change(|world| {
            world.forged.insert(hash);
        });
        let sign = Bytes::from(key.sign_hash_sync(&hash.0).expect("signs").as_bytes());
        AppOrder { sign, ..order }
    };
    fair.publish(signed(1), key.address()).await.expect("the key signed it");
    let unsigned = AppOrder { sign: Bytes::new(), ..signed(2) };
    let refused = fair.publish(unsigned, key.address()).await.expect_err("nobody signed it");
    assert_eq!(refused, ApiError::Refused("invalid sign".into()));

    let wallet = Address::repeat_byte(0x55);
    fair.change(|world| {
        world.owners.insert(DATASET, wallet);
        world.contracts.insert(wallet);
    });
    fair.publish(dataset_order(), wallet).await.expect("the hub takes it");
}

#[tokio::test]
async fn a_rewound_chain_leaves_nothing_remembered() {
    let mut fair = Fair::open().await;
    fair.block([]).await;
    fair.offer(salted(1)).await;
    fair.change(|world| {
        world.owners.insert(APP, STRANGER);
    });
    fair.rewind(1).await;
    fair.publish(salted(2), OWNER).await.expect_err("another owner on this branch");
}

#[tokio::test]
async fn the_feed_tells_what_changes_and_nothing_twice() {
    let mut fair = Fair::open().await;
    let mut feed = fair.handle.changes();
    let mut told = async || {
        let mut told = Vec::new();
        while let Ok(change) = feed.try_recv() {
            told.push(match change {
                Change::Published(order) => format!("{} published", order.order.kind()),
                Change::Updated(order) => {
                    assert_eq!(order.status, OrderStatus::Open);
                    format!("{} has {} left", order.order.kind(), order.remaining)
                }
                Change::Unpublished { kind, .. } => format!("{kind} gone"),
                Change::DealCreated(deal) => format!("deal of {} tasks", deal.volume),
            });
        }
        told
    };
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    assert_eq!(told().await, ["app published", "workerpool published", "request published"]);

    fair.consume(&app, 2);
    fair.consume(&pool, 2);
    fair.consume(&request, 2);
    let events = [matched([&app, &pool, &request], 2)];
    fair.block(events.clone()).await;
    let mut heard = told().await;
    heard.sort();
    assert_eq!(
        heard,
        ["app has 8 left", "deal of 2 tasks", "request gone", "workerpool has 8 left"]
    );
    // The same again, as after a crash.
    fair.block(events).await;
    assert!(told().await.is_empty());

    let target = wire::market::Unpublish::Order(app.hash);
    fair.book.unpublish(OWNER, orders::OrderKind::App, target).await.expect("is taken back");
    assert_eq!(told().await, ["app gone"]);
    let second = orders::RequestOrder { volume: U256::from(1), ..request_order() };
    fair.offer(salted(4)).await;
    fair.offer(second).await;
    fair.restake(REQUESTER, 0).await;
    assert_eq!(told().await, ["app published", "request published", "request gone"]);
}
