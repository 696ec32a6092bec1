//! The description and the routes say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, Bytes};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use primitives::TaskId;
use seal::Secret;
use seal::challenge::SecretId;
use seal::provision::Sealed;
use serde_json::Value;
use tower::ServiceExt;
use wire::link::Gate;
use wire::market::{FeedLimits, feed};
use wire::openapi::{self, Door};
use wire::scheduler::{SchedulerApi, UploadLimits};
use wire::sms::{
    Release, SecretsMetric, SessionError, SessionTicket, Sms, SmsError, TeeProperties,
    WorkerpoolAuthorization, Write,
};
use wire::{compass, description, link, market, scheduler, sms};

use crate::CHAIN_ID;
use crate::compass::OneWay;
use crate::market::Shelf;

/// Has nothing and does nothing.
struct Empty;

#[async_trait]
impl Sms for Empty {
    async fn has(&self, _: &SecretId) -> Result<bool, SmsError> {
        Ok(false)
    }

    async fn put(
        &self,
        _: &SecretId,
        _: Secret<String>,
        _: Write,
        _: &Bytes,
    ) -> Result<(), SmsError> {
        Err(SmsError::Unauthorized)
    }

    fn properties(&self) -> Option<TeeProperties> {
        None
    }

    async fn enclave_of(&self, _: TaskId, _: &Bytes) -> Result<Address, SmsError> {
        Err(SmsError::Unauthorized)
    }

    async fn open_session(
        &self,
        _: &WorkerpoolAuthorization,
        _: &Bytes,
    ) -> Result<SessionTicket, SessionError> {
        Err(SessionError::InvalidAuthorization)
    }

    async fn release(&self, _: &str, _: &Release) -> Result<Sealed, SmsError> {
        Err(SmsError::Unauthorized)
    }

    async fn metrics(&self) -> Result<Vec<SecretsMetric>, SmsError> {
        Ok(Vec::new())
    }

    fn version(&self) -> String {
        "1.2.3".into()
    }
}

/// The paths of a router, which tells them to nobody but its own debugging text.
fn paths_of(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let text = text.split("fallback_router").next().unwrap_or_default();
    let after_ids = text.split("RouteId(").skip(1);
    let paths: BTreeSet<String> = after_ids
        .filter_map(|rest| rest.split_once("): \"")?.1.split_once('"'))
        .map(|(path, _)| path.to_owned())
        .filter(|path| path.starts_with('/') && !path.contains("__private"))
        .collect();
    assert!(!paths.is_empty(), "the framework prints its routes in another way: {text}");
    paths
}

/// Methods by path, with the names of path parameters left out.
fn described(doors: &[Door]) -> BTreeMap<String, BTreeSet<String>> {
    let document = openapi::document(doors, "1.2.3");
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .filter(|(path, _)| !path.starts_with("/docs"))
        .map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            (anonymous(path), methods.map(|method| method.to_uppercase()).collect())
        })
        .collect()
}

fn anonymous(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// What the router says it takes at that path, when it is asked for what nothing takes.
async fn allowed(router: &Router, path: &str) -> BTreeSet<String> {
    let path = path.replace(['{', '}'], "x");
    let request = Request::builder().method(Method::TRACE).uri(&path).body(Body::empty());
    let answer = router.clone().oneshot(request.expect("a request")).await.expect("answers");
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    let allowed = answer.headers()[header::ALLOW].to_str().expect("text").split(',');
    allowed.map(|method| method.trim().to_owned()).collect()
}

async fn check(doors: &[Door], router: Router) {
    let described = described(doors);
    let routed = paths_of(&router);
    let anonymous_routed: BTreeSet<String> = routed.iter().map(|path| anonymous(path)).collect();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), anonymous_routed, "{doors:?}");
    if doors == [Door::Feed] {
        // One service answers all methods there.
        return;
    }
    for path in routed {
        let mut methods = described[&anonymous(&path)].clone();
        if methods.contains("GET") {
            methods.insert("HEAD".into());
        }
        assert_eq!(allowed(&router, &path).await, methods, "{path}");
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    check(&[Door::Market], market::router(Shelf::new(None))).await;
    let (_changes, heard) = tokio::sync::broadcast::channel(1);
    check(&[Door::Feed], feed(CHAIN_ID, heard, FeedLimits::default())).await;
    check(&[Door::Secrets], sms::router(Arc::new(Empty))).await;
    check(&[Door::Compass], compass::router(Arc::new(OneWay))).await;
    let schedulers =
        scheduler::router(Vec::<Arc<dyn SchedulerApi>>::new(), UploadLimits::default());
    check(&[Door::Scheduler], schedulers.merge(link::router(Vec::<Arc<dyn Gate>>::new()))).await;
}

#[tokio::test]
async fn the_description_is_served_as_document_and_page() {
    let router = openapi::router(&[Door::Compass, Door::Description], "1.2.3");
    let fetch = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.clone().oneshot(request).await.expect("answers");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        (kind, String::from_utf8(body.to_vec()).expect("text"))
    };
    let (kind, text) = fetch(openapi::DOCUMENT_PATH).await;
    assert!(kind.starts_with("application/json"), "{kind}");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"].get(description::PATH).is_some());
    assert!(document["paths"].get("/deals").is_none(), "another door's");
    let (kind, page) = fetch(openapi::PAGE_PATH).await;
    assert!(kind.starts_with("text/html") && page.starts_with("<!doctype html>"), "{kind}");
}
