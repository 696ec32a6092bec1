use super::*;
use alloy_primitives::B256;

const TASK: TaskId = TaskId(B256::repeat_byte(7));

fn finding(needs_one: bool) -> Finding {
    Finding {
        assignment: Assignment { deal: DealId::default(), index: 0 },
        digest: ResultDigest(B256::repeat_byte(1)),
        archive: PathBuf::new(),
        callback: Address::ZERO,
        callback_data: Bytes::new(),
        needs_one,
        stake: Nrlc::ZERO,
        printed: Printed::default(),
        enclave: None,
    }
}

fn word(tx: u8) -> ToScheduler {
    ToScheduler::Contributed { task_id: TASK, tx_hash: B256::repeat_byte(tx) }
}

fn admit(table: &mut Table) -> Life {
    match table.admit(TASK, &CancellationToken::new()) {
        Admission::New(life) => life,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_life_that_is_over_changes_nothing_in_the_next() {
    let mut table = Table::default();
    let first = admit(&mut table);
    table.release(TASK).unwrap();
    assert!(first.over.is_cancelled());
    let second = admit(&mut table);
    assert!(table.computed(&first, finding(true)).is_none());
    assert!(!table.reached(&first, Stage::Failed, word(1)));
    assert!(table.words().is_empty());
    let said = table.computed(&second, finding(true)).unwrap();
    assert_eq!(table.words(), [said]);
}

#[test]
fn a_contribution_is_made_once_and_only_with_a_result() {
    let mut table = Table::default();
    assert!(matches!(table.contribute(TASK), Step::NotHeld));
    let life = admit(&mut table);
    assert!(matches!(table.contribute(TASK), Step::NotHeld));
    table.computed(&life, finding(true));
    assert!(matches!(table.reveal(TASK), Step::Known(_)));
    assert!(matches!(table.contribute(TASK), Step::Go(..)));
    assert!(matches!(table.contribute(TASK), Step::Known(_)));
}

#[test]
fn what_was_computed_anew_is_revealed_if_its_contribution_came_back() {
    let mut table = Table::default();
    let life = admit(&mut table);
    table.computed(&life, finding(false));
    assert!(matches!(table.reveal(TASK), Step::Go(..)));
    assert!(matches!(table.reveal(TASK), Step::Known(_)));
}

#[test]
fn only_promises_that_others_decide_on_are_held() {
    let mut table = Table::default();
    for (needs_one, held) in [(true, 0), (false, 1)] {
        let life = admit(&mut table);
        table.computed(&life, finding(needs_one));
        assert!(table.holding().is_empty());
        table.contribute(TASK);
        assert_eq!(table.holding().len(), held);
        table.release(TASK).unwrap();
    }
}

#[test]
fn what_failed_after_the_run_is_not_run_again() {
    let mut table = Table::default();
    let life = admit(&mut table);
    table.computed(&life, finding(true));
    table.reached(&life, Stage::Failed, word(2));
    let again = table.admit(TASK, &CancellationToken::new());
    let Admission::Known(words) = again else { panic!("{again:?}") };
    assert!(matches!(words[..], [ToScheduler::Computed { .. }]), "{words:?}");
    assert!(matches!(table.contribute(TASK), Step::Go(..)));
}

#[test]
fn a_batch_is_settled_whole_or_not_at_all() {
    let mut table = Table::default();
    let other = TaskId(B256::repeat_byte(8));
    assert!(matches!(table.contribute_all(&[TASK]), Batch::Not(TASK)));
    let life = admit(&mut table);
    table.computed(&life, finding(true));
    assert!(matches!(table.contribute_all(&[TASK, other]), Batch::Not(task) if task == other));
    assert!(matches!(table.contribute_all(&[TASK, TASK]), Batch::Not(TASK)));
    let Batch::Go(members) = table.contribute_all(&[TASK]) else { panic!("all is there") };
    assert!(matches!(table.contribute_all(&[TASK]), Batch::Known(_)));
    table.reached(&life, Stage::Contributed, word(1));
    let Batch::Known(words) = table.contribute_all(&[TASK]) else { panic!("it was sent") };
    assert_eq!(words, [word(1)]);
    table.not_contributed(members.iter().map(|member| &member.life));
    assert_eq!(table.words(), [members[0].finding.word(TASK)]);
    assert!(matches!(table.contribute(TASK), Step::Go(..)));
}

#[test]
fn what_is_promised_is_never_given_back() {
    let mut table = Table::default();
    let life = admit(&mut table);
    assert_eq!(table.give_back(true).len(), 1);
    assert!(life.over.is_cancelled() && !table.knows(TASK));
    let life = admit(&mut table);
    table.computed(&life, finding(true));
    assert!(table.give_back(true).is_empty(), "a result that is to be kept");
    table.contribute(TASK);
    assert!(table.give_back(false).is_empty(), "a contribution on its way");
    table.not_contributed([&life]);
    let given = table.give_back(false);
    assert!(matches!(given[..], [(TASK, Some(_))]), "{given:?}");
    table.restore(TASK, finding(true), Stage::Computed, &CancellationToken::new());
    assert!(table.give_back(false).is_empty(), "the journal knows of it");
}

#[test]
fn what_a_restart_left_unsettled_is_held_and_said() {
    let mut table = Table::default();
    table.restore(TASK, finding(true), Stage::Computed, &CancellationToken::new());
    assert_eq!(table.holding(), [TASK]);
    assert_eq!(table.words(), [finding(true).word(TASK)]);
}

#[test]
fn a_table_that_is_full_of_failures_has_room() {
    let mut table = Table::default();
    let stop = CancellationToken::new();
    let task = |n: usize| TaskId(B256::left_padding_from(&n.to_be_bytes()));
    let mut last = None;
    for n in 0..TASKS_MAX {
        let Admission::New(life) = table.admit(task(n), &stop) else { panic!("no room at {n}") };
        last = Some(life);
    }
    assert!(matches!(table.admit(task(TASKS_MAX), &stop), Admission::Full));
    table.reached(&last.unwrap(), Stage::Failed, word(1));
    assert!(matches!(table.admit(task(TASKS_MAX), &stop), Admission::New(_)));
}
