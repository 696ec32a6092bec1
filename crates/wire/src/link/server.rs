//! The scheduler's end: prove who it is, check who comes, hand the connection over.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{SinkExt, StreamExt, future};
use primitives::TaskId;
use serde_json::json;
use tokio::sync::Semaphore;

use super::message::{Handshake, Hello, Login};
use super::proof::{self, Scope};
use super::session::{self, FRAME_BYTES_MAX, Frame, KeepAlive, Socket};
use super::{
    CONNECT_PATH, Capabilities, LinkError, LinkReceiver, LinkSender, PROTOCOL, REVISION,
    ToScheduler, ToWorker,
};
use crate::Failure;
use crate::auth::signed_by;
use crate::http::json_answer;
use crate::json::{ShapeError, parse_address, parse_bytes32};

const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Strangers who may be in the middle of a login at once: each costs a signature and a socket.
const LOGINS_MAX: usize = 256;

/// Who a scheduler is.
#[derive(Clone)]
pub struct Identity {
    /// The workerpool it runs.
    pub workerpool: Address,
    /// The chain.
    pub chain_id: u64,
    /// The market's hub.
    pub hub: Address,
    /// The pool owner's wallet.
    pub signer: PrivateKeySigner,
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("workerpool", &self.workerpool)
            .field("chain_id", &self.chain_id)
            .field("hub", &self.hub)
            .field("owner", &self.signer.address())
            .finish()
    }
}

/// A worker that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its wallet.
    pub worker: Address,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Tasks it contributed to before and can still reveal and upload.
    pub holding: Vec<TaskId>,
}

/// A worker's connection, logged in, as the scheduler holds it.
#[derive(Debug)]
pub struct SchedulerLink {
    /// Who it is.
    pub arrival: Arrival,
    /// To the worker.
    pub sender: LinkSender<ToWorker>,
    /// From the worker.
    pub receiver: LinkReceiver<ToScheduler>,
}

/// What a scheduler does with workers that come.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Who the scheduler is.
    fn identity(&self) -> &Identity;

    /// Whether that worker may work here. The text is the token that its uploads will carry; it must not be guessable.
    async fn admit(&self, arrival: &Arrival) -> Result<String, Failure>;

    /// Takes the connection over. Runs in a task of its own and may last as long as the connection.
    async fn joined(&self, link: SchedulerLink);
}

/// The route that workers connect to, for the schedulers of one origin.
pub fn router(gates: impl IntoIterator<Item = Arc<dyn Gate>>) -> Router {
    let gates = gates.into_iter().map(|gate| (gate.identity().workerpool, gate)).collect();
    let door = Arc::new(Door { gates, logins: Arc::new(Semaphore::new(LOGINS_MAX)) });
    Router::new().route(CONNECT_PATH, get(connect)).with_state(door)
}

struct Door {
    gates: HashMap<Address, Arc<dyn Gate>>,
    logins: Arc<Semaphore>,
}

async fn connect(
    State(door): State<Arc<Door>>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let (workerpool, nonce) = match read_query(&query) {
        Ok(read) => read,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &unreadable(&error.0)),
    };
    let Some(gate) = door.gates.get(&workerpool).cloned() else {
        return refuse(StatusCode::NOT_FOUND, &unknown_workerpool(workerpool));
    };
    let Ok(turn) = Arc::clone(&door.logins).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &crowded());
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        let mut socket = framed(socket);
        let login = tokio::time::timeout(LOGIN_TIMEOUT, handshake(&*gate, nonce, &mut socket));
        let arrival = login.await.unwrap_or(Err(LinkError::Silent));
        drop(turn);
        match arrival {
            Ok(arrival) => {
                let (sender, receiver) = session::start(socket, KeepAlive::default());
                gate.joined(SchedulerLink { arrival, sender, receiver }).await;
            }
            Err(error) => {
                tracing::info!(%error, %workerpool, "a worker's login failed");
                // The reason was said already where one can be said; a failed goodbye changes nothing.
                let _ = socket.send(Frame::Close).await;
            }
        }
    })
}

