//! What may be asked of the book.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use orders::OrderKind;
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, OrderHash, UnixSeconds};
use store::{CategoryFilter, DealFilter, OrderFilter, Party, Range, Status, Store};
use tokio::sync::broadcast;
use wire::UnixMillis;
use wire::auth::{Authorization, Challenge, OpenChallenges};
use wire::json::SAFE_INTEGER_MAX;
use wire::market::{
    ApiError, CHALLENGE_TEXT, Category, CategoryQuery, Change, Deal, DealQuery, MarketApi, Metrics,
    Order, OrderQuery, Page, PageRequest, PartyFilter, PricePoint, Published, REALM, RateLimit,
    SignedClaim, TrackRecord, Unpublish, Why, WhyQuery,
};

use crate::Error;
use crate::claims::{self, Claims};
use crate::ledger::SharedLedger;
use crate::memory::Memory;
use crate::rows;
use crate::service::Limits;
use crate::track::Track;

/// The name of the cursor behind which the chain has been dealt with.
pub(crate) const CURSOR: &str = "orderbook";

/// Locks that publications of one wallet share; more wallets than that sometimes wait for each other.
const LANES: usize = 1_024;

/// Points of a category's history of prices.
const PRICES_MAX: u64 = 100;

/// Changes that a listener of the feed may lag behind.
const FEED_LEN: usize = 1_024;

/// The book: its store, the chain, and who is logging in.
pub(crate) struct Book {
    pub(crate) ledger: SharedLedger,
    /// The chain for publications; whoever looks after orders in the book asks the ledger itself.
    pub(crate) memory: Memory,
    /// How the tasks of workerpools ended.
    pub(crate) track: Track,
    /// What workerpools say of that.
    pub(crate) claims: Claims,
    pub(crate) store: Store,
    pub(crate) open_orders_max: u64,
    rate_limit: Option<RateLimit>,
    challenges: Mutex<OpenChallenges>,
    /// Publications of one wallet go one after the other, so that none slips past the limit or is saved twice.
    lanes: Vec<tokio::sync::Mutex<()>>,
    /// Grows before each look at new blocks. A publication that sees it grow looks at its order again, because those
    /// blocks may have concerned the order while it was not yet in the book.
    generation: AtomicU64,
    last_block: AtomicU64,
    /// Who listens to what changes.
    pub(crate) feed: broadcast::Sender<Change>,
}

impl Book {
    pub(crate) async fn open(
        ledger: SharedLedger,
        store: Store,
        limits: Limits,
    ) -> Result<Self, Error> {
        let challenges = OpenChallenges::new(
            limits.challenge_lifetime,
            limits.challenges_per_wallet_max,
            limits.challenges_max,
        );
        Ok(Self {
            memory: Memory::new(ledger.clone()),
            track: Track::open(&store).await?,
            claims: Claims::default(),
            ledger,
            store,
            open_orders_max: limits.open_orders_max,
            rate_limit: limits.rate_limit,
            challenges: Mutex::new(challenges),
            lanes: (0..LANES).map(|_| tokio::sync::Mutex::default()).collect(),
            generation: AtomicU64::new(0),
            last_block: AtomicU64::new(0),
            feed: broadcast::Sender::new(FEED_LEN),
        })
    }

    /// Tells the feed. Nobody may be listening, which is no fault.
    pub(crate) fn tell(&self, change: impl FnOnce() -> Change) {
        if self.feed.receiver_count() > 0 {
            let _ = self.feed.send(change());
        }
    }

    /// Tells the feed of an order that is new in the book.
    pub(crate) fn tell_published(&self, row: &store::OrderRow) {
        self.tell(|| Change::Published(Arc::new(self.record(row.clone()))));
    }

    /// Tells the feed of an order that is not open any more.
    pub(crate) fn tell_unpublished(&self, row: &store::OrderRow) {
        self.tell(|| Change::Unpublished { kind: row.kind, hash: row.hash });
    }

    /// Tells the feed of a deal.
    pub(crate) fn tell_deal(&self, row: store::DealRow) {
        let chain_id = self.ledger.chain_id();
        self.tell(|| Change::DealCreated(Arc::new(rows::deal(row, chain_id))));
    }

