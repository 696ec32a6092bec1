//! What blocks do to the orders in the book.

use alloy_primitives::{B256, Bytes, U256};
use chain::{AssetKind, MarketEvent};
use orders::{AppOrder, OrderKind, task_id};
use primitives::{CategoryId, DealId};
use wire::market::{CategoryQuery, DealQuery, OrderQuery, OrderStatus, TrackRecord};

use super::fair::{
    APP, Fair, OWNER, POOL, REQUESTER, STRANGER, app_order, matched, paid, pool_order,
    request_order,
};
use crate::ledger::Ledger;

#[tokio::test]
async fn a_match_takes_volume_and_becomes_a_deal() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    fair.consume(&app, 2);
    fair.consume(&pool, 2);
    fair.consume(&request, 2);
    fair.block([matched([&app, &pool, &request], 2)]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 8));
    assert_eq!(fair.state(&pool).await, (OrderStatus::Open, 8));
    assert_eq!(fair.state(&request).await, (OrderStatus::Filled, 0));
    let deals = fair.book.deals(&DealQuery::default()).await.expect("answers");
    let deal = &deals.items[0];
    assert_eq!((deal.app_hash, deal.request_hash), (app.hash, request.hash));
    assert_eq!((deal.volume, deal.block_number), (U256::from(2), 1));
}

#[tokio::test]
async fn a_workerpool_is_known_by_how_its_tasks_ended() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    let query = OrderQuery::all(OrderKind::Workerpool);
    let orders = fair.book.orders(&query).await.expect("answers");
    assert_eq!(orders.items[0].track_record, None);
    fair.block([matched([&app, &pool, &request], 2)]).await;
    let task = |index| task_id(DealId(B256::repeat_byte(0x99)), U256::from(index));
    let finalized = MarketEvent::Finalized { task: task(0), results: Bytes::new() };
    fair.block([finalized.clone()]).await;
    // A restarted book asks the chain whose task it was; one that is told twice counts once.
    let mut fair = fair.restart().await;
    fair.block([MarketEvent::Claimed { task: task(1) }, finalized]).await;
    let expected = TrackRecord { completed: 1, failed: 1, median_latency_s: Some(3) };
    assert_eq!(fair.book.track_record(POOL).await, Ok(expected));
    let orders = fair.book.orders(&query).await.expect("answers");
    assert_eq!(orders.items[0].track_record, Some(expected));
    fair.rewind(1).await;
    assert_eq!(fair.book.track_record(POOL).await, Ok(TrackRecord::default()));
    assert_eq!(fair.book.track_record(APP).await, Ok(TrackRecord::default()));
}

#[tokio::test]
async fn a_match_heard_twice_counts_once() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    fair.consume(&app, 2);
    fair.block([matched([&app, &pool, &request], 2)]).await;
    fair.block([matched([&app, &pool, &request], 2)]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 8));
}

#[tokio::test]
async fn a_burst_of_matches_asks_about_each_order_once() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    // The book waits for the chain, and blocks pile up meanwhile.
    fair.change(|world| world.unreachable = true);
    for _ in 0..100 {
        fair.tell([matched([&app, &pool, &request], 1), paid(REQUESTER), paid(OWNER)]);
    }
    fair.change(|world| {
        world.unreachable = false;
        world.reads = 0;
    });
    fair.block([]).await;
    let reads = fair.fake.world.lock().reads;
    // A hundred deals to read; three orders and two stakes, at most for the first block and for the rest.
    assert!((100..=130).contains(&reads), "{reads} reads");
}

#[tokio::test]
async fn a_closed_order_is_canceled_and_strands_the_request() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let request = fair.offer(request_order()).await;
    fair.consume(&app, 10);
    fair.block([MarketEvent::ClosedOrder { kind: OrderKind::App, hash: app.hash }]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Canceled, 0));
    assert_eq!(fair.state(&request).await, (OrderStatus::Dead, 2));
}

#[tokio::test]
async fn a_filled_offer_strands_requests_only_without_another() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let other = fair.offer(AppOrder { price: U256::from(1), ..app_order() }).await;
    let request = fair.offer(request_order()).await;
    let pool = fair.offer(pool_order()).await;
    fair.consume(&app, 10);
    fair.block([matched([&app, &pool, &pool], 10)]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Filled, 0));
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
    fair.consume(&other, 10);
    fair.block([matched([&other, &pool, &pool], 10)]).await;
    assert_eq!(fair.state(&request).await, (OrderStatus::Dead, 2));
}

#[tokio::test]
async fn stake_that_is_gone_kills_what_it_backed() {
    let mut fair = Fair::open().await;
    fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    fair.change(|world| world.stakes.clear());
    fair.block([paid(STRANGER)]).await;
    assert_eq!(fair.state(&pool).await, (OrderStatus::Open, 10), "nobody in the book has paid");
    fair.block([paid(OWNER)]).await;
    assert_eq!(fair.state(&pool).await, (OrderStatus::Dead, 10));
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
    fair.block([paid(REQUESTER)]).await;
    assert_eq!(fair.state(&request).await, (OrderStatus::Dead, 2));
}

