//! The one origin: a listener that answers from the first moment, with more and more routes.
//!
//! The chain must answer before the services can start, since they talk to it; the services' routes exist only once they have
//! started. So the listener is opened first, with the chain's routes, and everything else is let in later. Until then it
//! says 503, which clients take as "not yet".

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;
use wire::serve::{ServeLimits, polite, serve};

use crate::failure::{Exit, Failure};

type Later = Arc<RwLock<Option<Router>>>;

/// An open listener.
pub(crate) struct Origin {
    /// Where it is reached over HTTP.
    pub(crate) url: Url,
    /// The same as a websocket.
    pub(crate) ws: Url,
    later: Later,
    task: JoinHandle<()>,
}

impl Origin {
    /// Listens, and answers with `first` at once.
    ///
    /// # Errors
    /// GM-5005 if the address is taken.
    pub(crate) async fn open(
        host: IpAddr,
        port: u16,
        first: Router,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let address = SocketAddr::new(host, port);
        let taken = |error: std::io::Error| {
            Failure::new("GM-5005", Exit::Market, format!("cannot listen on {address}"))
                .because(error)
                .fix("another --port; 0 takes a free one")
        };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let bound = listener.local_addr().map_err(taken)?;
        let later = Later::default();
        let routes = {
            let later = later.clone();
            first.fallback(move |request: Request| answer_later(later.clone(), request))
        };
        let task = tokio::spawn(serve(listener, polite(routes), ServeLimits::default(), stop));
        let url = |scheme: &str| {
            let text = format!("{scheme}://{}", reachable(bound));
            text.parse().unwrap_or_else(|error| unreachable!("{text} is a URL: {error}"))
        };
        Ok(Self { url: url("http"), ws: url("ws"), later, task })
    }

    /// Lets routes in, in place of those that were let in before.
    pub(crate) fn let_in(&self, routes: Router) {
        *self.later.write() = Some(routes);
    }

    /// The origin as people write it, without a slash at the end.
    pub(crate) fn text(url: &Url) -> String {
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Waits, after the stop, until what was being answered is answered, or has had its time.
    pub(crate) async fn closed(self) {
        if let Err(error) = self.task.await {
            tracing::debug!(%error, "the origin did not close in order");
        }
    }

    /// The task that answers; ends soon after the stop.
    pub(crate) fn into_task(self) -> JoinHandle<()> {
        self.task
    }
}

async fn answer_later(later: Later, request: Request) -> Response {
    let routes = later.read().clone();
    match routes {
        Some(routes) => match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, "the market is starting").into_response(),
    }
}

/// An address that can be connected to: a listener on all interfaces is reached through loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, bound.port())
}
