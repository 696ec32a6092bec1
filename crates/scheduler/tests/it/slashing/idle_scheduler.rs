//! Workers do all that is theirs, and the scheduler never finalizes: it loses its stake to the kitty, the requester gets
//! everything back, and whoever finalizes next is given a part of the kitty.

use alloy_primitives::keccak256;
use chain::{TaskStatus, calls};
use expect_test::expect;
use primitives::ResultDigest;

use super::{FINAL_SECONDS, Purses};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn its_stake_fills_the_kitty_and_the_next_who_works_empties_it() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let workers = [
        FakeWorker::start(&market, &desk, 3, Manner::Unrevealing).await,
        FakeWorker::start(&market, &desk, 4, Manner::Unrevealing).await,
    ];
    desk.until_workers(2).await;
    let purses = Purses::of(&market, &[&workers[0], &workers[1]]).await;
    let (_, tasks) = market.buy(4, 1).await;
    market.until_all(&tasks, TaskStatus::Revealing).await;
    // Stops before there is anything to finalize; the workers reveal all the same.
    desk.handle.shutdown().await;
    let digest = ResultDigest(keccak256("the answer"));
    for worker in &workers {
        let reveal = calls::reveal(market.client.hub(), tasks[0], digest);
        worker.wallet.execute(reveal).await.unwrap();
    }
    let claim = || calls::claim_array(market.client.hub(), &tasks);
    let early = market.requester.execute(claim()).await;
    assert!(early.is_err_and(|error| error.is_revert()), "claimed before the deadline");
    market.pass(FINAL_SECONDS).await;
    // Anybody may claim; a scheduler that comes back would, unasked.
    market.requester.execute(claim()).await.unwrap();
    market.until_all(&tasks, TaskStatus::Failed).await;
    purses
        .check(
            &market,
            &expect![[r#"
                requester +0
                scheduler -300000000
                kitty +300000000
                worker 1 +0
                worker 2 +0
            "#]],
        )
        .await;
    drop(workers);

    let desk = market.scheduler(market.config()).await;
    let honest = FakeWorker::start(&market, &desk, 5, Manner::Honest).await;
    desk.until_workers(1).await;
    let purses = Purses::of(&market, &[&honest]).await;
    let (_, tasks) = market.buy(1, 1).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    // At least 1 RLC of the kitty is given, or all there is.
    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +310000000
                kitty -300000000
                worker 1 +990000000
            "#]],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_comes_back_too_late_refunds_unasked() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let worker = FakeWorker::start(&market, &desk, 3, Manner::Silent).await;
    desk.until_workers(1).await;
    let purses = Purses::of(&market, &[&worker]).await;
    let (_, tasks) = market.buy(4, 2).await;
    market.until_all(&tasks, TaskStatus::Active).await;
    desk.handle.shutdown().await;
    market.pass(FINAL_SECONDS).await;
    let _desk = market.scheduler(market.config()).await;
    market.until_all(&tasks, TaskStatus::Failed).await;
    purses
        .check(
            &market,
            &expect![[r#"
                requester +0
                scheduler -600000000
                kitty +600000000
                worker 1 +0
            "#]],
        )
        .await;
}
