//! A scheduler and its workers, honest and not.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Eip712Domain, SolStruct};
use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use primitives::{DealId, ResultHash, TaskId};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use url::Url;
use wire::Failure;
use wire::link::{
    Arrival, Blame, Capabilities, ClientConfig, Gate, Identity, LinkClient, LinkError, RunFailure,
    SchedulerLink, ToScheduler, ToWorker, router,
};

use crate::{CHAIN_ID, address, key, serve};

const POOL: u8 = 7;
const HUB: u8 = 8;
const OWNER: u8 = 1;
const WORKER: u8 = 2;
/// A wallet that the scheduler does not take.
const BANNED: u8 = 3;

struct Hall {
    identity: Identity,
    joined: mpsc::UnboundedSender<SchedulerLink>,
}

#[async_trait]
impl Gate for Hall {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn admit(&self, arrival: &Arrival) -> Result<String, Failure> {
        if arrival.worker == key(BANNED).address() {
            return Err(Failure::new("GM-9999", "not you", "ask the operator"));
        }
        Ok(format!("token-of-{}", arrival.worker))
    }

    async fn joined(&self, link: SchedulerLink) {
        let _ = self.joined.send(link);
    }
}

struct Pool {
    url: Url,
    joined: mpsc::UnboundedReceiver<SchedulerLink>,
}

impl Pool {
    async fn start() -> Self {
        let (sender, joined) = mpsc::unbounded_channel();
        let identity = Identity {
            workerpool: address(POOL),
            chain_id: CHAIN_ID,
            hub: address(HUB),
            signer: key(OWNER),
        };
        let gate: Arc<dyn Gate> = Arc::new(Hall { identity, joined: sender });
        Self { url: serve(router([gate])).await, joined }
    }

    async fn link(&mut self) -> SchedulerLink {
        self.joined.recv().await.expect("a worker joins")
    }
}

fn config(pool: &Pool, worker: u8) -> ClientConfig {
    ClientConfig {
        scheduler: pool.url.clone(),
        workerpool: address(POOL),
        pool_owner: key(OWNER).address(),
        chain_id: CHAIN_ID,
        hub: address(HUB),
        signer: key(worker),
        capabilities: Capabilities {
            cpus: 2,
            memory_bytes: 1 << 30,
            slots: 2,
            runtimes: vec!["wasm".into()],
            ..Capabilities::default()
        },
        holding: vec![task(9)],
    }
}

fn task(number: u8) -> TaskId {
    TaskId(B256::repeat_byte(number))
}

/// The other half of the protocol, written from its description alone.
struct Raw(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Raw {
    async fn connect(pool: &Pool) -> Self {
        let (host, port) = (pool.url.host_str().expect("host"), pool.url.port().expect("port"));
        let url = format!(
            "ws://{host}:{port}/workers/connect?workerpool={}&nonce={}",
            address(POOL),
            B256::repeat_byte(5)
        );
        Self(tokio_tungstenite::connect_async(url).await.expect("connects").0)
    }

    async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.expect("sends");
    }

    /// The next message; null when the connection is closed.
    async fn hear(&mut self) -> Value {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("JSON");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return Value::Null,
            }
        }
    }
}

alloy_sol_types::sol! {
    struct Login {
        address worker;
        address workerpool;
        bytes32 schedulerNonce;
    }
}

fn login(claimed: Address, signer: &PrivateKeySigner, hello: &Value) -> String {
    let nonce: B256 = hello["nonce"].as_str().expect("a nonce").parse().expect("a nonce");
    let domain = Eip712Domain {
        name: Some("Gristmill Worker Link".into()),
        version: Some("1".into()),
        chain_id: Some(U256::from(CHAIN_ID)),
        verifying_contract: Some(address(HUB)),
        salt: None,
    };
    let word = Login { worker: claimed, workerpool: address(POOL), schedulerNonce: nonce };
    let signature = signer.sign_hash_sync(&word.eip712_signing_hash(&domain)).expect("signs");
    let capabilities = json!({"cpus": 1, "memoryBytes": 1, "slots": 1, "runtimes": ["wasm"]});
    json!({
        "type": "login",
        "worker": claimed.to_string(),
        "signature": Bytes::from(signature.as_bytes()).to_string(),
        "capabilities": capabilities,
        "holding": [],
    })
    .to_string()
}

