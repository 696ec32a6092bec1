//! The live feed: what changes in the book, told to whoever listens. socket.io v4 on `/ws`, as the official API has it.
//!
//! ```text
//! client ── join {chainId, topic} ──▶ true, and from then on the topic's events
//!        ◀── apporder_published {…}, deal_created {…}, … ──
//!        ── leave {chainId, topic} | leaveAll ──▶ true
//! ```
//! | topic | event | what it carries |
//! |---|---|---|
//! | `orders` | `apporder_published`, `…_updated` | the record, without its chain id |
//! | | `apporder_unpublished` | the order's hash: taken back, canceled, used up or dead |
//! | `deals` | `deal_created` | the deal |
//!
//! The same for `datasetorder`, `workerpoolorder` and `requestorder`. Beyond the official API, leaving works by topic, and a
//! join that cannot be is answered `false` rather than never. One event is ours: `missed {count}` on both topics, when the
//! feed itself fell behind the book; who sees it reads the book again.
//!
//! Everything is bounded: clients, altogether and from one address; what each may send; what waits for each. To a client
//! that does not keep up nothing more is said, so that no gap is hidden, and it is disconnected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::{Map, Value, json};
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::{SendError, SocketError, SocketIo};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Change, OrderStatus, Published};
use crate::http::json_answer;
use crate::seats::{Seat, Seats};

/// Where the feed is.
pub const FEED_PATH: &str = "/ws";

/// The largest message of a client: it has nothing to say but what it wants to hear.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// How often a client that is to go is asked again whether it has read its farewell.
const FAREWELL_RETRY: Duration = Duration::from_millis(250);
/// How long a client has to join the namespace, having connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What listeners may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedLimits {
    /// Clients at once.
    pub clients_max: usize,
    /// Of them from one address, this machine's own excepted.
    pub clients_per_caller_max: usize,
    /// Events that wait for a client; at one more it is disconnected.
    pub waiting_max: usize,
    /// How often a client is asked whether it is there; it has as long again to answer.
    pub ping_interval: Duration,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            clients_max: 512,
            clients_per_caller_max: 32,
            waiting_max: 1_024,
            ping_interval: Duration::from_secs(25),
        }
    }
}

/// The feed of a chain's book. It ends when the book does; must be called within a runtime.
pub fn feed(chain_id: u64, changes: Receiver<Change>, limits: FeedLimits) -> Router {
    let (service, io) = SocketIo::builder()
        .req_path(FEED_PATH)
        .ping_interval(limits.ping_interval)
        .ping_timeout(limits.ping_interval)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_buffer_size(limits.waiting_max)
        .max_payload(MESSAGE_BYTES_MAX as u64)
        .ws_max_message_size(MESSAGE_BYTES_MAX)
        .ws_max_frame_size(MESSAGE_BYTES_MAX)
        .build_svc();
    io.ns("/", move |socket: SocketRef| async move { welcome(&socket, chain_id) });
    tokio::spawn(Feed { chain_id, io }.tell_all(changes));
    let seats = Seats::new(limits.clients_max, limits.clients_per_caller_max);
    Router::new()
        .route_service(FEED_PATH, service.clone())
        .route_service(&format!("{FEED_PATH}/"), service)
        .layer(middleware::from_fn_with_state(seats, seated))
}

/// What one may listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Orders,
    Deals,
}

impl Topic {
    const ALL: [Self; 2] = [Self::Orders, Self::Deals];

    fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Deals => "deals",
        }
    }

    /// The topic that a client means, if it is one of this chain.
    fn of(chain_id: u64, asked: &Value) -> Option<Self> {
        let chain = match asked.get("chainId")? {
            Value::String(text) => text.parse().ok()?,
            number => number.as_u64()?,
        };
        let topic = asked.get("topic")?.as_str()?;
        Self::ALL.into_iter().find(|known| chain == chain_id && known.name() == topic)
    }
}

