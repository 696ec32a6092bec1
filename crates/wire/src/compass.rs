//! The compass: where the scheduler of a workerpool answers, and which app a name stands for.
//!
//! | path | answer |
//! |---|---|
//! | `GET /{chainId}/workerpools/{address}` | `{"apiUrl": "http://…", "address": "0x…", "name"?: "…"}`, or 404 |
//! | `GET /{chainId}/iapps/{name}` | `{"address": "0x…", "name": "…"}`, or 404 |
//!
//! Clients take 404 as "nobody knows", and go on without.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::description::Description;
use crate::http::{ClientError, Http, json_answer};
use crate::json::{Fields, ShapeError, parse_address};

/// The longest name of an app.
const NAME_BYTES_MAX: usize = 256;

/// A workerpool that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerpoolEntry {
    /// Where its scheduler answers, without a slash at the end.
    pub api_url: String,
    /// What it calls itself.
    pub name: Option<String>,
}

/// Who knows the way. Answers come from memory: asking must not cost anything.
pub trait Compass: Send + Sync + 'static {
    /// The workerpool at that address on that chain.
    fn workerpool(&self, chain_id: u64, workerpool: Address) -> Option<WorkerpoolEntry>;

    /// The app of that name on that chain.
    fn iapp(&self, chain_id: u64, name: &str) -> Option<Address>;
}

/// Whoever knows what a market consists of knows the way.
impl Compass for Description {
    fn workerpool(&self, chain_id: u64, workerpool: Address) -> Option<WorkerpoolEntry> {
        let known = self.workerpools.iter().find(|one| one.address == workerpool)?;
        let api_url = known.api_url.clone().filter(|_| chain_id == self.chain_id)?;
        Some(WorkerpoolEntry { api_url, name: known.description.clone() })
    }

    fn iapp(&self, chain_id: u64, name: &str) -> Option<Address> {
        let known = self.apps.iter().find(|one| one.name == name);
        known.filter(|_| chain_id == self.chain_id).map(|one| one.address)
    }
}

/// The compass's routes.
pub fn router(compass: Arc<dyn Compass>) -> Router {
    Router::new()
        .route("/{chain_id}/workerpools/{address}", get(workerpool))
        .route("/{chain_id}/iapps/{name}", get(iapp))
        .with_state(compass)
}

async fn workerpool(
    State(compass): State<Arc<dyn Compass>>,
    Path((chain_id, address)): Path<(String, String)>,
) -> Response {
    let Ok(address) = parse_address("address", &address) else {
        return refused(StatusCode::BAD_REQUEST, "address is not a valid ethereum address");
    };
    let found = chain_id.parse().ok().and_then(|chain_id| compass.workerpool(chain_id, address));
    let Some(entry) = found else {
        return refused(StatusCode::NOT_FOUND, "workerpool not found");
    };
    let mut answer = json!({"address": address.to_checksum(None), "apiUrl": entry.api_url});
    if let Some(name) = entry.name {
        answer["name"] = name.into();
    }
    json_answer(StatusCode::OK, &answer)
}

async fn iapp(
    State(compass): State<Arc<dyn Compass>>,
    Path((chain_id, name)): Path<(String, String)>,
) -> Response {
    if name.len() > NAME_BYTES_MAX {
        return refused(StatusCode::BAD_REQUEST, "name is too long");
    }
    let found = chain_id.parse().ok().and_then(|chain_id| compass.iapp(chain_id, &name));
    match found {
        Some(address) => {
            let answer = json!({"address": address.to_checksum(None), "name": name});
            json_answer(StatusCode::OK, &answer)
        }
        None => refused(StatusCode::NOT_FOUND, "iapp not found"),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    json_answer(status, &json!({"ok": false, "error": error}))
}

/// Asking a compass.
#[derive(Debug, Clone)]
pub struct CompassClient {
    http: Http,
    chain_id: u64,
}

impl CompassClient {
    /// A client of the compass at that origin, for one chain.
    pub fn new(origin: &Url, chain_id: u64) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(origin)?, chain_id })
    }

    /// Where the workerpool's scheduler answers, if the compass knows.
    pub async fn workerpool(&self, workerpool: Address) -> Result<Option<String>, ClientError> {
        let path = format!("/{}/workerpools/{workerpool}", self.chain_id);
        let answer = self.ask(&path).await?;
        self.read(answer.as_ref(), |fields| fields.text("apiUrl").map(str::to_owned))
    }

    /// The app of that name, if the compass knows one.
    pub async fn iapp(&self, name: &str) -> Result<Option<Address>, ClientError> {
        let path = format!("/{}/iapps/{name}", self.chain_id);
        let answer = self.ask(&path).await?;
        self.read(answer.as_ref(), |fields| fields.address("address"))
    }

    async fn ask(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.http.json(self.http.request(Method::GET, path, &[])).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read<T>(
        &self,
        answer: Option<&Value>,
        read: impl FnOnce(Fields<'_>) -> Result<T, ShapeError>,
    ) -> Result<Option<T>, ClientError> {
        let Some(answer) = answer else { return Ok(None) };
        let read = Fields::of("answer", answer).and_then(read);
        read.map(Some).map_err(|error| self.http.unreadable(error.0))
    }
}
