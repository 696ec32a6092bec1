//! What the past of a market says of working in it: asked of its order book and its chain, and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use chain::{ChainEvent, Client, Cursor, MarketEvent, Update};
use primitives::{Nrlc, TaskId, UnixSeconds};
use wire::market::{Deal, DealQuery, PageRequest};

use crate::failure::{Exit, Failure, OrFail, chain_of};
use crate::purchase::Access;

/// Deals of a page, and the most pages that are read: more would tell nothing new.
const PAGE: u64 = 1_000;
const PAGES_MAX: u64 = 20;
/// How long the chain may be silent while its past is read.
const SILENCE: Duration = Duration::from_secs(120);
/// A market younger than that is counted as if nothing had happened in the rest: a busy hour is not a busy week.
const SECONDS_LEAST: u64 = 86_400;
/// Transactions whose receipts are looked at, of each kind.
const RECEIPTS: usize = 16;
/// Workerpools whose schedulers are asked for their workers.
const POOLS: usize = 16;
const WEI_PER_COIN: f64 = 1e18;

/// What was paid in a category.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prices {
    pub(super) tasks: f64,
    /// Of the workerpool for a task, in RLC.
    pub(super) mean: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What happened in a market.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct History {
    /// How long it is counted for, in hours.
    pub(super) hours: f64,
    /// Tasks bought, by category.
    pub(super) categories: BTreeMap<U256, Prices>,
    pub(super) completed: u64,
    pub(super) refunded: u64,
    /// Contributions, by worker. Workers that are connected and made none have none.
    pub(super) runs_of: BTreeMap<Address, u64>,
    /// Contributions that lost their stake.
    pub(super) faulty: u64,
    /// Rewards of workers, less what they lost, in RLC.
    pub(super) paid_rlc: f64,
    /// What a worker locks for a task, on average, in RLC.
    pub(super) stake_rlc: f64,
    /// From a task's beginning to a contribution, the middle one of all, in seconds.
    pub(super) run_seconds: Option<f64>,
    /// Gas that a run's transactions took, and what they cost, in the chain's coins.
    pub(super) gas: Option<(f64, f64)>,
}

impl History {
    /// Contributions.
    pub(super) fn runs(&self) -> f64 {
        precise(self.runs_of.values().sum())
    }

    /// Contributions in an hour.
    pub(super) fn runs_per_hour(&self) -> f64 {
        self.runs() / self.hours
    }

    /// Tasks bought.
    pub(super) fn tasks(&self) -> f64 {
        self.categories.values().map(|prices| prices.tasks).sum()
    }

    /// The largest part that one worker had of all contributions.
    pub(super) fn largest_share(&self) -> f64 {
        let most = self.runs_of.values().max().copied().unwrap_or_default();
        if most == 0 { 0.0 } else { precise(most) / self.runs() }
    }
}

/// Reads what happened in the last days.
///
/// # Errors
/// GM-5006 the order book does not answer, GM-3102 the chain does not, GM-8105 nothing happened.
pub(super) async fn read(access: &Access, days: u32) -> Result<History, Failure> {
    let now = access.client().head().await.map_err(|error| silent(&error))?.timestamp;
    let since = UnixSeconds(now.0.saturating_sub(u64::from(days) * 86_400));
    let deals = deals(access, since).await?;
    let Some(first) = deals.last() else { return Err(nothing(days)) };
    let mut counted = Counted::default();
    follow(access.client(), first.block, &mut counted).await?;
    let seconds = now.0.saturating_sub(first.start.0).max(SECONDS_LEAST);
    let mut history = counted.sum_up(&deals, seconds);
    if history.runs() == 0.0 {
        return Err(nothing(days));
    }
    history.gas = gas(access.client(), &counted, history.runs()).await?;
    let pools: BTreeSet<Address> = deals.iter().map(|deal| deal.pool).collect();
    for pool in pools.into_iter().take(POOLS) {
        let known = access.schedulers().reputation(pool).await;
        for worker in known.into_iter().flat_map(|it| it.workers).filter(|it| it.connected) {
            history.runs_of.entry(worker.worker).or_default();
        }
    }
    Ok(history)
}

