//! A node that tells whatever chain the test wants, over HTTP.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, U64, U256, keccak256};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

pub(crate) const HUB: Address = Address::repeat_byte(0x11);
/// Where nodes of Arbitrum chains answer questions about themselves.
const NODE_INTERFACE: Address = Address::with_last_byte(0xc8);
/// `TaskReopen(bytes32 indexed taskid)`: an event with nothing but an id.
const EVENT: &str = "TaskReopen(bytes32)";

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) hash: B256,
    parent: B256,
    /// Ids of the events in it.
    pub(crate) events: Vec<B256>,
}

#[derive(Default)]
struct Script {
    blocks: Vec<Block>,
    made: u64,
    /// More blocks than this in one question for logs are refused.
    most: u64,
    widest: u64,
    failures: u32,
    /// What the hub says to calls of this selector; to others it says an address.
    refusals: Vec<([u8; 4], Bytes)>,
    /// Gas that the chain charges for any data.
    data_gas: Option<u64>,
    /// What a unit of gas costs, on a chain before EIP-1559.
    gas_price: Option<u64>,
    /// Transactions handed in.
    taken: Vec<Bytes>,
}

#[derive(Clone)]
pub(crate) struct Node {
    script: Arc<Mutex<Script>>,
    pub(crate) url: Url,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script { most: u64::MAX, ..Script::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let node = Self { script, url };
        node.grow(1, 0);
        let router = Router::new().route("/", post(answer)).with_state(node.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        node
    }

    /// Adds blocks with so many events each.
    pub(crate) fn grow(&self, blocks: usize, events: usize) {
        let mut script = self.script.lock();
        for _ in 0..blocks {
            script.made += 1;
            let unique =
                |salt: u64| keccak256([script.made.to_be_bytes(), salt.to_be_bytes()].concat());
            let parent = script.blocks.last().map_or(B256::ZERO, |block| block.hash);
            let block = Block {
                hash: unique(u64::MAX),
                parent,
                events: (0..events as u64).map(unique).collect(),
            };
            script.blocks.push(block);
        }
    }

    /// Forgets the newest blocks, but never the first.
    pub(crate) fn drop_newest(&self, blocks: usize) {
        let mut script = self.script.lock();
        let left = script.blocks.len().saturating_sub(blocks).max(1);
        script.blocks.truncate(left);
    }

    pub(crate) fn refuse_wider_than(&self, blocks: u64) {
        self.script.lock().most = blocks;
    }

    pub(crate) fn fail_next(&self, requests: u32) {
        self.script.lock().failures = requests;
    }

    /// Has the hub refuse calls of that function, with that data.
    pub(crate) fn refuse(&self, signature: &str, data: impl Into<Bytes>) {
        let selector = keccak256(signature)[..4].try_into().unwrap();
        self.script.lock().refusals.push((selector, data.into()));
    }

    /// Makes it a rollup that charges for data.
    pub(crate) fn charge_data(&self, gas: u64) {
        self.script.lock().data_gas = Some(gas);
    }

    /// Makes it a chain before EIP-1559.
    pub(crate) fn price_gas(&self, wei: u64) {
        self.script.lock().gas_price = Some(wei);
    }

    /// Transactions handed in so far, as they came.
    pub(crate) fn taken(&self) -> Vec<Bytes> {
        self.script.lock().taken.clone()
    }

    pub(crate) fn widest(&self) -> u64 {
        self.script.lock().widest
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        self.script.lock().blocks.clone()
    }
}

async fn answer(State(node): State<Node>, Json(request): Json<Value>) -> Json<Value> {
    let mut script = node.script.lock();
    let outcome = if script.failures > 0 {
        script.failures -= 1;
        Err(json!({ "code": -32005, "message": "rate limit" }))
    } else {
        script.answer(request["method"].as_str().unwrap(), &request["params"])
    };
    let (key, value) = match outcome {
        Ok(result) => ("result", result),
        Err(error) => ("error", error),
    };
    Json(json!({ "jsonrpc": "2.0", "id": request["id"], key: value }))
}

impl Script {
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        match method {
            "eth_chainId" => Ok(json!("0x1")),
            "eth_call" => self.call(&params[0]),
            "eth_gasPrice" => Ok(json!(U256::from(self.gas_price.unwrap_or(7)))),
            "eth_getTransactionCount" => Ok(json!("0x0")),
            "eth_sendRawTransaction" => {
                let raw: Bytes = serde_json::from_value(params[0].clone()).unwrap();
                let hash = keccak256(&raw);
                self.taken.push(raw);
                Ok(json!(hash))
            }
            "eth_getBlockByNumber" => Ok(self.block(&params[0])),
            "eth_getLogs" => self.logs(&params[0]),
            _ => Err(json!({ "code": -32601, "message": "no such method" })),
        }
    }

