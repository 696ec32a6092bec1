//! A worker in the books: what it has in hand.

use alloy_primitives::{Address, U256};
use primitives::{DealId, TaskId};

use super::WorkerEntry;
use crate::deal::DealSpec;
use crate::plan::WorkerView;
use crate::room::Room;

impl WorkerEntry {
    /// As the plan sees it, apart from what is known of it; nothing if it takes no tasks any more.
    pub(super) fn view(&self, worker: Address) -> Option<WorkerView<'_>> {
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

    pub(super) fn rate(&mut self, score: U256) {
        self.score = score;
        self.weight = verdict::weight(score);
    }

    /// Blocks after that one never were: what they did to its score is undone.
    pub(super) fn rewound(&mut self, block: u64) {
        while let Some((_, before)) = self.scored.back().copied().filter(|(at, _)| *at > block) {
            self.scored.pop_back();
            self.rate(before);
        }
    }

    /// It computes that task; `false` if it did before.
    pub(super) fn begin(&mut self, task: TaskId, deal: &DealSpec) -> bool {
        let is_new = self.computing.insert(task);
        if is_new {
            self.taken = self.taken.with(Room::of_task(deal.deal.tag));
        }
        is_new
    }

    /// It does not compute that task any more.
    pub(super) fn cease(&mut self, task: TaskId, deal: &DealSpec) {
        if self.computing.remove(&task) {
            self.taken = self.taken.without(Room::of_task(deal.deal.tag));
        }
    }

    /// Notes whether it may settle that task now.
    pub(super) fn note_ripe(&mut self, deal: DealId, task: (u64, TaskId), is_ripe: bool) {
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