fn silent(error: &chain::Error) -> Failure {
    Failure::new("GM-3102", Exit::Market, "the chain does not answer").because(chain_of(error))
}

fn nothing(days: u32) -> Failure {
    let what = format!("nobody worked in that market in the last {days} days");
    Failure::new("GM-8105", Exit::Market, what)
        .fix("more --days; or without --market, by a simulated one")
}

/// Deals since then, newest first.
async fn deals(access: &Access, since: UnixSeconds) -> Result<Vec<Bought>, Failure> {
    let mut deals = Vec::new();
    for index in 0..PAGES_MAX {
        let query = DealQuery { page: PageRequest::new(index, PAGE), ..DealQuery::default() };
        let page = access.market().deals(&query).await.or_fail(
            "GM-5006",
            Exit::Market,
            "the order book does not tell its deals",
        )?;
        let recent = page.items.into_iter().filter(|deal| deal.start_time >= since);
        deals.extend(recent.map(Bought::from));
        // A page that is not full, or has older ones, is the last.
        if (deals.len() as u64) < (index + 1) * PAGE {
            break;
        }
    }
    Ok(deals)
}

/// Reads the chain from that block to its head.
async fn follow(client: &Client, from: u64, counted: &mut Counted) -> Result<(), Failure> {
    let head = client.head().await.map_err(|error| silent(&error))?.number;
    let start = Cursor { number: from.saturating_sub(1), hash: B256::ZERO };
    let mut news = client.follow(start);
    let mut at = start.number;
    while at < head {
        match tokio::time::timeout(SILENCE, news.next()).await {
            Ok(Some(Update::Block(block))) => {
                at = block.number;
                for event in &block.events {
                    counted.event(block.timestamp, event);
                }
            }
            // What was read twice after a reorganisation is too little to matter.
            Ok(Some(Update::Rewound { to })) => at = to.number,
            Ok(None) | Err(_) => {
                let what = "the chain does not tell its past";
                return Err(Failure::new("GM-3102", Exit::Market, what)
                    .because(format!("nothing came after block {at} of {head}"))
                    .fix("fewer --days"));
            }
        }
    }
    Ok(())
}

/// Gas of a run's transactions and its price in coins, by the last of them that the chain has receipts of.
async fn gas(client: &Client, counted: &Counted, runs: f64) -> Result<Option<(f64, f64)>, Failure> {
    let did = || counted.transactions.iter().rev();
    let contributions = did().filter(|(_, did)| did.contributions > 0);
    let contributions = contributions.map(|(transaction, did)| (*transaction, did.contributions));
    let Some(mut sum) = mean_gas(client, contributions).await? else { return Ok(None) };
    // Where a result is revealed as it is contributed, that is one transaction.
    let alone = |(_, did): &&(B256, Did)| did.contributions == 0;
    let reveals = did().filter(alone).map(|(transaction, did)| (*transaction, did.reveals));
    let times: u32 = did().filter(alone).map(|(_, did)| did.reveals).sum();
    if let Some(reveal) = mean_gas(client, reveals).await? {
        sum.0 += reveal.0 * f64::from(times) / runs;
        sum.1 += reveal.1 * f64::from(times) / runs;
    }
    Ok(Some(sum))
}

/// The mean over the first few of these transactions, each of which did something that many times.
async fn mean_gas(
    client: &Client,
    transactions: impl Iterator<Item = (B256, u32)>,
) -> Result<Option<(f64, f64)>, Failure> {
    let mut sum = (0.0, 0.0, 0.0);
    for (transaction, times) in transactions.take(RECEIPTS) {
        let Some(receipt) = client.receipt(transaction).await.map_err(|error| silent(&error))?
        else {
            continue;
        };
        let units = precise(receipt.gas_used);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let price = receipt.gas_price as f64 / WEI_PER_COIN;
        sum = (sum.0 + units, sum.1 + units * price, sum.2 + f64::from(times));
    }
    Ok((sum.2 > 0.0).then(|| (sum.0 / sum.2, sum.1 / sum.2)))
}

/// A deal, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Bought {
    pool: Address,
    category: U256,
    tasks: U256,
    price: U256,
    trust: U256,
    worker_stake: U256,
    start: UnixSeconds,
    block: u64,
}

