//! What an origin answers, described for machines (OpenAPI 3.1, `GET /docs/openapi.json`) and for people (`GET /docs`).
//!
//! An origin describes the doors that it has, so a part that runs alone describes itself alone. The page is made from the
//! document when the routes are; it has no script and fetches nothing.
//!
//! What is not here: the routes themselves. A test compares: each route is described, each description is a route.
//!
//! **Layout:** `operation` one entry · `schemas` the shapes, each once · `market` the order book's entries · `others` those of
//! all other doors · `page` the page.

mod market;
mod operation;
mod others;
mod page;
mod schemas;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use operation::Operation;

/// Where the document is.
pub const DOCUMENT_PATH: &str = "/docs/openapi.json";
/// Where the page is.
pub const PAGE_PATH: &str = "/docs";

/// A part of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The order book.
    Market,
    /// The order book's live feed.
    Feed,
    /// Secrets and sessions of enclaves, beside a market.
    Secrets,
    /// Secrets and sessions of enclaves on an origin of their own, with version and metrics.
    SecretsApart,
    /// Where workerpools answer.
    Compass,
    /// Tasks, logs, uploads, and the workers' link.
    Scheduler,
    /// Inputs and results.
    Ipfs,
    /// What the market consists of.
    Description,
    /// The embedded chain.
    Chain,
}

impl Door {
    /// All doors of a whole market on one origin.
    pub const MARKET: [Self; 8] = [
        Self::Market,
        Self::Feed,
        Self::Secrets,
        Self::Compass,
        Self::Scheduler,
        Self::Ipfs,
        Self::Description,
        Self::Chain,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Market => "Market",
            Self::Feed => "Live feed",
            Self::Secrets | Self::SecretsApart => "Secrets",
            Self::Compass => "Compass",
            Self::Scheduler => "Scheduler",
            Self::Ipfs => "Storage",
            Self::Description => "Description",
            Self::Chain => "Chain",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Market => {
                "The order book, as the official market API. Everything but the version needs the chain's id. An answer is \
                 {ok: true, …}, a refusal {ok: false, error}. One address may ask so often in a period; the headers \
                 X-RateLimit-Limit, -Remaining and -Reset tell."
            }
            Self::Feed => {
                "socket.io v4. Emit join {chainId, topic} with the topic orders or deals; it is acknowledged with true. Then \
                 apporder_published, …_updated, …_unpublished (the same for dataset, workerpool and request orders) and \
                 deal_created arrive. leave {chainId, topic} and leaveAll end it."
            }
            Self::Secrets | Self::SecretsApart => {
                "The secret management service. A secret is set with its owner's signature and never given back; only an \
                 enclave with a session gets what it needs."
            }
            Self::Compass => {
                "Where the scheduler of a workerpool answers, and which app a name stands for."
            }
            Self::Scheduler => {
                "The state of tasks, what their programs printed, and the workers' own paths."
            }
            Self::Ipfs => "Inputs and results by content id: kubo's add, and a gateway.",
            Self::Description => "What this market consists of, in one answer.",
            Self::Chain => {
                "Ethereum's JSON-RPC: one request or a batch for each POST, or a websocket."
            }
        }
    }

    fn operations(self) -> Vec<Operation> {
        match self {
            Self::Market => market::book(),
            Self::Feed => market::feed(),
            Self::Secrets => others::secrets(),
            Self::SecretsApart => others::secrets_apart(),
            Self::Compass => others::compass(),
            Self::Scheduler => others::scheduler(),
            Self::Ipfs => others::storage(),
            Self::Description => others::description(),
            Self::Chain => others::chain(),
        }
    }
}

/// The document of an origin with those doors.
pub fn document(doors: &[Door], version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut tags = Vec::new();
    for door in doors {
        tags.push(json!({"name": door.name(), "description": door.about()}));
        for operation in door.operations() {
            operation.write(door.name(), &mut paths);
        }
    }
    tags.push(json!({"name": DOCS, "description": "This description."}));
    for operation in own() {
        operation.write(DOCS, &mut paths);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gristmill",
            "version": version,
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": operation::security_schemes(),
        },
    })
}

/// `GET /docs` and `GET /docs/openapi.json` for an origin with those doors.
pub fn router(doors: &[Door], version: &str) -> Router {
    let document = document(doors, version);
    let page: Arc<str> = page::render(&document).into();
    let document: Arc<str> = document.to_string().into();
    let serve = |text: Arc<str>, kind: &'static str| {
        get(move || {
            let text = Arc::clone(&text);
            async move { answer(&text, kind) }
        })
    };
    Router::new()
        .route(DOCUMENT_PATH, serve(document, "application/json; charset=utf-8"))
        .route(PAGE_PATH, serve(page, "text/html; charset=utf-8"))
}

const DOCS: &str = "Documentation";

fn own() -> Vec<Operation> {
    vec![
        Operation::get(DOCUMENT_PATH, "This document.").gives(json!({"type": "object"})),
        Operation::get(PAGE_PATH, "This document for people.").gives_other("text/html"),
    ]
}

fn answer(text: &str, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (StatusCode::OK, headers, Body::from(text.to_owned())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in `value`.
    fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let doors = [&Door::MARKET[..], &[Door::SecretsApart]].concat();
        let document = document(&doors, "1.2.3");
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            let at = reference.trim_start_matches('#');
            assert!(document.pointer(at).is_some(), "{reference} leads nowhere");
        }
        for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
            let reference = format!("#/components/schemas/{name}");
            assert!(found.contains(&reference.as_str()), "{name} is not used");
        }
    }

    #[test]
    fn every_path_parameter_is_described() {
        let document = document(&Door::MARKET, "1.2.3");
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let described: Vec<&str> = operation["parameters"]
                    .as_array()
                    .map(|all| all.iter().filter(|one| one["in"] == "path"))
                    .into_iter()
                    .flatten()
                    .filter_map(|one| one["name"].as_str())
                    .collect();
                let named: Vec<&str> = path
                    .split('/')
                    .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                    .collect();
                assert_eq!(described, named, "{method} {path}");
            }
        }
    }

    #[test]
    fn the_page_names_every_path_and_fetches_nothing() {
        let document = document(&Door::MARKET, "1.2.3");
        let page = page::render(&document);
        for path in document["paths"].as_object().expect("paths").keys() {
            assert!(page.contains(path.as_str()), "{path} is missing");
        }
        for foreign in ["<script", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign} is on the page");
        }
    }
}
