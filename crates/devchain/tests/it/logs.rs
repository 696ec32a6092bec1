//! Finding logs, and filters that are polled.

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::SolEvent;
use devchain::{Handle, RequestError};
use serde_json::{Value, json};

use crate::support::*;

fn topic(value: impl Into<U256>) -> B256 {
    B256::from(value.into())
}

/// Counts told by the logs that `filter` finds.
async fn found(handle: &Handle, filter: Value) -> Result<Vec<u64>, RequestError> {
    let logs = handle.request("eth_getLogs", json!([filter])).await?;
    Ok(counts(&serde_json::from_value::<Vec<Log>>(logs).unwrap()))
}

fn counts(logs: &[Log]) -> Vec<u64> {
    logs.iter().map(|it| U256::from_be_bytes(it.topics()[2].0).to()).collect()
}

#[tokio::test]
async fn logs_are_found_by_block_address_and_topics() {
    let chain = instant();
    let handle = chain.handle();
    let (one, other) = (deploy(&handle, 0).await, deploy(&handle, 100).await);
    for probe in [one, other, one] {
        increment(&handle, probe).await;
    }
    let check = async |filter: Value, expected: &[u64]| {
        assert_eq!(found(&handle, filter.clone()).await.unwrap(), expected, "{filter}");
    };
    let all = json!("earliest");
    let event = Probe::Counted::SIGNATURE_HASH;
    check(json!({}), &[2]).await;
    check(json!({ "fromBlock": all }), &[1, 101, 2]).await;
    check(json!({ "fromBlock": "0x3", "toBlock": "0x4" }), &[1, 101]).await;
    check(json!({ "fromBlock": all, "address": one }), &[1, 2]).await;
    check(json!({ "fromBlock": all, "address": [one, other] }), &[1, 101, 2]).await;
    check(json!({ "fromBlock": all, "topics": [event, null, [topic(U256::from(2)), topic(U256::from(101))]] }), &[101, 2]).await;
    check(json!({ "fromBlock": all, "topics": [B256::ZERO] }), &[]).await;
    check(json!({ "fromBlock": all, "topics": [event, handle.accounts()[1].into_word()] }), &[])
        .await;
    let block: Value = ask(&handle, "eth_getBlockByNumber", json!(["0x4", false])).await;
    check(json!({ "blockHash": block["hash"] }), &[101]).await;
    check(json!({ "fromBlock": "0x50", "toBlock": "0x60" }), &[]).await;

    let unknown = found(&handle, json!({ "blockHash": B256::ZERO })).await.unwrap_err();
    assert_eq!(unknown.message, "unknown block");
    let backwards =
        found(&handle, json!({ "fromBlock": "0x4", "toBlock": "0x3" })).await.unwrap_err();
    assert_eq!(backwards.code, -32602);
}

#[tokio::test]
async fn log_indices_run_through_the_block() {
    let chain = manual();
    let handle = chain.handle();
    let _: Value = ask(&handle, "evm_setAutomine", json!([true])).await;
    let probe = deploy(&handle, 0).await;
    let _: Value = ask(&handle, "evm_setAutomine", json!([false])).await;
    for _ in 0..3 {
        let data = Probe::incrementCall { note: vec![7; 40].into() };
        let data = alloy_sol_types::SolCall::abi_encode(&data);
        send(&handle, 0, Some(probe), data).await;
    }
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    let logs: Vec<Log> = ask(&handle, "eth_getLogs", json!([{}])).await;
    let indices: Vec<_> = logs.iter().map(|it| (it.transaction_index, it.log_index)).collect();
    assert_eq!(indices, [(Some(0), Some(0)), (Some(1), Some(1)), (Some(2), Some(2))]);
    assert!(logs.iter().all(|it| it.block_timestamp == Some(handle.head().timestamp)));
}

async fn changes(handle: &Handle, id: &Value) -> Vec<Value> {
    ask(handle, "eth_getFilterChanges", json!([id])).await
}

