use alloy_primitives::B256;
use expect_test::{Expect, expect};
use primitives::{DealId, Nrlc, ResultHash, TaskId, UnixSeconds};
use proptest::prelude::*;
use tasks::{Event, Limits, Task, Terms};

use super::*;
use crate::room::Room;

const NOW: UnixSeconds = UnixSeconds(1_000);

fn wallet(number: u8) -> Address {
    Address::with_last_byte(number)
}

/// A task of that trust: who took it with which weight, and what they found (`-`: nothing yet).
fn task(trust: u64, taken: &[(u8, u64, char)]) -> Task {
    let terms = Terms {
        trust: U256::from(trust),
        callback: false,
        batch: false,
        enclave: false,
        run_seconds: 300,
        contribution_deadline: UnixSeconds(10_000),
        final_deadline: UnixSeconds(20_000),
    };
    let (id, deal) = (TaskId(B256::with_last_byte(1)), DealId(B256::ZERO));
    let mut task = Task::new(id, deal, U256::ZERO, terms, Limits::default());
    task.apply(NOW, Event::Noticed);
    for (number, weight, found) in taken {
        let (worker, weight) = (wallet(*number), U256::from(*weight));
        task.apply(NOW, Event::Taken { worker, weight });
        let hash = ResultHash(B256::repeat_byte(*found as u8));
        if *found != '-' {
            task.apply(NOW, Event::Computed { worker, hash });
        }
    }
    task
}

/// `3 w4 h:mill o:7 r:eu busy new`: a worker by number; its weight, host, owner, region.
fn view<'a>(text: &'a str, runtimes: &'a [String]) -> WorkerView<'a> {
    let mut words = text.split_whitespace();
    let number = words.next().unwrap().parse().unwrap();
    let mut view = WorkerView {
        worker: wallet(number),
        free: 1,
        weight: verdict::FRESH_WEIGHT,
        runtimes,
        room: Room::ENDLESS,
        standing: Standing::Proven,
        ..WorkerView::default()
    };
    for word in words {
        match word.split_at(word.find(':').map_or(1, |colon| colon + 1)) {
            ("w", weight) => view.weight = weight.parse().unwrap(),
            ("h:", host) => view.host = Some(host),
            ("o:", owner) => view.owner = Some(wallet(owner.parse().unwrap())),
            ("r:", region) => view.region = Some(region),
            ("g:", given) => view.given = given.parse().unwrap(),
            ("u:", often) => view.unreliable = often.parse().unwrap(),
            ("b", "usy") => view.free = 0,
            ("n", "ew") => view.standing = Standing::New,
            ("b", "arred") => view.standing = Standing::Barred,
            other => panic!("what is {other:?}"),
        }
    }
    view
}

fn need<'a>(task: &'a Task, peers: &'a [Peer], patient: bool) -> Need<'a> {
    Need {
        task,
        runtime: "wasm",
        enclave: None,
        room: Room::default(),
        program: "",
        price: Nrlc::ZERO,
        peers,
        patient,
    }
}

/// Who of these takes the task beside `peers`, who take part in it.
fn chosen(task: &Task, peers: &[&str], workers: &[&str], patient: bool) -> String {
    let runtimes = ["wasm".to_owned()];
    let peers: Vec<_> = peers.iter().map(|peer| Peer::of(&view(peer, &runtimes))).collect();
    let workers: Vec<_> = workers.iter().map(|worker| view(worker, &runtimes)).collect();
    let chosen = choose(&need(task, &peers, patient), &workers);
    let numbers = chosen.into_iter().map(|place| workers[place].worker[19].to_string());
    numbers.collect::<Vec<_>>().join(" ")
}

fn check(trust: u64, workers: &[&str], expected: &Expect) {
    expected.assert_eq(&chosen(&task(trust, &[]), &[], workers, true));
}

