//! The market API between its client and a book that says what it is asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use async_trait::async_trait;
use axum::extract::ConnectInfo;
use axum::http::Request;
use expect_test::{Expect, expect};
use orders::{AppOrder, Domain, OrderKind};
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, OrderHash};
use serde_json::{Value, json};
use tower::ServiceExt;
use wire::UnixMillis;
use wire::auth::{Authorization, Challenge, OpenChallenges};
use wire::market::{
    ApiError, CHALLENGE_TEXT, Category, CategoryQuery, Deal, DealQuery, MarketApi, MarketClient,
    Metrics, Order, OrderQuery, OrderStatus, Page, Published, REALM, RateLimit, Unpublish, router,
};

use crate::{CHAIN_ID, address, key, serve};

/// Takes everything from whoever has logged in, and finds what it took.
pub(crate) struct Shelf {
    challenges: Mutex<OpenChallenges>,
    published: Mutex<Vec<Published>>,
    rate_limit: Option<RateLimit>,
}

impl Shelf {
    pub(crate) fn new(rate_limit: Option<RateLimit>) -> Arc<Self> {
        Arc::new(Self {
            challenges: Mutex::new(OpenChallenges::new(Duration::from_secs(60), 8, 100)),
            published: Mutex::default(),
            rate_limit,
        })
    }
}

#[async_trait]
impl MarketApi for Shelf {
    fn chain_id(&self) -> u64 {
        CHAIN_ID
    }

    fn version(&self) -> String {
        "1.2.3".into()
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit
    }

    async fn metrics(&self) -> Result<Metrics, ApiError> {
        Ok(Metrics { last_block: 7, ..Metrics::default() })
    }

    async fn challenge(&self, wallet: Address) -> Result<Challenge, ApiError> {
        let fresh = Challenge::fresh(REALM, CHAIN_ID, CHALLENGE_TEXT);
        Ok(self.challenges.lock().open(wallet, fresh, Instant::now()))
    }

    async fn login(&self, authorization: &Authorization) -> Result<Address, ApiError> {
        let wallet = self.challenges.lock().redeem(authorization, Instant::now());
        wallet.ok_or(ApiError::Unauthorized)
    }

    async fn publish(&self, signer: Address, order: Order) -> Result<Published, ApiError> {
        let domain = Domain { chain_id: CHAIN_ID, hub: address(8) };
        let published = Published {
            hash: order.hash(&domain),
            chain_id: CHAIN_ID,
            published_at: UnixMillis(1_568_196_218_068),
            signer,
            status: OrderStatus::Open,
            remaining: order.volume().to(),
            order,
            track_record: None,
            claimed: None,
        };
        self.published.lock().push(published.clone());
        Ok(published)
    }

    async fn unpublish(
        &self,
        _: Address,
        _: OrderKind,
        _: Unpublish,
    ) -> Result<Vec<OrderHash>, ApiError> {
        Ok(self.published.lock().drain(..).map(|published| published.hash).collect())
    }

    async fn order(&self, _: OrderKind, hash: OrderHash) -> Result<Published, ApiError> {
        let found = self.published.lock().iter().find(|known| known.hash == hash).cloned();
        found.ok_or(ApiError::NotFound("apporder"))
    }

    async fn orders(&self, _: &OrderQuery) -> Result<Page<Published>, ApiError> {
        let items = self.published.lock().clone();
        Ok(Page { count: items.len() as u64, items })
    }

    async fn deal(&self, _: DealId) -> Result<Deal, ApiError> {
        Err(ApiError::NotFound("deal"))
    }

    async fn deals(&self, _: &DealQuery) -> Result<Page<Deal>, ApiError> {
        Err(ApiError::Unavailable)
    }

    async fn category(&self, _: CategoryId) -> Result<Category, ApiError> {
        Err(ApiError::NotFound("category"))
    }

    async fn categories(&self, _: &CategoryQuery) -> Result<Page<Category>, ApiError> {
        Ok(Page::default())
    }
}

fn order(price: u64) -> Order {
    let order = AppOrder {
        app: address(0xaa),
        price: U256::from(price),
        volume: U256::from(1),
        ..AppOrder::default()
    };
    Order::from(order)
}

#[tokio::test]
async fn a_client_publishes_finds_and_takes_back() {
    let url = serve(router(Shelf::new(None))).await;
    let (client, alice) = (MarketClient::new(&url, CHAIN_ID).expect("a client"), key(1));
    // Several at once: each login has a challenge of its own.
    let publishing = (1..=5).map(|price| {
        let (client, alice) = (client.clone(), alice.clone());
        async move { client.publish(&order(price), &alice).await }
    });
    let published = futures::future::try_join_all(publishing).await.expect("all are published");
    assert!(published.iter().all(|published| published.signer == alice.address()));

    let best = client.best_order(&OrderQuery::all(OrderKind::App)).await.expect("answers");
    let best = best.expect("an order");
    let again = client.order(OrderKind::App, best.hash).await.expect("answers");
    assert_eq!(again, Some(best.clone()));
    let taken = client.unpublish(OrderKind::App, Unpublish::Order(best.hash), &alice).await;
    assert_eq!(taken.expect("answers").len(), 5);
    assert_eq!(client.order(OrderKind::App, best.hash).await.expect("answers"), None);
    assert_eq!(client.deal(DealId::default()).await.expect("answers"), None);
    assert_eq!(client.metrics().await.expect("answers").last_block, 7);
    assert_eq!(client.version().await.expect("answers"), "1.2.3");

    let refused = MarketClient::new(&url, 1).expect("a client").metrics().await;
    let refused = refused.expect_err("another chain");
    assert_eq!(refused.refusal(), Some("chainId 1 is not supported"));
    let down = client.deals(&DealQuery::default()).await.expect_err("a failing book");
    assert!(down.is_retryable(), "{down}");
}

