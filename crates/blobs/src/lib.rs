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
//! [`Blobs::router`] answers `GET|HEAD /ipfs/{cid}`, `POST /api/v0/add` and `HEAD|PATCH /uploads/{id}`. What is not here: directories, pinning by peers,
//! deals; who may add is the assembler's business, as is CORS.
//!
//! ```text
//!   files/     what anybody added            results/   results of tasks, needed until a time
//!   uploads/   results that come in parts    parcels/   files that do
//!   incoming/  being written; emptied at the start      pins/  reasons
//! ```
//!
//! **Layout:** `store` the files behind the names · `tree` names · `uploads` that go on after an interruption · `parts`
//! their door · `keep` what is kept and what goes · `room` how much may be written · `http` · `error`.

mod error;
mod http;
mod keep;
mod parts;
mod room;
mod store;
mod tree;
mod uploads;

pub use cid::Cid;
pub use error::Error;
pub use keep::{Keeper, Policy, Swept, Verdict};
pub use room::Limits;
pub use store::{AddOptions, Added, Blob, Blobs, Shelf};
pub use uploads::{ABANDONED_AFTER, Announced, Key, Part, Standing, Uploads, Whole};
