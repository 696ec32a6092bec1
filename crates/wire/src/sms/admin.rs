//! Backups of a secret service, by its operator. Paths, statuses and the header `X-API-KEY` are the original's.
//!
//! | method, path | answer |
//! |---|---|
//! | `POST /admin/backup` | 201: the storage has a fresh copy |
//! | `POST /admin/{storage}/replicate-backup?fileName` | 200: it has that copy under this name, too |
//! | `POST /admin/{from}/copy-to/{to}?sourceFileName&destinationFileName` | 200: the same of any copy |
//! | `POST /admin/{storage}/restore-backup?fileName` | 200: the service has the secrets of that copy, and no others |
//! | `DELETE /admin/{storage}/delete-backup?fileName` | 200: that copy is gone |
//!
//! A storage is named by its directory, as hexadecimal digits of the path. 400: a name is not one; 401: another key; 403: there is
//! no key, or the caller is not on this machine; 404: no such storage or copy; 429: something else is under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use alloy_primitives::{hex, keccak256};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use seal::Secret;

use crate::Failure;

/// The header with the operator's key.
const KEY_HEADER: &str = "x-api-key";
/// The longest name of a copy.
const NAME_LEN_MAX: usize = 128;

/// What a secret service can do for its operator.
#[async_trait]
pub trait SmsAdmin: Send + Sync + 'static {
    /// What the operator must know; nothing if nobody may.
    fn key(&self) -> Option<&Secret<String>>;

    /// Makes a fresh copy.
    async fn back_up(&self) -> Result<(), AdminError>;

    /// Copies a copy; without a name, the fresh one.
    async fn replicate(&self, from: Option<&Copy>, to: &Copy) -> Result<(), AdminError>;

    /// Goes back to the secrets of a copy.
    async fn restore(&self, from: &Copy) -> Result<(), AdminError>;

    /// Removes a copy.
    async fn delete(&self, which: &Copy) -> Result<(), AdminError>;
}

/// A copy: where, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The directory, as its operator wrote it.
    pub storage: String,
    /// The name of a file: letters, digits, `.`, `-` and `_`, and not a `.` first.
    pub name: String,
}

/// Why an operator does not get what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// What was sent makes no sense: 400.
    #[error("{0}")]
    Malformed(String),
    /// There is no such storage or copy: 404.
    #[error("{0}")]
    NotFound(String),
    /// Something else is under way: 429.
    #[error("something else is under way")]
    Busy,
    /// It does not work: 500.
    #[error("{0}")]
    Failed(Failure),
}

/// The routes. They answer callers on this machine only, so serve with
/// `into_make_service_with_connect_info::<SocketAddr>()`; without it they answer nobody.
pub fn router(admin: Arc<dyn SmsAdmin>) -> Router {
    Router::new()
        .route("/admin/backup", post(back_up))
        .route("/admin/{storage}/replicate-backup", post(replicate))
        .route("/admin/{storage}/copy-to/{destination}", post(copy))
        .route("/admin/{storage}/restore-backup", post(restore))
        .route("/admin/{storage}/delete-backup", delete(remove))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), operator_only))
        .with_state(admin)
}

type Service = State<Arc<dyn SmsAdmin>>;
type UrlQuery = Query<HashMap<String, String>>;

async fn operator_only(State(admin): Service, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if !caller.is_some_and(|caller| caller.0.ip().to_canonical().is_loopback()) {
        return (StatusCode::FORBIDDEN, "only callers on this machine").into_response();
    }
    match admin.key() {
        None => (StatusCode::FORBIDDEN, "no key is set").into_response(),
        Some(key) if knows(request.headers(), key) => next.run(request).await,
        Some(_) => (StatusCode::UNAUTHORIZED, "X-API-KEY is wrong").into_response(),
    }
}

/// By way of their hashes, so that how long it takes says nothing about the key.
fn knows(headers: &HeaderMap, key: &Secret<String>) -> bool {
    let given = headers.get(KEY_HEADER).map(|value| keccak256(value.as_bytes()));
    given == Some(keccak256(key.expose().as_bytes()))
}

async fn back_up(State(admin): Service) -> Response {
    match admin.back_up().await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(error) => refuse(&error),
    }
}

async fn replicate(State(admin): Service, Path(to): Path<String>, query: UrlQuery) -> Response {
    let done = async {
        let to = named(&to, &query, "fileName")?;
        admin.replicate(None, &to).await
    };
    answer(done.await)
}

async fn copy(
    State(admin): Service,
    Path((from, to)): Path<(String, String)>,
    query: UrlQuery,
) -> Response {
    let done = async {
        let from = named(&from, &query, "sourceFileName")?;
        let to = named(&to, &query, "destinationFileName")?;
        admin.replicate(Some(&from), &to).await
    };
    answer(done.await)
}

async fn restore(State(admin): Service, Path(from): Path<String>, query: UrlQuery) -> Response {
    let done = async { admin.restore(&named(&from, &query, "fileName")?).await };
    answer(done.await)
}

async fn remove(State(admin): Service, Path(of): Path<String>, query: UrlQuery) -> Response {
    let done = async { admin.delete(&named(&of, &query, "fileName")?).await };
    answer(done.await)
}

fn named(storage: &str, query: &UrlQuery, key: &str) -> Result<Copy, AdminError> {
    let unnamed = || AdminError::Malformed(format!("{key} is not the name of a file"));
    let name = query.get(key).ok_or_else(unnamed)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name.starts_with('.')
        || !name.bytes().all(plain)
    {
        return Err(unnamed());
    }
    let storage = hex::decode(storage).ok().and_then(|path| String::from_utf8(path).ok());
    let storage = storage.ok_or_else(|| AdminError::NotFound("no such storage".to_owned()))?;
    Ok(Copy { storage, name: name.clone() })
}

fn answer(done: Result<(), AdminError>) -> Response {
    match done {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &AdminError) -> Response {
    let status = match error {
        AdminError::Malformed(_) => StatusCode::BAD_REQUEST,
        AdminError::NotFound(_) => StatusCode::NOT_FOUND,
        AdminError::Busy => StatusCode::TOO_MANY_REQUESTS,
        AdminError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}
