//! Everything the scheduler knows, in one place with one writer.
//!
//! What happens comes in as a method call; what is to be done comes out as [`Effect`]s. Nothing here waits, reads a clock
//! or sends anything.

mod spare;
mod trust;
mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use chain::{ChainEvent, MarketEvent};
use primitives::{DealId, ResultHash, TaskId, UnixSeconds};
use tasks::{Action, Blame, Event, Failure, Replica, ReplicaState, Report, Status, Task, Upload};
use wire::link::{Capabilities, Enclave, RunFailure, SETTLE_MAX, ToScheduler, ToWorker};

use crate::checks::Policy;
use crate::choice::{Peer, choose};
use crate::config::Limits;
use crate::deal::{CONTRIBUTION_RATIO, DealSpec};
use crate::plan::{DealView, Need, Step, WorkerView, World, plan};
use crate::reputation::Ledger;
use crate::room::Room;
pub(crate) use spare::Abilities;
use spare::{Rest, Spare};
use trust::Trust;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Say that to a worker.
    Tell { worker: Address, message: ToWorker },
    /// Sign the worker's authorisation for the task and send it.
    Grant { worker: Address, task: TaskId, challenge: Address },
    /// Give the worker a task for its enclave, with its authorisation: the secret manager asks the enclave for it.
    AssignEnclave { worker: Address, task: TaskId, deal: DealId, index: u64, challenge: Address },
    /// Sign the worker's authorisation for all of these and send it.
    Settle { worker: Address, deal: DealId, tasks: Vec<(TaskId, U256)> },
    /// Ask the secret manager for the key of the task's enclave.
    AskChallenge { task: TaskId, enclave: Enclave },
    /// Send a transaction.
    Initialize { task: TaskId, deal: DealId, index: U256 },
    /// Send a transaction.
    Finalize { task: TaskId, location: String, callback: Address, callback_data: Bytes },
    /// Send a transaction.
    Reopen { task: TaskId },
    /// Send a transaction.
    Claim { task: TaskId },
    /// Keep a piece of what a program printed; so many bytes before it were left out.
    Print { task: TaskId, worker: Address, is_error: bool, text: String, missed: u64 },
}

/// A block as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockNews<'a> {
    pub(crate) number: u64,
    pub(crate) timestamp: UnixSeconds,
    pub(crate) events: &'a [ChainEvent],
}

/// A task and what is known around it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) task: Task,
    pub(crate) deal: Arc<DealSpec>,
    /// As the chain has them, once finalized.
    pub(crate) results: Option<Bytes>,
    /// The block of the initialisation; 0 before.
    pub(crate) initialized_block: u64,
    /// The transactions that brought it to a status: status, transaction, block.
    pub(crate) receipts: Vec<(Status, B256, u64)>,
    /// What its programs printed where they ran well.
    pub(crate) outputs: BTreeMap<Address, Output>,
    /// Whose programs' output is kept as it came: by worker, and whether it is what was printed as errors.
    streamed: BTreeSet<(Address, bool)>,
    /// Who takes part, where others must not be of the same owner or machine.
    peers: Vec<Peer>,
    /// What the chain did to it, to begin again from when the chain takes some of it back.
    log: Vec<Logged>,
    /// When it is its deal's turn: the lowest comes first.
    turn: u64,
    /// First come first served.
    seq: u64,
    /// Where it stands in the queue of tasks that want workers.
    place: Option<Place>,
}

/// What workers had brought when the chain took blocks back: they do not have it any more, and it is where it was. Kept beyond
/// the task, since a deal that is gone may come again.
#[derive(Debug, Default)]
struct Brought {
    uploads: BTreeMap<(TaskId, ResultHash), Upload>,
    order: VecDeque<(TaskId, ResultHash)>,
}

impl Brought {
    /// The oldest go first.
    const KEPT_MAX: usize = 10_000;

    fn remember(&mut self, task: &Task) {
        for replica in task.replicas() {
            let (Some(hash), Some(upload)) = (replica.hash, &replica.upload) else { continue };
            if self.uploads.insert((task.id, hash), upload.clone()).is_none() {
                self.order.push_back((task.id, hash));
            }
        }
        while self.order.len() > Self::KEPT_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.uploads.remove(&oldest));
        }
    }

    fn of(&self, task: TaskId, hash: ResultHash) -> Option<&Upload> {
        self.uploads.get(&(task, hash))
    }
}

/// The end of what a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Something the chain logged about a task, and when.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) block: u64,
    pub(crate) at: UnixSeconds,
    pub(crate) event: ChainEvent,
}

/// Something the chain did to a task.
#[derive(Debug, Clone)]
struct Logged {
    block: u64,
    then: UnixSeconds,
    event: Event,
}

/// Most urgent first: started, earlier turn, earlier deadline, earlier arrival.
type Place = (bool, u64, UnixSeconds, u64, TaskId);

#[derive(Debug)]
struct DealBook {
    spec: Arc<DealSpec>,
    /// The first index nobody has looked at.
    next: U256,
    /// The index after the last.
    end: U256,
    /// Its tasks that have not ended.
    open: usize,
    /// Those of them that only wait for their refund.
    doomed: usize,
    /// The turn of its task that was opened last.
    turn: u64,
}

