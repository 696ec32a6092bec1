//! Makes a failing scenario smaller while it still breaks the same promise, so that a person can read it.

use crate::audit::Promise;
use crate::scenario::{Fault, Net, PoolConduct, RequesterConduct, Scenario, Strategy};

/// A scenario as small as it gets, and how often it was tried to make it smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The scenario. It fails as the one it came from did.
    pub scenario: Scenario,
    /// Scenarios that were run.
    pub tried: u32,
}

/// The most scenarios that are run to find a smaller one.
const TRIES_MAX: u32 = 5_000;

/// Drops faults, actors and tasks and smooths the network, one after another, as long as it goes on failing.
pub fn shrink(scenario: &Scenario, promise: Promise) -> Shrunk {
    let mut best = scenario.clone();
    let mut tried = 0;
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            if tried == TRIES_MAX {
                return Shrunk { scenario: best, tried };
            }
            tried += 1;
            let fails = crate::run(&candidate).violation.is_some_and(|it| it.promise == promise);
            if fails {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => best = candidate,
            None => return Shrunk { scenario: best, tried },
        }
    }
}

/// Scenarios that are one step smaller, the largest steps first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            all.push(candidate);
        }
    };
    with(&|it| it.faults.clear());
    for place in 0..scenario.bags.len() {
        with(&|it| {
            it.bags.remove(place);
        });
    }
    for place in 0..scenario.faults.len() {
        with(&|it| {
            it.faults.remove(place);
        });
    }
    for place in 0..scenario.workers.len() {
        with(&|it| remove_worker(it, place));
    }
    if scenario.pools.len() > 1 {
        for place in 0..scenario.pools.len() {
            with(&|it| remove_pool(it, place));
        }
    }
    for place in 0..scenario.bags.len() {
        with(&|it| it.bags[place].tasks = 1);
        with(&|it| it.bags[place].tasks -= 1);
        with(&|it| it.bags[place].conduct = RequesterConduct::Honest);
        with(&|it| it.bags[place].at_ms = 0);
        with(&|it| it.bags[place].requester = 0);
    }
    for place in 0..scenario.workers.len() {
        with(&|it| it.workers[place].strategy = Strategy::Honest);
        with(&|it| it.workers[place].score = 0);
        with(&|it| (it.workers[place].pace, it.workers[place].slots) = (1_000, 1));
    }
    for place in 0..scenario.pools.len() {
        with(&|it| it.pools[place].conduct = PoolConduct::Honest);
        with(&|it| it.pools[place].clock_ahead = 0);
    }
    with(&|it| (it.net.loss_ppm, it.net.duplicate_ppm) = (0, 0));
    with(&|it| it.net.jitter_ms = 0);
    with(&|it| it.kitty = 0);
    with(&|it| it.net = Net { delay_ms: 10, block_ms: 1_000, ..it.net });
    all.retain(|it| it.bags.iter().all(|bag| bag.tasks > 0));
    all
}

fn remove_worker(scenario: &mut Scenario, place: usize) {
    scenario.workers.remove(place);
    let shift = |worker: &mut usize| *worker -= usize::from(*worker > place);
    scenario.faults.retain_mut(|fault| match fault {
        Fault::WorkerCrash { worker, .. } | Fault::Disconnect { worker, .. } => {
            let stays = *worker != place;
            shift(worker);
            stays
        }
        Fault::PoolCrash { .. } | Fault::GasSpike { .. } | Fault::Reorganisation { .. } => true,
    });
}

/// Its workers go to the first of those that stay.
fn remove_pool(scenario: &mut Scenario, place: usize) {
    scenario.pools.remove(place);
    for worker in &mut scenario.workers {
        worker.pool = match worker.pool {
            pool if pool == place => 0,
            pool => pool - usize::from(pool > place),
        };
    }
    for bag in &mut scenario.bags {
        bag.pool = match bag.pool {
            Some(pool) if pool != place => Some(pool - usize::from(pool > place)),
            _ => None,
        };
    }
    scenario.faults.retain_mut(|fault| match fault {
        Fault::PoolCrash { pool, .. } => {
            let stays = *pool != place;
            *pool -= usize::from(*pool > place);
            stays
        }
        _ => true,
    });
}
