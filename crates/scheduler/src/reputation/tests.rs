use alloy_primitives::{B256, U256};
use expect_test::{Expect, expect};
use primitives::{DealId, ResultDigest, ResultHash, TaskId, UnixSeconds};
use proptest::prelude::*;
use tasks::{Event, Failure, Limits, Terms};

use super::*;

fn wallet(number: u8) -> Address {
    Address::with_last_byte(number)
}

fn hash(word: &str) -> ResultHash {
    ResultHash(B256::repeat_byte(word.as_bytes()[0]))
}

/// A task of that trust after `taken 1; computed 1 A; …`, each event one second after the other.
fn told(trust: u64, story: &str) -> Task {
    let terms = Terms {
        trust: U256::from(trust),
        callback: false,
        batch: false,
        enclave: false,
        run_seconds: 300,
        contribution_deadline: UnixSeconds(2_100),
        final_deadline: UnixSeconds(3_000),
    };
    let (id, deal) = (TaskId(B256::with_last_byte(1)), DealId(B256::ZERO));
    let mut task = Task::new(id, deal, U256::ZERO, terms, Limits::default());
    let begin = "noticed; initialized; ".to_owned();
    for (second, words) in (begin + story).split(';').enumerate() {
        let words: Vec<_> = words.split_whitespace().collect();
        let worker = || wallet(words[1].parse().unwrap());
        let failed = |blame| Event::Failed {
            worker: worker(),
            failure: Failure::new(blame, "GM-0000", "it broke", ""),
        };
        let event = match words[0] {
            "noticed" => Event::Noticed,
            "initialized" => Event::Initialized,
            "check" => Event::Check,
            "taken" => Event::Taken { worker: worker(), weight: U256::from(2) },
            "computed" => Event::Computed { worker: worker(), hash: hash(words[2]) },
            "contributed" => {
                Event::Contributed { worker: worker(), hash: hash(words[2]), weight: None }
            }
            "consensus" => Event::Consensus { hash: hash(words[1]), at: UnixSeconds(10) },
            "revealed" => Event::Revealed { worker: worker(), digest: ResultDigest(B256::ZERO) },
            "finalized" => Event::Finalized,
            "claimed" => Event::Claimed,
            "reopened" => Event::Reopened,
            "lost" => Event::Lost { worker: worker() },
            "failed" => failed(Blame::Worker),
            "blamed" => failed(Blame::App),
            other => panic!("no event is called {other}"),
        };
        task.apply(UnixSeconds(second as u64), event);
    }
    task
}

