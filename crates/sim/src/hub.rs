//! The hub's rules on plain numbers: who may do what to a deal and its tasks, and what it costs and pays.
//!
//! It is the contract as far as the market's actors use it: matching with its locks, initialisation, contributions under
//! authorisation, consensus, reveal, finalisation, settlement of many tasks, reopening, claims, scores and the kitty. Consensus and payments are
//! computed by `verdict`. Signatures are not made: a call says whether it is authorised. The tests run the same
//! transactions on the real contract and compare every figure.

use alloy_primitives::{Address, B256, U256};
use primitives::{DealId, Nrlc, ResultDigest, ResultHash, TaskId};
use verdict::money::{KITTY, POOL_STAKE_PERCENT};
use verdict::{Ballot, DealMoney, Outcome, Why, Worker};

/// A number for everybody who has an account. 0 is the kitty.
pub type Who = u32;
/// A task's number in its simulation.
pub type TaskNo = u32;
/// A deal's number in its simulation: that of the bag of tasks it buys.
pub type DealNo = u32;

/// The kitty's number.
pub const KITTY_NO: Who = 0;
/// Units of time for contributions, for reveals, and until a claim.
const CONTRIBUTION_RATIO: u64 = 7;
const REVEAL_RATIO: u64 = 2;
const FINAL_RATIO: u64 = 10;

/// Someone's stake, in nRLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Free to use.
    pub free: u64,
    /// Held by open tasks; for the kitty, all it has.
    pub locked: u64,
}

/// What a deal will say when it is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Who pays.
    pub requester: Who,
    /// Who is paid for the app.
    pub app_owner: Who,
    /// The workerpool's owner.
    pub pool_owner: Who,
    /// Prices per task, in nRLC.
    pub app_price: u64,
    /// Of the workerpool.
    pub pool_price: u64,
    /// A worker's stake in percent of the pool's price.
    pub stake_percent: u64,
    /// The scheduler's share of the reward in percent.
    pub scheduler_percent: u64,
    /// The trust asked for.
    pub trust: u64,
    /// The category's unit of time, in seconds.
    pub run_seconds: u64,
    /// The first of its tasks.
    pub first: TaskNo,
    /// How many.
    pub size: u32,
}

/// A deal.
#[derive(Debug, Clone)]
pub struct Deal {
    /// What was matched.
    pub offer: Offer,
    /// When, in seconds; nothing before.
    pub start: Option<u64>,
}

/// Where the hub has a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Phase {
    Unset,
    Active,
    Revealing,
    Completed,
    Failed,
}

/// What became of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Standing {
    Contributed,
    Proved,
    Rejected,
}

/// A contribution.
#[derive(Debug, Clone, Copy)]
pub struct Contribution {
    /// Who.
    pub worker: Who,
    /// What it says.
    pub digest: ResultDigest,
    /// The hash on chain.
    pub hash: ResultHash,
    /// Whether the seal is of this worker: without, it can never be revealed.
    pub sealed: bool,
    /// What became of it.
    pub standing: Standing,
    /// Its weight when it was made.
    pub weight: u64,
    /// From when to when it could be revealed, in seconds, once there was a consensus on it.
    pub window: Option<(u64, u64)>,
}

/// A task.
#[derive(Debug, Clone)]
pub struct HubTask {
    /// Its id.
    pub id: TaskId,
    /// Its deal.
    pub deal: DealNo,
    /// Where it is.
    pub phase: Phase,
    /// What was agreed on.
    pub consensus: Option<ResultHash>,
    /// What was found, once shown.
    pub digest: Option<ResultDigest>,
    /// Who contributed, in order.
    pub contributions: Vec<Contribution>,
    /// When it ended, in seconds.
    pub ended: Option<u64>,
    ballot: Ballot,
    reveal_deadline: u64,
    winners: u32,
    revealed: u32,
}

/// A call of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `matchOrders`.
    Match(DealNo),
    /// `initialize`.
    Initialize(TaskNo),
    /// `contribute`.
    Contribute {
        /// Which task.
        task: TaskNo,
        /// What the hash says.
        digest: ResultDigest,
        /// Whether the seal is the sender's.
        sealed: bool,
        /// Whether the pool's owner has signed.
        authorised: bool,
    },
    /// `reveal`.
    Reveal {
        /// Which task.
        task: TaskNo,
        /// What was found.
        digest: ResultDigest,
    },
    /// `finalize`.
    Finalize(TaskNo),
    /// `contributeAndFinalize`.
    Alone {
        /// Which task.
        task: TaskNo,
        /// What was found.
        digest: ResultDigest,
        /// Whether the pool's owner has signed.
        authorised: bool,
    },
    /// `settle`.
    Settle {
        /// Which tasks, of one deal, and what was found.
        items: Box<[(TaskNo, ResultDigest)]>,
        /// Whether the pool's owner has signed.
        authorised: bool,
        /// The sender's own number for it; the hub does not know it.
        batch: u32,
    },
    /// `reopen`.
    Reopen(TaskNo),
    /// `claim`.
    Claim(TaskNo),
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tx {
    /// Who sends it.
    pub from: Who,
    /// What it calls.
    pub call: Call,
}

