//! Starting and stopping the book.

use std::sync::Arc;
use std::time::Duration;

use chain::Client;
use store::{Cursor, Store};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use wire::market::{Change, MarketApi, RateLimit};

use crate::Error;
use crate::book::{Book, CURSOR, SharedBook};
use crate::ledger::{self, News};
use crate::watcher;

/// What the book works with.
#[derive(Clone)]
pub struct Config {
    /// The market's chain.
    pub client: Client,
    /// Where the book is kept. Other services may keep theirs in the same store.
    pub store: Store,
    /// The block after which to begin when the store knows of none; the block before the market's first saves time.
    pub start_block: u64,
    /// How much anybody may ask for.
    pub limits: Limits,
}

impl Config {
    /// From the first block on, with the official API's limits.
    pub fn new(client: Client, store: Store) -> Self {
        Self { client, store, start_block: 0, limits: Limits::default() }
    }
}

/// How much anybody may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open orders of each kind that a wallet may have.
    pub open_orders_max: u64,
    /// How often one caller may ask; nothing for no limit.
    pub rate_limit: Option<RateLimit>,
    /// How long a login challenge can be answered.
    pub challenge_lifetime: Duration,
    /// Open challenges of one wallet.
    pub challenges_per_wallet_max: usize,
    /// Open challenges of all wallets.
    pub challenges_max: usize,
}

/// As the official API, where it has such a limit.
impl Default for Limits {
    fn default() -> Self {
        Self {
            open_orders_max: 50,
            rate_limit: Some(RateLimit::default()),
            challenge_lifetime: Duration::from_secs(300),
            challenges_per_wallet_max: 64,
            challenges_max: 65_536,
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct Orderbook;

impl Orderbook {
    /// Starts to follow the chain from where the book left it. The book answers at once, while it catches up.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(config: Config, cancel: CancellationToken) -> Result<Handle, Error> {
        let from = resume_at(&config.store, config.start_block).await?;
        let news = ledger::follow(&config.client, from);
        let ledger = Arc::new(config.client);
        let book = Book::open(ledger, config.store, config.limits).await?;
        Ok(run(book, from, news, cancel))
    }
}

/// A running book. Cheap to clone; it runs until its token is cancelled.
#[derive(Clone)]
pub struct Handle {
    book: SharedBook,
    seen: watch::Receiver<u64>,
}

impl Handle {
    /// What `wire::market::router` makes routes of.
    pub fn api(&self) -> Arc<dyn MarketApi> {
        self.book.clone()
    }

    /// The book's routes.
    pub fn router(&self) -> wire::Router {
        wire::market::router(self.api())
    }

    /// What changes in the book from now on. A listener that falls behind by more than a thousand changes is told how
    /// many it has missed, and may look the rest up.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.book.feed.subscribe()
    }

    /// The last block that the book has taken in.
    pub fn last_block(&self) -> u64 {
        *self.seen.borrow()
    }

    /// Waits until the book has taken in that block; `false` when it stops before.
    pub async fn caught_up(&self, block: u64) -> bool {
        self.seen.clone().wait_for(|seen| *seen >= block).await.is_ok()
    }

    /// Waits until the book has stopped.
    pub async fn stopped(&self) {
        let mut seen = self.seen.clone();
        while seen.changed().await.is_ok() {}
    }
}

/// Behind which block to go on.
pub(crate) async fn resume_at(store: &Store, start_block: u64) -> Result<Cursor, Error> {
    let start = Cursor { number: start_block, hash: alloy_primitives::B256::ZERO };
    Ok(store.cursor(CURSOR).await?.unwrap_or(start))
}

/// Runs the watcher in a task of its own.
pub(crate) fn run(book: Book, from: Cursor, news: impl News, cancel: CancellationToken) -> Handle {
    book.set_last_block(from.number);
    let book = Arc::new(book);
    let (seen_writer, seen) = watch::channel(from.number);
    tokio::spawn(watcher::watch(Arc::clone(&book), news, seen_writer, cancel));
    Handle { book, seen }
}