fn check(trust: u64, story: &str, expected: &Expect) {
    let lines = lessons(&told(trust, story));
    let lines = lines.iter().map(|(worker, lesson)| format!("{} {lesson:?}", worker[19]));
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_lone_worker_completes() {
    check(
        1,
        "taken 1; computed 1 A; contributed 1 A; consensus A; revealed 1; finalized",
        &expect!["1 Completed { run_seconds: Some(1) }"],
    );
    check(1, "taken 1; computed 1 A", &expect![""]);
}

#[test]
fn a_check_confirms_both_though_one_is_let_in() {
    check(
        1,
        "check; taken 1; taken 2; computed 1 A; computed 2 A; contributed 1 A; consensus A; revealed 1; finalized",
        &expect![[r#"
            1 Completed { run_seconds: Some(2) }
            1 Confirmed { canary: true }
            2 Confirmed { canary: true }"#]],
    );
}

#[test]
fn a_known_answer_is_a_canary_that_confirms_nothing() {
    let alone = "taken 1; computed 1 A; contributed 1 A; consensus A; revealed 1; finalized";
    let check = |trust, story: &str, known: &str| recalled(&told(trust, story), hash(known));
    assert_eq!(check(1, alone, "A"), [(wallet(1), Lesson::Recalled)]);
    assert_eq!(check(1, alone, "B"), []);
    assert_eq!(check(1, &alone.replace("; finalized", ""), "A"), []);
    // What another worker found too counts as that, and what the deal asked two for is no canary.
    let both = "taken 1; taken 2; computed 1 A; computed 2 A; contributed 1 A; consensus A; revealed 1; finalized";
    assert_eq!(check(1, &format!("check; {both}"), "A"), []);
    assert_eq!(check(4, both, "A"), []);

    let mut record = Record::default();
    record.learn(Lesson::Recalled);
    assert_eq!((record.canaries_passed, record.confirmed, record.streak), (1, 0, 0));
}

#[test]
fn whoever_differs_was_wrong_let_in_or_not() {
    check(
        1,
        "check; taken 1; taken 2; computed 1 B; computed 2 A; taken 3; computed 3 A; \
         contributed 2 A; consensus A; revealed 2; finalized",
        &expect![[r#"
            1 Wrong { canary: true, close: true }
            2 Completed { run_seconds: Some(2) }
            2 Confirmed { canary: true }
            3 Confirmed { canary: true }"#]],
    );
    check(
        4,
        "taken 1; taken 2; computed 1 B; computed 2 A; contributed 1 B; contributed 2 A; contributed 3 A; \
         consensus A; revealed 2; finalized",
        &expect![[r#"
            1 Wrong { canary: false, close: true }
            2 Completed { run_seconds: Some(2) }
            2 Confirmed { canary: false }
            3 Unrevealed
            3 Confirmed { canary: false }"#]],
    );
}

#[test]
fn two_words_are_equivocation() {
    check(
        4,
        "taken 1; taken 2; computed 1 A; computed 2 A; contributed 1 B; contributed 2 A; contributed 3 A; \
         consensus A; revealed 2; revealed 3; finalized",
        &expect![[r#"
            1 Equivocated
            1 Wrong { canary: false, close: true }
            2 Completed { run_seconds: Some(2) }
            2 Confirmed { canary: false }
            3 Completed { run_seconds: None }
            3 Confirmed { canary: false }"#]],
    );
    check(
        1,
        "taken 1; computed 1 A; contributed 1 B; consensus B; revealed 1; finalized",
        &expect![[r#"
            1 Equivocated
            1 Completed { run_seconds: Some(1) }"#]],
    );
}

#[test]
fn blaming_the_program_is_believed_until_it_runs_elsewhere() {
    check(1, "taken 1; blamed 1; claimed", &expect![""]);
    check(
        1,
        "check; taken 1; taken 2; blamed 1; computed 2 A; taken 3; computed 3 A; contributed 2 A; consensus A; \
         revealed 2; finalized",
        &expect![[r#"
            1 FalseAlarm
            2 Completed { run_seconds: Some(2) }
            2 Confirmed { canary: true }
            3 Confirmed { canary: true }"#]],
    );
}

#[test]
fn what_was_agreed_and_not_brought() {
    check(
        4,
        "taken 1; taken 2; computed 1 A; computed 2 A; contributed 1 A; contributed 2 A; consensus A; revealed 1; claimed",
        &expect![[r#"
            1 Withheld
            2 Unrevealed"#]],
    );
    check(
        4,
        "taken 1; taken 2; computed 1 A; computed 2 A; contributed 1 A; contributed 2 A; consensus A; reopened; claimed",
        &expect![[r#"
            1 Unrevealed
            2 Unrevealed"#]],
    );
    check(
        4,
        "taken 1; taken 2; lost 1; failed 2; claimed",
        &expect![[r#"
        1 Lost
        2 Failed"#]],
    );
}

#[test]
fn a_block_teaches_once() {
    let story = "taken 1; computed 1 A; contributed 1 A; consensus A; revealed 1; finalized";
    let (task, mut ledger) = (told(1, story), Ledger::default());
    assert_eq!(ledger.learn(7, &task).len(), 1);
    ledger.close(7);
    assert_eq!(ledger.learn(7, &task), []);
    assert_eq!((ledger.worker(wallet(1)).completed, ledger.pool().completed), (1, 1));
    assert_eq!((ledger.changed(), ledger.changed()), (vec![wallet(1)], vec![]));
}

#[test]
fn accidents_are_not_dishonesty_and_many_are_unreliable() {
    let mut record = Record::default();
    record.learn(Lesson::Lost);
    assert_eq!((record.unreliable(), record.standing(0)), (0, Standing::Proven));
    record.learn(Lesson::Failed);
    assert_eq!((record.unreliable(), record.standing(0)), (2, Standing::Proven));
    for run_seconds in [Some(9), Some(1), Some(5), None] {
        record.learn(Lesson::Completed { run_seconds });
    }
    assert_eq!((record.unreliable(), record.run_seconds_median()), (1, Some(5)));
    record.learn(Lesson::FalseAlarm);
    assert_eq!(record.standing(0), Standing::Barred);
}

fn lesson() -> impl Strategy<Value = Lesson> {
    prop_oneof![
        proptest::option::of(0u64..1 << 40)
            .prop_map(|run_seconds| Lesson::Completed { run_seconds }),
        any::<bool>().prop_map(|canary| Lesson::Confirmed { canary }),
        any::<(bool, bool)>().prop_map(|(canary, close)| Lesson::Wrong { canary, close }),
        Just(Lesson::Equivocated),
        Just(Lesson::FalseAlarm),
        Just(Lesson::Unrevealed),
        Just(Lesson::Withheld),
        Just(Lesson::Lost),
        Just(Lesson::Failed),
    ]
}

proptest! {
    /// A record survives being written down, stays small, and one more confirmation never makes it worse.
    #[test]
    fn records_are_kept_and_monotone(
        lessons in proptest::collection::vec(lesson(), 0..200), proof in 0u64..60,
    ) {
        let mut record = Record::default();
        for lesson in lessons {
            record.learn(lesson);
        }
        let text = serde_json::to_string(&record).unwrap();
        prop_assert!(text.len() < 1_024);
        prop_assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), &record);
        let rank = |record: &Record| match record.standing(proof) {
            Standing::Barred => 0,
            Standing::New => 1,
            Standing::Proven => 2,
        };
        let before = (rank(&record), record.unreliable());
        record.learn(Lesson::Confirmed { canary: true });
        prop_assert!(rank(&record) >= before.0);
        prop_assert!(record.unreliable() <= before.1);
    }
}
