//! What a market at an origin consists of: `GET /.well-known/gristmill`.
//!
//! One request tells a client everything it needs to use a market: where its chain answers, which contracts it is made
//! of, which workerpools and apps it offers.

use alloy_primitives::Address;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::http::{ClientError, Http, json_answer};

/// The path, at the root of the origin.
pub const PATH: &str = "/.well-known/gristmill";

/// A market, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Where the market answers over HTTP.
    pub origin: String,
    /// Where its chain answers JSON-RPC over HTTP.
    pub rpc: String,
    /// Where its chain answers JSON-RPC over a websocket.
    pub ws: String,
    /// The chain.
    pub chain_id: u64,
    /// The market's contracts.
    pub contracts: Contracts,
    /// The workerpools it runs.
    #[serde(default)]
    pub workerpools: Vec<Workerpool>,
    /// The apps it knows by name.
    #[serde(default)]
    pub apps: Vec<App>,
    /// The software's version.
    pub version: String,
    /// Where inputs and results are stored, if not at the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Where secrets are kept, if not at the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms: Option<String>,
    /// Whether trusted execution is only simulated here; such a market is for development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
}

/// Addresses of the market's contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contracts {
    /// The hub: escrow, orders, tasks.
    #[serde(with = "crate::json::text")]
    pub hub: Address,
    /// The token.
    #[serde(with = "crate::json::text")]
    pub rlc: Address,
    /// Who owns which app.
    #[serde(with = "crate::json::text")]
    pub app_registry: Address,
    /// Who owns which dataset.
    #[serde(with = "crate::json::text")]
    pub dataset_registry: Address,
    /// Who owns which workerpool.
    #[serde(with = "crate::json::text")]
    pub workerpool_registry: Address,
}

/// A workerpool of the market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workerpool {
    /// Its contract.
    #[serde(with = "crate::json::text")]
    pub address: Address,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where its scheduler answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
}

/// An app of the market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its contract.
    #[serde(with = "crate::json::text")]
    pub address: Address,
}

/// Answers with what `describe` gives at each request, so that a market may grow while it runs.
pub fn router<F>(describe: F) -> Router
where
    F: Fn() -> Description + Clone + Send + Sync + 'static,
{
    let answer = move || {
        let described = json!(describe());
        async move { json_answer(StatusCode::OK, &described) }
    };
    Router::new().route(PATH, get(answer))
}

/// Asks what the market at `origin` consists of.
pub async fn fetch(origin: &Url) -> Result<Description, ClientError> {
    let http = Http::new(origin)?;
    let answer = http.json(http.request(reqwest::Method::GET, PATH, &[])).await?;
    serde_json::from_value(answer).map_err(|error| http.unreadable(error.to_string()))
}
