//! A market kept by `gristmill up`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, bail};
use chain::{Client, Wallet, calls};
use primitives::Nrlc;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;
use url::Url;

use crate::command::{Gristmill, Ran};

/// How long a market may take to be ready or to end; it takes far less.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the market is made of.
#[derive(Debug, Clone)]
pub struct HouseConfig {
    /// Workers in each workerpool.
    pub workers: u16,
    /// How many of them lie.
    pub liars: u16,
    /// Where it is kept; by default a directory in the home.
    pub data_dir: Option<PathBuf>,
    /// Where to listen; 0 for any free port.
    pub port: u16,
    /// Further arguments of `up`.
    pub arguments: Vec<String>,
}

impl Default for HouseConfig {
    fn default() -> Self {
        Self { workers: 2, liars: 0, data_dir: None, port: 0, arguments: Vec::new() }
    }
}

/// A running market. Killed when dropped.
pub struct House {
    gristmill: Gristmill,
    config: HouseConfig,
    child: Child,
    said: Value,
}

impl House {
    /// Starts a market and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready; with everything it said.
    pub async fn start(gristmill: &Gristmill, config: HouseConfig) -> Result<Self> {
        let data_dir = config.data_dir.clone().unwrap_or_else(|| gristmill.home().join("market"));
        let mut arguments: Vec<String> = ["up", "--json"].map(str::to_owned).into();
        arguments.extend(["--port".to_owned(), config.port.to_string()]);
        arguments.extend(["--workers".to_owned(), config.workers.to_string()]);
        arguments.extend(["--dev-lying-workers".to_owned(), config.liars.to_string()]);
        arguments.extend(["--data-dir".to_owned(), data_dir.display().to_string()]);
        arguments.extend(config.arguments.iter().cloned());
        let log = std::fs::File::create(gristmill.home().join("up.log"))?;
        let mut child = gristmill
            .command(arguments)
            .stderr(Stdio::from(log))
            .spawn()
            .context("cannot start a market")?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        timeout(PATIENCE, stdout.read_line(&mut line))
            .await
            .context("the market is not ready")??;
        let Ok(said) = serde_json::from_str(&line) else {
            let log = std::fs::read_to_string(gristmill.home().join("up.log"))?;
            bail!("the market did not start: {line}{log}");
        };
        // Nothing else is said on stdout, but a pipe nobody reads could stop the one who writes.
        tokio::spawn(async move { stdout.read_to_end(&mut Vec::new()).await });
        Ok(Self { gristmill: gristmill.clone(), config, child, said })
    }

    /// What it said when it was ready.
    pub fn said(&self) -> &Value {
        &self.said
    }

    /// Where everything is.
    pub fn origin(&self) -> Result<Url> {
        self.url("origin")
    }

    /// The chain's websocket.
    pub fn ws(&self) -> Result<Url> {
        self.url("ws")
    }

    fn url(&self, key: &str) -> Result<Url> {
        let text = self.said[key].as_str().with_context(|| format!("no {key}: {}", self.said))?;
        Ok(text.parse()?)
    }

    /// An address that it said, by JSON pointer.
    pub fn address(&self, pointer: &str) -> Result<Address> {
        let text = self.said.pointer(pointer).and_then(Value::as_str);
        Ok(text.with_context(|| format!("no {pointer}: {}", self.said))?.parse()?)
    }

    /// The market's chain, as seen by anyone.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.ws()?, self.address("/contracts/hub")?).await?)
    }

    /// The key of a development account.
    pub fn key(&self, index: usize) -> Result<PrivateKeySigner> {
        let text = self.said.pointer(&format!("/accounts/{index}/privateKey"));
        let text = text.and_then(Value::as_str).with_context(|| format!("no account {index}"))?;
        Ok(PrivateKeySigner::from_bytes(&text.parse::<B256>()?)?)
    }

    /// Gives a development account RLC of the first one, which has plenty.
    pub async fn fund(&self, index: usize, sum: Nrlc) -> Result<()> {
        let client = self.client().await?;
        let rich = Wallet::new(&client, self.key(0)?).await?;
        let to = self.key(index)?.address();
        rich.execute(calls::transfer_rlc(&client.contracts(), to, sum)).await?;
        Ok(())
    }

    /// The binary and its home.
    pub fn gristmill(&self) -> &Gristmill {
        &self.gristmill
    }

    /// The number of its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where the market is kept.
    pub fn data_dir(&self) -> PathBuf {
        self.config.data_dir.clone().unwrap_or_else(|| self.gristmill.home().join("market"))
    }

    /// `gristmill run` of a program at this market; `--json` is given.
    pub async fn run(&self, program: &Path, arguments: &[&str]) -> Result<Ran> {
        let program = program.display().to_string();
        let origin = self.origin()?.to_string();
        let fixed = ["run", &program, "--json", "--market", &origin];
        self.gristmill.run(fixed.iter().chain(arguments)).await
    }

    /// Ends it politely, as Ctrl-C would, and waits for its end.
    pub async fn stop(mut self) -> Result<Option<i32>> {
        self.signal("INT").await?;
        let status = timeout(PATIENCE, self.child.wait()).await.context("the market goes on")??;
        Ok(status.code())
    }

    /// Kills it in the midst of whatever it does.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("the market has ended already")?;
        let signal = ["-s", name, &id.to_string()].map(str::to_owned);
        let sent = tokio::process::Command::new("kill").args(signal).status().await?;
        anyhow::ensure!(sent.success(), "cannot signal {id}");
        Ok(())
    }
}
