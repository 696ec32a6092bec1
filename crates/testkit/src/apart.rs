//! A market of separate processes: chain, order book, gateway, scheduler and workers, each killed and started alone.
//!
//! It is put together as an operator would: the chain is served, contracts are deployed on it, a workerpool is registered,
//! stakes are deposited, and every service is told by settings where the others are. Between them there may be proxies that
//! misbehave ([`crate::faults`]): then nobody but this test kit reaches a service directly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::coins_bip39::English;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use anyhow::{Context, Result, bail, ensure};
use chain::Client;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;
use url::Url;

use crate::command::{Gristmill, Ran, peak_bytes};
use crate::faults::{Proxy, Speech, Weather};
use crate::remains;

/// How long a service may take to be ready or to end; it takes far less.
const PATIENCE: Duration = Duration::from_secs(240);
/// The mnemonic of Ethereum's test tools, from which the embedded chain funds its accounts.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Whose account deploys, owns the workerpool, and buys.
const OWNER: u32 = 0;
/// Whose account the first worker has; others follow.
const FIRST_WORKER: u32 = 4;
/// Whose accounts have ether and nothing else.
const FIRST_STRANGER: u32 = 12;

/// A running service. Killed when dropped.
pub struct Service {
    child: Child,
    said: Value,
}

impl Service {
    async fn start(
        gristmill: &Gristmill,
        name: &str,
        arguments: Vec<String>,
        temp: &Path,
    ) -> Result<Self> {
        std::fs::create_dir_all(temp)?;
        let path = gristmill.home().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(&path)?;
        let mut child = gristmill
            .command(arguments)
            .env("TMPDIR", temp)
            .stderr(Stdio::from(log))
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        timeout(PATIENCE, stdout.read_line(&mut line))
            .await
            .with_context(|| format!("{name} is not ready"))??;
        let Ok(said) = serde_json::from_str(&line) else {
            bail!("{name} did not start: {line}{}", std::fs::read_to_string(&path)?);
        };
        // Nothing else is said on stdout, but a pipe nobody reads could stop the one who writes.
        tokio::spawn(async move { stdout.read_to_end(&mut Vec::new()).await });
        Ok(Self { child, said })
    }

    /// What it said when it was ready.
    pub fn said(&self) -> &Value {
        &self.said
    }

    /// How it ended, if nobody asked it to.
    pub fn ended(&mut self) -> Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    /// Where it answers.
    pub fn url(&self) -> Result<Url> {
        self.url_at("url")
    }

    fn url_at(&self, key: &str) -> Result<Url> {
        Ok(self.said[key].as_str().context("a service says where it is")?.parse()?)
    }

    /// Kills it in the midst of whatever it does.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> Result<Option<i32>> {
        let id = self.child.id().context("the service has ended already")?.to_string();
        let sent = tokio::process::Command::new("kill").args(["-s", "TERM", &id]).status().await?;
        anyhow::ensure!(sent.success(), "cannot signal {id}");
        let status = timeout(PATIENCE, self.child.wait()).await.context("it goes on")??;
        Ok(status.code())
    }
}

/// What such a market is made of.
#[derive(Debug, Clone, Copy)]
pub struct ApartConfig {
    /// Workers of its one workerpool.
    pub workers: u32,
    /// Whether there is a vault.
    pub vault: bool,
    /// A proxy before each service, with that seed; fair weather until [`Apart::storm`].
    pub faults: Option<(u64, Weather)>,
}

/// A market of separate processes. All are killed when it is dropped.
pub struct Apart {
    gristmill: Gristmill,
    config: ApartConfig,
    settings: Mutex<BTreeMap<String, String>>,
    services: BTreeMap<String, tokio::sync::Mutex<Option<Service>>>,
    proxies: BTreeMap<&'static str, Proxy>,
    /// Where the services are themselves.
    direct: Mutex<BTreeMap<String, Url>>,
}

impl Apart {
    /// Puts the market up, and starts everything.
    ///
    /// # Errors
    /// If a part does not get ready; with everything it said.
    pub async fn start(gristmill: &Gristmill, workers: u32) -> Result<Self> {
        Self::start_with(gristmill, ApartConfig { workers, vault: false, faults: None }).await
    }