#[derive(Debug)]
struct WorkerEntry {
    connection: u64,
    capabilities: Capabilities,
    weight: U256,
    score: U256,
    /// What its score was before each of the latest changes, and the block that brought the change.
    scored: VecDeque<(u64, U256)>,
    draining: bool,
    rest: Rest,
    computing: BTreeSet<TaskId>,
    /// What they take up.
    taken: Room,
    /// Tasks given to it since it connected.
    given: u64,
    /// What it can settle as soon as nothing else is being settled: by deal, first come first served.
    ripe: BTreeMap<DealId, BTreeSet<(u64, TaskId)>>,
    /// What it was told to settle and has not yet.
    settling: BTreeSet<TaskId>,
    /// The deal whose turn it was last.
    settled_last: DealId,
    /// Settlements that did not come about since one did.
    unsettled: u32,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Books {
    workerpool: Address,
    limits: Limits,
    /// Whether the past is read and it is time to act.
    live: bool,
    entries: HashMap<TaskId, Entry>,
    unfinished: BTreeSet<TaskId>,
    /// In the order in which they ended; the oldest are forgotten first.
    finished: VecDeque<TaskId>,
    deals: BTreeMap<DealId, DealBook>,
    /// Deals by arrival.
    arrivals: VecDeque<DealId>,
    workers: BTreeMap<Address, WorkerEntry>,
    wanting: BTreeSet<Place>,
    brought: Brought,
    /// What happened to tasks of our deals that are not opened yet.
    early: HashMap<TaskId, Vec<Logged>>,
    /// Unfinished tasks that only wait for their refund.
    doomed: BTreeSet<TaskId>,
    /// The latest turn that a task was taken at.
    turn: u64,
    seq: u64,
    trust: Trust,
    spare: Spare,
}

/// Tasks that something happened to before they are opened.
const EARLY_MAX: usize = 100_000;
/// Settlements in a row that do not come about before a worker's tasks go one by one, until it connects again.
const UNSETTLED_MAX: u32 = 3;
/// Unfinished tasks that are remembered for each that may be at work.
const REMEMBERED_PER_OPEN: usize = 10;
/// Changes of a worker's score that are remembered in case the chain takes them back.
const SCORED_MAX: usize = 1_024;
/// Finished tasks whose past is kept in case the chain takes it back.
const REWINDABLE_MAX: usize = 1_024;
const TEXT_BYTES_MAX: usize = 2_048;
const TAIL_BYTES_MAX: usize = 8_192;

impl Books {
    pub(crate) fn new(workerpool: Address, limits: Limits) -> Self {
        Self {
            workerpool,
            limits,
            live: false,
            entries: HashMap::new(),
            unfinished: BTreeSet::new(),
            finished: VecDeque::new(),
            deals: BTreeMap::new(),
            arrivals: VecDeque::new(),
            workers: BTreeMap::new(),
            wanting: BTreeSet::new(),
            brought: Brought::default(),
            early: HashMap::new(),
            doomed: BTreeSet::new(),
            turn: 0,
            seq: 0,
            spare: Spare::default(),
            trust: Trust::new(Policy::NEVER, B256::ZERO, Ledger::default()),
        }
    }

    pub(crate) fn entry(&self, task: TaskId) -> Option<&Entry> {
        self.entries.get(&task)
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn is_connected(&self, worker: Address) -> bool {
        self.workers.contains_key(&worker)
    }

    /// How many tasks want workers, and what the most urgent of them waits for.
    pub(crate) fn waiting(&self) -> Option<(usize, TaskId, String)> {
        let (.., task) = self.wanting.first()?;
        Some((self.wanting.len(), *task, self.waiting_for(*task)?.text))
    }

    pub(crate) fn unfinished_count(&self) -> usize {
        self.unfinished.len()
    }

    /// The block from which to read again after a restart, if anything is unfinished.
    pub(crate) fn oldest_unfinished_block(&self) -> Option<u64> {
        self.deals.values().map(|deal| deal.spec.block).min()
    }

    /// The past is read: whatever is to be done is done now.
    pub(crate) fn go_live(&mut self, now: UnixSeconds) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.live = true;
        for task in self.unfinished.clone() {
            self.drive(now, task, Event::Noticed, &mut effects);
        }
        self.proceed(now, &mut effects);
        effects
    }

    /// A block of the market, with the deals of it that are ours.
    pub(crate) fn block(
        &mut self,
        now: UnixSeconds,
        block: &BlockNews<'_>,
        deals: Vec<Arc<DealSpec>>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for deal in deals {
            self.deal(deal);
        }
        // Tasks of new deals come first, so that what the same block did to them finds them.
        self.proceed(now, &mut effects);
        for event in block.events {
            self.chain_event(now, block, event, &mut effects);
        }
        self.trust.ledger.close(block.number);
        self.proceed(now, &mut effects);
        effects
    }

