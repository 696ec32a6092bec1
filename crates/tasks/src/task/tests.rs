use alloy_primitives::{B256, keccak256};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use verdict::Ballot;

use super::*;
use crate::Report;

const START: UnixSeconds = UnixSeconds(1_000);
const RUN_SECONDS: u64 = 300;

fn at(seconds: u64) -> UnixSeconds {
    START.saturating_add(seconds)
}

fn worker(number: u8) -> Address {
    Address::with_last_byte(number)
}

fn hash(name: char) -> ResultHash {
    ResultHash(B256::repeat_byte(u8::try_from(name).unwrap()))
}

fn failure(blame: Blame) -> Failure {
    Failure::new(blame, "GM-0000", "it broke", "mend it")
}

fn task(trust: u64) -> Task {
    special(trust, false, false)
}

fn special(trust: u64, batch: bool, enclave: bool) -> Task {
    let terms = Terms {
        trust: U256::from(trust),
        callback: false,
        batch,
        enclave,
        run_seconds: RUN_SECONDS,
        contribution_deadline: at(7 * RUN_SECONDS),
        final_deadline: at(10 * RUN_SECONDS),
    };
    let (id, deal) = (TaskId(B256::repeat_byte(1)), DealId(B256::repeat_byte(2)));
    Task::new(id, deal, U256::ZERO, terms, Limits::default())
}

/// Events in short: `0 noticed`, `5 taken 1`, `7 computed 1 A`: seconds since the start, the event, worker, result.
fn event(words: &str) -> (UnixSeconds, Event) {
    let words: Vec<_> = words.split_whitespace().collect();
    let who = || worker(words[2].parse().unwrap());
    let what = |place: usize| hash(words[place].chars().next().unwrap());
    let event = match words[1] {
        "noticed" => Event::Noticed,
        "tick" => Event::Tick,
        "initialized" => Event::Initialized,
        "taken" => {
            let weight = words.get(3).map_or(2, |weight| weight.parse().unwrap());
            Event::Taken { worker: who(), weight: U256::from(weight) }
        }
        "computed" => Event::Computed { worker: who(), hash: what(3) },
        "app-failed" => Event::Failed { worker: who(), failure: failure(Blame::App) },
        "input-failed" => Event::Failed { worker: who(), failure: failure(Blame::Input) },
        "failed" => Event::Failed { worker: who(), failure: failure(Blame::Worker) },
        "lost" => Event::Lost { worker: who() },
        "back" => Event::Back { worker: who() },
        "unservable" => Event::Unservable { failure: failure(Blame::Worker) },
        "returned" => Event::Returned { worker: who() },
        "check" => Event::Check,
        "unchecked" => Event::Unchecked,
        "single" => Event::Single,
        "settling" => Event::Settling { worker: who() },
        "unsettled" => Event::Unsettled { worker: who() },
        "challenged" => Event::Challenged { challenge: Address::repeat_byte(0xc) },
        "unchallenged" => {
            Event::Unchallenged { failure: failure(Blame::Worker), is_final: words.len() > 2 }
        }
        "uploaded" => Event::Uploaded {
            worker: who(),
            location: "/ipfs/Qm".to_owned(),
            callback_data: alloy_primitives::Bytes::new(),
        },
        "contributed" => Event::Contributed { worker: who(), hash: what(3), weight: None },
        "consensus" => Event::Consensus { hash: what(2), at: at(words[0].parse().unwrap()) },
        "revealed" => Event::Revealed { worker: who(), digest: ResultDigest(what(3).0) },
        "reopened" => Event::Reopened,
        "finalized" => Event::Finalized,
        "claimed" => Event::Claimed,
        "refused" => Event::Refused {
            call: match words[2] {
                "initialize" => Call::Initialize,
                "finalize" => Call::Finalize,
                "reopen" => Call::Reopen,
                "challenge" => Call::Challenge,
                _ => Call::Claim,
            },
        },
        other => panic!("no event is called {other}"),
    };
    (at(words[0].parse().unwrap()), event)
}

fn shown(action: &Action) -> String {
    match action {
        Action::Initialize => "initialize".to_owned(),
        Action::AskChallenge => "ask-challenge".to_owned(),
        Action::Assign { worker } => format!("assign {}", worker[19]),
        Action::Grant { worker } => format!("grant {}", worker[19]),
        Action::AskReveal { worker } => format!("ask-reveal {}", worker[19]),
        Action::Finalize { .. } => "finalize".to_owned(),
        Action::Reopen => "reopen".to_owned(),
        Action::Claim => "claim".to_owned(),
        Action::Release { worker } => format!("release {}", worker[19]),
        Action::Report(Report::Doomed(failure)) => format!("report doomed {}", failure.code),
        Action::Report(report) => format!("report {}", format!("{report:?}").to_lowercase()),
    }
}

fn run(task: &mut Task, script: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (now, event) = event(line);
        let actions: Vec<_> = task.apply(now, event).iter().map(shown).collect();
        let wanted = match task.wanted() {
            0 => String::new(),
            more => format!(" wants {more}"),
        };
        let ripe = task.ripe().map_or(String::new(), |worker| format!(" ripe {}", worker[19]));
        let status = format!("{:?}{wanted}{ripe}", task.status());
        lines.push(format!("{line} -> {status} [{}]", actions.join(", ")));
    }
    lines
}

fn check_batched(script: &str, expected: &Expect) {
    expected.assert_eq(&run(&mut special(1, true, false), script).join("\n"));
}

