//! Workers agree and reveal, and do not bring the result. One who brings it is enough; if nobody does, the chain takes the
//! scheduler's stake, not theirs, and the scheduler remembers whom it has to thank for it.

use chain::TaskStatus;
use expect_test::expect;

use super::{FINAL_SECONDS, Purses, learnt};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn one_who_brings_the_result_is_enough() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let honest = FakeWorker::start(&market, &desk, 3, Manner::Honest).await;
    let withholding = FakeWorker::start(&market, &desk, 4, Manner::Withholding).await;
    desk.until_workers(2).await;
    let purses = Purses::of(&market, &[&honest, &withholding]).await;
    let (_, tasks) = market.buy(4, 1).await;
    let model = desk.until(tasks[0], "COMPLETED").await;

    assert_eq!(model.uploading_worker_wallet_address, Some(honest.wallet.address()));
    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +10000000
                kitty +0
                worker 1 +495000000
                worker 2 +495000000
            "#]],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_nobody_does_the_requester_is_refunded_and_the_scheduler_pays_the_kitty() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let workers = [
        FakeWorker::start(&market, &desk, 3, Manner::Withholding).await,
        FakeWorker::start(&market, &desk, 4, Manner::Withholding).await,
    ];
    desk.until_workers(2).await;
    let purses = Purses::of(&market, &[&workers[0], &workers[1]]).await;
    let (_, tasks) = market.buy(4, 1).await;
    desk.until(tasks[0], "AT_LEAST_ONE_REVEALED").await;
    market.pass(FINAL_SECONDS).await;
    // Nobody has to ask for it.
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
    desk.until(tasks[0], "FAILED").await;
    let model = desk.client.task(tasks[0]).await.unwrap().unwrap();
    assert_eq!(model.failure.unwrap().code, "GM-4208");
    let known = super::reputation(&market, &desk).await;
    assert!(known.total.withheld >= 1, "{known:#?}");
    let others = learnt(&market, &desk, &workers[1]).await;
    assert_eq!(others.past.completed, 0);
}
