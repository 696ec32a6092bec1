//! A scheduler: production's rules (`tasks`, `scheduler::plan`) with the bookkeeping that production does around them.

use std::collections::{BTreeSet, HashSet};

use alloy_primitives::{Address, B256, U256};
use primitives::{Nrlc, UnixSeconds};
use scheduler::checks::{Policy, lot};
use scheduler::choice::{Peer, choose};
use scheduler::plan::{Need, Step, WorkerView, World, plan};
use scheduler::reputation::{Ledger, Record, Standing};
use scheduler::room::Room;
use tasks::{
    Action, Blame, Call as TaskCall, Event as TaskEvent, Failure, ReplicaState, Status, Task, Terms,
};

use crate::chain::Logged;
use crate::hub::{Call, DealNo, Fact, TaskNo, address_of, deal_id, task_id, task_no, who_of};
use crate::market::{Event, Market, Order, Word, number};
use crate::scenario::PoolConduct;

const TICK_MS: u64 = 10_000;
/// When nothing but refunds is waited for.
const SLOW_TICK_MS: u64 = 120_000;
/// How soon workers come back to a scheduler that is up again.
const RECONNECT_MS: u64 = 1_000;
const RUNTIME: &str = "wasm";
/// Tasks that are settled together at most, and settlements in a row that do not come about before a worker's tasks go one
/// by one: as in production.
const SETTLE_MAX: usize = 100;
const UNSETTLED_MAX: u32 = 3;

/// A scheduler.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) up: bool,
    /// Counts its lives.
    pub(crate) epoch: u32,
    slots: Vec<Slot>,
    /// Where the slot of a task is, by the task's number.
    place_of: Vec<u32>,
    cursor: usize,
    forks_seen: usize,
    members: Vec<Member>,
    ticking: bool,
    /// Tasks that want workers.
    wanting: usize,
    /// What it knows of workers; it is kept on disk.
    ledger: Ledger,
}

#[derive(Debug)]
struct Slot {
    no: TaskNo,
    task: Task,
    wanted: usize,
    /// Who takes part, where two must not be of one owner.
    peers: Vec<Peer>,
    /// The last block that did something to it.
    block: u32,
    /// The block of its deal.
    deal_block: u32,
}

#[derive(Debug)]
struct Member {
    worker: usize,
    line: u32,
    computing: Vec<TaskNo>,
    given: u64,
    /// What it may settle now, by deal.
    ripe: BTreeSet<(DealNo, TaskNo)>,
    /// What it was told to settle and has not yet.
    settling: HashSet<TaskNo>,
    /// Of which deal that is.
    settled_last: DealNo,
    /// Settlements in a row that did not come about.
    unsettled: u32,
}

impl Member {
    fn new(worker: usize, line: u32) -> Self {
        Self {
            worker,
            line,
            computing: Vec::new(),
            given: 0,
            ripe: BTreeSet::new(),
            settling: HashSet::new(),
            settled_last: 0,
            unsettled: 0,
        }
    }

    /// Whether it is still told to settle.
    fn settles(&self) -> bool {
        self.unsettled < UNSETTLED_MAX
    }

    /// The tasks that it settles next: of the deal after the one whose turn it was last.
    fn next_batch(&mut self) -> Vec<TaskNo> {
        let later = self.ripe.range((self.settled_last.saturating_add(1), 0)..).next();
        let Some((deal, _)) = later.or_else(|| self.ripe.first()).copied() else {
            return Vec::new();
        };
        self.settled_last = deal;
        let tasks = self.ripe.range((deal, 0)..=(deal, TaskNo::MAX));
        tasks.take(SETTLE_MAX).map(|(_, task)| *task).collect()
    }
}

const NOWHERE: u32 = u32::MAX;

impl Pool {
    pub(crate) fn new(tasks: usize) -> Self {
        Self {
            up: true,
            epoch: 0,
            slots: Vec::new(),
            place_of: vec![NOWHERE; tasks],
            cursor: 0,
            forks_seen: 0,
            members: Vec::new(),
            ticking: false,
            wanting: 0,
            ledger: Ledger::default(),
        }
    }