/// What the hub logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Fact {
    Matched,
    Initialized,
    Contributed { worker: Who, hash: ResultHash },
    Consensus { hash: ResultHash },
    Revealed { worker: Who, digest: ResultDigest },
    Reopened,
    Finalized,
    Claimed,
}

/// Something logged: about a task, or with [`Fact::Matched`] about the deal of that number.
pub type Log = (u32, Fact);

/// The contract refuses: nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// The hub.
#[derive(Debug, Clone)]
pub struct Hub {
    /// By number.
    pub accounts: Vec<Account>,
    /// By number.
    pub scores: Vec<u64>,
    /// By number.
    pub deals: Vec<Deal>,
    /// By number.
    pub tasks: Vec<HubTask>,
    /// Whether consensus is counted wrongly: a fault for tests of the simulator itself.
    pub trust_bug: bool,
}

type Done = Result<(), Refused>;

impl Hub {
    /// A hub where these may be matched and these have money.
    pub fn new(
        accounts: Vec<Account>,
        scores: Vec<u64>,
        offers: &[Offer],
        trust_bug: bool,
    ) -> Self {
        let mut tasks = Vec::with_capacity(offers.iter().map(|offer| offer.size as usize).sum());
        let trust_counted = |trust: u64| if trust_bug { trust / 2 } else { trust };
        for (deal, offer) in (0..).zip(offers) {
            for task in offer.first..offer.first + offer.size {
                tasks.push(HubTask {
                    id: task_id(task),
                    deal,
                    phase: Phase::Unset,
                    consensus: None,
                    digest: None,
                    contributions: Vec::new(),
                    ended: None,
                    ballot: Ballot::new(U256::from(trust_counted(offer.trust))),
                    reveal_deadline: 0,
                    winners: 0,
                    revealed: 0,
                });
            }
        }
        let deals = offers.iter().map(|offer| Deal { offer: *offer, start: None }).collect();
        Self { accounts, scores, deals, tasks, trust_bug }
    }

    /// Executes a transaction in a block of that time (seconds) and logs what it did.
    pub fn execute(&mut self, now: u64, tx: &Tx, logs: &mut Vec<Log>) -> Done {
        match tx.call {
            Call::Settle { ref items, authorised, .. } => {
                self.settle(now, tx.from, items, authorised, logs)
            }
            Call::Match(deal) => self.match_orders(now, deal, logs),
            Call::Initialize(task) => self.initialize(task, logs),
            Call::Contribute { task, digest, sealed, authorised } => {
                let contribution = self.contribution(tx.from, task, digest, sealed);
                self.contribute(now, task, contribution, authorised, logs)
            }
            Call::Reveal { task, digest } => self.reveal(now, tx.from, task, digest, logs),
            Call::Finalize(task) => self.finalize(now, tx.from, task, logs),
            Call::Alone { task, digest, authorised } => {
                let contribution = self.contribution(tx.from, task, digest, true);
                self.alone(now, task, contribution, authorised, logs)
            }
            Call::Reopen(task) => self.reopen(now, tx.from, task, logs),
            Call::Claim(task) => self.claim(now, task, logs),
        }
    }

    /// The deal of a task.
    pub fn deal_of(&self, task: TaskNo) -> &Deal {
        &self.deals[self.tasks[task as usize].deal as usize]
    }

    /// A task.
    pub fn task(&self, task: TaskNo) -> &HubTask {
        &self.tasks[task as usize]
    }

    /// From when on a task may be claimed, in seconds; the end of time before its deal.
    pub fn final_deadline(&self, task: TaskNo) -> u64 {
        let deal = self.deal_of(task);
        deal.start.map_or(u64::MAX, |start| start + FINAL_RATIO * deal.offer.run_seconds)
    }

    /// Until when a task takes contributions, in seconds.
    pub fn contribution_deadline(&self, task: TaskNo) -> u64 {
        let deal = self.deal_of(task);
        deal.start.map_or(u64::MAX, |start| start + CONTRIBUTION_RATIO * deal.offer.run_seconds)
    }