fn check_enclave(script: &str, expected: &Expect) {
    expected.assert_eq(&run(&mut special(1, false, true), script).join("\n"));
}

fn check(trust: u64, script: &str, expected: &Expect) {
    expected.assert_eq(&run(&mut task(trust), script).join("\n"));
}

#[test]
fn a_task_that_is_given_back_goes_to_another_or_the_same_again() {
    let mut task = task(1);
    let script = "0 noticed\n0 initialized\n0 taken 1\n1 returned 1\n1 taken 2\n2 computed 2 A\n2 returned 2";
    let lines = run(&mut task, script);
    // What was let in is on its way to the chain, and stays.
    expect![[r#"
        0 noticed -> Received wants 1 [initialize]
        0 initialized -> Active wants 1 []
        0 taken 1 -> Active [assign 1]
        1 returned 1 -> Active wants 1 []
        1 taken 2 -> Active [assign 2]
        2 computed 2 A -> Active [grant 2]
        2 returned 2 -> Active []"#]]
    .assert_eq(&lines.join("\n"));
    assert!(task.may_take(worker(1)));
}

#[test]
fn a_task_that_nobody_could_do_is_given_up_unless_somebody_is_at_it() {
    let mut task = task(1);
    let script = "0 noticed\n0 initialized\n0 taken 1\n1 unservable\n2 returned 1\n3 unservable";
    let lines = run(&mut task, script);
    expect![[r#"
        0 noticed -> Received wants 1 [initialize]
        0 initialized -> Active wants 1 []
        0 taken 1 -> Active [assign 1]
        1 unservable -> Active []
        2 returned 1 -> Active wants 1 []
        3 unservable -> Doomed [report doomed GM-0000]"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn who_gives_back_all_the_time_is_not_asked_for_ever() {
    let mut task = task(1);
    run(&mut task, "0 noticed\n0 initialized");
    let mut rounds = 0;
    while task.may_take(worker(1)) && task.wanted() > 0 && rounds < 100 {
        run(&mut task, "1 taken 1\n1 returned 1");
        rounds += 1;
    }
    assert_eq!(rounds, 10);
    assert!(task.may_take(worker(2)) && task.wanted() == 1);
}

#[test]
fn one_worker_finishes_alone() {
    check(
        1,
        "0 noticed
         0 taken 1
         1 computed 1 A
         1 initialized
         2 contributed 1 A
         2 consensus A
         2 revealed 1 D
         2 finalized",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 taken 1 -> Received [assign 1]
            1 computed 1 A -> Received []
            1 initialized -> Active [grant 1]
            2 contributed 1 A -> Active []
            2 consensus A -> Revealing []
            2 revealed 1 D -> Revealing []
            2 finalized -> Completed [release 1, report completed]"#]],
    );
}

#[test]
fn two_workers_agree_reveal_and_one_upload_is_enough() {
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1
         0 taken 2
         0 taken 3
         1 computed 1 A
         2 computed 2 A
         3 contributed 1 A
         3 contributed 2 A
         3 consensus A
         4 revealed 1 D
         5 uploaded 1
         6 revealed 2 D
         7 finalized",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            0 taken 2 -> Active [assign 2]
            0 taken 3 -> Active []
            1 computed 1 A -> Active []
            2 computed 2 A -> Active [grant 1, grant 2]
            3 contributed 1 A -> Active []
            3 contributed 2 A -> Active []
            3 consensus A -> Revealing [ask-reveal 1, ask-reveal 2]
            4 revealed 1 D -> Revealing []
            5 uploaded 1 -> Revealing []
            6 revealed 2 D -> Finalizing [finalize]
            7 finalized -> Completed [release 1, release 2, report completed]"#]],
    );
}

#[test]
fn a_liar_is_let_in_first_when_it_loses_for_sure() {
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1 2
         0 taken 2 4
         1 computed 1 B
         1 computed 2 A
         1 taken 3 4
         2 computed 3 A
         3 tick
         4 contributed 1 B
         5 contributed 2 A
         5 contributed 3 A
         5 consensus A
         6 revealed 2 D
         6 revealed 3 D
         6 uploaded 2
         7 finalized",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 2 -> Active wants 1 [assign 1]
            0 taken 2 4 -> Active [assign 2]
            1 computed 1 B -> Active []
            1 computed 2 A -> Active wants 2 []
            1 taken 3 4 -> Active [assign 3]
            2 computed 3 A -> Active [grant 1]
            3 tick -> Active []
            4 contributed 1 B -> Active [grant 2, grant 3]
            5 contributed 2 A -> Active []
            5 contributed 3 A -> Active []
            5 consensus A -> Revealing [ask-reveal 2, ask-reveal 3]
            6 revealed 2 D -> Revealing []
            6 revealed 3 D -> Revealing []
            6 uploaded 2 -> Finalizing [finalize]
            7 finalized -> Completed [release 1, release 2, release 3, report completed]"#]],
    );
}

#[test]
fn a_liar_among_fresh_workers_waits_for_enough_of_them() {
    let mut task = task(4);
    let script = "0 noticed
         0 initialized
         0 taken 1
         0 taken 2
         1 computed 1 B
         1 computed 2 A
         1 taken 3
         1 taken 4
         1 taken 5
         2 computed 3 A
         2 computed 4 A
         2 computed 5 A";
    expect![[r#"
        0 noticed -> Received wants 2 [initialize]
        0 initialized -> Active wants 2 []
        0 taken 1 -> Active wants 1 [assign 1]
        0 taken 2 -> Active [assign 2]
        1 computed 1 B -> Active []
        1 computed 2 A -> Active wants 3 []
        1 taken 3 -> Active wants 2 [assign 3]
        1 taken 4 -> Active wants 1 [assign 4]
        1 taken 5 -> Active [assign 5]
        2 computed 3 A -> Active []
        2 computed 4 A -> Active []
        2 computed 5 A -> Active [grant 1]"#]]
    .assert_eq(&run(&mut task, script).join("\n"));
}

#[test]
fn failures_find_somebody_else_or_end_it() {
    check(
        1,
        "0 noticed
         0 initialized
         0 taken 1
         1 app-failed 1",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 taken 1 -> Active [assign 1]
            1 app-failed 1 -> Doomed [report doomed GM-0000]"#]],
    );
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1
         0 taken 2
         1 app-failed 1
         1 taken 1
         1 taken 3
         2 app-failed 2",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            0 taken 2 -> Active [assign 2]
            1 app-failed 1 -> Active wants 1 []
            1 taken 1 -> Active wants 1 []
            1 taken 3 -> Active [assign 3]
            2 app-failed 2 -> Doomed [release 3, report doomed GM-0000]"#]],
    );
    check(
        1,
        "0 noticed
         0 initialized
         0 taken 1
         1 input-failed 1
         1 taken 2
         2 input-failed 2",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 taken 1 -> Active [assign 1]
            1 input-failed 1 -> Active wants 1 []
            1 taken 2 -> Active [assign 2]
            2 input-failed 2 -> Doomed [report doomed GM-0000]"#]],
    );
    check(
        1,
        "0 noticed
         0 initialized
         0 taken 1
         1 lost 1
         1 taken 1
         2 failed 1
         2 taken 1
         2 taken 2
         3 computed 2 A
         3 lost 2
         3 taken 2",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 taken 1 -> Active [assign 1]
            1 lost 1 -> Active wants 1 []
            1 taken 1 -> Active [assign 1]
            2 failed 1 -> Active wants 1 []
            2 taken 1 -> Active wants 1 []
            2 taken 2 -> Active [assign 2]
            3 computed 2 A -> Active [grant 2]
            3 lost 2 -> Active wants 1 []
            3 taken 2 -> Active [assign 2]"#]],
    );
}

#[test]
fn in_a_small_pool_the_same_worker_is_asked_again_after_a_rest() {
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1
         0 taken 2
         1 computed 1 A
         1 computed 2 A
         2 lost 1
         2 taken 1
         3 lost 1
         3 taken 1
         63 taken 1
         64 lost 1
         64 taken 1
         124 taken 1
         125 computed 1 A",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            0 taken 2 -> Active [assign 2]
            1 computed 1 A -> Active []
            1 computed 2 A -> Active [grant 1, grant 2]
            2 lost 1 -> Active wants 1 []
            2 taken 1 -> Active [assign 1]
            3 lost 1 -> Active wants 1 []
            3 taken 1 -> Active wants 1 []
            63 taken 1 -> Active [assign 1]
            64 lost 1 -> Active wants 1 []
            64 taken 1 -> Active wants 1 []
            124 taken 1 -> Active wants 1 [release 2, assign 1]
            125 computed 1 A -> Active wants 1 []"#]],
    );
}

#[test]
fn a_worker_that_comes_back_with_its_result_is_heard() {
    check(
        1,
        "0 noticed
         0 initialized
         0 taken 1
         1 lost 1
         2 computed 1 A
         3 lost 1
         4 computed 1 A
         5 contributed 1 A",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 taken 1 -> Active [assign 1]
            1 lost 1 -> Active wants 1 []
            2 computed 1 A -> Active [grant 1]
            3 lost 1 -> Active wants 1 []
            4 computed 1 A -> Active [grant 1]
            5 contributed 1 A -> Active []"#]],
    );
}

#[test]
fn a_worker_that_weighs_less_than_was_thought_is_joined_by_another() {
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1 4
         0 taken 2 4
         1 computed 1 A
         1 computed 2 A
         2 contributed 1 A
         3 tick
         4 contributed 2 A
         4 consensus A",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 4 -> Active wants 1 [assign 1]
            0 taken 2 4 -> Active [assign 2]
            1 computed 1 A -> Active []
            1 computed 2 A -> Active [grant 1]
            2 contributed 1 A -> Active []
            3 tick -> Active [grant 2]
            4 contributed 2 A -> Active []
            4 consensus A -> Revealing [ask-reveal 1, ask-reveal 2]"#]],
    );
}

#[test]
fn silence_is_noticed_by_the_clock() {
    check(
        1,
        "0 noticed
         0 initialized
         0 taken 1
         360 tick
         361 tick
         361 taken 2
         362 computed 2 A
         482 tick
         483 tick
         2099 tick
         2100 tick
         2999 tick
         3000 tick
         3001 tick
         3002 refused claim
         3003 tick
         3007 tick
         3008 claimed",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 taken 1 -> Active [assign 1]
            360 tick -> Active []
            361 tick -> Active wants 1 [release 1]
            361 taken 2 -> Active [assign 2]
            362 computed 2 A -> Active [grant 2]
            482 tick -> Active []
            483 tick -> Active wants 1 [release 2]
            2099 tick -> Active wants 1 []
            2100 tick -> Doomed [report doomed GM-4201]
            2999 tick -> Doomed []
            3000 tick -> Doomed [claim]
            3001 tick -> Doomed []
            3002 refused claim -> Doomed []
            3003 tick -> Doomed []
            3007 tick -> Doomed [claim]
            3008 claimed -> Failed [report failed]"#]],
    );
}

#[test]
fn without_reveals_it_is_reopened_and_others_take_over() {
    check(
        4,
        "0 noticed
         0 initialized
         0 taken 1
         0 taken 2
         1 computed 1 A
         1 computed 2 A
         2 contributed 1 A
         2 contributed 2 A
         2 consensus A
         31 tick
         32 tick
         32 back 1
         601 tick
         602 tick
         603 reopened
         603 taken 1
         603 taken 3
         603 taken 4
         604 computed 3 A
         604 computed 4 A",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            0 taken 2 -> Active [assign 2]
            1 computed 1 A -> Active []
            1 computed 2 A -> Active [grant 1, grant 2]
            2 contributed 1 A -> Active []
            2 contributed 2 A -> Active []
            2 consensus A -> Revealing [ask-reveal 1, ask-reveal 2]
            31 tick -> Revealing []
            32 tick -> Revealing [ask-reveal 1, ask-reveal 2]
            32 back 1 -> Revealing []
            601 tick -> Revealing [ask-reveal 1, ask-reveal 2]
            602 tick -> Revealing [reopen]
            603 reopened -> Active wants 2 []
            603 taken 1 -> Active wants 2 []
            603 taken 3 -> Active wants 1 [assign 3]
            603 taken 4 -> Active [assign 4]
            604 computed 3 A -> Active []
            604 computed 4 A -> Active [grant 3, grant 4]"#]],
    );
}

#[test]
fn a_winner_that_does_not_reveal_holds_nothing_up_for_longer_than_the_deadline() {
    check(
        4,
        "0 noticed
         0 initialized
         0 contributed 1 A
         0 contributed 2 A
         0 consensus A
         1 revealed 1 D
         2 uploaded 1
         599 tick
         600 tick
         601 refused finalize
         606 tick
         607 finalized",
        &expect![[r#"
            0 noticed -> Received wants 2 [initialize]
            0 initialized -> Active wants 2 []
            0 contributed 1 A -> Active wants 1 []
            0 contributed 2 A -> Active []
            0 consensus A -> Revealing [ask-reveal 1, ask-reveal 2]
            1 revealed 1 D -> Revealing []
            2 uploaded 1 -> Revealing []
            599 tick -> Revealing [ask-reveal 2]
            600 tick -> Finalizing [finalize]
            601 refused finalize -> Revealing []
            606 tick -> Finalizing [finalize]
            607 finalized -> Completed [release 1, release 2, report completed]"#]],
    );
}

#[test]
fn a_recorded_past_asks_for_nothing_until_it_is_noticed() {
    let mut task = task(4);
    for line in ["0 initialized", "1 contributed 1 A", "1 contributed 2 A", "1 consensus A"] {
        let (then, event) = event(line);
        task.record(then, event);
    }
    expect!["5 noticed -> Revealing [ask-reveal 1, ask-reveal 2]"]
        .assert_eq(&run(&mut task, "5 noticed").join("\n"));
}

#[test]
fn a_chain_that_is_out_of_reach_is_tried_ever_more_rarely_and_never_given_up() {
    let mut task = task(1);
    let mut sent = Vec::new();
    for second in 0..2_000 {
        let event = if second == 0 { Event::Noticed } else { Event::Tick };
        if task.apply(at(second), event).contains(&Action::Initialize) {
            sent.push(second);
            task.apply(at(second), Event::Refused { call: Call::Initialize });
        }
    }
    expect!["[0, 5, 10, 15, 20, 25, 35, 55, 95, 175, 335, 655, 1295]"]
        .assert_eq(&format!("{sent:?}"));
}

#[test]
fn an_upload_for_a_callback_must_fit_the_digest() {
    let mut task = task(1);
    task.terms.callback = true;
    run(&mut task, "0 noticed\n0 initialized\n0 contributed 1 A\n0 consensus A");
    let data = alloy_primitives::Bytes::from_static(b"answer");
    let digest = ResultDigest(keccak256(&data));
    task.apply(at(1), Event::Revealed { worker: worker(1), digest });
    let uploaded = |data: &alloy_primitives::Bytes| Event::Uploaded {
        worker: worker(1),
        location: String::new(),
        callback_data: data.clone(),
    };
    let wrong = alloy_primitives::Bytes::from_static(b"another");
    assert_eq!(task.apply(at(2), uploaded(&wrong)), []);
    let finalize = Action::Finalize { location: String::new(), callback_data: data.clone() };
    assert_eq!(task.apply(at(3), uploaded(&data)), [finalize]);
}

#[test]
fn an_upload_that_names_no_stored_file_is_none() {
    let mut task = task(2);
    run(
        &mut task,
        "0 noticed
         0 initialized
         0 contributed 1 A
         0 contributed 2 A
         0 consensus A
         1 revealed 1 D
         1 revealed 2 D",
    );
    let uploaded = |from, location: &str| Event::Uploaded {
        worker: worker(from),
        location: location.to_owned(),
        callback_data: alloy_primitives::Bytes::new(),
    };
    let foul = [
        "",
        "/ipfs/",
        "Qm",
        "/ipfs/Qm\", \"storage\": \"none",
        "https://elsewhere/Qm",
        "/ipfs/../Qm",
    ];
    for location in foul {
        let finalizes = |action: &Action| matches!(action, Action::Finalize { .. });
        let done = task.apply(at(2), uploaded(1, location));
        assert!(!done.iter().any(finalizes), "{location}");
    }
    // One of the others is enough.
    let finalize = Action::Finalize {
        location: "/ipfs/Qm".to_owned(),
        callback_data: alloy_primitives::Bytes::new(),
    };
    assert_eq!(task.apply(at(3), uploaded(2, "/ipfs/Qm")), [finalize]);
}

#[test]
fn a_lone_workers_task_is_settled_with_others_and_never_initialised_before() {
    check_batched(
        "0 noticed
         0 taken 1
         1 computed 1 A
         2 settling 2
         2 settling 1
         300 tick
         301 initialized
         301 contributed 1 A
         301 consensus A
         301 revealed 1 D
         301 finalized",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 taken 1 -> Received [assign 1]
            1 computed 1 A -> Received ripe 1 []
            2 settling 2 -> Received ripe 1 []
            2 settling 1 -> Received []
            300 tick -> Received []
            301 initialized -> Active wants 1 [release 1]
            301 contributed 1 A -> Active []
            301 consensus A -> Revealing []
            301 revealed 1 D -> Revealing []
            301 finalized -> Completed [release 1, report completed]"#]],
    );
}

#[test]
fn a_settlement_that_fails_is_tried_again_and_then_goes_by_itself() {
    check_batched(
        "0 noticed
         0 taken 1
         1 computed 1 A
         2 settling 1
         3 unsettled 1
         3 unsettled 1
         4 settling 1
         5 unsettled 1
         5 settling 1
         6 initialized",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 taken 1 -> Received [assign 1]
            1 computed 1 A -> Received ripe 1 []
            2 settling 1 -> Received []
            3 unsettled 1 -> Received ripe 1 []
            3 unsettled 1 -> Received ripe 1 []
            4 settling 1 -> Received []
            5 unsettled 1 -> Received [initialize]
            5 settling 1 -> Received []
            6 initialized -> Active [grant 1]"#]],
    );
}

#[test]
fn whoever_cannot_settle_goes_the_way_of_one() {
    check_batched(
        "0 noticed
         0 single
         0 taken 1
         1 computed 1 A
         2 initialized",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 single -> Received wants 1 [initialize]
            0 taken 1 -> Received [assign 1]
            1 computed 1 A -> Received []
            2 initialized -> Active [grant 1]"#]],
    );
}

#[test]
fn a_settling_worker_that_is_lost_or_slow_is_replaced() {
    check_batched(
        "0 noticed
         0 taken 1
         1 computed 1 A
         2 settling 1
         3 lost 1
         3 taken 2
         4 computed 2 A
         5 settling 2
         700 tick
         701 taken 3
         702 initialized
         702 contributed 1 A
         702 consensus A
         702 finalized",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 taken 1 -> Received [assign 1]
            1 computed 1 A -> Received ripe 1 []
            2 settling 1 -> Received []
            3 lost 1 -> Received wants 1 []
            3 taken 2 -> Received [assign 2]
            4 computed 2 A -> Received ripe 2 []
            5 settling 2 -> Received []
            700 tick -> Received wants 1 [release 2]
            701 taken 3 -> Received [assign 3]
            702 initialized -> Active []
            702 contributed 1 A -> Active []
            702 consensus A -> Revealing [release 3]
            702 finalized -> Completed [release 1, report completed]"#]],
    );
}

#[test]
fn a_batched_task_that_fails_is_initialised_for_its_refund() {
    check_batched(
        "0 noticed
         0 taken 1
         1 app-failed 1
         2 initialized
         3000 tick
         3001 claimed",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 taken 1 -> Received [assign 1]
            1 app-failed 1 -> Doomed [report doomed GM-0000, initialize]
            2 initialized -> Doomed []
            3000 tick -> Doomed [claim]
            3001 claimed -> Failed [report failed]"#]],
    );
}

#[test]
fn an_enclave_has_its_key_before_anybody_computes() {
    check_enclave(
        "0 noticed
         1 initialized
         2 challenged
         2 taken 1
         3 computed 1 A
         4 contributed 1 A
         4 consensus A
         4 revealed 1 D
         4 finalized",
        &expect![[r#"
            0 noticed -> Received [initialize]
            1 initialized -> Active [ask-challenge]
            2 challenged -> Active wants 1 []
            2 taken 1 -> Active [assign 1]
            3 computed 1 A -> Active [grant 1]
            4 contributed 1 A -> Active []
            4 consensus A -> Revealing []
            4 revealed 1 D -> Revealing []
            4 finalized -> Completed [release 1, report completed]"#]],
    );
}

#[test]
fn the_secret_manager_is_asked_until_it_answers_or_it_is_too_late() {
    check_enclave(
        "0 noticed
         1 initialized
         2 unchallenged
         6 tick
         7 tick
         8 unchallenged
         13 tick
         14 refused challenge
         19 tick
         20 unchallenged
         25 tick
         26 unchallenged
         31 tick
         32 unchallenged
         37 tick
         38 unchallenged
         2100 tick",
        &expect![[r#"
            0 noticed -> Received [initialize]
            1 initialized -> Active [ask-challenge]
            2 unchallenged -> Active []
            6 tick -> Active []
            7 tick -> Active [ask-challenge]
            8 unchallenged -> Active []
            13 tick -> Active [ask-challenge]
            14 refused challenge -> Active []
            19 tick -> Active [ask-challenge]
            20 unchallenged -> Active []
            25 tick -> Active [ask-challenge]
            26 unchallenged -> Active []
            31 tick -> Active [ask-challenge]
            32 unchallenged -> Active []
            37 tick -> Active [ask-challenge]
            38 unchallenged -> Active []
            2100 tick -> Doomed [report doomed GM-0000]"#]],
    );
    check_enclave(
        "0 noticed
         1 initialized
         2 unchallenged for-good",
        &expect![[r#"
            0 noticed -> Received [initialize]
            1 initialized -> Active [ask-challenge]
            2 unchallenged for-good -> Doomed [report doomed GM-0000]"#]],
    );
}

#[test]
fn what_it_waits_for_is_said_with_a_code() {
    let waits = |script: &str, batch: bool, enclave: bool| {
        let mut task = special(1, batch, enclave);
        run(&mut task, script);
        let wait = task.waiting_for();
        format!("{}: {wait}", wait.code())
    };
    let all = [
        waits("0 noticed", true, false),
        waits("0 noticed\n0 taken 1", true, false),
        waits("0 noticed\n0 taken 1\n1 computed 1 A", true, false),
        waits("0 noticed\n0 taken 1\n1 computed 1 A\n1 settling 1", true, false),
        waits("0 noticed\n0 taken 1\n1 computed 1 A", false, false),
        waits("0 noticed\n0 taken 1\n1 computed 1 A\n2 initialized", false, false),
        waits("0 noticed", false, true),
        waits("0 noticed\n1 initialized", false, true),
        waits("0 noticed\n1 initialized\n2 unchallenged", false, true),
        waits("0 noticed\n1 initialized\n2 unchallenged\n3 challenged", false, true),
        waits("0 noticed\n0 taken 1\n1 app-failed 1", false, false),
        waits("0 noticed\n0 finalized", false, false),
    ];
    expect![[r#"
        free-workers: 1 free worker(s)
        computing: 1 worker(s) computing
        settlement: its settlement on chain, together with other tasks of its deal
        settlement: its settlement on chain, together with other tasks of its deal
        initialisation: its initialisation on chain
        contributions: 1 contribution(s) on chain
        initialisation: its initialisation on chain
        enclave-challenge: the secret manager, for the key of its enclave
        enclave-challenge: the secret manager, for the key of its enclave: it broke
        free-workers: 1 free worker(s)
        refund: the final deadline, to refund the requester
        nothing: nothing"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn a_lone_result_is_confirmed_before_anyone_is_let_in() {
    check(
        1,
        "0 noticed
         0 check
         0 initialized
         0 taken 1
         0 taken 2
         1 computed 1 A
         2 computed 2 A
         3 contributed 2 A
         3 consensus A
         3 revealed 2 D
         3 finalized",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 check -> Received wants 2 []
            0 initialized -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            0 taken 2 -> Active [assign 2]
            1 computed 1 A -> Active []
            2 computed 2 A -> Active [grant 1]
            3 contributed 2 A -> Active []
            3 consensus A -> Revealing []
            3 revealed 2 D -> Revealing []
            3 finalized -> Completed [release 1, release 2, report completed]"#]],
    );
}

#[test]
fn a_lone_liar_is_found_out() {
    let mut task = task(1);
    run(
        &mut task,
        "0 noticed\n0 check\n0 initialized\n0 taken 1\n0 taken 2\n1 computed 1 B\n2 computed 2 A\n2 taken 3\n3 computed 3 A",
    );
    // Two against one may be two liars.
    assert_eq!((task.wanted(), task.replicas().filter(|it| it.granted).count()), (2, 0));
    run(&mut task, "3 taken 4\n3 taken 5\n4 computed 4 A\n4 computed 5 A");
    assert!(task.replica(worker(1)).is_some_and(|liar| !liar.granted));
    assert!(task.replicas().any(|it| it.granted && it.hash == Some(hash('A'))));
    assert!(task.is_checked() && !task.awaits_check());
}

#[test]
fn a_check_waits_no_longer_than_a_run_takes() {
    check(
        1,
        "0 noticed
         0 initialized
         0 check
         0 taken 1
         1 computed 1 A
         361 tick
         362 tick
         363 check",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 initialized -> Active wants 1 []
            0 check -> Active wants 2 []
            0 taken 1 -> Active wants 1 [assign 1]
            1 computed 1 A -> Active wants 1 []
            361 tick -> Active wants 1 []
            362 tick -> Active [grant 1]
            363 check -> Active []"#]],
    );
}

#[test]
fn a_result_is_doubted_until_it_is_let_in() {
    check(
        1,
        "0 noticed
         0 taken 1
         1 check
         1 computed 1 A
         1 initialized
         2 unchecked
         3 check",
        &expect![[r#"
            0 noticed -> Received wants 1 [initialize]
            0 taken 1 -> Received [assign 1]
            1 check -> Received wants 1 []
            1 computed 1 A -> Received wants 1 []
            1 initialized -> Active wants 1 []
            2 unchecked -> Active [grant 1]
            3 check -> Active []"#]],
    );
    check_batched(
        "0 noticed
         0 check
         0 taken 1
         0 taken 2
         1 computed 1 A
         1 computed 2 A
         2 settling 1
         3 lost 1",
        &expect![[r#"
            0 noticed -> Received wants 1 []
            0 check -> Received wants 2 []
            0 taken 1 -> Received wants 1 [assign 1]
            0 taken 2 -> Received [assign 2]
            1 computed 1 A -> Received []
            1 computed 2 A -> Received ripe 1 []
            2 settling 1 -> Received []
            3 lost 1 -> Received ripe 2 []"#]],
    );
}

/// A task in each status, two where the history matters.
fn everywhere() -> Vec<(&'static str, Task)> {
    let scripts = [
        ("Received", "0 noticed\n0 taken 1\n0 taken 2\n1 computed 2 A"),
        ("Active", "0 noticed\n0 initialized\n0 taken 1\n0 taken 2\n1 computed 2 A"),
        (
            "Active, granted",
            "0 noticed\n0 initialized\n0 taken 1\n0 taken 2\n1 computed 2 A\n1 computed 1 A",
        ),
        (
            "Revealing",
            "0 noticed\n0 initialized\n0 contributed 1 A\n0 contributed 2 A\n0 consensus A\n1 revealed 1 D",
        ),
        (
            "Finalizing",
            "0 noticed\n0 initialized\n0 contributed 1 A\n0 consensus A\n1 revealed 1 D\n1 uploaded 1",
        ),
        (
            "Doomed",
            "0 noticed\n0 initialized\n0 taken 1\n0 taken 2\n1 app-failed 1\n1 app-failed 2",
        ),
        ("Completed", "0 noticed\n0 finalized"),
        ("Failed", "0 noticed\n0 claimed"),
    ];
    let built = |(name, script): (&'static str, &str)| {
        let mut task = task(4);
        run(&mut task, script);
        assert!(name.starts_with(&format!("{:?}", task.status())), "{name}: {:?}", task.status());
        (name, task)
    };
    scripts.into_iter().map(built).collect()
}

const EVERY_EVENT: [&str; 26] = [
    "2 check",
    "2 unchecked",
    "2 noticed",
    "2 tick",
    "2200 tick",
    "3000 tick",
    "2 taken 3",
    "2 computed 1 A",
    "2 computed 1 B",
    "2 app-failed 1",
    "2 input-failed 1",
    "2 failed 1",
    "2 lost 1",
    "2 back 1",
    "2 uploaded 1",
    "2 initialized",
    "2 contributed 1 A",
    "2 contributed 9 B",
    "2 consensus A",
    "2 revealed 1 D",
    "2 revealed 2 D",
    "2 reopened",
    "2 finalized",
    "2 claimed",
    "2 refused initialize",
    "2 refused finalize",
];

#[test]
fn every_status_meets_every_event() {
    let mut lines = Vec::new();
    for (name, start) in everywhere() {
        lines.push(format!("{name}:"));
        for words in EVERY_EVENT {
            let mut task = start.clone();
            let line = run(&mut task, words).remove(0);
            let unchanged = format!("{words} -> {:?} []", start.status());
            if line != unchanged {
                lines.push(format!("  {line}"));
            }
        }
    }
    expect![[r#"
        Received:
          2200 tick -> Doomed [release 1, release 2, report doomed GM-4201, initialize]
          3000 tick -> Doomed [release 1, release 2, report doomed GM-4201, initialize]
          2 computed 1 B -> Received wants 3 []
          2 app-failed 1 -> Received wants 1 []
          2 input-failed 1 -> Received wants 1 []
          2 failed 1 -> Received wants 1 []
          2 lost 1 -> Received wants 1 []
          2 initialized -> Active []
          2 contributed 9 B -> Received wants 2 []
          2 consensus A -> Revealing [release 1]
          2 finalized -> Completed [release 1, release 2, report completed]
          2 claimed -> Failed [release 1, release 2, report failed]
        Active:
          2200 tick -> Doomed [release 1, release 2, report doomed GM-4201]
          3000 tick -> Doomed [release 1, release 2, report doomed GM-4201, claim]
          2 computed 1 A -> Active [grant 1, grant 2]
          2 computed 1 B -> Active wants 3 []
          2 app-failed 1 -> Active wants 1 []
          2 input-failed 1 -> Active wants 1 []
          2 failed 1 -> Active wants 1 []
          2 lost 1 -> Active wants 1 []
          2 contributed 1 A -> Active [grant 2]
          2 contributed 9 B -> Active wants 2 []
          2 consensus A -> Revealing [release 1]
          2 finalized -> Completed [release 1, release 2, report completed]
          2 claimed -> Failed [release 1, release 2, report failed]
        Active, granted:
          2200 tick -> Doomed [release 1, release 2, report doomed GM-4201]
          3000 tick -> Doomed [release 1, release 2, report doomed GM-4201, claim]
          2 app-failed 1 -> Active wants 1 []
          2 input-failed 1 -> Active wants 1 []
          2 failed 1 -> Active wants 1 []
          2 lost 1 -> Active wants 1 []
          2 contributed 9 B -> Active wants 2 []
          2 consensus A -> Revealing []
          2 finalized -> Completed [release 1, release 2, report completed]
          2 claimed -> Failed [release 1, release 2, report failed]
        Revealing:
          2200 tick -> Revealing [ask-reveal 1]
          3000 tick -> Doomed [report doomed GM-4208, claim]
          2 back 1 -> Revealing [ask-reveal 1]
          2 reopened -> Active wants 2 []
          2 finalized -> Completed [release 1, release 2, report completed]
          2 claimed -> Failed [release 1, release 2, report failed]
        Finalizing:
          2200 tick -> Finalizing [finalize]
          3000 tick -> Doomed [report doomed GM-4208, claim]
          2 reopened -> Active wants 2 []
          2 finalized -> Completed [release 1, report completed]
          2 claimed -> Failed [release 1, report failed]
          2 refused finalize -> Revealing []
        Doomed:
          3000 tick -> Doomed [claim]
          2 consensus A -> Revealing []
          2 finalized -> Completed [report completed]
          2 claimed -> Failed [report failed]
        Completed:
        Failed:"#]]
    .assert_eq(&lines.join("\n"));
}

fn any_event() -> impl Strategy<Value = String> {
    let second = prop_oneof![9 => 0u64..50, 1 => 0u64..3_100];
    let who = 1u8..6;
    let what = prop_oneof![3 => Just('A'), 1 => Just('B')];
    let kind = prop::sample::select(vec![
        "noticed",
        "tick",
        "initialized",
        "taken",
        "taken",
        "computed",
        "computed",
        "app-failed",
        "input-failed",
        "failed",
        "lost",
        "back",
        "uploaded",
        "contributed",
        "consensus",
        "revealed",
        "reopened",
        "finalized",
        "claimed",
        "refused",
        "check",
        "check",
        "unchecked",
        "single",
        "settling",
        "settling",
        "unsettled",
        "challenged",
        "unchallenged",
    ]);
    (second, kind, who, what).prop_map(|(second, kind, who, what)| match kind {
        "computed" | "contributed" | "revealed" => format!("{second} {kind} {who} {what}"),
        "consensus" => format!("{second} {kind} {what}"),
        "refused" => format!("{second} {kind} finalize"),
        "noticed" | "tick" | "initialized" | "reopened" | "finalized" | "claimed" | "single"
        | "check" | "unchecked" | "challenged" | "unchallenged" => {
            format!("{second} {kind}")
        }
        _ => format!("{second} {kind} {who}"),
    })
}

proptest! {
    #[test]
    fn any_history_keeps_the_promises(
        events in proptest::collection::vec(any_event(), 0..60),
        trust in 1u64..9,
        enclave in any::<bool>(),
        batch in any::<bool>(),
    ) {
        let mut task = special(trust, batch && trust == 1 && !enclave, enclave);
        let mut granted = std::collections::BTreeSet::new();
        let mut now = START;
        for words in events {
            let (then, event) = event(&words);
            now = now.max(then);
            let before = task.clone();
            granted.retain(|worker| {
                let dropped = |it: &Replica| matches!(it.state, ReplicaState::Lost | ReplicaState::Failed);
                !task.replica(*worker).is_some_and(dropped)
            });
            for action in task.apply(now, event.clone()) {
                if let Action::Assign { .. } = action {
                    prop_assert!(!enclave || !task.challenge().is_zero(), "an enclave without a key");
                }
                if let Action::Grant { worker } = action {
                    prop_assert!(granted.insert(worker), "{worker} let in twice");
                    prop_assert!(task.is_initialized());
                }
            }
            if before.status().is_final() {
                prop_assert_eq!(&task, &before, "an end is an end");
            }
            let once = task.clone();
            let again = task.apply(now, event);
            prop_assert!(again.is_empty(), "{} again does {:?}", words, again);
            prop_assert_eq!(&task, &once, "{} again changes something", words);
        }
        let idle: Vec<_> = task.replicas().filter(|it| it.is_idle()).map(|it| it.worker).collect();
        task.apply(now.saturating_add(Limits::default().rest_seconds), Event::Tick);
        for worker in idle.into_iter().filter(|_| !task.status().is_final()) {
            let failure = task.replica(worker).and_then(|it| it.failure.as_ref());
            let broken = failure.is_some_and(|failure| failure.blame == Blame::App);
            prop_assert_eq!(task.may_take(worker), !broken, "{} is asked again", worker);
        }
    }

    /// Workers announce in any order, whoever is let in contributes; the chain's count decides.
    #[test]
    fn whoever_is_let_in_there_is_a_consensus_at_the_end(
        found in proptest::collection::vec((prop_oneof![2 => Just('A'), 1 => Just('B')], 0u64..60), 1..20),
        trust in 1u64..20,
    ) {
        let mut task = task(trust);
        run(&mut task, "0 noticed\n0 initialized");
        let mut ballot = Ballot::new(U256::from(trust));
        let mut let_in = 0;
        for (number, (what, score)) in (1u8..).zip(found) {
            let (worker, weight) = (worker(number), verdict::weight(U256::from(score)));
            if task.apply(at(1), Event::Taken { worker, weight }).is_empty() {
                prop_assert_eq!(task.wanted(), 0);
                break;
            }
            let computed = Event::Computed { worker, hash: hash(what) };
            let mut actions = std::collections::VecDeque::from(task.apply(at(1), computed));
            while let Some(Action::Grant { worker }) = actions.pop_front() {
                let_in += 1;
                let replica = task.replica(worker).unwrap();
                let (hash, weight) = (replica.hash.unwrap(), replica.weight);
                prop_assert_eq!(ballot.consensus(), Ok(None), "let in after the consensus");
                ballot.add(hash, weight).unwrap();
                actions.extend(task.apply(at(1), Event::Contributed { worker, hash, weight: None }));
            }
        }
        prop_assert_eq!(let_in > 0, ballot.consensus().unwrap().is_some());
    }
}
