//! The vault over HTTP, on the embedded chain with the real contracts.

mod at_rest;
mod backups;
mod secrets;
mod tee;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use chain::calls::{self, NewApp, NewDataset, NewWorkerpool};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, TxRequest, Wallet};
use devchain::DevChain;
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder};
use parking_lot::Mutex;
use primitives::{Nrlc, Tag, TaskId};
use reqwest::{Method, StatusCode};
use seal::challenge::{self, SecretId};
use store::Store;
use tokio_util::sync::CancellationToken;
use url::Url;
use vault::{Config, Handle, KeySource, Tee, Vault};

/// A storage key in hexadecimal.
const KEY: &str = "0909090909090909090909090909090909090909090909090909090909090909";

/// A chain with a market of four wallets, an app, a dataset and a pool; and a vault.
struct World {
    client: Client,
    owner: Wallet,
    requester: Wallet,
    scheduler: Wallet,
    worker: PrivateKeySigner,
    app: Address,
    dataset: Address,
    workerpool: Address,
    salts: AtomicU8,
    chain: DevChain,
}

impl World {
    async fn open() -> Self {
        listen();
        let chain = DevChain::open(devchain::Config::default()).expect("a chain");
        let signer = |index: usize| chain.accounts()[index].signer.clone();
        let node = serve(chain.router()).await;
        let rpc: Url = node.as_str().replacen("http", "ws", 1).parse().expect("a url");
        let everything = vec![(signer(0).address(), Nrlc::from_rlc(87_000_000))];
        let deployed = deploy(&rpc, signer(0), DeployConfig::new(everything)).await;
        let client = Client::connect(&rpc, deployed.expect("is deployed").hub).await;
        let client = client.expect("connects");
        let wallet = async |index| Wallet::new(&client, signer(index)).await.expect("a wallet");
        let (owner, requester, scheduler) = (wallet(0).await, wallet(1).await, wallet(2).await);
        let app = NewApp {
            owner: owner.address(),
            name: "echo".into(),
            kind: "DOCKER".into(),
            multiaddr: Bytes::from_static(b"registry.example/echo:1"),
            checksum: B256::repeat_byte(5),
            ..NewApp::default()
        };
        let dataset = new_dataset(owner.address(), "data");
        let pool = NewWorkerpool { owner: scheduler.address(), description: "a pool".into() };
        let world = Self {
            app: app.address(&client).await.expect("an address"),
            dataset: dataset.address(&client).await.expect("an address"),
            workerpool: pool.address(&client).await.expect("an address"),
            worker: signer(3),
            salts: AtomicU8::new(1),
            owner,
            requester,
            scheduler,
            client,
            chain,
        };
        let contracts = world.client.contracts();
        world.mine(calls::create_app(&contracts, app)).await;
        world.mine(calls::create_dataset(&contracts, dataset)).await;
        world.mine(calls::create_workerpool(&contracts, pool)).await;
        world
    }

    /// Sends as the owner.
    async fn mine(&self, request: TxRequest) -> chain::Receipt {
        self.owner.execute(request).await.expect("is mined")
    }

    /// A vault of that configuration, and where it answers.
    async fn vault(&self, change: impl FnOnce(&mut Config)) -> Door {
        self.try_vault(change).await.expect("starts")
    }

    async fn try_vault(&self, change: impl FnOnce(&mut Config)) -> Result<Door, vault::Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let origin: Url = format!("http://{address}").parse().expect("a url");
        let store = Store::in_memory().await.expect("opens");
        let key = KeySource::Command(["echo", KEY].map(str::to_owned).into());
        let mut config = Config::new(self.client.clone(), store, key, origin.clone());
        config.tee = Tee::SimulatedTdx;
        change(&mut config);
        let handle = Vault::start(config, CancellationToken::new()).await?;
        let service = handle.standalone().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        Ok(Door { handle, http: reqwest_client(), origin })
    }

    fn salt(&self) -> B256 {
        B256::repeat_byte(self.salts.fetch_add(1, Ordering::Relaxed))
    }

    fn dataset_order(&self, dataset: Address, volume: u64) -> DatasetOrder {
        let order = DatasetOrder {
            dataset,
            volume: U256::from(volume),
            tag: Tag::TEE,
            salt: self.salt(),
            ..DatasetOrder::default()
        };
        DatasetOrder { sign: sign(&self.owner, order.hash(&self.client.domain()).0), ..order }
    }

    /// Makes a deal of one task, as the official clients do, and initialises the task.
    async fn task(&self, params: &str, with_dataset: bool, tag: Tag) -> TaskId {
        let domain = self.client.domain();
        let app = AppOrder {
            app: self.app,
            volume: U256::ONE,
            tag,
            salt: self.salt(),
            ..AppOrder::default()
        };
        let app = AppOrder { sign: sign(&self.owner, app.hash(&domain).0), ..app };
        let dataset =
            if with_dataset { self.dataset_order(self.dataset, 1) } else { DatasetOrder::none() };
        let workerpool = WorkerpoolOrder {
            workerpool: self.workerpool,
            volume: U256::ONE,
            trust: U256::ONE,
            tag,
            salt: self.salt(),
            ..WorkerpoolOrder::default()
        };
        let workerpool = WorkerpoolOrder {
            sign: sign(&self.scheduler, workerpool.hash(&domain).0),
            ..workerpool
        };
        let request = RequestOrder {
            app: self.app,
            dataset: dataset.dataset,
            requester: self.requester.address(),
            beneficiary: self.requester.address(),
            volume: U256::ONE,
            tag,
            trust: U256::ONE,
            params: params.into(),
            salt: self.salt(),
            ..RequestOrder::default()
        };
        let request =
            RequestOrder { sign: sign(&self.requester, request.hash(&domain).0), ..request };
        let quartet = Quartet { app, dataset, workerpool, request };
        self.mine(calls::match_orders(self.client.hub(), &quartet)).await;
        let deal = quartet.deal_id(&domain, U256::ZERO);
        self.mine(calls::initialize_array(self.client.hub(), &[(deal, U256::ZERO)])).await;
        orders::task_id(deal, U256::ZERO)
    }

    /// Deploys a contract that answers every call with that word: 32 bytes that begin with these four.
    async fn contract_that_says(&self, word: [u8; 4]) -> Address {
        let mut runtime = vec![0x63];
        runtime.extend(word);
        // Shifts it to the left, stores and returns it.
        runtime.extend([0x60, 0xe0, 0x1b, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]);
        let len = u8::try_from(runtime.len()).expect("short");
        let mut code = vec![0x60, len, 0x80, 0x60, 0x09, 0x5f, 0x39, 0x5f, 0xf3];
        code.extend(runtime);
        let receipt = self.mine(TxRequest::create(code)).await;
        receipt.created.expect("an address")
    }
}

