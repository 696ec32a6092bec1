//! Uploads of results that go on after an interruption.
//!
//! ```text
//! HEAD  /workers/results/{id}                                      200 Upload-Offset, Upload-Length, Upload-Sha256 · 404
//! PATCH /workers/results/{id}  Upload-Offset, -Length, -Sha256     204 Upload-Offset: go on from there
//!                                                                  200 {"location": "/ipfs/…"}: that was all
//!                                                                  409 Upload-Offset: it goes on there instead
//! ```
//! The server keeps what has come, over its own restarts too. A sender that has lost its place asks for it, and whoever
//! did not hear the last answer sends an empty last part to hear it again. What was announced is checked at the end.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use primitives::TaskId;
use reqwest::{Body, Method};
use ring::digest::{Context, SHA256};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::SchedulerClient;
use super::model::location_of;
use super::server::SchedulerRefusal;
use crate::http::ClientError;

/// Results up to this size are sent whole: a shorter way for most of them.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// Bytes in one part: what a slow line carries before an answer is overdue.
const PART_BYTES: u64 = 8 << 20;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const OFFSET: &str = "upload-offset";
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
}

impl SchedulerClient {
    /// Uploads a result from a file and says where it is: `/ipfs/<cid>`.
    ///
    /// # Errors
    /// As [`SchedulerClient::upload_parcel`], or the file cannot be read.
    pub async fn upload_result(
        &self,
        task: TaskId,
        token: &str,
        zip: &Path,
    ) -> Result<String, ClientError> {
        self.upload_parcel(task, token, &Parcel::of(zip).await?).await
    }

    /// Uploads a result and says where it is: `/ipfs/<cid>`. A large one goes on where an earlier attempt ended.
    ///
    /// # Errors
    /// The connection breaks, or the scheduler refuses. What has arrived stays there.
    pub async fn upload_parcel(
        &self,
        task: TaskId,
        token: &str,
        parcel: &Parcel,
    ) -> Result<String, ClientError> {
        let Some(sha256) = parcel.sha256 else {
            return self.upload_whole(task, token, parcel).await;
        };
        let mut place = UploadPlace { size_bytes: parcel.size_bytes, sha256, offset_bytes: 0 };
        let known = self.upload_place(task, token).await?;
        // Of something else, as of a run before: begin anew.
        let mine = known.filter(|it| it.sha256 == sha256 && it.size_bytes == place.size_bytes);
        place.offset_bytes = mine.map_or(0, |it| it.offset_bytes.min(place.size_bytes));
        loop {
            match self.upload_part(task, token, parcel, place).await? {
                Uploaded::Stored(location) => return Ok(location),
                Uploaded::UpTo(offset) if offset > place.offset_bytes => {
                    place.offset_bytes = offset;
                }
                Uploaded::UpTo(offset) => {
                    let stuck = format!("the upload does not get beyond byte {offset}");
                    return Err(self.http().unreadable(stuck));
                }
            }
        }
    }

    /// Where the upload of a task's result stands; nothing if none was begun.
    ///
    /// # Errors
    /// The connection breaks, or the scheduler refuses.
    pub async fn upload_place(
        &self,
        task: TaskId,
        token: &str,
    ) -> Result<Option<UploadPlace>, ClientError> {
        let request = self.http().request(Method::HEAD, &path_of(task), &[]).bearer_auth(token);
        match self.http().send(request).await {
            Ok(answer) => place_of(answer.headers())
                .map(Some)
                .ok_or_else(|| self.http().unreadable("it does not say where the upload stands")),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn upload_whole(
        &self,
        task: TaskId,
        token: &str,
        parcel: &Parcel,
    ) -> Result<String, ClientError> {
        let file = open(&parcel.path).await?;
        let request = self
            .http()
            .request(Method::POST, &path_of(task), &[])
            .bearer_auth(token)
            .header("content-type", "application/zip")
            .header("content-length", parcel.size_bytes)
            .body(Body::wrap_stream(ReaderStream::new(file)));
        self.location(self.http().send(request).await?).await
    }

    async fn upload_part(
        &self,
        task: TaskId,
        token: &str,
        parcel: &Parcel,
        place: UploadPlace,
    ) -> Result<Uploaded, ClientError> {
        let length = PART_BYTES.min(place.size_bytes - place.offset_bytes);
        let mut file = open(&parcel.path).await?;
        let start = SeekFrom::Start(place.offset_bytes);
        file.seek(start).await.map_err(unusable(&parcel.path))?;
        let mut request = self
            .http()
            .request(Method::PATCH, &path_of(task), &[])
            .bearer_auth(token)
            .header("content-type", "application/offset+octet-stream")
            .header("content-length", length)
            .body(Body::wrap_stream(ReaderStream::new(file.take(length))));
        for (name, value) in headers_of(place) {
            request = request.header(name, value);
        }
        let answer = self.http().send(request).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            let reached = number(answer.headers(), OFFSET);
            let unsaid = || self.http().unreadable("it does not say how far the upload came");
            return reached.map(Uploaded::UpTo).ok_or_else(unsaid);
        }
        self.location(answer).await.map(Uploaded::Stored)
    }

    async fn location(&self, answer: reqwest::Response) -> Result<String, ClientError> {
        let body = self.http().body(answer, ANSWER_BYTES_MAX).await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| self.http().unreadable(error.to_string()))?;
        location_of(&answer).map_err(|error| self.http().unreadable(error.0))
    }
}

/// What a part says that it continues.
pub(super) fn place_of(headers: &HeaderMap) -> Option<UploadPlace> {
    Some(UploadPlace {
        size_bytes: number(headers, LENGTH)?,
        sha256: headers.get(CHECKSUM)?.to_str().ok()?.parse().ok()?,
        offset_bytes: number(headers, OFFSET)?,
    })
}

/// The answer to who asks where an upload stands.
pub(super) fn standing(found: Result<Option<UploadPlace>, SchedulerRefusal>) -> Response {
    match found {
        Ok(Some(place)) => {
            let headers = headers_of(place).map(|(name, value)| (name, value));
            (StatusCode::OK, axum::response::AppendHeaders(headers)).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(refusal) => super::server::refused(&refusal),
    }
}

/// The answer to a part that did not end the upload.
pub(super) fn up_to(offset: u64) -> Response {
    (StatusCode::NO_CONTENT, [(OFFSET, offset.to_string())]).into_response()
}

/// Where it goes on instead.
pub(super) fn misplaced(mut answer: Response, offset: u64) -> Response {
    answer.headers_mut().insert(OFFSET, offset.into());
    answer
}

fn headers_of(place: UploadPlace) -> [(&'static str, String); 3] {
    [
        (OFFSET, place.offset_bytes.to_string()),
        (LENGTH, place.size_bytes.to_string()),
        (CHECKSUM, place.sha256.to_string()),
    ]
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn path_of(task: TaskId) -> String {
    format!("/workers/results/{task}")
}

async fn open(path: &Path) -> Result<tokio::fs::File, ClientError> {
    tokio::fs::File::open(path).await.map_err(unusable(path))
}

fn unusable(path: &Path) -> impl Fn(std::io::Error) -> ClientError {
    move |source| ClientError::File { path: path.display().to_string(), source }
}
