//! A worker announces what is right and contributes something else. Its scheduler could not know; the chain takes its stake
//! as a liar's, and the scheduler does not trust it any more.

use chain::TaskStatus;
use expect_test::expect;

use super::{Purses, learnt, until_parts};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn who_says_two_things_loses_its_stake_and_its_standing() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let liar = FakeWorker::start(&market, &desk, 3, Manner::Equivocating).await;
    let first = FakeWorker::start(&market, &desk, 4, Manner::Honest).await;
    desk.until_workers(2).await;
    let mut purses = Purses::of(&market, &[&liar, &first]).await;
    let (_, tasks) = market.buy(4, 1).await;
    // Against a contribution of another opinion it takes four of weight 2 instead of two.
    until_parts(&desk, tasks[0], "CONTRIBUTED", 2).await;
    let mut others = Vec::new();
    for index in 5..8 {
        purses.await_worker(&market, &format!("worker {}", index - 2), index).await;
        let other = FakeWorker::start(&market, &desk, index, Manner::Honest).await;
        others.push(other);
    }
    market.until_all(&tasks, TaskStatus::Completed).await;
    let model = desk.until(tasks[0], "COMPLETED").await;

    purses
        .check(
            &market,
            &expect![[r#"
                requester -1000000000
                scheduler +13000000
                kitty +0
                worker 1 -300000000
                worker 2 +321750000
                worker 3 +321750000
                worker 4 +321750000
                worker 5 +321750000
            "#]],
        )
        .await;
    let confidence = model.confidence.unwrap();
    assert_eq!((confidence.runs, confidence.agreeing), (5, 4));
    // 16 of 1 + 16 + 2.
    assert_eq!((confidence.asked_ppm, confidence.reached_ppm), (750_000, Some(842_105)));
    let its = learnt(&market, &desk, &liar).await;
    assert_eq!((its.past.equivocated, its.past.wrong), (1, 1));
    assert_eq!(its.standing, "barred");
}