#[tokio::test]
async fn a_match_that_locks_the_stake_leaves_what_is_still_covered() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    // Half of the pool's order is dealt, and half of the stake that it needs is locked.
    fair.consume(&pool, 5);
    fair.change(|world| {
        world.stakes.insert(OWNER, 150);
    });
    fair.block([matched([&app, &pool, &request], 5), paid(OWNER)]).await;
    assert_eq!(fair.state(&pool).await, (OrderStatus::Open, 5));
}

#[tokio::test]
async fn a_sold_asset_takes_its_orders_along() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    let registry = fair.fake.registry(AssetKind::App);
    let sold = MarketEvent::AssetTransferred { registry, from: OWNER, to: STRANGER, asset: APP };
    fair.block([sold.clone()]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 10), "it was given back meanwhile");
    fair.change(|world| {
        world.owners.insert(APP, STRANGER);
    });
    fair.block([sold]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Dead, 10));
    assert_eq!(fair.state(&pool).await, (OrderStatus::Open, 10));
    assert_eq!(fair.state(&request).await, (OrderStatus::Dead, 2));
}

#[tokio::test]
async fn blocks_that_never_were_are_undone() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    fair.block([]).await;
    fair.consume(&app, 10);
    fair.consume(&request, 2);
    fair.change(|world| {
        world.stakes.insert(OWNER, 0);
    });
    let created = MarketEvent::CategoryCreated {
        category: CategoryId::new(0),
        name: "XS".into(),
        work_clock_seconds: 300,
    };
    let closed = MarketEvent::ClosedOrder { kind: OrderKind::App, hash: app.hash };
    fair.block([matched([&app, &pool, &request], 2), paid(OWNER), closed, created]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Canceled, 0));
    assert_eq!(fair.state(&pool).await, (OrderStatus::Dead, 10));
    assert_eq!(fair.state(&request).await, (OrderStatus::Filled, 0));
    let count = async |fair: &Fair| {
        let deals = fair.book.deals(&DealQuery::default()).await.expect("answers").count;
        let categories = fair.book.categories(&CategoryQuery::default()).await;
        (deals, categories.expect("answers").count)
    };
    assert_eq!(count(&fair).await, (1, 1));

    fair.change(|world| {
        world.consumed.clear();
        world.stakes.insert(OWNER, 1_000);
    });
    fair.rewind(1).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 10));
    assert_eq!(fair.state(&pool).await, (OrderStatus::Open, 10));
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
    assert_eq!(count(&fair).await, (0, 0));
}

#[tokio::test]
async fn blocks_that_are_gone_before_they_are_taken_in_hold_nothing_up() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    fair.block([]).await;
    let deals =
        async |fair: &Fair| fair.book.deals(&DealQuery::default()).await.expect("answers").count;
    // The match is heard of when there is no such deal any more; and of many blocks after it.
    fair.change(|world| world.dealless = true);
    for _ in 0..300 {
        fair.tell([matched([&app, &pool, &request], 2)]);
    }
    let before = fair.fake.world.lock().reads;
    while fair.fake.world.lock().reads == before {
        tokio::task::yield_now().await;
    }
    fair.rewind(300).await;
    assert_eq!(deals(&fair).await, 0);
    assert_eq!(fair.state(&request).await, (OrderStatus::Open, 2));
    fair.change(|world| world.dealless = false);
    fair.consume(&request, 2);
    fair.block([matched([&app, &pool, &request], 2)]).await;
    assert_eq!(deals(&fair).await, 1);
    assert_eq!(fair.state(&request).await, (OrderStatus::Filled, 0));
}

#[tokio::test]
async fn an_app_whose_registration_is_taken_back_is_not_on_offer() {
    let mut fair = Fair::open().await;
    fair.block([]).await;
    let app = fair.offer(app_order()).await;
    fair.block([matched([&app, &app, &app], 0)]).await;
    fair.change(|world| {
        world.owners.remove(&APP);
    });
    fair.rewind(1).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Dead, 10));
    // It is registered again, and the same order counts again.
    fair.change(|world| {
        world.owners.insert(APP, OWNER);
    });
    fair.offer(app_order()).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 10));
}

#[tokio::test]
async fn the_book_goes_on_where_it_stopped() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    fair.consume(&app, 3);
    fair.block([matched([&app, &pool, &pool], 3)]).await;
    let fair = fair.restart().await;
    assert_eq!(fair.handle.last_block(), 1);
    assert_eq!(fair.state(&app).await, (OrderStatus::Open, 7));
}

#[tokio::test]
async fn a_chain_that_is_away_loses_nothing() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    fair.consume(&app, 10);
    fair.change(|world| world.unreachable = true);
    fair.tell([matched([&app, &pool, &pool], 10)]);
    let before = fair.fake.world.lock().reads;
    while fair.fake.world.lock().reads == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(fair.book.deals(&DealQuery::default()).await.expect("answers").count, 0);
    fair.change(|world| world.unreachable = false);
    fair.block([]).await;
    assert_eq!(fair.state(&app).await, (OrderStatus::Filled, 0));
}
