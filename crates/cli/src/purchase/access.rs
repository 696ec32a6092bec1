//! A market within reach, with clients for each of its parts.

use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use chain::Client;
use futures::stream::BoxStream;
use primitives::TaskId;
use url::Url;
use wire::ClientError;
use wire::description::Description;
use wire::ipfs::IpfsClient;
use wire::market::MarketClient;
use wire::scheduler::{LogNews, PoolNetwork, PoolReputation, SchedulerClient, TaskLogs, TaskModel};

use crate::failure::{Exit, Failure, OrFail};
use crate::home;

/// What is nice to know is not waited for.
const NICE_TO_KNOW_WAIT: Duration = Duration::from_secs(2);

/// A market within reach, with clients for each of its parts.
#[derive(Clone)]
pub struct Access {
    pub(super) description: Description,
    pub(super) client: Client,
    pub(super) market: MarketClient,
    pub(super) ipfs: IpfsClient,
    pub(super) schedulers: Schedulers,
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
        let gateway = match &description.gateway {
            Some(url) => {
                url.parse().or_fail("GM-5006", Exit::Market, &unreachable()).map_err(fix)?
            }
            None => origin.clone(),
        };
        let wired = "the market's origin is not a usable URL";
        Ok(Self {
            market: MarketClient::new(origin, chain_id).or_fail("GM-5006", Exit::Market, wired)?,
            ipfs: IpfsClient::new(&gateway).or_fail("GM-5006", Exit::Market, wired)?,
            schedulers: Schedulers::of(origin, &description)?,
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

    /// Its order book.
    pub fn market(&self) -> &MarketClient {
        &self.market
    }

    /// Where its files are.
    ///
    /// # Errors
    /// GM-5006 if it names none that can be used.
    pub fn gateway(&self) -> Result<Url, Failure> {
        let named = self.description.gateway.as_ref().unwrap_or(&self.description.origin);
        named.parse().or_fail("GM-5006", Exit::Market, "the market's gateway is not a usable URL")
    }

    /// Its schedulers.
    pub fn schedulers(&self) -> &Schedulers {
        &self.schedulers
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

/// The schedulers of a market: one behind the origin, or each of its own.
#[derive(Clone)]
pub struct Schedulers(Vec<SchedulerClient>);

impl Schedulers {
    fn of(origin: &Url, description: &Description) -> Result<Self, Failure> {
        let mut urls = vec![origin.clone()];
        for pool in &description.workerpools {
            // One that cannot be reached by its own description is left out; the others still answer.
            let Some(Ok(url)) = pool.api_url.as_ref().map(|text| text.parse::<Url>()) else {
                continue;
            };
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        let client = |url: &Url| {
            SchedulerClient::new(url, description.chain_id).or_fail(
                "GM-5006",
                Exit::Market,
                "a scheduler's URL is not usable",
            )
        };
        urls.iter().map(client).collect::<Result<_, _>>().map(Self)
    }

    /// What the task's program printed, from the first of them that tells that signer.
    ///
    /// # Errors
    /// The last one's refusal, if none does.
    pub async fn logs(
        &self,
        task: TaskId,
        signer: &PrivateKeySigner,
    ) -> Result<TaskLogs, ClientError> {
        let mut refused = None;
        for scheduler in &self.0 {
            match scheduler.logs(task, signer).await {
                Ok(logs) => return Ok(logs),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(TaskLogs { chain_task_id: task, compute_logs_list: Vec::new() }),
        }
    }

    /// The same as it comes, from after that piece on.
    ///
    /// # Errors
    /// A refusal, if none tells: one that may pass, if there is such a one.
    pub async fn follow_logs(
        &self,
        task: TaskId,
        signer: &PrivateKeySigner,
        after: u64,
    ) -> Result<BoxStream<'static, Result<LogNews, ClientError>>, ClientError> {
        let mut refused: Option<ClientError> = None;
        for scheduler in &self.0 {
            match scheduler.follow_logs(task, signer, after).await {
                Ok(feed) => return Ok(feed),
                Err(error) if refused.as_ref().is_some_and(ClientError::is_retryable) => {
                    tracing::debug!(%error, "a scheduler does not tell");
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| ClientError::Unsendable("no scheduler is known".to_owned())))
    }

    /// What is known of that workerpool's workers, if its scheduler is here and soon says.
    pub async fn reputation(&self, workerpool: Address) -> Option<PoolReputation> {
        self.first_to_know(|scheduler| scheduler.reputation(workerpool)).await
    }

    /// How many of its workers give that app's containers a network, if its scheduler is here and soon says.
    pub async fn network(
        &self,
        workerpool: Address,
        app: Address,
        category: u64,
    ) -> Option<PoolNetwork> {
        self.first_to_know(|scheduler| scheduler.network(workerpool, app, category)).await
    }

    async fn first_to_know<'a, T, F>(&'a self, ask: impl Fn(&'a SchedulerClient) -> F) -> Option<T>
    where
        F: Future<Output = Result<Option<T>, ClientError>>,
    {
        let asking = async {
            for scheduler in &self.0 {
                if let Ok(Some(known)) = ask(scheduler).await {
                    return Some(known);
                }
            }
            None
        };
        tokio::time::timeout(NICE_TO_KNOW_WAIT, asking).await.ok().flatten()
    }

    /// The task, if one of them knows it.
    pub async fn task(&self, task: TaskId) -> Option<TaskModel> {
        for scheduler in &self.0 {
            if let Ok(Some(model)) = scheduler.task(task).await {
                return Some(model);
            }
        }
        None
    }
}