impl From<Deal> for Bought {
    fn from(deal: Deal) -> Self {
        Self {
            pool: deal.workerpool.pointer,
            category: deal.category.0,
            tasks: deal.bot_size,
            price: deal.workerpool.price,
            trust: deal.trust,
            worker_stake: deal.worker_stake,
            start: deal.start_time,
            block: deal.block_number,
        }
    }
}

/// What one transaction did for tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Did {
    contributions: u32,
    reveals: u32,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Counted {
    /// When tasks began, and by which transaction.
    begun: HashMap<TaskId, (UnixSeconds, B256)>,
    workers: HashMap<TaskId, Vec<Address>>,
    runs_of: BTreeMap<Address, u64>,
    seconds: Vec<u64>,
    completed: u64,
    refunded: u64,
    faulty: u64,
    rewards: Vec<(TaskId, Address, U256)>,
    losses: Vec<(TaskId, Address, U256)>,
    /// Those of workers, in order.
    transactions: Vec<(B256, Did)>,
}

impl Counted {
    fn event(&mut self, at: UnixSeconds, logged: &ChainEvent) {
        match &logged.event {
            MarketEvent::TaskInitialized { task, .. } => {
                self.begun.insert(*task, (at, logged.tx));
            }
            MarketEvent::Contributed { task, worker, .. } => {
                self.workers.entry(*task).or_default().push(*worker);
                *self.runs_of.entry(*worker).or_default() += 1;
                // Of what is begun and ended in one transaction, nobody sees how long it took.
                if let Some((begun, by)) = self.begun.get(task)
                    && *by != logged.tx
                {
                    self.seconds.push(at.0.saturating_sub(begun.0));
                }
                self.did(logged.tx).contributions += 1;
            }
            MarketEvent::Revealed { .. } => self.did(logged.tx).reveals += 1,
            MarketEvent::Finalized { .. } => self.completed += 1,
            MarketEvent::Claimed { .. } => self.refunded += 1,
            MarketEvent::FaultyContribution { .. } => self.faulty += 1,
            MarketEvent::Reward { owner, amount, reference } => {
                self.rewards.push((TaskId(*reference), *owner, amount.0));
            }
            MarketEvent::Seize { owner, amount, reference } => {
                self.losses.push((TaskId(*reference), *owner, amount.0));
            }
            _ => {}
        }
    }

    /// What a transaction did: its events follow one another.
    fn did(&mut self, transaction: B256) -> &mut Did {
        let is_last = self.transactions.last().is_some_and(|(last, _)| *last == transaction);
        if !is_last {
            self.transactions.push((transaction, Did::default()));
        }
        let last = self.transactions.len() - 1;
        &mut self.transactions[last].1
    }

    /// What of that money is of workers of the task that it is for, in RLC.
    fn of_workers(&self, money: &[(TaskId, Address, U256)]) -> f64 {
        let is_worker =
            |task, who| self.workers.get(task).is_some_and(|all: &Vec<Address>| all.contains(who));
        money.iter().filter(|(task, who, _)| is_worker(task, who)).map(|it| rlc(it.2)).sum()
    }

    fn sum_up(&self, deals: &[Bought], seconds: u64) -> History {
        let mut categories: BTreeMap<U256, Prices> = BTreeMap::new();
        let (mut stakes, mut tasks) = (0.0, 0.0);
        for deal in deals {
            let (size, price) = (f64::from(deal.tasks), rlc(deal.price));
            let prices = categories.entry(deal.category).or_insert(Prices {
                tasks: 0.0,
                mean: 0.0,
                least: price,
                most: price,
            });
            prices.tasks += size;
            prices.mean += (price - prices.mean) * size / prices.tasks;
            prices.least = prices.least.min(price);
            prices.most = prices.most.max(price);
            tasks += size;
            // At trust 1 a worker contributes and is paid in one transaction, and locks nothing.
            if deal.trust > U256::ONE {
                stakes += rlc(deal.worker_stake) * size;
            }
        }
        let mut all = self.seconds.clone();
        all.sort_unstable();
        History {
            hours: precise(seconds) / 3_600.0,
            categories,
            completed: self.completed,
            refunded: self.refunded,
            runs_of: self.runs_of.clone(),
            faulty: self.faulty,
            paid_rlc: self.of_workers(&self.rewards) - self.of_workers(&self.losses),
            stake_rlc: if tasks > 0.0 { stakes / tasks } else { 0.0 },
            // A block's time has no parts of a second.
            run_seconds: all.get(all.len() / 2).map(|middle| precise(*middle).max(1.0)),
            gas: None,
        }
    }
}