fn welcome(socket: &SocketRef, chain_id: u64) {
    socket.on(
        "join",
        move |socket: SocketRef, Data(asked): Data<Value>, ack: AckSender| async move {
            let topic = Topic::of(chain_id, &asked);
            if let Some(topic) = topic {
                socket.join(topic.name());
            }
            acknowledge(ack, topic.is_some());
        },
    );
    socket.on(
        "leave",
        move |socket: SocketRef, Data(asked): Data<Value>, ack: AckSender| async move {
            let topic = Topic::of(chain_id, &asked);
            if let Some(topic) = topic {
                socket.leave(topic.name());
            }
            acknowledge(ack, topic.is_some());
        },
    );
    socket.on("leaveAll", |socket: SocketRef, ack: AckSender| async move {
        socket.leave_all();
        acknowledge(ack, true);
    });
}

fn acknowledge(ack: AckSender, granted: bool) {
    if let Err(error) = ack.send(&granted) {
        tracing::debug!(%error, "a client of the feed is gone before its answer");
    }
}

/// The side that speaks.
struct Feed {
    chain_id: u64,
    io: SocketIo,
}

impl Feed {
    async fn tell_all(self, mut changes: Receiver<Change>) {
        loop {
            match changes.recv().await {
                Ok(change) => self.tell(&change),
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(
                        count,
                        chain_id = self.chain_id,
                        "the feed fell behind the book"
                    );
                    for topic in Topic::ALL {
                        self.say(topic, "missed", &json!({"count": count}));
                    }
                }
                Err(RecvError::Closed) => break,
            }
        }
        self.io.close().await;
    }

    fn tell(&self, change: &Change) {
        match change {
            Change::Published(record) => self.order(record, "published"),
            Change::Updated(record) if record.status == OrderStatus::Open => {
                self.order(record, "updated");
            }
            Change::Updated(record) => {
                self.gone(record.order.kind().as_str(), &record.hash.to_string());
            }
            Change::Unpublished { kind, hash } => self.gone(kind.as_str(), &hash.to_string()),
            Change::DealCreated(deal) => {
                if self.is_heard(Topic::Deals) {
                    self.say(Topic::Deals, "deal_created", &Value::Object(deal.to_json()));
                }
            }
        }
    }

    fn order(&self, record: &Published, what: &str) {
        if !self.is_heard(Topic::Orders) {
            return;
        }
        let event = format!("{}order_{what}", record.order.kind());
        match record.to_json().map(without_chain_id) {
            Ok(record) => self.say(Topic::Orders, &event, &record),
            // The book takes in no order that cannot be written.
            Err(error) => tracing::error!(%error, hash = %record.hash, "an order cannot be told"),
        }
    }

    fn gone(&self, kind: &str, hash: &str) {
        let event = format!("{kind}order_unpublished");
        self.say(Topic::Orders, &event, &Value::from(hash));
    }

    fn is_heard(&self, topic: Topic) -> bool {
        !self.io.to(topic.name()).sockets().is_empty()
    }

    fn say(&self, topic: Topic, event: &str, what: &Value) {
        for socket in self.io.to(topic.name()).sockets() {
            match socket.emit(event, what) {
                Ok(()) => {}
                Err(SendError::Socket(SocketError::InternalChannelFull)) => dismiss(socket),
                Err(error) => tracing::debug!(%error, "a client of the feed is gone"),
            }
        }
    }
}

/// Takes a client out that does not keep up.
fn dismiss(socket: SocketRef) {
    tracing::debug!(client = %socket.id, "a client of the feed does not keep up");
    socket.leave_all();
    tokio::spawn(async move {
        // What is full takes no farewell either. A client that begins to read is told; one that never does is found silent
        // by the next ping.
        while socket.connected() && socket.clone().disconnect().is_err() {
            tokio::time::sleep(FAREWELL_RETRY).await;
        }
    });
}

fn without_chain_id(mut record: Map<String, Value>) -> Value {
    record.remove("chainId");
    Value::Object(record)
}

/// Kept with the request that opened a session, which the session keeps until its end.
#[derive(Clone)]
struct Held {
    _seat: Arc<Seat>,
}

/// Gives each new session a seat.
async fn seated(State(seats): State<Seats>, mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if query.split('&').any(|pair| pair.starts_with("sid=")) {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|caller| caller.0.ip());
    let Some(seat) = seats.take(caller) else {
        let refusal = json!({"code": 4, "message": "too many clients listen already"});
        return json_answer(StatusCode::TOO_MANY_REQUESTS, &refusal);
    };
    request.extensions_mut().insert(Held { _seat: Arc::new(seat) });
    next.run(request).await
}
