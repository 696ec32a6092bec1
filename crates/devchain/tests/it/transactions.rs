//! Sending: kinds of transactions, nonces, refusals, and many at once.

use std::time::{Duration, Instant};

use alloy_consensus::{TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{eip2930::AccessList, eip7702::Authorization};
use alloy_primitives::{B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use devchain::{Config, Handle};
use serde_json::{Value, json};

use crate::support::*;

async fn raw(chain: &Handle, tx: Bytes) -> Result<B256, String> {
    match chain.request("eth_sendRawTransaction", json!([tx])).await {
        Ok(hash) => Ok(serde_json::from_value(hash).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

async fn check_refused(chain: &Handle, tx: Bytes, words: &str) {
    let error = raw(chain, tx).await.unwrap_err();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
    assert!(error.ends_with("(code -32000)"), "{error}");
}

#[tokio::test]
async fn every_kind_of_transaction_is_mined_at_once() {
    let chain = instant();
    let handle = chain.handle();
    let key = signer(0);
    let to = TxKind::Call(SINK);
    let (chain_id, gas_limit, gas_price, value) = (31_337, 100_000, GWEI, U256::from(1));
    let legacy = TxLegacy {
        chain_id: Some(chain_id),
        nonce: 0,
        gas_limit,
        gas_price,
        to,
        value,
        ..TxLegacy::default()
    };
    let unprotected = TxLegacy { chain_id: None, nonce: 1, ..legacy.clone() };
    let listed = TxEip2930 {
        chain_id,
        nonce: 2,
        gas_limit,
        gas_price,
        to,
        value,
        access_list: AccessList::default(),
        input: Bytes::new(),
    };
    let delegation = Authorization { chain_id: U256::from(chain_id), address: SINK, nonce: 0 };
    let signature = signer(1).sign_hash_sync(&delegation.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        chain_id,
        nonce: 4,
        gas_limit,
        max_fee_per_gas: gas_price,
        to: SINK,
        authorization_list: vec![delegation.into_signed(signature)],
        ..TxEip7702::default()
    };
    let all = [
        (sign(&key, legacy.into()), "0x0"),
        (sign(&key, unprotected.into()), "0x0"),
        (sign(&key, listed.into()), "0x1"),
        (payment(&key, 3, GWEI), "0x2"),
        (sign(&key, delegating.into()), "0x4"),
    ];
    for (tx, kind) in all {
        let hash = raw(&handle, tx.clone()).await.unwrap();
        let receipt = receipt(&handle, hash).await;
        assert_eq!((&receipt["status"], &receipt["type"]), (&json!("0x1"), &json!(kind)));
        let found: Value = ask(&handle, "eth_getTransactionByHash", json!([hash])).await;
        assert_eq!(found["from"], json!(key.address()));
        assert_eq!(found["blockNumber"], receipt["blockNumber"]);
        let same: Bytes = ask(&handle, "eth_getRawTransactionByHash", json!([hash])).await;
        assert_eq!(same, tx);
    }
    assert_eq!(balance(&handle, SINK).await, U256::from(4));
    let code: Bytes = ask(&handle, "eth_getCode", json!([handle.accounts()[1], "latest"])).await;
    assert_eq!(code.to_vec(), [&[0xef, 0x01, 0x00], SINK.as_slice()].concat());
}

#[tokio::test]
async fn fees_are_burnt_and_paid_as_the_receipt_says() {
    let coinbase = alloy_primitives::Address::repeat_byte(0xcb);
    let chain = open(Config { accounts: 1, coinbase, ..Config::default() });
    let handle = chain.handle();
    let from = handle.accounts()[0];
    let before = balance(&handle, from).await;
    let tx = json!({ "from": from, "to": SINK, "value": "0x5", "maxFeePerGas": "0x3b9aca00", "maxPriorityFeePerGas": "0x7" });
    let hash: B256 = ask(&handle, "eth_sendTransaction", json!([tx])).await;
    let receipt = receipt(&handle, hash).await;
    let price: U256 = serde_json::from_value(receipt["effectiveGasPrice"].clone()).unwrap();
    assert_eq!(price, U256::from(10_000_007));
    let paid = before - balance(&handle, from).await;
    assert_eq!(paid, U256::from(5) + price * U256::from(21_000));
    assert_eq!(balance(&handle, coinbase).await, U256::from(7 * 21_000));
}

#[tokio::test]
async fn refusals_say_what_clients_look_for() {
    let chain = instant();
    let handle = chain.handle();
    let key = signer(0);
    raw(&handle, payment(&key, 0, GWEI)).await.unwrap();
    let base = TxLegacy {
        chain_id: Some(31_337),
        nonce: 1,
        gas_limit: 21_000,
        gas_price: GWEI,
        to: TxKind::Call(SINK),
        ..TxLegacy::default()
    };
    let with = |edit: fn(&mut TxLegacy)| {
        let mut tx = base.clone();
        edit(&mut tx);
        sign(&key, tx.into())
    };
    check_refused(&handle, payment(&key, 0, GWEI), "nonce too low").await;
    check_refused(&handle, with(|it| it.nonce = 100_000), "nonce too high").await;
    check_refused(
        &handle,
        with(|it| it.value = U256::MAX),
        "insufficient funds for gas * price + value",
    )
    .await;
    check_refused(&handle, with(|it| it.gas_limit = 20_999), "intrinsic gas too low").await;
    check_refused(&handle, with(|it| it.gas_limit = u64::MAX), "exceeds block gas limit").await;
    check_refused(&handle, with(|it| it.gas_price = 1), "max fee per gas less than block base fee")
        .await;
    check_refused(&handle, with(|it| it.chain_id = Some(1)), "invalid chain id").await;
    check_refused(&handle, Bytes::from_static(b"\x02nonsense"), "could not be decoded").await;
    assert_eq!(handle.head().number, 1, "nothing refused is mined");
}

#[tokio::test]
async fn a_future_nonce_waits_for_those_before_it() {
    let chain = instant();
    let handle = chain.handle();
    let key = signer(0);
    let third = raw(&handle, payment(&key, 2, GWEI)).await.unwrap();
    assert_eq!(receipt(&handle, third).await, Value::Null);
    let waiting: Value = ask(&handle, "eth_getTransactionByHash", json!([third])).await;
    assert_eq!(waiting["blockNumber"], Value::Null);
    assert_eq!(nonce(&handle, key.address(), "pending").await, 0);
    raw(&handle, payment(&key, 0, GWEI)).await.unwrap();
    raw(&handle, payment(&key, 1, GWEI)).await.unwrap();
    assert_eq!(receipt(&handle, third).await["status"], "0x1");
    assert_eq!(nonce(&handle, key.address(), "latest").await, 3);
}

#[tokio::test]
async fn a_replacement_must_offer_a_tenth_more() {
    let chain = manual();
    let handle = chain.handle();
    let key = signer(0);
    let first = raw(&handle, payment(&key, 0, GWEI)).await.unwrap();
    check_refused(&handle, payment(&key, 0, GWEI), "already known").await;
    check_refused(&handle, payment(&key, 0, GWEI + 1), "replacement transaction underpriced").await;
    let second = raw(&handle, payment(&key, 0, GWEI * 11 / 10)).await.unwrap();
    assert_eq!(nonce(&handle, key.address(), "pending").await, 1);
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(receipt(&handle, first).await, Value::Null);
    assert_eq!(receipt(&handle, second).await["status"], "0x1");
}

#[tokio::test]
async fn a_burst_from_many_senders_is_mined_completely_and_in_few_blocks() {
    let chain = instant();
    let handle = chain.handle();
    let keys: Vec<_> = (0..3).map(signer).collect();
    let sends = keys.iter().flat_map(|key| (0..60).map(move |nonce| payment(key, nonce, GWEI)));
    let sends: Vec<Bytes> = sends.collect();
    // All of them are there before the miner looks: how many it finds would otherwise depend on the machine.
    let _: Value = ask(&handle, "evm_setAutomine", json!([false])).await;
    let hashes = futures::future::join_all(sends.iter().map(|tx| handle.submit_raw(tx))).await;
    let before = handle.head().number;
    let _: Value = ask(&handle, "evm_setAutomine", json!([true])).await;
    while balance(&handle, SINK).await < U256::from(180) {
        tokio::task::yield_now().await;
    }
    for hash in hashes {
        assert_eq!(receipt(&handle, hash.unwrap()).await["status"], "0x1");
    }
    assert_eq!(balance(&handle, SINK).await, U256::from(180));
    let blocks = handle.head().number - before;
    assert!(blocks < 10, "{blocks} blocks");
}

#[tokio::test]
async fn the_answer_waits_for_a_client_that_remembers_its_nonce_and_for_nobody_else() {
    let chain = instant();
    let handle = chain.handle();
    let key = signer(0);
    let unasked = Instant::now();
    for nonce in 0..10 {
        raw(&handle, payment(&key, nonce, GWEI)).await.unwrap();
    }
    assert!(unasked.elapsed() < Duration::from_millis(10 * 250), "{:?}", unasked.elapsed());

    let asked = Instant::now();
    assert_eq!(nonce(&handle, key.address(), "pending").await, 10);
    let answered = async {
        raw(&handle, payment(&key, 10, GWEI)).await.unwrap();
        Instant::now()
    };
    let mined = async {
        while handle.head().number < 11 {
            tokio::task::yield_now().await;
        }
        Instant::now()
    };
    let (answered, mined) = tokio::join!(answered, mined);
    assert!(answered.duration_since(asked) >= Duration::from_millis(250));
    assert!(mined < answered, "the transaction itself does not wait");
}

#[tokio::test]
async fn a_full_block_leaves_the_rest_for_the_next() {
    let chain = open(Config {
        accounts: 1,
        gas_limit: 50_000,
        mining: devchain::Mining::Manual,
        ..Config::default()
    });
    let handle = chain.handle();
    let key = signer(0);
    for nonce in 0..3 {
        raw(&handle, payment(&key, nonce, GWEI)).await.unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let _: Value = ask(&handle, "evm_mine", json!([])).await;
        sizes
            .push(number(&handle, "eth_getBlockTransactionCountByNumber", json!(["latest"])).await);
    }
    assert_eq!(sizes, [2, 1]);
    let base_fee = |block: &Value| block["baseFeePerGas"].as_str().unwrap().to_owned();
    let first: Value = ask(&handle, "eth_getBlockByNumber", json!(["0x1", false])).await;
    let second: Value = ask(&handle, "eth_getBlockByNumber", json!(["0x2", false])).await;
    assert_ne!(base_fee(&first), base_fee(&second), "a fuller block makes the next one dearer");
}
