//! What every client and every router here shares: bounded bodies, waiting times, one error.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::json::ShapeError;

/// The largest JSON answer a client reads: a page of 1,000 orders with long parameters fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of an error's text is kept.
const MESSAGE_CHARS_MAX: usize = 2_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A call over HTTP that did not bring what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The answer ended before its end.
    #[error("{origin} broke off")]
    Cut {
        /// Who was asked.
        origin: String,
    },
    /// Nobody answered, or the connection broke.
    #[error("no answer from {origin}")]
    Connection {
        /// Who was asked.
        origin: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The server said no; the text is its own.
    #[error("{origin} refused: {message} (status {status})")]
    Refused {
        /// Who was asked.
        origin: String,
        /// The HTTP status.
        status: u16,
        /// The server's reason.
        message: String,
    },
    /// The answer is not of the expected shape.
    #[error("{origin} gave an answer that cannot be read: {reason}")]
    Unreadable {
        /// Who was asked.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than the caller allowed.
    #[error("{origin} sent more than the {limit_bytes} bytes allowed")]
    TooLarge {
        /// Who was asked.
        origin: String,
        /// What the caller allowed.
        limit_bytes: u64,
    },
    /// A file on this side could not be read or written.
    #[error("cannot use the file {path}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was to be sent cannot be expressed on the wire.
    #[error("cannot be sent: {0}")]
    Unsendable(String),
}

impl ClientError {
    /// Whether the same call may work later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Cut { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::File { .. }
            | Self::Unsendable(_) => false,
        }
    }

    /// Whether the server says there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// The server's own reason, when it gave one.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } => Some(message),
            _ => None,
        }
    }
}

impl From<ShapeError> for ClientError {
    fn from(error: ShapeError) -> Self {
        Self::Unsendable(error.0)
    }
}

/// Chooses the cryptography that TLS uses in this process, once; later calls do nothing. Every client here calls it,
/// so only code that opens TLS connections by other means needs to.
pub fn install_crypto_provider() {
    // An error means that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client of one origin.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    origin: Url,
}

impl Http {
    pub(crate) fn new(origin: &Url) -> Result<Self, ClientError> {
        install_crypto_provider();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|source| ClientError::Connection { origin: origin.to_string(), source })?;
        Ok(Self { client, origin: origin.clone() })
    }

    pub(crate) fn origin(&self) -> &Url {
        &self.origin
    }

    /// A request to `path`, which starts with a slash and replaces any path of the origin.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> RequestBuilder {
        let mut url = self.origin.clone();
        url.set_path(path);
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.request(method, url)
    }

    /// Sends, and reads the JSON answer.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let answer = self.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let body = self.body(answer, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(error.to_string()))
    }

    /// Sends, and gives back the answer once its status says success.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        let answer = request.send().await.map_err(|source| self.connection(source))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.body(answer, ANSWER_BYTES_MAX).await.unwrap_or_default();
        Err(ClientError::Refused {
            origin: self.origin.to_string(),
            status: status.as_u16(),
            message: refusal_text(&body, status),
        })
    }

    /// The whole body, at most `limit_bytes`.
    pub(crate) async fn body(
        &self,
        answer: reqwest::Response,
        limit_bytes: usize,
    ) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| self.connection(source))?;
            if body.len() + chunk.len() > limit_bytes {
                return Err(self.too_large(limit_bytes as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    pub(crate) fn connection(&self, source: reqwest::Error) -> ClientError {
        ClientError::Connection { origin: self.origin.to_string(), source }
    }

    pub(crate) fn cut(&self) -> ClientError {
        ClientError::Cut { origin: self.origin.to_string() }
    }

    pub(crate) fn unreadable(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Unreadable { origin: self.origin.to_string(), reason: reason.into() }
    }

    pub(crate) fn too_large(&self, limit_bytes: u64) -> ClientError {
        ClientError::TooLarge { origin: self.origin.to_string(), limit_bytes }
    }
}

/// The reason inside an error answer: `{error: "…"}`, `{error: {message}}`, `{message}`, or the text itself.
fn refusal_text(body: &[u8], status: StatusCode) -> String {
    let found = serde_json::from_slice::<Value>(body).ok().and_then(|answer| {
        let error = answer.get("error").or_else(|| answer.get("message"))?.clone();
        match &error {
            Value::String(text) => Some(text.clone()),
            Value::Object(failure) => {
                Some(failure.get("message")?.as_str().unwrap_or_default().to_owned())
            }
            _ => None,
        }
    });
    let text = found.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    let text = if text.is_empty() {
        status.canonical_reason().unwrap_or("no reason given").to_owned()
    } else {
        text
    };
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// A JSON answer of that status.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(axum::http::header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, headers, Body::from(body.to_string())).into_response()
}

/// Reads a request's body: at most `limit_bytes`, within `timeout`.
pub(crate) async fn read_body(
    body: Body,
    limit_bytes: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let reading = axum::body::to_bytes(body, limit_bytes);
    match tokio::time::timeout(timeout, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(BodyError::TooLargeOrBroken { limit_bytes }),
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// A request's body that could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Beyond the limit, or the connection broke while sending.
    #[error("the body is larger than {limit_bytes} bytes or incomplete")]
    TooLargeOrBroken { limit_bytes: usize },
    /// The sender took too long.
    #[error("the body took too long to arrive")]
    TooSlow,
}
