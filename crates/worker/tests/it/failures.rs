//! What goes wrong, and how the scheduler is told.

use alloy_primitives::{Address, B256};
use expect_test::{Expect, expect};
use wire::link::{ToScheduler, ToWorker};

use crate::market::{Market, Request};
use crate::played::Played;

async fn failure(played: &mut Played) -> String {
    let ToScheduler::Failed { failure, .. } = played.hear().await else {
        panic!("a failure is what comes")
    };
    let code = failure.exit_code.map(|code| format!(" exit {code}")).unwrap_or_default();
    let stderr = failure.stderr_tail;
    let message = failure.failure.message.replace("127.0.0.1", "gateway");
    format!("{} {:?}{code} {stderr}\n{message}", failure.failure.code, failure.blame)
}

#[tokio::test]
async fn each_failure_is_named_and_blamed() {
    let mut market = Market::open().await;
    let (_worker, mut played) = market.worker(0).await;
    let with_params = |params: &str| Request { params: params.to_owned(), ..Request::of("echo") };
    let cases: Vec<(Request, Expect)> = vec![
        (
            Request { kind: "SCONE", ..Request::of("echo") },
            expect![[r#"
                GM-4212 App 
                apps of kind 'SCONE' do not run here; WASM and DOCKER do"#]],
        ),
        (
            Request { kind: "DOCKER", ..Request::of("echo") },
            expect![[r#"
            GM-4160 Worker 
            containers do not run here: nothing to run them was found at the start"#]],
        ),
        (
            Request { multiaddr: "/ipfs/gone".to_owned(), ..Request::of("other") },
            expect![[r#"
                GM-4210 App 
                the program cannot be fetched from /ipfs/gone: the host answers with status 404"#]],
        ),
        (
            Request { checksum: Some(B256::repeat_byte(1)), ..Request::of("echo") },
            expect![[r#"
                GM-4211 App 
                the program fetched from /ipfs/echo is not the one that was registered: its SHA-256 is 0x092c79e8f80e559e404bcf660c48f3522b67aba9ff1484b0367e1a4ddef7431d"#]],
        ),
        (
            Request::of("fail"),
            expect![[r#"
                GM-4116 App exit 3 no luck
                the program exited with code 3"#]],
        ),
        (
            Request { callback: Address::repeat_byte(0xca), ..Request::of("echo") },
            expect![[r#"
                GM-4227 App 
                the deal has a callback, and the program gave no callback-data"#]],
        ),
        (
            with_params(r#"{"iexec_result_encryption":true}"#),
            expect![[r#"
                GM-4213 Input 
                the deal asks for what this worker does not have: an encrypted result (iexec_result_encryption)"#]],
        ),
        (
            with_params(r#"{"iexec_input_files":["http://169.254.169.254/latest/meta-data"]}"#),
            expect![[r#"
                GM-4215 Input 
                the input http://169.254.169.254/latest/meta-data cannot be fetched: it does not lead to a public address"#]],
        ),
        (
            with_params(r#"{"iexec_input_files":["/ipfs/nothing"]}"#),
            expect![[r#"
                GM-4214 Input 
                the input /ipfs/nothing cannot be fetched: the host answers with status 404"#]],
        ),
        (
            with_params(r#"{"iexec_args":"'open"}"#),
            expect![[r#"
                GM-4130 Input 
                the arguments cannot be used: a ' quote that opens at character 1 of the arguments is never closed"#]],
        ),
    ];
    for (request, expected) in cases {
        let bought = market.buy(request).await;
        played.say(bought.assign()).await;
        expected.assert_eq(&failure(&mut played).await);
    }
}

#[tokio::test]
async fn a_scheduler_is_believed_only_as_far_as_the_chain_goes() {
    let mut market = Market::open().await;
    let (_worker, mut played) = market.worker(0).await;
    let (first, second) =
        (market.buy(Request::of("echo")).await, market.buy(Request::of("echo")).await);
    played
        .say(ToWorker::Assign { task_id: first.task, deal_id: second.deal, index: 0, tee: None })
        .await;
    assert!(failure(&mut played).await.starts_with("GM-4219 Worker"));
    played
        .say(ToWorker::Assign { task_id: first.task, deal_id: first.deal, index: 1, tee: None })
        .await;
    assert!(failure(&mut played).await.starts_with("GM-4219 Worker"));
    played.say(ToWorker::Reveal { task_id: first.task }).await;
    assert!(failure(&mut played).await.starts_with("GM-4226 Worker"));
}

#[tokio::test]
async fn a_contribution_that_the_chain_refuses_is_told_with_its_reason() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let bought = market.buy(Request::of("echo")).await;
    played.say(bought.assign()).await;
    crate::work::computed(&mut played, bought.task).await;
    // Not initialised.
    played.say(market.contribute(&bought, worker.handle.address())).await;
    crate::work::contributed(&mut played).await;
    expect![[r#"
        GM-4222 Worker 
        the chain did not take the contribution: no reason given; the task is not initialised"#]]
    .assert_eq(&failure(&mut played).await);
    // The result is still there, so that once the scheduler has mended its ways all is well.
    market.initialize(&bought).await;
    played.say(market.contribute(&bought, worker.handle.address())).await;
    crate::work::contributed(&mut played).await;
    market.task_when(bought.task, |task| task.status == chain::TaskStatus::Completed).await;
}

#[tokio::test]
async fn without_rlc_nothing_is_contributed_at_a_stake() {
    let mut market = Market::open().await;
    let (worker, mut played) = market.worker(0).await;
    let bought = market.buy(Request { trust: 4, ..Request::of("echo") }).await;
    market.initialize(&bought).await;
    played.say(bought.assign()).await;
    crate::work::computed(&mut played, bought.task).await;
    played.say(market.contribute(&bought, worker.handle.address())).await;
    assert!(failure(&mut played).await.starts_with("GM-4223 Worker"));
}
