//! How a worker behaves towards those whose machine and whose programs it has: it gives way, goes in order, and tells what
//! is printed.

use std::path::Path;
use std::time::Duration;

use primitives::TaskId;
use wire::link::{LogStream, ToScheduler, ToWorker};
use worker::{Machine, Policy, WhenIdle};

use crate::market::{Market, Request};
use crate::played::Played;
use crate::work::computed;

async fn returned(played: &mut Played) -> TaskId {
    let right = |word: &ToScheduler| match word {
        ToScheduler::Returned { task_id, .. } => Some(*task_id),
        _ => None,
    };
    played.hear_until(right).await
}

/// A worker that gives way to what the file says, at once.
fn gives_way(file: &Path, patience: Duration) -> Machine {
    let policy = Policy { busy_percent: 20, calm: Duration::ZERO, patience };
    let when_idle = WhenIdle { policy, file: Some(file.to_owned()) };
    Machine { when_idle: Some(when_idle), ..Machine::default() }
}

#[tokio::test]
async fn a_worker_gives_way_to_its_owner_and_comes_back() {
    let mut market = Market::open().await;
    let dir = tempfile::tempdir().unwrap();
    let load = dir.path().join("load");
    std::fs::write(&load, "0").unwrap();
    let machine = gives_way(&load, Duration::ZERO);
    let config = worker::Config { machine, ..market.config(0) };
    let (worker, mut played) = market.start(config).await;
    assert!(played.arrival.capabilities.when_idle);
    let first = market.buy(Request::of("wait")).await;
    played.say(first.assign()).await;

    std::fs::write(&load, "90").unwrap();
    let paused = |word: &ToScheduler| matches!(word, ToScheduler::Paused { .. }).then_some(());
    played.hear_until(paused).await;
    assert_eq!(
        returned(&mut played).await,
        first.task,
        "it was not finished, so it goes elsewhere"
    );
    let second = market.buy(Request::of("echo")).await;
    played.say(second.assign()).await;
    assert_eq!(returned(&mut played).await, second.task, "nothing new is taken");

    std::fs::write(&load, "0").unwrap();
    assert_eq!(played.hear().await, ToScheduler::Resumed {});
    played.say(second.assign()).await;
    computed(&mut played, second.task).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_is_begun_is_finished_while_the_owner_is_patient() {
    let mut market = Market::open().await;
    let dir = tempfile::tempdir().unwrap();
    let load = dir.path().join("load");
    std::fs::write(&load, "0").unwrap();
    let machine = gives_way(&load, Duration::from_secs(100_000));
    let config = worker::Config { machine, ..market.config(0) };
    let (worker, mut played) = market.start(config).await;
    let bought = market.buy(Request::of("wait")).await;
    played.say(bought.assign()).await;
    std::fs::write(&load, "90").unwrap();
    let paused = |word: &ToScheduler| matches!(word, ToScheduler::Paused { .. }).then_some(());
    played.hear_until(paused).await;
    market.may_end.add_permits(1);
    computed(&mut played, bought.task).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_cannot_finish_in_time_hands_back_and_ends() {
    let mut market = Market::open().await;
    let config = worker::Config { drain: Duration::ZERO, ..market.config(0) };
    let (worker, mut played) = market.start(config).await;
    let bought = market.buy(Request::of("wait")).await;
    played.say(bought.assign()).await;
    // The answer to an unknown task comes after the assignment before it was taken in.
    let other = market.buy(Request::of("echo")).await;
    played.say(ToWorker::Reveal { task_id: other.task }).await;
    assert!(matches!(played.hear().await, ToScheduler::Failed { .. }));
    worker.handle.drain();
    assert_eq!(played.hear().await, ToScheduler::Draining {});
    assert_eq!(returned(&mut played).await, bought.task);
    worker.handle.stopped().await;
}

#[tokio::test]
async fn what_a_long_run_prints_is_told_before_it_ends() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let mut request = Request::of("wait");
    request.params = r#"{"iexec_args":"half done"}"#.to_owned();
    let bought = market.buy(request).await;
    played.say(bought.assign()).await;
    let (task_id, text) = played.hear_log().await;
    assert_eq!((task_id, text.as_str()), (bought.task, "half done"));
    market.may_end.add_permits(1);
    computed(&mut played, bought.task).await;
    assert_eq!(played.told, [(LogStream::Stdout, "half done".to_owned())]);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_says_what_it_has() {
    let mut market = Market::open().await;
    let machine = Machine {
        cpus: Some(3),
        memory_bytes: Some(5 << 30),
        disk_bytes: Some(7 << 30),
        gpus: vec!["acme.example/gpu=0".to_owned()],
        region: Some("eu-west".to_owned()),
        host: Some("mill".to_owned()),
        price_floor: primitives::Nrlc::new(9),
        ..Machine::default()
    };
    let config = worker::Config { machine, ..market.config(0) };
    let (worker, mut played) = market.start(config).await;
    let told = played.arrival.capabilities.clone();
    assert_eq!((told.cpus, told.memory_bytes, told.disk_bytes), (3, 5 << 30, 7 << 30));
    assert_eq!((told.region.as_deref(), told.host.as_deref()), (Some("eu-west"), Some("mill")));
    assert_eq!((told.gpus.len(), told.price_floor_nrlc, told.when_idle), (1, 9, false));
    assert_eq!(told.images, [""; 0]);

    let bought = market.buy(Request::of("echo")).await;
    played.say(bought.assign()).await;
    computed(&mut played, bought.task).await;
    assert_eq!(played.warm, ["/ipfs/echo"], "what was fetched once is at hand");
    worker.stop().await;
}
