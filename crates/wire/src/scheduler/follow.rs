//! Logs as they come: one line of JSON for each piece, over one answer that lasts until the task has ended.
//!
//! ```text
//! GET /tasks/{id}/logs?follow=1&after=SEQ        Authorization as for the logs at rest
//!   {"seq":7,"at":"…","worker":"0x…","stream":"stdout","text":"half done\n"}
//!                                                an empty line now and then: still there
//!   {"end":"COMPLETED"}                          nothing more will come
//! ```
//!
//! A reader whose connection breaks asks again with the last number it saw. Numbers only grow; where some are missing, the
//! pieces were older than what is kept, or another task's.

use alloy_primitives::Address;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::UnixMillis;
use crate::http::ClientError;
use crate::link::LogStream;

/// A piece of what a program printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// Its number; later ones are higher.
    pub seq: u64,
    /// When the scheduler heard of it.
    pub at: UnixMillis,
    /// At which worker.
    #[serde(with = "crate::json::text")]
    pub worker: Address,
    /// Where the program printed.
    pub stream: LogStream,
    /// What.
    pub text: String,
}

/// What a follower of logs hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNews {
    /// A piece.
    Piece(LogPiece),
    /// Nothing, but the other end is there.
    Alive,
    /// The task has ended with that status, and all that was kept is told.
    End {
        /// As in `currentStatus`.
        status: String,
    },
}

/// What a follower hears, one after the other.
pub type LogFeed = BoxStream<'static, LogNews>;

/// What such an answer is.
pub(crate) const CONTENT_TYPE: &str = "application/x-ndjson";
/// The longest line; a piece is a small part of it.
const LINE_BYTES_MAX: usize = 1 << 20;

impl LogNews {
    fn to_line(&self) -> String {
        match self {
            Self::Piece(piece) => format!("{}\n", json!(piece)),
            Self::Alive => "\n".to_owned(),
            Self::End { status } => format!("{}\n", json!({ "end": status })),
        }
    }

    fn of_line(line: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Line {
            End { end: String },
            Piece(LogPiece),
        }
        if line.trim().is_empty() {
            return Ok(Self::Alive);
        }
        Ok(match serde_json::from_str(line)? {
            Line::End { end } => Self::End { status: end },
            Line::Piece(piece) => Self::Piece(piece),
        })
    }
}

/// The answer that tells the feed.
pub(super) fn answer(feed: LogFeed) -> Response {
    let lines = feed.map(|news| Ok::<_, std::convert::Infallible>(Bytes::from(news.to_line())));
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that gather an answer before they pass it on would keep it from being live.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (StatusCode::OK, headers, Body::from_stream(lines)).into_response()
}

/// The news in such an answer.
pub(super) fn news(
    body: impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static,
    unreadable: impl Fn(String) -> ClientError + Send + 'static,
) -> BoxStream<'static, Result<LogNews, ClientError>> {
    let state = (Box::pin(body), BytesMut::new(), unreadable);
    let lines = futures::stream::try_unfold(state, |(mut body, mut held, unreadable)| async move {
        loop {
            if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line = held.split_to(end + 1);
                let news = LogNews::of_line(&String::from_utf8_lossy(&line));
                let news = news.map_err(|error| unreadable(error.to_string()))?;
                return Ok(Some((news, (body, held, unreadable))));
            }
            if held.len() > LINE_BYTES_MAX {
                return Err(unreadable("a line of a log is too long".to_owned()));
            }
            match body.try_next().await? {
                Some(chunk) => held.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    });
    lines.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(chunks: &[&str]) -> Vec<LogNews> {
        let chunks: Vec<_> = chunks.iter().map(|it| Ok(Bytes::from(it.to_string()))).collect();
        let unreadable = |reason| ClientError::Unreadable { origin: String::new(), reason };
        news(futures::stream::iter(chunks), unreadable).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn lines_are_read_however_they_are_cut() {
        let piece = LogPiece {
            seq: 7,
            at: UnixMillis(1_000),
            worker: Address::repeat_byte(1),
            stream: LogStream::Stderr,
            text: "half\n\u{e9}".to_owned(),
        };
        let all = [
            LogNews::Alive,
            LogNews::Piece(piece),
            LogNews::End { status: "COMPLETED".to_owned() },
        ];
        let text: String = all.iter().map(LogNews::to_line).collect();
        assert_eq!(heard(&[&text]).await, all);
        let (first, second) = text.split_at(20);
        assert_eq!(heard(&[first, second]).await, all);
        let single: Vec<_> =
            text.char_indices().map(|(at, it)| &text[at..at + it.len_utf8()]).collect();
        assert_eq!(heard(&single).await, all);
        assert_eq!(heard(&["{\"end\":\"x"]).await, [], "what broke off is not told");
    }
}
