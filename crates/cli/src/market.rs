//! A whole market in this process: the one place where the house is wired together.
//!
//! ```text
//!                          one origin, one port
//!   ┌──────────┬───────────┬────────────┬─────────┬───────────────────────┐
//!   │ devchain │ orderbook │ schedulers │  blobs  │ /.well-known/gristmill │
//!   └────▲─────┴────▲──────┴─────▲──────┴────▲────┴───────────────────────┘
//!        │ JSON-RPC │ over ws    │ ws links  │ http
//!        └──────────┴──── the services and workers, as if they were elsewhere
//! ```
//! Every service talks to the chain, and every worker to its scheduler, through the origin, exactly as it would on another
//! machine. What is embedded is the wiring, not a shortcut.
//!
//! **Layout:** `origin` the listener · `founding` contracts, workerpools and stakes, once · `apps` the programs that every
//! market has by name · `veterans` a reputation for honest workers, where others lie.

mod apps;
mod founding;
mod origin;
mod veterans;

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use axum::Router;
use blobs::Blobs;
use chain::{Client, Wallet};
use devchain::{DevChain, Mining};
use futures::future::try_join_all;
use orderbook::Orderbook;
use primitives::{CategoryId, Nrlc};
use sandbox::Sandbox;
use scheduler::Scheduler;
use scheduler::checks::Policy;
use store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use wire::compass::{Compass, WorkerpoolEntry};
use wire::description::{self, Description};
use wire::market::{FeedLimits, MarketClient, feed};
use wire::openapi::{self, Door};
use wire::scheduler::UploadLimits;
use worker::Worker;

use crate::accounts::ServiceKeys;
use crate::args::ShapeArgs;
use crate::failure::{Exit, Failure, OrFail, chain_of};
use crate::home::DataDir;
use crate::keeper::{self, Keeping, MarketKeeper};
use crate::means::Engine;
use crate::purchase::Access;
use founding::Founded;
pub(crate) use origin::Origin;

/// The workerpools of an embedded market, and what each asks for a task of the shortest category, in nRLC.
const POOLS: [(&str, u64); 3] =
    [("River Mill", 30_000_000), ("Hill Mill", 40_000_000), ("Old Mill", 50_000_000)];
/// The categories offered, and how many times the shortest one's price each costs.
const OFFERED: [(u64, u64); 3] = [(0, 1), (1, 3), (2, 8)];
/// Tasks in each offer.
const OFFER_VOLUME: u64 = 100_000;
/// Stake of each scheduler: all its offers can be taken whole, and more than once.
const SCHEDULER_STAKE: Nrlc = Nrlc(U256::from_limbs([50_000_000_000_000, 0, 0, 0]));
/// Stake of each worker.
const WORKER_STAKE: Nrlc = Nrlc(U256::from_limbs([1_000_000_000_000, 0, 0, 0]));
/// Tasks that one worker has in hand at once. Few of them compute at any moment: the sandbox sees to that.
const SLOTS: usize = 8;
/// How long the parts may take to get ready before that is a failure.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What market to start.
#[derive(Debug)]
pub struct MarketConfig {
    /// Where it lives; nothing is kept without.
    pub data_dir: Option<DataDir>,
    /// Where it listens.
    pub host: IpAddr,
    /// 0 takes a free one.
    pub port: u16,
    /// The embedded chain's id.
    pub chain_id: u64,
    /// How many workers each workerpool has.
    pub workers: usize,
    /// How many of them lie.
    pub liars: usize,
    /// How often results are confirmed by a second worker although the buyer asks for one.
    pub checks: Policy,
    /// Time between blocks; they are made on demand without.
    pub block_time_ms: Option<u64>,
    /// Whether trusted execution may be simulated even where others than this machine can use it.
    pub simulate_tee_in_public: bool,
    /// How long inputs and results are kept.
    pub(crate) retention: Keeping,
    /// What runs programs.
    pub(crate) engine: Engine,
}

impl MarketConfig {
    /// Whether tasks that ask for trusted execution are run by software enclaves, which protect nothing: always on a
    /// market that only this machine reaches, elsewhere only when told so.
    fn simulates_tee(&self) -> bool {
        self.host.is_loopback() || self.simulate_tee_in_public
    }

