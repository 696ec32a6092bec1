//! An EVM chain in this process, spoken to by JSON-RPC.
//!
//! For development, tests and a market run by a single operator: one process decides alone what is true. It is not a
//! node of any network: there are no peers, no consensus, no fees worth having, and the keys of its accounts are known
//! to everybody. It knows nothing of the market either; whoever wants contracts on it deploys them like anywhere else.
//!
//! ```text
//!   POST /  ─┐                    ┌─ reads: Head + View (as of the last block, any thread)
//!   GET /  ──┼─▶ rpc::Rpc::call ──┤
//!   Handle ──┘                    └─ writes: Command ─▶ engine (one thread) ─▶ pool ─▶ revm ─▶ redb, fsync ─▶ Feed
//!                                                                                                            │
//!                                        filters, eth_subscribe ◀────────────────────────────────────────────┘
//! ```
//!
//! # What holds
//! - **A mined block is on disk before anybody hears of it.** A kill -9 loses nothing that was answered.
//! - **Instant mining, in groups.** Whatever waits while a block is being written goes into the next.
//! - **Clients that cache nonces work.** See [`Handle::request`]: the answer to a submission waits, the transaction does not.
//! - **Timestamps follow the real clock** and never fall; blocks in one second share one, so a busy chain does not run
//!   ahead of time.
//! - **Past state** of the last [`Config::history`] blocks can be asked; older is a clear "pruned" error.
//! - **Memory is bounded**: blocks and state live in the database with a cache of fixed size, and nothing queues without
//!   an end. (With no data directory the database itself is in memory.)
//!
//! # What does not
//! - A change by a development method is in the state at once, and in the `stateRoot` of the *next* block: what is
//!   proven at the newest block in between is not what its header says. Otherwise all roots are real, and `eth_getProof`
//!   answers as far back as 50,000 changed places allow.
//! - Prague rules with all their precompiles (those for BLS12-381 and KZG in pure Rust, slower than the usual C), but no
//!   beacon chain: no withdrawals, no blobs (type 3 transactions are refused), no system calls (EIP-2935, EIP-4788).
//! - Safe and finalized mean latest. Only the operator can undo blocks, with `anvil_reorg`, `anvil_rollback` or
//!   `evm_revert`.
//! - The pending block shows what waits for it, not what would come of it; calls at "pending" see the newest state.
//! - No tracing (`debug_*`), no history of who sent what beyond the blocks themselves.
//!
//! # What it understands
//! - `eth_*` as ethers v6, viem and alloy use it: blocks, transactions of types 0, 1, 2 and 4, receipts, proofs, calls with
//!   overrides of state and block, estimates, access lists, fee history, logs, filters; `eth_subscribe` to `newHeads`,
//!   `logs` and `newPendingTransactions` on a websocket. `net_*`, `web3_*`, `personal_sign`.
//! - Accounts of [`Config::mnemonic`] are unlocked: `eth_sendTransaction`, `eth_sign`, `eth_signTypedData_v4`.
//! - `evm_` mine, snapshot, revert, increaseTime, setNextBlockTimestamp, setAutomine, setIntervalMining,
//!   setBlockGasLimit; and as `hardhat_` or `anvil_`: mine, setBalance, setNonce, setCode, setStorageAt, setCoinbase,
//!   setNextBlockBaseFeePerGas, impersonateAccount, stopImpersonatingAccount, autoImpersonateAccount, dropTransaction,
//!   dropAllTransactions, rollback, reorg. A change of the state takes effect at once and belongs to the newest block;
//!   snapshots live as long as the process.
//! - Errors in the words that clients look for: `nonce too low`, `insufficient funds for gas * price + value`,
//!   `replacement transaction underpriced`, `execution reverted: …` with code 3 and the data.
//!
//! # What it costs
//! A call at the newest block runs with the time of now, because the newest block may be old; a call at a block's number
//! runs with that block's time. An estimate runs as the next block would. Both may use 300 million gas at most. An answer
//! holds at most 20,000 logs, a batch 2,000 requests, a body 8 MiB; the pool 65,536 transactions, 8,192 of one sender.
//! Calls and searches run on the runtime's blocking threads, eight at a time, and need a tokio runtime; so does
//! [`Handle::request`].
//!
//! A block's state root costs the depth of the tries for each place that changed: for a hundred market tasks settled in one
//! transaction, 110 places, some 170 nodes are hashed and written, 15 kB. Nodes are not kept for the past; a proof at an
//! older block takes back in memory what changed since.
//!
//! On disk it is one file, `chain.redb`, which one process opens at a time. After a kill -9 the whole file is checked
//! before it opens; after [`DevChain::shutdown`] it is not.

