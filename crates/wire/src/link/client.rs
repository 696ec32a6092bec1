//! The worker's end: connect, check who answers, log in.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use futures::{SinkExt, StreamExt, future};
use primitives::TaskId;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, error::CapacityError};
use url::Url;

use super::message::{Handshake, Hello, Login};
use super::proof::{self, Scope};
use super::session::{self, FRAME_BYTES_MAX, Frame, KeepAlive, Socket};
use super::{
    CONNECT_PATH, Capabilities, LinkError, LinkReceiver, LinkSender, PROTOCOL, ToScheduler,
    ToWorker,
};
use crate::auth::signed_by;
use crate::install_crypto_provider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a worker must know to connect.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The scheduler's origin: `http(s)://` or `ws(s)://`.
    pub scheduler: Url,
    /// The workerpool to work for.
    pub workerpool: Address,
    /// Who owns that workerpool, as the chain says: only their signature makes a scheduler believed.
    pub pool_owner: Address,
    /// The chain.
    pub chain_id: u64,
    /// The market's hub.
    pub hub: Address,
    /// The worker's wallet.
    pub signer: PrivateKeySigner,
    /// What the worker offers.
    pub capabilities: Capabilities,
    /// Tasks it contributed to before and can still reveal and upload.
    pub holding: Vec<TaskId>,
}

/// A worker's connection, logged in.
#[derive(Debug)]
pub struct WorkerLink {
    /// What uploads of results carry as `Authorization: Bearer …`.
    pub token: String,
    /// What the scheduler understands beyond the first form of the protocol.
    pub revision: u32,
    /// To the scheduler.
    pub sender: LinkSender<ToScheduler>,
    /// From the scheduler.
    pub receiver: LinkReceiver<ToWorker>,
}

/// Makes connections to schedulers.
#[derive(Debug, Clone, Copy)]
pub struct LinkClient;

impl LinkClient {
    /// Connects and logs in. Nothing is signed before the other end has proved that it speaks for the pool's owner.
    pub async fn connect(config: &ClientConfig) -> Result<WorkerLink, LinkError> {
        let nonce = B256::random();
        let mut socket = open(config, nonce).await?;
        let handshake = handshake(config, nonce, &mut socket);
        let (token, revision) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| LinkError::Silent)??;
        let (sender, receiver) = session::start(socket, KeepAlive::default());
        Ok(WorkerLink { token, revision, sender, receiver })
    }
}

async fn handshake(
    config: &ClientConfig,
    nonce: B256,
    socket: &mut impl Socket,
) -> Result<(String, u32), LinkError> {
    let Handshake::Hello(hello) = session::decode(&session::next_text(socket).await?)? else {
        return Err(LinkError::Protocol("the first message is not a hello".to_owned()));
    };
    check_hello(config, nonce, &hello)?;
    let login = Handshake::Login(login(config, hello.nonce)?);
    socket.send(Frame::Text(session::encode(&login)?)).await?;
    match session::decode(&session::next_text(socket).await?)? {
        Handshake::Welcome { token, revision } => Ok((token, revision)),
        Handshake::Refused { error } => Err(LinkError::Refused(error)),
        Handshake::Hello(_) | Handshake::Login(_) => {
            Err(LinkError::Protocol("a login is answered with welcome or refused".to_owned()))
        }
    }
}

fn check_hello(config: &ClientConfig, nonce: B256, hello: &Hello) -> Result<(), LinkError> {
    if hello.protocol != PROTOCOL {
        return Err(LinkError::Protocol(format!(
            "the scheduler speaks version {} and this worker version {PROTOCOL}",
            hello.protocol
        )));
    }
    let mismatch = if hello.workerpool != config.workerpool {
        Some("it serves another workerpool")
    } else if hello.chain_id != config.chain_id {
        Some("it is on another chain")
    } else if hello.hub != config.hub {
        Some("it uses another hub")
    } else if hello.scheduler != config.pool_owner {
        Some("it is not the owner that the chain names")
    } else {
        let scope = Scope { chain_id: config.chain_id, hub: config.hub };
        let hash = scope.hello_hash(config.workerpool, nonce, hello.nonce);
        let signed = signed_by(&hash, &hello.proof) == Some(config.pool_owner);
        (!signed).then_some("its proof is not signed by the pool's owner")
    };
    mismatch.map_or(Ok(()), |why| Err(LinkError::NotTheScheduler(why)))
}

fn login(config: &ClientConfig, scheduler_nonce: B256) -> Result<Login, LinkError> {
    let worker = config.signer.address();
    let scope = Scope { chain_id: config.chain_id, hub: config.hub };
    let hash = scope.login_hash(worker, config.workerpool, scheduler_nonce);
    Ok(Login {
        worker,
        signature: proof::sign(&config.signer, &hash)?,
        capabilities: config.capabilities.clone(),
        holding: config.holding.clone(),
    })
}

async fn open(config: &ClientConfig, nonce: B256) -> Result<impl Socket, LinkError> {
    install_crypto_provider();
    let url = connect_url(config, nonce)?;
    let unreachable =
        |reason: String| LinkError::Unreachable { url: config.scheduler.to_string(), reason };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = tokio_tungstenite::connect_async_with_config(url.as_str(), Some(limits), true);
    let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| unreachable("no answer in time".to_owned()))?
        .map_err(|error| refused_upgrade(&error).unwrap_or_else(&unreachable))?;
    let socket = socket
        .with(|frame| future::ready(Ok::<_, tungstenite::Error>(to_message(frame))))
        .sink_map_err(from_error);
    Ok(socket.map(|message| message.map(from_message).map_err(from_error)))
}

/// The scheduler's own failure when it answered without a websocket; else the reason as text.
fn refused_upgrade(error: &tungstenite::Error) -> Result<LinkError, String> {
    if let tungstenite::Error::Http(answer) = error {
        let body = answer.body().as_deref().unwrap_or_default();
        if let Ok(failure) = serde_json::from_slice(body) {
            return Ok(LinkError::Refused(failure));
        }
    }
    Err(error.to_string())
}

fn connect_url(config: &ClientConfig, nonce: B256) -> Result<Url, LinkError> {
    let unusable = |reason: &str| LinkError::Unreachable {
        url: config.scheduler.to_string(),
        reason: reason.to_owned(),
    };
    let mut url = config.scheduler.clone();
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(unusable("the address must start with http, https, ws or wss")),
    };
    url.set_scheme(scheme).map_err(|()| unusable("the address cannot carry a websocket"))?;
    url.set_path(CONNECT_PATH);
    url.query_pairs_mut()
        .clear()
        .append_pair("workerpool", &config.workerpool.to_string())
        .append_pair("nonce", &nonce.to_string());
    Ok(url)
}

fn to_message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Ping | Frame::Alive | Frame::Binary => Message::Ping(Vec::new().into()),
        Frame::Close => Message::Close(None),
    }
}

fn from_message(message: Message) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.as_str().to_owned()),
        Message::Binary(_) => Frame::Binary,
        Message::Close(_) => Frame::Close,
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Frame::Alive,
    }
}

fn from_error(error: tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            LinkError::Protocol(format!("a frame of {size} bytes is larger than {max_size}"))
        }
        tungstenite::Error::Protocol(reason) => LinkError::Protocol(reason.to_string()),
        _ => LinkError::Closed,
    }
}
