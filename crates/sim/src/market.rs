//! The market: everybody in it, the messages under way, and the one queue that says what happens next.
//!
//! One thread, no clock: time jumps from event to event, and events of the same time happen in the order in which they
//! were put off. So a scenario always runs the same way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use primitives::ResultHash;
use tasks::{Blame, Call as TaskCall};

use crate::audit::{Audit, Violation};
use crate::chain::{Chain, Mined};
use crate::chance::Chance;
use crate::hub::{
    Account, Call, DealNo, Fact, Hub, KITTY_NO, Offer, Phase, TaskNo, Tx, Who, pool_stake,
};
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::scenario::{Fault, Scenario, Strategy};
use crate::worker::Worker;

/// Fresh wallets that a Sybil has beside its first.
const SPARE_WALLETS: u32 = 3;
const APP_OWNER: Who = 1;
/// When a requester looks after its deal's final deadline, and how often.
const CHASE_AFTER_MS: u64 = 120_000;
const CHASE_AGAIN_MS: u64 = 60_000;
/// How long after its final deadline a task may take to be claimed.
pub const CLAIM_SLACK_SECONDS: u64 = 900;
/// A simulation that takes that many events will not end.
const EVENTS_MAX: u64 = 50_000_000;

/// What a scheduler says to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Assign,
    Grant,
    Reveal,
    Release,
    /// The batch of that number.
    Settle(u32),
}

/// What a worker says to its scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Computed(ResultHash),
    Failed(Blame),
    Uploaded,
    /// The batch of that number did not come about.
    Unsettled(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Block,
    PoolSees(usize),
    PoolTicks { pool: usize, epoch: u32 },
    PoolRefused { pool: usize, epoch: u32, task: TaskNo, call: TaskCall },
    ToPool { worker: usize, line: u32, task: TaskNo, word: Word },
    ToWorker { worker: usize, line: u32, task: TaskNo, order: Order },
    Left { worker: usize, line: u32 },
    Connects(usize),
    Ran { worker: usize, life: u32, task: TaskNo },
    Looks { worker: usize, look: u32, task: TaskNo },
    Buys(DealNo),
    Chases(DealNo),
    FaultBegins(usize),
    FaultEnds(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    at_ms: u64,
    seq: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.seq).cmp(&(other.at_ms, other.seq))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Everything.
pub(crate) struct Market<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now_ms: u64,
    pub(crate) chain: Chain,
    pub(crate) pools: Vec<Pool>,
    pub(crate) workers: Vec<Worker>,
    /// Whose wallet it is; nothing for those of others than workers.
    pub(crate) worker_of: Vec<Option<usize>>,
    /// Which pool a deal is with.
    pub(crate) pool_of_deal: Vec<usize>,
    /// Transactions sent, by account.
    pub(crate) sent: Vec<u32>,
    /// Tasks that workers were told to settle together, by the batch's number.
    pub(crate) batches: Vec<Box<[TaskNo]>>,
    pub(crate) audit: Audit,
    queue: BinaryHeap<Reverse<Due>>,
    seq: u64,
    chance: Chance,
    dear_until_ms: u64,
    next_block_ms: u64,
    first_pool: Who,
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut market = Market::new(scenario);
    market.start();
    let violation = market.go_to_the_end();
    Outcome::of(&market, violation)
}

/// What a chain did, from what, and where it came to: to be compared with another that does the same.
#[derive(Debug)]
pub struct Transcript {
    /// Everybody's money at the start, by number.
    pub initial: Vec<Account>,
    /// All transactions in blocks that stand, in order.
    pub mined: Vec<Mined>,
    /// The hub at the end.
    pub hub: Hub,
}

/// Runs a scenario to its end for what its chain does.
pub fn transcript(scenario: &Scenario) -> Transcript {
    let mut market = Market::new(scenario);
    market.start();
    market.go_to_the_end();
    let Market { chain, audit, .. } = market;
    Transcript { initial: audit.initial, mined: chain.mined, hub: chain.hub }
}

