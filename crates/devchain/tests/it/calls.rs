//! Calls, estimates and access lists.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use devchain::{Config, Handle, RequestError};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn reverts_come_with_code_3_their_reason_and_their_data() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let check = async |call: Value, message: &str, selector: &str| {
        for method in ["eth_call", "eth_estimateGas"] {
            let error = refused(&handle, method, json!([call])).await;
            assert_eq!(error.code, 3);
            assert!(error.is_revert());
            assert!(error.message.starts_with(message), "{}", error.message);
            let data = error.data.unwrap();
            assert!(data.as_str().unwrap().starts_with(selector), "{data}");
        }
    };
    check(calling(probe, Probe::failCall {}), "execution reverted: not today", "0x08c379a0").await;
    check(calling(probe, Probe::failAssertCall {}), "execution reverted: ", "0x4e487b71").await;
    let custom = Probe::failCustomCall { have: U256::from(3) };
    check(calling(probe, custom), "execution reverted", "0x").await;
}

#[tokio::test]
async fn calls_see_the_block_they_ask_for() {
    let chain = open(Config { accounts: 1, history: 8, ..Config::default() });
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let mut hashes = Vec::new();
    for _ in 0..12 {
        let receipt = increment(&handle, probe).await;
        hashes.push(receipt["blockHash"].clone());
    }
    let head = handle.head().number;
    for back in 0..=8u64 {
        let block = json!(format!("0x{:x}", head - back));
        assert_eq!(count(&handle, probe, block).await, U256::from(12 - back));
    }
    assert_eq!(count(&handle, probe, json!({ "blockHash": hashes[9] })).await, U256::from(10));
    let old = json!(format!("0x{:x}", head - 9));
    let call = calling(probe, Probe::countCall {});
    let error = refused(&handle, "eth_call", json!([call, old])).await;
    assert!(error.message.contains("pruned"), "{error}");
    let error = refused(&handle, "eth_call", json!([call, "0xffffff"])).await;
    assert_eq!(error.message, "header not found");
    let past = json!([handle.accounts()[0], format!("0x{:x}", head - 3)]);
    assert_eq!(number(&handle, "eth_getTransactionCount", past).await, head - 3);
}

#[tokio::test]
async fn a_call_at_the_newest_block_sees_the_time_of_now() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let _: i64 = ask(&handle, "evm_increaseTime", json!([3_600])).await;
    let raw: Bytes =
        ask(&handle, "eth_call", json!([calling(probe, Probe::timeCall {}), "latest"])).await;
    let time = Probe::timeCall::abi_decode_returns(&raw).unwrap();
    assert_eq!(time.number, U256::from(handle.head().number));
    assert!(time.timestamp >= U256::from(handle.head().timestamp + 3_600));
    let raw: Bytes =
        ask(&handle, "eth_call", json!([calling(probe, Probe::timeCall {}), "0x1"])).await;
    let time = Probe::timeCall::abi_decode_returns(&raw).unwrap();
    assert_eq!(time.timestamp, U256::from(handle.head().timestamp), "a past block keeps its own");
}

#[tokio::test]
async fn state_and_block_can_be_overridden_for_a_call() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 5).await;
    let with = async |overrides: Value| -> U256 {
        ask(&handle, "eth_call", json!([calling(probe, Probe::countCall {}), "latest", overrides]))
            .await
    };
    let slot = |value: u64| json!({ (B256::ZERO.to_string()): B256::from(U256::from(value)) });
    assert_eq!(with(json!({ (probe.to_string()): { "stateDiff": slot(9) } })).await, U256::from(9));
    assert_eq!(with(json!({ (probe.to_string()): { "state": {} } })).await, U256::ZERO);
    assert_eq!(with(json!({})).await, U256::from(5));
    let code: Bytes = ask(&handle, "eth_getCode", json!([probe, "latest"])).await;
    let elsewhere = Address::repeat_byte(9);
    let moved: U256 = ask(
        &handle,
        "eth_call",
        json!([calling(elsewhere, Probe::countCall {}), "latest", { (elsewhere.to_string()): { "code": code, "stateDiff": slot(3) } }]),
    )
    .await;
    assert_eq!(moved, U256::from(3));
    let raw: Bytes = ask(
        &handle,
        "eth_call",
        json!([calling(probe, Probe::timeCall {}), "latest", {}, { "time": "0x64", "number": "0x7" }]),
    )
    .await;
    let time = Probe::timeCall::abi_decode_returns(&raw).unwrap();
    assert_eq!((time.number, time.timestamp), (U256::from(7), U256::from(100)));
}

/// Sends `call` with exactly what was estimated for it. Returns estimate and gas used.
async fn estimate_and_send(handle: &Handle, to: Address, call: Vec<u8>) -> (u64, u64) {
    let from = handle.accounts()[0];
    let tx = json!({ "from": from, "to": to, "data": Bytes::from(call) });
    let gas = number(handle, "eth_estimateGas", json!([tx])).await;
    let mut tx = tx;
    tx["gas"] = json!(format!("0x{gas:x}"));
    let hash: B256 = ask(handle, "eth_sendTransaction", json!([tx])).await;
    let receipt = receipt(handle, hash).await;
    assert_eq!(receipt["status"], "0x1", "estimated {gas}: {receipt}");
    let used: alloy_primitives::U64 = serde_json::from_value(receipt["gasUsed"].clone()).unwrap();
    (gas, used.to())
}

