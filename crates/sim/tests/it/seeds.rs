//! Every seed keeps every promise.

use sim::Scenario;
use sim::sweep::sweep;

#[test]
fn thousands_of_seeds_keep_every_promise() {
    let swept = sweep(0, 2_048, None, Scenario::from_seed);
    if let Some(failure) = swept.failure {
        panic!("seed {}: {}", failure.seed, failure.violation);
    }
    assert_eq!(swept.tally.seeds, 2_048);
    assert!(swept.tally.tasks > 4_000, "{}", swept.tally.tasks);
}

#[test]
fn a_seed_always_runs_the_same_way() {
    let outcome = |seed| sim::run(&Scenario::from_seed(seed));
    for seed in 0..50 {
        assert_eq!(outcome(seed), outcome(seed), "seed {seed}");
    }
    let one = std::num::NonZeroUsize::new(1);
    assert_eq!(
        sweep(0, 1_500, one, Scenario::from_seed),
        sweep(0, 1_500, None, Scenario::from_seed)
    );
}