impl<'a> Market<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut chance = Chance::new(scenario.seed, 1);
        let first_pool = APP_OWNER + 1 + number(scenario.requester_count());
        let first_worker = first_pool + number(scenario.pools.len());
        let (offers, pool_of_deal) = offers(scenario, first_pool, &mut chance);
        let mut accounts = accounts(scenario, &offers, first_pool, first_worker);
        let mut scores = vec![0; accounts.len()];
        let mut worker_of = vec![None; accounts.len()];
        let mut workers = Vec::with_capacity(scenario.workers.len());
        let purse = accounts.last().copied().unwrap_or_default();
        for (place, spec) in scenario.workers.iter().enumerate() {
            let wallet = first_worker + number(place);
            scores[wallet as usize] = spec.score;
            worker_of[wallet as usize] = Some(place);
            let mut wallets = vec![wallet];
            if matches!(spec.strategy, Strategy::Sybil(_)) {
                for _ in 0..SPARE_WALLETS {
                    wallets.push(number(accounts.len()));
                    accounts.push(purse);
                    scores.push(0);
                    worker_of.push(Some(place));
                }
            }
            workers.push(Worker::new(wallets));
        }
        let sent = vec![0; accounts.len()];
        let audit = Audit::new(&accounts);
        let hub = Hub::new(accounts, scores, &offers, scenario.rules.trust_bug);
        let task_count = hub.tasks.len();
        let chain = Chain::new(hub, scenario.pools.len(), scenario.net.block_ms);
        let pools = scenario.pools.iter().map(|_| Pool::new(task_count)).collect();
        Self {
            scenario,
            now_ms: 0,
            chain,
            pools,
            workers,
            worker_of,
            pool_of_deal,
            sent,
            batches: Vec::new(),
            audit,
            queue: BinaryHeap::with_capacity(256),
            seq: 0,
            chance,
            dear_until_ms: 0,
            next_block_ms: u64::MAX,
            first_pool,
        }
    }

    fn start(&mut self) {
        let scenario = self.scenario;
        for worker in 0..scenario.workers.len() {
            self.after(worker as u64, Event::Connects(worker));
        }
        for (deal, bag) in (0..).zip(&scenario.bags) {
            self.after(bag.at_ms, Event::Buys(deal));
        }
        for (place, fault) in scenario.faults.iter().enumerate() {
            let (at_ms, for_ms) = fault.time();
            self.after(at_ms, Event::FaultBegins(place));
            self.after(at_ms + for_ms, Event::FaultEnds(place));
        }
    }

    fn go_to_the_end(&mut self) -> Option<Violation> {
        for _ in 0..EVENTS_MAX {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now_ms = due.at_ms;
            if due.event == Event::Block {
                let ended = self.block();
                if let Some(violation) = self.audit.violation.take() {
                    return Some(violation);
                }
                if ended && self.is_over() {
                    return Audit::at_the_end(self);
                }
            } else {
                self.happen(due.event);
            }
        }
        Audit::at_the_end(self)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Block => {}
            Event::PoolSees(pool) => self.pool_sees(pool),
            Event::PoolTicks { pool, epoch } => self.pool_ticks(pool, epoch),
            Event::PoolRefused { pool, epoch, task, call } => {
                self.pool_refused(pool, epoch, task, call);
            }
            Event::ToPool { worker, line, task, word } => {
                if self.workers[worker].line == Some(line) {
                    self.pool_hears(worker, task, word);
                }
            }
            Event::ToWorker { worker, line, task, order } => {
                if self.workers[worker].line == Some(line) {
                    self.worker_hears(worker, task, order);
                }
            }
            Event::Left { worker, line } => self.pool_misses(worker, line),
            Event::Connects(worker) => self.connects(worker),
            Event::Ran { worker, life, task } => self.ran(worker, life, task),
            Event::Looks { worker, look, task } => self.looks(worker, look, task),
            Event::Buys(deal) => self.buys(deal),
            Event::Chases(deal) => self.chases(deal),
            Event::FaultBegins(place) => self.fault_begins(place),
            Event::FaultEnds(place) => self.fault_ends(place),
        }
    }

    /// Seconds, as the chain counts them.
    pub(crate) fn now(&self) -> u64 {
        self.now_ms / 1_000
    }

    pub(crate) fn after(&mut self, delay_ms: u64, event: Event) {
        self.seq += 1;
        let at_ms = self.now_ms + delay_ms;
        self.queue.push(Reverse(Due { at_ms, seq: self.seq, event }));
    }

    /// How long a message takes.
    pub(crate) fn delay_ms(&mut self) -> u64 {
        let net = self.scenario.net;
        net.delay_ms + self.chance.below(net.jitter_ms + 1)
    }

    /// Sends a message between a worker and its scheduler, as well as the network can.
    pub(crate) fn post(&mut self, event: Event) {
        let net = self.scenario.net;
        if self.chance.happens(net.loss_ppm) {
            return;
        }
        let delay = self.delay_ms();
        self.after(delay, event);
        if self.chance.happens(net.duplicate_ppm) {
            let delay = self.delay_ms();
            self.after(delay, event);
        }
    }

    /// Sends a transaction.
    pub(crate) fn send(&mut self, from: Who, call: Call) {
        self.sent[from as usize] += 1;
        let mut ready_ms = self.now_ms + self.delay_ms();
        // Who pays enough gets in; most senders wait until it is cheap again.
        if ready_ms < self.dear_until_ms && !self.chance.happens(200_000) {
            ready_ms = self.dear_until_ms + self.chance.below(2_000);
        }
        self.chain.submit(Tx { from, call }, ready_ms);
        self.schedule_block();
    }

    pub(crate) fn pool_account(&self, pool: usize) -> Who {
        self.first_pool + number(pool)
    }

    fn schedule_block(&mut self) {
        let Some(due_ms) = self.chain.next_block_ms() else { return };
        let due_ms = due_ms.max(self.now_ms);
        if due_ms < self.next_block_ms {
            self.next_block_ms = due_ms;
            self.after(due_ms - self.now_ms, Event::Block);
        }
    }

    /// Makes a block. Whether a task ended in it.
    fn block(&mut self) -> bool {
        self.next_block_ms = u64::MAX;
        let lengths: Vec<usize> = self.chain.logs.iter().map(Vec::len).collect();
        let pools = &self.pool_of_deal;
        let count = self.chain.mine(self.now_ms, |hub, (about, fact)| match fact {
            Fact::Matched => pools[*about as usize],
            _ => pools[hub.task(*about).deal as usize],
        });
        let mut ended = false;
        for (pool, before) in lengths.into_iter().enumerate() {
            if self.chain.logs[pool].len() == before {
                continue;
            }
            for place in before..self.chain.logs[pool].len() {
                let logged = self.chain.logs[pool][place];
                ended |= matches!(logged.fact, Fact::Finalized | Fact::Claimed);
                Audit::fact(self, &logged);
                self.throw_wallets_away(logged.about, logged.fact);
            }
            let delay = self.delay_ms();
            self.after(delay, Event::PoolSees(pool));
        }
        for place in self.chain.mined.len() - count..self.chain.mined.len() {
            if !self.chain.mined[place].accepted {
                let tx = self.chain.mined[place].tx.clone();
                self.refused(&tx);
            }
        }
        Audit::block(self);
        self.schedule_block();
        ended
    }

    fn refused(&mut self, tx: &Tx) {
        let Some(task) = tx.call.task() else { return };
        if let Some(worker) = self.worker_of[tx.from as usize] {
            self.worker_refused(worker, task, &tx.call);
            return;
        }
        let call = match tx.call {
            Call::Initialize(_) => TaskCall::Initialize,
            Call::Finalize(_) => TaskCall::Finalize,
            Call::Reopen(_) => TaskCall::Reopen,
            Call::Claim(_) => TaskCall::Claim,
            Call::Match(_)
            | Call::Contribute { .. }
            | Call::Reveal { .. }
            | Call::Alone { .. }
            | Call::Settle { .. } => return,
        };
        let pool = self.pool_of_deal[self.chain.hub.task(task).deal as usize];
        if self.pool_account(pool) == tx.from {
            let epoch = self.pools[pool].epoch;
            let delay = self.delay_ms();
            self.after(delay, Event::PoolRefused { pool, epoch, task, call });
        }
    }

    fn buys(&mut self, deal: DealNo) {
        let offer = self.chain.hub.deals[deal as usize].offer;
        self.send(offer.requester, Call::Match(deal));
        let last_ms = 10 * self.scenario.rules.run_seconds * 1_000;
        self.after(last_ms + CHASE_AFTER_MS, Event::Chases(deal));
    }

    /// The requester wants its money back if the scheduler has not seen to it.
    fn chases(&mut self, number: DealNo) {
        let deal = &self.chain.hub.deals[number as usize];
        let offer = deal.offer;
        let Some(start) = deal.start else {
            if self.chain.is_waiting(&Tx { from: offer.requester, call: Call::Match(number) }) {
                self.after(CHASE_AGAIN_MS, Event::Chases(number));
            }
            return;
        };
        let due = start + 10 * offer.run_seconds;
        let mut open = false;
        for task in offer.first..offer.first + offer.size {
            let phase = self.chain.hub.task(task).phase;
            if matches!(phase, Phase::Completed | Phase::Failed) {
                continue;
            }
            open = true;
            if self.now() < due {
                continue;
            }
            if phase == Phase::Unset {
                self.send(offer.requester, Call::Initialize(task));
            }
            self.send(offer.requester, Call::Claim(task));
        }
        if open && self.now() < due + CLAIM_SLACK_SECONDS {
            self.after(CHASE_AGAIN_MS, Event::Chases(number));
        }
    }

    fn fault_begins(&mut self, place: usize) {
        match self.scenario.faults[place] {
            Fault::PoolCrash { pool, .. } => self.pool_dies(pool),
            Fault::WorkerCrash { worker, .. } => self.worker_dies(worker),
            Fault::Disconnect { worker, .. } => {
                self.workers[worker].cut += 1;
                self.hang_up(worker);
            }
            Fault::GasSpike { at_ms, for_ms } => {
                self.dear_until_ms = self.dear_until_ms.max(at_ms + for_ms);
            }
            Fault::Reorganisation { .. } => self.chain.mark(),
        }
    }

    fn fault_ends(&mut self, place: usize) {
        match self.scenario.faults[place] {
            Fault::PoolCrash { pool, .. } => self.pool_restarts(pool),
            Fault::WorkerCrash { worker, .. } => self.worker_restarts(worker),
            Fault::Disconnect { worker, .. } => {
                self.workers[worker].cut -= 1;
                self.after(50, Event::Connects(worker));
            }
            Fault::GasSpike { .. } => {}
            Fault::Reorganisation { .. } => {
                if self.chain.reorganise(self.now_ms, &mut self.chance) {
                    for pool in 0..self.pools.len() {
                        let delay = self.delay_ms();
                        self.after(delay, Event::PoolSees(pool));
                    }
                    self.schedule_block();
                }
            }
        }
    }

    /// Whether every deal that was made has ended, and nothing can bring one back.
    fn is_over(&self) -> bool {
        let hub = &self.chain.hub;
        let over = |phase| matches!(phase, Phase::Completed | Phase::Failed);
        let bought = |(deal, bag): (&crate::hub::Deal, &crate::scenario::Bag)| {
            deal.start.is_some() || self.now_ms > bag.at_ms + 600_000
        };
        hub.deals.iter().zip(&self.scenario.bags).all(bought)
            && hub.tasks.iter().all(|task| {
                over(task.phase) || hub.deals[task.deal as usize].start.is_none()
            })
            && !self.scenario.faults.iter().any(|fault| {
                matches!(fault, Fault::Reorganisation { at_ms, for_ms } if at_ms + for_ms >= self.now_ms)
            })
    }

    /// A Sybil whose wallet lost its name goes on with the next.
    fn throw_wallets_away(&mut self, task: TaskNo, fact: Fact) {
        if fact != Fact::Finalized {
            return;
        }
        for place in 0..self.chain.hub.task(task).contributions.len() {
            let contribution = self.chain.hub.task(task).contributions[place];
            if contribution.standing == crate::hub::Standing::Proved {
                continue;
            }
            if let Some(worker) = self.worker_of[contribution.worker as usize] {
                self.next_wallet(worker, contribution.worker);
            }
        }
    }
}

