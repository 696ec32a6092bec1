//! Asking a secret service.

use alloy_primitives::{Address, B256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use primitives::TaskId;
use reqwest::{Method, RequestBuilder};
use seal::Secret;
use seal::challenge::{self, SecretId};
use seal::provision::{EnclaveKey, Evidence};
use serde_json::Value;
use url::Url;

use super::model::sealed_from_json;
use super::{Release, Session, SessionTicket, WorkerpoolAuthorization, Write};
use crate::http::{ClientError, Http};

/// The largest answer of a broker: a session with thousands of variables fits.
const SESSION_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest of the short answers.
const SHORT_BYTES_MAX: usize = 64 * 1024;

/// A secret service's HTTP API.
#[derive(Debug, Clone)]
pub struct SmsClient {
    http: Http,
}

impl SmsClient {
    /// A client of the service at that origin.
    pub fn new(origin: &Url) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(origin)? })
    }

    /// Whether there is such a secret.
    pub async fn has(&self, id: &SecretId) -> Result<bool, ClientError> {
        match self.http.send(self.secret(&Method::HEAD, id)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets a secret of the signer's, or of an asset that the signer owns.
    pub async fn put(
        &self,
        id: &SecretId,
        value: &Secret<String>,
        how: Write,
        signer: &PrivateKeySigner,
    ) -> Result<(), ClientError> {
        let method = match how {
            Write::Create => Method::POST,
            Write::Replace => Method::PUT,
        };
        let message = challenge::to_set(id, value.expose().as_bytes());
        let request = self
            .secret(&method, id)
            .header("authorization", sign(message, signer)?)
            .header("content-type", "text/plain")
            .body(value.expose().clone());
        self.http.send(request).await.map(drop)
    }

    /// What trusted execution the service is for; nothing if none.
    pub async fn framework(&self) -> Result<Option<String>, ClientError> {
        let request = self.http.request(Method::GET, "/tee/framework", &[]);
        match self.http.json(request).await {
            Ok(Value::String(name)) => Ok(Some(name)),
            Ok(_) => Err(self.http.unreadable("the framework is not a name")),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The address that the task's enclave will sign with. The signer must own the task's workerpool.
    pub async fn enclave_of(
        &self,
        task: TaskId,
        signer: &PrivateKeySigner,
    ) -> Result<Address, ClientError> {
        let request = self
            .http
            .request(Method::POST, &format!("/tee/challenges/{task}"), &[])
            .header("authorization", sign(challenge::for_task(task), signer)?);
        let answer = self.http.send(request).await?;
        let body = self.http.body(answer, SHORT_BYTES_MAX).await?;
        let text = String::from_utf8_lossy(&body);
        // Some services answer text, some a JSON string.
        let address = text.trim().trim_matches('"').parse();
        address.map_err(|_| self.http.unreadable("the enclave's address is not one"))
    }

    /// Asks for a session for the signer, who is the worker of the authorisation. A refusal for a reason that the
    /// service names is read with [`super::SessionError::of`].
    pub async fn open_session(
        &self,
        authorization: &WorkerpoolAuthorization,
        signer: &PrivateKeySigner,
    ) -> Result<SessionTicket, ClientError> {
        let request = self
            .http
            .request(Method::POST, "/tee/sessions", &[])
            .header("authorization", sign(authorization.hash(), signer)?)
            .json(&authorization.to_json());
        let mut answer = self.http.json(request).await?;
        serde_json::from_value(answer["data"].take())
            .map_err(|error| self.http.unreadable(error.to_string()))
    }

    fn secret(&self, method: &Method, id: &SecretId) -> RequestBuilder {
        let query = |pairs: &[(&'static str, String)], path: &str| {
            self.http.request(method.clone(), path, pairs)
        };
        match id {
            SecretId::Dataset(dataset) => {
                query(&[("secretAddress", dataset.to_string())], "/secrets/web3")
            }
            SecretId::Named { owner, name } => query(
                &[("ownerAddress", owner.to_string()), ("secretName", name.clone())],
                "/secrets/web2",
            ),
            SecretId::Requester { owner, key } => {
                query(&[], &format!("/requesters/{owner}/secrets/{key}"))
            }
            SecretId::App(app) => query(&[], &format!("/apps/{app}/secrets")),
        }
    }
}

/// What an enclave does with a ticket: shows its evidence for `key`, and opens what it is given.
pub async fn fetch_session(
    ticket: &SessionTicket,
    key: &EnclaveKey,
    evidence: &Evidence,
) -> Result<Session, ClientError> {
    let broker = Url::parse(&ticket.secret_provisioning_url)
        .map_err(|error| ClientError::Unsendable(format!("the broker's address: {error}")))?;
    let http = Http::new(&broker)?;
    let id = &ticket.session_id;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(http.unreadable("the session's id is not one"));
    }
    let path = format!("{}/sessions/{id}", broker.path().trim_end_matches('/'));
    let release = Release { key: key.public(), evidence: evidence.clone() };
    let request = http.request(Method::POST, &path, &[]).json(&release.to_json());
    let answer = http.send(request).await?;
    let body = http.body(answer, SESSION_BYTES_MAX).await?;
    let answer: Value =
        serde_json::from_slice(&body).map_err(|error| http.unreadable(error.to_string()))?;
    let sealed = sealed_from_json(&answer).map_err(|error| http.unreadable(error.0))?;
    let content = key.open(id, &sealed).map_err(|error| http.unreadable(error.to_string()))?;
    let session = Session::from_json(&content).map_err(|error| http.unreadable(error.0))?;
    if session.name != *id {
        return Err(http.unreadable("the session is another one"));
    }
    Ok(session)
}

fn sign(message: B256, signer: &PrivateKeySigner) -> Result<String, ClientError> {
    let signature = signer
        .sign_message_sync(message.as_slice())
        .map_err(|error| ClientError::Unsendable(error.to_string()))?;
    Ok(alloy_primitives::hex::encode_prefixed(signature.as_bytes()))
}
