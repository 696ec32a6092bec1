//! What an order book must be able to do, and how it says no.

use alloy_primitives::Address;
use async_trait::async_trait;
use orders::OrderKind;
use primitives::{CategoryId, DealId, OrderHash};

use super::{
    Category, CategoryQuery, Deal, DealQuery, Metrics, Order, OrderQuery, Page, PricePoint,
    Published, RateLimit, SignedClaim, TrackRecord, Unpublish, Why, WhyQuery,
};
use crate::auth::{Authorization, Challenge};
use crate::json::ShapeError;

/// An order book.
#[async_trait]
pub trait MarketApi: Send + Sync + 'static {
    /// The chain that the book is for; requests for others are refused before they get here.
    fn chain_id(&self) -> u64;

    /// The software's version.
    fn version(&self) -> String;

    /// How often one caller may ask; nothing for no limit.
    fn rate_limit(&self) -> Option<RateLimit> {
        Some(RateLimit::default())
    }

    /// How the book is doing.
    async fn metrics(&self) -> Result<Metrics, ApiError>;

    /// A challenge for logging in with that wallet.
    async fn challenge(&self, wallet: Address) -> Result<Challenge, ApiError>;

    /// The wallet that an authorization proves. Its challenge is used up.
    async fn login(&self, authorization: &Authorization) -> Result<Address, ApiError>;

    /// Publishes an order for a wallet that has logged in.
    async fn publish(&self, wallet: Address, order: Order) -> Result<Published, ApiError>;

    /// Takes orders of a wallet that has logged in out of the book.
    async fn unpublish(
        &self,
        wallet: Address,
        kind: OrderKind,
        target: Unpublish,
    ) -> Result<Vec<OrderHash>, ApiError>;

    /// The order of that kind and hash, whatever became of it.
    async fn order(&self, kind: OrderKind, hash: OrderHash) -> Result<Published, ApiError>;

    /// Open orders, best price first.
    async fn orders(&self, query: &OrderQuery) -> Result<Page<Published>, ApiError>;

    /// A deal.
    async fn deal(&self, deal: DealId) -> Result<Deal, ApiError>;

    /// Deals, newest first.
    async fn deals(&self, query: &DealQuery) -> Result<Page<Deal>, ApiError>;

    /// Why a request is not matched, and what would help.
    async fn why(&self, query: &WhyQuery) -> Result<Why, ApiError> {
        let _ = query;
        Err(ApiError::NotFound("explanation"))
    }

    /// How the last tasks of a workerpool ended.
    async fn track_record(&self, workerpool: Address) -> Result<TrackRecord, ApiError> {
        let _ = workerpool;
        Ok(TrackRecord::default())
    }

    /// What a workerpool says of its own past, as its owner signed it.
    async fn claim(&self, workerpool: Address) -> Result<SignedClaim, ApiError> {
        let _ = workerpool;
        Err(ApiError::NotFound("claim"))
    }

    /// Takes in what a workerpool says of its own past, if its owner signed it and it is newer than what is known.
    async fn put_claim(&self, workerpool: Address, claim: SignedClaim) -> Result<(), ApiError> {
        let _ = (workerpool, claim);
        Err(ApiError::NotFound("claim"))
    }

    /// What computing in a category cost in its last deals, newest first.
    async fn prices(&self, category: u64) -> Result<Vec<PricePoint>, ApiError> {
        let _ = category;
        Ok(Vec::new())
    }

    /// A category.
    async fn category(&self, category: CategoryId) -> Result<Category, ApiError>;

    /// Categories, shortest first.
    async fn categories(&self, query: &CategoryQuery) -> Result<Page<Category>, ApiError>;
}

/// Why the book does not do what was asked. The texts go to the caller as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is not of the right shape: 400.
    #[error("{0}")]
    Invalid(String),
    /// The login is missing, wrong, used or expired: 403, always with the same text.
    #[error("invalid authorization")]
    Unauthorized,
    /// A rule of the market forbids it: 403.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing: 404.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The caller asks too often: 429.
    #[error("Rate limit exceeded")]
    TooOften,
    /// The body is too large: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The caller is too slow: 408.
    #[error("{0}")]
    TooSlow(String),
    /// The chain or the store does not answer: 500. What happened goes to the log, not to the caller.
    #[error("Something went wrong, you should retry later.")]
    Unavailable,
    /// A fault of the book: 500.
    #[error("Internal error")]
    Internal,
}

impl ApiError {
    /// Whether the same request may work later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::TooOften | Self::TooSlow(_) | Self::Unavailable)
    }
}

impl From<ShapeError> for ApiError {
    fn from(error: ShapeError) -> Self {
        Self::Invalid(error.0)
    }
}
