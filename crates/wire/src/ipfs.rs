//! Storing and fetching content through an IPFS gateway: `POST /api/v0/add` as kubo has it, `GET /ipfs/<cid>`.
//!
//! Only the client is here; `blobs` answers both paths itself. What is fetched is named by its content, so a caller
//! that needs certainty compares a digest; this client only bounds how much it takes.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::http::{ClientError, Http};
use crate::json::Fields;

/// The largest answer to an add: one line for each file and folder.
const ADD_ANSWER_BYTES_MAX: usize = 64 * 1024;

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
        let unusable = |source| ClientError::File { path: path.display().to_string(), source };
        let file = tokio::fs::File::open(path).await.map_err(unusable)?;
        let length = file.metadata().await.map_err(unusable)?.len();
        let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
        let body = Body::wrap_stream(ReaderStream::new(file));
        self.add(&name, Part::stream_with_length(body, length)).await
    }

    /// The content, at most `limit_bytes` of it: more is an error. `location` is `/ipfs/<cid>`, with or without a path
    /// below, or a bare content id.
    pub async fn fetch(&self, location: &str, limit_bytes: u64) -> Result<Bytes, ClientError> {
        let answer = self.http.send(self.get(location)?).await?;
        self.check_length(&answer, limit_bytes)?;
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        self.http.body(answer, limit).await
    }

    /// The content into a file, which is created or overwritten; gives back how many bytes it has. After an error the
    /// file is incomplete.
    pub async fn fetch_to_file(
        &self,
        location: &str,
        path: &Path,
        limit_bytes: u64,
    ) -> Result<u64, ClientError> {
        let unusable = |source| ClientError::File { path: path.display().to_string(), source };
        let answer = self.http.send(self.get(location)?).await?;
        self.check_length(&answer, limit_bytes)?;
        let mut file = tokio::fs::File::create(path).await.map_err(unusable)?;
        let mut chunks = answer.bytes_stream();
        let mut written = 0u64;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| self.http.connection(source))?;
            written = written.saturating_add(chunk.len() as u64);
            if written > limit_bytes {
                return Err(self.http.too_large(limit_bytes));
            }
            file.write_all(&chunk).await.map_err(unusable)?;
        }
        file.flush().await.map_err(unusable)?;
        Ok(written)
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
