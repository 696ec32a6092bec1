//! The services apart: each verb here runs one of them alone, as `gristmill.toml` says.
//!
//! ```text
//!   chain serve ◀── JSON-RPC ── orderbook · scheduler · worker          each its own process, each on its own port
//!                               vault · compass
//!                               scheduler ◀── websocket ── worker
//!                               gateway   ◀── http ─────── scheduler, worker, requesters
//! ```
//! They find each other by URL only, so each may be on another machine, and each may be killed and started again at any
//! moment: what it needs to go on is on the chain and in its data directory. Not here: what the services do, and a market
//! in one process (`market`).

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use axum::Router;
use blobs::{Blobs, Uploads};
use chain::{Client, Wallet};
use devchain::{DevChain, Mining};
use orderbook::Orderbook;
use primitives::{CategoryId, Nrlc};
use sandbox::Sandbox;
use scheduler::Scheduler;
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;
use url::Url;
use vault::{KeySource, Vault};
use wire::description::{self, Description};
use wire::ipfs::IpfsClient;
use wire::market::{FeedLimits, MarketClient, feed};
use wire::openapi::{self, Door};
use wire::scheduler::UploadLimits;
use worker::Worker;

use crate::args::ServiceArgs;
use crate::failure::{Exit, Failure, OrFail};
use crate::home::DataDir;
use crate::keeper;
use crate::market::Origin;
use crate::means::{self, Engine};
use crate::settings::Settings;
use crate::up::interrupted;

mod results;
mod warn;

/// Tasks per order, when the offer does not say.
const OFFER_VOLUME: u64 = 100;

/// A service that can run apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The embedded chain.
    Chain,
    /// The order book.
    Orderbook,
    /// Inputs and results.
    Gateway,
    /// A workerpool's scheduler.
    Scheduler,
    /// Secrets.
    Vault,
    /// Where workerpools answer.
    Compass,
    /// A worker.
    Worker,
}

impl Service {
    /// Its name, as in settings and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Orderbook => "orderbook",
            Self::Gateway => "gateway",
            Self::Scheduler => "scheduler",
            Self::Vault => "vault",
            Self::Compass => "compass",
            Self::Worker => "worker",
        }
    }
}

/// Runs a service until Ctrl-C or a polite request to end. Says on stdout, in one line of JSON, when and where it is ready.
///
/// # Errors
/// GM-5005 the port is taken, GM-5012 the service does not start, GM-5014 the chain does not answer, GM-6001 to GM-6003 the
/// data directory cannot be used, GM-5015 and GM-5016 settings.
pub async fn serve(service: Service, args: ServiceArgs) -> Result<(), Failure> {
    let settings = Settings::load(args.config.as_deref(), &args.set)?;
    let stop = CancellationToken::new();
    let place = Place { settings, service, stop: stop.clone() };
    match service {
        Service::Chain => place.chain().await,
        Service::Orderbook => place.orderbook().await,
        Service::Gateway => place.gateway().await,
        Service::Scheduler => place.scheduler().await,
        Service::Vault => place.vault().await,
        Service::Compass => place.compass().await,
        Service::Worker => place.worker().await,
    }
}

