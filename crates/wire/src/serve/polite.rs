//! What all routes of an origin have in common: open to pages of any other, and a refusal is never a riddle.

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::json_answer;

/// The longest refusal of the framework that is passed on.
const REASON_BYTES_MAX: usize = 4 * 1024;

/// Opens `routes` to pages of any origin, and gives every refusal a text: unknown paths and methods the official API's,
/// what the framework could not read the shape of all other errors.
pub fn polite(routes: Router) -> Router {
    routes.layer(map_response(told)).layer(crate::market::cors())
}

async fn told(answer: Response) -> Response {
    match answer.status() {
        status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) if is_empty(&answer) => {
            let (parts, _) = answer.into_parts();
            let text = status.canonical_reason().unwrap_or_default();
            with_headers((status, text).into_response(), &parts.headers)
        }
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY
            if is_text(answer.headers()) =>
        {
            let (parts, body) = answer.into_parts();
            let text = reason(body, parts.status).await;
            let answer = json_answer(parts.status, &json!({"ok": false, "error": text}));
            with_headers(answer, &parts.headers)
        }
        _ => answer,
    }
}

fn with_headers(mut answer: Response, headers: &HeaderMap) -> Response {
    for (name, value) in headers {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

fn is_empty(answer: &Response) -> bool {
    answer.body().size_hint().exact() == Some(0)
}

/// The framework says why in plain text, or says nothing at all.
fn is_text(headers: &HeaderMap) -> bool {
    match headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) {
        Some(Ok(kind)) => kind.starts_with("text/plain"),
        Some(Err(_)) => false,
        None => true,
    }
}

async fn reason(body: Body, status: StatusCode) -> String {
    let bytes = axum::body::to_bytes(body, REASON_BYTES_MAX).await.unwrap_or_default();
    if bytes.is_empty() {
        return status.canonical_reason().unwrap_or_default().to_owned();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