    /// The market that the flags describe, kept nowhere.
    pub fn of(shape: &ShapeArgs, host: IpAddr, port: u16) -> Self {
        Self {
            data_dir: None,
            host,
            port,
            chain_id: shape.chain_id,
            workers: shape.workers.into(),
            liars: shape.dev_lying_workers.into(),
            checks: shape.canary_rate,
            block_time_ms: shape.block_time_ms,
            simulate_tee_in_public: false,
            retention: Keeping::default(),
            engine: Engine::default(),
        }
    }
}

/// A running market.
pub struct Market {
    origin: Url,
    description: Description,
    start_time: Duration,
    client: Client,
    stop: CancellationToken,
    schedulers: Vec<scheduler::Handle>,
    workers: Vec<worker::Handle>,
    origin_task: JoinHandle<()>,
    devchain: DevChain,
    // Held, not read: dropping them frees the data directory and removes temporary files.
    _data_dir: Option<DataDir>,
    _scratch: tempfile::TempDir,
}

impl Market {
    /// Starts everything and returns when every workerpool has its workers and an open offer in every category.
    ///
    /// # Errors
    /// GM-5005 the port is taken, GM-5012 a part does not start, GM-5013 a worker must be honest, GM-6001 the data directory
    /// is of another version or chain.
    pub async fn start(config: MarketConfig) -> Result<Self, Failure> {
        let start = Instant::now();
        if config.liars >= config.workers {
            return Err(Failure::new("GM-5013", Exit::Usage, "all workers would lie")
                .fix("fewer --dev-lying-workers, or more --workers"));
        }
        let ground = Ground::lay(&config).await?;
        let founded = ground.founded(&config).await?;
        let mut services = Services::start(&ground, &founded, &config).await?;
        let description = services.open(&ground, &founded, config.retention).await?;
        services.ready(&ground, &founded, &config).await?;
        let Services { schedulers, workers, client, .. } = services;
        Ok(Self {
            origin: ground.origin.url.clone(),
            description,
            start_time: start.elapsed(),
            client,
            stop: ground.stop,
            schedulers,
            workers,
            origin_task: ground.origin.into_task(),
            devchain: ground.devchain,
            _data_dir: config.data_dir,
            _scratch: ground.scratch,
        })
    }

    /// Where it answers.
    pub fn origin(&self) -> &Url {
        &self.origin
    }

    /// How long it took to get ready.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// What it consists of.
    pub fn description(&self) -> Description {
        self.description.clone()
    }

    /// Its chain.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its chain from within, for what only its operator may do.
    pub fn devchain(&self) -> devchain::Handle {
        self.devchain.handle()
    }

    /// Waits for `stop`, or for the market to break down by itself.
    ///
    /// # Errors
    /// GM-5012 if it broke down.
    pub async fn stopped_or(&self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = stop => Ok(()),
            () = self.stop.cancelled() => {
                Err(Failure::new("GM-5012", Exit::Market, "a part of the market broke down"))
            }
        }
    }

    /// Stops taking in work, lets every part put down what it holds, and closes the chain.
    pub async fn stop(self) {
        self.stop.cancel();
        for worker in &self.workers {
            worker.stopped().await;
        }
        for scheduler in &self.schedulers {
            scheduler.shutdown().await;
        }
        // Clients that keep a connection open must not keep the market: what is mined is on disk already.
        self.origin_task.abort();
        if let Err(error) = self.devchain.shutdown().await {
            tracing::warn!(%error, "the chain was not closed in order");
        }
    }
}

/// What everything stands on: places on disk, a chain, and a listener that answers for it.
struct Ground {
    stop: CancellationToken,
    scratch: tempfile::TempDir,
    keys: ServiceKeys,
    devchain: DevChain,
    origin: Origin,
}

