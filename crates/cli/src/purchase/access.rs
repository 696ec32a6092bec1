//! A market within reach, with clients for each of its parts.

use alloy_primitives::Address;
use chain::Client;
use url::Url;
use wire::description::Description;
use wire::ipfs::IpfsClient;
use wire::market::MarketClient;
use wire::scheduler::SchedulerClient;

use crate::failure::{Exit, Failure, OrFail};
use crate::home;

/// A market within reach, with clients for each of its parts.
#[derive(Clone)]
pub struct Access {
    pub(super) description: Description,
    pub(super) client: Client,
    pub(super) market: MarketClient,
    pub(super) ipfs: IpfsClient,
    pub(super) scheduler: SchedulerClient,
}

impl Access {
    /// Asks the origin what it is, and connects.
    ///
    /// # Errors
    /// GM-5006 if no market answers there.
    pub async fn to(origin: &Url) -> Result<Self, Failure> {
        let unreachable = || format!("no market answers at {origin}");
        let fix = |failure: Failure| failure.fix("start one with: gristmill up");
        let description = wire::description::fetch(origin)
            .await
            .or_fail("GM-5006", Exit::Market, &unreachable())
            .map_err(fix)?;
        let ws: Url =
            description.ws.parse().or_fail("GM-5006", Exit::Market, &unreachable()).map_err(fix)?;
        let client = Client::connect(&ws, description.contracts.hub)
            .await
            .or_fail("GM-5006", Exit::Market, &unreachable())
            .map_err(fix)?;
        let chain_id = description.chain_id;
        let wired = "the market's origin is not a usable URL";
        Ok(Self {
            market: MarketClient::new(origin, chain_id).or_fail("GM-5006", Exit::Market, wired)?,
            ipfs: IpfsClient::new(origin).or_fail("GM-5006", Exit::Market, wired)?,
            scheduler: SchedulerClient::new(origin, chain_id).or_fail(
                "GM-5006",
                Exit::Market,
                wired,
            )?,
            description,
            client,
        })
    }

    /// The market that was started last on this machine and still answers.
    pub async fn running() -> Option<Self> {
        for origin in home::running() {
            if let Ok(access) = Self::to(&origin).await {
                return Some(access);
            }
        }
        None
    }

    /// What the market says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its chain.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its schedulers.
    pub fn scheduler(&self) -> &SchedulerClient {
        &self.scheduler
    }

    pub(super) fn pool_name(&self, pool: Address) -> String {
        self.description
            .workerpools
            .iter()
            .find(|one| one.address == pool)
            .and_then(|one| one.description.clone())
            .unwrap_or_else(|| "workerpool".to_owned())
    }
}
