//! Many seeds: over all processors, with the same sums however many there are.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::audit::Violation;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// Seeds that one thread takes at a time, at most, and into how many parts fewer are divided. Sums are made per chunk and
/// joined in order, so they do not depend on threads.
const CHUNK_MAX: u64 = 512;
const CHUNKS: u64 = 32;

/// A seed whose scenario broke a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// How.
    pub violation: Violation,
}

/// What came of many seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// Sums over all that held.
    pub tally: Tally,
    /// The lowest seed that did not hold, among those that were run.
    pub failure: Option<Failure>,
}

/// Runs the scenarios of seeds `base`, `base + 1`, … `base + seeds − 1`, until one fails. `threads`: all processors if
/// nothing is said.
pub fn sweep(
    base: u64,
    seeds: u64,
    threads: Option<NonZeroUsize>,
    scenario: impl Fn(u64) -> Scenario + Sync,
) -> Swept {
    let threads =
        threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let chunk = (seeds / CHUNKS).clamp(1, CHUNK_MAX);
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        let mut done = Vec::new();
        loop {
            let from = next.fetch_add(chunk, Ordering::Relaxed);
            if from >= seeds || stop.load(Ordering::Relaxed) {
                return done;
            }
            let mut tally = Tally::default();
            let mut failure = None;
            for seed in from..(from + chunk).min(seeds) {
                let seed = base.wrapping_add(seed);
                let outcome = crate::run(&scenario(seed));
                match &outcome.violation {
                    None => tally.add(&outcome),
                    Some(violation) => {
                        failure = Some(Failure { seed, violation: violation.clone() });
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
            done.push((from, tally, failure));
        }
    };
    let mut chunks = thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut chunks = work();
        chunks.extend(helpers.into_iter().flat_map(|it| it.join().unwrap_or_default()));
        chunks
    });
    chunks.sort_by_key(|(from, ..)| *from);
    let mut tally = Tally::default();
    for (_, part, _) in &chunks {
        tally.join(part);
    }
    let failure = chunks.into_iter().find_map(|(_, _, failure)| failure);
    Swept { tally, failure }
}
