//! Blocks, receipts, fees and timestamps.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_consensus::{ReceiptEnvelope, TxEnvelope, proofs};
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{Block, FeeHistory, Transaction, TransactionReceipt};
use devchain::{Config, Mining};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn headers_hash_to_their_hashes_and_commit_to_what_is_in_the_block() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    increment(&handle, probe).await;
    let mut parent = B256::ZERO;
    for number in 0..=handle.head().number {
        let tag = json!([format!("0x{number:x}"), true]);
        let block: Block<Transaction<TxEnvelope>> = ask(&handle, "eth_getBlockByNumber", tag).await;
        assert_eq!(block.header.inner.hash_slow(), block.header.hash);
        assert_eq!(block.header.inner.parent_hash, parent);
        parent = block.header.hash;
        let txs: Vec<TxEnvelope> =
            block.transactions.txns().map(|it| it.inner.inner().clone()).collect();
        let root = proofs::calculate_transaction_root(&txs);
        assert_eq!(root, block.header.inner.transactions_root);
        let receipts: Vec<TransactionReceipt> =
            ask(&handle, "eth_getBlockReceipts", json!([format!("0x{number:x}")])).await;
        let receipts: Vec<ReceiptEnvelope> =
            receipts.into_iter().map(|it| it.inner.map_logs(|log| log.inner)).collect();
        let root = proofs::calculate_receipt_root(&receipts);
        assert_eq!(root, block.header.inner.receipts_root);
        let same: Block =
            ask(&handle, "eth_getBlockByHash", json!([block.header.hash, true])).await;
        assert_eq!(same.header, block.header);
    }
}

#[tokio::test]
async fn what_is_not_there_is_null() {
    let chain = instant();
    let handle = chain.handle();
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x99", false])),
        ("eth_getBlockByHash", json!([B256::ZERO, false])),
        ("eth_getTransactionByHash", json!([B256::ZERO])),
        ("eth_getTransactionReceipt", json!([B256::ZERO])),
        ("eth_getBlockReceipts", json!(["0x99"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["latest", "0x0"])),
        ("eth_getBlockTransactionCountByHash", json!([B256::ZERO])),
    ] {
        let found: Value = ask(&handle, method, params).await;
        assert_eq!(found, Value::Null, "{method}");
    }
}

#[tokio::test]
async fn many_blocks_in_a_second_share_its_timestamp() {
    let chain = instant();
    let handle = chain.handle();
    let mut last = 0;
    for _ in 0..50 {
        let _: Value = ask(&handle, "evm_mine", json!([])).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let time = handle.head().timestamp;
        assert!(time >= last && time <= now, "{last} <= {time} <= {now}");
        last = time;
    }
}

#[tokio::test]
async fn the_pending_block_holds_what_waits() {
    let chain = manual();
    let handle = chain.handle();
    let hash = send(&handle, 0, Some(SINK), Vec::new()).await;
    let block: Value = ask(&handle, "eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!((&block["number"], &block["hash"]), (&json!("0x1"), &Value::Null));
    assert_eq!(block["transactions"], json!([hash]));
    let status: Value = ask(&handle, "txpool_status", json!([])).await;
    assert_eq!(status["pending"], "0x1");
}

#[tokio::test]
async fn blocks_come_at_their_interval() {
    let chain = open(Config { accounts: 1, mining: Mining::Interval(20), ..Config::default() });
    let handle = chain.handle();
    let hash = send(&handle, 0, Some(SINK), Vec::new()).await;
    let wait = async {
        while handle.head().number < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.unwrap();
    assert_eq!(receipt(&handle, hash).await["status"], "0x1");
    let _: Value = ask(&handle, "evm_setIntervalMining", json!([0])).await;
    let stopped = handle.head().number;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(handle.head().number, stopped + 1);
}

#[tokio::test]
async fn fee_history_covers_the_blocks_asked_for() {
    let chain = instant();
    let handle = chain.handle();
    for _ in 0..4 {
        send(&handle, 0, Some(SINK), Vec::new()).await;
    }
    let history: FeeHistory =
        ask(&handle, "eth_feeHistory", json!(["0x3", "latest", [10.0, 90.0]])).await;
    assert_eq!(history.oldest_block, 2);
    assert_eq!(history.base_fee_per_gas, [10_000_000; 4]);
    assert_eq!(history.gas_used_ratio.len(), 3);
    assert_eq!(history.reward.unwrap(), vec![vec![0, 0]; 3]);
    let all: FeeHistory = ask(&handle, "eth_feeHistory", json!([500, "latest"])).await;
    assert_eq!(all.oldest_block, 0);
    let price: U256 = ask(&handle, "eth_gasPrice", json!([])).await;
    assert_eq!(price, U256::from(10_000_000));
    let error = refused(&handle, "eth_feeHistory", json!(["0x1", "latest", [90.0, 10.0]])).await;
    assert_eq!(error.code, -32602);
}