    fn place(&self, task: TaskNo) -> Option<usize> {
        let place = *self.place_of.get(task as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn forget_all(&mut self) {
        self.slots.clear();
        self.place_of.fill(NOWHERE);
        self.members.clear();
        (self.cursor, self.wanting, self.ticking) = (0, 0, false);
    }
}

impl Market<'_> {
    pub(crate) fn pool_dies(&mut self, pool: usize) {
        let it = &mut self.pools[pool];
        it.up = false;
        it.epoch += 1;
        it.forget_all();
        for worker in 0..self.workers.len() {
            if self.scenario.workers[worker].pool == pool {
                self.workers[worker].line = None;
            }
        }
    }

    /// Reads the chain again, then acts.
    pub(crate) fn pool_restarts(&mut self, pool: usize) {
        // Two crashes may overlap: the second death ends both.
        if self.pools[pool].up {
            return;
        }
        self.pools[pool].up = true;
        self.pools[pool].forks_seen = self.chain.forks.len();
        let logs = std::mem::take(&mut self.chain.logs[pool]);
        for logged in &logs {
            if logged.fact == Fact::Matched {
                self.open_deal(pool, logged);
            } else {
                self.record(pool, logged);
            }
        }
        self.pools[pool].cursor = logs.len();
        self.chain.logs[pool] = logs;
        for place in 0..self.pools[pool].slots.len() {
            if self.pools[pool].slots[place].task.status().is_final() {
                self.learn(pool, place);
            }
            self.drive(pool, place, TaskEvent::Noticed);
        }
        self.proceed(pool);
        for worker in 0..self.workers.len() {
            if self.scenario.workers[worker].pool == pool {
                self.after(RECONNECT_MS, Event::Connects(worker));
            }
        }
    }

    /// News from the chain.
    pub(crate) fn pool_sees(&mut self, pool: usize) {
        if !self.pools[pool].up {
            return;
        }
        while let Some(fork) = self.chain.forks.get(self.pools[pool].forks_seen) {
            let (block, kept) = (fork.block, fork.kept[pool]);
            self.pools[pool].forks_seen += 1;
            if self.pools[pool].cursor > kept {
                self.pools[pool].cursor = kept;
                self.rewind(pool, block);
            }
        }
        while let Some(logged) = self.chain.logs[pool].get(self.pools[pool].cursor).copied() {
            self.pools[pool].cursor += 1;
            if logged.fact == Fact::Matched {
                let first = self.pools[pool].slots.len();
                self.open_deal(pool, &logged);
                for place in first..self.pools[pool].slots.len() {
                    self.drive(pool, place, TaskEvent::Noticed);
                }
            } else if let Some(place) = self.pools[pool].place(logged.about) {
                self.pools[pool].slots[place].block = logged.block;
                self.drive(pool, place, task_event(&logged));
            }
        }
        let height = u64::from(self.chain.height);
        self.pools[pool].ledger.close(height);
        self.proceed(pool);
    }

    pub(crate) fn pool_ticks(&mut self, pool: usize, epoch: u32) {
        if !self.pools[pool].up || self.pools[pool].epoch != epoch {
            return;
        }
        self.pools[pool].ticking = false;
        for place in 0..self.pools[pool].slots.len() {
            self.drive(pool, place, TaskEvent::Tick);
        }
        self.proceed(pool);
        self.keep_ticking(pool);
    }

    pub(crate) fn pool_refused(&mut self, pool: usize, epoch: u32, task: TaskNo, call: TaskCall) {
        if self.pools[pool].up
            && self.pools[pool].epoch == epoch
            && let Some(place) = self.pools[pool].place(task)
        {
            self.drive(pool, place, TaskEvent::Refused { call });
            self.proceed(pool);
        }
    }

    pub(crate) fn pool_hears(&mut self, worker: usize, task: TaskNo, word: Word) {
        let pool = self.scenario.workers[worker].pool;
        let address = address_of(self.workers[worker].wallet());
        if let Word::Unsettled(batch) = word {
            return self.pool_hears_unsettled(pool, worker, batch);
        }
        let Some(place) = self.pools[pool].place(task) else { return };
        if self.pools[pool].slots[place].task.replica(address).is_none() {
            return;
        }
        let worker = address;
        let event = match word {
            Word::Unsettled(_) => return,
            Word::Computed(hash) => TaskEvent::Computed { worker, hash },
            Word::Failed(blame) => TaskEvent::Failed { worker, failure: failure(blame) },
            Word::Uploaded => TaskEvent::Uploaded {
                worker,
                location: "/ipfs/result".to_owned(),
                callback_data: alloy_primitives::Bytes::new(),
            },
        };
        self.drive(pool, place, event);
        self.proceed(pool);
    }

    /// A batch did not come about: each of its tasks goes on as if nobody had been told to settle it.
    fn pool_hears_unsettled(&mut self, pool: usize, worker: usize, batch: u32) {
        let Some(tasks) = self.batches.get(batch as usize).cloned() else { return };
        if let Some(it) = self.pools[pool].members.iter_mut().find(|it| it.worker == worker) {
            it.unsettled += 1;
        }
        let worker = address_of(self.workers[worker].wallet());
        for task in tasks {
            if let Some(place) = self.pools[pool].place(task) {
                self.drive(pool, place, TaskEvent::Unsettled { worker });
            }
        }
        self.proceed(pool);
    }

    /// Tells workers what to settle. Each settles one batch at a time; meanwhile the next one gathers.
    fn tell_to_settle(&mut self, pool: usize) {
        for seat in 0..self.pools[pool].members.len() {
            let member = &mut self.pools[pool].members[seat];
            if member.ripe.is_empty() || !member.settling.is_empty() {
                continue;
            }
            let worker = address_of(self.workers[member.worker].wallet());
            let (tasks, event) = match member.settles() {
                true => (member.next_batch(), TaskEvent::Settling { worker }),
                false => (member.ripe.iter().map(|(_, task)| *task).collect(), TaskEvent::Single),
            };
            let mut told = Vec::new();
            for task in tasks {
                let Some(place) = self.pools[pool].place(task) else { continue };
                self.drive(pool, place, event.clone());
                let replica = self.pools[pool].slots[place].task.replica(worker);
                let is_told = event != TaskEvent::Single
                    && replica.is_some_and(|it| it.state == ReplicaState::Granted);
                told.extend(is_told.then_some(task));
            }
            let Some(first) = told.first().copied() else { continue };
            self.pools[pool].members[seat].settling.extend(&told);
            let number = number(self.batches.len());
            self.batches.push(told.into());
            let authorises =
                self.scenario.pools[pool].conduct != PoolConduct::WithholdsAuthorisation;
            if authorises {
                let worker = self.pools[pool].members[seat].worker;
                self.tell(pool, worker, first, Order::Settle(number));
            }
        }
    }

    /// A worker has logged in.
    pub(crate) fn pool_welcomes(&mut self, worker: usize, line: u32, holding: &[TaskNo]) {
        let pool = self.scenario.workers[worker].pool;
        self.lose(pool, worker);
        self.pools[pool].members.push(Member::new(worker, line));
        let address = address_of(self.workers[worker].wallet());
        for task in holding {
            let Some(place) = self.pools[pool].place(*task) else { continue };
            if self.pools[pool].slots[place].task.status().is_final() {
                self.tell(pool, worker, *task, Order::Release);
            } else {
                self.drive(pool, place, TaskEvent::Back { worker: address });
            }
        }
        self.proceed(pool);
    }

    /// A connection has ended, and the scheduler notices.
    pub(crate) fn pool_misses(&mut self, worker: usize, line: u32) {
        let pool = self.scenario.workers[worker].pool;
        let same = |member: &Member| member.worker == worker && member.line == line;
        if self.pools[pool].members.iter().any(same) {
            self.lose(pool, worker);
            self.proceed(pool);
        }
    }

    fn lose(&mut self, pool: usize, worker: usize) {
        let members = &mut self.pools[pool].members;
        let Some(place) = members.iter().position(|it| it.worker == worker) else { return };
        members.remove(place);
        for wallet in 0..self.workers[worker].wallets.len() {
            let address = address_of(self.workers[worker].wallets[wallet]);
            for place in 0..self.pools[pool].slots.len() {
                let task = &self.pools[pool].slots[place].task;
                if !task.status().is_final() && task.replica(address).is_some() {
                    self.drive(pool, place, TaskEvent::Lost { worker: address });
                }
            }
        }
    }

    fn open_deal(&mut self, pool: usize, logged: &Logged) {
        let offer = self.chain.hub.deals[logged.about as usize].offer;
        for no in offer.first..offer.first + offer.size {
            if self.pools[pool].place(no).is_some() {
                continue;
            }
            let task = self.new_task(no, logged.at);
            let slots = &mut self.pools[pool].slots;
            let (block, deal_block) = (logged.block, logged.block);
            slots.push(Slot { no, task, wanted: 0, peers: Vec::new(), block, deal_block });
            let place = number(slots.len() - 1);
            self.pools[pool].place_of[no as usize] = place;
        }
    }

    fn new_task(&self, no: TaskNo, start: u64) -> Task {
        let deal = self.chain.hub.task(no).deal;
        let offer = &self.chain.hub.deals[deal as usize].offer;
        let start = UnixSeconds(start);
        let terms = Terms {
            trust: U256::from(offer.trust),
            callback: false,
            batch: offer.trust <= 1 && self.scenario.rules.batches,
            enclave: false,
            run_seconds: offer.run_seconds,
            contribution_deadline: start.saturating_add(7 * offer.run_seconds),
            final_deadline: start.saturating_add(10 * offer.run_seconds),
        };
        Task::new(task_id(no), deal_id(deal), U256::from(no), terms, self.scenario.rules.limits)
    }

    fn record(&mut self, pool: usize, logged: &Logged) {
        let Some(place) = self.pools[pool].place(logged.about) else { return };
        let slot = &mut self.pools[pool].slots[place];
        slot.block = logged.block;
        slot.task.record(UnixSeconds(logged.at), task_event(logged));
    }

    /// Blocks after that one never were: forgets what was in them.
    fn rewind(&mut self, pool: usize, block: u32) {
        let mut place = 0;
        while place < self.pools[pool].slots.len() {
            let slot = &self.pools[pool].slots[place];
            if slot.deal_block > block {
                self.dismiss(pool, place);
                let gone = self.pools[pool].slots.remove(place);
                let it = &mut self.pools[pool];
                it.place_of[gone.no as usize] = NOWHERE;
                for (place, slot) in it.slots.iter().enumerate().skip(place) {
                    it.place_of[slot.no as usize] = number(place);
                }
                it.wanting -= usize::from(gone.wanted > 0);
                continue;
            }
            if slot.block > block {
                self.start_over(pool, place, block);
            }
            place += 1;
        }
    }

    fn start_over(&mut self, pool: usize, place: usize, block: u32) {
        self.dismiss(pool, place);
        let slot = &self.pools[pool].slots[place];
        let (no, deal_block) = (slot.no, slot.deal_block);
        let logs = &self.chain.logs[pool];
        let stands = |logged: &&Logged| logged.block <= block;
        let story: Vec<Logged> = logs
            .iter()
            .take_while(stands)
            .filter(|it| it.about == no && it.fact != Fact::Matched)
            .copied()
            .collect();
        let slot = &mut self.pools[pool].slots[place];
        let terms = slot.task.terms.clone();
        let limits = self.scenario.rules.limits;
        slot.task = Task::new(slot.task.id, slot.task.deal, slot.task.index, terms, limits);
        slot.block = deal_block;
        for logged in &story {
            slot.block = logged.block;
            slot.task.record(UnixSeconds(logged.at), task_event(logged));
        }
        self.drive(pool, place, TaskEvent::Noticed);
    }

    fn dismiss(&mut self, pool: usize, place: usize) {
        let slot = &self.pools[pool].slots[place];
        let no = slot.no;
        let workers: Vec<_> = slot.task.replicas().map(|it| who_of(it.worker)).collect();
        for who in workers {
            if let Some(worker) = self.worker_of[who as usize] {
                if let Some(it) = self.pools[pool].members.iter_mut().find(|it| it.worker == worker)
                {
                    it.computing.retain(|task| *task != no);
                    it.ripe.retain(|(_, task)| *task != no);
                    it.settling.remove(&no);
                }
                self.tell(pool, worker, no, Order::Release);
            }
        }
    }

    /// The scheduler's time: the chain's, or its own clock's.
    fn pool_now(&self, pool: usize) -> UnixSeconds {
        UnixSeconds(self.now() + self.scenario.pools[pool].clock_ahead)
    }

    /// Applies an event to a task and does what follows.
    fn drive(&mut self, pool: usize, place: usize, event: TaskEvent) {
        let now = self.pool_now(pool);
        let it = &mut self.pools[pool];
        let slot = &mut it.slots[place];
        if slot.task.status().is_final() {
            return;
        }
        let no = slot.no;
        let actions = slot.task.apply(now, event);
        let wanted = slot.task.wanted();
        it.wanting = it.wanting + usize::from(wanted > 0) - usize::from(slot.wanted > 0);
        slot.wanted = wanted;
        let ripe = slot.task.ripe();
        let deal = self.chain.hub.task(no).deal;
        for member in &mut it.members {
            let address = address_of(self.workers[member.worker].wallet());
            let replica = slot.task.replica(address);
            if ripe == Some(address) {
                member.ripe.insert((deal, no));
            } else if !member.ripe.is_empty() {
                member.ripe.remove(&(deal, no));
            }
            if replica.is_none_or(|it| it.state != ReplicaState::Granted)
                && member.settling.remove(&no)
                && replica.is_some_and(tasks::Replica::is_on_chain)
            {
                member.unsettled = 0;
            }
            let computing = replica.is_some_and(tasks::Replica::is_computing);
            match member.computing.iter().position(|task| *task == no) {
                None if computing => {
                    member.computing.push(no);
                    member.given += 1;
                }
                Some(place) if !computing => {
                    member.computing.swap_remove(place);
                }
                _ => {}
            }
        }
        let ended = slot.task.status().is_final();
        for action in actions {
            self.act(pool, no, &action);
        }
        if ended {
            self.learn(pool, place);
        }
        self.keep_ticking(pool);
    }

    /// A task has ended, and shows what its workers are worth.
    fn learn(&mut self, pool: usize, place: usize) {
        let it = &mut self.pools[pool];
        let slot = &mut it.slots[place];
        slot.peers = Vec::new();
        let lessons = it.ledger.learn(u64::from(slot.block), &slot.task);
        for (address, lesson) in lessons {
            let who = who_of(address);
            if lesson.is_fraud()
                && self.opinion(pool, address).0 == Standing::Barred
                && let Some(worker) = self.worker_of[who as usize]
            {
                self.next_wallet(worker, who);
            }
        }
    }

    fn opinion(&self, pool: usize, worker: Address) -> (Standing, u8) {
        let policy = self.scenario.rules.checks;
        match self.pools[pool].ledger.get(worker) {
            Some(record) => (policy.standing(record), record.unreliable()),
            None => (policy.standing(&Record::default()), 0),
        }
    }

    /// Before the first worker takes a task that asks for one only: draws whether its result is confirmed by another.
    fn draw_check(&mut self, pool: usize, place: usize, worker: Address) {
        let policy = self.scenario.rules.checks;
        let it = &self.pools[pool];
        let task = &it.slots[place].task;
        let alone = task.terms.trust <= U256::ONE && task.replicas().next().is_none();
        if policy == Policy::NEVER || !alone {
            return;
        }
        let another = it.members.iter().any(|member| {
            let address = address_of(self.workers[member.worker].wallet());
            address != worker && self.opinion(pool, address).0 != Standing::Barred
        });
        let secret = B256::left_padding_from(&self.scenario.seed.to_be_bytes());
        let record = it.ledger.worker(worker);
        if another && policy.is_due(&record, lot(secret, task.id)) {
            self.drive(pool, place, TaskEvent::Check);
        }
    }

    /// Remembers who takes part, where others must not be of the same.
    fn note_peer(&mut self, pool: usize, place: usize, worker: Address) {
        let (standing, _) = self.opinion(pool, worker);
        let slot = &mut self.pools[pool].slots[place];
        if slot.task.terms.trust <= U256::ONE && !slot.task.is_checked() {
            return;
        }
        slot.peers.retain(|known| known.worker != worker);
        slot.peers.push(Peer { worker, standing, ..Peer::default() });
    }

    fn act(&mut self, pool: usize, task: TaskNo, action: &Action) {
        let conduct = self.scenario.pools[pool].conduct;
        let owner = self.pool_account(pool);
        let to = |market: &Self, address| market.worker_of[who_of(address) as usize];
        match action {
            Action::Initialize => self.send(owner, Call::Initialize(task)),
            Action::Claim => self.send(owner, Call::Claim(task)),
            Action::Finalize { .. } if conduct != PoolConduct::NeverFinalizes => {
                self.send(owner, Call::Finalize(task));
            }
            Action::Reopen if conduct != PoolConduct::NeverFinalizes => {
                self.send(owner, Call::Reopen(task));
            }
            Action::Assign { worker } => {
                if let Some(worker) = to(self, *worker) {
                    self.workers[worker].taken += 1;
                    self.tell(pool, worker, task, Order::Assign);
                }
            }
            Action::Grant { worker } if conduct != PoolConduct::WithholdsAuthorisation => {
                if let Some(worker) = to(self, *worker) {
                    self.tell(pool, worker, task, Order::Grant);
                }
            }
            Action::AskReveal { worker } if conduct != PoolConduct::NeverFinalizes => {
                if let Some(worker) = to(self, *worker) {
                    self.tell(pool, worker, task, Order::Reveal);
                }
            }
            Action::Release { worker } => {
                if let Some(worker) = to(self, *worker) {
                    self.tell(pool, worker, task, Order::Release);
                }
            }
            Action::Finalize { .. }
            | Action::Reopen
            | Action::Grant { .. }
            | Action::AskReveal { .. }
            | Action::AskChallenge
            | Action::Report(_) => {}
        }
    }

    fn tell(&mut self, pool: usize, worker: usize, task: TaskNo, order: Order) {
        let member = self.pools[pool].members.iter().find(|it| it.worker == worker);
        if let Some(line) = member.map(|it| it.line) {
            self.post(Event::ToWorker { worker, line, task, order });
        }
    }

    /// Gives tasks to workers, as planned, until there is nothing more to give; and lets them settle what they have.
    fn proceed(&mut self, pool: usize) {
        self.give_out(pool);
        self.tell_to_settle(pool);
    }

    fn give_out(&mut self, pool: usize) {
        loop {
            let steps = self.plan(pool);
            let mut progress = false;
            for step in steps {
                let Step::Take { task, worker, weight } = step else { continue };
                let Some(place) = self.pools[pool].place(task_no(task)) else { continue };
                let taken = |market: &Self| {
                    let replica = market.pools[pool].slots[place].task.replica(worker);
                    replica.map_or(0, |it| it.tries)
                };
                let before = taken(self);
                let is_it = |it: &&Member| address_of(self.workers[it.worker].wallet()) == worker;
                let member = self.pools[pool].members.iter().find(is_it);
                if member.is_some_and(|it| !it.settles()) {
                    self.drive(pool, place, TaskEvent::Single);
                }
                self.draw_check(pool, place, worker);
                self.note_peer(pool, place, worker);
                self.drive(pool, place, TaskEvent::Taken { worker, weight });
                progress |= taken(self) > before;
            }
            if !progress {
                return;
            }
        }
    }

    fn plan(&self, pool: usize) -> Vec<Step> {
        let it = &self.pools[pool];
        if it.wanting == 0 || !it.up {
            return Vec::new();
        }
        let runtimes = [RUNTIME.to_owned()];
        let workers: Vec<_> = it
            .members
            .iter()
            .filter_map(|member| {
                let slots = self.scenario.workers[member.worker].slots;
                let free = slots.saturating_sub(number(member.computing.len()));
                let wallet = self.workers[member.worker].wallet();
                let worker = address_of(wallet);
                let (standing, unreliable) = self.opinion(pool, worker);
                (free > 0).then(|| WorkerView {
                    worker,
                    standing,
                    unreliable,
                    free,
                    given: member.given,
                    weight: U256::from(self.chain.hub.weight(wallet)),
                    runtimes: &runtimes,
                    room: Room::ENDLESS,
                    ..WorkerView::default()
                })
            })
            .collect();
        let free: usize = workers.iter().map(|it| it.free as usize).sum();
        if free == 0 {
            return Vec::new();
        }
        let mut wanting: Vec<_> = it.slots.iter().filter(|slot| slot.wanted > 0).collect();
        // Started first, then by deadline, as in production's books.
        wanting.sort_by_key(|slot| {
            let started = slot.task.replicas().next().is_some();
            (!started, slot.task.terms.contribution_deadline, slot.no)
        });
        let needs = wanting.iter().map(|slot| Need {
            task: &slot.task,
            runtime: RUNTIME,
            enclave: None,
            program: "",
            price: Nrlc::MAX,
            room: Room::default(),
            peers: &slot.peers,
            patient: true,
        });
        let can_go_on = |need: &Need<'_>| match need.peers {
            [] => workers.iter().any(|worker| need.suits(worker)),
            _ => !choose(need, &workers).is_empty(),
        };
        let needs = needs.filter(can_go_on).take(free).collect();
        plan(&World { needs, workers, deals: Vec::new(), window: 0 })
    }