    /// Blocks after that one never were. Deals in them are forgotten; what happened to tasks is read again from there.
    pub(crate) fn rewound(&mut self, now: UnixSeconds, block: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.workers.values_mut().for_each(|worker| worker.rewound(block));
        let gone: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.deal.block > block)
            .map(|(task, _)| *task)
            .collect();
        for task in gone {
            if let Some(entry) = self.entries.get(&task) {
                self.brought.remember(&entry.task);
            }
            self.forget(task, &mut effects);
        }
        self.deals.retain(|_, deal| deal.spec.block <= block);
        self.arrivals.retain(|deal| self.deals.contains_key(deal));
        let touched: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.log.iter().any(|logged| logged.block > block))
            .map(|(task, _)| *task)
            .collect();
        for early in self.early.values_mut() {
            early.retain(|logged| logged.block <= block);
        }
        for task in touched {
            self.start_over(task, block, &mut effects);
        }
        self.proceed(now, &mut effects);
        effects
    }

    /// A worker has logged in. A second connection of the same wallet takes the place of the first.
    pub(crate) fn joined(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        connection: u64,
        capabilities: Capabilities,
        score: U256,
        holding: &[TaskId],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.lose(now, worker, &mut effects);
        let weight = verdict::weight(score);
        let entry = WorkerEntry {
            connection,
            capabilities,
            weight,
            score,
            scored: VecDeque::new(),
            draining: false,
            rest: Rest::default(),
            computing: BTreeSet::new(),
            taken: Room::default(),
            given: 0,
            ripe: BTreeMap::new(),
            settling: BTreeSet::new(),
            settled_last: DealId::default(),
            unsettled: 0,
        };
        self.workers.insert(worker, entry);
        for task in holding {
            match self.entries.get(task) {
                Some(entry) if !entry.task.status().is_final() => {
                    self.drive(now, *task, Event::Back { worker }, &mut effects);
                }
                Some(_) => {
                    let message = ToWorker::Release { task_id: *task };
                    effects.push(Effect::Tell { worker, message });
                }
                // Not read yet, or of another pool: the worker keeps what it staked for until it knows better.
                None => {}
            }
        }
        self.proceed(now, &mut effects);
        effects
    }

    /// A worker's connection ended.
    pub(crate) fn left(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        connection: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.workers.get(&worker).is_some_and(|entry| entry.connection == connection) {
            self.lose(now, worker, &mut effects);
            self.proceed(now, &mut effects);
        }
        effects
    }

    /// A worker said something. What does not fit is ignored: it may be late, or a lie.
    pub(crate) fn said(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        message: ToScheduler,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.spare.clock = self.spare.clock.max(now);
        let (task, event) = match message {
            ToScheduler::Computed { task_id, result_hash, stdout_tail, stderr_tail } => {
                self.printed_at_last(worker, task_id, &stdout_tail, &stderr_tail, &mut effects);
                self.keep_output(task_id, worker, stdout_tail, stderr_tail);
                if self.takes_part(task_id, worker) {
                    self.note_success(worker);
                    self.compare(now, task_id, worker, result_hash, &mut effects);
                }
                (task_id, Event::Computed { worker, hash: result_hash })
            }
            ToScheduler::Unsettled { task_ids, reason } => {
                self.unsettled(now, worker, &task_ids, &reason, &mut effects);
                return effects;
            }
            ToScheduler::Failed { task_id, failure } => {
                let failure = bounded(failure);
                let (stdout, stderr) = (&failure.stdout_tail, &failure.stderr_tail);
                self.printed_at_last(worker, task_id, stdout, stderr, &mut effects);
                if self.takes_part(task_id, worker) {
                    self.note_failure(now, worker, task_id, &failure);
                }
                (task_id, Event::Failed { worker, failure })
            }
            ToScheduler::Uploaded { task_id, location, callback_data } => {
                if location.len() > TEXT_BYTES_MAX {
                    return effects;
                }
                (task_id, Event::Uploaded { worker, location, callback_data })
            }
            // The chain says so itself, and only that counts.
            ToScheduler::Contributed { .. } | ToScheduler::Revealed { .. } => return effects,
            ToScheduler::Draining {} => {
                if let Some(entry) = self.workers.get_mut(&worker) {
                    entry.draining = true;
                }
                return effects;
            }
            ToScheduler::Returned { task_id, reason } => {
                let reason = cut_end(reason, TEXT_BYTES_MAX);
                tracing::debug!(%worker, task = %task_id, reason, "a task is given back");
                (task_id, Event::Returned { worker })
            }
            ToScheduler::Log { task_id, stream, text, missed } => {
                return self.printed(worker, task_id, stream, text, missed);
            }
            ToScheduler::Paused { reason } => {
                self.pause(worker, Some(reason));
                return effects;
            }
            ToScheduler::Resumed {} => {
                self.pause(worker, None);
                self.proceed(now, &mut effects);
                return effects;
            }
            ToScheduler::Warm { images } => {
                self.warmed(worker, images);
                return effects;
            }
            ToScheduler::Unknown => return effects,
        };
        if self.takes_part(task, worker) {
            self.drive(now, task, event, &mut effects);
            self.proceed(now, &mut effects);
        }
        effects
    }

    /// An answer to what the scheduler sent for a task: a refusal of the chain, or a word of the secret manager.
    pub(crate) fn answered(
        &mut self,
        now: UnixSeconds,
        task: TaskId,
        answer: Event,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.drive(now, task, answer, &mut effects);
        self.proceed(now, &mut effects);
        effects
    }

    /// What workers may settle now. A worker settles one batch at a time, and meanwhile the next one gathers; its deals
    /// take turns.
    pub(crate) fn settlements(&mut self, now: UnixSeconds) -> Vec<Effect> {
        let mut effects = Vec::new();
        let free = |(_, entry): &(&Address, &WorkerEntry)| {
            entry.settling.is_empty() && !entry.ripe.is_empty()
        };
        let free: Vec<Address> = self.workers.iter().filter(free).map(|(it, _)| *it).collect();
        for worker in free {
            if self.workers.get(&worker).is_some_and(|it| !it.capabilities.settles) {
                self.go_singly(now, worker, &mut effects);
                continue;
            }
            let Some((deal, batch)) = self.workers.get_mut(&worker).and_then(next_batch) else {
                continue;
            };
            let mut tasks = Vec::new();
            for task in batch {
                self.drive(now, task, Event::Settling { worker }, &mut effects);
                let Some(entry) = self.entries.get(&task) else { continue };
                let told = |it: &Replica| it.state == ReplicaState::Granted;
                if entry.task.replica(worker).is_some_and(told) {
                    tasks.push((task, entry.task.index));
                }
            }
            if let Some(entry) = self.workers.get_mut(&worker) {
                entry.settling.extend(tasks.iter().map(|(task, _)| *task));
            }
            if !tasks.is_empty() {
                effects.push(Effect::Settle { worker, deal, tasks });
            }
        }
        effects
    }

    /// What a worker could have settled goes the way of one: it has had no luck with settling.
    fn go_singly(&mut self, now: UnixSeconds, worker: Address, effects: &mut Vec<Effect>) {
        let Some(entry) = self.workers.get(&worker) else { return };
        let ripe: Vec<_> = entry.ripe.values().flatten().map(|(_, task)| *task).collect();
        for task in ripe {
            self.drive(now, task, Event::Single, effects);
        }
    }

    /// A settlement did not come about: each of its tasks goes on as if it had not been told to settle.
    fn unsettled(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        tasks: &[TaskId],
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let reason = &reason[..reason.floor_char_boundary(TEXT_BYTES_MAX)];
        tracing::warn!(%worker, tasks = tasks.len(), reason, "a settlement did not come about");
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.unsettled = entry.unsettled.saturating_add(1);
            if entry.unsettled >= UNSETTLED_MAX {
                tracing::warn!(%worker, "its tasks are not settled together any more");
                entry.capabilities.settles = false;
            }
        }
        for task in tasks.iter().take(SETTLE_MAX) {
            if self.takes_part(*task, worker) {
                self.drive(now, *task, Event::Unsettled { worker }, effects);
            }
        }
        self.proceed(now, effects);
    }

    fn takes_part(&self, task: TaskId, worker: Address) -> bool {
        self.entries.get(&task).is_some_and(|entry| entry.task.replica(worker).is_some())
    }

    /// Keeps the end of what a program printed, for the requester.
    fn keep_output(&mut self, task: TaskId, worker: Address, stdout: String, stderr: String) {
        if !self.takes_part(task, worker) || (stdout.is_empty() && stderr.is_empty()) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&task) {
            let output = Output {
                stdout: cut_start(stdout, TAIL_BYTES_MAX),
                stderr: cut_start(stderr, TAIL_BYTES_MAX),
            };
            entry.outputs.insert(worker, output);
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: UnixSeconds) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.live {
            for task in self.unfinished.clone() {
                self.drive(now, task, Event::Tick, &mut effects);
            }
            self.refuse_unservable(now, &mut effects);
            self.proceed(now, &mut effects);
        }
        effects
    }

    fn deal(&mut self, spec: Arc<DealSpec>) {
        let (first, size) = (spec.deal.first, spec.deal.size);
        let id = spec.id;
        let end = first.saturating_add(size);
        let book = DealBook { spec, next: first, end, open: 0, doomed: 0, turn: 0 };
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.deals.entry(id) {
            vacant.insert(book);
            self.arrivals.push_back(id);
        }
    }

    fn chain_event(
        &mut self,
        now: UnixSeconds,
        block: &BlockNews<'_>,
        event: &ChainEvent,
        effects: &mut Vec<Effect>,
    ) {
        match &event.event {
            MarketEvent::AccurateContribution { worker, .. } => {
                self.rescore(*worker, block.number, |score| score.saturating_add(U256::ONE));
            }
            MarketEvent::FaultyContribution { worker, .. } => {
                let change = |score: U256| score.saturating_mul(U256::from(2)) / U256::from(3);
                self.rescore(*worker, block.number, change);
            }
            _ => {}
        }
        let Some(task) = event.event.task() else { return };
        let Some(its) = self.task_event(block, &event.event) else { return };
        let then = if self.live { now } else { block.timestamp };
        let logged = Logged { block: block.number, then: block.timestamp, event: its.clone() };
        let Some(entry) = self.entries.get_mut(&task) else {
            // Only a task of a deal that is not wholly opened can be meant.
            let ours = self.deals.values().any(|deal| deal.next < deal.end);
            if ours && (self.early.len() < EARLY_MAX || self.early.contains_key(&task)) {
                self.early.entry(task).or_default().push(logged);
            }
            return;
        };
        entry.log.push(logged);
        entry.keep(block.number, &event.event);
        let before = entry.task.status();
        self.drive(then, task, its, effects);
        self.bring_again(then, task, effects);
        if let Some(entry) = self.entries.get_mut(&task) {
            entry.receipt(before, event.tx, block.number);
        }
    }

    /// What a market event means to the task it is about.
    fn task_event(&self, block: &BlockNews<'_>, event: &MarketEvent) -> Option<Event> {
        let weight = |worker| self.workers.get(&worker).map(|entry| entry.weight);
        task_event(self.workerpool, block.timestamp, event, weight)
    }

    /// A worker that came while the past is read came with the score of the present.
    fn rescore(&mut self, worker: Address, block: u64, change: impl Fn(U256) -> U256) {
        if let Some(entry) = self.workers.get_mut(&worker).filter(|_| self.live) {
            entry.scored.push_back((block, entry.score));
            if entry.scored.len() > SCORED_MAX {
                entry.scored.pop_front();
            }
            entry.rate(change(entry.score));
        }
    }

    /// Everything a worker had in hand goes to somebody else.
    fn lose(&mut self, now: UnixSeconds, worker: Address, effects: &mut Vec<Effect>) {
        if self.workers.remove(&worker).is_none() {
            return;
        }
        let at_work: Vec<_> = self
            .unfinished
            .iter()
            .filter(|task| {
                self.entries.get(task).is_some_and(|it| it.task.replica(worker).is_some())
            })
            .copied()
            .collect();
        for task in at_work {
            self.drive(now, task, Event::Lost { worker }, effects);
        }
    }

    /// Applies an event to a task and keeps everything that depends on it.
    fn drive(&mut self, now: UnixSeconds, id: TaskId, event: Event, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let was_final = entry.task.status().is_final();
        let actions = if self.live {
            entry.task.apply(now, event)
        } else {
            entry.task.record(now, event);
            Vec::new()
        };
        for action in actions {
            effects.extend(effect(entry, action));
        }
        let ripe = if self.live { entry.task.ripe() } else { None };
        for replica in entry.task.replicas() {
            if let Some(worker) = self.workers.get_mut(&replica.worker) {
                if replica.is_computing() {
                    worker.given += u64::from(worker.begin(id, &entry.deal));
                    self.turn = self.turn.max(entry.turn);
                } else {
                    worker.cease(id, &entry.deal);
                }
                worker.note_ripe(entry.deal.id, (entry.seq, id), ripe == Some(replica.worker));
                if replica.state != ReplicaState::Granted
                    && worker.settling.remove(&id)
                    && replica.is_on_chain()
                {
                    worker.unsettled = 0;
                }
            }
        }
        let is_final = entry.task.status().is_final();
        let is_doomed = entry.task.status() == Status::Doomed;
        self.note_doomed(id, is_doomed);
        self.requeue(id);
        if is_final && !was_final {
            self.learn(id);
            self.close(id);
        }
    }

    /// Notes whether the task only waits for its refund.
    fn note_doomed(&mut self, id: TaskId, is_doomed: bool) {
        let changed = if is_doomed { self.doomed.insert(id) } else { self.doomed.remove(&id) };
        let deal = self.entries.get(&id).map(|entry| entry.deal.id);
        if let Some(book) = deal.filter(|_| changed).and_then(|deal| self.deals.get_mut(&deal)) {
            book.doomed = if is_doomed { book.doomed + 1 } else { book.doomed.saturating_sub(1) };
        }
    }

    /// How many more tasks may be opened. Those that only wait for their refund do not count, or a bag of a broken program
    /// would stop the pool for all; but they are remembered, so they are bounded too.
    fn window(&self) -> usize {
        let most = self.limits.open_tasks_max;
        let at_work = self.unfinished.len().saturating_sub(self.doomed.len());
        let remembered =
            most.saturating_mul(REMEMBERED_PER_OPEN).saturating_sub(self.unfinished.len());
        most.saturating_sub(at_work).min(remembered)
    }

    fn requeue(&mut self, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let place = (self.live && entry.task.wanted() > 0).then(|| {
            let started = entry.task.replicas().next().is_some();
            (!started, entry.turn, entry.task.terms.contribution_deadline, entry.seq, id)
        });
        if place != entry.place {
            if let Some(old) = entry.place.take() {
                self.wanting.remove(&old);
            }
            if let Some(new) = place {
                self.wanting.insert(new);
                entry.place = Some(new);
            }
        }
    }

    /// A task has ended: its deal may have, and the oldest that ended are forgotten.
    fn close(&mut self, id: TaskId) {
        self.unfinished.remove(&id);
        self.finished.push_back(id);
        let deal = self.entries.get(&id).map(|entry| entry.deal.id);
        if let Some(deal) = deal {
            if let Some(book) = self.deals.get_mut(&deal) {
                book.open = book.open.saturating_sub(1);
            }
            self.retire(deal);
        }
        let settled = self.finished.len().checked_sub(REWINDABLE_MAX).map(|at| self.finished[at]);
        if let Some(entry) = settled.and_then(|id| self.entries.get_mut(&id)) {
            entry.log = Vec::new();
        }
        while self.finished.len() > self.limits.kept_tasks_max {
            if let Some(oldest) = self.finished.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    /// Drops a deal all of whose tasks have ended.
    fn retire(&mut self, deal: DealId) {
        let over = |book: &DealBook| book.open == 0 && book.next >= book.end;
        if self.deals.get(&deal).is_some_and(over) {
            self.deals.remove(&deal);
            self.arrivals.retain(|it| *it != deal);
            if self.deals.is_empty() {
                self.early.clear();
            }
        }
    }

    fn forget(&mut self, id: TaskId, effects: &mut Vec<Effect>) {
        self.note_doomed(id, false);
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(place) = entry.place {
            self.wanting.remove(&place);
        }
        self.unfinished.remove(&id);
        self.finished.retain(|it| *it != id);
        self.dismiss(&entry, &entry.task, |_| false, effects);
    }

    /// Lets go of those who took part in a task as it was, but for those who stay.
    fn dismiss(
        &mut self,
        entry: &Entry,
        before: &Task,
        stays: impl Fn(Address) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let id = before.id;
        for replica in before.replicas() {
            if let Some(worker) = self.workers.get_mut(&replica.worker) {
                worker.cease(id, &entry.deal);
                worker.settling.remove(&id);
                worker.note_ripe(entry.deal.id, (entry.seq, id), false);
                if !stays(replica.worker) {
                    let message = ToWorker::Release { task_id: id };
                    effects.push(Effect::Tell { worker: replica.worker, message });
                }
            }
        }
    }

    /// Some of what the chain did to the task is taken back: begin again with what stands.
    fn start_over(&mut self, id: TaskId, block: u64, effects: &mut Vec<Effect>) {
        self.note_doomed(id, false);
        let Some(mut entry) = self.entries.remove(&id) else { return };
        if let Some(place) = entry.place.take() {
            self.wanting.remove(&place);
        }
        if entry.task.status().is_final() {
            self.finished.retain(|it| *it != id);
            self.unfinished.insert(id);
            // Its deal may have been closed with it: a book that holds open tasks only takes its place.
            let deal = Arc::clone(&entry.deal);
            let book = self.deals.entry(deal.id).or_insert_with(|| {
                let end = deal.deal.first.saturating_add(deal.deal.size);
                DealBook { spec: Arc::clone(&deal), next: end, end, open: 0, doomed: 0, turn: 0 }
            });
            book.open += 1;
        }
        entry.log.retain(|logged| logged.block <= block);
        entry.receipts.retain(|(.., at)| *at <= block);
        entry.results = None;
        self.brought.remember(&entry.task);
        let anew =
            Task::new(id, entry.deal.id, entry.task.index, entry.deal.terms(), self.limits.task);
        let before = std::mem::replace(&mut entry.task, anew);
        entry.initialized_block = entry.replay();
        // Whose contribution still stands may have yet to reveal and to bring its result.
        let stands = |worker| entry.task.replica(worker).is_some_and(Replica::counts);
        self.dismiss(&entry, &before, stands, effects);
        let start = entry.deal.deal.start;
        self.entries.insert(id, entry);
        if self.live {
            self.drive(start, id, Event::Noticed, effects);
        }
        self.bring_again(start, id, effects);
    }

    /// What was brought before a reorganisation counts as soon as a contribution of the same result is on the chain again,
    /// whoever's it is: whoever brought it may have come too late this time.
    fn bring_again(&mut self, now: UnixSeconds, id: TaskId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let waits = |replica: &&Replica| replica.counts() && replica.upload.is_none();
        let again = entry.task.replicas().filter(waits).filter_map(|replica| {
            let Upload { location, callback_data } = self.brought.of(id, replica.hash?)?.clone();
            Some(Event::Uploaded { worker: replica.worker, location, callback_data })
        });
        for event in again.collect::<Vec<_>>() {
            self.drive(now, id, event, effects);
        }
    }

    /// Plans and takes the steps, until there is nothing more to do.
    fn proceed(&mut self, now: UnixSeconds, effects: &mut Vec<Effect>) {
        loop {
            let steps = self.plan(now);
            if steps.is_empty() {
                return;
            }
            let mut progress = false;
            for step in steps {
                progress |= match step {
                    Step::Open { deal, count } => self.open(now, deal, count, effects),
                    Step::Take { task, worker, weight } => {
                        let before = effects.len();
                        if !self.workers.get(&worker).is_some_and(|it| it.capabilities.settles) {
                            self.drive(now, task, Event::Single, effects);
                        }
                        self.draw_check(now, task, worker, effects);
                        self.drive(now, task, Event::Taken { worker, weight }, effects);
                        self.note_peer(task, worker);
                        effects.len() > before
                    }
                };
            }
            if !progress {
                return;
            }
        }
    }

    fn plan(&self, now: UnixSeconds) -> Vec<Step> {
        let deals: Vec<_> = self
            .arrivals
            .iter()
            .filter_map(|id| self.deals.get(id))
            .filter(|book| book.next < book.end)
            .map(|book| DealView {
                deal: book.spec.id,
                left: book.end - book.next,
                open: book.open.saturating_sub(book.doomed) as u64,
            })
            .collect();
        let window = self.window();
        let workers: Vec<_> = if self.live && !self.wanting.is_empty() {
            let view = |(address, entry): (&Address, _)| self.view(*address, entry);
            self.workers.iter().filter(|(_, it)| !it.is_off(now)).filter_map(view).collect()
        } else {
            Vec::new()
        };
        let needs = self.needs(now, &workers);
        plan(&World { needs, workers, deals, window: window as u64 })
    }

    /// The most urgent tasks that these workers can take: as many as there are free slots, since each takes one at least.
    /// A bag of thousands is not looked through for each slot that becomes free.
    fn needs(&self, now: UnixSeconds, workers: &[WorkerView<'_>]) -> Vec<Need<'_>> {
        let free: usize = workers.iter().map(|worker| worker.free as usize).sum();
        if free == 0 {
            return Vec::new();
        }
        let wanting = self.wanting.iter().filter_map(|(.., id)| self.entries.get(id));
        let needs = wanting.map(|entry| self.need(now, entry));
        // Where somebody takes part already, one that could take it may still have to wait for somebody else.
        let can_go_on = |need: &Need<'_>| match need.peers {
            [] => workers.iter().any(|worker| need.suits(worker)),
            _ => !choose(need, workers).is_empty(),
        };
        needs.filter(can_go_on).take(free).collect()
    }

    /// Puts the next tasks of a deal to work.
    fn open(
        &mut self,
        now: UnixSeconds,
        id: DealId,
        count: u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        for _ in 0..count {
            let Some(book) = self.deals.get_mut(&id) else { return true };
            if book.next >= book.end {
                break;
            }
            let (deal, index) = (Arc::clone(&book.spec), book.next);
            book.next += U256::ONE;
            let task_id = deal.task_id(index);
            if self.entries.contains_key(&task_id) {
                // Told twice, as after a rewind.
                continue;
            }
            book.open += 1;
            book.turn = book.turn.max(self.turn) + 1;
            let turn = book.turn;
            self.seq += 1;
            let task = Task::new(task_id, id, index, deal.terms(), self.limits.task);
            let mut entry = Entry::new(task, deal, self.seq);
            entry.turn = turn;
            entry.log = self.early.remove(&task_id).unwrap_or_default();
            entry.initialized_block = entry.replay();
            let ended = entry.task.status().is_final();
            self.entries.insert(task_id, entry);
            if ended {
                self.learn(task_id);
                self.close(task_id);
                continue;
            }
            self.unfinished.insert(task_id);
            if self.live {
                self.drive(now, task_id, Event::Noticed, effects);
            }
        }
        self.retire(id);
        count > 0
    }
}

impl Entry {
    /// A task that these books never followed, with all that the chain logged about it.
    pub(crate) fn of_the_past(
        deal: Arc<DealSpec>,
        index: U256,
        limits: tasks::Limits,
        story: &[Happened],
    ) -> Self {
        let task = Task::new(deal.task_id(index), deal.id, index, deal.terms(), limits);
        let (start, pool) = (deal.deal.start, deal.deal.workerpool.pointer);
        let mut entry = Self::new(task, deal, 0);
        entry.task.record(start, Event::Noticed);
        for Happened { block, at, event } in story {
            entry.keep(*block, &event.event);
            if let Some(its) = task_event(pool, *at, &event.event, |_| None) {
                let before = entry.task.status();
                entry.task.record(*at, its);
                entry.receipt(before, event.tx, *block);
            }
        }
        entry
    }

    fn new(task: Task, deal: Arc<DealSpec>, seq: u64) -> Self {
        Self {
            task,
            deal,
            results: None,
            initialized_block: 0,
            receipts: Vec::new(),
            outputs: BTreeMap::new(),
            streamed: BTreeSet::new(),
            peers: Vec::new(),
            log: Vec::new(),
            turn: 0,
            seq,
            place: None,
        }
    }

    /// As the plan sees it.
    fn need(&self, now: UnixSeconds) -> Need<'_> {
        let deal = &self.deal;
        let until_half = deal.run_seconds.saturating_mul(CONTRIBUTION_RATIO) / 2;
        Need {
            task: &self.task,
            runtime: &deal.runtime,
            enclave: deal.enclave,
            room: Room::of_task(deal.deal.tag),
            program: &deal.app_location,
            price: deal.deal.workerpool.price,
            peers: &self.peers,
            patient: now < deal.deal.start.saturating_add(until_half),
        }
    }

    /// Keeps what is told of an event beyond what it does to the task.
    fn keep(&mut self, block: u64, event: &MarketEvent) {
        match event {
            MarketEvent::TaskInitialized { .. } => self.initialized_block = block,
            MarketEvent::Finalized { results, .. } => self.results = Some(results.clone()),
            _ => {}
        }
    }

    /// Keeps the transaction that brought the task from that status to where it is.
    fn receipt(&mut self, before: Status, tx: B256, block: u64) {
        let after = self.task.status();
        if after != before {
            self.receipts.push((after, tx, block));
        }
    }

    /// Records the whole log in a new task. The block of the initialisation, 0 if there is none.
    fn replay(&mut self) -> u64 {
        let mut initialized_block = 0;
        for logged in &self.log {
            if logged.event == Event::Initialized {
                initialized_block = logged.block;
            }
            self.task.record(logged.then, logged.event.clone());
        }
        initialized_block
    }
}

impl WorkerEntry {
    /// As the plan sees it, apart from what is known of it; nothing if it takes no tasks any more.
    fn view(&self, worker: Address) -> Option<WorkerView<'_>> {
        let busy = u32::try_from(self.computing.len()).unwrap_or(u32::MAX);
        let free = self.capabilities.slots.saturating_sub(busy);
        let told = &self.capabilities;
        (!self.draining).then_some(WorkerView {
            worker,
            free,
            given: self.given,
            weight: self.weight,
            runtimes: &told.runtimes,
            enclave: told.tee,
            room: self.room(),
            region: told.region.as_deref(),
            host: told.host.as_deref(),
            owner: told.owner,
            warm: &told.images,
            price_floor: told.price_floor(),
            ..WorkerView::default()
        })
    }

    fn rate(&mut self, score: U256) {
        self.score = score;
        self.weight = verdict::weight(score);
    }

    /// Blocks after that one never were: what they did to its score is undone.
    fn rewound(&mut self, block: u64) {
        while let Some((_, before)) = self.scored.back().copied().filter(|(at, _)| *at > block) {
            self.scored.pop_back();
            self.rate(before);
        }
    }

    /// It computes that task; `false` if it did before.
    fn begin(&mut self, task: TaskId, deal: &DealSpec) -> bool {
        let is_new = self.computing.insert(task);
        if is_new {
            self.taken = self.taken.with(Room::of_task(deal.deal.tag));
        }
        is_new
    }

    /// It does not compute that task any more.
    fn cease(&mut self, task: TaskId, deal: &DealSpec) {
        if self.computing.remove(&task) {
            self.taken = self.taken.without(Room::of_task(deal.deal.tag));
        }
    }

    /// Notes whether it may settle that task now.
    fn note_ripe(&mut self, deal: DealId, task: (u64, TaskId), is_ripe: bool) {
        if is_ripe {
            self.ripe.entry(deal).or_default().insert(task);
        } else if let Some(tasks) = self.ripe.get_mut(&deal) {
            tasks.remove(&task);
            if tasks.is_empty() {
                self.ripe.remove(&deal);
            }
        }
    }
}

