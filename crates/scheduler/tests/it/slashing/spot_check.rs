//! Nobody stakes anything on a task of one worker. A scheduler that has results confirmed catches who is wrong all the same,
//! and lets it take no such tasks any more, now and after a restart.

use chain::TaskStatus;
use expect_test::expect;
use scheduler::Config;

use super::{Purses, learnt, reputation};
use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_is_found_out_is_not_paid_and_is_remembered() {
    let market = Market::open().await;
    let config = || Config { checks: "1".parse().unwrap(), ..market.config() };
    let desk = market.scheduler(config()).await;
    let workers = [
        FakeWorker::start(&market, &desk, 3, Manner::Lying).await,
        FakeWorker::start(&market, &desk, 4, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 5, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 6, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 7, Manner::Honest).await,
    ];
    desk.until_workers(5).await;
    let purses = Purses::of(&market, &[&workers[0]]).await;
    let (_, tasks) = market.buy(1, 6).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let mut confirmed = 0;
    for task in &tasks {
        let model = desk.until(*task, "COMPLETED").await;
        let contributors = market.client.task(*task).await.unwrap().contributors;
        assert_ne!(contributors, [workers[0].wallet.address()], "a wrong result was let in");
        let confidence = model.confidence.unwrap();
        assert!(confidence.checked && confidence.agreeing >= 2, "{confidence:?}");
        confirmed += u64::from(confidence.agreeing);
    }
    let its = learnt(&market, &desk, &workers[0]).await;
    assert_eq!((its.standing.as_str(), its.past.completed), ("barred", 0));
    let known = reputation(&market, &desk).await;
    assert_eq!(known.canaries_passed, confirmed);
    assert!(known.canaries_failed >= 1);
    // The requester pays for one run of each, whoever else ran it; the liar neither earns nor loses.
    purses
        .check_only(
            &market,
            &["requester", "worker 1"],
            &expect![[r#"
        requester -6000000000
        worker 1 +0
    "#]],
        )
        .await;

    desk.handle.shutdown().await;
    drop(workers);
    let desk = market.scheduler(config()).await;
    let _liar = FakeWorker::start(&market, &desk, 3, Manner::Lying).await;
    desk.until_workers(1).await;
    let (_, tasks) = market.buy(1, 1).await;
    let _honest = FakeWorker::start(&market, &desk, 4, Manner::Honest).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let known = reputation(&market, &desk).await;
    assert!(known.canaries_passed >= confirmed, "what was learnt is kept: {known:#?}");
}
