//! A worker contributes a wrong result: its stake goes to those who were right, and to their scheduler.

use alloy_primitives::U256;
use chain::TaskStatus;
use expect_test::expect;

use super::{Purses, learnt, until_parts};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn the_liars_stake_goes_to_those_who_were_right() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let first = FakeWorker::start(&market, &desk, 4, Manner::Honest).await;
    let second = FakeWorker::start(&market, &desk, 5, Manner::Honest).await;
    // Fifteen runs in agreement make a veteran: weight 4.
    let (_, tasks) = market.buy(4, 15).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    for task in tasks {
        desk.until(task, "COMPLETED").await;
    }
    // One of them is away when the task comes, so the liar is asked.
    drop(second);
    desk.until_workers(1).await;
    let liar = FakeWorker::start(&market, &desk, 3, Manner::Lying).await;
    desk.until_workers(2).await;
    let mut purses = Purses::of(&market, &[&first, &liar]).await;
    let (_, tasks) = market.buy(4, 1).await;
    until_parts(&desk, tasks[0], "COMPUTED", 2).await;
    purses.await_worker(&market, "worker 3", 5).await;
    let _second = FakeWorker::start(&market, &desk, 5, Manner::Honest).await;
    let model = desk.until(tasks[0], "COMPLETED").await;

    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +13000000
                kitty +0
                worker 1 +643500000
                worker 2 -300000000
                worker 3 +643500000
            "#]],
        )
        .await;
    let confidence = model.confidence.unwrap();
    assert_eq!((confidence.runs, confidence.agreeing), (3, 2));
    let its = learnt(&market, &desk, &liar).await;
    assert_eq!((its.standing.as_str(), its.past.wrong), ("barred", 1));
    assert_eq!(market.client.score(liar.wallet.address()).await.unwrap(), U256::ZERO);
}