    /// How much a worker's word counts.
    pub fn weight(&self, worker: Who) -> u64 {
        verdict::weight(U256::from(self.scores[worker as usize])).saturating_to()
    }

    fn match_orders(&mut self, now: u64, number: DealNo, logs: &mut Vec<Log>) -> Done {
        let Deal { offer, start } = self.deals[number as usize];
        if start.is_some() {
            return Err(Refused);
        }
        let size = u64::from(offer.size);
        let price = (offer.app_price + offer.pool_price).checked_mul(size).ok_or(Refused)?;
        let stake = pool_stake(offer.pool_price).checked_mul(size).ok_or(Refused)?;
        let short = |who: Who, amount| self.accounts[who as usize].free < amount;
        let (requester, owner) = (offer.requester, offer.pool_owner);
        let both = if requester == owner { stake } else { 0 };
        if short(requester, price + both) || short(owner, stake) {
            return Err(Refused);
        }
        self.lock(requester, price)?;
        self.lock(owner, stake)?;
        self.deals[number as usize].start = Some(now);
        logs.push((number, Fact::Matched));
        Ok(())
    }

    fn initialize(&mut self, number: TaskNo, logs: &mut Vec<Log>) -> Done {
        let matched = self.deal_of(number).start.is_some();
        let task = &mut self.tasks[number as usize];
        if task.phase != Phase::Unset || !matched {
            return Err(Refused);
        }
        task.phase = Phase::Active;
        logs.push((number, Fact::Initialized));
        Ok(())
    }

    fn contribution(
        &self,
        worker: Who,
        task: TaskNo,
        digest: ResultDigest,
        sealed: bool,
    ) -> Contribution {
        let hash = verdict::result_hash(self.tasks[task as usize].id, digest);
        let weight = self.weight(worker);
        let standing = Standing::Contributed;
        Contribution { worker, digest, hash, sealed, standing, weight, window: None }
    }

    fn contribute(
        &mut self,
        now: u64,
        number: TaskNo,
        contribution: Contribution,
        authorised: bool,
        logs: &mut Vec<Log>,
    ) -> Done {
        let stake = worker_stake(&self.deal_of(number).offer);
        let run_seconds = self.deal_of(number).offer.run_seconds;
        let deadline = self.contribution_deadline(number);
        let Contribution { worker, hash, weight, .. } = contribution;
        let task = &self.tasks[number as usize];
        let again = task.contributions.iter().any(|it| it.worker == worker);
        if task.phase != Phase::Active || now >= deadline || again || !authorised {
            return Err(Refused);
        }
        self.lock(worker, stake)?;
        let task = &mut self.tasks[number as usize];
        task.contributions.push(contribution);
        logs.push((number, Fact::Contributed { worker, hash }));
        task.ballot.add(hash, U256::from(weight)).map_err(|_| Refused)?;
        if task.ballot.wins(hash).map_err(|_| Refused)? {
            task.phase = Phase::Revealing;
            task.consensus = Some(hash);
            task.reveal_deadline = now + REVEAL_RATIO * run_seconds;
            task.revealed = 0;
            let window = (now, task.reveal_deadline);
            let winners = task.contributions.iter_mut();
            let counts =
                |it: &&mut Contribution| it.hash == hash && it.standing == Standing::Contributed;
            task.winners = 0;
            for winner in winners.filter(counts) {
                winner.window = Some(window);
                task.winners += 1;
            }
            logs.push((number, Fact::Consensus { hash }));
        }
        Ok(())
    }

    fn reveal(
        &mut self,
        now: u64,
        worker: Who,
        number: TaskNo,
        digest: ResultDigest,
        logs: &mut Vec<Log>,
    ) -> Done {
        let task = &mut self.tasks[number as usize];
        if task.phase != Phase::Revealing || now >= task.reveal_deadline {
            return Err(Refused);
        }
        let consensus = task.consensus;
        let mine = task.contributions.iter_mut().find(|it| it.worker == worker).ok_or(Refused)?;
        let fits = mine.digest == digest && Some(mine.hash) == consensus && mine.sealed;
        if mine.standing != Standing::Contributed || !fits {
            return Err(Refused);
        }
        mine.standing = Standing::Proved;
        task.revealed += 1;
        task.digest = Some(digest);
        logs.push((number, Fact::Revealed { worker, digest }));
        Ok(())
    }