/// The tasks that a worker settles next: of the deal after the one whose turn it was last, the oldest.
fn next_batch(worker: &mut WorkerEntry) -> Option<(DealId, Vec<TaskId>)> {
    let after = (Bound::Excluded(worker.settled_last), Bound::Unbounded);
    let next = worker.ripe.range(after).next().or_else(|| worker.ripe.iter().next());
    let (deal, tasks) = next?;
    let batch = tasks.iter().take(SETTLE_MAX).map(|(_, task)| *task).collect();
    worker.settled_last = *deal;
    Some((*deal, batch))
}

/// What a market event means to the task it is about, if the task is that workerpool's.
fn task_event(
    pool: Address,
    at: UnixSeconds,
    event: &MarketEvent,
    weight: impl Fn(Address) -> Option<U256>,
) -> Option<Event> {
    Some(match event {
        MarketEvent::TaskInitialized { workerpool, .. } if *workerpool == pool => {
            Event::Initialized
        }
        MarketEvent::Contributed { worker, hash, .. } => {
            Event::Contributed { worker: *worker, hash: *hash, weight: weight(*worker) }
        }
        MarketEvent::Consensus { hash, .. } => Event::Consensus { hash: *hash, at },
        MarketEvent::Revealed { worker, digest, .. } => {
            Event::Revealed { worker: *worker, digest: *digest }
        }
        MarketEvent::Reopened { .. } => Event::Reopened,
        MarketEvent::Finalized { .. } => Event::Finalized,
        MarketEvent::Claimed { .. } => Event::Claimed,
        _ => return None,
    })
}

