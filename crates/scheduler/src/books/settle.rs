//! Settling many tasks of a deal at once: who may, what, and what comes after it failed.

use std::ops::Bound;

use alloy_primitives::Address;
use primitives::{DealId, TaskId, UnixSeconds};
use tasks::{Event, Replica, ReplicaState};
use wire::link::SETTLE_MAX;

use super::{Books, Effect, TEXT_BYTES_MAX, WorkerEntry};

/// Settlements in a row that do not come about before a worker's tasks go one by one, until it connects again.
const UNSETTLED_MAX: u32 = 3;
/// A bag with that many tasks still open is a large one: whoever pays for it waits for seconds anyway.
const LARGE: usize = SETTLE_MAX;
/// So many tasks of a large bag are worth a transaction, and a block that is on disk before anybody hears of it.
const WORTH: usize = SETTLE_MAX / 2;

impl Books {
    /// What workers may settle now. A worker settles one batch at a time, and meanwhile the next one gathers; its deals
    /// take turns. Of a large bag a batch gathers some time longer if it has to.
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
            if self.gathers(now, worker) {
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

    /// Whether all that the worker has is few tasks of large bags, and more is about to come: for a second or two at most.
    fn gathers(&mut self, now: UnixSeconds, worker: Address) -> bool {
        let Some(entry) = self.workers.get_mut(&worker) else { return false };
        let is_large = |deal| self.deals.get(deal).is_some_and(|book| book.open >= LARGE);
        let mut ripe = entry.ripe.iter();
        let few = ripe.all(|(deal, tasks)| tasks.len() < WORTH && is_large(deal));
        let since = entry.gathers_since.take().unwrap_or(now);
        let gathers = few && !entry.computing.is_empty() && now <= since;
        entry.gathers_since = gathers.then_some(since);
        gathers
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
    pub(super) fn unsettled(
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
