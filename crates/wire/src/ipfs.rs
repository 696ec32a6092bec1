//! Storing and fetching content through an IPFS gateway: `POST /api/v0/add` as kubo has it, `GET /ipfs/<cid>`.
//!
//! Only the client is here; `blobs` answers both paths itself. What is fetched is named by its content, so a caller
//! that needs certainty compares a digest; this client only bounds how much it takes.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use futures::StreamExt;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use ring::digest::{Context, SHA256};
use serde_json::Value;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::http::{ClientError, Http};
use crate::json::Fields;
use crate::parts::{Parcel, Sending};
use crate::resume::Mark;

/// The largest answer to an add: one line for each file and folder.
const ADD_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a download is tried that does not get on: a gateway that is started anew takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The content id.
    pub cid: String,
    /// Bytes stored, as the server counts them.
    pub size_bytes: u64,
}

impl Stored {
    /// The path under which a gateway answers: `/ipfs/<cid>`.
    pub fn location(&self) -> String {
        format!("/ipfs/{}", self.cid)
    }
}

/// A gateway's HTTP API.
#[derive(Debug, Clone)]
pub struct IpfsClient {
    http: Http,
}

impl IpfsClient {
    /// A client of the gateway at that origin.
    pub fn new(origin: &Url) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(origin)? })
    }

    /// The gateway.
    pub fn origin(&self) -> &Url {
        self.http.origin()
    }

    /// Stores those bytes under that name.
    pub async fn add_bytes(&self, name: &str, content: Bytes) -> Result<Stored, ClientError> {
        let length = content.len() as u64;
        self.add(name, Part::stream_with_length(content, length)).await
    }

    /// Stores a file, streaming it.
    pub async fn add_file(&self, path: &Path) -> Result<Stored, ClientError> {
        let unusable = |source| unusable(path, source);
        let file = tokio::fs::File::open(path).await.map_err(unusable)?;
        let length = file.metadata().await.map_err(unusable)?.len();
        let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
        let body = Body::wrap_stream(ReaderStream::new(file));
        self.add(&name, Part::stream_with_length(body, length)).await
    }

    /// Stores what is there of a file, in parts, from where an earlier attempt under the same `secret` ended. Nothing if more
    /// of it is still to come. Small files, and gateways that do not know parts, get the whole in one piece once it is there.
    ///
    /// `secret` is the sender's own: the upload's name is made of it and of the content, so that nobody else who knows the
    /// content can interfere.
    ///
    /// # Errors
    /// The connection breaks, the gateway refuses, or the file cannot be read. What has arrived stays there.
    pub async fn add_parcel(
        &self,
        parcel: &Parcel,
        secret: &B256,
        there_bytes: u64,
    ) -> Result<Option<Stored>, ClientError> {
        let is_whole = there_bytes >= parcel.size_bytes();
        let Some(sha256) = parcel.sha256() else {
            let all = is_whole.then(|| self.add_file(parcel.path()));
            return futures::future::OptionFuture::from(all).await.transpose();
        };
        let path = format!("/uploads/{}", name_of(secret, sha256));
        let sending = Sending { http: &self.http, path, token: None, parcel, sha256 };
        match sending.send(there_bytes).await {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => {
                let body = self.http.body(answer, ADD_ANSWER_BYTES_MAX).await?;
                self.read_added(&body).map(Some)
            }
            // It has no such door, or no place for one more.
            Err(ClientError::Refused { status: 404 | 405 | 501 | 507, .. }) if is_whole => {
                self.add_file(parcel.path()).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }

    /// The content, at most `limit_bytes` of it: more is an error. `location` is `/ipfs/<cid>`, with or without a path
    /// below, or a bare content id.
    pub async fn fetch(&self, location: &str, limit_bytes: u64) -> Result<Bytes, ClientError> {
        let answer = self.http.send(self.get(location)?).await?;
        self.check_length(&answer, limit_bytes)?;
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        self.http.body(answer, limit).await
    }

    /// The content into a file, which is created or overwritten; gives back how many bytes it has. After a cut line, or while
    /// the gateway is started anew, it goes on where it was. After an error the file is incomplete.
    pub async fn fetch_to_file(
        &self,
        location: &str,
        path: &Path,
        limit_bytes: u64,
    ) -> Result<u64, ClientError> {
        let mut download = Download::create(path, limit_bytes).await?;
        let (mut since, mut pause, mut furthest) = (Instant::now(), PAUSE_MIN, 0);
        loop {
            let error = match self.go_on(location, &mut download).await {
                Ok(()) => return Ok(download.written),
                Err(error) => error,
            };
            if download.written > furthest {
                (since, pause, furthest) = (Instant::now(), PAUSE_MIN, download.written);
            }
            if !error.is_retryable() || since.elapsed() >= PATIENCE {
                return Err(error);
            }
            tracing::debug!(%error, furthest, "downloading again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Fetches what is missing.
    async fn go_on(&self, location: &str, download: &mut Download<'_>) -> Result<(), ClientError> {
        let from = download.written;
        let known = download.mark.take().filter(|_| from > 0);
        let asked = known.as_ref().map(|mark| mark.ask(from)).unwrap_or_default();
        let answer = match self.http.send(self.get(location)?.headers(asked)).await {
            Ok(answer) => answer,
            // Of that range there is nothing: the next attempt is for the whole.
            Err(ClientError::Refused { status: 416, .. }) if known.is_some() => {
                return Err(self.http.cut());
            }
            Err(error) => {
                download.mark = known;
                return Err(error);
            }
        };
        match known.filter(|mark| mark.goes_on(answer.status(), answer.headers(), from)) {
            Some(mark) => download.mark = Some(mark),
            None if answer.status() == StatusCode::PARTIAL_CONTENT => return Err(self.http.cut()),
            None => {
                self.check_length(&answer, download.limit_bytes)?;
                download.mark = Mark::of(answer.headers(), false);
                download.begin_anew().await?;
            }
        }
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| self.http.connection(source))?;
            if !download.write(&chunk).await? {
                return Err(self.http.too_large(download.limit_bytes));
            }
        }
        let flushed = download.file.flush().await;
        flushed.map_err(|source| unusable(download.path, source))?;
        let is_all = download.mark.as_ref().is_none_or(|mark| mark.is_all(download.written));
        if is_all { Ok(()) } else { Err(self.http.cut()) }
    }

    /// Whether the gateway has that content.
    pub async fn has(&self, location: &str) -> Result<bool, ClientError> {
        let request = self.http.request(Method::HEAD, &gateway_path(location)?, &[]);
        match self.http.send(request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn get(&self, location: &str) -> Result<RequestBuilder, ClientError> {
        Ok(self.http.request(Method::GET, &gateway_path(location)?, &[]))
    }

    async fn add(&self, name: &str, part: Part) -> Result<Stored, ClientError> {
        let form = Form::new().part("file", part.file_name(name.to_owned()));
        let query = [("stream-channels", "true".to_owned()), ("progress", "false".to_owned())];
        let request = self.http.request(Method::POST, "/api/v0/add", &query).multipart(form);
        let answer = self.http.send(request).await?;
        let body = self.http.body(answer, ADD_ANSWER_BYTES_MAX).await?;
        self.read_added(&body)
    }

    /// The last line names the root of what was added.
    fn read_added(&self, body: &[u8]) -> Result<Stored, ClientError> {
        let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let line = lines.next_back().ok_or_else(|| self.http.unreadable("an empty answer"))?;
        let line: Value = serde_json::from_slice(line)
            .map_err(|error| self.http.unreadable(error.to_string()))?;
        let read = || {
            let fields = Fields::of("answer", &line)?;
            let cid = fields.text("Hash")?.to_owned();
            Ok(Stored { cid, size_bytes: fields.number("Size", 0)? })
        };
        read().map_err(|error: crate::json::ShapeError| self.http.unreadable(error.0))
    }

    fn check_length(
        &self,
        answer: &reqwest::Response,
        limit_bytes: u64,
    ) -> Result<(), ClientError> {
        if answer.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(self.http.too_large(limit_bytes));
        }
        Ok(())
    }
}

/// A file that is being filled.
struct Download<'a> {
    path: &'a Path,
    file: tokio::fs::File,
    written: u64,
    limit_bytes: u64,
    /// Of what is in the file.
    mark: Option<Mark>,
}

impl<'a> Download<'a> {
    async fn create(path: &'a Path, limit_bytes: u64) -> Result<Self, ClientError> {
        let file = tokio::fs::File::create(path).await;
        let file = file.map_err(|source| unusable(path, source))?;
        Ok(Self { path, file, written: 0, limit_bytes, mark: None })
    }

    async fn begin_anew(&mut self) -> Result<(), ClientError> {
        self.written = 0;
        let emptied = async {
            self.file.set_len(0).await?;
            self.file.rewind().await
        };
        emptied.await.map(drop).map_err(|source| unusable(self.path, source))
    }

    /// `false` if that is more than is allowed.
    async fn write(&mut self, chunk: &[u8]) -> Result<bool, ClientError> {
        let reached = self.written.saturating_add(chunk.len() as u64);
        if reached > self.limit_bytes {
            return Ok(false);
        }
        let written = self.file.write_all(chunk).await;
        written.map_err(|source| unusable(self.path, source))?;
        self.written = reached;
        Ok(true)
    }
}

fn unusable(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::File { path: path.display().to_string(), source }
}

/// What an upload is called.
fn name_of(secret: &B256, sha256: B256) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(secret.as_slice());
    hash.update(sha256.as_slice());
    hex::encode(hash.finish())
}

/// A location comes from the chain, written by strangers: only paths below `/ipfs/` are asked for.
fn gateway_path(location: &str) -> Result<String, ClientError> {
    let below = location.strip_prefix("/ipfs/").unwrap_or(location);
    let segment_ok = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && !segment.contains(['?', '#', '%', '\\', ':'])
    };
    if below.len() > 1_024 || !below.split('/').all(segment_ok) {
        let shown: String = location.chars().take(80).collect();
        return Err(ClientError::Unsendable(format!("'{shown}' is not /ipfs/<content id>")));
    }
    Ok(format!("/ipfs/{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(location: &str, expected: Option<&str>) {
        assert_eq!(gateway_path(location).ok().as_deref(), expected, "{location}");
    }

    #[test]
    fn only_content_is_asked_for() {
        check("/ipfs/QmX", Some("/ipfs/QmX"));
        check("QmX", Some("/ipfs/QmX"));
        check("/ipfs/QmX/folder/a.txt", Some("/ipfs/QmX/folder/a.txt"));
        check("/ipfs/../api/v0/add", None);
        check("/ipfs/%2e%2e/api/v0/add", None);
        check("http://elsewhere/x", None);
        check("/ipfs/", None);
        check("/ipfs/QmX?a=b", None);
    }
}