mod accounts;
mod clock;
mod config;
mod engine;
mod error;
mod evm;
mod feed;
mod genesis;
mod pool;
mod rpc;
mod shared;
mod storage;

use std::{sync::Arc, thread::JoinHandle};

use alloy_primitives::{Address, B256};
use serde_json::Value;

pub use accounts::{DevAccount, TEST_MNEMONIC};
pub use config::{Config, Mining};
pub use error::Error;
pub use rpc::RequestError;

use engine::{Chain, Engine, Policy};
use rpc::Rpc;
use shared::Shared;
use storage::{Database, Identity};

/// A running chain.
pub struct DevChain {
    handle: Handle,
    writer: JoinHandle<()>,
}

impl DevChain {
    /// Opens the chain in `config.data_dir`, or makes a new one there or in memory.
    ///
    /// Needs no async runtime. Takes some milliseconds; more after a kill -9 of a large chain, whose database is checked.
    ///
    /// # Errors
    /// If the directory cannot be used, is in use, or holds a chain of another format or chain id.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is for one chain")]
    pub fn open(config: Config) -> Result<Self, Error> {
        let accounts = accounts::derive(&config.mnemonic, config.accounts)?;
        let identity = Identity { chain_id: config.chain_id };
        let (database, fresh) = Database::open(config.data_dir.as_deref(), &identity)?;
        if fresh {
            genesis::write(&database, &config, &accounts)?;
        }
        let head = genesis::head(&database, &config)?;
        let shared = Arc::new(Shared::new(config.chain_id, accounts, head));
        let policy = Policy {
            mining: config.mining,
            min_base_fee: config.min_base_fee,
            history: config.history,
        };
        let engine = Engine::new(database, shared.clone(), policy)?;
        let (chain, writer) = Chain::start(engine, shared)?;
        Ok(Self { handle: Handle { rpc: Rpc::new(chain) }, writer })
    }

    /// `POST /` for JSON-RPC, single or batched, and `GET /` for JSON-RPC with subscriptions on a websocket.
    pub fn router(&self) -> axum::Router {
        rpc::router(self.handle.rpc.clone())
    }

    /// The same chain for callers in this process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The accounts it signs for.
    pub fn accounts(&self) -> &[DevAccount] {
        &self.handle.rpc.chain().shared.accounts
    }

    /// Takes no more transactions, mines those it has taken, and closes the database.
    ///
    /// # Errors
    /// If the writer had died.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.handle.rpc.chain().close();
        let joined = tokio::task::spawn_blocking(|| self.writer.join()).await;
        joined.map_err(|_| Error::Stopped)?.map_err(|_| Error::Stopped)
    }
}

/// The chain for callers in this process. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    rpc: Rpc,
}

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time, in seconds since 1970.
    pub timestamp: u64,
}

impl Handle {
    /// Answers a JSON-RPC request, exactly as over HTTP. `params` is an array.
    ///
    /// `eth_sendRawTransaction` of a sender whose nonce was asked for less than 250 ms ago answers only then: ethers v6
    /// remembers answers that long, and would use the same nonce again. The transaction itself is mined at once.
    ///
    /// # Errors
    /// As JSON-RPC has them, with the codes that clients know.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, RequestError> {
        let answer = self.rpc.call(method, Some(params)).await?;
        serde_json::from_str(answer.get())
            .map_err(|error| RequestError::internal(error.to_string()))
    }

    /// Hands in a signed transaction and answers as soon as it is mined (or waiting, unless mining is instant).
    ///
    /// # Errors
    /// If it is refused, in the words of `eth_sendRawTransaction`.
    pub async fn submit_raw(&self, raw: &[u8]) -> Result<B256, RequestError> {
        self.rpc.submit_raw(raw).await
    }

    /// The newest block.
    pub fn head(&self) -> HeadBlock {
        let head = self.rpc.chain().shared.head();
        let header = &head.block.header;
        HeadBlock { number: header.number, hash: head.block.hash, timestamp: header.timestamp }
    }

    /// The addresses that it signs for.
    pub fn accounts(&self) -> Vec<Address> {
        self.rpc.chain().shared.accounts.iter().map(|it| it.address).collect()
    }
}
