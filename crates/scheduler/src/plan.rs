//! Who takes what: from all that is known to the steps to take. Pure, so every decision can be looked at in a test.
//!
//! Started tasks come before fresh ones (somebody's stake or time hangs on them); then deals take turns, so that nobody
//! waits behind all of another's bag; in the same turn the earlier deadline is first. The worker with the most free slots is asked; among equals the one that was given the
//! fewest tasks, so that a newcomer gets its share and can earn a reputation; then the heavier one. Deals larger than the
//! window are opened bit by bit, always the one with the fewest tasks at work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use alloy_primitives::{Address, U256};
use primitives::{DealId, TaskId};
use tasks::Task;
use wire::link::Enclave;

/// What is known.
#[derive(Debug)]
pub struct World<'a> {
    /// Tasks that want workers, most urgent first.
    pub needs: Vec<Need<'a>>,
    /// Workers that are connected and take tasks.
    pub workers: Vec<WorkerView<'a>>,
    /// Deals with tasks that nobody has looked at yet, oldest first.
    pub deals: Vec<DealView>,
    /// How many more tasks may be at work.
    pub window: u64,
}

/// A task that wants workers.
#[derive(Debug)]
pub struct Need<'a> {
    /// The task.
    pub task: &'a Task,
    /// What a worker must be able to run: `wasm`, `docker`.
    pub runtime: &'a str,
    /// What enclave it must have.
    pub enclave: Option<Enclave>,
}

impl Need<'_> {
    /// Whether this worker could take it.
    pub fn suits(&self, worker: &WorkerView<'_>) -> bool {
        worker.free > 0
            && worker.runtimes.iter().any(|runtime| runtime == self.runtime)
            && self.enclave.is_none_or(|enclave| worker.enclave == Some(enclave))
            && self.task.may_take(worker.worker)
    }
}

/// A worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerView<'a> {
    /// Its wallet.
    pub worker: Address,
    /// How many more tasks it can compute at once.
    pub free: u32,
    /// How many tasks it was given before.
    pub given: u64,
    /// How much its word counts.
    pub weight: U256,
    /// What it can run.
    pub runtimes: &'a [String],
    /// What enclave it has.
    pub enclave: Option<Enclave>,
}

/// A deal that is not wholly at work.
#[derive(Debug, Clone, Copy)]
pub struct DealView {
    /// Which deal.
    pub deal: DealId,
    /// How many of its tasks nobody has looked at.
    pub left: U256,
    /// How many of its tasks are at work.
    pub open: u64,
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Put the deal's next tasks to work.
    Open {
        /// Which deal.
        deal: DealId,
        /// How many tasks.
        count: u64,
    },
    /// Give a task to a worker.
    Take {
        /// Which task.
        task: TaskId,
        /// To whom.
        worker: Address,
        /// How much its word counts.
        weight: U256,
    },
}

/// Decides. The same world always gives the same steps.
pub fn plan(world: &World<'_>) -> Vec<Step> {
    let mut steps = open(world);
    let mut workers = world.workers.clone();
    for need in &world.needs {
        take(need, &mut workers, &mut steps);
        if workers.iter().all(|it| it.free == 0) {
            break;
        }
    }
    steps
}

/// Gives one task to as many workers as it wants and as there are.
fn take(need: &Need<'_>, workers: &mut [WorkerView<'_>], steps: &mut Vec<Step>) {
    let mut able: Vec<_> = workers.iter_mut().filter(|worker| need.suits(worker)).collect();
    if able.is_empty() {
        return;
    }
    // Among equals the lowest address, so that the choice does not depend on the order of the list.
    able.sort_by_key(|it| (Reverse(it.free), it.given, Reverse(it.weight), it.worker));
    for best in able.into_iter().take(need.task.wanted()) {
        best.free -= 1;
        best.given += 1;
        let (task, worker, weight) = (need.task.id, best.worker, best.weight);
        steps.push(Step::Take { task, worker, weight });
    }
}

fn open(world: &World<'_>) -> Vec<Step> {
    let mut counts = vec![0; world.deals.len()];
    let place = |(place, deal): (usize, &DealView)| Reverse((deal.open, place));
    let mut fewest: BinaryHeap<_> = world.deals.iter().enumerate().map(place).collect();
    for _ in 0..world.window {
        let Some(Reverse((open, place))) = fewest.pop() else { break };
        counts[place] += 1;
        if U256::from(counts[place]) < world.deals[place].left {
            fewest.push(Reverse((open + 1, place)));
        }
    }
    let opened = world.deals.iter().zip(counts).filter(|(_, count)| *count > 0);
    opened.map(|(deal, count)| Step::Open { deal: deal.deal, count }).collect()
}

#[cfg(test)]
mod tests;