fn rlc(amount: U256) -> f64 {
    f64::from(Nrlc(amount).0) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn precise(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::{ResultDigest, ResultHash};

    const RLC: u64 = 1_000_000_000;

    fn worker(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    fn deal(tasks: u64, price: u64, trust: u64) -> Bought {
        Bought {
            pool: Address::ZERO,
            category: U256::ZERO,
            tasks: U256::from(tasks),
            price: U256::from(price),
            trust: U256::from(trust),
            worker_stake: U256::from(price * 3 / 10),
            start: UnixSeconds(0),
            block: 0,
        }
    }

    fn counted(events: &[(u64, u8, MarketEvent)]) -> Counted {
        let mut counted = Counted::default();
        for (at, tx, event) in events {
            let tx = B256::repeat_byte(*tx);
            let logged = ChainEvent { event: event.clone(), tx, log_index: 0 };
            counted.event(UnixSeconds(*at), &logged);
        }
        counted
    }

    #[test]
    fn the_past_is_counted() {
        let task = TaskId(B256::repeat_byte(9));
        let reference = task.0;
        let hash = ResultHash(B256::ZERO);
        let digest = ResultDigest(B256::ZERO);
        let pool = Address::repeat_byte(0xee);
        let contributed = |number| MarketEvent::Contributed { task, worker: worker(number), hash };
        let amount = |rlc: u64| Nrlc::new(rlc * RLC);
        let it = counted(&[
            (100, 1, MarketEvent::TaskInitialized { task, workerpool: pool }),
            (110, 2, contributed(1)),
            (130, 3, contributed(2)),
            (170, 4, contributed(3)),
            (180, 5, MarketEvent::Revealed { task, worker: worker(1), digest }),
            (181, 6, MarketEvent::Revealed { task, worker: worker(2), digest }),
            (190, 7, MarketEvent::Seize { owner: worker(3), amount: amount(3), reference }),
            (190, 7, MarketEvent::FaultyContribution { worker: worker(3), task }),
            (190, 7, MarketEvent::Reward { owner: worker(1), amount: amount(6), reference }),
            (190, 7, MarketEvent::Reward { owner: worker(2), amount: amount(6), reference }),
            (190, 7, MarketEvent::Reward { owner: pool, amount: amount(1), reference }),
            (190, 7, MarketEvent::Finalized { task, results: Default::default() }),
        ]);
        let deals = [deal(1, 10 * RLC, 4), deal(3, 2 * RLC, 1)];
        let history = it.sum_up(&deals, 7_200);
        assert_eq!((history.completed, history.refunded, history.faulty), (1, 0, 1));
        assert_eq!((history.runs(), history.runs_per_hour()), (3.0, 1.5));
        assert_eq!(history.paid_rlc, 9.0, "the pool's owner is no worker");
        assert_eq!(history.stake_rlc, 0.75, "nothing is locked at trust 1");
        assert_eq!(history.run_seconds, Some(30.0));
        assert!((history.largest_share() - 1.0 / 3.0).abs() < 1e-9);
        let prices = history.categories.values().next().copied();
        let expected = Prices { tasks: 4.0, mean: 4.0, least: 2.0, most: 10.0 };
        assert_eq!(prices, Some(expected));
        let spent: Vec<_> =
            it.transactions.iter().map(|(_, it)| (it.contributions, it.reveals)).collect();
        assert_eq!(spent, [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1)]);
    }

    #[test]
    fn a_market_without_a_past_has_no_figures() {
        let history = Counted::default().sum_up(&[], 3_600);
        assert_eq!((history.runs(), history.tasks(), history.largest_share()), (0.0, 0.0, 0.0));
        assert_eq!(history.run_seconds, None);
    }
}
