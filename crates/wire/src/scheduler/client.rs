//! Asking a scheduler.

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use primitives::TaskId;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use super::{LogNews, PoolNetwork, PoolReputation, TaskLogs, TaskModel, follow};
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

    /// What the scheduler of that workerpool knows of its workers; nothing if there is none here.
    pub async fn reputation(
        &self,
        workerpool: Address,
    ) -> Result<Option<PoolReputation>, ClientError> {
        let path = format!("/workerpools/{workerpool}/reputation");
        match self.http.json(self.http.request(Method::GET, &path, &[])).await {
            Ok(answer) => self.read(answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many of that workerpool's workers give the app's containers a network; nothing if its scheduler is not here.
    pub async fn network(
        &self,
        workerpool: Address,
        app: Address,
        category: u64,
    ) -> Result<Option<PoolNetwork>, ClientError> {
        let path = format!("/workerpools/{workerpool}/network");
        let query = [("app", app.to_string()), ("category", category.to_string())];
        match self.http.json(self.http.request(Method::GET, &path, &query)).await {
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
        let request = self
            .http
            .request(Method::GET, &format!("/tasks/{task}/logs"), &[])
            .header("authorization", self.leave(signer).await?);
        self.read(self.http.json(request).await?)
    }

    /// The same as it comes, from after that piece on. The answer ends with the task, or breaks off with the connection:
    /// whoever still wants to know asks again.
    pub async fn follow_logs(
        &self,
        task: TaskId,
        signer: &PrivateKeySigner,
        after: u64,
    ) -> Result<BoxStream<'static, Result<LogNews, ClientError>>, ClientError> {
        let query = [("follow", "1".to_owned()), ("after", after.to_string())];
        let request = self
            .http
            .request(Method::GET, &format!("/tasks/{task}/logs"), &query)
            .header("authorization", self.leave(signer).await?);
        let answer = self.http.send(request).await?;
        let (http, again) = (self.http.clone(), self.http.clone());
        let body = answer.bytes_stream().map_err(move |source| http.connection(source));
        Ok(follow::news(body, move |reason| again.unreadable(reason)))
    }

    /// The signed proof of who reads.
    async fn leave(&self, signer: &PrivateKeySigner) -> Result<String, ClientError> {
        let query =
            [("chainId", self.chain_id.to_string()), ("address", signer.address().to_string())];
        let request = self.http.request(Method::GET, "/tasks/logs/challenge", &query);
        let challenge = Challenge::from_json(&self.http.json(request).await?)
            .map_err(|error| self.http.unreadable(error.0))?;
        let authorization = challenge.sign(signer).map_err(ClientError::Unsendable)?;
        Ok(authorization.to_string())
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }

    fn read<T: serde::de::DeserializeOwned>(&self, answer: Value) -> Result<T, ClientError> {
        serde_json::from_value(answer).map_err(|error| self.http.unreadable(error.to_string()))
    }
}