    /// Whatever the hub is asked at the start is an address.
    fn call(&self, call: &Value) -> Result<Value, Value> {
        let data: Bytes = serde_json::from_value(call["data"].clone()).unwrap();
        let to: Address = serde_json::from_value(call["to"].clone()).unwrap();
        if to == NODE_INTERFACE {
            let words = |gas| [U256::from(gas); 3].map(|it| it.to_be_bytes::<32>()).concat();
            return Ok(json!(Bytes::from(self.data_gas.map(words).unwrap_or_default())));
        }
        match self.refusals.iter().find(|(selector, _)| data.starts_with(selector)) {
            Some((_, data)) => {
                Err(json!({ "code": 3, "message": "execution reverted", "data": data }))
            }
            None => Ok(json!(B256::left_padding_from(&[0x22]))),
        }
    }

    fn block(&self, at: &Value) -> Value {
        let number = match at.as_str() {
            Some("latest") => self.blocks.len() - 1,
            _ => number(at),
        };
        let Some(block) = self.blocks.get(number) else {
            return Value::Null;
        };
        let mut bloom = Bloom::ZERO;
        // Something that concerns nobody, as in any block of a busy chain.
        bloom.accrue(BloomInput::Raw(&[1]));
        if !block.events.is_empty() {
            bloom.accrue(BloomInput::Raw(&HUB[..]));
        }
        json!({
            "number": U64::from(number),
            "hash": block.hash,
            "parentHash": block.parent,
            "timestamp": U64::from(1_000 + number),
            "logsBloom": bloom,
            "baseFeePerGas": self.gas_price.is_none().then(|| U256::from(7)),
        })
    }

    fn logs(&mut self, filter: &Value) -> Result<Value, Value> {
        let range = match filter.get("blockHash") {
            Some(hash) => {
                let hash: B256 = serde_json::from_value(hash.clone()).unwrap();
                let at = self.blocks.iter().position(|block| block.hash == hash);
                at.map(|at| at..=at)
                    .ok_or_else(|| json!({ "code": -32000, "message": "unknown block" }))?
            }
            None => {
                let (from, to): (usize, usize) =
                    (number(&filter["fromBlock"]), number(&filter["toBlock"]));
                let width = (to - from + 1) as u64;
                if width > self.most {
                    return Err(json!({ "code": -32602, "message": "block range too wide" }));
                }
                self.widest = self.widest.max(width);
                from..=to
            }
        };
        let blocks = self.blocks.iter().enumerate();
        let blocks = blocks.filter(|(number, _)| range.contains(number));
        let logs: Vec<Value> = blocks
            .flat_map(|(number, block)| {
                block.events.iter().enumerate().map(move |(index, id)| {
                    json!({
                        "address": HUB,
                        "topics": [keccak256(EVENT), id],
                        "data": "0x",
                        "blockNumber": U64::from(number),
                        "blockHash": block.hash,
                        "transactionHash": id,
                        "transactionIndex": "0x0",
                        "logIndex": U64::from(index),
                        "removed": false,
                    })
                })
            })
            .collect();
        Ok(json!(logs))
    }
}

fn number(value: &Value) -> usize {
    serde_json::from_value::<U64>(value.clone()).unwrap().to()
}
