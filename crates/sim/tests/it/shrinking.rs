//! A rule that is broken on purpose is found, and what is left of the market shows it.

use sim::shrink::shrink;
use sim::sweep::sweep;
use sim::{Promise, Scenario};

fn broken(seed: u64) -> Scenario {
    let mut scenario = Scenario::from_seed(seed);
    scenario.rules.trust_bug = true;
    scenario
}

#[test]
fn a_broken_rule_is_caught_replayed_and_shrunk() {
    let failure = sweep(0, 2_000, None, broken).failure.unwrap();
    assert_eq!(failure.violation.promise, Promise::Safety);

    let scenario = broken(failure.seed);
    let again = sim::run(&scenario).violation.unwrap();
    assert_eq!(again, failure.violation, "the seed replays exactly");

    let small = shrink(&scenario, Promise::Safety).scenario;
    assert_eq!(sim::run(&small).violation.unwrap().promise, Promise::Safety);
    assert!(small.faults.is_empty(), "{small:#?}");
    assert_eq!(small.bags.len(), 1, "{small:#?}");
    assert_eq!(small.bags[0].tasks, 1, "{small:#?}");
    assert!(small.workers.len() <= 4, "{small:#?}");
    assert_eq!(shrink(&small, Promise::Safety).scenario, small, "nothing more can go");
}