fn effect(entry: &Entry, action: Action) -> Option<Effect> {
    let (task, deal) = (entry.task.id, entry.deal.id);
    let index = entry.task.index;
    let challenge = entry.task.challenge();
    Some(match action {
        Action::AskChallenge => {
            let enclave = entry.deal.enclave.unwrap_or(Enclave::Unknown);
            Effect::AskChallenge { task, enclave }
        }
        Action::Assign { worker } if !challenge.is_zero() => {
            let index = index.saturating_to();
            Effect::AssignEnclave { worker, task, deal, index, challenge }
        }
        Action::Initialize => Effect::Initialize { task, deal, index },
        Action::Assign { worker } => Effect::Tell {
            worker,
            message: ToWorker::Assign {
                task_id: task,
                deal_id: deal,
                index: index.saturating_to(),
                tee: None,
            },
        },
        Action::Grant { worker } => Effect::Grant { worker, task, challenge },
        Action::AskReveal { worker } => {
            Effect::Tell { worker, message: ToWorker::Reveal { task_id: task } }
        }
        Action::Release { worker } => {
            Effect::Tell { worker, message: ToWorker::Release { task_id: task } }
        }
        Action::Finalize { location, callback_data } => {
            let callback = entry.deal.deal.callback;
            Effect::Finalize { task, location, callback, callback_data }
        }
        Action::Reopen => Effect::Reopen { task },
        Action::Claim => Effect::Claim { task },
        Action::Report(report) => {
            told(task, &report);
            return None;
        }
    })
}

