//! Websockets.

use std::time::Duration;

use alloy_primitives::U64;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use crate::support::*;

struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: u64,
    /// Notes that came while waiting for an answer.
    notes: Vec<Value>,
}

impl Socket {
    async fn open(server: &Server) -> Self {
        let url = format!("ws://{}/", server.address);
        let (inner, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self { inner, id: 0, notes: Vec::new() }
    }

    async fn read(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.inner.next()).await;
            if let Message::Text(text) = message.unwrap().unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.id += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params });
        self.inner.send(Message::Text(request.to_string().into())).await.unwrap();
        self.id
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let message = self.read().await;
            if message["id"] == json!(id) {
                return message;
            }
            self.notes.push(message);
        }
    }

    async fn subscribe(&mut self, params: Value) -> Value {
        self.ask("eth_subscribe", params).await["result"].clone()
    }

    /// The next thing told to `subscription`; what is told to others is an error.
    async fn told(&mut self, subscription: &Value) -> Value {
        let note = if self.notes.is_empty() { self.read().await } else { self.notes.remove(0) };
        assert_eq!(note["method"], "eth_subscription");
        assert_eq!(&note["params"]["subscription"], subscription, "{note}");
        note["params"]["result"].clone()
    }
}

#[tokio::test]
async fn the_same_methods_are_there() {
    let server = Server::start(instant()).await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.ask("eth_chainId", json!([])).await["result"], "0x7a69");
    assert_eq!(socket.ask("eth_nonsense", json!([])).await["error"]["code"], -32601);
    let error = socket.ask("eth_subscribe", json!(["weather"])).await;
    assert_eq!(error["error"]["code"], -32602);
}

#[tokio::test]
async fn new_heads_are_told_in_order_until_unsubscribed() {
    let server = Server::start(instant()).await;
    let mut socket = Socket::open(&server).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let handle = server.chain.handle();
    let _: Value = ask(&handle, "hardhat_mine", json!([3])).await;
    let mut parent = Value::Null;
    for number in 1..=3 {
        let head = socket.told(&heads).await;
        assert_eq!(head["number"], json!(U64::from(number)));
        assert!(parent.is_null() || head["parentHash"] == parent);
        parent = head["hash"].clone();
    }
    assert_eq!(socket.ask("eth_unsubscribe", json!([heads])).await["result"], true);
    let _: Value = ask(&handle, "evm_mine", json!([])).await;
    assert_eq!(socket.ask("eth_blockNumber", json!([])).await["result"], "0x4");
    assert!(socket.notes.is_empty());
}

#[tokio::test]
async fn logs_are_told_and_taken_back() {
    let server = Server::start(instant()).await;
    let handle = server.chain.handle();
    let (probe, other) = (deploy(&handle, 0).await, deploy(&handle, 0).await);
    let mut socket = Socket::open(&server).await;
    let logs = socket.subscribe(json!(["logs", { "address": probe }])).await;
    increment(&handle, other).await;
    let receipt = increment(&handle, probe).await;
    let log = socket.told(&logs).await;
    assert_eq!(log["transactionHash"], receipt["transactionHash"]);
    assert_eq!(log["removed"], false);
    let _: Value = ask(&handle, "anvil_reorg", json!([2, []])).await;
    let log = socket.told(&logs).await;
    assert_eq!(
        (&log["transactionHash"], &log["removed"]),
        (&receipt["transactionHash"], &json!(true))
    );
}

#[tokio::test]
async fn after_a_reorganisation_the_new_heads_are_told() {
    let server = Server::start(instant()).await;
    let handle = server.chain.handle();
    let _: Value = ask(&handle, "hardhat_mine", json!([5])).await;
    let mut socket = Socket::open(&server).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let _: Value = ask(&handle, "anvil_reorg", json!([3, []])).await;
    for number in 3..=5 {
        assert_eq!(socket.told(&heads).await["number"], json!(U64::from(number)));
    }
}

#[tokio::test]
async fn waiting_transactions_are_told() {
    let server = Server::start(manual()).await;
    let handle = server.chain.handle();
    let mut socket = Socket::open(&server).await;
    let pending = socket.subscribe(json!(["newPendingTransactions"])).await;
    let hash = send(&handle, 0, Some(SINK), Vec::new()).await;
    assert_eq!(socket.told(&pending).await, json!(hash));
}

/// Far more blocks than the feed holds go by while the client does not read. It still gets every one, once.
#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    const BLOCKS: u64 = 3_000;
    let server = Server::start(instant()).await;
    let mut socket = Socket::open(&server).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let _: Value = ask(&server.chain.handle(), "hardhat_mine", json!([BLOCKS])).await;
    for number in 1..=BLOCKS {
        assert_eq!(socket.told(&heads).await["number"], json!(U64::from(number)));
    }
}

#[tokio::test]
async fn an_answer_that_waits_holds_up_no_other() {
    let server = Server::start(instant()).await;
    let mut socket = Socket::open(&server).await;
    let key = signer(0);
    socket.ask("eth_getTransactionCount", json!([key.address(), "pending"])).await;
    let slow = socket.send("eth_sendRawTransaction", json!([payment(&key, 0, GWEI)])).await;
    let quick = socket.send("eth_chainId", json!([])).await;
    assert_eq!(socket.read().await["id"], json!(quick));
    assert_eq!(socket.read().await["id"], json!(slow));
}

/// While the client does not read, the chain is shortened, and grows by more than the feed holds.
#[tokio::test]
async fn a_slow_reader_learns_of_a_reorganisation_it_slept_through() {
    let server = Server::start(instant()).await;
    let handle = server.chain.handle();
    let _: Value = ask(&handle, "hardhat_mine", json!([300])).await;
    let snapshot: Value = ask(&handle, "evm_snapshot", json!([])).await;
    let mut socket = Socket::open(&server).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let _: Value = ask(&handle, "hardhat_mine", json!([2])).await;
    assert_eq!(socket.told(&heads).await["number"], "0x12d");
    assert_eq!(socket.told(&heads).await["number"], "0x12e");
    // Whether or not the socket's task saw each of these as it happened, what it tells must lead to the new chain.
    assert!(ask::<bool>(&handle, "evm_revert", json!([snapshot])).await);
    let _: Value = ask(&handle, "anvil_rollback", json!([100])).await;
    let _: Value = ask(&handle, "hardhat_mine", json!([3_000])).await;
    let mut told = Vec::new();
    while told.last() != Some(&json!(U64::from(handle.head().number))) {
        told.push(socket.told(&heads).await["number"].clone());
    }
    let from = told.iter().position(|it| *it == json!(U64::from(201))).expect("the first new one");
    let expected: Vec<Value> = (201..=3_200).map(|it| json!(U64::from(it))).collect();
    assert_eq!(told[from..], expected);
}
