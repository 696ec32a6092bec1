//! Starting and stopping the vault.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chain::Client;
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};
use wire::ipfs::IpfsClient;
use wire::sms::Sms;

use crate::backups::Office;
use crate::desk::Desk;
use crate::guard::Guard;
use crate::safe::Safe;
use crate::{Backups, Error, KeySource, keys};

/// How often enclave keys of finished tasks are removed.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);
/// Nodes whose chains are for development, as they call themselves; a chain's id says nothing, anybody may choose it.
const DEVELOPMENT_NODES: [&str; 4] = ["gristmill", "anvil", "hardhat", "ganache"];

/// Which trusted execution the vault gives secrets to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tee {
    /// None: secrets are kept and never given out.
    #[default]
    Off,
    /// Software enclaves, which protect nothing. For development.
    SimulatedTdx,
}

/// What the vault works with.
#[derive(Clone)]
pub struct Config {
    /// The market's chain.
    pub client: Client,
    /// Where sealed secrets are kept. Other services may keep theirs in the same store.
    pub store: Store,
    /// Where the storage key is.
    pub key: KeySource,
    /// Keys that were used before: what they have sealed is sealed with the current key at the start.
    pub older_keys: Vec<KeySource>,
    /// Which trusted execution there is.
    pub tee: Tee,
    /// Start with simulated enclaves even where others than this machine can ask, and on chains that are not for
    /// development. Secrets are then anybody's who runs a worker.
    pub simulate_in_public: bool,
    /// Where lists of bulk requests are fetched; without it they are empty.
    pub ipfs_gateway: Option<Url>,
    /// Where this service answers, as its callers know it: the broker's address is made from it.
    pub public_url: Url,
}

impl Config {
    /// Without trusted execution and without bulk requests.
    pub fn new(client: Client, store: Store, key: KeySource, public_url: Url) -> Self {
        Self {
            client,
            store,
            key,
            older_keys: Vec::new(),
            tee: Tee::Off,
            simulate_in_public: false,
            ipfs_gateway: None,
            public_url,
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct Vault;

impl Vault {
    /// Opens the safe and begins to answer.
    ///
    /// # Errors
    /// There is no storage key or it is another one, the store cannot be read, or enclaves would be simulated in public.
    pub async fn start(config: Config, cancel: CancellationToken) -> Result<Handle, Error> {
        let simulated = config.tee == Tee::SimulatedTdx;
        if simulated && !config.simulate_in_public {
            check_harmless(&config.public_url, &config.client).await?;
        }
        if simulated {
            tracing::warn!("SIMULATED trusted execution: secrets of tasks are readable by workers");
        }
        let ring = keys::load(&config.key, &config.older_keys).await?;
        let safe = Safe::open(config.store, ring).await?;
        let ipfs = config.ipfs_gateway.as_ref().and_then(|origin| match IpfsClient::new(origin) {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::warn!(%error, "lists of bulk requests cannot be fetched");
                None
            }
        });
        let guard = Guard::new(config.client);
        let desk = Desk::new(guard, safe, config.tee, ipfs, config.public_url).await?;
        let desk = Arc::new(desk);
        tokio::spawn(tidy_up(Arc::clone(&desk), cancel));
        Ok(Handle { desk, simulated })
    }
}

/// A running vault. Cheap to clone; it runs until its token is cancelled.
#[derive(Clone)]
pub struct Handle {
    desk: Arc<Desk>,
    simulated: bool,
}

impl Handle {
    /// What `wire::sms::router` makes routes of.
    pub fn api(&self) -> Arc<dyn Sms> {
        self.desk.clone()
    }

    /// The vault's routes, for an origin that others share.
    pub fn router(&self) -> wire::Router {
        wire::sms::router(self.api())
    }

    /// The vault's routes for an origin of its own: with `/version`, `/metrics` and CORS.
    pub fn standalone(&self) -> wire::Router {
        wire::sms::standalone(self.api())
    }

    /// Routes by which the vault's operator makes backups and goes back to them.
    pub fn operator(&self, backups: Backups) -> wire::Router {
        wire::sms::admin::router(Arc::new(Office::new(self.desk.safe(), backups)))
    }

    /// Whether trusted execution is only simulated here.
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }
}

async fn tidy_up(desk: Arc<Desk>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(TIDY_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        desk.tidy_up().await;
    }
}

/// Simulation harms nobody where only this machine can ask and the chain is for development.
async fn check_harmless(public_url: &Url, client: &Client) -> Result<(), Error> {
    if !is_on_this_machine(public_url) {
        return Err(Error::SimulatedInPublic { origin: public_url.to_string() });
    }
    let node = client.request("web3_clientVersion", json!([])).await.map_err(Error::Chain)?;
    let node = node.as_str().unwrap_or_default().to_lowercase();
    if DEVELOPMENT_NODES.iter().any(|name| node.starts_with(name)) {
        return Ok(());
    }
    Err(Error::SimulatedForReal { chain_id: client.chain_id() })
}

fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: bool) {
        assert_eq!(is_on_this_machine(&url.parse().expect("a url")), expected, "{url}");
    }

    #[test]
    fn this_machine_is_told_from_others() {
        check("http://127.0.0.1:1", true);
        check("http://127.9.9.9", true);
        check("http://[::1]:1", true);
        check("http://localhost:1", true);
        check("http://0.0.0.0:1", false);
        check("http://192.168.0.2", false);
        check("http://localhost.example.com", false);
    }
}
