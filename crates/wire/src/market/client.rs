//! Asking an order book.

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use orders::OrderKind;
use primitives::{CategoryId, DealId, OrderHash};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use super::{
    Category, CategoryQuery, Deal, DealQuery, Metrics, Order, OrderQuery, Page, PageRequest,
    Published, SignedClaim, TrackRecord, Unpublish, Why, WhyQuery,
};
use crate::auth::{Authorization, Challenge};
use crate::http::{ClientError, Http};
use crate::json::{Fields, ShapeError};

/// An order book's HTTP API, for one chain.
#[derive(Debug, Clone)]
pub struct MarketClient {
    http: Http,
    chain_id: u64,
}

impl MarketClient {
    /// A client of the book at that origin.
    pub fn new(origin: &Url, chain_id: u64) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(origin)?, chain_id })
    }

    /// Publishes a signed order. The signer logs in and must be who signed the order.
    pub async fn publish(
        &self,
        order: &Order,
        signer: &PrivateKeySigner,
    ) -> Result<Published, ClientError> {
        let body = json!({"order": order.to_json()?});
        let answer = self.logged_in(Method::POST, order.kind(), &body, signer).await?;
        self.read(&answer, "published", |record| Published::from_json(order.kind(), record))
    }

    /// Takes orders of the signer out of the book; gives back which.
    pub async fn unpublish(
        &self,
        kind: OrderKind,
        target: Unpublish,
        signer: &PrivateKeySigner,
    ) -> Result<Vec<OrderHash>, ClientError> {
        let answer = self.logged_in(Method::PUT, kind, &target.to_json(kind), signer).await?;
        self.read_list(&answer, "unpublished", |hash| {
            let text = hash.as_str().unwrap_or_default();
            crate::json::parse_bytes32("orderHash", text).map(OrderHash)
        })
    }

    /// How the last tasks of a workerpool ended.
    pub async fn track_record(&self, workerpool: Address) -> Result<TrackRecord, ClientError> {
        let answer =
            self.get(&format!("/workerpools/{workerpool}/track-record"), Vec::new()).await?;
        self.read(&answer, "trackRecord", TrackRecord::from_json)
    }

    /// What a workerpool says of its own past, as its owner signed it; nothing if it said nothing lately.
    pub async fn claim(&self, workerpool: Address) -> Result<Option<SignedClaim>, ClientError> {
        let answer = self.get(&format!("/workerpools/{workerpool}/claim"), Vec::new()).await;
        self.found(answer, SignedClaim::from_json)
    }

    /// Says that of the workerpool's own past; its owner has signed it.
    pub async fn put_claim(
        &self,
        workerpool: Address,
        claim: &SignedClaim,
    ) -> Result<(), ClientError> {
        let path = format!("/workerpools/{workerpool}/claim");
        let request = self.request(Method::PUT, &path, Vec::new()).json(&claim.to_json());
        self.http.json(request).await.map(|_| ())
    }

    /// A page of open orders, best price first.
    pub async fn orders(&self, query: &OrderQuery) -> Result<Page<Published>, ClientError> {
        let path = format!("/{}orders", query.kind);
        let answer = self.get(&path, query.to_pairs()).await?;
        self.read_page(&answer, "orders", |record| Published::from_json(query.kind, record))
    }

    /// The open order with the best price.
    pub async fn best_order(&self, query: &OrderQuery) -> Result<Option<Published>, ClientError> {
        let query = OrderQuery { page: PageRequest::first(), ..query.clone() };
        Ok(self.orders(&query).await?.items.into_iter().next())
    }

    /// The order of that hash, whatever became of it; nothing if it is not in the book.
    pub async fn order(
        &self,
        kind: OrderKind,
        hash: OrderHash,
    ) -> Result<Option<Published>, ClientError> {
        let answer = self.get(&format!("/{kind}orders/{hash}"), Vec::new()).await;
        self.found(answer, |record| Published::from_json(kind, record))
    }

    /// A page of deals, newest first.
    pub async fn deals(&self, query: &DealQuery) -> Result<Page<Deal>, ClientError> {
        let answer = self.get("/deals", query.to_pairs()).await?;
        self.read_page(&answer, "deals", Deal::from_json)
    }

    /// A deal; nothing if the book does not know it (yet).
    pub async fn deal(&self, deal: DealId) -> Result<Option<Deal>, ClientError> {
        let answer = self.get(&format!("/deals/{deal}"), Vec::new()).await;
        self.found(answer, Deal::from_json)
    }

    /// A page of categories, shortest first.
    pub async fn categories(&self, query: &CategoryQuery) -> Result<Page<Category>, ClientError> {
        let answer = self.get("/categories", query.to_pairs()).await?;
        self.read_page(&answer, "categories", Category::from_json)
    }

    /// A category; nothing if there is none of that number.
    pub async fn category(&self, category: CategoryId) -> Result<Option<Category>, ClientError> {
        let answer = self.get(&format!("/categories/{category}"), Vec::new()).await;
        self.found(answer, Category::from_json)
    }

    /// Why a request is not matched, and what would help.
    pub async fn why(&self, query: &WhyQuery) -> Result<Why, ClientError> {
        let pairs = query.to_pairs()?;
        let answer = self.get("/why", pairs).await?;
        serde_json::from_value(answer).map_err(|error| self.http.unreadable(error.to_string()))
    }

    /// How the book is doing.
    pub async fn metrics(&self) -> Result<Metrics, ClientError> {
        let answer = self.get("/metrics", Vec::new()).await?;
        serde_json::from_value(answer).map_err(|error| self.http.unreadable(error.to_string()))
    }

    /// The software's version.
    pub async fn version(&self) -> Result<String, ClientError> {
        let answer = self.get("/version", Vec::new()).await?;
        self.read(&answer, "version", |version| Ok(version.as_str().unwrap_or_default().to_owned()))
    }

    async fn login(&self, signer: &PrivateKeySigner) -> Result<Authorization, ClientError> {
        let answer =
            self.get("/challenge", vec![("address", signer.address().to_string())]).await?;
        let challenge = self.read(&answer, "data", Challenge::from_json)?;
        challenge.sign(signer).map_err(ClientError::Unsendable)
    }

    async fn logged_in(
        &self,
        method: Method,
        kind: OrderKind,
        body: &Value,
        signer: &PrivateKeySigner,
    ) -> Result<Value, ClientError> {
        let authorization = self.login(signer).await?;
        let request = self
            .request(method, &format!("/{kind}orders"), Vec::new())
            .header("authorization", authorization.to_string())
            .json(body);
        self.http.json(request).await
    }

    async fn get(
        &self,
        path: &str,
        query: Vec<(&'static str, String)>,
    ) -> Result<Value, ClientError> {
        self.http.json(self.request(Method::GET, path, query)).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        mut query: Vec<(&'static str, String)>,
    ) -> RequestBuilder {
        query.push(("chainId", self.chain_id.to_string()));
        self.http.request(method, path, &query)
    }

    fn read<T>(
        &self,
        answer: &Value,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, ShapeError>,
    ) -> Result<T, ClientError> {
        let value = Fields::of("answer", answer).and_then(|fields| fields.value(name));
        value.and_then(read).map_err(|error| self.http.unreadable(error.0))
    }

    fn read_list<T>(
        &self,
        answer: &Value,
        name: &str,
        read: impl Fn(&Value) -> Result<T, ShapeError>,
    ) -> Result<Vec<T>, ClientError> {
        self.read(answer, name, |list| {
            let list =
                list.as_array().ok_or_else(|| ShapeError(format!("{name} must be a list")))?;
            list.iter().map(read).collect()
        })
    }

    fn read_page<T>(
        &self,
        answer: &Value,
        name: &str,
        read: impl Fn(&Value) -> Result<T, ShapeError>,
    ) -> Result<Page<T>, ClientError> {
        let items = self.read_list(answer, name, read)?;
        let count = self.read(answer, "count", |count| {
            count.as_u64().ok_or_else(|| ShapeError("count must be an integer".to_owned()))
        })?;
        Ok(Page { items, count })
    }

    fn found<T>(
        &self,
        answer: Result<Value, ClientError>,
        read: impl FnOnce(&Value) -> Result<T, ShapeError>,
    ) -> Result<Option<T>, ClientError> {
        match answer {
            Ok(record) => read(&record).map(Some).map_err(|error| self.http.unreadable(error.0)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
