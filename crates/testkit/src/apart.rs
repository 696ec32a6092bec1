//! A market of separate processes: chain, order book, gateway, scheduler and workers, each killed and started alone.
//!
//! It is put together as an operator would: the chain is served, contracts are deployed on it, a workerpool is registered,
//! stakes are deposited, and every service is told by settings where the others are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::coins_bip39::English;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use anyhow::{Context, Result, bail};
use chain::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;
use url::Url;

use crate::command::{Gristmill, Ran};

/// How long a service may take to be ready or to end; it takes far less.
const PATIENCE: Duration = Duration::from_secs(240);
/// The mnemonic of Ethereum's test tools, from which the embedded chain funds its accounts.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Whose account deploys, owns the workerpool, and buys.
const OWNER: u32 = 0;
/// Whose account the first worker has; others follow.
const FIRST_WORKER: u32 = 4;

/// A running service. Killed when dropped.
pub struct Service {
    child: Child,
    said: Value,
}

impl Service {
    async fn start(gristmill: &Gristmill, name: &str, arguments: Vec<String>) -> Result<Self> {
        let path = gristmill.home().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(&path)?;
        let mut child = gristmill
            .command(arguments)
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

    fn url(&self) -> Result<Url> {
        Ok(self.said["url"].as_str().context("a service says where it is")?.parse()?)
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

/// A market of separate processes. All are killed when it is dropped.
pub struct Apart {
    gristmill: Gristmill,
    workers: u32,
    settings: BTreeMap<String, String>,
    services: BTreeMap<String, Service>,
}

impl Apart {
    /// Puts the market up, and starts everything.
    ///
    /// # Errors
    /// If a part does not get ready; with everything it said.
    pub async fn start(gristmill: &Gristmill, workers: u32) -> Result<Self> {
        let mut market = Self {
            gristmill: gristmill.clone(),
            workers,
            settings: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        market.found().await?;
        for name in market.names().into_iter().filter(|name| name != "chain") {
            market.restart(&name).await?;
        }
        Ok(market)
    }

    /// The names of the services: `chain`, `gateway`, `orderbook`, `scheduler`, `worker-0` and so on.
    pub fn names(&self) -> Vec<String> {
        let fixed = ["chain", "gateway", "orderbook", "scheduler"].map(str::to_owned);
        fixed
            .into_iter()
            .chain((0..self.workers).map(|number| format!("worker-{number}")))
            .collect()
    }

    /// Starts a service that does not run, where it was before.
    pub async fn restart(&mut self, name: &str) -> Result<()> {
        let mut set = self.settings.clone();
        let dir = |part: &str| self.gristmill.home().join(part).display().to_string();
        let verb: Vec<&str> = match name {
            "chain" => vec!["chain", "serve"],
            _ if name.starts_with("worker-") => {
                set.insert("worker.data_dir".into(), dir(name));
                set.insert("worker.key_file".into(), self.key_file(self.worker_index(name)?)?);
                vec!["worker"]
            }
            _ => vec![name],
        };
        let section = verb[0];
        set.entry(format!("{section}.port")).or_insert_with(|| "0".into());
        set.insert(format!("{section}.data_dir"), dir(name));
        if section == "worker" {
            set.remove("worker.port");
        }
        let mut arguments: Vec<String> = verb.iter().map(|part| (*part).to_owned()).collect();
        for (key, value) in &set {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        arguments.push("-v".to_owned());
        let service = Service::start(&self.gristmill, name, arguments).await?;
        if section != "worker" {
            let url = service.url()?;
            let port = url.port().context("a service has a port")?;
            self.settings.insert(format!("{section}.port"), port.to_string());
            let known_as = match section {
                "chain" => None,
                "scheduler" => Some("worker.scheduler".to_owned()),
                other => Some(format!("market.{other}")),
            };
            if let Some(key) = known_as {
                self.settings.insert(key, url.to_string());
            }
        }
        self.services.insert(name.to_owned(), service);
        Ok(())
    }

    /// Kills a service in the midst of whatever it does.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let service = self.services.remove(name).with_context(|| format!("no {name} runs"))?;
        service.kill().await
    }

    /// Asks a service to end, and waits until it has.
    pub async fn stop(&mut self, name: &str) -> Result<Option<i32>> {
        let service = self.services.remove(name).with_context(|| format!("no {name} runs"))?;
        service.stop().await
    }

    /// Where requesters go.
    pub fn market(&self) -> Result<Url> {
        Ok(self.settings["market.orderbook"].parse()?)
    }

    /// The market's chain, as seen by anyone.
    pub async fn client(&self) -> Result<Client> {
        let rpc: Url = self.settings["market.rpc"].parse()?;
        Ok(Client::connect(&rpc, self.settings["market.hub"].parse()?).await?)
    }

    /// A verb about this market: `--set market.rpc=…` and the like are given.
    pub async fn run(&self, verb: &[&str]) -> Result<Ran> {
        let mut arguments: Vec<String> = verb.iter().map(|part| (*part).to_owned()).collect();
        for key in ["market.rpc", "market.hub"] {
            arguments.extend(["--set".to_owned(), format!("{key}={}", self.settings[key])]);
        }
        self.gristmill.run(arguments).await
    }

    /// The file with the key that owns everything and buys.
    pub fn owner_key_file(&self) -> Result<String> {
        self.key_file(OWNER)
    }

    async fn found(&mut self) -> Result<()> {
        self.restart("chain").await?;
        let chain = &self.services["chain"];
        let ws = chain.said()["ws"].as_str().context("the chain has a websocket")?.to_owned();
        self.settings.insert("market.rpc".into(), ws.clone());
        let (owner, home) = (self.owner_key_file()?, self.gristmill.home().to_owned());
        let file = home.join("deployment.json").display().to_string();
        let verb =
            ["chain", "deploy", "--rpc", &ws, "--key-file", &owner, "--out", &file, "--json"];
        self.gristmill.run(verb).await?.ok()?;
        let deployed: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let hub = deployed["contracts"]["hub"].as_str().context("a hub was deployed")?.to_owned();
        self.settings.insert("market.hub".into(), hub);

        let create = ["workerpool", "create", "--description", "Far Mill", "--key-file", &owner];
        let created = self.run(&[&create[..], &["--json"]].concat()).await?.ok()?.json()?;
        let pool = created["workerpool"].as_str().context("a workerpool was created")?.to_owned();
        let deposit = ["account", "deposit", "50000RLC", "--key-file", &owner];
        self.run(&deposit).await?.ok()?;
        for number in 0..self.workers {
            let worker = signer(FIRST_WORKER + number)?.address().to_string();
            let stake = ["account", "deposit", "1000RLC", "--to", &worker, "--key-file", &owner];
            self.run(&stake).await?.ok()?;
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
            self.settings.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn worker_index(&self, name: &str) -> Result<u32> {
        let number: u32 = name.strip_prefix("worker-").unwrap_or_default().parse()?;
        Ok(FIRST_WORKER + number)
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

fn signer(index: u32) -> Result<PrivateKeySigner> {
    Ok(MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index)?.build()?)
}