fn told(task: TaskId, report: &Report) {
    match report {
        Report::Completed => tracing::debug!(%task, "completed"),
        Report::Failed => tracing::info!(%task, "claimed; the requester is refunded"),
        Report::Doomed(failure) => {
            tracing::info!(%task, code = failure.code, message = failure.message, "no result");
        }
    }
}

/// A worker's words, cut to what is worth keeping.
fn bounded(run: RunFailure) -> Failure {
    let blame = match run.blame {
        wire::link::Blame::App => Blame::App,
        wire::link::Blame::Worker => Blame::Worker,
        wire::link::Blame::Input => Blame::Input,
    };
    Failure {
        blame,
        code: cut_end(run.failure.code, 16),
        message: cut_end(run.failure.message, TEXT_BYTES_MAX),
        remedy: cut_end(run.failure.remedy, TEXT_BYTES_MAX),
        exit_code: run.exit_code,
        stdout_tail: cut_start(run.stdout_tail, TAIL_BYTES_MAX),
        stderr_tail: cut_start(run.stderr_tail, TAIL_BYTES_MAX),
    }
}

fn cut_end(mut text: String, most: usize) -> String {
    let at = text.floor_char_boundary(most);
    text.truncate(at);
    text
}

fn cut_start(text: String, most: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    if from == 0 { text } else { text[from..].to_owned() }
}

#[cfg(test)]
mod tests;