    /// Tells the feed what has become of an order that was as in `before`.
    pub(crate) fn tell_state(&self, before: &store::OrderRow, state: store::OrderState) {
        match (before.state.status, state.status) {
            (Status::Open, Status::Open) if before.state.remaining != state.remaining => {
                self.tell(|| Change::Updated(Arc::new(self.record_as(before, state))));
            }
            (Status::Open, Status::Open) => {}
            (Status::Open, _) => self.tell_unpublished(before),
            (_, Status::Open) => {
                self.tell(|| Change::Published(Arc::new(self.record_as(before, state))));
            }
            _ => {}
        }
    }

    /// What is known of who offers, where that is a workerpool.
    async fn add_past(&self, record: &mut Published, now: UnixMillis) -> Result<(), Error> {
        if let Order::Workerpool(order) = &record.order {
            record.track_record = self.track.track_record(&self.store, order.workerpool).await?;
            record.claimed = self.claims.of(order.workerpool, now);
        }
        Ok(())
    }

    fn record_as(&self, row: &store::OrderRow, state: store::OrderState) -> Published {
        self.record(store::OrderRow { state, ..row.clone() })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(crate) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn last_block(&self) -> u64 {
        self.last_block.load(Ordering::SeqCst)
    }

    pub(crate) fn set_last_block(&self, number: u64) {
        self.last_block.store(number, Ordering::SeqCst);
    }

    pub(crate) async fn lane(&self, wallet: Address) -> tokio::sync::MutexGuard<'_, ()> {
        let at = usize::from(u16::from_be_bytes([wallet[18], wallet[19]])) % self.lanes.len();
        self.lanes[at].lock().await
    }

    fn record(&self, row: store::OrderRow) -> Published {
        rows::published(row, self.ledger.chain_id())
    }
}

#[async_trait]
impl MarketApi for Book {
    fn chain_id(&self) -> u64 {
        self.ledger.chain_id()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit
    }

    async fn metrics(&self) -> Result<Metrics, ApiError> {
        let open = self.store.open_counts().await.map_err(Error::from)?;
        let cursor = self.store.cursor(CURSOR).await.map_err(Error::from)?;
        Ok(Metrics {
            last_block: self.last_block(),
            checkpoint_block: cursor.map_or(0, |cursor| cursor.number),
            app_orders: open.app,
            dataset_orders: open.dataset,
            workerpool_orders: open.workerpool,
            request_orders: open.request,
        })
    }

    async fn challenge(&self, wallet: Address) -> Result<Challenge, ApiError> {
        let fresh = Challenge::fresh(REALM, self.ledger.chain_id(), CHALLENGE_TEXT);
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }

    async fn login(&self, authorization: &Authorization) -> Result<Address, ApiError> {
        // Recovering the signer takes long, so it is not done while everybody waits, nor for what is not open.
        let open = self.challenges.lock().is_open(authorization, Instant::now());
        if !open || !authorization.is_genuine() {
            return Err(ApiError::Unauthorized);
        }
        let wallet = self.challenges.lock().close(authorization, Instant::now());
        wallet.ok_or(ApiError::Unauthorized)
    }

    async fn publish(&self, wallet: Address, order: Order) -> Result<Published, ApiError> {
        crate::publish::publish(self, wallet, &order).await.map(|row| self.record(row))
    }

    async fn unpublish(
        &self,
        wallet: Address,
        kind: OrderKind,
        target: Unpublish,
    ) -> Result<Vec<OrderHash>, ApiError> {
        crate::unpublish::unpublish(self, wallet, kind, target).await
    }

    async fn order(&self, kind: OrderKind, hash: OrderHash) -> Result<Published, ApiError> {
        let row = self.store.order(hash).await.map_err(Error::from)?;
        let row = row.filter(|row| row.kind == kind);
        let row = row.ok_or(ApiError::NotFound(order_name(kind)))?;
        let mut record = self.record(row);
        self.add_past(&mut record, UnixMillis::now()).await?;
        Ok(record)
    }

    async fn orders(&self, query: &OrderQuery) -> Result<Page<Published>, ApiError> {
        let found = self.store.open_orders(&order_filter(query), range(query.page)).await;
        let (rows, count) = found.map_err(Error::from)?;
        let mut items: Vec<_> = rows.into_iter().map(|row| self.record(row)).collect();
        let now = UnixMillis::now();
        for item in &mut items {
            self.add_past(item, now).await?;
        }
        Ok(Page { items, count })
    }

    async fn track_record(&self, workerpool: Address) -> Result<TrackRecord, ApiError> {
        let known = self.track.track_record(&self.store, workerpool).await?;
        Ok(known.unwrap_or_default())
    }