impl Ground {
    async fn lay(config: &MarketConfig) -> Result<Self, Failure> {
        let scratch = tempfile::Builder::new().prefix("gristmill-").tempdir().or_fail(
            "GM-6003",
            Exit::Market,
            "there is no temporary directory",
        )?;
        let dir = config.data_dir.as_ref().map(DataDir::path);
        let keys = match dir {
            Some(dir) => ServiceKeys::of(dir).or_fail(
                "GM-6003",
                Exit::Market,
                "the market's own keys can be neither read nor made",
            )?,
            None => ServiceKeys::random(),
        };
        let devchain = open_chain(config, dir)?;
        let stop = CancellationToken::new();
        let routes = devchain.router();
        let origin = Origin::open(config.host, config.port, routes, stop.clone()).await?;
        Ok(Self { stop, scratch, keys, devchain, origin })
    }

    /// What is on the chain; put there first, if this is a new market.
    async fn founded(&self, config: &MarketConfig) -> Result<Founded, Failure> {
        let dir = config.data_dir.as_ref().map(DataDir::path);
        let known = dir.map(Founded::read).transpose()?.flatten();
        // One workerpool where some lie: whoever buys is then sure to meet them.
        let pools = 0..if config.liars == 0 { POOLS.len() } else { 1 };
        let owners: Vec<_> = pools.clone().map(|pool| self.keys.pool_owner(pool)).collect();
        let workers: Vec<Address> = pools
            .clone()
            .flat_map(|pool| (0..config.workers).map(move |worker| (pool, worker)))
            .map(|(pool, worker)| self.keys.worker(pool, worker).address())
            .collect();
        let services: Vec<Address> =
            owners.iter().map(|owner| owner.address()).chain(workers.iter().copied()).collect();
        founding::ether(&self.devchain.handle(), &services).await?;

        let contracts = match &known {
            Some(founded) => founded.contracts,
            None => founding::contracts(&self.origin.ws).await?,
        };
        let client = self.client(contracts.hub).await?;
        let stakes: Vec<(Address, Nrlc)> = owners
            .iter()
            .map(|owner| (owner.address(), SCHEDULER_STAKE))
            .chain(workers.into_iter().map(|worker| (worker, WORKER_STAKE)))
            .collect();
        let stakes = founding::stakes(&client, &stakes);
        let Some(founded) = known else {
            let registered =
                try_join_all(owners.into_iter().zip(POOLS).map(|(owner, (name, _))| {
                    let client = &client;
                    async move {
                        let wallet = Wallet::new(client, owner)
                            .await
                            .map_err(|e| founding::not_founded(&e))?;
                        founding::workerpool(&wallet, name).await
                    }
                }));
            let ((), workerpools) = tokio::try_join!(stakes, registered)?;
            let founded = Founded { contracts, workerpools };
            if let Some(dir) = dir {
                founded.write(dir)?;
            }
            return Ok(founded);
        };
        stakes.await?;
        let workerpools = founded.workerpools[..pools.end.min(founded.workerpools.len())].to_vec();
        Ok(Founded { workerpools, ..founded })
    }

    async fn client(&self, hub: Address) -> Result<Client, Failure> {
        Client::connect(&self.origin.ws, hub).await.map_err(|error| founding::not_founded(&error))
    }

    /// A place for one part: in the data directory, or for the length of this run.
    fn place(&self, config: &MarketConfig, part: &str) -> Result<PathBuf, Failure> {
        let root = config.data_dir.as_ref().map_or(self.scratch.path(), DataDir::path);
        let path = root.join(part);
        std::fs::create_dir_all(&path).or_fail(
            "GM-6003",
            Exit::Market,
            &format!("cannot make {}", path.display()),
        )?;
        Ok(path)
    }

    async fn store(&self, config: &MarketConfig, name: &str) -> Result<Store, Failure> {
        let opened = match &config.data_dir {
            Some(_) => {
                let path = self.place(config, "store")?.join(format!("{name}.sqlite"));
                Store::open(&path).await
            }
            None => Store::in_memory().await,
        };
        opened.or_fail("GM-6003", Exit::Market, &format!("the store '{name}' cannot be opened"))
    }
}

