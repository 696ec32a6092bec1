//! Everything the scheduler knows, in one place with one writer.
//!
//! What happens comes in as a method call; what is to be done comes out as [`Effect`]s. Nothing here waits, reads a clock
//! or sends anything.
//!
//! **Layout:** `entry` a task, `worker` a worker · `words` what workers say · `work` who takes what · `settle` many at once ·
//! `rewind` blocks taken back · `spare` what machines have left · `trust` what is known of whom · `why` what a task waits for.

mod entry;
mod rewind;
mod settle;
mod spare;
mod trust;
mod why;
mod words;
mod work;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use chain::{ChainEvent, MarketEvent};
use primitives::{DealId, TaskId, UnixSeconds};
use tasks::{Event, ReplicaState, Status, Task};
use wire::link::{Capabilities, Enclave, ToWorker};

use crate::checks::Policy;
use crate::choice::Peer;
use crate::config::Limits;
use crate::deal::DealSpec;
use crate::reputation::Ledger;
use crate::room::Room;
use entry::{effect, task_event};
use rewind::Brought;
pub(crate) use spare::Abilities;
use spare::{Rest, Spare};
use trust::Trust;
use words::cut_end;

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
    /// When it first could have settled what it has, if more is waited for.
    gathers_since: Option<UnixSeconds>,
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
/// Changes of a worker's score that are remembered in case the chain takes them back.
const SCORED_MAX: usize = 1_024;
/// Finished tasks whose past is kept in case the chain takes it back.
const REWINDABLE_MAX: usize = 1_024;
const TEXT_BYTES_MAX: usize = 2_048;

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
            gathers_since: None,
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

    fn takes_part(&self, task: TaskId, worker: Address) -> bool {
        self.entries.get(&task).is_some_and(|entry| entry.task.replica(worker).is_some())
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
}

#[cfg(test)]
mod tests;
