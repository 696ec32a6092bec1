//! Receipts: a file that shows, to anybody and without a connection, what came of a task.
//!
//! A receipt holds the four orders of a deal, and proofs that certain transactions are in certain blocks: the one that
//! made the deal, and those in which the task's life happened. Whoever trusts the hash of the last block, and that the
//! hub is the market's, can believe everything that [`verify`] gives back.
//!
//! ```text
//!  trusted hash ═ header ◀─parent─ header ◀─parent─ header
//!                   │                                 │
//!                   ├ receipts root ─▶ receipt:       ├ receipts root ─▶ receipt: the deal was made of these orders
//!                   │   contributions, consensus,     └ transactions root ─▶ transaction: with these signatures
//!                   │   digest, where the result is
//!                   └ state root ─▶ hub's storage: and there were no more contributions than these
//! ```
//!
//! * **No slack.** A file is its own only spelling: it is printed again from what was read and must be the same bytes.
//!   Everything in it is either proven by a hash or follows from what is. So a file with any byte changed is refused.
//! * **What is proven, and what is only claimed**, is in [`Verified`], and in `docs/receipts.md`.
//!
//! Not here: fetching what a receipt is made of (`chain`), the market's JSON (`wire`), printing for people.
//!
//! **Layout:** `file` its shape and spelling · `verify` the check · `story` what logs say of a task · `block` headers,
//! receipts and transactions as encoded in blocks · `trie` proofs, made and checked · `layout` where hubs keep tasks.

mod block;
mod file;
mod layout;
mod refused;
mod story;
mod trie;
mod verify;

pub use block::{Entry, Outcome, header_number};
pub use file::{
    AppOrderShape, Claims, Contribution, DatasetOrderShape, Evidence, FILE_BYTES_MAX, Fate, Orders,
    Payment, Receipt, RequestOrderShape, Segment, StateProof, Transaction, WorkerpoolOrderShape,
};
pub use layout::Layout;
pub use refused::Refused;
pub use trie::{Ordered, ordered};
pub use verify::{Anchor, SignedBy, Verified, anchors, claims, verify};