impl Fault {
    /// When it begins and how long it lasts, in ms.
    pub fn time(&self) -> (u64, u64) {
        match *self {
            Self::PoolCrash { at_ms, for_ms, .. }
            | Self::WorkerCrash { at_ms, for_ms, .. }
            | Self::Disconnect { at_ms, for_ms, .. }
            | Self::GasSpike { at_ms, for_ms }
            | Self::Reorganisation { at_ms, for_ms } => (at_ms, for_ms),
        }
    }
}

/// What each bag's deal will say, and with which pool: mostly the cheapest, sometimes another.
fn offers(scenario: &Scenario, first_pool: Who, chance: &mut Chance) -> (Vec<Offer>, Vec<usize>) {
    let mut first = 0;
    let cheapest = (0..scenario.pools.len())
        .min_by_key(|pool| (scenario.pools[*pool].price_per_run, *pool))
        .unwrap_or_default();
    let choose = |bag: &crate::scenario::Bag| {
        let mut chance = Chance::new(chance.number(), bag.at_ms);
        let any =
            if chance.happens(700_000) { cheapest } else { chance.place(scenario.pools.len()) };
        let pool = bag.pool.unwrap_or(any);
        let rules = &scenario.rules;
        let offer = Offer {
            requester: APP_OWNER + 1 + number(bag.requester),
            app_owner: APP_OWNER,
            pool_owner: first_pool + number(pool),
            app_price: rules.app_price,
            pool_price: scenario.pools.get(pool).map_or(0, |it| it.price_per_run)
                * runs_expected(bag.trust),
            stake_percent: rules.stake_percent,
            scheduler_percent: rules.scheduler_percent,
            trust: bag.trust.max(1),
            run_seconds: rules.run_seconds,
            first,
            size: bag.tasks,
        };
        first += bag.tasks;
        (offer, pool)
    };
    scenario.bags.iter().map(choose).unzip()
}

