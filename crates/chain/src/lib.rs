//! The market's chain: reading it, following it, and sending to it.
//!
//! * [`Client`] reads: deals, tasks, accounts, assets, in types of our own.
//! * [`Client::follow`] tells what happens, from a [`Cursor`] on, every event once and in order.
//! * [`Wallet`] sends: one lane of nonces per address, many transactions in flight.
//! * [`Client::receipt_of`] collects what proves to anybody what came of a task.
//! * [`calls`] says what to send, [`deploy`] puts up a whole market.
//!
//! ```text
//!            ┌────────── Client ──────────┐
//!  follow ◄──┤ Live: heads, events        │◄─ newHeads ─┐
//!  mined  ◄──┤ Lanes: nonces, receipts    │             ├─ a node, by websocket or HTTP
//!  reads  ◄──┤ views                      │── requests ─┘
//!            └────────────────────────────┘
//! ```
//!
//! Not here: rules (`orders`, `verdict`, `tasks`), and what is done about an event. This is the only crate that holds
//! a connection to a chain, and it talks to the embedded one exactly as it would to any other.

mod abi;
mod blocks;
pub mod calls;
mod client;
pub mod deploy;
mod error;
mod events;
mod follow;
mod matching;
mod proof;
mod receipt;
mod revert;
mod rpc;
mod types;
mod wallet;

pub use blocks::MarketBlock;
pub use client::{Client, ClientOptions, Head};
pub use error::{Error, ErrorKind, Result};
pub use events::{ChainEvent, MarketEvent};
pub use follow::{Cursor, Follower, Update};
pub use matching::deposit_and_match;
pub use proof::{Collected, ProofError};
pub use receipt::Receipt;
pub use revert::{Reason, Revert};
pub use types::{
    Account, App, AssetKind, AssetTerms, Category, Contracts, Contribution, ContributionStatus,
    Dataset, Deal, Task, TaskStatus, Workerpool,
};
pub use wallet::{Pending, TxRequest, Wallet, WalletOptions};
