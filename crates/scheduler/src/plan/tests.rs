use alloy_primitives::B256;
use expect_test::{Expect, expect};
use primitives::{ResultHash, Tag, UnixSeconds};
use proptest::prelude::*;
use tasks::{Event, Limits, Terms};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_000);

fn worker(number: u8) -> Address {
    Address::with_last_byte(number)
}

/// `1: trust 4; took 2 3; found 2 A`: a task by number, its trust, who took it, who found what.
fn task(text: &str) -> Task {
    let (number, story) = text.split_once(':').unwrap();
    let number: u8 = number.trim().parse().unwrap();
    let mut trust = U256::ONE;
    let mut events = vec![Event::Noticed, Event::Initialized];
    for part in story.split(';') {
        let words: Vec<_> = part.split_whitespace().collect();
        let number = |word: &str| worker(word.parse().unwrap());
        match words.as_slice() {
            ["trust", wanted] => trust = wanted.parse().unwrap(),
            ["took", workers @ ..] => events.extend(
                workers.iter().map(|it| Event::Taken { worker: number(it), weight: U256::from(2) }),
            ),
            ["found", finder, what] => events.push(Event::Computed {
                worker: number(finder),
                hash: ResultHash(B256::repeat_byte(what.as_bytes()[0])),
            }),
            ["lost", loser] => events.push(Event::Lost { worker: number(loser) }),
            ["done"] => events.push(Event::Finalized),
            [] => {}
            other => panic!("what is {other:?}"),
        }
    }
    let terms = Terms {
        trust,
        callback: false,
        batch: false,
        enclave: false,
        run_seconds: 300,
        contribution_deadline: UnixSeconds(10_000),
        final_deadline: UnixSeconds(20_000),
    };
    let (id, deal) = (TaskId(B256::with_last_byte(number)), DealId(B256::ZERO));
    let mut task = Task::new(id, deal, U256::ZERO, terms, Limits::default());
    for event in events {
        task.apply(NOW, event);
    }
    task
}

fn need(task: &Task) -> Need<'_> {
    let room = Room::of_task(Tag::NONE);
    Need {
        task,
        runtime: "wasm",
        enclave: None,
        room,
        program: "/ipfs/program",
        price: Nrlc::ZERO,
        peers: &[],
        patient: true,
    }
}

