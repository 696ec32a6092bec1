//! Who takes what: from all that is known to the steps to take. Pure, so every decision can be looked at in a test.
//!
//! Started tasks come before fresh ones (somebody's stake or time hangs on them); then deals take turns, so that nobody
//! waits behind all of another's bag; in the same turn the earlier deadline is first. A worker is asked only for what it can
//! run and has room for; which of several, and how many, says [`choice`](crate::choice). Deals larger than the window are
//! opened bit by bit, always the one with the fewest tasks at work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use alloy_primitives::{Address, U256};
use primitives::{DealId, Nrlc, TaskId};
use tasks::Task;
use wire::link::Enclave;

use crate::choice::{Peer, choose};
use crate::reputation::Standing;
use crate::room::{Lack, Room};

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
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// The task.
    pub task: &'a Task,
    /// What a worker must be able to run: `wasm`, `docker`, `oci`.
    pub runtime: &'a str,
    /// What enclave it must have.
    pub enclave: Option<Enclave>,
    /// What it takes up.
    pub room: Room,
    /// Its program, by the address it is registered with.
    pub program: &'a str,
    /// What the workerpool earns with it.
    pub price: Nrlc,
    /// Who takes part in it already.
    pub peers: &'a [Peer],
    /// Whether there is time to wait for a worker that is busy, rather than to ask a relative of one that takes part.
    pub patient: bool,
}

/// Why a worker does not take a task. The later in this list, the nearer it came to taking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// It cannot run programs of that kind.
    Runtime,
    /// It does not have that enclave.
    Enclave,
    /// It works for no such price.
    Price,
    /// It was wrong before, and the task rests on one worker's word.
    Barred,
    /// It has too little of something.
    Room(Lack),
    /// It is computing as many tasks as it can.
    Busy,
    /// It had its chance at this very task.
    Tried,
}

impl Need<'_> {
    /// Whether this worker could take it.
    pub fn suits(&self, worker: &WorkerView<'_>) -> bool {
        self.unfit(worker).is_none()
    }

    /// Why this worker could not.
    pub fn unfit(&self, worker: &WorkerView<'_>) -> Option<Unfit> {
        if !worker.runtimes.iter().any(|runtime| runtime == self.runtime) {
            Some(Unfit::Runtime)
        } else if self.enclave.is_some_and(|enclave| worker.enclave != Some(enclave)) {
            Some(Unfit::Enclave)
        } else if self.price < worker.price_floor {
            Some(Unfit::Price)
        } else if worker.standing == Standing::Barred && self.task.terms.trust <= U256::ONE {
            Some(Unfit::Barred)
        } else if let Some(lack) = worker.room.lacks(&self.room) {
            Some(Unfit::Room(lack))
        } else if worker.free == 0 {
            Some(Unfit::Busy)
        } else if !self.task.may_take(worker.worker) {
            Some(Unfit::Tried)
        } else {
            None
        }
    }

    /// Whether the worker has the program at hand.
    pub fn is_warm_at(&self, worker: &WorkerView<'_>) -> bool {
        worker.warm.binary_search_by(|warm| warm.as_str().cmp(self.program)).is_ok()
    }
}

/// A worker.
#[derive(Debug, Clone, Copy, Default)]
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
    /// What its tasks have left of its machine.
    pub room: Room,
    /// Where it is.
    pub region: Option<&'a str>,
    /// Its machine: workers with the same one fail together.
    pub host: Option<&'a str>,
    /// Whom it belongs to, if it says so.
    pub owner: Option<Address>,
    /// Programs that it need not fetch, sorted.
    pub warm: &'a [String],
    /// The least that it works for.
    pub price_floor: Nrlc,
    /// How far it is trusted.
    pub standing: Standing,
    /// How often it lets others down, as [`Record::unreliable`](crate::reputation::Record::unreliable) says.
    pub unreliable: u8,
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
    for place in choose(need, workers) {
        let Some(best) = workers.get_mut(place) else { continue };
        best.free -= 1;
        best.room = best.room.without(need.room);
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