async fn handshake(
    gate: &dyn Gate,
    worker_nonce: B256,
    socket: &mut impl Socket,
) -> Result<Arrival, LinkError> {
    let identity = gate.identity();
    let scope = Scope { chain_id: identity.chain_id, hub: identity.hub };
    let nonce = B256::random();
    let hello = hello(identity, scope, worker_nonce, nonce)?;
    say(socket, &Handshake::Hello(hello)).await?;
    let login = match session::next_text(socket).await.and_then(|text| session::decode(&text)) {
        Ok(Handshake::Login(login)) => login,
        Ok(_) => return refused(socket, unreadable("the answer to hello is login")).await,
        Err(LinkError::Protocol(reason)) => return refused(socket, unreadable(&reason)).await,
        Err(error) => return Err(error),
    };
    let hash = scope.login_hash(login.worker, identity.workerpool, nonce);
    if signed_by(&hash, &login.signature) != Some(login.worker) {
        return refused(socket, wrong_signature(login.worker)).await;
    }
    let Login { worker, capabilities, holding, .. } = login;
    let arrival = Arrival { worker, capabilities, holding };
    match gate.admit(&arrival).await {
        Ok(token) => {
            say(socket, &Handshake::Welcome { token, revision: REVISION }).await?;
            Ok(arrival)
        }
        Err(failure) => refused(socket, failure).await,
    }
}

fn hello(
    identity: &Identity,
    scope: Scope,
    worker_nonce: B256,
    nonce: B256,
) -> Result<Hello, LinkError> {
    let hash = scope.hello_hash(identity.workerpool, worker_nonce, nonce);
    Ok(Hello {
        protocol: PROTOCOL,
        workerpool: identity.workerpool,
        scheduler: identity.signer.address(),
        chain_id: identity.chain_id,
        hub: identity.hub,
        nonce,
        proof: proof::sign(&identity.signer, &hash)?,
    })
}

async fn say(socket: &mut impl Socket, word: &Handshake) -> Result<(), LinkError> {
    socket.send(Frame::Text(session::encode(word)?)).await
}

async fn refused<T>(socket: &mut impl Socket, failure: Failure) -> Result<T, LinkError> {
    say(socket, &Handshake::Refused { error: failure.clone() }).await?;
    Err(LinkError::Refused(failure))
}

fn read_query(query: &HashMap<String, String>) -> Result<(Address, B256), ShapeError> {
    let field = |name: &str| query.get(name).map_or("", String::as_str);
    let workerpool = parse_address("workerpool", field("workerpool"))?;
    Ok((workerpool, parse_bytes32("nonce", field("nonce"))?))
}

fn refuse(status: StatusCode, failure: &Failure) -> Response {
    json_answer(status, &json!(failure))
}

fn unreadable(reason: &str) -> Failure {
    Failure::new(
        "GM-4501",
        format!("the worker's login cannot be read: {reason}"),
        "use a worker of the same version as the scheduler",
    )
}

fn unknown_workerpool(workerpool: Address) -> Failure {
    Failure::new(
        "GM-4502",
        format!("no scheduler of workerpool {workerpool} answers here"),
        "check the workerpool's address and the scheduler's URL",
    )
}

fn wrong_signature(worker: Address) -> Failure {
    Failure::new(
        "GM-4503",
        format!("the login is not signed by {worker}"),
        "check the worker's key, the chain id and the hub's address",
    )
}

fn crowded() -> Failure {
    Failure::new("GM-4504", "too many workers are logging in at once", "try again in a moment")
}

fn framed(socket: WebSocket) -> impl Socket {
    socket
        .with(|frame| future::ready(Ok::<_, axum::Error>(to_message(frame))))
        .sink_map_err(|error| from_error(&error))
        .map(|message| message.map(from_message).map_err(|error| from_error(&error)))
}

fn to_message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(text.into()),
        Frame::Ping | Frame::Alive | Frame::Binary => Message::Ping(bytes::Bytes::new()),
        Frame::Close => Message::Close(None),
    }
}

fn from_message(message: Message) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.as_str().to_owned()),
        Message::Binary(_) => Frame::Binary,
        Message::Close(_) => Frame::Close,
        Message::Ping(_) | Message::Pong(_) => Frame::Alive,
    }
}

/// The websocket library's errors come wrapped, without their kind; an oversize frame is told by its text.
fn from_error(error: &axum::Error) -> LinkError {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") || text.contains("protocol") {
        LinkError::Protocol(text)
    } else {
        LinkError::Closed
    }
}
