//! A chain, its accounts, and short words for what tests ask of it.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TypedTransaction};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use alloy_sol_types::{SolCall, SolConstructor};
use devchain::{Config, DevChain, Handle, Mining, RequestError, TEST_MNEMONIC};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

alloy_sol_types::sol!(Probe, "tests/probe/Probe.json");

/// Somebody without a history.
pub(crate) const SINK: Address = Address::repeat_byte(0x51);
pub(crate) const GWEI: u128 = 1_000_000_000;

pub(crate) fn open(config: Config) -> DevChain {
    DevChain::open(config).unwrap()
}

pub(crate) fn instant() -> DevChain {
    open(Config { accounts: 3, ..Config::default() })
}

pub(crate) fn manual() -> DevChain {
    open(Config { accounts: 3, mining: Mining::Manual, ..Config::default() })
}

/// The development account at `index`. Slow: it stretches the seed.
pub(crate) fn signer(index: u32) -> PrivateKeySigner {
    MnemonicBuilder::from_phrase(TEST_MNEMONIC).index(index).unwrap().build().unwrap()
}

pub(crate) async fn ask<T: DeserializeOwned>(chain: &Handle, method: &str, params: Value) -> T {
    let value = chain.request(method, params.clone()).await;
    let value = value.unwrap_or_else(|error| panic!("{method} {params}: {error}"));
    serde_json::from_value(value).unwrap()
}

pub(crate) async fn refused(chain: &Handle, method: &str, params: Value) -> RequestError {
    match chain.request(method, params.clone()).await {
        Ok(value) => panic!("{method} {params} gave {value}"),
        Err(error) => error,
    }
}

pub(crate) async fn number(chain: &Handle, method: &str, params: Value) -> u64 {
    ask::<U64>(chain, method, params).await.to()
}

pub(crate) async fn balance(chain: &Handle, address: Address) -> U256 {
    ask(chain, "eth_getBalance", json!([address, "latest"])).await
}

pub(crate) async fn nonce(chain: &Handle, address: Address, tag: &str) -> u64 {
    number(chain, "eth_getTransactionCount", json!([address, tag])).await
}

/// A signed payment of 1 wei, 1559, at `fee`.
pub(crate) fn payment(signer: &PrivateKeySigner, nonce: u64, fee: u128) -> Bytes {
    let tx = TxEip1559 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(SINK),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    sign(signer, tx.into())
}

pub(crate) fn sign(signer: &PrivateKeySigner, tx: TypedTransaction) -> Bytes {
    let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
    let envelope: TxEnvelope = tx.into_envelope(signature);
    envelope.encoded_2718().into()
}

/// Sends `data` from the unlocked account at `from`. Mined already, unless mining is not instant.
pub(crate) async fn send(chain: &Handle, from: usize, to: Option<Address>, data: Vec<u8>) -> B256 {
    let from = chain.accounts()[from];
    let tx = json!({ "from": from, "to": to, "data": Bytes::from(data) });
    ask(chain, "eth_sendTransaction", json!([tx])).await
}

pub(crate) async fn receipt(chain: &Handle, hash: B256) -> Value {
    ask(chain, "eth_getTransactionReceipt", json!([hash])).await
}

/// A new `Probe` that counts from `start`.
pub(crate) async fn deploy(chain: &Handle, start: u64) -> Address {
    let mut code = Probe::BYTECODE.to_vec();
    code.extend(Probe::constructorCall { start: U256::from(start) }.abi_encode());
    let hash = send(chain, 0, None, code).await;
    let receipt = receipt(chain, hash).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    receipt["contractAddress"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn invoke(chain: &Handle, to: Address, call: impl SolCall) -> Value {
    let hash = send(chain, 0, Some(to), call.abi_encode()).await;
    receipt(chain, hash).await
}

/// Parameters of an `eth_call`.
pub(crate) fn calling(to: Address, call: impl SolCall) -> Value {
    json!({ "to": to, "data": Bytes::from(call.abi_encode()) })
}

pub(crate) async fn count(chain: &Handle, probe: Address, block: Value) -> U256 {
    ask(chain, "eth_call", json!([calling(probe, Probe::countCall {}), block])).await
}

pub(crate) async fn increment(chain: &Handle, probe: Address) -> Value {
    invoke(chain, probe, Probe::incrementCall { note: Bytes::new() }).await
}

/// Everything that makes up a moment, as far as a client can see it.
pub(crate) async fn picture(chain: &Handle, probe: Address) -> Value {
    let mut accounts = Vec::new();
    for address in chain.accounts().into_iter().chain([SINK, probe]) {
        accounts
            .push(json!([balance(chain, address).await, nonce(chain, address, "pending").await]));
    }
    let block: Value = ask(chain, "eth_getBlockByNumber", json!(["latest", true])).await;
    let count = count(chain, probe, json!("latest")).await;
    let logs: Value = ask(chain, "eth_getLogs", json!([{ "fromBlock": "earliest" }])).await;
    let slot: B256 = ask(chain, "eth_getStorageAt", json!([probe, "0x0", "latest"])).await;
    let code: Bytes = ask(chain, "eth_getCode", json!([SINK, "latest"])).await;
    json!([accounts, block, count, logs, slot, code])
}

/// A chain behind HTTP on a free port.
pub(crate) struct Server {
    pub(crate) chain: DevChain,
    pub(crate) address: std::net::SocketAddr,
}

impl Server {
    pub(crate) async fn start(chain: DevChain) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = chain.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { chain, address }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An HTTP client. Choosing the cryptography that it does not use here is asked of every program.
pub(crate) fn client() -> reqwest::Client {
    // Another test was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}