fn open_chain(config: &MarketConfig, dir: Option<&Path>) -> Result<DevChain, Failure> {
    let mining = config.block_time_ms.map_or(Mining::Instant, Mining::Interval);
    let chain = devchain::Config {
        chain_id: config.chain_id,
        data_dir: dir.map(|dir| dir.join("chain")),
        mining,
        accounts: crate::accounts::ACCOUNTS,
        ..devchain::Config::default()
    };
    DevChain::open(chain).map_err(|error| {
        Failure::new("GM-6001", Exit::Market, "the chain of this data directory cannot be opened")
            .because(chain_of(&error))
            .fix("the --chain-id that it was made with, another --data-dir, or --fresh to start over")
    })
}

/// The parts that serve, started but not all within reach yet.
struct Services {
    client: Client,
    market: MarketClient,
    orderbook: orderbook::Handle,
    vault: vault::Handle,
    blobs: Blobs,
    schedulers: Vec<scheduler::Handle>,
    workers: Vec<worker::Handle>,
}

impl Services {
    async fn start(
        ground: &Ground,
        founded: &Founded,
        config: &MarketConfig,
    ) -> Result<Self, Failure> {
        let client = ground.client(founded.contracts.hub).await?;
        let all_bytes_max = config.retention.policy.all_bytes_max;
        let limits = blobs::Limits { all_bytes_max, ..blobs::Limits::default() };
        let blobs = Blobs::open_with(&ground.place(config, "blobs")?, limits).or_fail(
            "GM-6003",
            Exit::Market,
            "the store of results cannot be opened",
        )?;
        let book = orderbook::Config::new(client.clone(), ground.store(config, "orderbook").await?);
        let orderbook = Orderbook::start(book, ground.stop.child_token()).await.or_fail(
            "GM-5012",
            Exit::Market,
            "the order book does not start",
        )?;
        let vault = vault_of(ground, &client, config).await?;
        // Schedulers publish their offers as soon as they start.
        ground.origin.let_in(wire::market::router(orderbook.api()).merge(vault.router()));
        let market = MarketClient::new(&ground.origin.url, config.chain_id).or_fail(
            "GM-5012",
            Exit::Market,
            "the market's own origin is not usable",
        )?;
        let mut services = Self {
            client,
            market,
            orderbook,
            vault,
            blobs,
            schedulers: Vec::new(),
            workers: Vec::new(),
        };
        let kept = ground.store(config, "schedulers").await?;
        for (pool, workerpool) in founded.workerpools.iter().enumerate() {
            let scheduler = services.scheduler(ground, pool, *workerpool, config, kept.clone());
            let scheduler = scheduler.await?;
            services.schedulers.push(scheduler);
        }
        Ok(services)
    }

    async fn scheduler(
        &self,
        ground: &Ground,
        pool: usize,
        workerpool: Address,
        config: &MarketConfig,
        store: Store,
    ) -> Result<scheduler::Handle, Failure> {
        let owner = ground.keys.pool_owner(pool);
        let wallet = Wallet::new(&self.client, owner)
            .await
            .map_err(|error| founding::not_founded(&error))?;
        let (_, price_nrlc) = POOLS[pool % POOLS.len()];
        let offers = OFFERED
            .iter()
            .map(|(category, times)| scheduler::Offer {
                category: CategoryId::new(*category),
                trust: trust_of(config.workers),
                price: Nrlc::new(price_nrlc * times),
                volume: OFFER_VOLUME,
            })
            .collect();
        let config = scheduler::Config {
            client: self.client.clone(),
            wallet,
            workerpool,
            store,
            results: Arc::new(self.blobs.clone()),
            market: Some(self.market.clone()),
            sms: self.vault.is_simulated().then(|| ground.origin.url.clone()),
            offers,
            workers: None,
            from_block: 0,
            limits: scheduler::Limits::default(),
            checks: config.checks,
            logs: scheduler::LogLimits::default(),
        };
        Scheduler::start(config).await.or_fail(
            "GM-5012",
            Exit::Market,
            "a scheduler does not start",
        )
    }