/// `gristmill config show`: every value in force, and where it came from.
///
/// # Errors
/// GM-5015 a setting makes no sense.
pub fn show(args: &ServiceArgs, as_json: bool) -> Result<(), Failure> {
    let settings = Settings::load(args.config.as_deref(), &args.set)?;
    let text = if as_json {
        let all: serde_json::Map<_, _> = settings
            .all()
            .map(|(name, value, source)| {
                (name.to_owned(), json!({ "value": value, "source": source.to_string() }))
            })
            .collect();
        format!("{}\n", serde_json::Value::Object(all))
    } else {
        settings
            .all()
            .map(|(name, value, source)| format!("{name:<28} {value:<44} {source}\n"))
            .collect()
    };
    // Whoever asked may have stopped listening.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// What a service starts from.
struct Place {
    settings: Settings,
    service: Service,
    stop: CancellationToken,
}

impl Place {
    async fn chain(self) -> Result<(), Failure> {
        let dir = self.data_dir()?;
        let block_time = self.settings.get("chain.block_time_ms")?;
        let config = devchain::Config {
            chain_id: self.settings.need("chain.id")?,
            data_dir: dir.as_ref().map(|dir| dir.path().join("chain")),
            mining: block_time.map_or(Mining::Instant, Mining::Interval),
            accounts: crate::accounts::ACCOUNTS,
            ..devchain::Config::default()
        };
        let chain = DevChain::open(config).or_fail(
            "GM-6001",
            Exit::Market,
            "the chain of this data directory cannot be opened",
        )?;
        let origin = self.listen(chain.router()).await?;
        self.run(&origin, json!({ "ws": Origin::text(&origin.ws) })).await;
        origin.into_task().abort();
        chain.shutdown().await.or_fail("GM-6003", Exit::Market, "the chain was not closed in order")
    }

    async fn orderbook(self) -> Result<(), Failure> {
        let dir = self.data_dir()?;
        let client = self.client().await?;
        let mut config =
            orderbook::Config::new(client.clone(), store(dir.as_ref(), "orderbook").await?);
        config.start_block = self.settings.need("market.start_block")?;
        let book = Orderbook::start(config, self.stop.child_token()).await.or_fail(
            "GM-5012",
            Exit::Market,
            "the order book does not start",
        )?;
        let origin = self.listen(wire::market::router(book.api())).await?;
        let description = self.describe(&client, &origin)?;
        let feed = feed(client.chain_id(), book.changes(), FeedLimits::default());
        let docs = docs(&[Door::Market, Door::Feed, Door::Description]);
        let described = description::router(move || description.clone());
        origin.let_in(feed.merge(docs).merge(described));
        self.run(&origin, json!({})).await;
        origin.closed().await;
        Ok(())
    }

    async fn gateway(self) -> Result<(), Failure> {
        let dir = self.need_data_dir()?;
        let keeping = means::retention(&self.settings)?;
        let all_bytes_max = keeping.policy.all_bytes_max;
        let limits = blobs::Limits { all_bytes_max, ..blobs::Limits::default() };
        let blobs = Blobs::open_with(&dir.path().join("blobs"), limits).or_fail(
            "GM-6003",
            Exit::Market,
            "the store of inputs and results cannot be opened",
        )?;
        let origin = self.listen(blobs.router().merge(docs(&[Door::Ipfs]))).await?;
        let keeper = keeper::configured(self.settings.clone(), blobs.clone());
        tokio::spawn(keeper::keep(blobs, keeper, keeping, self.stop.clone()));
        self.run(&origin, json!({})).await;
        origin.closed().await;
        Ok(())
    }

    async fn scheduler(self) -> Result<(), Failure> {
        let dir = self.data_dir()?;
        let client = self.client().await?;
        let signer = self.key("scheduler.key_file")?;
        let wallet = Wallet::new(&client, signer).await.map_err(|error| silent_chain(&error))?;
        let scratch = tempfile::Builder::new().prefix("gristmill-uploads-").tempdir().or_fail(
            "GM-6003",
            Exit::Market,
            "there is no temporary directory",
        )?;
        let market = match self.settings.get::<Url>("market.orderbook")? {
            Some(url) => Some(MarketClient::new(&url, client.chain_id()).or_fail(
                "GM-5015",
                Exit::Usage,
                "market.orderbook cannot be used",
            )?),
            None => None,
        };
        let config = scheduler::Config {
            wallet,
            workerpool: self.settings.need("scheduler.workerpool")?,
            store: store(dir.as_ref(), "scheduler").await?,
            results: Arc::new(self.results(dir.as_ref(), &scratch)?),
            market,
            sms: self.settings.get("market.sms")?,
            offers: self.offers()?,
            workers: None,
            from_block: self.settings.need("market.start_block")?,
            limits: scheduler::Limits::default(),
            checks: self.settings.need("scheduler.canary_rate")?,
            logs: self.logs()?,
            client,
        };
        let scheduler = Scheduler::start(config).await.or_fail(
            "GM-5012",
            Exit::Market,
            "the scheduler does not start",
        )?;
        let routes = wire::scheduler::router([scheduler.api()], UploadLimits::default())
            .merge(wire::link::router([scheduler.gate()]))
            .merge(docs(&[Door::Scheduler]));
        let origin = self.listen(routes).await?;
        self.run(&origin, json!({ "workerpool": scheduler.workerpool().to_string() })).await;
        scheduler.shutdown().await;
        origin.closed().await;
        Ok(())
    }

    async fn vault(self) -> Result<(), Failure> {
        let dir = self.need_data_dir()?;
        let client = self.client().await?;
        let key = self.settings.get("vault.key")?;
        let key = key.unwrap_or_else(|| KeySource::File(dir.path().join("storage.key")));
        // The listener is opened first: where it is belongs to what sessions say.
        let origin = self.listen(Router::new()).await?;
        let public_url = self.settings.get("market.sms")?.unwrap_or_else(|| origin.url.clone());
        let store = store(Some(&dir), "vault").await?;
        let mut config = vault::Config::new(client, store, key, public_url);
        config.older_keys = self.settings.get("vault.older_key")?.into_iter().collect();
        config.ipfs_gateway = self.settings.get("market.gateway")?;
        config.simulate_in_public = self.settings.need("vault.simulate_tee_in_public")?;
        if config.simulate_in_public || self.settings.need("vault.simulate_tee")? {
            config.tee = vault::Tee::SimulatedTdx;
        }
        let vault = Vault::start(config, self.stop.child_token())
            .await
            .map_err(|error| Failure::told(&error.failure(), Exit::Market))?;
        let backups = self.backups(&dir)?.map(|backups| vault.operator(backups));
        let routes = vault.standalone().merge(docs(&[Door::SecretsApart]));
        origin.let_in(routes.merge(backups.unwrap_or_default()));
        self.run(&origin, json!({ "simulated": vault.is_simulated() })).await;
        origin.closed().await;
        Ok(())
    }

    /// Where backups are kept, if somebody may make them.
    fn backups(&self, dir: &DataDir) -> Result<Option<vault::Backups>, Failure> {
        let Some(file) = self.settings.get::<PathBuf>("vault.admin_key_file")? else {
            return Ok(None);
        };
        let directory = self.settings.get("vault.backup_dir")?;
        let directory = directory.unwrap_or_else(|| dir.path().join("backups"));
        vault::Backups::read(&file, directory)
            .map(Some)
            .map_err(|error| Failure::told(&error.failure(), Exit::Usage))
    }

    async fn compass(self) -> Result<(), Failure> {
        let client = self.client().await?;
        let origin = self.listen(Router::new()).await?;
        let known = self.describe(&client, &origin)?;
        let routes = wire::compass::router(Arc::new(known));
        origin.let_in(routes.merge(docs(&[Door::Compass])));
        self.run(&origin, json!({})).await;
        origin.closed().await;
        Ok(())
    }

    async fn worker(self) -> Result<(), Failure> {
        let dir = self.data_dir()?;
        let scratch;
        let root = match &dir {
            Some(dir) => dir.path(),
            None => {
                scratch = tempfile::Builder::new().prefix("gristmill-worker-").tempdir().or_fail(
                    "GM-6003",
                    Exit::Market,
                    "there is no temporary directory",
                )?;
                scratch.path()
            }
        };
        let engine = Engine::read(&self.settings)?;
        let cpus = engine.cpus;
        let config = engine.sandbox(root.join("sandbox"));
        let sandbox =
            Sandbox::new(&config).or_fail("GM-5012", Exit::Market, "the sandbox does not start")?;
        let signer = self.key("worker.key_file")?;
        let address = signer.address();
        let names = engine.gpu_names(&sandbox);
        let slots = self.settings.get("worker.slots")?.unwrap_or(cpus.saturating_mul(4));
        let config = worker::Config {
            scheduler: self.settings.need("worker.scheduler")?,
            workerpool: self.settings.need("worker.workerpool")?,
            client: self.client().await?,
            signer,
            sandbox,
            gateway: self.settings.need("market.gateway")?,
            store: store(dir.as_ref(), "worker").await?,
            dir: root.join("work"),
            slots,
            machine: worker::Machine { networked: engine.networked, ..self.machine(cpus, names)? },
            drain: self.seconds("worker.drain_seconds")?,
            allow_private: self.settings.need("worker.allow_private")?,
            tee: if self.settings.need("worker.simulate_tee")? {
                worker::Tee::SimulatedTdx
            } else {
                worker::Tee::Off
            },
            lie: false,
        };
        let (client, scheduler) = (config.client.clone(), config.scheduler.clone());
        let worker = Worker::start(config, self.stop.child_token()).await.or_fail(
            "GM-5012",
            Exit::Market,
            "the worker does not start",
        )?;
        tokio::spawn(warn::if_poor(client, address));
        tokio::spawn(warn::if_alone(worker.state(), scheduler));
        let interruption = interrupted();
        self.say(json!({ "worker": address.to_string() }));
        tokio::select! {
            () = interruption => {}
            () = worker.stopped() => return Ok(()),
        }
        // What was begun is finished or handed back; nothing new is taken. Who asks twice does not want to wait.
        worker.drain();
        tokio::select! {
            () = worker.stopped() => {}
            () = interrupted() => {
                self.stop.cancel();
                worker.stopped().await;
            }
        }
        Ok(())
    }

    /// What of its machine the worker offers.
    fn machine(&self, cpus: usize, gpus: Vec<String>) -> Result<worker::Machine, Failure> {
        let mib = |name: &str| -> Result<Option<u64>, Failure> {
            Ok(self.settings.get::<u64>(name)?.map(|mib| mib.saturating_mul(1 << 20)))
        };
        let when_idle = match self.settings.need("worker.when_idle")? {
            false => None,
            true => Some(worker::WhenIdle {
                policy: worker::Policy {
                    busy_percent: self.settings.need("worker.idle_percent")?,
                    calm: self.seconds("worker.idle_calm_seconds")?,
                    patience: self.seconds("worker.idle_patience_seconds")?,
                },
                file: self.settings.get("worker.idle_file")?,
            }),
        };
        Ok(worker::Machine {
            cpus: Some(cpus),
            memory_bytes: mib("worker.memory_mb")?,
            disk_bytes: mib("worker.disk_mb")?,
            gpus,
            region: self.settings.get("worker.region")?,
            host: self.settings.get("worker.host")?,
            owner: self.settings.get("worker.owner")?,
            price_floor: self.settings.get("worker.price_floor")?.unwrap_or(Nrlc::ZERO),
            when_idle,
            networked: worker::Networked::default(),
        })
    }

    /// How much of what programs print the scheduler keeps.
    fn logs(&self) -> Result<scheduler::LogLimits, Failure> {
        let days: u64 = self.settings.need("scheduler.logs_days")?;
        let mib: u64 = self.settings.need("scheduler.logs_mb")?;
        Ok(scheduler::LogLimits {
            keep: Duration::from_secs(days.saturating_mul(24 * 3_600)),
            all_bytes: mib.saturating_mul(1 << 20),
            ..scheduler::LogLimits::default()
        })
    }

    fn seconds(&self, name: &str) -> Result<Duration, Failure> {
        self.settings.need(name).map(Duration::from_secs)
    }

    /// Waits for the end, after saying where the service is.
    async fn run(&self, origin: &Origin, mut more: serde_json::Value) {
        more["url"] = Origin::text(&origin.url).into();
        let interruption = interrupted();
        self.say(more);
        interruption.await;
        self.stop.cancel();
    }

    fn say(&self, mut what: serde_json::Value) {
        what["service"] = self.service.name().into();
        let mut stdout = std::io::stdout().lock();
        // Whoever started us may have stopped listening; the service runs all the same.
        let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.service.name())
    }

    async fn listen(&self, routes: Router) -> Result<Origin, Failure> {
        let host: IpAddr = self.settings.need(&self.name("host"))?;
        let port = self.settings.need(&self.name("port"))?;
        let opened = Origin::open(host, port, routes, self.stop.clone()).await;
        opened.map_err(|failure| {
            failure.fix(format!("another {}; 0 takes a free one", self.name("port")))
        })
    }

    fn data_dir(&self) -> Result<Option<DataDir>, Failure> {
        let path: Option<PathBuf> = self.settings.get(&self.name("data_dir"))?;
        path.map(|path| self.open(&path)).transpose()
    }

    fn need_data_dir(&self) -> Result<DataDir, Failure> {
        let path: PathBuf = self.settings.need(&self.name("data_dir"))?;
        self.open(&path)
    }

    fn open(&self, path: &Path) -> Result<DataDir, Failure> {
        let name = self.name("data_dir");
        DataDir::open(path, false).map_err(|failure| match failure.code.as_str() {
            "GM-6001" => failure
                .fix(format!("use the gristmill that made it, or name another directory: {name}")),
            "GM-6002" => failure.fix(format!("stop it, or name another directory: {name}")),
            _ => failure.fix(format!("make it writable, or name another directory: {name}")),
        })
    }

    async fn client(&self) -> Result<Client, Failure> {
        let rpc: Url = self.settings.need("market.rpc")?;
        let hub: Address = self.settings.need("market.hub")?;
        Client::connect(&rpc, hub).await.map_err(|error| silent_chain(&error))
    }

    fn key(&self, name: &str) -> Result<PrivateKeySigner, Failure> {
        crate::accounts::read_key(&self.settings.need::<PathBuf>(name)?)
    }

    /// The gateway as a place for results, with room of its own for what is on its way there.
    fn results(
        &self,
        dir: Option<&DataDir>,
        scratch: &tempfile::TempDir,
    ) -> Result<results::Remote, Failure> {
        let root = dir.map_or(scratch.path(), DataDir::path);
        let uploads = uploads(dir, scratch)?;
        tokio::spawn(keeper::keep_uploads(uploads.clone(), self.stop.clone()));
        results::Remote::new(self.gateway_client()?, uploads, root).or_fail(
            "GM-6003",
            Exit::Market,
            "the directory of results on their way cannot be used",
        )
    }

    fn gateway_client(&self) -> Result<IpfsClient, Failure> {
        let url: Url = self.settings.need("market.gateway")?;
        IpfsClient::new(&url).or_fail("GM-5015", Exit::Usage, "market.gateway cannot be used")
    }

    fn offers(&self) -> Result<Vec<scheduler::Offer>, Failure> {
        (0..self.settings.count("scheduler.offers"))
            .map(|index| {
                let name = |key: &str| format!("scheduler.offers.{index}.{key}");
                Ok(scheduler::Offer {
                    category: CategoryId::new(self.settings.need(&name("category"))?),
                    trust: self
                        .settings
                        .get(&name("trust"))?
                        .unwrap_or(alloy_primitives::U256::ONE),
                    price: self.settings.need::<Nrlc>(&name("price"))?,
                    volume: self.settings.get(&name("volume"))?.unwrap_or(OFFER_VOLUME),
                })
            })
            .collect()
    }

    fn workerpools(&self) -> Result<Vec<description::Workerpool>, Failure> {
        (0..self.settings.count("market.workerpools"))
            .map(|index| {
                let name = |key: &str| format!("market.workerpools.{index}.{key}");
                Ok(description::Workerpool {
                    address: self.settings.need(&name("address"))?,
                    description: self.settings.get(&name("description"))?,
                    api_url: self.settings.get::<Url>(&name("url"))?.map(|url| Origin::text(&url)),
                })
            })
            .collect()
    }

    fn apps(&self) -> Result<Vec<description::App>, Failure> {
        (0..self.settings.count("market.apps"))
            .map(|index| {
                let name = |key: &str| format!("market.apps.{index}.{key}");
                Ok(description::App {
                    name: self.settings.need(&name("name"))?,
                    address: self.settings.need(&name("address"))?,
                })
            })
            .collect()
    }

    /// What a requester must know, told by the order book since everybody asks it first.
    fn describe(&self, client: &Client, origin: &Origin) -> Result<Description, Failure> {
        let rpc: Url = self.settings.need("market.rpc")?;
        let text = |name: &str| -> Result<Option<String>, Failure> {
            Ok(self.settings.get::<Url>(name)?.map(|url| Origin::text(&url)))
        };
        let contracts = client.contracts();
        let is_secure = matches!(rpc.scheme(), "https" | "wss");
        let spoken_by = |plain: &str| {
            let mut url = rpc.clone();
            // Between http and ws, with or without TLS, a change of scheme is always taken.
            let _ = url.set_scheme(&if is_secure { format!("{plain}s") } else { plain.to_owned() });
            Origin::text(&url)
        };
        Ok(Description {
            origin: text("market.orderbook")?.unwrap_or_else(|| Origin::text(&origin.url)),
            rpc: spoken_by("http"),
            ws: spoken_by("ws"),
            chain_id: client.chain_id(),
            contracts: description::Contracts {
                hub: contracts.hub,
                rlc: contracts.rlc,
                app_registry: contracts.app_registry,
                dataset_registry: contracts.dataset_registry,
                workerpool_registry: contracts.workerpool_registry,
            },
            workerpools: self.workerpools()?,
            apps: self.apps()?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: None,
            gateway: text("market.gateway")?,
            sms: text("market.sms")?,
        })
    }
}