    fn reopen(&mut self, now: u64, from: Who, number: TaskNo, logs: &mut Vec<Log>) -> Done {
        let deadline = self.final_deadline(number);
        let owner = self.deal_of(number).offer.pool_owner;
        let task = &mut self.tasks[number as usize];
        let open = task.phase == Phase::Revealing && now < deadline;
        if from != owner || !open || now < task.reveal_deadline || task.revealed > 0 {
            return Err(Refused);
        }
        let Some(hash) = task.consensus.take() else { return Err(Refused) };
        for contribution in task.contributions.iter_mut().filter(|it| it.hash == hash) {
            contribution.standing = Standing::Rejected;
        }
        task.ballot.strike(hash);
        task.phase = Phase::Active;
        (task.reveal_deadline, task.winners) = (0, 0);
        logs.push((number, Fact::Reopened));
        Ok(())
    }

    fn finalize(&mut self, now: u64, from: Who, number: TaskNo, logs: &mut Vec<Log>) -> Done {
        let deadline = self.final_deadline(number);
        let owner = self.deal_of(number).offer.pool_owner;
        let task = &self.tasks[number as usize];
        let shown =
            task.revealed == task.winners || (task.revealed > 0 && now >= task.reveal_deadline);
        if from != owner || task.phase != Phase::Revealing || now >= deadline || !shown {
            return Err(Refused);
        }
        let workers = task.contributions.iter().map(|it| Worker {
            address: address_of(it.worker),
            log2_weight: U256::from(it.weight.checked_ilog2().unwrap_or_default()),
            proved: it.standing == Standing::Proved,
        });
        let outcome = Outcome::Finalized(workers.collect());
        self.pay(number, &outcome)?;
        let task = &mut self.tasks[number as usize];
        let alone = task.contributions.len() == 1;
        for contribution in &task.contributions {
            let score = &mut self.scores[contribution.worker as usize];
            match contribution.standing {
                Standing::Proved => *score += u64::from(!alone),
                _ => *score = *score * 2 / 3,
            }
        }
        task.phase = Phase::Completed;
        task.ended = Some(now);
        logs.push((number, Fact::Finalized));
        Ok(())
    }

    fn alone(
        &mut self,
        now: u64,
        number: TaskNo,
        contribution: Contribution,
        authorised: bool,
        logs: &mut Vec<Log>,
    ) -> Done {
        let deadline = self.contribution_deadline(number);
        let trust = self.deal_of(number).offer.trust;
        let task = &self.tasks[number as usize];
        let open = task.phase == Phase::Active && now < deadline;
        if !open || !task.contributions.is_empty() || trust > 1 || !authorised {
            return Err(Refused);
        }
        self.end_alone(now, number, contribution, logs)
    }

    /// All of them or none.
    fn settle(
        &mut self,
        now: u64,
        from: Who,
        items: &[(TaskNo, ResultDigest)],
        authorised: bool,
        logs: &mut Vec<Log>,
    ) -> Done {
        let Some((first, _)) = items.first() else { return Err(Refused) };
        let (deal, deadline) = (self.task(*first).deal, self.contribution_deadline(*first));
        let Deal { offer, start } = self.deals[deal as usize];
        if start.is_none() || now >= deadline || offer.trust > 1 || !authorised {
            return Err(Refused);
        }
        for (place, (number, _)) in items.iter().enumerate() {
            let task = self.task(*number);
            let open = matches!(task.phase, Phase::Unset | Phase::Active);
            let twice = items[..place].iter().any(|(before, _)| before == number);
            if task.deal != deal || !open || !task.contributions.is_empty() || twice {
                return Err(Refused);
            }
        }
        for (number, digest) in items {
            if self.task(*number).phase == Phase::Unset {
                logs.push((*number, Fact::Initialized));
            }
            let contribution = self.contribution(from, *number, *digest, true);
            self.end_alone(now, *number, contribution, logs)?;
        }
        Ok(())
    }

    /// One contribution makes the result, and its worker is paid.
    fn end_alone(
        &mut self,
        now: u64,
        number: TaskNo,
        mut contribution: Contribution,
        logs: &mut Vec<Log>,
    ) -> Done {
        let Contribution { worker, hash, digest, .. } = contribution;
        self.pay(number, &Outcome::FinalizedAlone(address_of(worker)))?;
        let task = &mut self.tasks[number as usize];
        contribution.standing = Standing::Proved;
        contribution.weight = 1;
        task.contributions.push(contribution);
        task.consensus = Some(hash);
        task.digest = Some(digest);
        task.phase = Phase::Completed;
        task.ended = Some(now);
        let facts = [
            Fact::Contributed { worker, hash },
            Fact::Consensus { hash },
            Fact::Revealed { worker, digest },
            Fact::Finalized,
        ];
        logs.extend(facts.map(|fact| (number, fact)));
        Ok(())
    }

