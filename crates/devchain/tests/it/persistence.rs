//! What is kept, and what is refused when it is opened again.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use alloy_primitives::{B256, U256};
use devchain::{Config, DevChain, Error};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

fn kept(dir: &Path) -> Config {
    Config { accounts: 3, data_dir: Some(dir.to_owned()), ..Config::default() }
}

#[tokio::test]
async fn a_chain_is_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(kept(dir.path()));
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let hash = send(&handle, 1, Some(SINK), Vec::new()).await;
    increment(&handle, probe).await;
    let _: Value = ask(&handle, "hardhat_setBalance", json!([SINK, "0x64"])).await;
    let _: i64 = ask(&handle, "evm_increaseTime", json!([10_000])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    let moment = picture(&handle, probe).await;
    let old_receipt = receipt(&handle, hash).await;
    let time = handle.head().timestamp;
    chain.shutdown().await.unwrap();

    let chain = open(kept(dir.path()));
    let handle = chain.handle();
    assert_eq!(picture(&handle, probe).await, moment);
    assert_eq!(receipt(&handle, hash).await, old_receipt);
    assert_eq!(count(&handle, probe, json!("0x2")).await, U256::ZERO, "history too");
    increment(&handle, probe).await;
    assert!(handle.head().timestamp >= time, "time does not fall back");
}

#[tokio::test]
async fn after_shutdown_nothing_is_taken() {
    let chain = instant();
    let handle = chain.handle();
    chain.shutdown().await.unwrap();
    let error = refused(&handle, "evm_mine", json!([])).await;
    assert_eq!(error.message, "the chain has stopped");
}

fn check_refused(config: Config, message: &str) {
    let error = DevChain::open(config).err().expect("it opens");
    assert!(error.to_string().contains(message), "{error}");
}

#[tokio::test]
async fn another_chain_id_another_format_and_a_second_opening_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(kept(dir.path()));
    check_refused(kept(dir.path()), "GM-1102");
    chain.shutdown().await.unwrap();
    check_refused(Config { chain_id: 5, ..kept(dir.path()) }, "GM-1104");

    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    {
        let database = redb::Database::open(dir.path().join("chain.redb")).unwrap();
        let tx = database.begin_write().unwrap();
        tx.open_table(meta).unwrap().insert("format", 999).unwrap();
        tx.commit().unwrap();
    }
    check_refused(kept(dir.path()), "GM-1103");
    let error = DevChain::open(kept(dir.path())).err().unwrap();
    assert!(matches!(error, Error::Format { found: 999, .. }));
    assert!(!error.is_retryable());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    check_refused(kept(file.path()), "GM-1101");
}

#[tokio::test]
async fn balances_are_given_in_the_first_block() {
    let chain = open(Config {
        accounts: 2,
        extra_balances: vec![(SINK, U256::from(77))],
        ..Config::default()
    });
    let handle = chain.handle();
    assert_eq!(balance(&handle, SINK).await, U256::from(77));
    let ether = U256::from(10u64.pow(18));
    assert_eq!(balance(&handle, handle.accounts()[1]).await, U256::from(10_000) * ether);
}

const SERVE: &str = "DEVCHAIN_TEST_SERVE";

/// Not a test of its own: the process that the next one kills. Without its variable it only sees that there is none.
#[tokio::test]
async fn serves_when_asked_by_the_next_test() {
    let Some(dir) = std::env::var_os(SERVE) else {
        assert!(std::env::var(SERVE).is_err());
        return;
    };
    let server = Server::start(open(kept(Path::new(&dir)))).await;
    println!("\nserving {}", server.http());
    std::future::pending::<()>().await;
}

fn serve(dir: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["persistence::serves_when_asked_by_the_next_test", "--exact", "--nocapture"])
        .env(SERVE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url =
        lines.map_while(Result::ok).find_map(|it| it.strip_prefix("serving ").map(str::to_owned));
    (child, url.expect("the process serves"))
}

#[tokio::test]
async fn killing_it_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let client = client();
    let key = signer(0);
    let mut answered: Vec<B256> = Vec::new();
    for round in 0..2u64 {
        let (mut child, url) = serve(dir.path());
        for nonce in round * 15..(round + 1) * 15 {
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [payment(&key, nonce, GWEI)] });
            let answer = client.post(&url).body(body.to_string()).send().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            answered.push(serde_json::from_value(answer["result"].clone()).unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let chain = open(kept(dir.path()));
    let handle = chain.handle();
    for hash in &answered {
        assert_eq!(receipt(&handle, *hash).await["status"], "0x1");
    }
    assert_eq!(balance(&handle, SINK).await, U256::from(30));
    assert_eq!(nonce(&handle, key.address(), "latest").await, 30);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Whenever it is closed, it opens as it was.
    #[test]
    fn reopening_changes_nothing(rounds in prop::collection::vec(0usize..4, 1..4), history in 1u64..6) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = Config { history, ..kept(dir.path()) };
        runtime.block_on(async {
            let chain = open(config.clone());
            let probe = deploy(&chain.handle(), 0).await;
            let mut moment = picture(&chain.handle(), probe).await;
            chain.shutdown().await.unwrap();
            for increments in rounds {
                let chain = open(config.clone());
                assert_eq!(picture(&chain.handle(), probe).await, moment);
                for _ in 0..increments {
                    increment(&chain.handle(), probe).await;
                }
                moment = picture(&chain.handle(), probe).await;
                chain.shutdown().await.unwrap();
            }
        });
    }
}
