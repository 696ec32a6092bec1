//! What a secret service must be able to do, and the routes made of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use primitives::TaskId;
use seal::Secret;
use seal::challenge::SecretId;
use seal::provision::Sealed;
use serde_json::{Map, Value, json};

use super::model::sealed_to_json;
use super::{
    BROKER_PATH, Framework, Release, SecretsMetric, SessionError, SessionTicket, TeeProperties,
    WorkerpoolAuthorization,
};
use crate::Failure;
use crate::http::{BodyError, json_answer, read_body};
use crate::json::{ShapeError, parse_address};

/// The largest body that is read at all. Secrets are far smaller, but who signed one that is too large is told so.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest signature: a contract's may be of any form, but not of any length.
const AUTHORIZATION_LEN_MAX: usize = 16 * 1024;
/// The longest name of a secret, in bytes.
const NAME_LEN_MAX: usize = 1024;

/// How a secret is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It must not be there yet.
    Create,
    /// It must be there.
    Replace,
}

/// Why a secret service does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// The caller has not proved who it is, or may not do this.
    #[error("Invalid authorization")]
    Unauthorized,
    /// The name of a requester's secret.
    #[error("Secret key should contain at most 64 characters from [0-9A-Za-z-_]")]
    BadKey,
    /// More than 4,096 bytes.
    #[error("Secret size should not exceed 4 Kb")]
    TooLarge,
    /// It is there already.
    #[error("Secret already exists")]
    Exists,
    /// There is none.
    #[error("Secret not found")]
    Absent,
    /// There is no such task, session or service.
    #[error("{0}")]
    NotFound(String),
    /// What was sent cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// Something behind the service does not answer; asking again later may work.
    #[error("{0}")]
    Unavailable(Failure),
    /// Something behind the service is broken.
    #[error("{0}")]
    Internal(Failure),
}

/// What a secret service can do.
#[async_trait]
pub trait Sms: Send + Sync + 'static {
    /// Whether there is such a secret.
    async fn has(&self, id: &SecretId) -> Result<bool, SmsError>;

    /// Sets a secret. `authorization` is the owner's signature over [`seal::challenge::to_set`]. What is wrong is found
    /// in this sequence: authorisation, name, size, and whether it is there.
    async fn put(
        &self,
        id: &SecretId,
        value: Secret<String>,
        how: Write,
        authorization: &Bytes,
    ) -> Result<(), SmsError>;

    /// What of trusted execution there is; nothing if there is none.
    fn properties(&self) -> Option<TeeProperties>;

    /// The address that the task's enclave signs with, made at the first call. `authorization` is the workerpool owner's
    /// signature over [`seal::challenge::for_task`].
    async fn enclave_of(&self, task: TaskId, authorization: &Bytes) -> Result<Address, SmsError>;

    /// Makes a session for a worker. `by_worker` is its signature over the authorisation's hash.
    async fn open_session(
        &self,
        authorization: &WorkerpoolAuthorization,
        by_worker: &Bytes,
    ) -> Result<SessionTicket, SessionError>;

    /// Gives a session to an enclave whose evidence is good, once.
    async fn release(&self, session: &str, request: &Release) -> Result<Sealed, SmsError>;

    /// How many secrets of each kind there are.
    async fn metrics(&self) -> Result<Vec<SecretsMetric>, SmsError>;

    /// The software's version.
    fn version(&self) -> String;
}

/// The routes of a secret service, for an origin that has others as well. CORS is left to whoever assembles it.
pub fn router(sms: Arc<dyn Sms>) -> Router {
    Router::new()
        .route("/secrets/web3", head(has_dataset).post(create_dataset))
        .route("/secrets/web2", head(has_named).post(create_named).put(replace_named))
        .route("/requesters/{owner}/secrets/{key}", head(has_requester).post(create_requester))
        .route("/apps/{app}/secrets", head(has_app).post(create_app))
        .route("/tee/framework", get(framework))
        .route("/tee/properties/{framework}", get(properties))
        .route("/tee/properties/{framework}/{version}", get(properties_of_version))
        .route("/tee/challenges/{task}", post(challenge))
        .route("/tee/sessions", post(open_session))
        .route(&format!("{BROKER_PATH}/sessions/{{id}}"), post(release))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(sms)
}

/// [`router`] with `/version`, `/metrics` and CORS, for an origin of its own.
pub fn standalone(sms: Arc<dyn Sms>) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&sms))
        .merge(router(sms))
        .layer(crate::market::cors())
}

type Service = State<Arc<dyn Sms>>;
type UrlQuery = Query<HashMap<String, String>>;

