//! Methods of a development chain, and going back in time.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn state_is_changed_at_will() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 1).await;
    let number_before = handle.head().number;
    let _: Value = ask(&handle, "hardhat_setBalance", json!([SINK, "0x64"])).await;
    let _: Value = ask(&handle, "anvil_setNonce", json!([SINK, "0x7"])).await;
    let _: Value =
        ask(&handle, "hardhat_setStorageAt", json!([probe, "0x0", B256::from(U256::from(42))]))
            .await;
    let code: Bytes = ask(&handle, "eth_getCode", json!([probe, "latest"])).await;
    let copy = Address::repeat_byte(0xc0);
    let _: Value = ask(&handle, "anvil_setCode", json!([copy, code])).await;
    assert_eq!(balance(&handle, SINK).await, U256::from(100));
    assert_eq!(nonce(&handle, SINK, "latest").await, 7);
    assert_eq!(count(&handle, probe, json!("latest")).await, U256::from(42));
    assert_eq!(count(&handle, copy, json!("latest")).await, U256::ZERO);
    increment(&handle, copy).await;
    assert_eq!(count(&handle, copy, json!("latest")).await, U256::from(1));
    assert_eq!(handle.head().number, number_before + 1);
    let before = json!(format!("0x{number_before:x}"));
    assert_eq!(count(&handle, probe, before).await, U256::from(42), "an edit belongs to the head");
}

#[tokio::test]
async fn impersonated_accounts_send_even_if_they_are_contracts() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let _: Value = ask(&handle, "hardhat_setBalance", json!([probe, "0xde0b6b3a7640000"])).await;
    let tx = json!({ "from": probe, "to": SINK, "value": "0x3" });
    let error = refused(&handle, "eth_sendTransaction", json!([tx])).await;
    assert!(error.message.contains("neither unlocked nor impersonated"), "{error}");
    let _: Value = ask(&handle, "hardhat_impersonateAccount", json!([probe])).await;
    let hash: B256 = ask(&handle, "eth_sendTransaction", json!([tx])).await;
    assert_eq!(receipt(&handle, hash).await["from"], json!(probe));
    assert_eq!(balance(&handle, SINK).await, U256::from(3));
    let _: Value = ask(&handle, "hardhat_stopImpersonatingAccount", json!([probe])).await;
    refused(&handle, "eth_sendTransaction", json!([tx])).await;
    let _: Value = ask(&handle, "anvil_autoImpersonateAccount", json!([true])).await;
    let _: B256 = ask(&handle, "eth_sendTransaction", json!([tx])).await;
}

