//! JSON-RPC: the chain as clients see it.
//!
//! `Rpc::call` is the whole interface: a method and its parameters in, a value or an error out. HTTP (`http`), websockets
//! (`socket`) and callers in the same process all come through here.

mod call;
mod develop;
mod error;
mod filters;
mod http;
mod logs;
mod params;
mod read;
mod send;
mod shapes;
mod sign;
mod socket;

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U64, keccak256};
use alloy_rpc_types_eth::{BlockId, BlockNumberOrTag};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::Semaphore;

use crate::{
    engine::Chain,
    shared::{Head, Shared},
    storage::BlockHead,
};

pub use error::RequestError;
use filters::Filters;
pub(crate) use http::router;
use params::Params;

/// Written as it goes out, once: blocks full of logs would be a tree of many small pieces in between.
type Answer = Result<Box<RawValue>, RequestError>;

/// Calls and log searches running at the same time. They take processor time, so more would only slow each other down.
const HEAVY_MAX: usize = 8;

/// All methods, on one chain. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rpc {
    chain: Chain,
    filters: Arc<Filters>,
    heavy: Arc<Semaphore>,
}

impl Rpc {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain, filters: Arc::default(), heavy: Arc::new(Semaphore::new(HEAVY_MAX)) }
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Answers one request.
    pub(crate) async fn call(&self, method: &str, params: Option<Value>) -> Answer {
        let params = Params::new(params)?;
        match method.split_once('_') {
            Some(("eth", name)) => self.eth(method, name, &params).await,
            Some(("net" | "web3", _)) => self.about(method, &params),
            Some(("evm" | "hardhat" | "anvil", _)) => self.develop(method, &params).await,
            Some(("personal", "sign")) => self.personal_sign(&params),
            Some(("txpool", "status")) => self.txpool_status(),
            _ => Err(RequestError::unknown_method(method)),
        }
    }

    async fn eth(&self, method: &str, name: &str, params: &Params) -> Answer {
        match name {
            "chainId" => quantity(self.shared().chain_id),
            "blockNumber" => quantity(self.head().block.header.number),
            "syncing" | "mining" => answer(false),
            "accounts" => {
                answer(self.shared().accounts.iter().map(|it| it.address).collect::<Vec<Address>>())
            }
            "coinbase" => answer(self.head().coinbase),
            "getBlockByNumber" | "getBlockByHash" => self.get_block(name, params),
            "getBlockReceipts" => self.get_block_receipts(params),
            "getBlockTransactionCountByNumber" | "getBlockTransactionCountByHash" => {
                self.get_block_transaction_count(params)
            }
            "getUncleCountByBlockNumber" | "getUncleCountByBlockHash" => quantity(0),
            "getTransactionByHash" => self.get_transaction(params),
            "getRawTransactionByHash" => self.get_raw_transaction(params),
            "getTransactionByBlockNumberAndIndex" | "getTransactionByBlockHashAndIndex" => {
                self.get_transaction_in_block(params)
            }
            "getTransactionReceipt" => self.get_receipt(params),
            "getBalance" => self.get_balance(params),
            "getTransactionCount" => self.get_transaction_count(params),
            "getCode" => self.get_code(params),
            "getStorageAt" => self.get_storage_at(params),
            "getProof" => self.get_proof(params).await,
            "gasPrice" => self.gas_price(),
            "blobBaseFee" => quantity(1),
            "protocolVersion" => quantity(0x44),
            "maxPriorityFeePerGas" => answer(read::PRIORITY_FEE),
            "feeHistory" => self.fee_history(params),
            "call" => self.eth_call(params).await,
            "estimateGas" => self.estimate_gas(params).await,
            "createAccessList" => self.create_access_list(params).await,
            "sendRawTransaction" => self.send_raw_transaction(params).await,
            "sendTransaction" => self.send_transaction(params).await,
            "sign" => self.sign(params),
            "signTypedData" | "signTypedData_v4" => self.sign_typed_data(params),
            "getLogs" => self.get_logs(params).await,
            "newFilter" => self.new_filter(params),
            "newBlockFilter" => self.new_block_filter(),
            "newPendingTransactionFilter" => self.new_pending_filter(),
            "getFilterChanges" => self.filter_changes(params).await,
            "getFilterLogs" => self.filter_logs(params).await,
            "uninstallFilter" => self.uninstall_filter(params),
            "subscribe" | "unsubscribe" => {
                Err(RequestError::new(-32601, "notifications not supported: use a websocket"))
            }
            _ => Err(RequestError::unknown_method(method)),
        }
    }

    fn about(&self, method: &str, params: &Params) -> Answer {
        match method {
            "net_version" => answer(self.shared().chain_id.to_string()),
            "net_listening" => answer(true),
            "net_peerCount" => quantity(0),
            "web3_clientVersion" => {
                answer(concat!("gristmill-devchain/", env!("CARGO_PKG_VERSION"), "/rust"))
            }
            "web3_sha3" => answer(keccak256(params.get::<Bytes>(0)?)),
            _ => Err(RequestError::unknown_method(method)),
        }
    }

    fn txpool_status(&self) -> Answer {
        let waiting = self.shared().pool.lock().len();
        answer(json!({ "pending": U64::from(waiting), "queued": U64::ZERO }))
    }

    fn shared(&self) -> &Shared {
        &self.chain.shared
    }

    fn head(&self) -> Arc<Head> {
        self.shared().head()
    }

    /// Runs something long where it holds up nobody.
    async fn heavily<T: Send + 'static>(
        &self,
        work: impl FnOnce(Rpc) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let stopped = |_| RequestError::internal("the chain has stopped");
        let _permit = self.heavy.acquire().await.map_err(stopped)?;
        let rpc = self.clone();
        let result = tokio::task::spawn_blocking(move || work(rpc)).await;
        result.map_err(|error| RequestError::internal(error.to_string()))?
    }

    /// The block that `id` means, if there is one. What is pending is not a block: it counts as the newest.
    fn find_block(&self, head: &Head, id: BlockId) -> Result<Option<BlockHead>, RequestError> {
        let number = match id {
            BlockId::Hash(hash) => return self.find_hash(head, hash.block_hash),
            BlockId::Number(tag) => match tag {
                BlockNumberOrTag::Number(number) => number,
                BlockNumberOrTag::Earliest => 0,
                // Nothing is undone here unless the operator asks for it, so a mined block is final.
                BlockNumberOrTag::Latest
                | BlockNumberOrTag::Safe
                | BlockNumberOrTag::Finalized
                | BlockNumberOrTag::Pending => return Ok(Some(head.block.clone())),
            },
        };
        if number == head.block.header.number {
            return Ok(Some(head.block.clone()));
        }
        Ok(head.view.block(number)?)
    }

    fn find_hash(&self, head: &Head, hash: B256) -> Result<Option<BlockHead>, RequestError> {
        match head.view.number_of(&hash)? {
            Some(number) => Ok(head.view.block(number)?),
            None => Ok(None),
        }
    }

    /// The same, where there must be one.
    fn need_block(&self, head: &Head, id: Option<BlockId>) -> Result<BlockHead, RequestError> {
        let block = self.find_block(head, id.unwrap_or_default())?;
        block.ok_or_else(|| RequestError::refused("header not found"))
    }
}

fn answer(value: impl Serialize) -> Answer {
    serde_json::value::to_raw_value(&value)
        .map_err(|error| RequestError::internal(error.to_string()))
}

/// Nothing that could be told: `null`.
fn nothing() -> Answer {
    answer(())
}

fn quantity(number: u64) -> Answer {
    answer(U64::from(number))
}
