//! Bodies that must keep coming.

use std::io;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

/// How slowly a body may arrive: a time for the start, and from then on a rate on the average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// What everybody has, however little comes.
    pub grace: Duration,
    /// The least that must come on the average after that.
    pub bytes_per_second: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30), bytes_per_second: 4 * 1024 }
    }
}

impl Pace {
    /// When the next bytes must be there, counted from the start.
    fn time_for(self, received_bytes: u64) -> Duration {
        self.grace + Duration::from_secs(received_bytes / self.bytes_per_second.max(1))
    }
}

/// The same body; reading it fails when it comes too slowly.
pub(super) fn paced(body: Body, pace: Pace) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let start = (body.into_data_stream(), 0_u64, Instant::now());
    let chunks = stream::try_unfold(start, move |(mut chunks, received, began)| async move {
        let next = timeout_at(began + pace.time_for(received), chunks.next()).await;
        match next {
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly")),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(Some(Ok(chunk))) => {
                let received = received.saturating_add(chunk.len() as u64);
                Ok::<_, io::Error>(Some((chunk, (chunks, received, began))))
            }
        }
    });
    Body::from_stream(chunks)
}
