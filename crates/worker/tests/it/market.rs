//! A market with one workerpool whose scheduler is the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use chain::calls::{self, NewApp, NewWorkerpool};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, Task, Wallet};
use devchain::DevChain;
use orders::{AppOrder, DatasetOrder, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::{DealId, Nrlc, ResultDigest, Tag, TaskId};
use sandbox::{Kind, Sandbox};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use url::Url;
use verdict::{authorization_hash, settlement_hash};
use wire::link::{EnclaveTask, Identity, SchedulerLink, ToWorker};
use worker::{Config, Handle, Worker};

use crate::keeper::Keeper;
use crate::played::{Doors, Played, Player};

const PATIENCE: Duration = Duration::from_secs(120);
/// Accounts of the embedded chain: who owns the assets, asks, schedules, and from where on workers are.
const OWNER: usize = 0;
const REQUESTER: usize = 1;
const SCHEDULER: usize = 2;
const FIRST_WORKER: usize = 3;

pub(crate) struct Market {
    chain: DevChain,
    pub(crate) client: Client,
    owner: Wallet,
    requester: Wallet,
    scheduler: Wallet,
    workerpool: Address,
    pub(crate) doors: Arc<Doors>,
    pub(crate) keeper: Arc<Keeper>,
    arrivals: mpsc::UnboundedReceiver<SchedulerLink>,
    origin: Url,
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
    /// Lets programs that wait end.
    pub(crate) may_end: Arc<Semaphore>,
    sandbox: Sandbox,
}

/// What is asked for.
pub(crate) struct Request {
    pub(crate) program: &'static str,
    pub(crate) kind: &'static str,
    /// Where the program is said to be; its own place if nothing is said.
    pub(crate) multiaddr: String,
    pub(crate) checksum: Option<B256>,
    pub(crate) trust: u64,
    pub(crate) params: String,
    /// What is demanded.
    pub(crate) tag: Tag,
    /// How many tasks.
    pub(crate) size: u64,
    /// What contract receives the result.
    pub(crate) callback: Address,
}

impl Request {
    pub(crate) fn of(program: &'static str) -> Self {
        Self {
            program,
            kind: "WASM",
            multiaddr: format!("/ipfs/{program}"),
            checksum: None,
            trust: 1,
            params: r#"{"iexec_args":"hello"}"#.to_owned(),
            tag: Tag::NONE,
            size: 1,
            callback: Address::ZERO,
        }
    }
}

/// A worker and how to end it.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    stop: CancellationToken,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let stopped = tokio::time::timeout(PATIENCE, self.handle.stopped()).await;
        stopped.expect("a worker that ends");
    }
}

impl Market {
    pub(crate) async fn open() -> Self {
        let chain = DevChain::open(devchain::Config::default()).unwrap();
        let node = serve(chain.router()).await;
        let ws: Url = format!("ws://{node}").parse().unwrap();
        let signer = |index: usize| chain.accounts()[index].signer.clone();
        let everything = vec![(signer(OWNER).address(), Nrlc::from_rlc(87_000_000))];
        let contracts = deploy(&ws, signer(OWNER), DeployConfig::new(everything)).await.unwrap();
        let client = Client::connect(&ws, contracts.hub).await.unwrap();
        let owner = Wallet::new(&client, signer(OWNER)).await.unwrap();
        let requester = Wallet::new(&client, signer(REQUESTER)).await.unwrap();
        let scheduler = Wallet::new(&client, signer(SCHEDULER)).await.unwrap();
        let new = NewWorkerpool { owner: scheduler.address(), description: "a pool".into() };
        let workerpool = new.address(&client).await.unwrap();
        owner.execute(calls::create_workerpool(&contracts, new)).await.unwrap();
        for wallet in [&requester, &scheduler] {
            let amount = Nrlc::from_rlc(1_000);
            owner.execute(calls::transfer_rlc(&contracts, wallet.address(), amount)).await.unwrap();
            wallet.execute(calls::stake(&contracts, amount)).await.unwrap();
        }
        let identity = Identity {
            workerpool,
            chain_id: client.chain_id(),
            hub: client.hub(),
            signer: signer(SCHEDULER),
        };
        let files = ["echo", "reveal", "wait", "call", "fail"].map(|name| (name, name));
        let files = files
            .into_iter()
            .chain([("text", " world"), ("module", "\0asm")])
            .collect::<HashMap<_, _>>();
        let (doors, arrivals) = Doors::new(identity, files);
        let keeper = Arc::new(Keeper::new());
        let sms: Arc<dyn wire::sms::Sms> = Arc::<Keeper>::clone(&keeper);
        let origin = serve(doors.router().merge(wire::sms::router(sms))).await;
        keeper.is_at(&format!("http://{origin}"));
        let dir = tempfile::tempdir().unwrap();
        let may_end = Arc::new(Semaphore::new(0));
        let player = Arc::new(Player { kind: Kind::Wasm, may_end: Arc::clone(&may_end) });
        let sandbox =
            Sandbox::with_runtime(&sandbox::Config::new(dir.path().join("sandbox"), 8), player)
                .unwrap();
        Self {
            chain,
            client,
            owner,
            requester,
            scheduler,
            workerpool,
            doors,
            keeper,
            arrivals,
            origin: format!("http://{origin}").parse().unwrap(),
            store: Store::in_memory().await.unwrap(),
            dir,
            may_end,
            sandbox,
        }
    }