/// How many runs a task of that trust takes when all workers are fresh and agree: what a scheduler asks money for.
pub fn runs_expected(trust: u64) -> u64 {
    let trust = alloy_primitives::U256::from(trust.max(1));
    let runs = verdict::workers_needed(trust, &[]).unwrap_or(1) as u64;
    if trust > alloy_primitives::U256::ONE { runs.max(2) } else { runs }
}

/// Everybody can pay for all that may come.
fn accounts(
    scenario: &Scenario,
    offers: &[Offer],
    first_pool: Who,
    first_worker: Who,
) -> Vec<Account> {
    let mut accounts = vec![Account::default(); first_worker as usize + scenario.workers.len()];
    let mut stake_max = 0;
    for offer in offers {
        let size = u64::from(offer.size);
        accounts[offer.requester as usize].free += (offer.app_price + offer.pool_price) * size;
        accounts[offer.pool_owner as usize].free += pool_stake(offer.pool_price) * size;
        stake_max = stake_max.max(crate::hub::worker_stake(offer));
    }
    for pool in first_pool..first_worker {
        accounts[pool as usize].free += 1;
    }
    let tasks = scenario.task_count();
    for worker in first_worker..number(accounts.len()) {
        accounts[worker as usize].free = stake_max * (tasks + 1);
    }
    accounts[KITTY_NO as usize].locked = scenario.kitty;
    accounts
}

pub(crate) fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
