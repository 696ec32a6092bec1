//! The crash campaign: a real market of separate processes under load, whose processes are killed and started again at
//! random while the network between them misbehaves; and at the end, the reckoning.
//!
//! ```text
//!   requesters ─► proxies ─► chain · order book · gateway · vault · scheduler ◄─ proxies ◄─ workers
//!                              ▲ kill -9, SIGTERM, start again: `plan`, a pure function of the seed
//! ```
//! When the last blow has fallen the weather clears and everything may finish. What only waits for its deadline gets it: the
//! chain's time is moved on. Then the chain, the directories and the vault are asked what is missing; nothing may be.
//!
//! Not here: what a service is and how it is started (`apart`), and the proxies (`faults`).

mod ledger;
mod load;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use anyhow::{Context, Result, ensure};
use chain::{Client, TaskStatus, Wallet, calls};
use parking_lot::Mutex;
use primitives::{Nrlc, TaskId};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wire::ipfs::IpfsClient;
use wire::sms::SmsClient;

use crate::apart::{Apart, ApartConfig};
use crate::command::Gristmill;
use crate::faults::Weather;
use crate::remains;

use ledger::{Purse, Standing};
use load::{Load, Menu, Seen};

pub use plan::{Blow, How, plan};

const WORKERS: u32 = 3;
const REQUESTERS: u32 = 3;
/// What each requester begins with.
const ALLOWANCE_RLC: u64 = 1_000;
/// How long nothing may happen to any task, in fair weather, before what is open is taken for stuck.
const STILL: Duration = Duration::from_secs(120);
/// A supervisor's pause before it starts what did not start.
const START_PAUSE: Duration = Duration::from_millis(200);
/// A service that does not start in fair weather in so long is lost.
const START_WITHIN: Duration = Duration::from_secs(240);
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// The largest result that is fetched back.
const RESULT_BYTES_MAX: u64 = 1 << 20;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many kill -9.
    pub kills: usize,
    /// The blows end after so long, however many have fallen.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong; empty if nothing was lost.
    pub lost: Vec<String>,
    /// kill -9 that fell.
    pub kills: usize,
    /// SIGTERM that were sent.
    pub asked: usize,
    /// Starts that failed and were tried again.
    pub failed_starts: usize,
    /// Deals that were made.
    pub deals: usize,
    /// Tasks that were completed and paid.
    pub completed: usize,
    /// Tasks that were refunded.
    pub refunded: usize,
    /// Secrets that the vault had to keep.
    pub secrets: usize,
    /// How the requesters' jobs ended.
    pub jobs: BTreeMap<String, usize>,
    /// What the proxies did: refused, 502, cut, slow, JSON-RPC errors.
    pub harm: [u64; 5],
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Outcome {
    /// The last line: all that must be known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.lost.is_empty() { "nothing lost" } else { "LOST" };
        let [refused, bad, cut, slow, errors] = self.harm;
        write!(
            f,
            "{verdict}: {} losses after {} kills, {} SIGTERM, {} connections refused, {bad} answered 502, {cut} cut, \
             {slow} delays, {errors} RPC errors; {} deals, {} tasks completed, {} refunded, {} secrets kept; {} s",
            self.lost.len(),
            self.kills,
            self.asked,
            refused,
            self.deals,
            self.completed,
            self.refunded,
            self.secrets,
            self.took.as_secs()
        )
    }
}

/// Who writes down what happens.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

impl Campaign {
    /// Runs it to the end.
    ///
    /// # Errors
    /// The market cannot be put up or asked; losses are no error but part of the outcome.
    pub async fn run(self, gristmill: &Gristmill, log: Log) -> Result<Outcome> {
        let began = Instant::now();
        let config = ApartConfig {
            workers: WORKERS,
            vault: true,
            faults: Some((self.seed, Weather::STORM)),
        };
        let market = Arc::new(Apart::start_with(gristmill, config).await?);
        let field = Field { campaign: self, market, log, outcome: Arc::default(), began };
        field.run(gristmill).await
    }
}

/// A market under attack.
#[derive(Clone)]
struct Field {
    campaign: Campaign,
    market: Arc<Apart>,
    log: Log,
    outcome: Arc<Mutex<Outcome>>,
    began: Instant,
}

