//! Asking a scheduler.

use std::path::Path;

use alloy_signer_local::PrivateKeySigner;
use primitives::TaskId;
use reqwest::{Body, Method};
use serde_json::Value;
use tokio_util::io::ReaderStream;
use url::Url;

use super::model::location_of;
use super::{TaskLogs, TaskModel};
use crate::auth::Challenge;
use crate::http::{ClientError, Http};

/// A scheduler's HTTP API.
#[derive(Debug, Clone)]
pub struct SchedulerClient {
    http: Http,
    chain_id: u64,
}

impl SchedulerClient {
    /// A client of the scheduler at that origin.
    pub fn new(origin: &Url, chain_id: u64) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(origin)?, chain_id })
    }

    /// The task; nothing if the scheduler does not know it.
    pub async fn task(&self, task: TaskId) -> Result<Option<TaskModel>, ClientError> {
        let request = self.http.request(Method::GET, &format!("/tasks/{task}"), &[]);
        match self.http.json(request).await {
            Ok(answer) => self.read(answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the task's programs printed. The signer must be the deal's requester.
    pub async fn logs(
        &self,
        task: TaskId,
        signer: &PrivateKeySigner,
    ) -> Result<TaskLogs, ClientError> {
        let query =
            [("chainId", self.chain_id.to_string()), ("address", signer.address().to_string())];
        let request = self.http.request(Method::GET, "/tasks/logs/challenge", &query);
        let challenge = Challenge::from_json(&self.http.json(request).await?)
            .map_err(|error| self.http.unreadable(error.0))?;
        let authorization = challenge.sign(signer).map_err(ClientError::Unsendable)?;
        let request = self
            .http
            .request(Method::GET, &format!("/tasks/{task}/logs"), &[])
            .header("authorization", authorization.to_string());
        self.read(self.http.json(request).await?)
    }

    /// Uploads a result from a file and says where it is: `/ipfs/<cid>`.
    pub async fn upload_result(
        &self,
        task: TaskId,
        token: &str,
        zip: &Path,
    ) -> Result<String, ClientError> {
        let unusable = |source| ClientError::File { path: zip.display().to_string(), source };
        let file = tokio::fs::File::open(zip).await.map_err(unusable)?;
        let length = file.metadata().await.map_err(unusable)?.len();
        let request = self
            .http
            .request(Method::POST, &format!("/workers/results/{task}"), &[])
            .bearer_auth(token)
            .header("content-type", "application/zip")
            .header("content-length", length)
            .body(Body::wrap_stream(ReaderStream::new(file)));
        let answer = self.http.send(request).await?;
        let body = self.http.body(answer, 64 * 1024).await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| self.http.unreadable(error.to_string()))?;
        location_of(&answer).map_err(|error| self.http.unreadable(error.0))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: Value) -> Result<T, ClientError> {
        serde_json::from_value(answer).map_err(|error| self.http.unreadable(error.to_string()))
    }
}