fn shown(steps: &[Step]) -> String {
    let lines = steps.iter().map(|step| match step {
        Step::Open { deal, count } => format!("open {count} of deal {}", deal.0[31]),
        Step::Take { task, worker, .. } => format!("task {} to worker {}", task.0[31], worker[19]),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Workers as `(number, free slots, weight)`, all able to run `wasm`.
fn check(stories: &[&str], workers: &[(u8, u32, u64)], expected: &Expect) {
    let tasks: Vec<_> = stories.iter().map(|story| task(story)).collect();
    let runtimes = ["wasm".to_owned()];
    let view = |(number, free, weight): &(u8, u32, u64)| WorkerView {
        worker: worker(*number),
        free: *free,
        given: 0,
        weight: U256::from(*weight),
        runtimes: &runtimes,
        room: Room::ENDLESS,
        ..WorkerView::default()
    };
    let world = World {
        needs: tasks.iter().map(need).collect(),
        workers: workers.iter().map(view).collect(),
        deals: Vec::new(),
        window: 0,
    };
    expected.assert_eq(&shown(&plan(&world)));
}

#[test]
fn nothing_to_do_or_nobody_to_do_it() {
    check(&[], &[(1, 4, 2)], &expect![[r#""#]]);
    check(&["1: trust 1"], &[], &expect![[r#""#]]);
    check(&["1: trust 1"], &[(1, 0, 2)], &expect![[r#""#]]);
    check(&["1: trust 1; done"], &[(1, 1, 2)], &expect![[r#""#]]);
}

#[test]
fn tasks_spread_over_free_slots() {
    check(
        &["1:", "2:", "3:", "4:"],
        &[(1, 2, 2), (2, 1, 2)],
        &expect![[r#"
            task 1 to worker 1
            task 2 to worker 2
            task 3 to worker 1"#]],
    );
    check(&["1:"], &[(1, 1, 2), (2, 1, 4)], &expect!["task 1 to worker 2"]);
}

#[test]
fn replicas_go_to_different_workers() {
    check(
        &["1: trust 4"],
        &[(1, 9, 2), (2, 1, 2), (3, 1, 2)],
        &expect![[r#"
            task 1 to worker 2
            task 1 to worker 3"#]],
    );
    check(&["1: trust 4"], &[(1, 9, 2)], &expect!["task 1 to worker 1"]);
    check(&["1: trust 4; took 1"], &[(1, 9, 2), (2, 1, 2)], &expect!["task 1 to worker 2"]);
}

#[test]
fn disagreement_asks_one_more_and_agreement_nobody() {
    let free = [(1, 9, 2), (2, 9, 2), (3, 1, 2), (4, 1, 2)];
    check(&["1: trust 4; took 1 2; found 1 A"], &free, &expect![[r#""#]]);
    check(
        &["1: trust 4; took 1 2; found 1 A; found 2 B"],
        &free,
        &expect![[r#"
        task 1 to worker 3
        task 1 to worker 4"#]],
    );
    check(&["1: trust 4; took 1 2; found 1 A; found 2 A"], &free, &expect![[r#""#]]);
}

#[test]
fn a_lost_worker_is_replaced_or_asked_again_when_there_is_nobody_else() {
    check(&["1: took 1; lost 1"], &[(1, 1, 2), (2, 2, 2)], &expect!["task 1 to worker 2"]);
    check(&["1: took 1; lost 1"], &[(1, 1, 2)], &expect!["task 1 to worker 1"]);
}

#[test]
fn who_cannot_run_it_is_not_asked() {
    let task = task("1:");
    let runtimes = ["docker".to_owned()];
    let workers = vec![WorkerView {
        worker: worker(1),
        free: 1,
        given: 0,
        weight: U256::ONE,
        runtimes: &runtimes,
        room: Room::ENDLESS,
        ..WorkerView::default()
    }];
    let needs = vec![need(&task)];
    let world = World { needs, workers, deals: Vec::new(), window: 0 };
    assert_eq!(plan(&world), []);
}

#[test]
fn a_newcomer_gets_its_share_before_a_busy_veteran() {
    let task = task("1: trust 1");
    let runtimes = ["wasm".to_owned()];
    let view = |number, given, weight| WorkerView {
        worker: worker(number),
        free: 2,
        given,
        weight: U256::from(weight),
        runtimes: &runtimes,
        room: Room::ENDLESS,
        ..WorkerView::default()
    };
    let workers = vec![view(1, 9, 4), view(2, 0, 2), view(3, 0, 3)];
    let needs = vec![need(&task)];
    let world = World { needs, workers, deals: Vec::new(), window: 0 };
    assert_eq!(shown(&plan(&world)), "task 1 to worker 3");
}

#[test]
fn deals_are_opened_as_far_as_the_window_goes() {
    let deal = |number, left| DealView {
        deal: DealId(B256::with_last_byte(number)),
        left: U256::from(left),
        open: 0,
    };
    let open = |window| {
        let deals = vec![deal(1, 3), deal(2, 1_000), deal(3, 1)];
        shown(&plan(&World { needs: Vec::new(), workers: Vec::new(), deals, window }))
    };
    expect![[r#"
        open 3 of deal 1
        open 6 of deal 2
        open 1 of deal 3"#]]
    .assert_eq(&open(10));
    expect![[r#""#]].assert_eq(&open(0));
    let endless = vec![DealView { deal: DealId(B256::ZERO), left: U256::MAX, open: 9 }];
    let steps = plan(&World { needs: Vec::new(), workers: Vec::new(), deals: endless, window: 5 });
    assert_eq!(steps, [Step::Open { deal: DealId(B256::ZERO), count: 5 }]);
}

proptest! {
    #[test]
    fn no_slot_is_given_twice_and_no_worker_gets_a_task_twice(
        trusts in proptest::collection::vec(1u64..10, 0..8),
        free in proptest::collection::vec(0u32..4, 0..6),
    ) {
        let tasks: Vec<_> = (0..).zip(&trusts).map(|(number, trust)| task(&format!("{number}: trust {trust}"))).collect();
        let runtimes = ["wasm".to_owned()];
        let workers: Vec<_> = (0u8..).zip(&free).map(|(number, free)| WorkerView {
            worker: worker(number), free: *free, given: 0, weight: U256::from(2), runtimes: &runtimes, room: Room::ENDLESS,
            ..WorkerView::default()
        }).collect();
        let needs = tasks.iter().map(need).collect();
        let steps = plan(&World { needs, workers: workers.clone(), deals: Vec::new(), window: 0 });
        let taken: Vec<_> = steps.iter().filter_map(|step| match step {
            Step::Take { task, worker, .. } => Some((*task, *worker)),
            Step::Open { .. } => None,
        }).collect();
        let distinct: std::collections::BTreeSet<_> = taken.iter().collect();
        prop_assert_eq!(distinct.len(), taken.len());
        for view in workers {
            let given = taken.iter().filter(|(_, worker)| *worker == view.worker).count();
            prop_assert!(given <= view.free as usize);
        }
        for task in &tasks {
            prop_assert!(taken.iter().filter(|(id, _)| *id == task.id).count() <= task.wanted());
        }
    }
}
