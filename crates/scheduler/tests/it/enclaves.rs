//! Tasks for enclaves, with a secret manager that answers, refuses or is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use alloy_primitives::{Address, B256, keccak256};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chain::{TaskStatus, Wallet};
use primitives::{ResultHash, Tag, TaskId};
use scheduler::Config;
use url::Url;
use wire::link::{Enclave, ToScheduler, ToWorker};

use crate::fake_worker::connect_as;
use crate::market::{Desk, Market, serve};

const CHALLENGE: Address = Address::repeat_byte(0xce);

/// A secret manager that knows the pool's owner, and answers with a status that can be changed.
struct Sms {
    owner: Address,
    status: AtomicU16,
}

impl Sms {
    async fn start(market: &Market, status: StatusCode) -> (Arc<Self>, Url) {
        let status = AtomicU16::new(status.as_u16());
        let sms = Arc::new(Self { owner: market.pool_owner.address(), status });
        let routes = Router::new().route("/tee/challenges/{task}", post(challenge));
        let address = serve(routes.with_state(Arc::clone(&sms))).await;
        (sms, format!("http://{address}").parse().unwrap())
    }
}

async fn challenge(
    State(sms): State<Arc<Sms>>,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let status = StatusCode::from_u16(sms.status.load(Ordering::Relaxed)).unwrap();
    let task: TaskId = task.parse().unwrap();
    // As an Ethereum message, over the hash of the task alone.
    let signed = alloy_primitives::eip191_hash_message(keccak256(task.0));
    let signature: Vec<u8> = headers["authorization"]
        .to_str()
        .map(|text| alloy_primitives::hex::decode(text).unwrap())
        .unwrap();
    assert_eq!(wire::auth::signed_by(&signed, &signature), Some(sms.owner));
    (status, CHALLENGE.to_string())
}

async fn desk(market: &Market, sms: Option<Url>) -> Desk {
    market.scheduler(Config { sms, ..market.config() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_is_given_its_challenge_and_both_authorisations() {
    let market = Market::open().await;
    let (_sms, url) = Sms::start(&market, StatusCode::OK).await;
    let desk = desk(&market, Some(url.clone())).await;
    let plain = Wallet::new(&market.client, market.signer(3)).await.unwrap();
    let _plain = connect_as(&market, &desk, &plain, true, None).await.unwrap();
    let enclave = Wallet::new(&market.client, market.signer(4)).await.unwrap();
    let tee = Some(Enclave::SimulatedTdx);
    let mut link = connect_as(&market, &desk, &enclave, true, tee).await.unwrap();
    let task = market.buy_enclave(Tag::TEE | Tag::TDX).await;

    let Some(Ok(ToWorker::Assign { task_id, tee: Some(tee), .. })) = link.receiver.recv().await
    else {
        panic!("the enclave is given the task");
    };
    assert_eq!((task_id, tee.enclave_challenge), (task, CHALLENGE));
    assert_eq!(tee.sms_url, url.to_string());
    let hash = verdict::authorization_hash(enclave.address(), task, CHALLENGE);
    let hash = alloy_primitives::eip191_hash_message(hash);
    let owner = Some(market.pool_owner.address());
    assert_eq!(wire::auth::signed_by(&hash, &tee.authorization), owner);
    market.until_all(&[task], TaskStatus::Active).await;
    assert_eq!(desk.until(task, "RUNNING").await.tee.as_deref(), Some("SIMULATED"));

    let said = ToScheduler::Computed {
        task_id: task,
        result_hash: ResultHash(B256::repeat_byte(1)),
        stdout_tail: String::new(),
        stderr_tail: String::new(),
    };
    link.sender.send(&said).await.unwrap();
    let Some(Ok(ToWorker::Contribute { authorization, enclave_challenge, .. })) =
        link.receiver.recv().await
    else {
        panic!("the enclave may contribute");
    };
    assert_eq!((authorization, enclave_challenge), (tee.authorization, CHALLENGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_manager_that_is_down_is_asked_until_it_is_there() {
    let market = Market::open().await;
    let (sms, url) = Sms::start(&market, StatusCode::SERVICE_UNAVAILABLE).await;
    let mut config = Config { sms: Some(url), ..market.config() };
    config.limits.task.retry_seconds = 1;
    let desk = market.scheduler(config).await;
    let wallet = Wallet::new(&market.client, market.signer(4)).await.unwrap();
    let tee = Some(Enclave::SimulatedTdx);
    let mut link = connect_as(&market, &desk, &wallet, true, tee).await.unwrap();
    let task = market.buy_enclave(Tag::TEE | Tag::TDX).await;
    let waits = desk.until_waits(task, "enclave-challenge", "does not answer").await;
    assert!(waits.starts_with("the secret manager, for the key of its enclave"), "{waits}");
    sms.status.store(200, Ordering::Relaxed);
    let assigned = link.receiver.recv().await;
    assert!(matches!(assigned, Some(Ok(ToWorker::Assign { task_id, .. })) if task_id == task));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_nobody_has_is_known_at_once() {
    let market = Market::open().await;
    let (_sms, url) = Sms::start(&market, StatusCode::UNAUTHORIZED).await;
    for (sms, tag, code) in [
        (None, Tag::TEE | Tag::TDX, "GM-4241"),
        (Some(url.clone()), Tag::TEE | Tag::SCONE, "GM-4241"),
        (Some(url), Tag::TEE | Tag::TDX, "GM-4243"),
    ] {
        let desk = desk(&market, sms).await;
        let task = market.buy_enclave(tag).await;
        assert_eq!(desk.until(task, "FAILED").await.failure.unwrap().code, code);
        desk.handle.shutdown().await;
    }
}
