//! The routes of the market API.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use orders::OrderKind;
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, OrderHash};
use serde_json::{Map, Value, json};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::limit::{Allowance, Limiter};
use super::query::Pairs;
use super::{
    ApiError, CategoryQuery, DealQuery, MarketApi, Order, OrderQuery, PageRequest, PricePoint,
    Published, SignedClaim, Unpublish, WhyQuery,
};
use crate::auth::Authorization;
use crate::http::{BodyError, json_answer, read_body};
use crate::json::{Fields, parse_address, parse_bytes32, parse_whole};

/// The largest body: an order with the longest parameters anybody needs.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

const LIMIT_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET_HEADER: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The routes of an order book.
///
/// Rate limits need to know who calls: serve with `into_make_service_with_connect_info::<SocketAddr>()`, else nobody is
/// limited. [`cors`] is left to whoever assembles the origin, because it must be applied once.
pub fn router(book: Arc<dyn MarketApi>) -> Router {
    let limiter = book.rate_limit().map(|limit| Arc::new(Mutex::new(Limiter::new(limit))));
    let mut routes = Router::new()
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/challenge", get(challenge))
        .route("/categories", get(categories))
        .route("/categories/{id}", get(category))
        .route("/deals", get(deals))
        .route("/deals/{id}", get(deal))
        .route("/ohlc", get(ohlc))
        .route("/workerpools/{address}/track-record", get(track_record))
        .route("/workerpools/{address}/claim", get(claim).put(put_claim))
        .route("/why", get(why));
    for kind in OrderKind::ALL {
        routes = routes.merge(order_routes(kind));
    }
    let routes = routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(book);
    match limiter {
        Some(limiter) => routes.layer(middleware::from_fn_with_state(limiter, limited)),
        None => routes,
    }
}

/// Lets browsers of any origin use the API, as the official one does.
pub fn cors() -> CorsLayer {
    let methods =
        [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods(AllowMethods::list(methods))
        .allow_headers(AllowHeaders::mirror_request())
}

type Book = State<Arc<dyn MarketApi>>;
type UrlQuery = Query<HashMap<String, String>>;
type Answer = Result<Map<String, Value>, ApiError>;

fn order_routes(kind: OrderKind) -> Router<Arc<dyn MarketApi>> {
    let all = move |State(book): Book, query: UrlQuery| async move {
        answer(orders(&*book, kind, query).await)
    };
    let publish = move |State(book): Book, query: UrlQuery, headers: HeaderMap, body: Body| async move {
        answer(publish(&*book, kind, query, &headers, body).await)
    };
    let unpublish = move |State(book): Book, query: UrlQuery, headers: HeaderMap, body: Body| async move {
        answer(unpublish(&*book, kind, query, &headers, body).await)
    };
    let one = move |State(book): Book, query: UrlQuery, Path(hash): Path<String>| async move {
        answer(order(&*book, kind, query, &hash).await)
    };
    Router::new()
        .route(&format!("/{kind}orders"), get(all).post(publish).put(unpublish))
        .route(&format!("/{kind}orders/{{hash}}"), get(one))
}

async fn version(State(book): Book) -> Response {
    answer(Ok(object([("version", book.version().into())])))
}

async fn metrics(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        Pairs(query).chain_id(book.chain_id())?;
        let metrics = book.metrics().await?;
        match json!(metrics) {
            Value::Object(metrics) => Ok(metrics),
            _ => Err(ApiError::Internal),
        }
    };
    answer(found.await)
}

async fn challenge(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        let pairs = Pairs(query);
        pairs.chain_id(book.chain_id())?;
        let wallet = pairs.address("address")?;
        let wallet = wallet.ok_or_else(|| required("address"))?;
        Ok(object([("data", book.challenge(wallet).await?.to_json())]))
    };
    answer(found.await)
}

async fn categories(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        let pairs = Pairs(query);
        pairs.chain_id(book.chain_id())?;
        let query = CategoryQuery::from_pairs(&pairs)?;
        let page = book.categories(&query).await?;
        let records = page.items.iter().map(|category| category.to_json().into()).collect();
        Ok(paged("categories", records, page.count, query.page))
    };
    answer(found.await)
}

