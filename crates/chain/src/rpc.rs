//! One connection to one node: requests with a time limit and a few retries, subscriptions, reconnection.
//!
//! A websocket that breaks is mended underneath by the transport for a second or two; after that the transport gives
//! up and this module opens a new one at the next request. Callers see [`ErrorKind::Unreachable`] meanwhile.

use std::sync::Once;
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use alloy_pubsub::{ConnectionHandle, PubSubConnect};
use alloy_rpc_client::{ClientBuilder, RpcCall, RpcClient, RpcClientInner};
use alloy_transport::{RpcError, TransportError, TransportErrorKind, TransportResult};
use alloy_transport_http::Http;
use alloy_transport_ws::{WsBackend, WsConnect};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::revert::Revert;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The transport's own attempts, 50 ms apart and doubling: a second and a half together.
const TRANSPORT_RETRIES: u32 = 5;
const TRANSPORT_RETRY_PAUSE: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Heads kept for a subscriber that is busy; one that is later reads ranges instead.
const PUSHES_KEPT: usize = 1024;

/// What may be a parameter list.
pub(crate) trait Params:
    Serialize + Clone + std::fmt::Debug + Send + Sync + Unpin + 'static
{
}
impl<T: Serialize + Clone + std::fmt::Debug + Send + Sync + Unpin + 'static> Params for T {}

/// What may be an answer.
pub(crate) trait Answer:
    DeserializeOwned + std::fmt::Debug + Send + Sync + Unpin + 'static
{
}
impl<T: DeserializeOwned + std::fmt::Debug + Send + Sync + Unpin + 'static> Answer for T {}

pub(crate) struct Rpc {
    url: Url,
    current: RwLock<RpcClient>,
    reconnecting: tokio::sync::Mutex<()>,
}

impl Rpc {
    pub(crate) async fn connect(url: &Url) -> Result<Self> {
        let current = RwLock::new(open(url).await?);
        Ok(Self { url: url.clone(), current, reconnecting: tokio::sync::Mutex::default() })
    }

    /// Whether the node can push.
    pub(crate) fn pushes(&self) -> bool {
        matches!(self.url.scheme(), "ws" | "wss")
    }

    /// A request as it leaves, once: for the caller who minds the order of requests and deals with failure himself.
    pub(crate) fn once<P: Params, R: Answer>(
        &self,
        method: &'static str,
        params: P,
    ) -> RpcCall<P, R> {
        self.current.read().request(method, params)
    }