    /// Lets the services' routes in and gives the market's description.
    async fn open(
        &self,
        ground: &Ground,
        founded: &Founded,
        retention: Keeping,
    ) -> Result<Description, Failure> {
        let keeper = MarketKeeper {
            market: self.market.clone(),
            client: self.client.clone(),
            blobs: self.blobs.clone(),
        };
        let stop = ground.stop.clone();
        let keeper = std::future::ready(Some(keeper));
        tokio::spawn(keeper::keep(self.blobs.clone(), keeper, retention, stop));
        let described: Arc<OnceLock<Description>> = Arc::default();
        let schedulers = self.schedulers.iter();
        let routes = Router::new()
            .merge(wire::market::router(self.orderbook.api()))
            .merge(wire::scheduler::router(
                schedulers.clone().map(scheduler::Handle::api),
                UploadLimits::default(),
            ))
            .merge(wire::link::router(schedulers.map(scheduler::Handle::gate)))
            .merge(self.vault.router())
            .merge(feed(self.client.chain_id(), self.orderbook.changes(), FeedLimits::default()))
            .merge(self.blobs.router());
        let bare = describe(
            ground,
            founded,
            self.client.chain_id(),
            self.vault.is_simulated(),
            Vec::new(),
        );
        let signposts = Arc::new(Signposts { described: described.clone(), bare });
        let describe_now = {
            let signposts = signposts.clone();
            move || signposts.now().clone()
        };
        let routes = routes
            .merge(wire::compass::router(signposts))
            .merge(openapi::router(&Door::MARKET, env!("CARGO_PKG_VERSION")));
        ground.origin.let_in(routes.merge(description::router(describe_now)));
        let apps =
            apps::register(&self.client, &self.market, &self.blobs, self.vault.is_simulated())
                .await?;
        let description =
            describe(ground, founded, self.client.chain_id(), self.vault.is_simulated(), apps);
        Ok(described.get_or_init(|| description).clone())
    }

    /// Starts the workers and waits until all of them are at their schedulers and all offers are in the book.
    async fn ready(
        &mut self,
        ground: &Ground,
        founded: &Founded,
        config: &MarketConfig,
    ) -> Result<(), Failure> {
        let place = ground.place(config, "workers")?;
        let sandbox = Sandbox::new(&config.engine.sandbox(place.join("sandbox"))).or_fail(
            "GM-5012",
            Exit::Market,
            "the sandbox does not start",
        )?;
        let store = ground.store(config, "workers").await?;
        let gpus = config.engine.gpu_names(&sandbox);
        let networked = config.engine.networked.clone();
        let place = Workplace { dir: &place, sandbox, store, gpus, networked };
        let honest = config.workers - config.liars;
        self.start_workers(ground, founded, 0..honest, false, &place).await?;
        self.all_there_in_time().await?;
        if config.liars > 0 {
            let access = Access::to(&ground.origin.url).await?;
            let veterans: Vec<Address> =
                (0..honest).map(|number| ground.keys.worker(0, number).address()).collect();
            veterans::earn(&access, &veterans).await?;
            self.start_workers(ground, founded, honest..config.workers, true, &place).await?;
            self.all_there_in_time().await?;
        }
        Ok(())
    }

    /// Starts those numbers of every workerpool's workers.
    async fn start_workers(
        &mut self,
        ground: &Ground,
        founded: &Founded,
        numbers: Range<usize>,
        lie: bool,
        place: &Workplace<'_>,
    ) -> Result<(), Failure> {
        for (pool, workerpool) in founded.workerpools.iter().enumerate() {
            for number in numbers.clone() {
                let config = worker::Config {
                    scheduler: ground.origin.url.clone(),
                    workerpool: *workerpool,
                    client: self.client.clone(),
                    signer: ground.keys.worker(pool, number),
                    sandbox: place.sandbox.clone(),
                    gateway: ground.origin.url.clone(),
                    store: place.store.clone(),
                    dir: place.dir.join(format!("{pool}-{number}")),
                    slots: SLOTS,
                    machine: worker::Machine {
                        gpus: place.gpus.clone(),
                        networked: place.networked.clone(),
                        ..worker::Machine::default()
                    },
                    drain: Duration::ZERO,
                    allow_private: false,
                    tee: if self.vault.is_simulated() {
                        worker::Tee::SimulatedTdx
                    } else {
                        worker::Tee::Off
                    },
                    lie,
                };
                let handle = Worker::start(config, ground.stop.child_token()).await.or_fail(
                    "GM-5012",
                    Exit::Market,
                    "a worker does not start",
                )?;
                self.workers.push(handle);
            }
        }
        Ok(())
    }

