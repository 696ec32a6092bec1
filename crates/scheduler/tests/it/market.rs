//! A market to schedule for: chain, contracts, an app, a pool, a requester.

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use axum::serve::ListenerExt;
use chain::calls::{self, NewApp, NewWorkerpool};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, TaskStatus, Wallet};
use devchain::{Config as ChainConfig, DevChain};
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::{DealId, Nrlc, Tag, TaskId};
use scheduler::{Config, Handle, Limits, Scheduler};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;
use wire::scheduler::{SchedulerClient, TaskModel, UploadLimits};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Market {
    chain: DevChain,
    pub(crate) client: Client,
    owner: Wallet,
    pub(crate) requester: Wallet,
    pub(crate) pool_owner: Wallet,
    app: Address,
    pub(crate) workerpool: Address,
    pub(crate) store: store::Store,
}

fn sign(signer: &PrivateKeySigner, hash: B256) -> Vec<u8> {
    signer.sign_hash_sync(&hash).unwrap().as_bytes().to_vec()
}

/// A scheduler behind a socket.
pub(crate) struct Desk {
    pub(crate) handle: Handle,
    pub(crate) origin: Url,
    pub(crate) client: SchedulerClient,
}

impl Market {
    pub(crate) async fn open() -> Self {
        let chain = DevChain::open(ChainConfig { accounts: 20, ..ChainConfig::default() }).unwrap();
        let ws: Url = format!("ws://{}", serve(chain.router()).await).parse().unwrap();
        let signer = |index: usize| chain.accounts()[index].signer.clone();
        let everything = vec![(signer(0).address(), Nrlc::from_rlc(87_000_000))];
        let contracts = deploy(&ws, signer(0), DeployConfig::new(everything)).await.unwrap();
        let client = Client::connect(&ws, contracts.hub).await.unwrap();
        let owner = Wallet::new(&client, signer(0)).await.unwrap();
        let requester = Wallet::new(&client, signer(1)).await.unwrap();
        let pool_owner = Wallet::new(&client, signer(2)).await.unwrap();
        let new_app = NewApp {
            owner: owner.address(),
            name: "echo".into(),
            kind: "WASM".into(),
            multiaddr: Bytes::from_static(b"/ipfs/none"),
            ..NewApp::default()
        };
        let new_pool = NewWorkerpool { owner: pool_owner.address(), description: "a pool".into() };
        let app = new_app.address(&client).await.unwrap();
        let workerpool = new_pool.address(&client).await.unwrap();
        owner.execute(calls::create_app(&contracts, new_app)).await.unwrap();
        owner.execute(calls::create_workerpool(&contracts, new_pool)).await.unwrap();
        let store = store::Store::in_memory().await.unwrap();
        let market = Self { chain, client, owner, requester, pool_owner, app, workerpool, store };
        market.stake(&market.requester, 100_000).await;
        market.stake(&market.pool_owner, 100_000).await;
        market
    }

    pub(crate) fn signer(&self, index: usize) -> PrivateKeySigner {
        self.chain.accounts()[index].signer.clone()
    }