#[tokio::test]
async fn time_is_moved() {
    let chain = instant();
    let handle = chain.handle();
    let start = handle.head().timestamp;
    assert_eq!(ask::<i64>(&handle, "evm_increaseTime", json!([1_000])).await, 1_000);
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    let moved = handle.head().timestamp;
    assert!((1_000..1_060).contains(&(moved - start)), "{}", moved - start);
    let _: Value = ask(&handle, "evm_setNextBlockTimestamp", json!([moved + 500])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(handle.head().timestamp, moved + 500);
    let _: Value = ask(&handle, "evm_mine", json!([moved + 600])).await;
    assert_eq!(handle.head().timestamp, moved + 600);
    let _: Value = ask(&handle, "hardhat_mine", json!(["0x3", "0xa"])).await;
    assert!(handle.head().timestamp >= moved + 620);
    let error = refused(&handle, "evm_setNextBlockTimestamp", json!([start])).await;
    assert_eq!(error.code, -32602);
}

#[tokio::test]
async fn manual_mining_mines_when_told_and_drops_when_told() {
    let chain = manual();
    let handle = chain.handle();
    let kept = send(&handle, 0, Some(SINK), Vec::new()).await;
    let dropped = send(&handle, 1, Some(SINK), Vec::new()).await;
    let _: Value = ask(&handle, "hardhat_dropTransaction", json!([dropped])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(receipt(&handle, kept).await["status"], "0x1");
    assert_eq!(receipt(&handle, dropped).await, Value::Null);
    let waiting = send(&handle, 1, Some(SINK), Vec::new()).await;
    let _: Value = ask(&handle, "evm_setAutomine", json!([true])).await;
    assert_eq!(receipt(&handle, waiting).await["status"], "0x1", "what waited is mined");
}

#[tokio::test]
async fn a_snapshot_is_used_once_and_takes_later_ones_along() {
    let chain = instant();
    let handle = chain.handle();
    let first: Value = ask(&handle, "evm_snapshot", json!([])).await;
    let second: Value = ask(&handle, "evm_snapshot", json!([])).await;
    assert!(ask::<bool>(&handle, "evm_revert", json!([first])).await);
    assert!(!ask::<bool>(&handle, "evm_revert", json!([first])).await);
    assert!(!ask::<bool>(&handle, "evm_revert", json!([second])).await);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Increment,
    Fill(u64),
    Clear(u64),
    Pay,
    SetBalance(u64),
    SetSlot(u64),
    SetCode,
    Mine,
    MoveTime,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Increment),
        (0u64..5).prop_map(Step::Fill),
        (0u64..5).prop_map(Step::Clear),
        Just(Step::Pay),
        any::<u64>().prop_map(Step::SetBalance),
        any::<u64>().prop_map(Step::SetSlot),
        Just(Step::SetCode),
        Just(Step::Mine),
        Just(Step::MoveTime),
    ]
}

async fn take(handle: &devchain::Handle, probe: Address, step: Step) {
    let word = |value: u64| B256::from(U256::from(value));
    let cells = |to: u64| (U256::ZERO, U256::from(to));
    let (method, params) = match step {
        Step::Increment => {
            increment(handle, probe).await;
            return;
        }
        Step::Fill(to) | Step::Clear(to) => {
            let (from, to) = cells(to);
            let data = match step {
                Step::Fill(_) => Probe::fillCall { from, to }.abi_encode(),
                _ => Probe::clearCall { from, to }.abi_encode(),
            };
            send(handle, 0, Some(probe), data).await;
            return;
        }
        Step::Pay => {
            send(handle, 1, Some(SINK), Vec::new()).await;
            return;
        }
        Step::SetBalance(wei) => ("hardhat_setBalance", json!([SINK, U256::from(wei)])),
        Step::SetSlot(value) => ("hardhat_setStorageAt", json!([probe, "0x0", word(value)])),
        Step::SetCode => ("hardhat_setCode", json!([SINK, "0x6001"])),
        Step::Mine => ("evm_mine", json!([])),
        Step::MoveTime => ("evm_increaseTime", json!([100])),
    };
    let _: Value = ask(handle, method, params).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever happens after a snapshot, reverting to it gives the moment back; and history tells the same before and
    /// after.
    #[test]
    fn reverting_gives_the_moment_back(
        before in prop::collection::vec(step(), 0..5),
        after in prop::collection::vec(step(), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let chain = instant();
            let handle = chain.handle();
            let probe = deploy(&handle, 0).await;
            for step in before {
                take(&handle, probe, step).await;
            }
            let moment = picture(&handle, probe).await;
            let at_moment = json!(format!("0x{:x}", handle.head().number));
            let counted = count(&handle, probe, at_moment.clone()).await;
            let id: Value = ask(&handle, "evm_snapshot", json!([])).await;
            // What is edited belongs to the head block, so history is only fixed once there is another.
            let _: Value = ask(&handle, "evm_mine", json!([])).await;
            for step in after {
                take(&handle, probe, step).await;
            }
            assert_eq!(count(&handle, probe, at_moment).await, counted);
            assert!(ask::<bool>(&handle, "evm_revert", json!([id])).await);
            assert_eq!(picture(&handle, probe).await, moment);
            assert_eq!(increment(&handle, probe).await["status"], "0x1", "and the chain goes on");
        });
    }
}
