//! The order book: takes in signed orders, follows the chain, answers best-price queries.
//!
//! ```text
//! publish ─► checks, in the official sequence ─┐
//!              (facts read from the chain)     ├─► store ─► queries, best price first
//! chain ───► watcher: matched, closed, stake   │
//!            gone, sold, rewound ──────────────┘
//! ```
//!
//! An order is in the book because it could be matched when it was published, and it is `open` for as long as it could
//! still be; the block that makes it unmatchable marks it. The book decides nothing about money: what an order is good
//! for is asked of the contract, and whoever matches is checked by the contract again.
//!
//! What is not here: HTTP and JSON (`wire` makes routes of [`Handle::api`]), SQL (`store`), the rules of matching
//! (`orders`).
//!
//! **Layout:** `service` start and stop · `book` what may be asked of it · `publish` the checks · `standing` whether an
//! order can still be matched · `watcher` what blocks change · `track` how tasks ended · `claims` what
//! workerpools say of that · `why` what keeps a request from
//! being matched · `ledger` the chain, as far as the book needs it · `memory`
//! what publications need not ask it again · `multicall` many questions in one call · `rows` orders and deals as the store
//! keeps them.

mod book;
mod claims;
mod error;
mod ledger;
mod memory;
mod multicall;
mod publish;
mod rows;
mod service;
mod standing;
#[cfg(test)]
mod tests;
mod track;
mod unpublish;
mod watcher;
mod why;

pub use error::Error;
pub use service::{Config, Handle, Limits, Orderbook};