    async fn all_there_in_time(&self) -> Result<(), Failure> {
        tokio::time::timeout(READY_WITHIN, self.all_there()).await.map_err(|_| {
            Failure::new("GM-5012", Exit::Market, "the market does not get ready").because(format!(
                "after {} s some workers or offers are still missing",
                READY_WITHIN.as_secs()
            ))
        })?
    }

    async fn all_there(&self) -> Result<(), Failure> {
        for worker in &self.workers {
            if !worker.connected().await {
                return Err(stopped("a worker"));
            }
        }
        for scheduler in &self.schedulers {
            if !scheduler.ready().await {
                return Err(stopped("a scheduler"));
            }
        }
        Ok(())
    }
}

/// The vault of this market, which gives secrets to simulated enclaves where that is allowed.
async fn vault_of(
    ground: &Ground,
    client: &Client,
    config: &MarketConfig,
) -> Result<vault::Handle, Failure> {
    let key = vault::KeySource::File(ground.place(config, "vault")?.join("storage.key"));
    let store = ground.store(config, "vault").await?;
    let mut vault = vault::Config::new(client.clone(), store, key, ground.origin.url.clone());
    vault.ipfs_gateway = Some(ground.origin.url.clone());
    vault.simulate_in_public = config.simulate_tee_in_public;
    if config.simulates_tee() {
        vault.tee = vault::Tee::SimulatedTdx;
    }
    vault::Vault::start(vault, ground.stop.child_token())
        .await
        .map_err(|error| Failure::told(&error.failure(), Exit::Market))
}

/// What this market says of itself, so far: apps are known a little later than the rest.
struct Signposts {
    described: Arc<OnceLock<Description>>,
    bare: Description,
}

impl Signposts {
    fn now(&self) -> &Description {
        self.described.get().unwrap_or(&self.bare)
    }
}

impl Compass for Signposts {
    fn workerpool(&self, chain_id: u64, workerpool: Address) -> Option<WorkerpoolEntry> {
        self.now().workerpool(chain_id, workerpool)
    }

    fn iapp(&self, chain_id: u64, name: &str) -> Option<Address> {
        self.now().iapp(chain_id, name)
    }
}

/// What workers of one process share.
struct Workplace<'a> {
    dir: &'a Path,
    sandbox: Sandbox,
    store: Store,
    gpus: Vec<String>,
    networked: worker::Networked,
}

fn stopped(what: &str) -> Failure {
    Failure::new("GM-5012", Exit::Market, format!("{what} stopped before the market was ready"))
        .fix("-v tells why")
}

fn describe(
    ground: &Ground,
    founded: &Founded,
    chain_id: u64,
    simulates_tee: bool,
    apps: Vec<description::App>,
) -> Description {
    let origin = Origin::text(&ground.origin.url);
    let contracts = &founded.contracts;
    Description {
        rpc: origin.clone(),
        ws: Origin::text(&ground.origin.ws),
        chain_id,
        contracts: description::Contracts {
            hub: contracts.hub,
            rlc: contracts.rlc,
            app_registry: contracts.app_registry,
            dataset_registry: contracts.dataset_registry,
            workerpool_registry: contracts.workerpool_registry,
        },
        workerpools: founded
            .workerpools
            .iter()
            .zip(POOLS)
            .map(|(address, (name, _))| description::Workerpool {
                address: *address,
                description: Some(name.to_owned()),
                api_url: Some(origin.clone()),
            })
            .collect(),
        apps,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway: None,
        sms: None,
        simulated: simulates_tee.then_some(true),
        origin,
    }
}

/// The most trust that so many newcomers can give: each of them doubles it.
fn trust_of(workers: usize) -> U256 {
    U256::from(1) << workers.min(30)
}
