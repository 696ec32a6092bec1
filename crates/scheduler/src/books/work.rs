//! Putting tasks to work: which are opened, and who takes what.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use primitives::{DealId, UnixSeconds};
use tasks::{Event, Task};

use super::{Books, Effect, Entry};
use crate::choice::choose;
use crate::plan::{DealView, Need, Step, WorkerView, World, plan};

/// Unfinished tasks that are remembered for each that may be at work.
const REMEMBERED_PER_OPEN: usize = 10;

impl Books {
    /// Plans and takes the steps, until there is nothing more to do.
    pub(super) fn proceed(&mut self, now: UnixSeconds, effects: &mut Vec<Effect>) {
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

    /// How many more tasks may be opened. Those that only wait for their refund do not count, or a bag of a broken program
    /// would stop the pool for all; but they are remembered, so they are bounded too.
    fn window(&self) -> usize {
        let most = self.limits.open_tasks_max;
        let at_work = self.unfinished.len().saturating_sub(self.doomed.len());
        let remembered =
            most.saturating_mul(REMEMBERED_PER_OPEN).saturating_sub(self.unfinished.len());
        most.saturating_sub(at_work).min(remembered)
    }
}
