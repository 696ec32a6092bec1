//! Many tasks with one transaction, and what happens when that does not work.

use alloy_primitives::B256;
use chain::TaskStatus;
use primitives::TaskId;
use serde_json::json;
use wire::scheduler::{DatedStatus, TaskModel};

use crate::fake_worker::{FakeWorker, Manner};
use crate::market::Market;

#[tokio::test(flavor = "multi_thread")]
async fn a_bag_needs_no_transaction_of_the_scheduler_and_few_of_the_worker() {
    let market = Market::open().await;
    assert!(market.client.has_settle().await);
    let desk = market.scheduler(market.config()).await;
    let pool_owner = market.pool_owner.address();
    let worker = FakeWorker::start(&market, &desk, 3, Manner::Settling).await;
    let before = (market.sent_by(pool_owner).await, market.sent_by(worker.wallet.address()).await);
    let (_, tasks) = market.buy(1, 150).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let after = (market.sent_by(pool_owner).await, market.sent_by(worker.wallet.address()).await);
    assert_eq!(after.0, before.0, "nothing had to be initialised");
    assert!(after.1 - before.1 < 150, "{} transactions", after.1 - before.1);

    let model = desk.until(tasks[149], "COMPLETED").await;
    let words: Vec<_> = model.date_status_list.iter().map(|dated| dated.status.as_str()).collect();
    assert_eq!(words, ["RECEIVED", "INITIALIZED", "CONSENSUS_REACHED", "COMPLETED"]);
    assert!(model.result_link.unwrap().starts_with("/ipfs/Qm"));
    let replicate = &model.replicates[0];
    assert_eq!(replicate.app_exit_code, Some(0));
    let words = replicate.status_update_list.iter().map(|update| update.status.as_str());
    let words: Vec<_> = words.collect();
    let all = ["COMPUTING", "COMPUTED", "CONTRIBUTING", "CONTRIBUTED", "REVEALED", "COMPLETED"];
    assert_eq!((replicate.current_status.as_str(), words), ("COMPLETED", all.to_vec()));
    assert_eq!((desk.handle.unfinished_count(), model.waiting_for), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_settled_together_goes_one_by_one() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Unsettling).await;
    let (_, tasks) = market.buy(1, 10).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_settles_what_one_left_behind_while_replication_goes_on() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _leaving = FakeWorker::start(&market, &desk, 3, Manner::LeavingUnsettled).await;
    desk.until_workers(1).await;
    let (_, alone) = market.buy(1, 3).await;
    desk.until_workers(0).await;
    let (_, together) = market.buy(4, 3).await;
    let _old = FakeWorker::start(&market, &desk, 4, Manner::Honest).await;
    let _new = FakeWorker::start(&market, &desk, 5, Manner::Settling).await;
    market.until_all(&alone, TaskStatus::Completed).await;
    market.until_all(&together, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_bag_loses_nothing() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let worker = FakeWorker::start(&market, &desk, 3, Manner::Settling).await;
    let (_, tasks) = market.buy(1, 100).await;
    market.until_all(&tasks[..1], TaskStatus::Completed).await;
    desk.handle.shutdown().await;
    drop(worker);

    let desk = market.scheduler(market.config()).await;
    let _another = FakeWorker::start(&market, &desk, 4, Manner::Settling).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
    let told = desk.until(tasks[99], "COMPLETED").await;
    desk.handle.shutdown().await;

    // Whoever asks a scheduler that begins anew hears the same of what has ended.
    let desk = market.scheduler(market.config()).await;
    assert!(desk.handle.ready().await);
    let again = desk.client.task(tasks[99]).await.unwrap().unwrap();
    let words = |model: &TaskModel| -> Vec<_> {
        let word = |it: &DatedStatus| (it.status.clone(), it.chain_receipt.clone());
        model.date_status_list.iter().map(word).collect()
    };
    assert_eq!(words(&again), words(&told));
    assert_eq!((again.result_link, again.consensus), (told.result_link, told.consensus));
    assert_eq!(again.replicates[0].wallet_address, told.replicates[0].wallet_address);
    let logs = desk.client.logs(tasks[99], &market.signer(1)).await.unwrap();
    assert_eq!(logs.compute_logs_list[0].stdout, "it says hello", "what was printed is kept");
    let unknown = desk.client.task(TaskId(B256::repeat_byte(9))).await.unwrap();
    assert_eq!(unknown, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_the_chain_takes_back_is_made_again() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Settling).await;
    let (_, tasks) = market.buy(1, 1).await;
    desk.until(tasks[0], "COMPLETED").await;
    market.ask("anvil_rollback", json!([1])).await;
    market.until_all(&tasks, TaskStatus::Unset).await;
    // Another branch shows itself by its blocks.
    market.pass(1).await;
    market.until_all(&tasks, TaskStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requester_alone_reads_what_a_program_printed() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let _worker = FakeWorker::start(&market, &desk, 3, Manner::Settling).await;
    let (_, tasks) = market.buy(1, 1).await;
    let model = desk.until(tasks[0], "COMPLETED").await;
    assert!(model.replicates[0].app_logs.is_some());
    let logs = desk.client.logs(tasks[0], &market.signer(1)).await.unwrap();
    assert_eq!(logs.compute_logs_list[0].stdout, "it says hello");
    let stranger = desk.client.logs(tasks[0], &market.signer(2)).await.unwrap_err();
    assert_eq!(stranger.refusal(), Some("not allowed"));
}
