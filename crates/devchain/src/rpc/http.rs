//! JSON-RPC over HTTP: one request or a batch per POST, and websockets on GET.

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, State, WebSocketUpgrade, rejection::BytesRejection,
        ws::rejection::WebSocketUpgradeRejection,
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tower_http::cors::{Any, CorsLayer};

use super::{Answer, RequestError, Rpc, socket};

/// Longest body accepted, in bytes.
pub(super) const BODY_MAX: usize = 8 * 1024 * 1024;
/// Requests in one batch.
const BATCH_MAX: usize = 2_000;

/// What is asked.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    /// Absent in a notification, which gets no answer.
    id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Option<Value>,
}

/// What is answered.
#[derive(Debug, Serialize)]
pub(super) struct Reply {
    jsonrpc: &'static str,
    id: Value,
    #[serde(flatten)]
    result: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(Box<RawValue>),
    Error(RequestError),
}

impl Reply {
    pub(super) fn new(id: Value, result: Answer) -> Self {
        let result = match result {
            Ok(value) => Outcome::Result(value),
            Err(error) => Outcome::Error(error),
        };
        Self { jsonrpc: "2.0", id, result }
    }
}

/// The chain's routes: `POST /` and `GET /`. Open to pages of any origin, as development nodes are.
pub(crate) fn router(rpc: Rpc) -> Router {
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any);
    Router::new()
        .route("/", post(serve).get(upgrade))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(cors)
        .with_state(rpc)
}

async fn serve(State(rpc): State<Rpc>, body: Result<Bytes, BytesRejection>) -> Response {
    let reply = match body {
        Ok(body) => handle(&rpc, &body).await,
        Err(_) => Some(one(
            Value::Null,
            Err(RequestError::invalid(format!("a request has at most {BODY_MAX} bytes"))),
        )),
    };
    match reply {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn upgrade(
    State(rpc): State<Rpc>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => {
            upgrade.max_message_size(BODY_MAX).on_upgrade(|socket| socket::serve(rpc, socket))
        }
        Err(_) => {
            let hint = "This is an Ethereum JSON-RPC endpoint: POST requests to it, or open a websocket.\n";
            (StatusCode::UPGRADE_REQUIRED, hint).into_response()
        }
    }
}

/// Answers a body, be it one request or a batch; nothing, if nothing in it wants an answer.
pub(super) async fn handle(rpc: &Rpc, body: &[u8]) -> Option<Vec<u8>> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Some(one(Value::Null, Err(RequestError::parse())));
    };
    match value {
        Value::Array(requests) => batch(rpc, requests).await,
        request => match read(request) {
            Ok(request) => {
                let result = rpc.call(&request.method, request.params).await;
                Some(one(request.id?, result))
            }
            Err((id, error)) => Some(one(id, Err(error))),
        },
    }
}

/// Requests are answered one after the other, so that a batch may write and then read; except that transactions in a
/// row are taken in together, so that they share a block.
async fn batch(rpc: &Rpc, requests: Vec<Value>) -> Option<Vec<u8>> {
    if requests.is_empty() {
        return Some(one(Value::Null, Err(RequestError::invalid("empty batch"))));
    }
    if requests.len() > BATCH_MAX {
        let error =
            RequestError::too_much(format!("batch too large: at most {BATCH_MAX} requests"));
        return Some(one(Value::Null, Err(error)));
    }
    let mut replies = Vec::with_capacity(requests.len());
    let mut sending = Vec::new();
    for request in requests {
        let request = read(request);
        let sends = matches!(&request, Ok(it) if it.method == "eth_sendRawTransaction");
        if !sends {
            replies.extend(join_all(sending.drain(..)).await);
        }
        let answer = async {
            match request {
                Ok(it) => {
                    let result = rpc.call(&it.method, it.params).await;
                    it.id.map(|id| Reply::new(id, result))
                }
                Err((id, error)) => Some(Reply::new(id, Err(error))),
            }
        };
        sending.push(answer);
        if !sends {
            replies.extend(join_all(sending.drain(..)).await);
        }
    }
    replies.extend(join_all(sending).await);
    let replies: Vec<Reply> = replies.into_iter().flatten().collect();
    (!replies.is_empty()).then(|| encode(&replies))
}

/// Reads one request; or its id, as far as it can be told, and what is wrong.
pub(super) fn read(value: Value) -> Result<Request, (Value, RequestError)> {
    let id = value.get("id").cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|error| (id, RequestError::invalid(format!("invalid request: {error}"))))
}

pub(super) fn one(id: Value, result: Answer) -> Vec<u8> {
    encode(&Reply::new(id, result))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl Request {
    pub(super) fn id(&self) -> Value {
        self.id.clone().unwrap_or_default()
    }
}