    pub(crate) async fn stake(&self, wallet: &Wallet, rlc: u64) {
        let (contracts, amount) = (self.client.contracts(), Nrlc::from_rlc(rlc));
        let gift = calls::transfer_rlc(&contracts, wallet.address(), amount);
        self.owner.execute(gift).await.unwrap();
        wallet.execute(calls::stake(&contracts, amount)).await.unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            client: self.client.clone(),
            wallet: self.pool_owner.clone(),
            workerpool: self.workerpool,
            store: self.store.clone(),
            results: std::sync::Arc::new(blobs::Blobs::temporary().unwrap()),
            market: None,
            sms: None,
            offers: Vec::new(),
            workers: None,
            from_block: 0,
            limits: Limits::default(),
            checks: scheduler::checks::Policy::NEVER,
            logs: scheduler::LogLimits::default(),
        }
    }

    pub(crate) async fn scheduler(&self, config: Config) -> Desk {
        let handle = Scheduler::start(config).await.unwrap();
        let router = wire::link::router([handle.gate()])
            .merge(wire::scheduler::router([handle.api()], UploadLimits::default()));
        let origin: Url = format!("http://{}", serve(router).await).parse().unwrap();
        let client = SchedulerClient::new(&origin, self.client.chain_id()).unwrap();
        Desk { handle, origin, client }
    }

    /// Makes a deal under an order of its own and says which tasks it has.
    pub(crate) async fn buy(&self, trust: u64, volume: u64) -> (DealId, Vec<TaskId>) {
        let order = WorkerpoolOrder {
            workerpool: self.workerpool,
            price: Nrlc::from_rlc(1).0,
            volume: U256::from(volume),
            trust: U256::from(trust),
            salt: B256::random(),
            ..WorkerpoolOrder::default()
        };
        let hash = order.hash(&self.client.domain());
        let order = order.signed(sign(self.pool_owner.signer(), hash.0));
        self.buy_from(order, trust, volume).await
    }

    /// Makes a deal of one task that demands these enclaves.
    pub(crate) async fn buy_enclave(&self, tag: Tag) -> TaskId {
        let order = WorkerpoolOrder {
            workerpool: self.workerpool,
            volume: U256::ONE,
            trust: U256::ONE,
            tag,
            salt: B256::random(),
            ..WorkerpoolOrder::default()
        };
        let hash = order.hash(&self.client.domain());
        let order = order.signed(sign(self.pool_owner.signer(), hash.0));
        self.buy_from(order, 1, 1).await.1[0]
    }

    /// How many transactions that wallet has sent.
    pub(crate) async fn sent_by(&self, wallet: Address) -> u64 {
        let count = self.ask("eth_getTransactionCount", json!([wallet, "latest"])).await;
        let count: alloy_primitives::U64 = serde_json::from_value(count).unwrap();
        count.to()
    }

    /// Makes a deal under that order.
    pub(crate) async fn buy_from(
        &self,
        workerpool: WorkerpoolOrder,
        trust: u64,
        volume: u64,
    ) -> (DealId, Vec<TaskId>) {
        let domain = self.client.domain();
        let (trust, size) = (U256::from(trust), U256::from(volume));
        let tag = workerpool.tag;
        let app = AppOrder {
            app: self.app,
            volume: size,
            tag,
            salt: B256::random(),
            ..AppOrder::default()
        };
        let request = RequestOrder {
            app: self.app,
            workerpool_max_price: workerpool.price,
            requester: self.requester.address(),
            volume: size,
            trust,
            tag,
            params: r#"{"iexec_args":"hello"}"#.into(),
            salt: B256::random(),
            ..RequestOrder::default()
        };
        let quartet = Quartet {
            app: app.clone().signed(sign(self.owner.signer(), app.hash(&domain).0)),
            dataset: DatasetOrder::none(),
            workerpool,
            request: request.clone().signed(sign(self.requester.signer(), request.hash(&domain).0)),
        };
        let call = calls::match_orders(self.client.hub(), &quartet);
        self.requester.execute(call).await.unwrap();
        let deal = quartet.deal_id(&domain, U256::ZERO);
        (deal, (0..volume).map(|index| task_id(deal, U256::from(index))).collect())
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        self.chain.handle().request(method, params).await.unwrap()
    }

    /// Lets the chain's clock run ahead.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.ask("evm_increaseTime", json!([seconds])).await;
        self.ask("evm_mine", json!([])).await;
    }

    /// Waits until all tasks are so on chain.
    pub(crate) async fn until_all(&self, tasks: &[TaskId], status: TaskStatus) {
        let start = Instant::now();
        for task in tasks {
            let mut now = self.client.task(*task).await.unwrap().status;
            while now != status {
                assert!(start.elapsed() < PATIENCE, "task {task} is {now:?}, not {status:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
                now = self.client.task(*task).await.unwrap().status;
            }
        }
    }
}

impl Desk {
    /// Waits until the scheduler's word for the task is that.
    pub(crate) async fn until(&self, task: TaskId, status: &str) -> TaskModel {
        let start = Instant::now();
        loop {
            let model = self.client.task(task).await.unwrap();
            match model {
                Some(model) if model.current_status == status => return model,
                other => assert!(start.elapsed() < PATIENCE, "not {status}: {other:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the task waits for that, with such words, and gives them all.
    pub(crate) async fn until_waits(&self, task: TaskId, code: &str, words: &str) -> String {
        let start = Instant::now();
        loop {
            let model = self.client.task(task).await.unwrap();
            let waits = model.and_then(|model| model.waiting_for);
            match waits {
                Some(waits) if waits.code == code && waits.text.contains(words) => {
                    return waits.text;
                }
                other => assert!(start.elapsed() < PATIENCE, "not {code}: {other:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many workers are connected.
    pub(crate) async fn until_workers(&self, count: usize) {
        let start = Instant::now();
        while self.handle.worker_count() != count {
            assert!(start.elapsed() < PATIENCE, "{} workers", self.handle.worker_count());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) async fn serve(router: axum::Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}
