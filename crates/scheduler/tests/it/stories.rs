//! What happens.

use alloy_primitives::{Address, B256, U256};
use chain::{ContributionStatus, TaskStatus, Wallet, calls};
use primitives::{CategoryId, Nrlc, TaskId};
use scheduler::{Config, Offer};
use serde_json::json;
use wire::link::{Blame, LinkError, ToScheduler, ToWorker};
use wire::scheduler::SchedulerClient;

use crate::book::Book;
use crate::fake_worker::{FakeWorker, Manner, connect};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn a_bag_of_tasks_is_finished_by_whoever_is_free() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _workers = [
        FakeWorker::start(&market, &desk, 3, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 4, Manner::Honest).await,
    ];
    let (deal, tasks) = market.buy(1, 60).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let model = desk.until(tasks[59], "COMPLETED").await;
    assert_eq!((model.deal_id, model.task_index), (deal, 59));
    assert!(model.result_link.unwrap().starts_with("/ipfs/Qm"));
    assert_eq!(model.command_line, "hello");
    let words: Vec<_> = model.date_status_list.iter().map(|dated| dated.status.as_str()).collect();
    assert_eq!(words, ["RECEIVED", "INITIALIZED", "CONSENSUS_REACHED", "COMPLETED"]);
    assert_eq!(desk.handle.unfinished_count(), 0);
    desk.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_among_fresh_workers_neither_stalls_nor_wins() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let liar = FakeWorker::start(&market, &desk, 3, Manner::Lying).await;
    let honest = [
        FakeWorker::start(&market, &desk, 4, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 5, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 6, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 7, Manner::Honest).await,
    ];
    let (_, tasks) = market.buy(4, 4).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    for task in tasks {
        let model = desk.until(task, "COMPLETED").await;
        let contributors = market.client.task(task).await.unwrap().contributors;
        let is_honest = |one: &&Address| honest.iter().any(|it| it.wallet.address() == **one);
        let right = contributors.iter().filter(is_honest).count();
        let lies = contributors.iter().filter(|one| **one == liar.wallet.address()).count();
        // What its lie is worth must be outvoted; then it is let in, and pays.
        assert!((right, lies) == (2, 0) || (right, lies) == (4, 1), "{contributors:?}");
        assert!(model.dissent.is_empty());
        let confidence = model.confidence.unwrap();
        assert!(confidence.reached_ppm > Some(confidence.asked_ppm));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_that_veterans_outweigh_is_let_in_and_pays() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let honest = [
        FakeWorker::start(&market, &desk, 4, Manner::Honest).await,
        FakeWorker::start(&market, &desk, 5, Manner::Honest).await,
    ];
    // Fifteen runs in agreement make a veteran: weight 4.
    let (_, tasks) = market.buy(4, 15).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let score = market.client.score(honest[0].wallet.address()).await.unwrap();
    assert_eq!(score, U256::from(15));

    // The planner likes whoever has most slots free, so with many tasks the liar gets some of them.
    let liar = FakeWorker::start(&market, &desk, 3, Manner::Lying).await;
    let (_, tasks) = market.buy(4, 12).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let liar = liar.wallet.address();
    let mut fined = 0;
    for task in tasks {
        let contribution = market.client.contribution(task, liar).await.unwrap();
        if contribution.status == ContributionStatus::Contributed {
            fined += 1;
            assert!(desk.until(task, "COMPLETED").await.dissent.is_empty());
        }
    }
    // 1 RLC for a task: a contributor's stake is 30 % of it.
    let stake = market.client.account(liar).await.unwrap();
    let lost = Nrlc::new(300_000_000 * fined);
    assert!(fined > 0, "the liar was never let in");
    assert_eq!(
        (stake.stake, stake.locked),
        (Nrlc::from_rlc(1_000).saturating_sub(lost), Nrlc::ZERO)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_program_is_known_at_once_and_refunded_at_the_deadline() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Failing(Blame::App)).await;
    let (_, tasks) = market.buy(1, 2).await;
    for task in &tasks {
        let failure = desk.until(*task, "FAILED").await.failure.unwrap();
        assert_eq!(failure.code, "GM-1001");
        assert!(failure.message.contains("its last words"), "{}", failure.message);
    }
    market.until_all(&tasks, TaskStatus::Active).await;
    market.pass(3_001).await;
    market.until_all(&tasks, TaskStatus::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_leave_or_err_are_replaced() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _leaving = FakeWorker::start(&market, &desk, 3, Manner::Leaving).await;
    let _broken = FakeWorker::start(&market, &desk, 4, Manner::Failing(Blame::Worker)).await;
    desk.until_workers(2).await;
    let (_, tasks) = market.buy(1, 3).await;
    desk.until_workers(1).await;
    let _honest = FakeWorker::start(&market, &desk, 5, Manner::Honest).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finishes_what_was_begun() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let silent = FakeWorker::start(&market, &desk, 3, Manner::Silent).await;
    let (_, tasks) = market.buy(1, 5).await;
    // It has four slots; the fifth task is not begun.
    market.until_all(&tasks[..4], TaskStatus::Active).await;
    desk.handle.shutdown().await;
    drop(silent);

    let desk = market.scheduler(market.config()).await;
    let _honest = FakeWorker::start(&market, &desk, 4, Manner::Honest).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let model = desk.until(tasks[0], "COMPLETED").await;
    assert_eq!(model.replicates.len(), 1, "the silent worker is of another life");
    desk.handle.shutdown().await;
    let kept = market.store.cursor(&format!("scheduler:{}", market.workerpool)).await.unwrap();
    assert!(kept.unwrap().number > 0);

    let desk = market.scheduler(market.config()).await;
    assert!(desk.handle.ready().await);
    assert_eq!(desk.handle.unfinished_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_takes_back_is_done_again() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let silent = FakeWorker::start(&market, &desk, 4, Manner::Silent).await;
    let (_, tasks) = market.buy(1, 2).await;
    market.until_all(&tasks, TaskStatus::Active).await;
    drop(silent);
    desk.until_workers(0).await;
    // The block of the initialisation goes; the deal's stays.
    market.ask("anvil_rollback", json!([1])).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Honest).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_deals_are_served_in_windows() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.open_tasks_max = 7;
    let desk = market.scheduler(config).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Honest).await;
    let (_, tasks) = market.buy(1, 30).await;
    assert!(desk.handle.unfinished_count() <= 7);
    market.until_all(&tasks, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_workers_that_were_let_in_may_upload() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let wallet = Wallet::new(&market.client, market.signer(3)).await.unwrap();
    let mut link = connect(&market, &desk, &wallet).await.unwrap();
    let (_, tasks) = market.buy(1, 1).await;
    let Some(Ok(ToWorker::Assign { task_id, .. })) = link.receiver.recv().await else {
        panic!("the task is assigned");
    };
    assert_eq!(task_id, tasks[0]);
    let uploads = SchedulerClient::new(&desk.origin, market.client.chain_id()).unwrap();
    let zip = tempfile::NamedTempFile::new().unwrap();
    let too_early = uploads.upload_result(task_id, &link.token, zip.path()).await.unwrap_err();
    assert!(too_early.to_string().contains("not allowed"), "{too_early}");
    let guess = uploads.upload_result(task_id, "guess", zip.path()).await.unwrap_err();
    assert!(guess.to_string().contains("invalid authorization"), "{guess}");
    let unknown = TaskId(B256::repeat_byte(9));
    let unknown = uploads.upload_result(unknown, &link.token, zip.path()).await.unwrap_err();
    assert!(unknown.to_string().contains("not found"), "{unknown}");

    // What it says about tasks that are not its own changes nothing.
    let hash = primitives::ResultHash(B256::repeat_byte(1));
    let stranger = TaskId(B256::repeat_byte(8));
    for task_id in [stranger, task_id] {
        let (stdout_tail, stderr_tail) = (String::new(), String::new());
        let said = ToScheduler::Computed { task_id, result_hash: hash, stdout_tail, stderr_tail };
        link.sender.send(&said).await.unwrap();
    }
    let Some(Ok(ToWorker::Contribute { task_id, .. })) = link.receiver.recv().await else {
        panic!("the worker is let in");
    };
    assert!(uploads.upload_result(task_id, &link.token, zip.path()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_chatterers_are_kept_out() {
    let market = Market::open().await;
    let mut config = market.config();
    config.workers = Some([market.signer(3).address()].into());
    config.limits.messages_per_second = 20;
    let desk = market.scheduler(config).await;
    let stranger = Wallet::new(&market.client, market.signer(4)).await.unwrap();
    let refused = connect(&market, &desk, &stranger).await.unwrap_err();
    assert!(
        matches!(&refused, LinkError::Refused(failure) if failure.code == "GM-4204"),
        "{refused}"
    );

    let known = Wallet::new(&market.client, market.signer(3)).await.unwrap();
    let link = connect(&market, &desk, &known).await.unwrap();
    desk.until_workers(1).await;
    let chatter = ToScheduler::Draining {};
    while link.sender.send(&chatter).await.is_ok() {}
    desk.until_workers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_stand_are_renewed_and_are_covered_by_stake() {
    let market = Market::open().await;
    let (book, market_client) = Book::open(market.client.domain()).await;
    // All the stake the test set aside goes away, so that the scheduler has to see to it.
    let owner = market.pool_owner.address();
    let staked = market.client.account(owner).await.unwrap().stake;
    let back = calls::withdraw(market.client.hub(), staked);
    market.pool_owner.execute(back).await.unwrap();
    let config = || {
        let offer = Offer {
            category: CategoryId::new(0),
            trust: U256::from(4),
            price: Nrlc::from_rlc(1),
            volume: 10,
        };
        let dearer = Offer { category: CategoryId::new(1), price: Nrlc::from_rlc(3), ..offer };
        let offers = vec![offer, dearer];
        Config { market: Some(market_client.clone()), offers, ..market.config() }
    };
    let desk = market.scheduler(config()).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Honest).await;
    assert!(desk.handle.ready().await);
    let open = book.until_open(2).await;
    // 30 % of ten tasks at 1 RLC and of ten at 3 RLC.
    let staked = market.client.account(owner).await.unwrap().stake;
    assert_eq!(staked, Nrlc::from_rlc(12));

    let (_, tasks) = market.buy_from(open[0].clone(), 1, 9).await;
    let renewed = book.until_open(3).await;
    assert_eq!((renewed[2].price, renewed[2].volume), (open[0].price, U256::from(10)));
    assert_ne!(renewed[2].salt, open[0].salt);
    market.until_all(&tasks, TaskStatus::Completed).await;
    desk.handle.shutdown().await;

    // The next life takes up what stands and takes out what it does not offer.
    let mut changed = config();
    changed.offers[1].price = Nrlc::from_rlc(2);
    let desk = market.scheduler(changed).await;
    assert!(desk.handle.ready().await);
    let prices: Vec<_> = book.open_orders().iter().map(|order| Nrlc(order.price)).collect();
    assert_eq!(prices.iter().filter(|price| **price == Nrlc::from_rlc(3)).count(), 0);
    assert_eq!(prices.iter().filter(|price| **price == Nrlc::from_rlc(2)).count(), 1);
    assert!(prices.contains(&Nrlc::from_rlc(1)));

    // What it learnt of its workers is said where its offers stand, in the owner's name.
    let (claim, by) = book.until_claim(|claim| claim.total.completed == 9).await;
    assert_eq!((claim.workerpool, by), (market.workerpool, owner));
    assert_eq!(claim.chain_id, market.client.chain_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owners_wallet_may_schedule() {
    let market = Market::open().await;
    let mut config = market.config();
    config.wallet = Wallet::new(&market.client, market.signer(9)).await.unwrap();
    let refused = scheduler::Scheduler::start(config).await.err().unwrap();
    assert!(!refused.is_retryable(), "{refused}");
}
