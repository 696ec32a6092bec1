//! A worker contributes what wins and does not reveal it: it loses its stake like a liar.

use chain::TaskStatus;
use expect_test::expect;

use super::{Purses, REVEAL_WINDOW_SECONDS, learnt};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_reveal_pays_the_one_who_did() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let honest = FakeWorker::start(&market, &desk, 3, Manner::Honest).await;
    let silent = FakeWorker::start(&market, &desk, 4, Manner::Unrevealing).await;
    desk.until_workers(2).await;
    let purses = Purses::of(&market, &[&honest, &silent]).await;
    let (_, tasks) = market.buy(4, 1).await;
    desk.until(tasks[0], "AT_LEAST_ONE_REVEALED").await;
    market.pass(REVEAL_WINDOW_SECONDS).await;
    market.until_all(&tasks, TaskStatus::Completed).await;

    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +13000000
                kitty +0
                worker 1 +1287000000
                worker 2 -300000000
            "#]],
        )
        .await;
    desk.until(tasks[0], "COMPLETED").await;
    assert_eq!(learnt(&market, &desk, &silent).await.past.unrevealed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_nobody_reveals_others_do_the_task_and_get_all_stakes() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let silent = [
        FakeWorker::start(&market, &desk, 3, Manner::Unrevealing).await,
        FakeWorker::start(&market, &desk, 4, Manner::Unrevealing).await,
    ];
    desk.until_workers(2).await;
    let (_, tasks) = market.buy(4, 1).await;
    market.until_all(&tasks, TaskStatus::Revealing).await;
    let honest = [
        FakeWorker::start(&market, &desk, 5, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 6, Manner::Honest).await,
    ];
    desk.until_workers(4).await;
    let purses = Purses::of(&market, &[&silent[0], &silent[1], &honest[0], &honest[1]]).await;
    market.pass(REVEAL_WINDOW_SECONDS).await;
    market.until_all(&tasks, TaskStatus::Completed).await;

    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +16000000
                kitty +0
                worker 1 -300000000
                worker 2 -300000000
                worker 3 +792000000
                worker 4 +792000000
            "#]],
        )
        .await;
    desk.until(tasks[0], "COMPLETED").await;
    assert_eq!(learnt(&market, &desk, &silent[1]).await.past.unrevealed, 1);
}