#[test]
fn as_few_as_reputations_allow() {
    check(1, &["1", "2"], &expect!["2"]);
    check(4, &["1", "2", "3"], &expect!["2 3"]);
    check(8, &["1", "2", "3", "4"], &expect!["2 3 4"]);
    check(8, &["1", "2", "3", "4 w4"], &expect!["2 4"]);
    check(64, &["1 w8", "2 w8", "3 w8", "4"], &expect!["2 3"]);
    // Nobody is as heavy as that, so one more is awaited.
    check(8, &["1", "2"], &expect!["2 1"]);
}

#[test]
fn newcomers_get_what_their_word_is_enough_for() {
    check(4, &["1 w9 g:5", "2 g:9", "3"], &expect!["2 3"]);
    check(8, &["1 w9 g:5", "2 w9 g:5", "3 g:9"], &expect!["2 3"]);
    check(8, &["1 w9 g:5", "2 w9 g:5", "3 g:1"], &expect!["2 3"]);
}

#[test]
fn relatives_do_not_take_the_same_task_where_there_are_others() {
    check(4, &["1 h:mill", "2 h:mill", "3 h:barn"], &expect!["2 3"]);
    check(4, &["1 o:7", "2 o:7", "3"], &expect!["2 3"]);
    check(4, &["1 h:mill", "2 h:mill", "3 h:barn busy"], &expect!["2"]);
    check(4, &["1 h:mill", "2 h:mill"], &expect!["2 1"]);
    let begun = task(4, &[(1, 2, '-')]);
    let workers = ["2 h:mill", "3 h:barn busy"];
    assert_eq!(chosen(&begun, &["1 h:mill"], &workers, true), "");
    assert_eq!(chosen(&begun, &["1 h:mill"], &workers, false), "2");
    assert_eq!(chosen(&begun, &["1 h:mill"], &["2 h:mill", "3 h:barn"], true), "3");
}

#[test]
fn whoever_gave_up_is_no_relative() {
    let mut begun = task(4, &[(1, 2, '-')]);
    begun.apply(NOW, Event::Lost { worker: wallet(1) });
    assert_eq!(chosen(&begun, &["1 h:mill"], &["2 h:mill", "3 h:barn busy"], true), "2");
}

#[test]
fn regions_are_spread_over() {
    check(8, &["1 r:eu", "2 r:eu", "3 r:us", "4 r:us", "5 r:asia"], &expect!["2 3 5"]);
    // Where a light worker of a new region would cost a run more, the heavy one is asked.
    check(16, &["1 w8 r:eu", "2 w8 r:eu", "3 r:us"], &expect!["2 3"]);
    check(64, &["1 w8 r:eu", "2 w8 r:eu", "3 r:us"], &expect!["2 1"]);
}

#[test]
fn who_lets_others_down_comes_last_and_who_lied_works_for_its_stake_only() {
    check(1, &["1 u:2", "2 u:1", "3 g:9"], &expect!["3"]);
    check(1, &["1 barred"], &expect![""]);
    check(1, &["1 barred", "2"], &expect!["2"]);
    check(4, &["1 barred", "2 g:9", "3 g:9"], &expect!["2 3"]);
    check(4, &["1 barred", "2"], &expect!["2 1"]);
}

#[test]
fn a_newcomer_is_confirmed_by_a_proven_worker_and_confirms_one() {
    let mut checked = task(1, &[]);
    checked.apply(NOW, Event::Check);
    checked.apply(NOW, Event::Taken { worker: wallet(1), weight: U256::from(2) });
    assert_eq!(chosen(&checked, &["1 new"], &["2 new", "3 g:9"], true), "3");
    assert_eq!(chosen(&checked, &["1"], &["2", "3 new g:9"], true), "3");
    assert_eq!(chosen(&checked, &["1 new"], &["2 new"], true), "2");
}

#[test]
fn disagreement_asks_for_as_much_weight_as_it_takes() {
    let split = task(4, &[(1, 2, 'A'), (2, 2, 'B')]);
    assert_eq!(chosen(&split, &["1", "2"], &["3 g:0", "4", "5 w9 g:9"], true), "5");
    let heavy = task(4, &[(1, 30, 'A'), (2, 2, 'B')]);
    assert_eq!(chosen(&heavy, &["1 w30", "2"], &["3", "4"], true), "3");
    let agreed = task(4, &[(1, 2, 'A'), (2, 2, 'A')]);
    assert_eq!(chosen(&agreed, &["1", "2"], &["3", "4"], true), "");
}

