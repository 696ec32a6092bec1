//! Every seed keeps every promise.

use sim::Scenario;
use sim::sweep::{Swept, sweep};

fn check(swept: &Swept, seeds: u64, tasks_least: u64) {
    if let Some(failure) = &swept.failure {
        panic!("seed {}: {}", failure.seed, failure.violation);
    }
    assert_eq!(swept.tally.seeds, seeds);
    assert!(swept.tally.tasks > tasks_least, "{}", swept.tally.tasks);
}

#[test]
fn thousands_of_seeds_keep_every_promise() {
    check(&sweep(0, 2_048, None, Scenario::from_seed), 2_048, 4_000);
}

#[test]
fn large_markets_keep_every_promise() {
    let scenario = Scenario::large(0);
    assert_eq!(scenario.requester_count(), 200);
    assert_eq!((scenario.pools.len(), scenario.workers.len()), (20, 300));
    check(&sweep(0, 4, None, Scenario::large), 4, 3_000);
}

#[test]
fn a_seed_always_runs_the_same_way() {
    let check = |scenario: &Scenario| {
        assert_eq!(sim::run(scenario), sim::run(scenario), "seed {}", scenario.seed);
    };
    (0..50).for_each(|seed| check(&Scenario::from_seed(seed)));
    check(&Scenario::large(9));
    let one = std::num::NonZeroUsize::new(1);
    assert_eq!(
        sweep(0, 1_500, one, Scenario::from_seed),
        sweep(0, 1_500, None, Scenario::from_seed)
    );
}