    fn keep_ticking(&mut self, pool: usize) {
        let it = &mut self.pools[pool];
        if it.ticking || !it.up {
            return;
        }
        let open = |slot: &&Slot| !slot.task.status().is_final();
        let mut unfinished = it.slots.iter().filter(open).peekable();
        if unfinished.peek().is_none() {
            return;
        }
        let refunds_only = unfinished.all(|slot| slot.task.status() == Status::Doomed);
        it.ticking = true;
        let epoch = it.epoch;
        let pause = if refunds_only { SLOW_TICK_MS } else { TICK_MS };
        self.after(pause, Event::PoolTicks { pool, epoch });
    }
}

/// What a log means to its task.
fn task_event(logged: &Logged) -> TaskEvent {
    match logged.fact {
        Fact::Matched | Fact::Initialized => TaskEvent::Initialized,
        Fact::Contributed { worker, hash } => {
            TaskEvent::Contributed { worker: address_of(worker), hash, weight: None }
        }
        Fact::Consensus { hash } => TaskEvent::Consensus { hash, at: UnixSeconds(logged.at) },
        Fact::Revealed { worker, digest } => {
            TaskEvent::Revealed { worker: address_of(worker), digest }
        }
        Fact::Reopened => TaskEvent::Reopened,
        Fact::Finalized => TaskEvent::Finalized,
        Fact::Claimed => TaskEvent::Claimed,
    }
}

fn failure(blame: Blame) -> Failure {
    Failure::new(blame, "", "the run failed", "")
}
