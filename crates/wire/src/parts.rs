//! Uploads in parts, which go on after an interruption: what schedulers and gateways have in common.
//!
//! ```text
//! HEAD  <path>                                      200 Upload-Offset, Upload-Length, Upload-Sha256 · 404
//! PATCH <path>  Upload-Offset, -Length, -Sha256     204 Upload-Offset: go on from there
//!                                                   200 what the door says of the whole: that was all
//!                                                   409 Upload-Offset: it goes on there instead
//! ```
//! The server keeps what has come, over its own restarts too. A sender that has lost its place asks for it, and whoever
//! did not hear the last answer sends an empty last part to hear it again. What was announced is checked at the end.
//!
//! Not here: who may upload, and under which path.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use axum::http::{HeaderMap, StatusCode};
use reqwest::{Body, Method, RequestBuilder, Response};
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::http::{ClientError, Http};

/// Files up to this size are sent whole: a shorter way for most of them.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// Bytes in one part: what a slow line carries before an answer is overdue.
const PART_BYTES: u64 = 8 << 20;
pub(crate) const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";
const CHECKSUM: &str = "upload-sha256";

/// Where an upload stands, or what a part of it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPlace {
    /// The size of the whole, in bytes.
    pub size_bytes: u64,
    /// The SHA-256 of the whole.
    pub sha256: B256,
    /// Bytes that are there.
    pub offset_bytes: u64,
}

impl UploadPlace {
    /// What a part says that it continues.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            size_bytes: number(headers, LENGTH)?,
            sha256: headers.get(CHECKSUM)?.to_str().ok()?.parse().ok()?,
            offset_bytes: number(headers, OFFSET)?,
        })
    }

    pub(crate) fn headers(self) -> [(&'static str, String); 3] {
        [
            (OFFSET, self.offset_bytes.to_string()),
            (LENGTH, self.size_bytes.to_string()),
            (CHECKSUM, self.sha256.to_string()),
        ]
    }
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// More is to come, from this byte on.
    UpTo(u64),
    /// That was all; this is where it is: `/ipfs/<cid>`.
    Stored(String),
}

/// A file to be uploaded, looked at once.
#[derive(Debug, Clone)]
pub struct Parcel {
    path: PathBuf,
    size_bytes: u64,
    /// Of a file that is sent in parts.
    sha256: Option<B256>,
}

impl Parcel {
    /// Looks at that file.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn of(path: &Path) -> Result<Self, ClientError> {
        let mut file = open(path).await?;
        let size_bytes = file.metadata().await.map_err(unusable(path))?.len();
        let mut parcel = Self { path: path.to_owned(), size_bytes, sha256: None };
        if size_bytes > WHOLE_BYTES_MAX {
            let mut hash = Context::new(&SHA256);
            let mut piece = vec![0; 64 << 10];
            loop {
                let read = file.read(&mut piece).await.map_err(unusable(path))?;
                if read == 0 {
                    break;
                }
                hash.update(&piece[..read]);
            }
            parcel.sha256 = Some(B256::from_slice(hash.finish().as_ref()));
        }
        Ok(parcel)
    }

    /// A file of which it is known already what it is, or will be: so much of it is sent as is there.
    pub fn known(path: &Path, size_bytes: u64, sha256: B256) -> Self {
        let is_large = size_bytes > WHOLE_BYTES_MAX;
        Self { path: path.to_owned(), size_bytes, sha256: is_large.then_some(sha256) }
    }

    /// Its SHA-256, if it is large enough to be sent in parts.
    pub fn sha256(&self) -> Option<B256> {
        self.sha256
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// One file on its way to one place.
pub(crate) struct Sending<'a> {
    pub(crate) http: &'a Http,
    pub(crate) path: String,
    pub(crate) token: Option<&'a str>,
    pub(crate) parcel: &'a Parcel,
    pub(crate) sha256: B256,
}

impl Sending<'_> {
    /// Sends what is missing of the first `until` bytes, from where an earlier attempt ended. Gives back the answer to the
    /// last part, or nothing if there is more to come.
    pub(crate) async fn send(&self, until: u64) -> Result<Option<Response>, ClientError> {
        let size_bytes = self.parcel.size_bytes;
        let mut place = UploadPlace { size_bytes, sha256: self.sha256, offset_bytes: 0 };
        let known = place_at(self.http, &self.path, self.token).await?;
        // Of something else, as of a run before: begin anew.
        let mine = known.filter(|it| it.sha256 == self.sha256 && it.size_bytes == size_bytes);
        place.offset_bytes = mine.map_or(0, |it| it.offset_bytes.min(size_bytes));
        let until = until.min(size_bytes);
        while place.offset_bytes < until || until == size_bytes {
            let length = PART_BYTES.min(until - place.offset_bytes);
            let answer = self.part(place, length).await?;
            if answer.status() != StatusCode::NO_CONTENT {
                return Ok(Some(answer));
            }
            let reached = number(answer.headers(), OFFSET);
            let unsaid = || self.http.unreadable("it does not say how far the upload came");
            let reached = reached.ok_or_else(unsaid)?;
            if reached <= place.offset_bytes || reached > size_bytes {
                let stuck = format!("the upload does not get beyond byte {reached}");
                return Err(self.http.unreadable(stuck));
            }
            place.offset_bytes = reached;
        }
        Ok(None)
    }

    async fn part(&self, place: UploadPlace, length: u64) -> Result<Response, ClientError> {
        let mut file = open(&self.parcel.path).await?;
        let start = SeekFrom::Start(place.offset_bytes);
        file.seek(start).await.map_err(unusable(&self.parcel.path))?;
        let request = self.http.request(Method::PATCH, &self.path, &[]);
        let mut request = let_in(request, self.token)
            .header("content-type", "application/offset+octet-stream")
            .header("content-length", length)
            .body(Body::wrap_stream(ReaderStream::new(file.take(length))));
        for (name, value) in place.headers() {
            request = request.header(name, value);
        }
        self.http.send(request).await
    }
}

/// Where the upload under that path stands; nothing if none was begun.
pub(crate) async fn place_at(
    http: &Http,
    path: &str,
    token: Option<&str>,
) -> Result<Option<UploadPlace>, ClientError> {
    let request = let_in(http.request(Method::HEAD, path, &[]), token);
    match http.send(request).await {
        Ok(answer) => UploadPlace::of(answer.headers())
            .map(Some)
            .ok_or_else(|| http.unreadable("it does not say where the upload stands")),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn let_in(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

pub(crate) async fn open(path: &Path) -> Result<tokio::fs::File, ClientError> {
    tokio::fs::File::open(path).await.map_err(unusable(path))
}

fn unusable(path: &Path) -> impl Fn(std::io::Error) -> ClientError {
    move |source| ClientError::File { path: path.display().to_string(), source }
}