    /// Asks, and asks again a few times where asking again may help. Only for requests that do no harm twice.
    pub(crate) async fn request<P: Params, R: Answer>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R> {
        let mut pause = RETRY_PAUSE;
        for _ in 1..RETRIES {
            // Boxed: the transport's future is large, and is part of nearly every other one here.
            match Box::pin(self.attempt(method, params.clone())).await {
                Err(error) if error.is_retryable() => {
                    tracing::debug!(method, %error, "asking again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        Box::pin(self.attempt(method, params)).await
    }

    async fn attempt<P: Params, R: Answer>(&self, method: &'static str, params: P) -> Result<R> {
        let used = self.current.read().clone();
        let call = used.request::<P, R>(method, params);
        let outcome = match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
            Ok(outcome) => outcome,
            Err(_) => {
                return Err(Error::new(method, ErrorKind::TimedOut(REQUEST_TIMEOUT.as_secs())));
            }
        };
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) => {
                if is_gone(&error) {
                    self.reconnect(used.inner_ref()).await;
                }
                Err(classify(method, &error))
            }
        }
    }

    /// Opens a new connection unless somebody else did since `broken` was in use.
    async fn reconnect(&self, broken: &RpcClientInner) {
        let _alone = self.reconnecting.lock().await;
        if !std::ptr::eq(self.current.read().inner_ref(), broken) {
            return;
        }
        match open(&self.url).await {
            Ok(fresh) => *self.current.write() = fresh,
            Err(error) => tracing::debug!(%error, "still no connection"),
        }
    }

    /// The node's pushes of new heads, as raw JSON.
    pub(crate) async fn subscribe_heads(&self) -> Result<Pushes> {
        const DOING: &str = "eth_subscribe";
        // The answer to this request exists only on the connection that it went over, so keep that one at hand.
        let id: B256 = self.request(DOING, ("newHeads",)).await?;
        let client = self.current.read().clone();
        let Some(frontend) = client.pubsub_frontend() else {
            return Err(Error::new(DOING, ErrorKind::BadUrl("the node cannot push".into())));
        };
        let subscription =
            frontend.get_subscription(id).await.map_err(|error| classify(DOING, &error))?;
        Ok(Pushes { subscription, client, id })
    }
}

/// Heads as the node pushes them. Unsubscribes when dropped.
pub(crate) struct Pushes {
    subscription: alloy_pubsub::RawSubscription,
    client: RpcClient,
    id: B256,
}

impl Pushes {
    /// The next push; `None` when the connection is gone for good. A `Lagged` reader lost some.
    pub(crate) async fn next(&mut self) -> Option<Result<Box<RawValue>, Lagged>> {
        match self.subscription.recv().await {
            Ok(push) => Some(Ok(push)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Err(Lagged)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// A push that has already arrived.
    pub(crate) fn ready(&mut self) -> Option<Box<RawValue>> {
        self.subscription.try_recv().ok()
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        if let Some(frontend) = self.client.pubsub_frontend() {
            let _ = frontend.unsubscribe(self.id);
        }
    }
}

/// The reader was too slow and some pushes are lost.
pub(crate) struct Lagged;

trait InnerRef {
    fn inner_ref(&self) -> &RpcClientInner;
}

impl InnerRef for RpcClient {
    fn inner_ref(&self) -> &RpcClientInner {
        self
    }
}

async fn open(url: &Url) -> Result<RpcClient> {
    provide_crypto();
    let doing = || format!("connecting to {}", shown(url));
    match url.scheme() {
        "ws" | "wss" => {
            let client = ClientBuilder::default()
                .pubsub(Socket { url: url.clone() })
                .await
                .map_err(|error| Error::new(doing(), ErrorKind::Unreachable(told(&error))))?;
            client.set_channel_size(PUSHES_KEPT);
            Ok(client)
        }
        "http" | "https" => {
            let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
            if is_loopback(url) {
                // A proxy of the environment is meant for the world outside, not for a node on this machine.
                builder = builder.no_proxy();
            }
            let client = builder
                .build()
                .map_err(|error| Error::new(doing(), ErrorKind::Unreachable(error.to_string())))?;
            Ok(RpcClient::new(Http::with_client(client, url.clone()), is_loopback(url)))
        }
        scheme => {
            let why = format!("scheme '{scheme}': use ws, wss, http or https");
            Err(Error::new(doing(), ErrorKind::BadUrl(why)))
        }
    }
}

/// Opens websockets that send at once. The transport's own way leaves Nagle's algorithm on, which holds a small request
/// back until the one before is acknowledged: up to 40 ms, for each of many small requests.
struct Socket {
    url: Url,
}

impl PubSubConnect for Socket {
    fn is_local(&self) -> bool {
        is_loopback(&self.url)
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        // Makes the header out of a name and password in the address.
        let request = WsConnect::new(self.url.as_str())
            .into_client_request()
            .map_err(TransportErrorKind::custom)?;
        let (socket, _response) = connect_async_with_config(request, None, true)
            .await
            .map_err(TransportErrorKind::custom)?;
        let (handle, interface) = ConnectionHandle::new();
        WsBackend::from_socket(socket, interface, KEEPALIVE).spawn();
        Ok(handle.with_max_retries(TRANSPORT_RETRIES).with_retry_interval(TRANSPORT_RETRY_PAUSE))
    }
}

/// TLS needs a provider of cryptography for the whole process; the first to come installs it.
fn provide_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the embedding program has chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Without password and query, which may hold a key to the node.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or(""))
}

fn is_gone(error: &TransportError) -> bool {
    matches!(error, RpcError::Transport(TransportErrorKind::BackendGone))
}

pub(crate) fn classify(doing: &str, error: &TransportError) -> Error {
    let kind = match error {
        RpcError::ErrorResp(payload) => {
            let data = payload.data.as_deref().and_then(revert_data);
            let reverted = payload.code == 3
                || payload.message.contains("revert")
                || data.as_ref().is_some_and(|data| !data.is_empty());
            let said = payload.message.to_lowercase();
            if payload.is_retry_err() || said == "internal error" {
                // The latter is JSON-RPC's own word for trouble that has nothing to do with what was asked.
                ErrorKind::Throttled(payload.message.to_string())
            } else if said.contains("header not found") {
                // Behind one address there may be several nodes, and not all of them have the newest block yet.
                ErrorKind::Moved
            } else if reverted {
                ErrorKind::Reverted(Revert::decode(data.unwrap_or_default()))
            } else {
                ErrorKind::Refused { code: payload.code, message: payload.message.to_string() }
            }
        }
        RpcError::Transport(TransportErrorKind::HttpError(http)) if http.status == 429 => {
            ErrorKind::Throttled(told(error))
        }
        RpcError::Transport(TransportErrorKind::HttpErrorWithRetryAfter { .. }) => {
            ErrorKind::Throttled(told(error))
        }
        RpcError::Transport(_) => ErrorKind::Unreachable(told(error)),
        _ => ErrorKind::Garbled(told(error)),
    };
    Error::new(doing, kind)
}

/// The error in a line: nodes answer with whole web pages at times.
fn told(error: &TransportError) -> String {
    error.to_string().chars().take(300).collect()
}

/// Nodes put what a contract returned into `data`, bare or inside an object.
fn revert_data(data: &RawValue) -> Option<Bytes> {
    let value: serde_json::Value = serde_json::from_str(data.get()).ok()?;
    let text = value.as_str().or_else(|| value.get("data").and_then(|inner| inner.as_str()))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, is_retryable: bool) {
        let error: TransportError = RpcError::ErrorResp(serde_json::from_str(answer).unwrap());
        assert_eq!(classify("asking", &error).is_retryable(), is_retryable, "{answer}");
    }

    #[test]
    fn trouble_of_the_nodes_own_passes_and_a_refusal_stays() {
        check(r#"{ "code": -32603, "message": "Internal error" }"#, true);
        check(r#"{ "code": -32005, "message": "limit exceeded" }"#, true);
        check(r#"{ "code": -32000, "message": "header not found" }"#, true);
        check(r#"{ "code": -32602, "message": "invalid params" }"#, false);
        check(r#"{ "code": 3, "message": "execution reverted", "data": "0x" }"#, false);
    }
}
