//! Receipts of made-up chains: everything that a hub would do, and everything that somebody could try.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use alloy_primitives::{Address, B256, Bytes, U256};
use orders::OrderKind;
use proptest::prelude::*;
use receipts::{Evidence, Fate, Layout, Receipt, Refused, SignedBy, anchors, verify};

use world::{Said, World, hash_of};

const DIGEST: B256 = B256::repeat_byte(7);
const WORKER: Address = Address::repeat_byte(0x77);
const OTHER: Address = Address::repeat_byte(0x78);

/// Two workers, one of whom is wrong; the deal in block 2, the end in block 6.
fn story(world: &World) -> Vec<(u64, Said)> {
    let right = hash_of(world.task(), DIGEST);
    vec![
        (2, Said::Match),
        (3, Said::Initialize),
        (3, Said::Contribute(OTHER, B256::repeat_byte(9))),
        (4, Said::Contribute(WORKER, right)),
        (4, Said::Consensus(right)),
        (5, Said::Reveal(WORKER, DIGEST)),
        (6, Said::Finalize("where it is")),
        (6, Said::Reward(WORKER, 5)),
        (6, Said::Accurate(WORKER)),
        (6, Said::Faulty(OTHER)),
    ]
}

fn evidence(layout: Option<Layout>) -> Evidence {
    let mut world = World::new();
    let story = story(&world);
    world.tell(&story, 8);
    world.evidence(layout, 2, true)
}

fn file(evidence: Evidence) -> Vec<u8> {
    Receipt::of(evidence).unwrap().to_text().into_bytes()
}

fn trust(file: &[u8]) -> Vec<B256> {
    anchors(file).unwrap().into_iter().map(|anchor| anchor.hash).collect()
}

fn check_refused(change: impl FnOnce(&mut Evidence), expected: &str) {
    let mut evidence = evidence(Some(Layout::Gristmill));
    change(&mut evidence);
    match Receipt::of(evidence) {
        Ok(_) => panic!("it stands, where it should be refused: {expected}"),
        Err(refused) => assert!(refused.to_string().contains(expected), "{refused}"),
    }
}

#[test]
fn a_task_is_told_as_it_happened() {
    for layout in [Some(Layout::Gristmill), Some(Layout::Original), None] {
        let file = file(evidence(layout));
        let verified = verify(&file, &trust(&file)).unwrap();
        let claims = &verified.receipt.claims;
        assert_eq!((claims.fate, claims.digest), (Fate::Completed, DIGEST));
        assert_eq!(claims.results_text.as_deref(), Some("where it is"));
        let told: Vec<_> =
            claims.contributions.iter().map(|one| (one.worker, one.accurate)).collect();
        assert_eq!(told, [(OTHER, Some(false)), (WORKER, Some(true))]);
        assert_eq!(claims.payments.len(), 1);
        assert_eq!(verified.complete, layout.is_some());
        assert_eq!(verified.anchors.len(), 1);
        assert_eq!(verified.from_to, (1_002, 1_006));
    }
}

#[test]
fn signatures_are_those_of_the_parties() {
    let file = file(evidence(None));
    let verified = verify(&file, &trust(&file)).unwrap();
    let parties = World::new().parties();
    let expected = [OrderKind::App, OrderKind::Workerpool, OrderKind::Request];
    let expected: Vec<_> = expected
        .into_iter()
        .zip(parties)
        .map(|(kind, who)| (kind, SignedBy::Account(who)))
        .collect();
    assert_eq!(verified.signatures, expected);
}

#[test]
fn without_the_transaction_signatures_are_not_shown_but_nothing_else_is_lost() {
    let mut unsigned = evidence(None);
    unsigned.transactions[0].transaction = None;
    assert_eq!(Receipt::of(unsigned.clone()), Err(Refused::OtherSignature(OrderKind::App)));
    unsigned.orders.app.sign = Bytes::new();
    unsigned.orders.workerpool.sign = Bytes::new();
    unsigned.orders.request.sign = Bytes::new();
    let file = file(unsigned);
    let verified = verify(&file, &trust(&file)).unwrap();
    assert!(verified.signatures.iter().all(|(_, by)| *by == SignedBy::NotShown));
}

#[test]
fn a_long_task_hangs_on_several_blocks_and_each_must_be_trusted() {
    let mut world = World::new();
    let mut story = story(&world);
    story[0].0 = 1;
    world.tell(&story, 8);
    let file = file(world.evidence(Some(Layout::Gristmill), 1, true));
    let trusted = trust(&file);
    assert_eq!(trusted.len(), 2, "the deal's block, and those from the beginning to the end");
    assert!(verify(&file, &trusted).is_ok());
    for missing in 0..trusted.len() {
        let mut less = trusted.clone();
        less.remove(missing);
        assert!(matches!(verify(&file, &less), Err(Refused::Untrusted { .. })));
    }
}

