//! Content-addressed inputs and results, under the names that IPFS gives them.
//!
//! A blob's name is its CID, computed exactly as kubo's `ipfs add` does (UnixFS over dag-pb, chunks of 256 KiB, a
//! balanced tree), so a result's location on chain is valid on any IPFS network, and anybody can check a download
//! against its name. Whole files are kept, not blocks: this is a store with a gateway, not a node of the network.
//!
//! ```text
//!   add(reader) ─► chunk ─► hash ─► tree ─► root CID
//!                    └────► temporary file ─► fsync ─► rename to its name   (already there: dropped)
//! ```
//!
//! [`Blobs::router`] answers `GET|HEAD /ipfs/{cid}` and `POST /api/v0/add`. What it is not: no directories, no pinning
//! by peers, no deletion; who may add is the assembler's business, as is CORS.

mod http;
mod store;
mod tree;

pub use cid::Cid;
pub use store::{AddOptions, Added, Blob, Blobs, Error};
