//! The order book's door: the official market API.
//!
//! Shapes, statuses and texts are those of the official API (7.1), because its clients read them; where ours is more
//! generous (several open challenges for each wallet, numbers as text on input) the official clients do not notice.
//!
//! ```text
//! request ─► rate limit ─► router: chain id, query, login, shape ─► dyn MarketApi ─► {ok: true, …} | {ok: false, error}
//! ```
//!
//! **Layout:** `order` the four orders in JSON · `record` what the book says about orders, deals, categories · `query`
//! what may be asked · `claim` what a workerpool says of itself · `api` the trait and its errors · `server` the routes · `change` what a
//! live feed tells · `feed` the feed · `limit` callers that ask too much · `client`.

mod api;
mod change;
mod claim;
mod client;
mod feed;
mod limit;
mod order;
mod query;
mod record;
mod server;
mod why;

pub use api::{ApiError, MarketApi};
pub use change::Change;
pub use claim::{Claim, Machines, SignedClaim};
pub use client::MarketClient;
pub use feed::{FEED_PATH, FeedLimits, feed};
pub use limit::RateLimit;
pub use order::Order;
pub use query::{CategoryQuery, DealQuery, OrderQuery, PageRequest, PartyFilter, Unpublish};
pub use record::{
    Asset, Category, Deal, Metrics, OrderStatus, Page, PricePoint, Published, TrackRecord,
};
pub use server::{cors, router};
pub use why::{Named, OfferHashes, Remedy, Why, WhyQuery};

/// The name that logins to the order book are signed under.
pub const REALM: &str = "iExec Gateway";

/// What a login challenge says before its random part.
pub const CHALLENGE_TEXT: &str = "Sign this message to log into iExec Gateway: ";