#[tokio::test]
async fn a_worker_logs_in_and_both_are_heard() {
    let mut pool = Pool::start().await;
    let mut worker = LinkClient::connect(&config(&pool, WORKER)).await.expect("connects");
    assert_eq!(worker.token, format!("token-of-{}", key(WORKER).address()));
    let mut scheduler = pool.link().await;
    assert_eq!(scheduler.arrival.worker, key(WORKER).address());
    assert_eq!(scheduler.arrival.holding, [task(9)]);

    let assign =
        ToWorker::Assign { task_id: task(1), deal_id: DealId::default(), index: 3, tee: None };
    scheduler.sender.send(&assign).await.expect("sends");
    assert_eq!(worker.receiver.recv().await.expect("open").expect("heard"), assign);
    let computed = ToScheduler::Computed {
        task_id: task(1),
        result_hash: ResultHash(B256::repeat_byte(4)),
        stdout_tail: "hello".into(),
        stderr_tail: String::new(),
    };
    worker.sender.send(&computed).await.expect("sends");
    assert_eq!(scheduler.receiver.recv().await.expect("open").expect("heard"), computed);

    drop(worker);
    assert!(scheduler.receiver.recv().await.is_none(), "the worker left in good order");
    assert!(matches!(scheduler.sender.send(&assign).await, Err(LinkError::Closed)));
}

/// Connects with a changed configuration and gives back why it did not work.
async fn refusal(change: impl FnOnce(&mut ClientConfig)) -> LinkError {
    let pool = Pool::start().await;
    let mut config = config(&pool, WORKER);
    change(&mut config);
    let error = LinkClient::connect(&config).await.expect_err("refused");
    assert!(!error.is_retryable(), "{error}");
    error
}

