//! What is promised on the chain outlives the process.

use chain::{ContributionStatus, TaskStatus};
use wire::link::ToWorker;

use crate::market::{Bought, Market, Request, Running, digest_of};
use crate::played::{Played, location};
use crate::work::{computed, contributed, uploaded};

/// After that a worker that is not asked to reveal does not wait any more.
const PATIENCE_SECONDS: u64 = 61;
const REMEMBERED_SECONDS: u64 = 301;

/// A worker that has contributed to a task of trust 4, which needs one more.
async fn contributed_once(market: &mut Market) -> (Running, Played, Bought) {
    let (worker, mut played) = market.worker(0).await;
    let address = worker.handle.address();
    market.pay(address).await;
    let bought = market.buy(Request { trust: 4, ..Request::of("echo") }).await;
    market.initialize(&bought).await;
    played.say(bought.assign()).await;
    computed(&mut played, bought.task).await;
    played.say(market.contribute(&bought, address)).await;
    contributed(&mut played).await;
    market.task_when(bought.task, |task| task.contributors.contains(&address)).await;
    (worker, played, bought)
}

async fn proved(market: &Market, bought: &Bought) {
    let worker = market.worker_key(0).address();
    let look = async || market.client.contribution(bought.task, worker).await.unwrap();
    market.when(look, |seen| seen.status == ContributionStatus::Proved).await;
}

/// Nothing is forgotten before no reorganisation can bring it up again, and then everything is.
async fn forgets(market: &Market) {
    let address = market.worker_key(0).address();
    let journal = async || market.store.work_of(address).await.unwrap();
    assert_eq!(journal().await.len(), 1);
    let forgotten = async || {
        market.pass(REMEMBERED_SECONDS / 4).await;
        journal().await
    };
    market.when(forgotten, Vec::is_empty).await;
}

#[tokio::test]
async fn a_restarted_worker_reveals_and_uploads() {
    let mut market = Market::open().await;
    let (worker, played, bought) = contributed_once(&mut market).await;
    worker.stop().await;
    drop(played);
    let (worker, mut played) = market.worker(0).await;
    assert_eq!(played.arrival.holding, [bought.task]);

    market.contribute_as(1, &bought, digest_of("hello")).await;
    market.task_when(bought.task, |task| task.status == TaskStatus::Revealing).await;
    played.say(ToWorker::Reveal { task_id: bought.task }).await;
    assert_eq!(uploaded(&mut played).await, location(bought.task));
    proved(&market, &bought).await;

    // Once more after the reveal: there is nothing to reveal any more, but the result can be had.
    worker.stop().await;
    let (_worker, mut played) = market.worker(0).await;
    assert_eq!(played.arrival.holding, [bought.task]);
    market.doors.uploads.lock().await.clear();
    played.say(ToWorker::Reveal { task_id: bought.task }).await;
    assert_eq!(uploaded(&mut played).await, location(bought.task));
    assert!(market.doors.uploads.lock().await.contains_key(&bought.task));
}

#[tokio::test]
async fn a_lone_result_that_was_on_its_way_is_not_computed_again() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let address = worker.handle.address();
    let bought = market.buy(Request::of("echo")).await;
    market.initialize(&bought).await;
    played.say(bought.assign()).await;
    computed(&mut played, bought.task).await;
    let doors = std::sync::Arc::clone(&market.doors);
    let storage = doors.storage.lock().await;
    played.say(market.contribute(&bought, address)).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, |rows| rows.len() == 1).await;
    worker.stop().await;
    drop((storage, played));

    let (_worker, mut played) = market.worker(0).await;
    assert_eq!(played.arrival.holding, [bought.task]);
    computed(&mut played, bought.task).await;
    played.say(market.contribute(&bought, address)).await;
    contributed(&mut played).await;
    market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, Vec::is_empty).await;
}

