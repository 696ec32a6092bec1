//! What programs print, told while they run, and kept over a restart.

use chain::Wallet;
use futures::StreamExt;
use futures::stream::BoxStream;
use primitives::{ResultHash, TaskId};
use wire::ClientError;
use wire::link::{LogStream, ToScheduler, ToWorker};
use wire::scheduler::{LogNews, LogPiece};

use crate::fake_worker::connect;
use crate::market::{Desk, Market, PATIENCE};

type Feed = BoxStream<'static, Result<LogNews, ClientError>>;

async fn next(feed: &mut Feed) -> LogPiece {
    loop {
        let news = tokio::time::timeout(PATIENCE, feed.next()).await.expect("news in time");
        match news.expect("more news").unwrap() {
            LogNews::Piece(piece) => return piece,
            LogNews::Alive => {}
            LogNews::End { status } => panic!("it has ended: {status}"),
        }
    }
}

async fn follow(market: &Market, desk: &Desk, task: TaskId, after: u64) -> Feed {
    desk.client.follow_logs(task, &market.signer(1), after).await.unwrap()
}

fn printed(task_id: TaskId, text: &str) -> ToScheduler {
    let (text, stream) = (text.to_owned(), LogStream::Stdout);
    ToScheduler::Log { task_id, stream, text, missed: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requester_follows_a_run_over_a_restart_of_its_scheduler() {
    let market = Market::open().await;
    let desk = market.scheduler(market.config()).await;
    let wallet = Wallet::new(&market.client, market.signer(3)).await.unwrap();
    let mut link = connect(&market, &desk, &wallet).await.unwrap();
    assert_eq!(link.revision, wire::link::REVISION);
    let (_, tasks) = market.buy(1, 1).await;
    let Some(Ok(ToWorker::Assign { task_id, .. })) = link.receiver.recv().await else {
        panic!("the task is assigned");
    };
    let stranger = desk.client.follow_logs(task_id, &market.signer(2), 0).await;
    assert_eq!(stranger.err().unwrap().refusal(), Some("not allowed"));

    let mut feed = follow(&market, &desk, task_id, 0).await;
    link.sender.send(&printed(task_id, "one ")).await.unwrap();
    let one = next(&mut feed).await;
    assert_eq!((one.text.as_str(), one.worker), ("one ", wallet.address()));
    link.sender.send(&printed(task_id, "two ")).await.unwrap();
    assert_eq!(next(&mut feed).await.text, "two ", "as it comes");
    drop((feed, link));
    desk.handle.shutdown().await;

    let desk = market.scheduler(market.config()).await;
    assert!(desk.handle.ready().await);
    let mut link = connect(&market, &desk, &wallet).await.unwrap();
    assert!(matches!(link.receiver.recv().await, Some(Ok(ToWorker::Assign { .. }))));
    let mut feed = follow(&market, &desk, task_id, one.seq).await;
    assert_eq!(next(&mut feed).await.text, "two ", "from where the reader was");
    link.sender.send(&printed(task_id, "three")).await.unwrap();
    assert_eq!(next(&mut feed).await.text, "three");
    let logs = desk.client.logs(tasks[0], &market.signer(1)).await.unwrap();
    assert_eq!(logs.compute_logs_list.len(), 1);
    assert_eq!(logs.compute_logs_list[0].stdout, "one two three", "the official answer has all");

    // The tail that comes with the result was told already, so it is not told twice.
    let said = ToScheduler::Computed {
        task_id,
        result_hash: ResultHash(alloy_primitives::B256::repeat_byte(1)),
        stdout_tail: "three".to_owned(),
        stderr_tail: "a word beside".to_owned(),
    };
    link.sender.send(&said).await.unwrap();
    let beside = next(&mut feed).await;
    assert_eq!((beside.stream, beside.text.as_str()), (LogStream::Stderr, "a word beside"));
}