/// Sends a request as bytes and compares status and body.
async fn check(method: &str, path: &str, headers: &[(&str, &str)], body: &str, expected: &Expect) {
    use std::fmt::Write as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = serve(router(Shelf::new(None))).await;
    let authority = url.authority();
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let _ = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = tokio::net::TcpStream::connect(authority).await.expect("connects");
    // A server that refuses early need not read all of it.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).unwrap_or("no answer");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    expected.assert_eq(&format!("{status} {body}"));
}

#[tokio::test]
async fn hostile_requests_are_told_what_is_wrong() {
    let chain = format!("chainId={CHAIN_ID}");
    let get = async |path: &str, expected: &Expect| check("GET", path, &[], "", expected).await;
    get("/metrics", &expect![[r#"400 {"error":"chainId is a required field","ok":false}"#]]).await;
    get(
        "/metrics?chainId=x",
        &expect![[r#"400 {"error":"chainId x is not supported","ok":false}"#]],
    )
    .await;
    get(
        &format!("/challenge?{chain}"),
        &expect![[r#"400 {"error":"address is a required field","ok":false}"#]],
    )
    .await;
    get(
        &format!("/challenge?{chain}&address=0x12"),
        &expect![[r#"400 {"error":"address is not a valid ethereum address","ok":false}"#]],
    )
    .await;
    get(
        &format!("/apporders?{chain}"),
        &expect![[r#"400 {"error":"app or appOwner is required","ok":false}"#]],
    )
    .await;
    get(
        &format!("/workerpoolorders?{chain}&pageSize=5"),
        &expect![[r#"400 {"error":"pageSize must be greater than or equal to 10","ok":false}"#]],
    )
    .await;
    get(
        &format!("/apporders/0x12?{chain}"),
        &expect![[r#"400 {"error":"orderHash must be a bytes32 hexstring","ok":false}"#]],
    )
    .await;
    get(
        &format!("/deals/zz?{chain}"),
        &expect![[r#"400 {"error":"dealid must be a bytes32 hexstring","ok":false}"#]],
    )
    .await;
    get(
        &format!("/deals?{chain}"),
        &expect![[r#"500 {"error":"Something went wrong, you should retry later.","ok":false}"#]],
    )
    .await;
    get(
        &format!("/categories/-1?{chain}"),
        &expect![[r#"400 {"error":"catid must be greater than or equal to 0","ok":false}"#]],
    )
    .await;
    get(
        &format!("/categories?{chain}"),
        &expect![[r#"200 {"categories":[],"count":0,"ok":true}"#]],
    )
    .await;
    get("/version", &expect![[r#"200 {"ok":true,"version":"1.2.3"}"#]]).await;
}

#[tokio::test]
async fn logins_are_judged_before_bodies() {
    let path = format!("/apporders?chainId={CHAIN_ID}");
    check(
        "POST",
        &path,
        &[],
        "{}",
        &expect![[r#"403 {"error":"invalid authorization","ok":false}"#]],
    )
    .await;
    check(
        "POST",
        &path,
        &[("authorization", "x_y_z")],
        "not json",
        &expect![[r#"403 {"error":"invalid authorization","ok":false}"#]],
    )
    .await;
    check("PUT", &path, &[], "", &expect![[r#"403 {"error":"invalid authorization","ok":false}"#]])
        .await;
    let large = "x".repeat(10 * 1024 * 1024);
    check(
        "POST",
        &path,
        &[],
        &large,
        &expect![[r#"403 {"error":"invalid authorization","ok":false}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_signed_in_body_is_checked_field_by_field() {
    let shelf = Shelf::new(None);
    let url = serve(router(shelf.clone())).await;
    let send = async |body: Value| {
        let challenge = shelf.challenge(key(1).address()).await.expect("opens");
        let authorization = challenge.sign(&key(1)).expect("signs").to_string();
        let url = url.join(&format!("/apporders?chainId={CHAIN_ID}")).expect("a url");
        wire::install_crypto_provider();
        let request = reqwest::Client::new().post(url).header("authorization", authorization);
        let answer = request.json(&body).send().await.expect("answers");
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.expect("JSON");
        format!("{status} {}", answer["error"])
    };
    expect![[r#"400 "order.app is a required field""#]].assert_eq(&send(json!({})).await);
    expect![[r#"400 "body must be an object""#]].assert_eq(&send(json!([])).await);
    expect![[r#"400 "order.app must be a string""#]]
        .assert_eq(&send(json!({"order": {"app": 1}})).await);
}

#[tokio::test]
async fn callers_from_afar_are_limited_and_told_so() {
    let limit = RateLimit { requests_max: 1, period: Duration::from_secs(60) };
    let router = router(Shelf::new(Some(limit)));
    let ask = async |caller: &str| {
        let caller = SocketAddr::new(caller.parse::<IpAddr>().expect("an address"), 1);
        let mut request =
            Request::get("/version").body(axum::body::Body::empty()).expect("a request");
        request.extensions_mut().insert(ConnectInfo(caller));
        let answer = router.clone().oneshot(request).await.expect("answers");
        let left = answer.headers()["x-ratelimit-remaining"].to_str().expect("text").to_owned();
        (answer.status().as_u16(), left)
    };
    assert_eq!(ask("192.0.2.1").await, (200, "0".into()));
    assert_eq!(ask("192.0.2.1").await, (429, "0".into()));
    assert_eq!(ask("127.0.0.1").await, (200, "1".into()));
}
