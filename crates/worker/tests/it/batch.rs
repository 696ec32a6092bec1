//! Many tasks of a deal, settled with one transaction.

use std::collections::HashSet;

use alloy_primitives::B256;
use chain::TaskStatus;
use primitives::TaskId;
use wire::link::{ToScheduler, ToWorker};

use crate::market::{Bought, Market, Request, Running, digest_of};
use crate::played::{Played, location};
use crate::work::{computed, contributed};

const SIZE: u64 = 12;

/// A worker that has computed every task of a bag, and nothing is initialised.
async fn computed_bag(market: &mut Market) -> (Running, Played, Vec<Bought>) {
    let (worker, mut played) = market.worker(0).await;
    assert!(played.arrival.capabilities.settles);
    let bag = market.buy(Request { size: SIZE, ..Request::of("echo") }).await.bag(SIZE);
    for bought in &bag {
        played.say(bought.assign()).await;
        computed(&mut played, bought.task).await;
    }
    (worker, played, bag)
}

async fn unsettled(played: &mut Played) -> (Vec<TaskId>, String) {
    let right = |word: &ToScheduler| match word {
        ToScheduler::Unsettled { task_ids, reason } => Some((task_ids.clone(), reason.clone())),
        _ => None,
    };
    played.hear_until(right).await
}

fn ids(bag: &[Bought]) -> Vec<TaskId> {
    bag.iter().map(|bought| bought.task).collect()
}

/// All of it is paid, by one transaction, with results that can be had.
async fn is_settled(market: &Market, played: &mut Played, bag: &[Bought]) {
    let mut transactions = HashSet::new();
    let mut tasks = HashSet::new();
    while tasks.len() < bag.len() {
        let right = |word: &ToScheduler| match word {
            ToScheduler::Contributed { task_id, tx_hash } => Some((*task_id, *tx_hash)),
            _ => None,
        };
        let (task, tx) = played.hear_until(right).await;
        tasks.insert(task);
        transactions.insert(tx);
    }
    assert_eq!(transactions.len(), 1);
    for bought in bag {
        let task = market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
        assert_eq!(task.digest, digest_of("hello"));
        let location = location(bought.task);
        let results = format!(r#"{{ "storage": "ipfs", "location": "{location}" }}"#);
        assert_eq!(task.results, results.into_bytes());
        assert!(market.doors.uploads.lock().await.contains_key(&bought.task));
    }
}

#[tokio::test]
async fn a_bag_is_settled_with_one_transaction() {
    let mut market = Market::open().await;
    let (worker, mut played, bag) = computed_bag(&mut market).await;
    let address = worker.handle.address();
    played.say(market.settle(&bag, address)).await;
    is_settled(&market, &mut played, &bag).await;
    // Asked again it is said again, and nothing is sent.
    played.say(market.settle(&bag, address)).await;
    contributed(&mut played).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, Vec::is_empty).await;
}

#[tokio::test]
async fn a_batch_that_the_chain_refuses_leaves_each_task_to_itself() {
    let mut market = Market::open().await;
    let (worker, mut played, bag) = computed_bag(&mut market).await;
    let address = worker.handle.address();
    // Authorised for another worker.
    let other = market.worker_key(1).address();
    played.say(market.settle(&bag, other)).await;
    assert_eq!(unsettled(&mut played).await.0, ids(&bag));
    assert!(market.store.work_of(address).await.unwrap().is_empty());
    market.initialize_all(&bag[..1]).await;
    played.say(market.contribute(&bag[0], address)).await;
    market.task_when(bag[0].task, |task| task.status == TaskStatus::Completed).await;
}

#[tokio::test]
async fn a_batch_of_what_the_worker_does_not_have_is_not_begun() {
    let mut market = Market::open().await;
    let (worker, mut played, bag) = computed_bag(&mut market).await;
    let stranger = Bought { task: TaskId(B256::repeat_byte(9)), ..bag[0] };
    let with_stranger = [bag[0], stranger];
    played.say(market.settle(&with_stranger, worker.handle.address())).await;
    let (tasks, reason) = unsettled(&mut played).await;
    assert_eq!(tasks, ids(&with_stranger));
    assert!(reason.contains(&stranger.task.to_string()), "{reason}");
    let ToWorker::Settle { deal_id, authorization, .. } =
        market.settle(&bag, worker.handle.address())
    else {
        unreachable!("that is what settle makes")
    };
    played.say(ToWorker::Settle { deal_id, task_ids: vec![], authorization }).await;
    assert_eq!(unsettled(&mut played).await.0, []);
}

#[tokio::test]
async fn what_a_restart_interrupts_is_settled_after_it() {
    let mut market = Market::open().await;
    let (worker, played, bag) = computed_bag(&mut market).await;
    let address = worker.handle.address();
    let doors = std::sync::Arc::clone(&market.doors);
    let storage = doors.storage.lock().await;
    played.say(market.settle(&bag, address)).await;
    let journal = async || market.store.work_of(address).await.unwrap();
    market.when(journal, |rows| rows.len() == bag.len()).await;
    worker.stop().await;
    drop(storage);

    let (_worker, mut played) = market.worker(0).await;
    let held: HashSet<_> = played.arrival.holding.iter().copied().collect();
    assert_eq!(held, ids(&bag).into_iter().collect());
    let mut said = HashSet::new();
    while said.len() < bag.len() {
        let right = |word: &ToScheduler| match word {
            ToScheduler::Computed { task_id, .. } => Some(*task_id),
            _ => None,
        };
        said.insert(played.hear_until(right).await);
    }
    assert_eq!(said, held);
    played.say(market.settle(&bag, address)).await;
    is_settled(&market, &mut played, &bag).await;
}