async fn category(State(book): Book, Query(query): UrlQuery, Path(id): Path<String>) -> Response {
    let found = async {
        let pairs = Pairs(query);
        let chain_id = pairs.chain_id(book.chain_id())?;
        let category = book.category(CategoryId::new(parse_whole("catid", &id, 0)?)).await?;
        let mut record = category.to_json();
        // As for a single order, the official API gives the chain id as the text it was asked with.
        record.insert("chainId".to_owned(), chain_id.into());
        Ok(record)
    };
    answer(found.await)
}

async fn deals(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        let pairs = Pairs(query);
        pairs.chain_id(book.chain_id())?;
        let query = DealQuery::from_pairs(&pairs)?;
        let page = book.deals(&query).await?;
        let records = page.items.iter().map(|deal| deal.to_json().into()).collect();
        Ok(paged("deals", records, page.count, query.page))
    };
    answer(found.await)
}

async fn deal(State(book): Book, Query(query): UrlQuery, Path(id): Path<String>) -> Response {
    let found = async {
        Pairs(query).chain_id(book.chain_id())?;
        let deal = book.deal(DealId(parse_bytes32("dealid", &id)?)).await?;
        Ok(deal.to_json())
    };
    answer(found.await)
}

async fn why(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        let pairs = Pairs(query);
        pairs.chain_id(book.chain_id())?;
        let why = book.why(&WhyQuery::from_pairs(&pairs)?).await?;
        match json!(why) {
            Value::Object(why) => Ok(why),
            _ => Err(ApiError::Internal),
        }
    };
    answer(found.await)
}

async fn ohlc(State(book): Book, Query(query): UrlQuery) -> Response {
    let found = async {
        let pairs = Pairs(query);
        pairs.chain_id(book.chain_id())?;
        let prices = book.prices(pairs.required_number("category")?).await?;
        let points = prices.into_iter().map(PricePoint::to_json).collect();
        Ok(object([("ohlc", Value::Array(points))]))
    };
    answer(found.await)
}

async fn track_record(
    State(book): Book,
    Query(query): UrlQuery,
    Path(workerpool): Path<String>,
) -> Response {
    let found = async {
        Pairs(query).chain_id(book.chain_id())?;
        let workerpool = parse_address("workerpool", &workerpool)?;
        let track_record = book.track_record(workerpool).await?;
        Ok(object([
            ("workerpool", workerpool.to_checksum(None).into()),
            ("chainId", book.chain_id().into()),
            ("trackRecord", track_record.to_json()),
        ]))
    };
    answer(found.await)
}

async fn claim(
    State(book): Book,
    Query(query): UrlQuery,
    Path(workerpool): Path<String>,
) -> Response {
    let found = async {
        Pairs(query).chain_id(book.chain_id())?;
        let signed = book.claim(parse_address("workerpool", &workerpool)?).await?;
        match signed.to_json() {
            Value::Object(fields) => Ok(fields),
            _ => Err(ApiError::Internal),
        }
    };
    answer(found.await)
}

async fn put_claim(
    State(book): Book,
    Query(query): UrlQuery,
    Path(workerpool): Path<String>,
    body: Body,
) -> Response {
    let taken = async {
        Pairs(query).chain_id(book.chain_id())?;
        let workerpool = parse_address("workerpool", &workerpool)?;
        let signed = SignedClaim::from_json(&json_body(body).await?)?;
        book.put_claim(workerpool, signed).await?;
        Ok(Map::new())
    };
    answer(taken.await)
}

async fn orders(book: &dyn MarketApi, kind: OrderKind, Query(query): UrlQuery) -> Answer {
    let pairs = Pairs(query);
    pairs.chain_id(book.chain_id())?;
    let query = OrderQuery::from_pairs(kind, &pairs)?;
    let page = book.orders(&query).await?;
    let records = page.items.iter().map(record).collect::<Result<_, _>>()?;
    Ok(paged("orders", records, page.count, query.page))
}

async fn order(
    book: &dyn MarketApi,
    kind: OrderKind,
    Query(query): UrlQuery,
    hash: &str,
) -> Answer {
    let pairs = Pairs(query);
    let chain_id = pairs.chain_id(book.chain_id())?;
    let hash = OrderHash(parse_bytes32("orderHash", hash)?);
    let mut record = published(&book.order(kind, hash).await?)?;
    // Of a single record the official API gives the chain id as the text it was asked with.
    record.insert("chainId".to_owned(), chain_id.into());
    Ok(record)
}