#[tokio::test]
async fn a_word_of_a_later_version_is_passed_over() {
    let mut pool = Pool::start().await;
    let (mut raw, mut link) = logged_in(&mut pool).await;
    raw.say(r#"{"type":"sing","song":1}"#).await;
    raw.say(r#"{"type":"draining"}"#).await;
    assert!(matches!(link.receiver.recv().await, Some(Ok(ToScheduler::Unknown))));
    assert!(matches!(link.receiver.recv().await, Some(Ok(ToScheduler::Draining {}))));
}

#[tokio::test]
async fn a_worker_believes_only_the_pool_owner() {
    let wrong_owner = refusal(|config| config.pool_owner = address(0x66)).await;
    assert!(matches!(wrong_owner, LinkError::NotTheScheduler(_)), "{wrong_owner}");
    let wrong_chain = refusal(|config| config.chain_id = 1).await;
    assert!(matches!(wrong_chain, LinkError::NotTheScheduler(_)), "{wrong_chain}");
    let wrong_hub = refusal(|config| config.hub = address(0x66)).await;
    assert!(matches!(wrong_hub, LinkError::NotTheScheduler(_)), "{wrong_hub}");
}

#[tokio::test]
async fn a_refused_worker_learns_why() {
    let banned = refusal(|config| config.signer = key(BANNED)).await;
    assert_eq!(
        banned.to_string(),
        "the scheduler refused this worker: not you (GM-9999); ask the operator"
    );
    let elsewhere = refusal(|config| config.workerpool = address(0x66)).await;
    assert!(elsewhere.to_string().contains("GM-4502"), "{elsewhere}");
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let mut config = config(&Pool::start().await, WORKER);
    config.scheduler = url.parse().expect("a url");
    let error = LinkClient::connect(&config).await.expect_err("nobody there");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_login_signed_by_another_key_is_refused() {
    let pool = Pool::start().await;
    let mut raw = Raw::connect(&pool).await;
    let hello = raw.hear().await;
    raw.say(login(key(WORKER).address(), &key(BANNED), &hello)).await;
    let answer = raw.hear().await;
    assert_eq!(answer["type"], "refused");
    assert_eq!(answer["error"]["code"], "GM-4503");
    assert_eq!(raw.hear().await, Value::Null, "and the connection is closed");
}

#[tokio::test]
async fn a_login_is_good_for_one_connection() {
    let mut pool = Pool::start().await;
    let mut first = Raw::connect(&pool).await;
    let hello = first.hear().await;
    let word = login(key(WORKER).address(), &key(WORKER), &hello);
    first.say(word.clone()).await;
    assert_eq!(first.hear().await["type"], "welcome");
    pool.link().await;

    let mut second = Raw::connect(&pool).await;
    assert_ne!(second.hear().await["nonce"], hello["nonce"]);
    second.say(word).await;
    assert_eq!(second.hear().await["error"]["code"], "GM-4503");
}

#[tokio::test]
async fn words_out_of_place_are_refused() {
    let pool = Pool::start().await;
    for word in ["", "{}", "[]", r#"{"type":"welcome","token":"x"}"#, r#"{"type":"login"}"#] {
        let mut raw = Raw::connect(&pool).await;
        raw.hear().await;
        raw.say(word).await;
        assert_eq!(raw.hear().await["error"]["code"], "GM-4501", "{word}");
    }
}

async fn logged_in(pool: &mut Pool) -> (Raw, SchedulerLink) {
    let mut raw = Raw::connect(pool).await;
    let hello = raw.hear().await;
    raw.say(login(key(WORKER).address(), &key(WORKER), &hello)).await;
    assert_eq!(raw.hear().await["type"], "welcome");
    (raw, pool.link().await)
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_connection() {
    let mut pool = Pool::start().await;
    let (mut raw, mut link) = logged_in(&mut pool).await;
    // The other end may close before all of it is sent.
    let _ = raw.0.send(Message::text("x".repeat(1024 * 1024))).await;
    let heard = link.receiver.recv().await.expect("something is heard");
    assert!(matches!(heard, Err(LinkError::Protocol(_) | LinkError::Closed)), "{heard:?}");
    assert!(link.receiver.recv().await.is_none());
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_connection() {
    let mut pool = Pool::start().await;
    for frame in [Message::text("{\"type\":\"computed\"}"), Message::binary(vec![1, 2, 3])] {
        let (mut raw, mut link) = logged_in(&mut pool).await;
        raw.0.send(frame).await.expect("sends");
        let heard = link.receiver.recv().await.expect("something is heard");
        assert!(matches!(heard, Err(LinkError::Protocol(_))), "{heard:?}");
        assert_eq!(raw.hear().await, Value::Null);
    }
}

/// With the clock paused, waiting for a socket lets time pass at once; so only what must time out is timed here.
#[tokio::test]
async fn a_stranger_that_never_logs_in_is_sent_away() {
    let mut pool = Pool::start().await;
    let mut raw = Raw::connect(&pool).await;
    assert_eq!(raw.hear().await["type"], "hello");
    tokio::time::pause();
    assert_eq!(raw.hear().await, Value::Null);
    assert!(pool.joined.try_recv().is_err());
}

#[tokio::test]
async fn a_worker_that_goes_silent_is_noticed() {
    let mut pool = Pool::start().await;
    let (raw, mut link) = logged_in(&mut pool).await;
    // The socket stays open, but nobody reads from it, so pings are not answered.
    tokio::time::pause();
    let heard = link.receiver.recv().await.expect("something is heard");
    assert!(matches!(heard, Err(LinkError::Silent)), "{heard:?}");
    drop(raw);
}

#[tokio::test]
async fn a_quiet_worker_that_answers_pings_stays() {
    let mut pool = Pool::start().await;
    let mut worker = LinkClient::connect(&config(&pool, WORKER)).await.expect("connects");
    let link = pool.link().await;
    tokio::time::pause();
    let quiet = tokio::time::timeout(Duration::from_secs(25), worker.receiver.recv()).await;
    tokio::time::resume();
    assert!(quiet.is_err(), "nothing was said and nothing went wrong: {quiet:?}");
    let release = ToWorker::Release { task_id: task(1) };
    link.sender.send(&release).await.expect("still open");
    assert_eq!(worker.receiver.recv().await.expect("open").expect("heard"), release);
}

#[tokio::test]
async fn what_cannot_be_a_frame_is_not_sent() {
    let pool = Pool::start().await;
    let worker = LinkClient::connect(&config(&pool, WORKER)).await.expect("connects");
    let failure = RunFailure {
        failure: Failure::new("GM-0401", "trap", ""),
        exit_code: None,
        stdout_tail: "x".repeat(1024 * 1024),
        stderr_tail: String::new(),
        blame: Blame::App,
    };
    let sent = worker.sender.send(&ToScheduler::Failed { task_id: task(1), failure }).await;
    assert!(matches!(sent, Err(LinkError::Protocol(_))), "{sent:?}");
}