    fn claim(&mut self, now: u64, number: TaskNo, logs: &mut Vec<Log>) -> Done {
        let deadline = self.final_deadline(number);
        let task = &self.tasks[number as usize];
        if !matches!(task.phase, Phase::Active | Phase::Revealing) || now < deadline {
            return Err(Refused);
        }
        let workers = task.contributions.iter().map(|it| address_of(it.worker)).collect();
        self.pay(number, &Outcome::Claimed(workers))?;
        let task = &mut self.tasks[number as usize];
        task.phase = Phase::Failed;
        task.ended = Some(now);
        logs.push((number, Fact::Claimed));
        Ok(())
    }

    /// Opens what was locked for a task and hands it out.
    fn pay(&mut self, number: TaskNo, outcome: &Outcome) -> Done {
        let offer = self.deal_of(number).offer;
        let stake = worker_stake(&offer);
        let kitty = Nrlc::new(self.accounts[KITTY_NO as usize].locked);
        let payments = verdict::split(&deal_money(&offer), outcome, kitty).map_err(|_| Refused)?;
        self.open(offer.requester, offer.app_price + offer.pool_price)?;
        self.open(offer.pool_owner, pool_stake(offer.pool_price))?;
        if !matches!(outcome, Outcome::FinalizedAlone(_)) {
            for place in 0..self.tasks[number as usize].contributions.len() {
                let worker = self.tasks[number as usize].contributions[place].worker;
                self.open(worker, stake)?;
            }
        }
        for payment in payments {
            let amount = payment.amount.0.saturating_to::<u64>();
            if payment.why == Why::Kitty {
                self.open(KITTY_NO, amount)?;
            }
            let account = &mut self.accounts[who_of(payment.to) as usize];
            let purse =
                if payment.why == Why::Forfeit { &mut account.locked } else { &mut account.free };
            *purse = purse.checked_add(amount).ok_or(Refused)?;
        }
        Ok(())
    }

    fn lock(&mut self, who: Who, amount: u64) -> Done {
        let account = &mut self.accounts[who as usize];
        account.free = account.free.checked_sub(amount).ok_or(Refused)?;
        account.locked = account.locked.checked_add(amount).ok_or(Refused)?;
        Ok(())
    }

    /// Takes out of the lock; what is taken is paid out by the caller.
    fn open(&mut self, who: Who, amount: u64) -> Done {
        let account = &mut self.accounts[who as usize];
        account.locked = account.locked.checked_sub(amount).ok_or(Refused)?;
        Ok(())
    }
}

/// The scheduler's stake for a task at that price.
pub fn pool_stake(pool_price: u64) -> u64 {
    pool_price * POOL_STAKE_PERCENT / 100
}

/// A worker's stake in a task.
pub fn worker_stake(offer: &Offer) -> u64 {
    offer.pool_price * offer.stake_percent / 100
}

/// The address of somebody.
pub fn address_of(who: Who) -> Address {
    if who == KITTY_NO {
        return KITTY;
    }
    let mut bytes = [0x51; 20];
    bytes[16..].copy_from_slice(&who.to_be_bytes());
    Address(bytes.into())
}

/// Whose address it is.
pub fn who_of(address: Address) -> Who {
    if address == KITTY { KITTY_NO } else { last_word(address.as_slice()) }
}

/// The id of a task.
pub fn task_id(task: TaskNo) -> TaskId {
    TaskId(numbered(0x7a, task))
}

/// Which task has that id.
pub fn task_no(id: TaskId) -> TaskNo {
    last_word(id.0.as_slice())
}

/// The id of a deal.
pub fn deal_id(deal: DealNo) -> DealId {
    DealId(numbered(0xde, deal))
}

fn numbered(kind: u8, number: u32) -> B256 {
    let mut word = B256::repeat_byte(kind);
    word[28..].copy_from_slice(&number.to_be_bytes());
    word
}

fn last_word(bytes: &[u8]) -> u32 {
    bytes.last_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
}

fn deal_money(offer: &Offer) -> DealMoney {
    DealMoney {
        payer: address_of(offer.requester),
        app_owner: address_of(offer.app_owner),
        app_price: Nrlc::new(offer.app_price),
        dataset_owner: Address::ZERO,
        dataset_price: Nrlc::ZERO,
        workerpool_owner: address_of(offer.pool_owner),
        workerpool_price: Nrlc::new(offer.pool_price),
        worker_stake: Nrlc::new(worker_stake(offer)),
        scheduler_percent: U256::from(offer.scheduler_percent),
    }
}