#[tokio::test]
async fn filters_tell_each_thing_once() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let logs: Value = ask(&handle, "eth_newFilter", json!([{ "address": probe }])).await;
    let blocks: Value = ask(&handle, "eth_newBlockFilter", json!([])).await;
    let pending: Value = ask(&handle, "eth_newPendingTransactionFilter", json!([])).await;
    assert_ne!(logs, blocks);
    let receipt = increment(&handle, probe).await;
    assert_eq!(changes(&handle, &logs).await.len(), 1);
    assert_eq!(changes(&handle, &blocks).await, [receipt["blockHash"].clone()]);
    assert_eq!(changes(&handle, &pending).await, [receipt["transactionHash"].clone()]);
    for id in [&logs, &blocks, &pending] {
        assert_eq!(changes(&handle, id).await, Vec::<Value>::new());
    }
    increment(&handle, probe).await;
    let all: Vec<Log> = ask(&handle, "eth_getFilterLogs", json!([logs])).await;
    assert_eq!(counts(&all), [2], "the filter's own range is the newest block");
    assert!(ask::<bool>(&handle, "eth_uninstallFilter", json!([logs])).await);
    assert!(!ask::<bool>(&handle, "eth_uninstallFilter", json!([logs])).await);
    let error = refused(&handle, "eth_getFilterChanges", json!([logs])).await;
    assert_eq!(error.message, "filter not found");
}

#[tokio::test]
async fn a_filter_that_falls_far_behind_misses_nothing() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let logs: Value = ask(&handle, "eth_newFilter", json!([{ "address": probe }])).await;
    let blocks: Value = ask(&handle, "eth_newBlockFilter", json!([])).await;
    increment(&handle, probe).await;
    let _: Value = ask(&handle, "hardhat_mine", json!(["0x500"])).await;
    increment(&handle, probe).await;
    let told: Vec<Log> = ask(&handle, "eth_getFilterChanges", json!([logs])).await;
    assert_eq!(counts(&told), [1, 2]);
    assert_eq!(changes(&handle, &blocks).await.len(), 0x502);
    assert!(changes(&handle, &blocks).await.is_empty());
}

#[tokio::test]
async fn a_reorganisation_takes_logs_back() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let filter: Value = ask(&handle, "eth_newFilter", json!([{ "address": probe }])).await;
    let kept = increment(&handle, probe).await;
    let lost = increment(&handle, probe).await;
    let told: Vec<Log> = ask(&handle, "eth_getFilterChanges", json!([filter])).await;
    assert_eq!(counts(&told), [1, 2]);
    let _: Value = ask(&handle, "anvil_reorg", json!([1, []])).await;
    let told: Vec<Log> = ask(&handle, "eth_getFilterChanges", json!([filter])).await;
    assert_eq!(told.iter().map(|it| it.removed).collect::<Vec<_>>(), [true]);
    assert_eq!(json!(told[0].transaction_hash), lost["transactionHash"]);
    let hash = lost["transactionHash"].as_str().unwrap().parse().unwrap();
    assert_eq!(receipt(&handle, hash).await, Value::Null);
    assert_eq!(found(&handle, json!({ "fromBlock": "earliest" })).await.unwrap(), [1]);
    let now: Value =
        ask(&handle, "eth_getBlockByNumber", json!([lost["blockNumber"], false])).await;
    assert_ne!(now["hash"], lost["blockHash"]);
    assert_eq!(now["parentHash"], kept["blockHash"]);
    assert_eq!(count(&handle, probe, json!("latest")).await, U256::from(1));
}

#[tokio::test]
async fn a_reorganisation_can_put_transactions_elsewhere() {
    let chain = instant();
    let handle = chain.handle();
    let key = signer(1);
    let first = payment(&key, 0, GWEI);
    let hash = handle.submit_raw(&first).await.unwrap();
    let _: Value = ask(&handle, "hardhat_mine", json!([2])).await;
    let _: Value = ask(&handle, "anvil_reorg", json!([3, [[first, 2]]])).await;
    assert_eq!(handle.head().number, 3);
    assert_eq!(receipt(&handle, hash).await["blockNumber"], "0x3");
    let _: Value = ask(&handle, "anvil_rollback", json!([1])).await;
    assert_eq!((handle.head().number, balance(&handle, SINK).await), (2, U256::ZERO));
    let error = refused(&handle, "anvil_rollback", json!([5])).await;
    assert!(error.message.contains("beyond the first block"), "{error}");
    assert_eq!(balance(&handle, Address::ZERO).await, U256::ZERO);
}