    async fn claim(&self, workerpool: Address) -> Result<SignedClaim, ApiError> {
        self.claims.signed(workerpool, UnixMillis::now()).ok_or(ApiError::NotFound("claim"))
    }

    async fn put_claim(&self, workerpool: Address, claim: SignedClaim) -> Result<(), ApiError> {
        claims::accept(self, workerpool, claim, UnixMillis::now()).await
    }

    async fn deal(&self, deal: DealId) -> Result<Deal, ApiError> {
        let row = self.store.deal(deal).await.map_err(Error::from)?;
        let row = row.ok_or(ApiError::NotFound("deal"))?;
        Ok(rows::deal(row, self.ledger.chain_id()))
    }

    async fn deals(&self, query: &DealQuery) -> Result<Page<Deal>, ApiError> {
        let found = self.store.deals(&deal_filter(query), range(query.page)).await;
        let (rows, count) = found.map_err(Error::from)?;
        let chain_id = self.ledger.chain_id();
        Ok(Page { items: rows.into_iter().map(|row| rows::deal(row, chain_id)).collect(), count })
    }

    async fn why(&self, query: &WhyQuery) -> Result<Why, ApiError> {
        crate::why::why(self, query).await
    }

    async fn prices(&self, category: u64) -> Result<Vec<PricePoint>, ApiError> {
        let found = self.store.prices(U256::from(category), PRICES_MAX).await;
        let point = |(time, price, volume)| PricePoint { time: UnixSeconds(time), price, volume };
        Ok(found.map_err(Error::from)?.into_iter().map(point).collect())
    }

    async fn category(&self, category: CategoryId) -> Result<Category, ApiError> {
        let number = category.0.saturating_to();
        let row = self.store.category(number).await.map_err(Error::from)?;
        let row = row.ok_or(ApiError::NotFound("category"))?;
        Ok(rows::category(row, self.ledger.chain_id()))
    }

    async fn categories(&self, query: &CategoryQuery) -> Result<Page<Category>, ApiError> {
        let filter = CategoryFilter {
            min_work_clock_seconds: query.min_work_clock_time_ref,
            max_work_clock_seconds: query.max_work_clock_time_ref,
        };
        let found = self.store.categories(filter, range(query.page)).await;
        let (rows, count) = found.map_err(Error::from)?;
        let chain_id = self.ledger.chain_id();
        let items = rows.into_iter().map(|row| rows::category(row, chain_id)).collect();
        Ok(Page { items, count })
    }
}

/// What an order of that kind is called in answers.
pub(crate) fn order_name(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::App => "apporder",
        OrderKind::Dataset => "datasetorder",
        OrderKind::Workerpool => "workerpoolorder",
        OrderKind::Request => "requestorder",
    }
}

fn order_filter(query: &OrderQuery) -> OrderFilter {
    OrderFilter {
        kind: query.kind,
        app: party(query.app),
        dataset: party(query.dataset),
        workerpool: party(query.workerpool),
        requester: party(query.requester),
        signer: query.owner,
        beneficiary: query.beneficiary,
        category: query.category,
        min_tag: query.min_tag,
        max_tag: query.max_tag,
        min_trust: query.min_trust,
        max_trust: query.max_trust,
        min_remaining: query.min_volume,
        min_volume: query.bulk_only.then_some(SAFE_INTEGER_MAX - 1),
        max_price: query.bulk_only.then_some(0),
    }
}

fn party(filter: PartyFilter) -> Party {
    match filter {
        PartyFilter::Any => Party::Any,
        PartyFilter::Unrestricted => Party::Nobody,
        PartyFilter::Admits(address) => Party::Admits(address),
        PartyFilter::Exactly(address) => Party::Is(address),
    }
}

fn deal_filter(query: &DealQuery) -> DealFilter {
    DealFilter {
        category: query.category.map(U256::from),
        requester: query.requester,
        beneficiary: query.beneficiary,
        app: query.app,
        dataset: query.dataset,
        workerpool: query.workerpool,
        app_owner: query.app_owner,
        dataset_owner: query.dataset_owner,
        workerpool_owner: query.workerpool_owner,
        app_hash: query.app_hash,
        dataset_hash: query.dataset_hash,
        workerpool_hash: query.workerpool_hash,
        request_hash: query.request_hash,
    }
}

fn range(page: PageRequest) -> Range {
    Range { skip: page.skip, limit: page.limit }
}

/// A book that many may ask.
pub(crate) type SharedBook = Arc<Book>;
