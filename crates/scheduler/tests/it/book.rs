//! An order book that takes everything and remembers it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use async_trait::async_trait;
use orders::{Domain, OrderKind, WorkerpoolOrder};
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, OrderHash};
use wire::UnixMillis;
use wire::auth::{Authorization, Challenge, OpenChallenges};
use wire::market::{
    ApiError, CHALLENGE_TEXT, Category, CategoryQuery, Claim, Deal, DealQuery, MarketApi,
    MarketClient, Metrics, Order, OrderQuery, OrderStatus, Page, Published, REALM, RateLimit,
    SignedClaim, Unpublish,
};

use crate::market::{PATIENCE, serve};

pub(crate) struct Book {
    domain: Domain,
    challenges: Mutex<OpenChallenges>,
    orders: Mutex<Vec<Published>>,
    claims: Mutex<Vec<SignedClaim>>,
}

impl Book {
    pub(crate) async fn open(domain: Domain) -> (Arc<Self>, MarketClient) {
        let challenges = Mutex::new(OpenChallenges::new(Duration::from_secs(60), 8, 100));
        let book = Arc::new(Self {
            domain,
            challenges,
            orders: Mutex::default(),
            claims: Mutex::default(),
        });
        let router = wire::market::router(Arc::clone(&book) as Arc<dyn MarketApi>);
        let origin = format!("http://{}", serve(router).await).parse().unwrap();
        (book, MarketClient::new(&origin, domain.chain_id).unwrap())
    }

    /// Open orders, oldest first.
    pub(crate) fn open_orders(&self) -> Vec<WorkerpoolOrder> {
        let orders = self.orders.lock();
        let open = orders.iter().filter(|published| published.status == OrderStatus::Open);
        open.map(|published| match &published.order {
            Order::Workerpool(order) => order.clone(),
            other => panic!("a scheduler published {other:?}"),
        })
        .collect()
    }

    /// What was last said of workerpools, and by whom; waits until it is that.
    pub(crate) async fn until_claim(&self, is_it: impl Fn(&Claim) -> bool) -> (Claim, Address) {
        let start = Instant::now();
        loop {
            let last = self.claims.lock().last().map(|last| last.read().unwrap());
            if let Some(last) = last.filter(|(claim, _)| is_it(claim)) {
                return last;
            }
            assert!(start.elapsed() < PATIENCE, "nobody says that");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_open(&self, count: usize) -> Vec<WorkerpoolOrder> {
        let start = Instant::now();
        loop {
            let open = self.open_orders();
            if open.len() == count {
                return open;
            }
            assert!(start.elapsed() < PATIENCE, "{} orders, not {count}", open.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl MarketApi for Book {
    fn chain_id(&self) -> u64 {
        self.domain.chain_id
    }

    fn version(&self) -> String {
        String::new()
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        None
    }

    async fn challenge(&self, wallet: Address) -> Result<Challenge, ApiError> {
        let fresh = Challenge::fresh(REALM, self.domain.chain_id, CHALLENGE_TEXT);
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }

    async fn login(&self, authorization: &Authorization) -> Result<Address, ApiError> {
        let wallet = self.challenges.lock().redeem(authorization, Instant::now());
        wallet.ok_or(ApiError::Unauthorized)
    }

    async fn publish(&self, wallet: Address, order: Order) -> Result<Published, ApiError> {
        let hash = order.hash(&self.domain);
        assert!(orders::signature::is_signed_by(wallet, hash.0, order.sign()));
        let published = Published {
            hash,
            chain_id: self.domain.chain_id,
            published_at: UnixMillis::now(),
            signer: wallet,
            status: OrderStatus::Open,
            remaining: order.volume().saturating_to(),
            order,
            track_record: None,
            claimed: None,
        };
        self.orders.lock().push(published.clone());
        Ok(published)
    }

    async fn unpublish(
        &self,
        _wallet: Address,
        _kind: OrderKind,
        target: Unpublish,
    ) -> Result<Vec<OrderHash>, ApiError> {
        let Unpublish::Order(hash) = target else { return Err(ApiError::Internal) };
        self.orders.lock().retain(|published| published.hash != hash);
        Ok(vec![hash])
    }

    async fn order(&self, _kind: OrderKind, hash: OrderHash) -> Result<Published, ApiError> {
        let orders = self.orders.lock();
        let found = orders.iter().find(|published| published.hash == hash).cloned();
        found.ok_or(ApiError::NotFound("order"))
    }

    async fn orders(&self, _query: &OrderQuery) -> Result<Page<Published>, ApiError> {
        let items = self.orders.lock().clone();
        Ok(Page { count: items.len() as u64, items })
    }

    async fn put_claim(&self, _: Address, claim: SignedClaim) -> Result<(), ApiError> {
        self.claims.lock().push(claim);
        Ok(())
    }

    async fn metrics(&self) -> Result<Metrics, ApiError> {
        Err(ApiError::Internal)
    }

    async fn deal(&self, _deal: DealId) -> Result<Deal, ApiError> {
        Err(ApiError::Internal)
    }

    async fn deals(&self, _query: &DealQuery) -> Result<Page<Deal>, ApiError> {
        Err(ApiError::Internal)
    }

    async fn category(&self, _category: CategoryId) -> Result<Category, ApiError> {
        Err(ApiError::Internal)
    }

    async fn categories(&self, _query: &CategoryQuery) -> Result<Page<Category>, ApiError> {
        Err(ApiError::Internal)
    }
}