    pub(crate) fn worker_key(&self, number: usize) -> PrivateKeySigner {
        self.chain.accounts()[FIRST_WORKER + number].signer.clone()
    }

    pub(crate) fn worker_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("worker-{number}"))
    }

    pub(crate) fn config(&self, number: usize) -> Config {
        Config {
            scheduler: self.origin.clone(),
            workerpool: self.workerpool,
            client: self.client.clone(),
            signer: self.worker_key(number),
            sandbox: self.sandbox.clone(),
            gateway: self.origin.clone(),
            store: self.store.clone(),
            dir: self.worker_dir(number),
            slots: 2,
            allow_private: false,
            tee: worker::Tee::Off,
            machine: worker::Machine::default(),
            drain: PATIENCE,
            lie: false,
        }
    }

    /// A worker that runs images too, played.
    pub(crate) fn config_with_containers(&self, number: usize) -> Config {
        let player = Player { kind: Kind::Container, may_end: Arc::clone(&self.may_end) };
        Config { sandbox: self.sandbox.clone().and(Arc::new(player)), ..self.config(number) }
    }

    /// Starts a worker and takes its connection.
    pub(crate) async fn worker(&mut self, number: usize) -> (Running, Played) {
        let config = self.config(number);
        self.start(config).await
    }

    pub(crate) async fn start(&mut self, config: Config) -> (Running, Played) {
        let stop = CancellationToken::new();
        let handle = Worker::start(config, stop.clone()).await.unwrap();
        (Running { handle, stop }, self.arrival().await)
    }

    /// The next connection.
    pub(crate) async fn arrival(&mut self) -> Played {
        let arrival = tokio::time::timeout(PATIENCE, self.arrivals.recv()).await;
        Played::new(arrival.expect("a worker that connects").unwrap())
    }

    /// RLC into a worker's wallet, not staked.
    pub(crate) async fn pay(&self, worker: Address) {
        let call = calls::transfer_rlc(&self.client.contracts(), worker, Nrlc::from_rlc(100));
        self.owner.execute(call).await.unwrap();
    }

    /// Makes a deal; gives back its first task.
    pub(crate) async fn buy(&self, request: Request) -> Bought {
        let checksum = B256::from_slice(&Sha256::digest(request.program));
        let new = NewApp {
            owner: self.owner.address(),
            name: request.params.clone(),
            kind: request.kind.to_owned(),
            multiaddr: request.multiaddr.clone().into_bytes().into(),
            checksum: request.checksum.unwrap_or(checksum),
            mrenclave: Bytes::new(),
        };
        let app = new.address(&self.client).await.unwrap();
        if !self.client.has_code(app).await.unwrap() {
            self.owner.execute(calls::create_app(&self.client.contracts(), new)).await.unwrap();
        }
        let quartet = self.quartet(app, &request);
        let call = calls::match_orders(self.client.hub(), &quartet);
        self.requester.execute(call).await.unwrap();
        let deal = quartet.deal_id(&self.client.domain(), U256::ZERO);
        Bought::of(deal, 0)
    }

    fn quartet(&self, app: Address, wanted: &Request) -> Quartet {
        let domain = self.client.domain();
        let (volume, trust) = (U256::from(wanted.size), U256::from(wanted.trust));
        let salt = B256::random();
        let tag = wanted.tag;
        let app = AppOrder { app, price: U256::ZERO, volume, tag, salt, ..AppOrder::default() };
        let workerpool = WorkerpoolOrder {
            workerpool: self.workerpool,
            price: Nrlc::from_rlc(10).0,
            volume,
            trust,
            tag,
            salt,
            ..WorkerpoolOrder::default()
        };
        let request = RequestOrder {
            app: app.app,
            workerpool_max_price: workerpool.price,
            requester: self.requester.address(),
            volume,
            trust,
            callback: wanted.callback,
            tag,
            params: wanted.params.clone(),
            salt,
            ..RequestOrder::default()
        };
        let sign = |wallet: &Wallet, hash: B256| {
            let signature = wallet.signer().sign_hash_sync(&hash).unwrap();
            Bytes::from(signature.as_bytes().to_vec())
        };
        Quartet {
            app: app.clone().signed(sign(&self.owner, app.hash(&domain).0)),
            dataset: DatasetOrder::none(),
            workerpool: workerpool
                .clone()
                .signed(sign(&self.scheduler, workerpool.hash(&domain).0)),
            request: request.clone().signed(sign(&self.requester, request.hash(&domain).0)),
        }
    }

    pub(crate) async fn initialize(&self, bought: &Bought) {
        self.initialize_all(&[*bought]).await;
    }

    pub(crate) async fn initialize_all(&self, bought: &[Bought]) {
        let tasks: Vec<_> = bought.iter().map(|it| (it.deal, U256::from(it.index))).collect();
        self.scheduler.execute(calls::initialize_array(self.client.hub(), &tasks)).await.unwrap();
    }

    /// What tells a worker to contribute.
    pub(crate) fn contribute(&self, bought: &Bought, worker: Address) -> ToWorker {
        ToWorker::Contribute {
            task_id: bought.task,
            authorization: self.authorization(bought, worker, Address::ZERO),
            enclave_challenge: Address::ZERO,
        }
    }

    /// What assigns a task to a worker's enclave.
    pub(crate) fn assign_enclave(&self, bought: &Bought, worker: Address) -> ToWorker {
        let challenge = self.keeper.enclave.address();
        let authorization = self.authorization(bought, worker, challenge);
        let sms_url = self.origin.to_string();
        let tee = Some(EnclaveTask { sms_url, enclave_challenge: challenge, authorization });
        ToWorker::Assign { task_id: bought.task, deal_id: bought.deal, index: bought.index, tee }
    }

    /// What tells a worker to contribute what its enclave signed.
    pub(crate) fn contribute_enclave(&self, bought: &Bought, worker: Address) -> ToWorker {
        let enclave_challenge = self.keeper.enclave.address();
        let authorization = self.authorization(bought, worker, enclave_challenge);
        ToWorker::Contribute { task_id: bought.task, authorization, enclave_challenge }
    }

    fn authorization(&self, bought: &Bought, worker: Address, challenge: Address) -> Bytes {
        let hash = authorization_hash(worker, bought.task, challenge);
        let signature = self.scheduler.signer().sign_message_sync(hash.as_slice()).unwrap();
        signature.as_bytes().to_vec().into()
    }

    /// What tells a worker to settle tasks of one deal together.
    pub(crate) fn settle(&self, bag: &[Bought], worker: Address) -> ToWorker {
        let deal = bag[0].deal;
        let indices: Vec<_> = bag.iter().map(|bought| U256::from(bought.index)).collect();
        let hash = settlement_hash(worker, deal, &indices);
        let signature = self.scheduler.signer().sign_message_sync(hash.as_slice()).unwrap();
        ToWorker::Settle {
            deal_id: deal,
            task_ids: bag.iter().map(|bought| bought.task).collect(),
            authorization: signature.as_bytes().to_vec().into(),
        }
    }

    /// Contributes as a worker that the test plays, with a stake of its own.
    pub(crate) async fn contribute_as(&self, number: usize, bought: &Bought, digest: ResultDigest) {
        let wallet = Wallet::new(&self.client, self.worker_key(number)).await.unwrap();
        let address = wallet.address();
        self.pay(address).await;
        let stake = calls::stake(&self.client.contracts(), Nrlc::from_rlc(50));
        wallet.execute(stake).await.unwrap();
        let ToWorker::Contribute { authorization, .. } = self.contribute(bought, address) else {
            unreachable!("that is what contribute makes")
        };
        let call = calls::contribute(
            self.client.hub(),
            bought.task,
            verdict::result_hash(bought.task, digest),
            verdict::result_seal(address, bought.task, digest),
            authorization,
        );
        wallet.execute(call).await.unwrap();
    }

    /// Lets the chain's time pass.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.node("evm_increaseTime", json!([seconds])).await;
        self.node("evm_mine", json!([])).await;
    }

    /// Takes back what the newest blocks brought; empty ones come in their place.
    pub(crate) async fn take_back(&self, blocks: u64) {
        self.node("anvil_reorg", json!([blocks, []])).await;
    }

    async fn node(&self, method: &'static str, params: Value) {
        self.chain.handle().request(method, params).await.unwrap();
    }

    /// Waits until the chain has the task as wanted.
    pub(crate) async fn task_when(&self, task: TaskId, wanted: impl Fn(&Task) -> bool) -> Task {
        self.when(async || self.client.task(task).await.unwrap(), wanted).await
    }

    /// Waits until what is looked at is as wanted.
    pub(crate) async fn when<T>(
        &self,
        look: impl AsyncFn() -> T,
        wanted: impl Fn(&T) -> bool,
    ) -> T {
        let waiting = async {
            loop {
                let seen = look().await;
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("what is wanted, in time")
    }
}

/// A task of a deal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bought {
    pub(crate) deal: DealId,
    pub(crate) index: u64,
    pub(crate) task: TaskId,
}

impl Bought {
    fn of(deal: DealId, index: u64) -> Self {
        Self { deal, index, task: task_id(deal, U256::from(index)) }
    }

    /// The first tasks of the same deal.
    pub(crate) fn bag(&self, size: u64) -> Vec<Self> {
        (0..size).map(|index| Self::of(self.deal, index)).collect()
    }

    pub(crate) fn assign(&self) -> ToWorker {
        ToWorker::Assign { task_id: self.task, deal_id: self.deal, index: self.index, tee: None }
    }
}

/// The digest of a result that is this text.
pub(crate) fn digest_of(text: &str) -> ResultDigest {
    ResultDigest(B256::from_slice(&Sha256::digest(text)))
}

async fn serve(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}