impl Field {
    async fn run(self, gristmill: &Gristmill) -> Result<Outcome> {
        let client = self.market.client().await?;
        let supply = client.rlc_balance(self.market.owner()?.address()).await?;
        let supply: Nrlc = [supply, client.rlc_balance(client.hub()).await?].into_iter().sum();
        let purses = self.fund(&client).await?;
        drop(client);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let stop = CancellationToken::new();
        let load = Load {
            market: Arc::clone(&self.market),
            gristmill: gristmill.clone(),
            seen: Arc::clone(&seen),
            stop: stop.clone(),
        };
        let menu = Arc::new(Menu::new(gristmill)?);
        let mut buyers = JoinSet::new();
        for number in 0..REQUESTERS {
            buyers.spawn(load.clone().buy(self.campaign.seed, number, Arc::clone(&menu)));
        }
        buyers.spawn(load.confide(self.market.stranger(REQUESTERS)?.0));

        self.market.storm(true);
        self.strike().await?;
        self.market.storm(false);
        self.log("the weather clears");
        stop.cancel();
        while let Some(ended) = buyers.join_next().await {
            ended??;
        }
        self.revive().await?;
        let client = self.market.client().await?;
        self.drain(&client).await?;

        let mut others: Vec<Address> = vec![self.market.owner()?.address()];
        for number in 0..WORKERS {
            others.push(self.market.worker(number)?);
        }
        self.lose(ledger::audit(&client, &purses, &others, supply).await?);
        let standings = ledger::standings(&client).await?;
        self.results(&standings).await?;
        let seen = std::mem::take(&mut *seen.lock());
        self.promises(&standings, &seen).await?;
        drop(client);
        self.bury().await?;

        let mut outcome = std::mem::take(&mut *self.outcome.lock());
        let of = |status| standings.iter().filter(|one| one.task.status == status).count();
        outcome.completed = of(TaskStatus::Completed);
        outcome.refunded = of(TaskStatus::Failed);
        let mut deals: Vec<_> = standings.iter().map(|one| one.deal).collect();
        deals.dedup();
        outcome.deals = deals.len();
        outcome.secrets = seen.secrets.len();
        outcome.jobs = seen.outcomes;
        for counts in self.market.harm().values() {
            outcome.harm.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        outcome.took = self.began.elapsed();
        Ok(outcome)
    }

    fn log(&self, line: &str) {
        (self.log)(&format!("{:>8.2} s  {line}", self.began.elapsed().as_secs_f64()));
    }

    fn lose(&self, what: Vec<String>) {
        for one in &what {
            self.log(&format!("LOST {one}"));
        }
        self.outcome.lock().lost.extend(what);
    }

    /// Gives every requester something to spend.
    async fn fund(&self, client: &Client) -> Result<Vec<Purse>> {
        let owner = Wallet::new(client, self.market.owner()?).await?;
        let mut purses = Vec::new();
        for number in 0..REQUESTERS {
            let who = self.market.stranger(number)?.0.address();
            let sum = Nrlc::from_rlc(ALLOWANCE_RLC);
            owner.execute(calls::transfer_rlc(&client.contracts(), who, sum)).await?;
            purses.push(Purse { who, before: ledger::worth(client, who).await? });
        }
        Ok(purses)
    }

    /// All blows, one after the other; a service that is down is started again beside that.
    async fn strike(&self) -> Result<()> {
        let blows = plan(self.campaign.seed, self.campaign.kills, &self.market.names());
        let mut restarts = JoinSet::new();
        for blow in blows {
            if self.began.elapsed() > self.campaign.limit {
                self.log("out of time");
                break;
            }
            sleep(blow.pause).await;
            while let Some(done) = restarts.try_join_next() {
                done??;
            }
            let field = self.clone();
            restarts.spawn(async move { field.blow(&blow).await });
        }
        while let Some(done) = restarts.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn blow(&self, blow: &Blow) -> Result<()> {
        let name = &blow.target;
        self.note_end(name).await?;
        match blow.how {
            // One that is down already is started sooner or later; that counts as one blow.
            How::Kill => match self.market.kill(name).await {
                Ok(()) => self.log(&format!("killed {name}")),
                Err(_) => self.log(&format!("{name} was down when it was to be killed")),
            },
            How::Ask => match self.market.stop(name).await {
                Ok(Some(0)) => self.log(&format!("{name} ended when asked to")),
                Ok(code) => self.lose(vec![format!("{name} ended with {code:?} when asked to")]),
                Err(error) => self.log(&format!("{name} was not asked: {error:#}")),
            },
        }
        {
            let mut outcome = self.outcome.lock();
            match blow.how {
                How::Kill => outcome.kills += 1,
                How::Ask => outcome.asked += 1,
            }
        }
        sleep(blow.down).await;
        self.start(name).await
    }

    /// Starts it as a supervisor would: again and again.
    async fn start(&self, name: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            if self.market.runs(name).await? {
                return Ok(());
            }
            match self.market.restart(name).await {
                Ok(()) => {
                    self.log(&format!("started {name}"));
                    return Ok(());
                }
                Err(error) => {
                    self.outcome.lock().failed_starts += 1;
                    let told = format!("{error:#}");
                    let why = told.lines().rev().find(|line| line.contains("GM-"));
                    let why = why.unwrap_or_default().trim();
                    self.log(&format!("{name} did not start: {why}"));
                    ensure!(began.elapsed() < START_WITHIN, "{name} does not start: {told}");
                }
            }
            sleep(START_PAUSE).await;
        }
    }

    /// A service may be killed; it may not die by itself because another did.
    async fn note_end(&self, name: &str) -> Result<()> {
        if let Some(status) = self.market.ended(name).await? {
            self.lose(vec![format!("{name} ended by itself: {status}")]);
        }
        Ok(())
    }

    /// Everything runs again.
    async fn revive(&self) -> Result<()> {
        for name in self.market.names() {
            self.note_end(&name).await?;
            self.start(&name).await?;
        }
        Ok(())
    }

    /// Waits until every task has ended. What has not when nothing moves any more gets its deadline.
    async fn drain(&self, client: &Client) -> Result<()> {
        // Only bad programs may wait for their deadline; whatever else is left then was stuck.
        self.still(client, |one| !one.is_bad).await?;
        let open = ledger::standings(client).await?;
        let stuck: Vec<String> = open
            .iter()
            .filter(|one| !one.is_bad && is_open(one))
            .map(|one| {
                let id = orders::task_id(one.deal, one.task.index);
                format!("task {id} is stuck as {:?}", one.task.status)
            })
            .collect();
        self.lose(stuck);
        self.log("the deadlines pass");
        let seconds = deadline(client, &open).await?;
        client.request("evm_increaseTime", json!([seconds])).await?;
        client.request("evm_mine", json!([])).await?;
        self.still(client, |_| true).await
    }

    /// Waits until all tasks of that kind have ended, or nothing has happened to any for a long time.
    async fn still(&self, client: &Client, kind: impl Fn(&Standing) -> bool) -> Result<()> {
        let mut last = (Instant::now(), Vec::new());
        loop {
            let all = ledger::standings(client).await?;
            let open = all.iter().filter(|one| kind(one) && is_open(one)).count();
            let now: Vec<_> = all
                .iter()
                .map(|one| (one.task.status, one.task.contributors.len(), one.task.revealed))
                .collect();
            if last.1 != now {
                self.log(&format!("{open} of {} tasks are open", all.len()));
                last = (Instant::now(), now);
            }
            if open == 0 || last.0.elapsed() > STILL {
                return Ok(());
            }
            for name in self.market.names() {
                self.note_end(&name).await?;
                self.start(&name).await?;
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    /// Every result that was paid for is there.
    async fn results(&self, standings: &[Standing]) -> Result<()> {
        let gateway = IpfsClient::new(&self.market.direct("gateway")?)?;
        let mut lost = Vec::new();
        for one in standings.iter().filter(|one| one.task.status == TaskStatus::Completed) {
            let id = orders::task_id(one.deal, one.task.index);
            let text = String::from_utf8_lossy(&one.task.results).into_owned();
            let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let location = told["location"].as_str().unwrap_or_default();
            if let Err(error) = gateway.fetch(location, RESULT_BYTES_MAX).await {
                lost.push(format!("the result of task {id} at {text}: {error}"));
            }
        }
        self.lose(lost);
        Ok(())
    }

    /// What requesters were told is true.
    async fn promises(&self, standings: &[Standing], seen: &Seen) -> Result<()> {
        let mut lost: Vec<String> =
            seen.wrong.iter().map(|one| format!("a wrong result: {one}")).collect();
        let status: BTreeMap<TaskId, TaskStatus> = standings
            .iter()
            .map(|one| (orders::task_id(one.deal, one.task.index), one.task.status))
            .collect();
        for task in &seen.done {
            let id: TaskId = task.parse().with_context(|| format!("no task: {task}"))?;
            if status.get(&id) != Some(&TaskStatus::Completed) {
                lost.push(format!("task {id} was told to be done and is {:?}", status.get(&id)));
            }
        }
        let vault = SmsClient::new(&self.market.direct("vault")?)?;
        for id in &seen.secrets {
            if !vault.has(id).await? {
                lost.push(format!("the secret {id:?}"));
            }
        }
        self.lose(lost);
        Ok(())
    }

    /// Everything ends in order and leaves nothing behind.
    async fn bury(&self) -> Result<()> {
        // Services tidy up in their own time; what is there still after that long stays for ever.
        let began = Instant::now();
        while !remains::orphans(&self.market)?.is_empty() && began.elapsed() < STILL {
            sleep(LOOK_PAUSE).await;
        }
        let mut names = self.market.names();
        names.reverse();
        for name in names {
            match self.market.stop(&name).await? {
                Some(0) => {}
                code => self.lose(vec![format!("{name} ended with {code:?} at the end")]),
            }
        }
        self.lose(remains::orphans(&self.market)?);
        Ok(())
    }
}

fn is_open(one: &Standing) -> bool {
    !matches!(one.task.status, TaskStatus::Completed | TaskStatus::Failed)
}

/// How far to move the chain's time so that every open task is past its end.
async fn deadline(client: &Client, standings: &[Standing]) -> Result<u64> {
    let now = client.head().await?.timestamp;
    let mut most = 0;
    for one in standings.iter().filter(|one| is_open(one)) {
        let deal = client.deal(one.deal).await?;
        let clock = client.category(deal.category).await?.work_clock_seconds;
        // Ten units in all: see `chain::Category`.
        let end = deal.start.0.saturating_add(clock.saturating_mul(10));
        most = most.max(end.saturating_sub(now.0).saturating_add(1));
    }
    Ok(most)
}
