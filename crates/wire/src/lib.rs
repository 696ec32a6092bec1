//! The wire: the only room that knows HTTP paths and JSON shapes.
//!
//! Each door of the house has a module with three things in it: the *shapes* that cross it, a *trait* that a service
//! implements and a router made from it, and a *client*. So a service never sees a request, and a caller never builds
//! a path.
//!
//! | module | door | served by |
//! |---|---|---|
//! | [`market`] | the order book, as the official market API | `orderbook` |
//! | [`scheduler`] | the state and logs of tasks, uploads of results | `scheduler` |
//! | [`link`] | the connection between a scheduler and each of its workers | `scheduler`, `worker` |
//! | [`sms`] | secrets, and sessions for enclaves | `vault` |
//! | [`compass`] | where workerpools answer, which app a name stands for | `cli` |
//! | [`ipfs`] | storing and fetching content | `blobs` (client only here) |
//! | [`openapi`] | what an origin answers, described for machines and people | `cli` |
//! | [`auth`] | logging in to any of these with a wallet | – |
//! | [`serve`] | listening: limits of time, size and number for all of them | `cli` |
//! | [`description`] | what a market at an origin consists of | `cli` |
//! | [`multiaddr`] | where content is, as the chain keeps it | – |
//! | [`resume`] | downloads that go on after a cut line | – |
//! | [`params`] | the JSON inside a request order | – |
//!
//! What is not here: rules (`orders`, `tasks`, `verdict`), the chain's JSON-RPC (`chain`, `devchain`), storage.
//!
//! Everything that comes in is bounded: bodies, frames, pages, waiting times. What cannot be read is answered with a
//! 4xx and a sentence that says why; it never panics and never becomes a 5xx.

pub mod auth;
pub mod compass;
pub mod description;
mod failure;
mod http;
pub mod ipfs;
pub mod json;
pub mod link;
pub mod market;
pub mod multiaddr;
pub mod openapi;
pub mod params;
mod parts;
pub mod resume;
pub mod scheduler;
mod seats;
pub mod serve;
pub mod sms;
mod time;

pub use axum::Router;
pub use failure::Failure;
pub use http::{ClientError, install_crypto_provider};
pub use time::{ParseMillisError, UnixMillis};