/// Workers as (weight, host), hosts few enough to meet.
fn crowd() -> impl Strategy<Value = Vec<(u64, u8)>> {
    proptest::collection::vec((2u64..40, 0u8..6), 0..12)
}

fn words(crowd: &[(u64, u8)]) -> Vec<String> {
    let one = |(number, (weight, host)): (usize, &(u64, u8))| {
        format!("{} w{weight} h:{host}", number + 1)
    };
    crowd.iter().enumerate().map(one).collect()
}

fn pick(trust: u64, crowd: &[(u64, u8)]) -> Vec<usize> {
    let words = words(crowd);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let chosen = chosen(&task(trust, &[]), &[], &words, true);
    chosen.split_whitespace().map(|number| number.parse::<usize>().unwrap() - 1).collect()
}

/// One worker per host: the heaviest.
fn strangers(crowd: &[(u64, u8)]) -> Vec<(u64, u8)> {
    let mut heaviest = std::collections::BTreeMap::new();
    for (weight, host) in crowd {
        let known = heaviest.entry(*host).or_insert(*weight);
        *known = (*known).max(*weight);
    }
    heaviest.into_iter().map(|(host, weight)| (weight, host)).collect()
}

proptest! {
    /// If all agree, nobody was asked for nothing: without any one of them the quorum is not met.
    #[test]
    fn nobody_is_asked_for_nothing(crowd in crowd(), trust in 1u64..3_000) {
        let picked = pick(trust, &strangers(&crowd));
        let all = strangers(&crowd);
        let min = if trust > 1 { 2 } else { 1 };
        let quorum = verdict::Quorum::fresh(U256::from(trust), min);
        let weights: Vec<_> = picked.iter().map(|place| U256::from(all[*place].0)).collect();
        let met = quorum.is_met_with(weights.iter().copied());
        prop_assert!(met || picked.len() == all.len(), "{picked:?} of {all:?}");
        for without in 0..weights.len() {
            let mut less = weights.clone();
            less.remove(without);
            prop_assert!(!quorum.is_met_with(less));
        }
        let mut sorted: Vec<_> = all.iter().map(|(weight, _)| U256::from(*weight)).collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert!(!met || quorum.fewest(sorted) == Some(picked.len()));
    }

    /// A heavier word never makes more runs necessary.
    #[test]
    fn more_reputation_never_costs_more_runs(
        crowd in crowd(), trust in 1u64..3_000, which in any::<prop::sample::Index>(), more in 1u64..40,
    ) {
        let mut all = strangers(&crowd);
        prop_assume!(!all.is_empty());
        let quorum = verdict::Quorum::fresh(U256::from(trust), if trust > 1 { 2 } else { 1 });
        let lacking = |all: &[(u64, u8)]| {
            let picked = pick(trust, all);
            let left = picked.iter().try_fold(quorum.clone(), |mut quorum, place| {
                quorum.suppose(U256::from(all[*place].0)).ok()?;
                Some(quorum)
            });
            picked.len() + left.and_then(|quorum| quorum.fewest([])).unwrap()
        };
        let before = lacking(&all);
        which.get_mut(&mut all).0 += more;
        prop_assert!(lacking(&all) <= before);
    }

    /// Two of one machine take part only if all machines do.
    #[test]
    fn one_of_each_machine_first(crowd in crowd(), trust in 1u64..3_000) {
        let picked = pick(trust, &crowd);
        let hosts: Vec<_> = picked.iter().map(|place| crowd[*place].1).collect();
        let distinct: std::collections::BTreeSet<_> = hosts.iter().collect();
        if distinct.len() < hosts.len() {
            prop_assert_eq!(distinct.len(), strangers(&crowd).len(), "{:?}", hosts);
        }
    }
}
