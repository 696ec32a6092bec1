//! From the assignment to the end.

use alloy_primitives::Address;
use chain::{ContributionStatus, TaskStatus};
use primitives::{ResultHash, TaskId};
use verdict::result_hash;
use wire::link::{ToScheduler, ToWorker};

use crate::market::{Market, Request, digest_of};
use crate::played::{Played, location};

pub(crate) async fn computed(played: &mut Played, task: TaskId) -> ResultHash {
    let right = |word: &ToScheduler| match word {
        ToScheduler::Computed { task_id, result_hash, .. } if *task_id == task => {
            Some(*result_hash)
        }
        _ => None,
    };
    played.hear_until(right).await
}

pub(crate) async fn contributed(played: &mut Played) {
    let right = |word: &ToScheduler| matches!(word, ToScheduler::Contributed { .. }).then_some(());
    played.hear_until(right).await;
}

pub(crate) async fn uploaded(played: &mut Played) -> String {
    let right = |word: &ToScheduler| match word {
        ToScheduler::Uploaded { location, .. } => Some(location.clone()),
        _ => None,
    };
    played.hear_until(right).await
}

#[tokio::test]
async fn at_trust_1_one_worker_computes_uploads_and_ends_the_task() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    assert!(worker.handle.connected().await);
    assert_eq!(played.arrival.capabilities.slots, 2);
    let mut request = Request::of("echo");
    request.params = r#"{"iexec_args":"hello","iexec_input_files":["/ipfs/text"]}"#.to_owned();
    let bought = market.buy(request).await;

    played.say(bought.assign()).await;
    let digest = digest_of("hello world");
    assert_eq!(computed(&mut played, bought.task).await, result_hash(bought.task, digest));

    market.initialize(&bought).await;
    played.say(market.contribute(&bought, worker.handle.address())).await;
    contributed(&mut played).await;
    let task = market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
    assert_eq!(task.digest, digest);
    let location = location(bought.task);
    let results = format!(r#"{{ "storage": "ipfs", "location": "{location}" }}"#);
    assert_eq!(task.results, results.into_bytes());
    let zip = market.doors.uploads.lock().await.get(&bought.task).cloned().unwrap();
    assert!(zip.starts_with(b"PK"));

    let results = market.worker_dir(0).join("results");
    let left = async || std::fs::read_dir(&results).unwrap().count();
    assert_eq!(left().await, 1);
    played.say(ToWorker::Release { task_id: bought.task }).await;
    market.when(left, |count| *count == 0).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_a_contract_receives_is_not_uploaded() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let callback = Address::repeat_byte(0xca);
    let bought = market.buy(Request { callback, ..Request::of("call") }).await;
    market.initialize(&bought).await;
    played.say(bought.assign()).await;
    computed(&mut played, bought.task).await;
    played.say(market.contribute(&bought, worker.handle.address())).await;
    let task = market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
    let results = format!(r#"{{ "storage": "ethereum", "location": "{callback}" }}"#);
    assert_eq!(task.results, results.into_bytes());
    assert_eq!(task.results_callback.to_vec(), [0xc0, 0xff, 0xee]);
    assert!(market.doors.uploads.lock().await.is_empty());
}

/// The official client registers every app as DOCKER.
#[tokio::test]
async fn webassembly_that_is_registered_as_an_image_runs_all_the_same() {
    let mut market = Market::open().await;
    let (_worker, mut played) = market.worker(0).await;
    assert!(played.arrival.capabilities.runtimes.contains(&"docker".to_owned()));
    let module = Request { kind: "DOCKER", ..Request::of("module") };
    let checksum = Some(digest_of("\0asm").0);
    let bought = market.buy(Request { checksum, ..module }).await;
    played.say(bought.assign()).await;
    let hash = computed(&mut played, bought.task).await;
    assert_eq!(hash, result_hash(bought.task, digest_of("hello")));
    // The same file under another app's checksum, though it is here already.
    let params = r#"{"iexec_args":"other"}"#.to_owned();
    let module = Request { kind: "DOCKER", params, ..Request::of("module") };
    let checksum = Some(digest_of("another module").0);
    let other = market.buy(Request { checksum, ..module }).await;
    played.say(other.assign()).await;
    let ToScheduler::Failed { failure, .. } = played.hear().await else {
        panic!("it is not what that app registered")
    };
    assert_eq!(failure.failure.code, "GM-4211");
}

#[tokio::test]
async fn an_image_is_fetched_once_and_pinned_by_its_checksum() {
    let mut market = Market::open().await;
    let config = market.config_with_containers(0);
    let (_worker, mut played) = market.start(config).await;
    assert!(played.arrival.capabilities.runtimes.contains(&"oci".to_owned()));
    for pin in [alloy_primitives::B256::repeat_byte(1), alloy_primitives::B256::repeat_byte(2)] {
        let image = Request { kind: "DOCKER", checksum: Some(pin), ..Request::of("text") };
        // Another app each time: apps are told apart by their names, too.
        let params = format!(r#"{{"iexec_args":"{pin}"}}"#);
        let bought = market.buy(Request { params, ..image }).await;
        played.say(bought.assign()).await;
        let hash = computed(&mut played, bought.task).await;
        assert_eq!(hash, result_hash(bought.task, digest_of(&pin.to_string())));
    }
    assert_eq!(*market.doors.asked.lock().await, ["text"]);
}

#[tokio::test]
async fn a_bag_fetches_its_program_and_its_inputs_once() {
    const SIZE: u64 = 40;
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let params = r#"{"iexec_input_files":["/ipfs/text","/ipfs/text"]}"#.to_owned();
    let bag = market.buy(Request { params, size: SIZE, ..Request::of("wait") }).await.bag(SIZE);
    for bought in &bag {
        played.say(bought.assign()).await;
    }
    market.initialize_all(&bag).await;
    market.may_end.add_permits(bag.len());
    for _ in &bag {
        let ToScheduler::Computed { task_id, result_hash: hash, .. } = played.hear().await else {
            panic!("nothing fails, and nothing else is said before a contribution is allowed")
        };
        assert_eq!(hash, result_hash(task_id, digest_of(" world world")));
    }
    for bought in &bag {
        played.say(market.contribute(bought, worker.handle.address())).await;
    }
    for bought in &bag {
        market.task_when(bought.task, |task| task.status == TaskStatus::Completed).await;
    }
    let mut asked = market.doors.asked.lock().await.clone();
    asked.sort();
    assert_eq!(asked, ["text", "wait"]);
}

#[tokio::test]
async fn at_trust_4_two_workers_stake_agree_and_reveal() {
    let mut market = Market::open().await;
    let mut workers = Vec::new();
    for number in 0..2 {
        let (running, played) = market.worker(number).await;
        // They start without any stake and have to see to it themselves.
        market.pay(running.handle.address()).await;
        workers.push((running, played));
    }
    let bought = market.buy(Request { trust: 4, ..Request::of("echo") }).await;
    market.initialize(&bought).await;
    for (running, played) in &mut workers {
        played.say(bought.assign()).await;
        let hash = computed(played, bought.task).await;
        assert_eq!(hash, result_hash(bought.task, digest_of("hello")));
        played.say(market.contribute(&bought, running.handle.address())).await;
        contributed(played).await;
    }
    market.task_when(bought.task, |task| task.status == TaskStatus::Revealing).await;
    for (running, played) in &mut workers {
        played.say(ToWorker::Reveal { task_id: bought.task }).await;
        assert_eq!(uploaded(played).await, location(bought.task));
        let address = running.handle.address();
        let look = async || market.client.contribution(bought.task, address).await.unwrap();
        market.when(look, |seen| seen.status == ContributionStatus::Proved).await;
    }
}

#[tokio::test]
async fn a_liar_says_another_hash() {
    let mut market = Market::open().await;
    let config = worker::Config { lie: true, ..market.config(0) };
    let (_liar, mut played) = market.start(config).await;
    let bought = market.buy(Request::of("echo")).await;
    played.say(bought.assign()).await;
    let hash = computed(&mut played, bought.task).await;
    assert_ne!(hash, result_hash(bought.task, digest_of("hello")));
}

#[tokio::test]
async fn a_lost_connection_does_not_stop_a_computation() {
    let mut market = Market::open().await;
    let (_worker, played) = market.worker(0).await;
    let bought = market.buy(Request::of("wait")).await;
    played.say(bought.assign()).await;
    let waiting = async || market.may_end.available_permits();
    // One run at a time takes a permit, so that none is left says that it has ended.
    market.may_end.add_permits(1);
    market.when(waiting, |permits| *permits == 0).await;
    drop(played);
    let mut again = market.arrival().await;
    let hash = computed(&mut again, bought.task).await;
    assert_eq!(hash, result_hash(bought.task, digest_of("hello")));
}

#[tokio::test]
async fn a_task_assigned_twice_runs_once_and_is_answered_twice() {
    let mut market = Market::open().await;
    let (_worker, mut played) = market.worker(0).await;
    let bought = market.buy(Request::of("wait")).await;
    played.say(bought.assign()).await;
    played.say(bought.assign()).await;
    market.may_end.add_permits(2);
    let first = computed(&mut played, bought.task).await;
    played.say(bought.assign()).await;
    assert_eq!(computed(&mut played, bought.task).await, first);
    assert_eq!(market.may_end.available_permits(), 1);
}

#[tokio::test]
async fn a_draining_worker_finishes_what_it_has_and_ends() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let (first, second) =
        (market.buy(Request::of("wait")).await, market.buy(Request::of("echo")).await);
    played.say(first.assign()).await;
    // The answer to an unknown task comes after the assignment before it was taken in.
    played.say(ToWorker::Reveal { task_id: second.task }).await;
    assert!(matches!(played.hear().await, ToScheduler::Failed { .. }));
    worker.handle.drain();
    assert_eq!(played.hear().await, ToScheduler::Draining {});
    played.say(second.assign()).await;
    let ToScheduler::Returned { task_id, .. } = played.hear().await else {
        panic!("a draining worker takes nothing new")
    };
    assert_eq!(task_id, second.task);
    market.may_end.add_permits(1);
    computed(&mut played, first.task).await;
    assert!(worker.handle.is_connected());
    played.say(ToWorker::Release { task_id: first.task }).await;
    worker.handle.stopped().await;
}
