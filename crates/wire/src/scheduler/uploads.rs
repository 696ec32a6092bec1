//! Uploads of results, whole or in [`parts`](crate::parts): `/workers/results/{id}`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use primitives::TaskId;
use reqwest::{Body, Method};
use serde_json::Value;
use std::path::Path;
use tokio_util::io::ReaderStream;

use super::SchedulerClient;
use super::model::location_of;
use super::server::SchedulerRefusal;
use crate::http::ClientError;
use crate::parts::{OFFSET, Parcel, Sending, UploadPlace, open, place_at};

const ANSWER_BYTES_MAX: usize = 64 * 1024;

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
        let Some(sha256) = parcel.sha256() else {
            return self.upload_whole(task, token, parcel).await;
        };
        let (http, path) = (self.http(), path_of(task));
        let sending = Sending { http, path, token: Some(token), parcel, sha256 };
        let last = sending.send(parcel.size_bytes()).await?;
        let last = last.ok_or_else(|| http.unreadable("it does not say where the result is"))?;
        self.location(last).await
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
        place_at(self.http(), &path_of(task), Some(token)).await
    }

    async fn upload_whole(
        &self,
        task: TaskId,
        token: &str,
        parcel: &Parcel,
    ) -> Result<String, ClientError> {
        let file = open(parcel.path()).await?;
        let request = self
            .http()
            .request(Method::POST, &path_of(task), &[])
            .bearer_auth(token)
            .header("content-type", "application/zip")
            .header("content-length", parcel.size_bytes())
            .body(Body::wrap_stream(ReaderStream::new(file)));
        self.location(self.http().send(request).await?).await
    }

    async fn location(&self, answer: reqwest::Response) -> Result<String, ClientError> {
        let body = self.http().body(answer, ANSWER_BYTES_MAX).await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| self.http().unreadable(error.to_string()))?;
        location_of(&answer).map_err(|error| self.http().unreadable(error.0))
    }
}

/// The answer to who asks where an upload stands.
pub(super) fn standing(found: Result<Option<UploadPlace>, SchedulerRefusal>) -> Response {
    match found {
        Ok(Some(place)) => {
            (StatusCode::OK, axum::response::AppendHeaders(place.headers())).into_response()
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

fn path_of(task: TaskId) -> String {
    format!("/workers/results/{task}")
}