#[tokio::test]
async fn a_restart_forgets_what_is_decided() {
    let mut market = Market::open().await;
    let (worker, _played, bought) = contributed_once(&mut market).await;
    worker.stop().await;
    // The others agree on something else: four of them outweigh this one at that trust.
    for number in 1..5 {
        market.contribute_as(number, &bought, digest_of("goodbye")).await;
    }
    market.task_when(bought.task, |task| task.status == TaskStatus::Revealing).await;
    let (_worker, played) = market.worker(0).await;
    assert!(played.arrival.holding.is_empty());
    forgets(&market).await;
    assert_eq!(std::fs::read_dir(market.worker_dir(0).join("results")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_task_released_too_early_is_revealed_all_the_same() {
    let mut market = Market::open().await;
    let (_worker, played, bought) = contributed_once(&mut market).await;
    played.say(ToWorker::Release { task_id: bought.task }).await;
    market.contribute_as(1, &bought, digest_of("hello")).await;
    proved(&market, &bought).await;
    forgets(&market).await;
}

/// As after a reorganisation that brought a contribution back once the scheduler had let go of the task.
#[tokio::test]
async fn a_task_released_too_early_is_brought_when_it_is_asked_for() {
    let mut market = Market::open().await;
    let (_worker, mut played, bought) = contributed_once(&mut market).await;
    played.say(ToWorker::Release { task_id: bought.task }).await;
    market.contribute_as(1, &bought, digest_of("hello")).await;
    proved(&market, &bought).await;
    played.say(ToWorker::Reveal { task_id: bought.task }).await;
    assert_eq!(uploaded(&mut played).await, location(bought.task));
}

#[tokio::test]
async fn who_is_never_asked_reveals_all_the_same() {
    let mut market = Market::open().await;
    let (_worker, mut played, bought) = contributed_once(&mut market).await;
    market.contribute_as(1, &bought, digest_of("hello")).await;
    market.pass(PATIENCE_SECONDS).await;
    proved(&market, &bought).await;
    // The scheduler wakes up.
    played.say(ToWorker::Reveal { task_id: bought.task }).await;
    assert_eq!(uploaded(&mut played).await, location(bought.task));
}

/// A worker that has revealed, and let go of the task.
async fn revealed_once(market: &mut Market) -> (Running, Played, Bought) {
    let (worker, mut played, bought) = contributed_once(market).await;
    market.contribute_as(1, &bought, digest_of("hello")).await;
    market.task_when(bought.task, |task| task.status == TaskStatus::Revealing).await;
    played.say(ToWorker::Reveal { task_id: bought.task }).await;
    assert_eq!(uploaded(&mut played).await, location(bought.task));
    proved(market, &bought).await;
    played.say(ToWorker::Release { task_id: bought.task }).await;
    (worker, played, bought)
}

/// Takes the newest block back, which has the reveal; blocks after it prove that something was revealed anew.
async fn take_the_reveal_back(market: &Market) -> u64 {
    let height = market.client.head().await.unwrap().number;
    market.take_back(1).await;
    height
}

async fn revealed_anew(market: &Market, bought: &Bought, height: u64) {
    proved(market, bought).await;
    let head = market.client.head().await.unwrap();
    assert!(head.number > height, "the reveal is in a block of its own: {head:?}");
}

#[tokio::test]
async fn a_reveal_that_a_reorganisation_takes_back_is_made_again() {
    let mut market = Market::open().await;
    let (_worker, _played, bought) = revealed_once(&mut market).await;
    let height = take_the_reveal_back(&market).await;
    revealed_anew(&market, &bought, height).await;
    forgets(&market).await;
}

#[tokio::test]
async fn so_is_one_that_was_taken_back_while_the_worker_was_away() {
    let mut market = Market::open().await;
    let (worker, played, bought) = revealed_once(&mut market).await;
    worker.stop().await;
    drop(played);
    let height = take_the_reveal_back(&market).await;
    let (_worker, _played) = market.worker(0).await;
    market.pass(PATIENCE_SECONDS).await;
    revealed_anew(&market, &bought, height + 1).await;
}