/// Where a vault answers.
struct Door {
    handle: Handle,
    http: reqwest::Client,
    origin: Url,
}

impl Door {
    fn sms(&self) -> wire::sms::SmsClient {
        wire::sms::SmsClient::new(&self.origin).expect("a client")
    }

    /// Status and text of an answer.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
        body: impl Into<reqwest::Body>,
    ) -> (StatusCode, String) {
        let mut url = self.origin.clone();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let mut request = self.http.request(method, url).body(body);
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        let answer = request.send().await.expect("answers");
        (answer.status(), answer.text().await.expect("a text"))
    }

    /// Sets a secret the way the official client does.
    async fn put(
        &self,
        method: Method,
        id: &SecretId,
        value: &str,
        signer: &PrivateKeySigner,
    ) -> (StatusCode, String) {
        let authorization = authorize(challenge::to_set(id, value.as_bytes()), signer);
        self.ask(method, &path_of(id), &authorization, value.to_owned()).await
    }

    async fn has(&self, id: &SecretId) -> StatusCode {
        self.ask(Method::HEAD, &path_of(id), "", "").await.0
    }
}

fn path_of(id: &SecretId) -> String {
    match id {
        SecretId::Dataset(dataset) => format!("/secrets/web3?secretAddress={dataset}"),
        SecretId::Named { owner, name } => {
            format!("/secrets/web2?ownerAddress={owner}&secretName={name}")
        }
        SecretId::Requester { owner, key } => format!("/requesters/{owner}/secrets/{key}"),
        SecretId::App(app) => format!("/apps/{app}/secrets"),
    }
}

fn named(owner: Address, name: &str) -> SecretId {
    SecretId::Named { owner, name: name.to_owned() }
}

fn requesters(owner: Address, key: &str) -> SecretId {
    SecretId::Requester { owner, key: key.to_owned() }
}

fn new_dataset(owner: Address, name: &str) -> NewDataset {
    NewDataset {
        owner,
        name: name.into(),
        multiaddr: Bytes::from_static(b"https://example.com/data.bin"),
        checksum: B256::repeat_byte(6),
    }
}

/// Signs a message of the protocol of secrets.
fn authorize(message: B256, signer: &PrivateKeySigner) -> String {
    let signature = signer.sign_message_sync(message.as_slice()).expect("signs");
    alloy_primitives::hex::encode_prefixed(signature.as_bytes())
}

/// Signs an order.
fn sign(wallet: &Wallet, hash: B256) -> Bytes {
    let signer: &PrivateKeySigner = wallet.signer();
    Bytes::from(signer.sign_hash_sync(&hash).expect("signs").as_bytes())
}

async fn store_in(directory: &Path) -> Store {
    Store::open(&directory.join("market.db")).await.expect("opens")
}

async fn serve(router: axum::Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    format!("http://{address}").parse().expect("a url")
}

fn reqwest_client() -> reqwest::Client {
    wire::install_crypto_provider();
    reqwest::Client::new()
}

/// Everything that was logged in this process since [`listen`].
static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

#[derive(Clone)]
struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins to keep what is logged, at every level that a user may switch on.
fn listen() {
    LOG.get_or_init(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = LogWriter(Arc::clone(&log));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the first one");
        log
    });
}

fn logged() -> Vec<u8> {
    LOG.get().map(|log| log.lock().clone()).unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
