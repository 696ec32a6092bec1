//! A connection once it stands: two bounded queues and two tasks that move frames between them and the socket.

use std::marker::PhantomData;
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::LinkError;

/// The largest frame either end accepts. A login that holds 1,000 tasks is a quarter of it.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Messages that wait in either direction before the sender has to wait.
const QUEUE_LEN: usize = 1_024;

/// How often to ask whether the other end lives, and how long to wait for any sign of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    pub(super) ping_every: Duration,
    pub(super) silent_max: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { ping_every: Duration::from_secs(10), silent_max: Duration::from_secs(35) }
    }
}

/// A websocket frame, whichever library carries it.
#[derive(Debug)]
pub(super) enum Frame {
    Text(String),
    Ping,
    /// Pongs and answers to pings, which the libraries handle: a sign of life and nothing more.
    Alive,
    Close,
    Binary,
}

/// One end's socket.
pub(super) trait Socket:
    Sink<Frame, Error = LinkError> + Stream<Item = Result<Frame, LinkError>> + Send + Unpin + 'static
{
}

impl<S> Socket for S where
    S: Sink<Frame, Error = LinkError>
        + Stream<Item = Result<Frame, LinkError>>
        + Send
        + Unpin
        + 'static
{
}

/// Says things of type `M`; may be cloned. The connection closes when all senders or the receiver are gone.
#[derive(Debug)]
pub struct LinkSender<M> {
    queue: mpsc::Sender<String>,
    says: PhantomData<fn(M)>,
}

impl<M> Clone for LinkSender<M> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), says: PhantomData }
    }
}

impl<M: Serialize> LinkSender<M> {
    /// Queues the message, waiting for room. Fails when the connection is closed.
    pub async fn send(&self, message: &M) -> Result<(), LinkError> {
        let text = encode(message)?;
        self.queue.send(text).await.map_err(|_| LinkError::Closed)
    }

    /// Queues the message if there is room now; `false` when the other end is too slow and the queue is full.
    pub fn try_send(&self, message: &M) -> Result<bool, LinkError> {
        match self.queue.try_send(encode(message)?) {
            Ok(()) => Ok(true),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(false),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LinkError::Closed),
        }
    }

    /// Waits until everything that was queued is on its way, or the connection is closed.
    pub async fn flushed(&self) {
        // All places are free when nothing waits; an error means that nothing ever will be sent.
        let _ = self.queue.reserve_many(self.queue.max_capacity()).await;
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// Hears things of type `M`.
#[derive(Debug)]
pub struct LinkReceiver<M> {
    queue: mpsc::Receiver<Result<M, LinkError>>,
    _closes: DropGuard,
}

impl<M> LinkReceiver<M> {
    /// The next message; an error once when the connection fails; nothing after that, or when the other end left in
    /// good order.
    pub async fn recv(&mut self) -> Option<Result<M, LinkError>> {
        self.queue.recv().await
    }
}

/// Starts moving frames. The tasks end when either queue's other end is dropped, or with the connection.
pub(super) fn start<Out, In>(
    socket: impl Socket,
    keep: KeepAlive,
) -> (LinkSender<Out>, LinkReceiver<In>)
where
    In: DeserializeOwned + Send + 'static,
{
    let (out_queue, out_rest) = mpsc::channel(QUEUE_LEN);
    let (in_queue, in_rest) = mpsc::channel(QUEUE_LEN);
    let closed = CancellationToken::new();
    let (sink, stream) = socket.split();
    tokio::spawn(write(sink, out_rest, keep.ping_every, closed.clone()));
    tokio::spawn(read(stream, in_queue, keep.silent_max, closed.clone()));
    let sender = LinkSender { queue: out_queue, says: PhantomData };
    (sender, LinkReceiver { queue: in_rest, _closes: closed.drop_guard() })
}

/// The next text frame, skipping signs of life; for the handshake.
pub(super) async fn next_text(socket: &mut impl Socket) -> Result<String, LinkError> {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Text(text))) => return Ok(text),
            Some(Ok(Frame::Ping | Frame::Alive)) => {}
            Some(Ok(Frame::Binary)) => return Err(binary()),
            Some(Ok(Frame::Close)) | None => return Err(LinkError::Closed),
            Some(Err(error)) => return Err(error),
        }
    }
}

/// A message as a frame's text.
pub(super) fn encode(message: &impl Serialize) -> Result<String, LinkError> {
    let text =
        serde_json::to_string(message).map_err(|error| LinkError::Protocol(error.to_string()))?;
    if text.len() > FRAME_BYTES_MAX {
        return Err(LinkError::Protocol(format!(
            "a message of {} bytes is larger than the {FRAME_BYTES_MAX} allowed",
            text.len()
        )));
    }
    Ok(text)
}

/// A frame's text as a message.
pub(super) fn decode<M: DeserializeOwned>(text: &str) -> Result<M, LinkError> {
    serde_json::from_str(text).map_err(|error| LinkError::Protocol(error.to_string()))
}

fn binary() -> LinkError {
    LinkError::Protocol("frames are text, and this one is binary".to_owned())
}

async fn write(
    mut sink: impl Sink<Frame, Error = LinkError> + Unpin,
    mut queue: mpsc::Receiver<String>,
    ping_every: Duration,
    closed: CancellationToken,
) {
    let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            () = closed.cancelled() => Frame::Close,
            text = queue.recv() => text.map_or(Frame::Close, Frame::Text),
            _ = ping.tick() => Frame::Ping,
        };
        let last = matches!(frame, Frame::Close);
        // A peer that does not read must not hold this task for ever.
        let sent = tokio::time::timeout(ping_every * 2, sink.send(frame)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    closed.cancel();
}

async fn read<In: DeserializeOwned>(
    mut stream: impl Stream<Item = Result<Frame, LinkError>> + Unpin,
    queue: mpsc::Sender<Result<In, LinkError>>,
    silent_max: Duration,
    closed: CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            () = closed.cancelled() => break,
            frame = tokio::time::timeout(silent_max, stream.next()) => frame,
        };
        let heard = match frame {
            Err(_) => Err(LinkError::Silent),
            Ok(None | Some(Ok(Frame::Close))) => break,
            Ok(Some(Err(error))) => Err(error),
            Ok(Some(Ok(Frame::Ping | Frame::Alive))) => continue,
            Ok(Some(Ok(Frame::Binary))) => Err(binary()),
            Ok(Some(Ok(Frame::Text(text)))) => decode(&text),
        };
        let last = heard.is_err();
        if queue.send(heard).await.is_err() || last {
            break;
        }
    }
    closed.cancel();
}