    /// The same of other parts.
    pub async fn start_with(gristmill: &Gristmill, config: ApartConfig) -> Result<Self> {
        let mut market = Self {
            gristmill: gristmill.clone(),
            config,
            settings: Mutex::default(),
            services: BTreeMap::new(),
            proxies: BTreeMap::new(),
            direct: Mutex::default(),
        };
        for name in market.names() {
            market.services.insert(name, tokio::sync::Mutex::default());
        }
        market.stand_between().await?;
        market.found().await?;
        for name in market.names().into_iter().filter(|name| name != "chain") {
            market.restart(&name).await?;
        }
        Ok(market)
    }

    /// The names of the services: `chain`, `gateway`, `orderbook`, `scheduler`, `worker-0` and so on.
    pub fn names(&self) -> Vec<String> {
        let fixed = ["chain", "gateway", "orderbook"].map(str::to_owned).into_iter();
        fixed
            .chain(self.config.vault.then(|| "vault".to_owned()))
            .chain(["scheduler".to_owned()])
            .chain((0..self.config.workers).map(|number| format!("worker-{number}")))
            .collect()
    }

    /// Starts a service that does not run, where it was before.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let mut place = self.place(name)?.lock().await;
        ensure!(place.is_none(), "{name} runs already");
        let (section, arguments) = self.command_line(name)?;
        let service =
            Service::start(&self.gristmill, name, arguments, &self.temp_dir(name)).await?;
        if section != "worker" {
            self.note_address(section, &service)?;
        }
        *place = Some(service);
        Ok(())
    }

    /// Starts one more service of this market, with further settings; it is the caller's to stop.
    pub async fn start_beside(&self, name: &str, further: &[(&str, String)]) -> Result<Service> {
        let mut arguments = vec![name.to_owned()];
        let mut settings = self.settings.lock().clone();
        settings.insert(format!("{name}.port"), "0".to_owned());
        settings.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        for (key, value) in settings {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        Service::start(&self.gristmill, name, arguments, &self.temp_dir(name)).await
    }

    /// How a service is started: its section of the settings, and the arguments.
    fn command_line(&self, name: &str) -> Result<(&'static str, Vec<String>)> {
        let mut set = self.settings.lock().clone();
        let verb: &[&'static str] = match name {
            "chain" => &["chain", "serve"],
            "gateway" => &["gateway"],
            "orderbook" => &["orderbook"],
            "scheduler" => &["scheduler"],
            "vault" => &["vault"],
            _ => {
                set.insert("worker.key_file".into(), self.key_file(worker_index(name)?)?);
                &["worker"]
            }
        };
        let section = verb[0];
        set.insert(format!("{section}.data_dir"), self.data_dir(name).display().to_string());
        if section != "worker" {
            set.entry(format!("{section}.port")).or_insert_with(|| "0".into());
        }
        let mut arguments: Vec<String> = verb.iter().map(|part| (*part).to_owned()).collect();
        for (key, value) in &set {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        arguments.push("-v".to_owned());
        Ok((section, arguments))
    }

    /// Sees to it that the others find a service that has just started.
    fn note_address(&self, section: &'static str, service: &Service) -> Result<()> {
        let key = if section == "chain" { "ws" } else { "url" };
        let url = service.url_at(key)?;
        self.direct.lock().insert(section.to_owned(), url.clone());
        let mut settings = self.settings.lock();
        if let Some(proxy) = self.proxies.get(section) {
            // Wherever it is the next time, the proxy stays where it is.
            proxy.point_at(url.socket_addrs(|| None)?.first().copied().context("an address")?);
            return Ok(());
        }
        let port = url.port().context("a service has a port")?;
        settings.insert(format!("{section}.port"), port.to_string());
        settings.insert(known_as(section).to_owned(), url.to_string());
        Ok(())
    }

    async fn stand_between(&mut self) -> Result<()> {
        let Some((seed, weather)) = self.config.faults else { return Ok(()) };
        for section in ["chain", "gateway", "orderbook", "scheduler", "vault"] {
            let speech = if section == "chain" { Speech::JsonRpc } else { Speech::Bytes };
            let proxy = Proxy::start(section, seed, speech, weather).await?;
            let scheme = if section == "chain" { "ws" } else { "http" };
            let url = format!("{scheme}://{}", proxy.address());
            self.settings.lock().insert(known_as(section).to_owned(), url);
            self.proxies.insert(section, proxy);
        }
        Ok(())
    }

    /// Begins or ends the misbehaviour of the proxies.
    pub fn storm(&self, is_on: bool) {
        self.proxies.values().for_each(|proxy| proxy.storm(is_on));
    }

    /// The proxy before a service: `gateway`, `scheduler` and so on.
    pub fn proxy(&self, section: &str) -> Result<&Proxy> {
        self.proxies.get(section).with_context(|| format!("no proxy stands before {section}"))
    }

    /// What each proxy did: see [`crate::faults::Harm::counts`].
    pub fn harm(&self) -> BTreeMap<&'static str, [u64; 5]> {
        self.proxies.iter().map(|(name, proxy)| (*name, proxy.harm().counts())).collect()
    }

    /// Kills a service in the midst of whatever it does.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.take(name).await?.kill().await
    }

    /// Asks a service to end, and waits until it has.
    pub async fn stop(&self, name: &str) -> Result<Option<i32>> {
        self.take(name).await?.stop().await
    }

    /// How a service ended, if it did and nobody asked it to. It is then one that does not run.
    pub async fn ended(&self, name: &str) -> Result<Option<String>> {
        let mut place = self.place(name)?.lock().await;
        let Some(service) = place.as_mut() else { return Ok(None) };
        let ended = service.ended()?;
        if ended.is_some() {
            *place = None;
        }
        Ok(ended)
    }

    fn place(&self, name: &str) -> Result<&tokio::sync::Mutex<Option<Service>>> {
        self.services.get(name).with_context(|| format!("there is no {name}"))
    }

    async fn take(&self, name: &str) -> Result<Service> {
        self.place(name)?.lock().await.take().with_context(|| format!("no {name} runs"))
    }

    /// Where a service keeps what it must.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.gristmill.home().join(name)
    }

    /// The most memory that a running service ever had, in bytes.
    pub async fn peak_bytes(&self, name: &str) -> Result<u64> {
        let place = self.place(name)?.lock().await;
        let id = place.as_ref().and_then(|service| service.child.id());
        peak_bytes(id.with_context(|| format!("no {name} runs"))?)
    }

    /// Files that nothing will ever need again, once everything has ended.
    pub fn orphans(&self) -> Result<Vec<String>> {
        remains::orphans(self)
    }

    /// A setting for every service that is started from now on.
    pub fn set(&self, key: &str, value: &str) {
        self.settings.lock().insert(key.to_owned(), value.to_owned());
    }

    /// Where a service puts what it needs for a moment only.
    pub fn temp_dir(&self, name: &str) -> PathBuf {
        self.gristmill.home().join("temp").join(name)
    }

    /// Whether a service runs.
    pub async fn runs(&self, name: &str) -> Result<bool> {
        Ok(self.place(name)?.lock().await.is_some())
    }

    /// A setting in force for everybody.
    fn setting(&self, key: &str) -> Result<String> {
        self.settings.lock().get(key).cloned().with_context(|| format!("{key} is not set"))
    }

    /// Where requesters go.
    pub fn market(&self) -> Result<Url> {
        Ok(self.setting("market.orderbook")?.parse()?)
    }

    /// Where secrets are kept.
    pub fn vault(&self) -> Result<Url> {
        Ok(self.setting("market.sms")?.parse()?)
    }

    /// Its one workerpool.
    pub fn workerpool(&self) -> Result<Address> {
        Ok(self.setting("scheduler.workerpool")?.parse()?)
    }

    /// Where a service is itself, past its proxy: `chain`, `gateway` and so on.
    pub fn direct(&self, section: &str) -> Result<Url> {
        self.direct.lock().get(section).cloned().with_context(|| format!("no {section} yet"))
    }

    /// The market's chain, as seen by anyone; past the proxy.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.direct("chain")?, self.setting("market.hub")?.parse()?).await?)
    }

    /// A verb about this market: `--set market.rpc=…` and the like are given.
    pub async fn run(&self, verb: &[&str]) -> Result<Ran> {
        let mut arguments: Vec<String> = verb.iter().map(|part| (*part).to_owned()).collect();
        for key in ["market.rpc", "market.hub"] {
            arguments.extend(["--set".to_owned(), format!("{key}={}", self.setting(key)?)]);
        }
        self.gristmill.run(arguments).await
    }

    /// The file with the key that owns everything and buys.
    pub fn owner_key_file(&self) -> Result<String> {
        self.key_file(OWNER)
    }

    /// The key that owns everything.
    pub fn owner(&self) -> Result<PrivateKeySigner> {
        signer(OWNER)
    }

    /// A key that has ether and nothing else, and its file: one for each number below 4.
    pub fn stranger(&self, number: u32) -> Result<(PrivateKeySigner, String)> {
        Ok((signer(FIRST_STRANGER + number)?, self.key_file(FIRST_STRANGER + number)?))
    }

    async fn found(&self) -> Result<()> {
        self.restart("chain").await?;
        let ws = self.setting("market.rpc")?;
        let (owner, home) = (self.owner_key_file()?, self.gristmill.home().to_owned());
        let file = home.join("deployment.json").display().to_string();
        let verb =
            ["chain", "deploy", "--rpc", &ws, "--key-file", &owner, "--out", &file, "--json"];
        self.gristmill.run(verb).await?.ok()?;
        let deployed: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let hub = deployed["contracts"]["hub"].as_str().context("a hub was deployed")?.to_owned();
        self.settings.lock().insert("market.hub".into(), hub);

        let create = ["workerpool", "create", "--description", "Far Mill", "--key-file", &owner];
        let created = self.run(&[&create[..], &["--json"]].concat()).await?.ok()?.json()?;
        let pool = created["workerpool"].as_str().context("a workerpool was created")?.to_owned();
        let deposit = ["account", "deposit", "50000RLC", "--key-file", &owner];
        self.run(&deposit).await?.ok()?;
        for number in 0..self.config.workers {
            let worker = signer(FIRST_WORKER + number)?.address().to_string();
            let stake = ["account", "deposit", "1000RLC", "--to", &worker, "--key-file", &owner];
            self.run(&stake).await?.ok()?;
        }
        let mut settings = self.settings.lock();
        if let Some(url) = settings.get("worker.scheduler").cloned() {
            settings.insert("market.workerpools.0.address".to_owned(), pool.clone());
            settings.insert("market.workerpools.0.url".to_owned(), url);
        }
        for (key, value) in [
            ("scheduler.workerpool", pool.as_str()),
            ("worker.workerpool", &pool),
            ("scheduler.key_file", &owner),
            ("scheduler.offers.0.category", "0"),
            ("scheduler.offers.0.price", "0.03RLC"),
            ("scheduler.offers.0.trust", "8"),
            ("scheduler.offers.0.volume", "10000"),
        ] {
            settings.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn key_file(&self, index: u32) -> Result<String> {
        let path: PathBuf = self.gristmill.home().join(format!("key-{index}"));
        std::fs::write(&path, signer(index)?.to_bytes().to_string())?;
        Ok(path.display().to_string())
    }

    /// The address of a worker.
    pub fn worker(&self, number: u32) -> Result<Address> {
        Ok(signer(FIRST_WORKER + number)?.address())
    }
}

fn worker_index(name: &str) -> Result<u32> {
    let number: u32 = name.strip_prefix("worker-").unwrap_or_default().parse()?;
    Ok(FIRST_WORKER + number)
}

/// The setting that tells others where a service is.
fn known_as(section: &str) -> &'static str {
    match section {
        "chain" => "market.rpc",
        "scheduler" => "worker.scheduler",
        "gateway" => "market.gateway",
        "vault" => "market.sms",
        _ => "market.orderbook",
    }
}

fn signer(index: u32) -> Result<PrivateKeySigner> {
    Ok(MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index)?.build()?)
}
