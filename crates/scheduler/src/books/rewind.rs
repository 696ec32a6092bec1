//! What becomes of tasks when the chain takes blocks back: those of deals that are gone are forgotten, the others begin anew
//! with what still stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::Address;
use primitives::{ResultHash, TaskId, UnixSeconds};
use tasks::{Event, Replica, Task, Upload};
use wire::link::ToWorker;

use super::{Books, DealBook, Effect, Entry};

/// What workers had brought when the chain took blocks back: they do not have it any more, and it is where it was. Kept beyond
/// the task, since a deal that is gone may come again.
#[derive(Debug, Default)]
pub(super) struct Brought {
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

impl Books {
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
    pub(super) fn bring_again(&mut self, now: UnixSeconds, id: TaskId, effects: &mut Vec<Effect>) {
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
}