/// The description of a service with those doors.
fn docs(doors: &[Door]) -> Router {
    openapi::router(doors, env!("CARGO_PKG_VERSION"))
}

/// Where a scheduler gathers results that come in parts.
fn uploads(dir: Option<&DataDir>, scratch: &tempfile::TempDir) -> Result<Uploads, Failure> {
    let root = dir.map_or(scratch.path(), DataDir::path);
    Uploads::open(&root.join("uploads"), blobs::Limits::default()).or_fail(
        "GM-6003",
        Exit::Market,
        "the directory of uploads cannot be used",
    )
}

async fn store(dir: Option<&DataDir>, name: &str) -> Result<Store, Failure> {
    let opened = match dir {
        Some(dir) => Store::open(&place_in(dir.path(), name)?).await,
        None => Store::in_memory().await,
    };
    opened.or_fail("GM-6003", Exit::Market, &format!("the store '{name}' cannot be opened"))
}

fn place_in(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let stores = dir.join("store");
    std::fs::create_dir_all(&stores).or_fail(
        "GM-6003",
        Exit::Market,
        &format!("cannot make {}", stores.display()),
    )?;
    Ok(stores.join(format!("{name}.sqlite")))
}

/// A chain, or a hub on it, that does not answer.
pub(crate) fn silent_chain(error: &chain::Error) -> Failure {
    Failure::new("GM-5014", Exit::Market, "the chain or the hub on it does not answer")
        .because(crate::failure::chain_of(error))
        .fix("check market.rpc and market.hub: gristmill config show")
}