async fn publish(
    book: &dyn MarketApi,
    kind: OrderKind,
    Query(query): UrlQuery,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    Pairs(query).chain_id(book.chain_id())?;
    // The body is taken in before anything is judged, so that a refusal reaches a client that is still sending; but a
    // wrong login is told before a wrong body, as the official API does.
    let body = json_body(body).await;
    let wallet = book.login(&authorization(headers)?).await?;
    let body = body?;
    let order = Fields::of("body", &body)?.optional("order");
    // An order that is not there is to the official API one without any fields.
    let nothing = Value::Object(Map::new());
    let order = Order::from_json(kind, order.unwrap_or(&nothing));
    let order = order.map_err(|error| ApiError::Invalid(format!("order.{}", error.0)))?;
    let published = book.publish(wallet, order).await?;
    Ok(object([("published", record(&published)?)]))
}

async fn unpublish(
    book: &dyn MarketApi,
    kind: OrderKind,
    Query(query): UrlQuery,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    Pairs(query).chain_id(book.chain_id())?;
    let body = json_body(body).await;
    let wallet = book.login(&authorization(headers)?).await?;
    let target = Unpublish::from_json(kind, &body?)?;
    let hashes = book.unpublish(wallet, kind, target).await?;
    let hashes = hashes.iter().map(|hash| Value::from(hash.to_string())).collect();
    Ok(object([("unpublished", Value::Array(hashes))]))
}

fn authorization(headers: &HeaderMap) -> Result<Authorization, ApiError> {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or(ApiError::Unauthorized)
}

async fn json_body(body: Body) -> Result<Value, ApiError> {
    let bytes =
        read_body(body, BODY_BYTES_MAX, BODY_TIMEOUT).await.map_err(|error| match error {
            BodyError::TooLargeOrBroken { .. } => ApiError::TooLarge(error.to_string()),
            BodyError::TooSlow => ApiError::TooSlow(error.to_string()),
        })?;
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::Invalid(format!("body must be JSON: {error}")))
}

fn record(published: &Published) -> Result<Value, ApiError> {
    self::published(published).map(Value::Object)
}

/// A record in the book has numbers that fit, or it would not be there; one that does not is our fault.
fn published(published: &Published) -> Answer {
    published.to_json().map_err(|error| {
        tracing::error!(%error, hash = %published.hash, "a published order cannot be written");
        ApiError::Internal
    })
}

fn paged(name: &str, records: Vec<Value>, count: u64, page: PageRequest) -> Map<String, Value> {
    let next = page.next(records.len());
    let mut answer = object([(name, Value::Array(records)), ("count", count.into())]);
    if let Some(next) = next {
        answer.insert("nextPage".to_owned(), next.into());
    }
    answer
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn required(name: &str) -> ApiError {
    ApiError::Invalid(format!("{name} is a required field"))
}

fn answer(outcome: Answer) -> Response {
    let error = match outcome {
        Ok(mut fields) => {
            fields.insert("ok".to_owned(), true.into());
            return json_answer(StatusCode::OK, &Value::Object(fields));
        }
        Err(error) => error,
    };
    let status = match &error {
        ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
        ApiError::Unauthorized | ApiError::Refused(_) => StatusCode::FORBIDDEN,
        ApiError::NotFound(_) => StatusCode::NOT_FOUND,
        ApiError::TooOften => StatusCode::TOO_MANY_REQUESTS,
        ApiError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        ApiError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        ApiError::Unavailable | ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json_answer(status, &json!({"ok": false, "error": error.to_string()}))
}

async fn limited(
    State(limiter): State<Arc<Mutex<Limiter>>>,
    request: Request,
    next: Next,
) -> Response {
    let allowance = limiter.lock().count(caller(&request), Instant::now());
    let mut response =
        if allowance.exceeded { answer(Err(ApiError::TooOften)) } else { next.run(request).await };
    write_allowance(response.headers_mut(), allowance);
    response
}

fn caller(request: &Request) -> Option<IpAddr> {
    let connection = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(connection.0.ip())
}

fn write_allowance(headers: &mut HeaderMap, allowance: Allowance) {
    headers.insert(LIMIT_HEADER, HeaderValue::from(allowance.limit));
    headers.insert(REMAINING_HEADER, HeaderValue::from(allowance.remaining));
    headers.insert(RESET_HEADER, HeaderValue::from(allowance.reset_unix_s));
}