#[test]
fn a_refund_is_a_story_too() {
    let mut world = World::new();
    let story = vec![(1, Said::Match), (2, Said::Initialize), (4, Said::Claim)];
    world.tell(&story, 5);
    let file = file(world.evidence(Some(Layout::Gristmill), 9, true));
    let verified = verify(&file, &trust(&file)).unwrap();
    assert_eq!(verified.receipt.claims.fate, Fate::Failed);
    assert!(verified.complete && verified.receipt.claims.contributions.is_empty());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    check_refused(|it| it.orders.app.price += U256::ONE, "the app order is not");
    check_refused(|it| it.orders.workerpool.trust += U256::ONE, "the workerpool order is not");
    check_refused(|it| it.orders.request.params.push('x'), "does not follow from the request");
    check_refused(|it| it.chain_id += 1, "does not follow from the request");
    check_refused(|it| it.first_index = U256::ONE, "does not follow from the request");
    check_refused(|it| it.orders.dataset = Some(another_dataset()), "dataset order");
    check_refused(|it| it.orders.app.sign = Bytes::from_static(b"x"), "app order's signature");
    check_refused(|it| drop(it.transactions.remove(0)), "how the deal was made");
    check_refused(|it| drop(it.transactions.remove(1)), "that did not contribute");
    check_refused(|it| drop(it.transactions.pop()), "end");
    check_refused(|it| it.transactions.swap(0, 1), "nothing to do with");
    check_refused(|it| it.transactions[1].index += 1, "is not proven");
    check_refused(|it| it.transactions[1].block = 99, "is not proven");
    check_refused(|it| drop(it.segments[0].headers.remove(1)), "is not the child");
    check_refused(|it| it.segments.push(it.segments[0].clone()), "is not the child");
    check_refused(|it| it.segments.clear(), "is not proven");
    check_refused(
        |it| it.state.as_mut().unwrap().layout = Layout::Original,
        "the hub's word on the task",
    );
    check_refused(
        |it| it.transactions[1].transaction = it.transactions[0].transaction.clone(),
        "nothing to do with",
    );
}

#[test]
fn who_took_part_cannot_be_left_out() {
    let mut world = World::new();
    let mut story = story(&world);
    // The wrong one in a transaction of its own, which is then kept back.
    story.retain(|(_, said)| !matches!(said, Said::Faulty(_)));
    story[2].0 = 7;
    story.sort_by_key(|(block, _)| *block);
    world.tell(&story, 8);
    let without = |layout| {
        let mut evidence = world.evidence(layout, 9, true);
        evidence.transactions.pop();
        Receipt::of(evidence)
    };
    let told = without(Some(Layout::Gristmill));
    assert_eq!(told, Err(Refused::Story("the hub keeps another story of the task")));
    let silent = file(without(None).unwrap().evidence);
    assert!(!verify(&silent, &trust(&silent)).unwrap().complete, "and it says so");
}

#[test]
fn another_spelling_is_another_file() {
    let file = file(evidence(Some(Layout::Gristmill)));
    let trusted = trust(&file);
    let text = String::from_utf8(file).unwrap();
    let checked = |text: &str| verify(text.as_bytes(), &trusted).unwrap_err();
    assert_eq!(checked(text.trim_end()), Refused::Respelled);
    assert_eq!(checked(&text.replacen("  ", "   ", 1)), Refused::Respelled);
    let upper = text.replacen("0xa", "0xA", 1);
    assert_eq!(checked(&upper), Refused::Respelled);
    let more = text.replacen("\"chainId\"", "\"remark\": 1,\n  \"chainId\"", 1);
    assert_eq!(checked(&more), Refused::Respelled);
    assert!(matches!(checked("{}"), Refused::Unreadable(_)));
    assert!(matches!(checked(&text.replace("receipt/1", "receipt/2")), Refused::Unreadable(_)));
}

#[test]
fn any_changed_byte_is_refused() {
    let file = file(evidence(Some(Layout::Gristmill)));
    let trusted = trust(&file);
    // Every part of the file comes up; each byte with one of its bits.
    for at in (0..file.len()).step_by(7) {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(verify(&changed, &trusted).is_err(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn several_changed_bytes_are_refused(
        places in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let file = file(evidence(Some(Layout::Original)));
        let trusted = trust(&file);
        let mut changed = file.clone();
        for (place, bits) in places {
            changed[place.index(file.len())] ^= bits;
        }
        prop_assert!(changed == file || verify(&changed, &trusted).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes, &[]).is_err());
    }
}

fn another_dataset() -> receipts::DatasetOrderShape {
    (&orders::DatasetOrder { dataset: OTHER, ..orders::DatasetOrder::default() }).into()
}
