//! A task in the books: what is kept of it, what events of the chain mean to it, and what its actions come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use chain::MarketEvent;
use primitives::{TaskId, UnixSeconds};
use tasks::{Action, Event, Report, Status, Task};
use wire::link::{Enclave, ToWorker};

use super::{Effect, Entry, Happened};
use crate::deal::{CONTRIBUTION_RATIO, DealSpec};
use crate::plan::Need;
use crate::room::Room;

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

    pub(super) fn new(task: Task, deal: Arc<DealSpec>, seq: u64) -> Self {
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
    pub(super) fn need(&self, now: UnixSeconds) -> Need<'_> {
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
    pub(super) fn keep(&mut self, block: u64, event: &MarketEvent) {
        match event {
            MarketEvent::TaskInitialized { .. } => self.initialized_block = block,
            MarketEvent::Finalized { results, .. } => self.results = Some(results.clone()),
            _ => {}
        }
    }

    /// Keeps the transaction that brought the task from that status to where it is.
    pub(super) fn receipt(&mut self, before: Status, tx: B256, block: u64) {
        let after = self.task.status();
        if after != before {
            self.receipts.push((after, tx, block));
        }
    }

    /// Records the whole log in a new task. The block of the initialisation, 0 if there is none.
    pub(super) fn replay(&mut self) -> u64 {
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

/// What a market event means to the task it is about, if the task is that workerpool's.
pub(super) fn task_event(
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

pub(super) fn effect(entry: &Entry, action: Action) -> Option<Effect> {
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