async fn has_dataset(State(sms): Service, query: UrlQuery) -> Response {
    has(&*sms, dataset_of(&query)).await
}

async fn create_dataset(
    State(sms): Service,
    query: UrlQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    put(&*sms, dataset_of(&query), Write::Create, &headers, body).await
}

async fn has_named(State(sms): Service, query: UrlQuery) -> Response {
    has(&*sms, named_of(&query)).await
}

async fn create_named(
    State(sms): Service,
    query: UrlQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    put(&*sms, named_of(&query), Write::Create, &headers, body).await
}

async fn replace_named(
    State(sms): Service,
    query: UrlQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    put(&*sms, named_of(&query), Write::Replace, &headers, body).await
}

async fn has_requester(
    State(sms): Service,
    Path((owner, key)): Path<(String, String)>,
) -> Response {
    has(&*sms, requester_of(&owner, key)).await
}

async fn create_requester(
    State(sms): Service,
    Path((owner, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    put(&*sms, requester_of(&owner, key), Write::Create, &headers, body).await
}

async fn has_app(State(sms): Service, Path(app): Path<String>) -> Response {
    has(&*sms, app_of(&app)).await
}

async fn create_app(
    State(sms): Service,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    put(&*sms, app_of(&app), Write::Create, &headers, body).await
}

async fn framework(State(sms): Service) -> Response {
    match sms.properties() {
        Some(properties) => json_answer(StatusCode::OK, &json!(properties.tee_framework)),
        None => refuse(nothing_trusted()),
    }
}

async fn properties(State(sms): Service, Path(framework): Path<String>) -> Response {
    answer_properties(sms.properties(), &framework, None)
}

async fn properties_of_version(
    State(sms): Service,
    Path((framework, version)): Path<(String, String)>,
) -> Response {
    answer_properties(sms.properties(), &framework, Some(&version))
}

async fn challenge(State(sms): Service, Path(task): Path<String>, headers: HeaderMap) -> Response {
    let made = async {
        let task =
            task.parse().map_err(|_| malformed("a task id is 0x and 64 hexadecimal digits"))?;
        sms.enclave_of(task, &authorization(&headers)).await
    };
    match made.await {
        Ok(address) => (StatusCode::OK, address.to_string()).into_response(),
        Err(error) => refuse(error),
    }
}

async fn open_session(State(sms): Service, headers: HeaderMap, body: Body) -> Response {
    let asked = match read_json(body).await.and_then(|json| {
        WorkerpoolAuthorization::from_json(&json)
            .map_err(|ShapeError(why)| SmsError::Malformed(why))
    }) {
        Ok(asked) => asked,
        Err(error) => return refuse(error),
    };
    match sms.open_session(&asked, &authorization(&headers)).await {
        Ok(ticket) => json_answer(StatusCode::OK, &json!({"data": ticket})),
        Err(error) => {
            let status = if error.is_about_permission() {
                StatusCode::UNAUTHORIZED
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            json_answer(status, &json!({"error": error.as_str()}))
        }
    }
}

async fn release(State(sms): Service, Path(id): Path<String>, body: Body) -> Response {
    let released = async {
        let request = Release::from_json(&read_json(body).await?)
            .map_err(|ShapeError(why)| SmsError::Malformed(why))?;
        sms.release(&id, &request).await
    };
    match released.await {
        Ok(sealed) => json_answer(StatusCode::OK, &sealed_to_json(&sealed)),
        Err(error) => refuse(error),
    }
}

async fn version(State(sms): Service) -> String {
    sms.version()
}

async fn metrics(State(sms): Service) -> Response {
    match sms.metrics().await {
        Ok(metrics) => {
            let by_type: Map<String, Value> =
                metrics.iter().map(|one| (one.secrets_type.clone(), json!(one))).collect();
            json_answer(StatusCode::OK, &json!({"secretsMetrics": by_type}))
        }
        Err(error) => refuse(error),
    }
}

async fn has(sms: &dyn Sms, id: Result<SecretId, SmsError>) -> Response {
    let found = match id {
        Ok(id) if !id.is_well_named() => Err(SmsError::BadKey),
        Ok(id) => sms.has(&id).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refuse(SmsError::Absent),
        Err(error) => refuse(error),
    }
}

async fn put(
    sms: &dyn Sms,
    id: Result<SecretId, SmsError>,
    how: Write,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let requesters = matches!(&id, Ok(SecretId::Requester { .. }));
    let done = async {
        let id = id?;
        let value = read_secret(body).await?;
        sms.put(&id, value, how, &authorization(headers)).await
    };
    match done.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        // The official service has this one status of its own.
        Err(error @ SmsError::TooLarge) if requesters => {
            answer_error(StatusCode::BAD_REQUEST, error)
        }
        Err(error) => refuse(error),
    }
}

fn dataset_of(query: &HashMap<String, String>) -> Result<SecretId, SmsError> {
    Ok(SecretId::Dataset(address_of("secretAddress", query.get("secretAddress"))?))
}

fn named_of(query: &HashMap<String, String>) -> Result<SecretId, SmsError> {
    let owner = address_of("ownerAddress", query.get("ownerAddress"))?;
    let name = query.get("secretName").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| malformed("secretName is a required field"))?;
    if name.len() > NAME_LEN_MAX {
        return Err(malformed("secretName is too long"));
    }
    Ok(SecretId::Named { owner, name: name.clone() })
}

fn requester_of(owner: &str, key: String) -> Result<SecretId, SmsError> {
    let owner = parse_address("requesterAddress", owner);
    let owner = owner.map_err(|ShapeError(why)| SmsError::Malformed(why))?;
    Ok(SecretId::Requester { owner, key })
}

fn app_of(app: &str) -> Result<SecretId, SmsError> {
    let app = parse_address("appAddress", app);
    app.map(SecretId::App).map_err(|ShapeError(why)| SmsError::Malformed(why))
}

fn address_of(name: &str, text: Option<&String>) -> Result<Address, SmsError> {
    let text = text.ok_or_else(|| SmsError::Malformed(format!("{name} is a required field")))?;
    parse_address(name, text).map_err(|ShapeError(why)| SmsError::Malformed(why))
}

/// The signature; empty when there is none that could be one, which no owner's is.
fn authorization(headers: &HeaderMap) -> Bytes {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.map(str::trim)
        .filter(|text| text.len() <= AUTHORIZATION_LEN_MAX && text.starts_with("0x"))
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The value as it was sent, byte for byte: it is what was signed.
async fn read_secret(body: Body) -> Result<Secret<String>, SmsError> {
    let bytes = match read_body(body, BODY_BYTES_MAX, BODY_TIMEOUT).await {
        Ok(bytes) => Secret::new(bytes.to_vec()),
        Err(BodyError::TooLargeOrBroken { .. }) => return Err(SmsError::TooLarge),
        Err(error @ BodyError::TooSlow) => return Err(SmsError::Malformed(error.to_string())),
    };
    let value = bytes.into_text().ok_or_else(|| malformed("a secret is UTF-8 text"))?;
    if value.expose().is_empty() {
        return Err(malformed("Required request body is missing"));
    }
    Ok(value)
}

async fn read_json(body: Body) -> Result<Value, SmsError> {
    let bytes = read_body(body, BODY_BYTES_MAX, BODY_TIMEOUT)
        .await
        .map_err(|error| SmsError::Malformed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|_| malformed("the body is not JSON"))
}

fn answer_properties(
    properties: Option<TeeProperties>,
    framework: &str,
    version: Option<&str>,
) -> Response {
    let Some(framework) = Framework::parse(framework) else {
        return refuse(malformed("the framework is none of SCONE, GRAMINE, TDX"));
    };
    let Some(properties) = properties else { return refuse(nothing_trusted()) };
    if properties.tee_framework != framework {
        let text = json!({"error": ["this service is for another framework"]});
        return json_answer(StatusCode::CONFLICT, &text);
    }
    if version.is_some_and(|version| version != properties.tee_framework_version) {
        return refuse(SmsError::NotFound("no such version of the framework".into()));
    }
    json_answer(StatusCode::OK, &json!(properties))
}

fn nothing_trusted() -> SmsError {
    SmsError::NotFound("nothing runs in a trusted execution environment here".into())
}

fn malformed(why: &str) -> SmsError {
    SmsError::Malformed(why.to_owned())
}

fn refuse(error: SmsError) -> Response {
    let status = match &error {
        SmsError::Unauthorized => StatusCode::UNAUTHORIZED,
        SmsError::BadKey | SmsError::Malformed(_) => StatusCode::BAD_REQUEST,
        SmsError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        SmsError::Exists => StatusCode::CONFLICT,
        SmsError::Absent | SmsError::NotFound(_) => StatusCode::NOT_FOUND,
        SmsError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        SmsError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    answer_error(status, error)
}

fn answer_error(status: StatusCode, error: SmsError) -> Response {
    let text = [error.to_string()];
    let body = match error {
        SmsError::Unavailable(failure) | SmsError::Internal(failure) => {
            json!({"error": text, "failure": failure})
        }
        _ => json!({"error": text}),
    };
    json_answer(status, &body)
}