#[tokio::test]
async fn an_estimate_suffices_and_is_not_wasteful() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    assert_eq!(estimate_and_send(&handle, SINK, Vec::new()).await, (21_000, 21_000));
    let cells = |from: u64, to: u64| (U256::from(from), U256::from(to));
    let (from, to) = cells(0, 40);
    let (gas, used) =
        estimate_and_send(&handle, probe, Probe::fillCall { from, to }.abi_encode()).await;
    assert!(gas * 1_000 <= used * 1_016, "{gas} for {used}");
    // Clearing is refunded afterwards: what it needs on the way is more than what it uses.
    let (gas, used) =
        estimate_and_send(&handle, probe, Probe::clearCall { from, to }.abi_encode()).await;
    assert!(gas > used, "{gas} for {used}");
    // Each level keeps 1/64 back, so the least that works is more than is spent.
    let nested = Probe::nestedCall { depth: U256::from(6) }.abi_encode();
    let (gas, used) = estimate_and_send(&handle, probe, nested).await;
    assert!(gas >= used && gas < used * 2, "{gas} for {used}");
}

#[tokio::test]
async fn what_cannot_succeed_has_no_estimate() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let mut spin = calling(probe, Probe::spinCall {});
    spin["gas"] = json!("0x30d40");
    let error = refused(&handle, "eth_estimateGas", json!([spin])).await;
    assert_eq!(error.message, "gas required exceeds allowance (200000)");
    let error = refused(&handle, "eth_call", json!([spin])).await;
    assert_eq!((error.code, error.message.as_str()), (-32000, "out of gas"));
    let poor = json!({ "from": SINK, "to": probe, "value": "0x1" });
    let error = refused(&handle, "eth_estimateGas", json!([poor])).await;
    assert!(error.message.starts_with("insufficient funds"), "{error}");
}

#[tokio::test]
async fn an_access_list_names_what_is_touched() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 1).await;
    let report: Value =
        ask(&handle, "eth_createAccessList", json!([calling(probe, Probe::countCall {})])).await;
    assert_eq!(report["accessList"], json!([{ "address": probe, "storageKeys": [B256::ZERO] }]));
}

/// The libraries written in C for these are left out of the build; others stand in for them.
#[tokio::test]
async fn the_precompiles_of_prague_are_there() {
    let chain = instant();
    let handle = chain.handle();
    let run = async |address: u8, input: Vec<u8>| -> Result<Bytes, RequestError> {
        let to = Address::with_last_byte(address);
        let call = json!({ "to": to, "data": Bytes::from(input) });
        let output = handle.request("eth_call", json!([call])).await?;
        Ok(serde_json::from_value(output).unwrap())
    };
    assert_eq!(run(4, vec![1, 2, 3]).await.unwrap().to_vec(), [1, 2, 3]);
    // Nothing plus nothing is nothing, on both curves.
    assert_eq!(run(6, vec![0; 128]).await.unwrap().to_vec(), [0; 64]);
    assert_eq!(run(0x0b, vec![0; 256]).await.unwrap().to_vec(), [0; 128]);
    // A proof that proves nothing fails; where nothing is, a call succeeds.
    assert!(run(0x0a, vec![0; 192]).await.is_err());
    assert_eq!(run(0x20, vec![0; 192]).await.unwrap(), Bytes::new());
}

#[tokio::test]
async fn unlocked_accounts_sign_what_recovers_to_them() {
    let chain = instant();
    let handle = chain.handle();
    let own = handle.accounts()[1];
    let message = Bytes::from_static(b"hello");
    let recovered = |signature: &Bytes, hash: &B256| {
        let signature = alloy_primitives::Signature::try_from(signature.as_ref()).unwrap();
        signature.recover_address_from_prehash(hash).unwrap()
    };
    let hash = alloy_primitives::eip191_hash_message(&message);
    let one: Bytes = ask(&handle, "eth_sign", json!([own, message])).await;
    let other: Bytes = ask(&handle, "personal_sign", json!([message, own])).await;
    assert_eq!(one, other);
    assert_eq!(recovered(&one, &hash), own);
    let stranger = refused(&handle, "eth_sign", json!([SINK, message])).await;
    assert!(stranger.message.contains("unknown account"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the work, a transaction with its own estimate goes through.
    #[test]
    fn estimates_always_suffice(from in 0u64..20, len in 0u64..30, depth in 0u64..5, clear: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let chain = instant();
            let handle = chain.handle();
            let probe = deploy(&handle, 0).await;
            let (from, to) = (U256::from(from), U256::from(from + len));
            estimate_and_send(&handle, probe, Probe::fillCall { from, to }.abi_encode()).await;
            if clear {
                estimate_and_send(&handle, probe, Probe::clearCall { from, to }.abi_encode()).await;
            }
            let depth = U256::from(depth);
            estimate_and_send(&handle, probe, Probe::nestedCall { depth }.abi_encode()).await;
        });
    }
}
