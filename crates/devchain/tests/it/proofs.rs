//! Proofs of state against the roots in headers.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rpc_types_eth::{Block, EIP1186AccountProofResponse};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use devchain::Handle;
use serde_json::{Value, json};

use crate::support::*;

fn encoded(value: impl alloy_rlp::Encodable) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

async fn proof(
    chain: &Handle,
    address: Address,
    slots: &[U256],
    block: &Value,
) -> EIP1186AccountProofResponse {
    ask(chain, "eth_getProof", json!([address, slots, block])).await
}

/// Asks for a proof at a block and checks it against that block's header, and that the values are those told otherwise.
async fn check(chain: &Handle, address: Address, slots: &[U256], block: &Value) -> Vec<U256> {
    let header: Block = ask(chain, "eth_getBlockByNumber", json!([block, false])).await;
    let proof = proof(chain, address, slots, block).await;
    let account = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let expected = (account != TrieAccount::default()).then(|| encoded(account));
    let key = Nibbles::unpack(keccak256(address));
    verify_proof(header.header.state_root, key, expected, &proof.account_proof).unwrap();
    let balance: U256 = ask(chain, "eth_getBalance", json!([address, block])).await;
    assert_eq!(proof.balance, balance);
    let mut values = Vec::new();
    for (slot, shown) in slots.iter().zip(&proof.storage_proof) {
        let told: B256 = ask(chain, "eth_getStorageAt", json!([address, slot, block])).await;
        assert_eq!(B256::from(shown.value), told);
        let expected = (!shown.value.is_zero()).then(|| encoded(shown.value));
        let key = Nibbles::unpack(keccak256(B256::from(*slot)));
        verify_proof(proof.storage_hash, key, expected, &shown.proof).unwrap();
        values.push(shown.value);
    }
    values
}

fn at(number: u64) -> Value {
    json!(format!("0x{number:x}"))
}

#[tokio::test]
async fn every_block_of_the_history_is_proven_against_its_header() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 5).await;
    let deployed = handle.head().number;
    for _ in 0..5 {
        increment(&handle, probe).await;
    }
    let slots = [U256::ZERO, U256::from(1), U256::MAX];
    for number in 0..=handle.head().number {
        let values = check(&handle, probe, &slots, &at(number)).await;
        let expected = if number < deployed { 0 } else { 5 + number - deployed };
        assert_eq!(values[0], U256::from(expected), "block {number}");
        for other in [chain.accounts()[0].address, SINK, Address::ZERO] {
            check(&handle, other, &[], &at(number)).await;
        }
    }
}

#[tokio::test]
async fn going_back_takes_the_root_back() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let root = |block: &Block| block.header.state_root;
    let before: Block = ask(&handle, "eth_getBlockByNumber", json!(["latest", false])).await;
    let snapshot: String = ask(&handle, "evm_snapshot", json!([])).await;
    increment(&handle, probe).await;
    increment(&handle, probe).await;
    let _: bool = ask(&handle, "evm_revert", json!([snapshot])).await;
    check(&handle, probe, &[U256::ZERO], &json!("latest")).await;
    // An empty block changes nothing, so its root is the one before.
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    let after: Block = ask(&handle, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(root(&after), root(&before));
    increment(&handle, probe).await;
    let _: Value = ask(&handle, "anvil_rollback", json!([1])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    let after: Block = ask(&handle, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(root(&after), root(&before));
}

#[tokio::test]
async fn an_edit_is_in_the_root_of_the_next_block() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 0).await;
    let slot = U256::from(77);
    let value = B256::from(U256::from(9));
    let _: Value = ask(&handle, "hardhat_setStorageAt", json!([probe, slot, value])).await;
    let _: Value = ask(&handle, "hardhat_setStorageAt", json!([SINK, slot, value])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    for owner in [probe, SINK] {
        assert_eq!(check(&handle, owner, &[slot], &json!("latest")).await, [U256::from(9)]);
    }
    let _: Value = ask(&handle, "hardhat_setStorageAt", json!([SINK, slot, B256::ZERO])).await;
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(check(&handle, SINK, &[slot], &json!("latest")).await, [U256::ZERO]);
}

#[tokio::test]
async fn the_root_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = devchain::Config {
        accounts: 3,
        data_dir: Some(dir.path().to_owned()),
        ..devchain::Config::default()
    };
    let chain = open(config.clone());
    let probe = deploy(&chain.handle(), 3).await;
    chain.shutdown().await.unwrap();
    let chain = open(config);
    let handle = chain.handle();
    increment(&handle, probe).await;
    assert_eq!(check(&handle, probe, &[U256::ZERO], &json!("latest")).await, [U256::from(4)]);
}

#[tokio::test]
async fn keys_come_back_as_they_were_asked() {
    let chain = instant();
    let handle = chain.handle();
    let probe = deploy(&handle, 3).await;
    let long = format!("0x{:064x}", 0);
    let answer: Value = ask(&handle, "eth_getProof", json!([probe, ["0x0", long], "latest"])).await;
    assert_eq!(answer["storageProof"][0]["key"], "0x0");
    assert_eq!(answer["storageProof"][1]["key"], json!(long));
    let many: Vec<String> = vec![long; 1_025];
    let error = refused(&handle, "eth_getProof", json!([probe, many, "latest"])).await;
    assert_eq!(error.code, -32602);
    let error = refused(&handle, "eth_getProof", json!([probe, ["word"], "latest"])).await;
    assert_eq!(error.code, -32602);
}
