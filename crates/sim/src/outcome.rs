//! What came out of a simulation.

use crate::audit::Violation;
use crate::hub::{Phase, Who};
use crate::market::{Market, number};
use crate::scenario::{PoolConduct, RequesterConduct, Strategy};
use crate::worker::is_true;

/// Who somebody was, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A worker.
    Worker(Strategy),
    /// A scheduler.
    Pool(PoolConduct),
    /// A requester.
    Requester(RequesterConduct),
}

impl Role {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker(strategy) => strategy.name(),
            Self::Pool(conduct) => conduct.name(),
            Self::Requester(conduct) => conduct.name(),
        }
    }
}

/// What somebody made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gain {
    /// Who.
    pub role: Role,
    /// Money gained in all, costs of runs and transactions taken off, in nRLC.
    pub net: i64,
    /// Tasks: taken by a worker, served by a scheduler, bought by a requester.
    pub tasks: u32,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Tasks with a right result.
    pub right: u32,
    /// Tasks with a wrong result.
    pub wrong: u32,
    /// Tasks that were claimed and refunded.
    pub refunded: u32,
    /// Tasks of deals that were never made.
    pub unmatched: u32,
    /// Times that workers were given a task.
    pub runs: u32,
    /// Contributions of honest workers that lost their stake.
    pub honest_slashed: u32,
    /// What everybody made of it.
    pub gains: Vec<Gain>,
    /// Virtual time, in ms.
    pub ended_ms: u64,
}

impl Outcome {
    pub(crate) fn of(market: &Market<'_>, violation: Option<Violation>) -> Self {
        let hub = &market.chain.hub;
        let (mut right, mut wrong, mut refunded, mut unmatched) = (0, 0, 0, 0);
        let mut honest_slashed = 0;
        for (no, task) in (0..).zip(&hub.tasks) {
            match (task.phase, task.digest) {
                (Phase::Completed, Some(digest)) if is_true(no, digest) => right += 1,
                (Phase::Completed, _) => wrong += 1,
                (Phase::Failed, _) => refunded += 1,
                _ => unmatched += 1,
            }
            if task.phase == Phase::Completed {
                honest_slashed += number(
                    task.contributions
                        .iter()
                        .filter(|it| it.standing != crate::hub::Standing::Proved)
                        .filter(|it| {
                            market.worker_of[it.worker as usize].is_some_and(|worker| {
                                market.scenario.workers[worker].strategy == Strategy::Honest
                            })
                        })
                        .count(),
                );
            }
        }
        let runs = market.workers.iter().map(|it| it.taken).sum();
        let gains = gains(market);
        let ended_ms = market.now_ms;
        Self { violation, right, wrong, refunded, unmatched, runs, honest_slashed, gains, ended_ms }
    }

    /// Tasks that were bought.
    pub fn tasks(&self) -> u32 {
        self.right + self.wrong + self.refunded
    }
}

fn gains(market: &Market<'_>) -> Vec<Gain> {
    let scenario = market.scenario;
    let hub = &market.chain.hub;
    let change = |who: Who| {
        let (then, now) = (market.audit.initial[who as usize], hub.accounts[who as usize]);
        signed(now.free + now.locked)
            - signed(then.free + then.locked)
            - i64::from(market.sent[who as usize]) * signed(scenario.costs.transaction)
    };
    let mut gains = Vec::with_capacity(scenario.workers.len() + scenario.pools.len() + 2);
    for (spec, worker) in scenario.workers.iter().zip(&market.workers) {
        let earned: i64 = worker.wallets.iter().map(|wallet| change(*wallet)).sum();
        let net = earned
            - i64::from(worker.runs) * signed(scenario.costs.run)
            - i64::from(worker.taken) * signed(scenario.costs.presence);
        let role = Role::Worker(without_group(spec.strategy));
        gains.push(Gain { role, net, tasks: worker.taken });
    }
    for (pool, spec) in scenario.pools.iter().enumerate() {
        let owner = market.pool_account(pool);
        let served = hub.tasks.iter().filter(|task| {
            let deal = &hub.deals[task.deal as usize];
            deal.start.is_some() && market.pool_of_deal[task.deal as usize] == pool
        });
        let tasks = number(served.count());
        gains.push(Gain { role: Role::Pool(spec.conduct), net: change(owner), tasks });
    }
    for (deal, bag) in hub.deals.iter().zip(&scenario.bags) {
        // What an honest requester pays buys it something; only the other one's money is a gain or a loss.
        if bag.conduct == RequesterConduct::Griefing && deal.start.is_some() {
            let alone =
                scenario.bags.iter().filter(|it| it.requester == bag.requester).count() == 1;
            if alone {
                let net = change(deal.offer.requester);
                gains.push(Gain { role: Role::Requester(bag.conduct), net, tasks: bag.tasks });
            }
        }
    }
    gains
}

/// All groups of a strategy are one row.
fn without_group(strategy: Strategy) -> Strategy {
    match strategy {
        Strategy::Colluder(_) => Strategy::Colluder(0),
        Strategy::Sybil(_) => Strategy::Sybil(0),
        Strategy::Sleeper(_) => Strategy::Sleeper(0),
        Strategy::Equivocator(_) => Strategy::Equivocator(0),
        other => other,
    }
}

fn signed(nrlc: u64) -> i64 {
    i64::try_from(nrlc).unwrap_or(i64::MAX)
}
