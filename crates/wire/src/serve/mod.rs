//! Listening: an HTTP server that its callers cannot hold up.
//!
//! ```text
//! accept ─► a seat? ─► head within its time ─► body at its pace ─► routes ─► answer read within its time
//! ```
//! What is bounded: connections, altogether and from one address; the size of a head and the time it takes; how slowly a
//! body may come; how long an answer may lie unread, on websockets too. At the stop no connection is taken any more, what
//! is being answered is finished, and what does not finish is cut.
//!
//! What is not here: the size of bodies, which each route knows; how often somebody may ask ([`crate::market`]).
//!
//! **Layout:** `body` the pace of bodies · `stream` the patience with readers · `polite` what all routes of an origin have
//! in common.

mod body;
mod polite;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::seats::Seats;
use stream::Patient;

pub use body::Pace;
pub use polite::polite;

/// How long to wait when the system has no connection to give, which is when this process holds too many files.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// What a caller may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// Of them from one address, this machine's own excepted.
    pub connections_per_caller_max: usize,
    /// How long a head may take to arrive, and how long a connection may lie idle.
    pub head_timeout: Duration,
    /// The largest head: request line and headers.
    pub head_bytes_max: usize,
    /// How slowly a body may arrive.
    pub body_pace: Pace,
    /// How long an answer may wait for a caller that does not read.
    pub unread_timeout: Duration,
    /// How long open connections have after the stop.
    pub goodbye_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_caller_max: 256,
            // Longer than clients keep an idle connection, so that it is the client who closes it: a server that does may do
            // so in the very moment in which the next request is sent.
            head_timeout: Duration::from_secs(100),
            head_bytes_max: 64 * 1024,
            body_pace: Pace::default(),
            unread_timeout: Duration::from_secs(60),
            goodbye_timeout: Duration::from_secs(5),
        }
    }
}

/// Answers whoever connects with `routes`, until `stop`. The routes learn the caller's address as
/// `ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let seats = Seats::new(limits.connections_max, limits.connections_per_caller_max);
    let mut connections = JoinSet::new();
    loop {
        // The finished ones are forgotten here, so that the set does not grow with the number of those who ever came.
        while connections.try_join_next().is_some() {}
        let (stream, caller) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    wait_for_files(&error).await;
                    continue;
                }
            },
        };
        let Some(seat) = seats.take(Some(caller.ip())) else {
            tracing::debug!(%caller, "a connection too many is closed");
            continue;
        };
        // Short messages follow each other here (a new head, then an answer): none may wait for the other's receipt.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        let stream = Patient::new(stream, limits.unread_timeout, seat);
        connections.spawn(answer(stream, caller, routes.clone(), limits, stop.clone()));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.goodbye_timeout, rest).await.is_err() {
        tracing::debug!(left = connections.len(), "connections are cut");
    }
}

async fn answer(
    stream: Patient<TcpStream>,
    caller: SocketAddr,
    routes: Router,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| body::paced(Body::new(body), limits.body_pace));
        request.extensions_mut().insert(ConnectInfo(caller));
        routes.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %caller, "a connection broke");
    }
}

/// An error of one connection says nothing about the next; one of the system passes when others close theirs.
async fn wait_for_files(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    );
    if !of_one_connection {
        tracing::warn!(%error, "no connection can be taken for a moment");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}
