//! Numbers too wide for their share of a word: at every edge the views, the votes and the money are what they would be if
//! every number had a word of its own.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolError as _;
use bindings::hub;
use primitives::{ResultDigest, TaskId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use verdict::Ballot;

use crate::settle::try_settle;
use crate::traps::{code, market, plain};
use crate::world::{RLC, Refused, World};

/// Places in the hub's storage, counted from its namespace.
const DATASET_REGISTRY: u64 = 4;
const OLDER_HUB: u64 = 5;

fn place(index: u64) -> B256 {
    let name = U256::from_be_bytes(keccak256("gristmill.storage.Hub").0) - U256::ONE;
    let mut namespace = keccak256(name.to_be_bytes::<32>());
    namespace[31] = 0;
    (U256::from_be_bytes(namespace.0) + U256::from(index)).into()
}

/// The last number that is kept in so many bits, and those that are not.
fn edges(bits: usize) -> [U256; 4] {
    let end = U256::ONE << bits;
    [end - U256::from(2), end - U256::ONE, end, end + U256::ONE]
}

/// Gives workers scores that nobody could earn, by the one way there is: from an older hub.
fn import_scores(world: &mut World, scores: &[U256]) {
    let registry = world.storage(world.hub, place(DATASET_REGISTRY));
    assert_eq!(Address::from_word(registry), world.datasets);
    for (worker, score) in scores.iter().enumerate() {
        // push32 score, mstore(0), return(0, 32)
        let mut code = vec![0x7f];
        code.extend(score.to_be_bytes::<32>());
        code.extend([0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]);
        let older = world.put_code("older hub", code);
        world.set_storage(world.hub, place(OLDER_HUB), older.into_word());
        let worker = world.cast.workers[worker].address();
        world.tx(worker, world.hub, &hub::importScoreCall { worker });
        let again = world.try_tx(worker, world.hub, &hub::importScoreCall { worker });
        assert_eq!(again.unwrap_err(), Refused::Empty, "once");
    }
}

/// The score whose weight is this.
fn score_of(weight: U256) -> U256 {
    (weight + U256::ONE) * U256::from(3)
}

#[derive(Clone)]
struct Vote {
    world: World,
    taskid: B256,
    ballot: Ballot,
}

impl Vote {
    /// A task that asks for this trust, and workers with these scores.
    fn new(scores: &[U256], trust: U256) -> Self {
        let (world, app, _, pool) = market();
        Self::of(world, app, pool, scores, trust)
    }

    fn of(mut world: World, app: Address, pool: Address, scores: &[U256], trust: U256) -> Self {
        import_scores(&mut world, scores);
        let mut quartet = plain(&world, app, pool);
        (quartet.workerpool.trust, quartet.request.trust) = (trust, trust);
        let dealid = world.deal(quartet);
        let taskid = world.initialize(dealid, 0);
        Self { world, taskid, ballot: Ballot::new(trust) }
    }

    fn digest(result: u8) -> B256 {
        keccak256([result])
    }

    /// One worker's vote, in the contract and in the model. Whether it won; nothing if the arithmetic ends.
    #[track_caller]
    fn cast(&mut self, worker: usize, result: u8) -> Option<bool> {
        let Self { world, taskid, ballot } = self;
        let address = world.cast.workers[worker].address();
        let weight = verdict::weight(world.score(address));
        let hash = verdict::result_hash(TaskId(*taskid), ResultDigest(Self::digest(result)));
        let expected = ballot.add(hash, weight).and_then(|()| ballot.wins(hash));
        let (books, score) = (world.books(&[]), world.score(address));
        let done = world.try_contribute(*taskid, worker, Self::digest(result));
        let Ok(won) = expected else {
            assert_eq!(done.unwrap_err(), Refused::Panic(0x11));
            assert_eq!(world.books(&[]), books);
            assert_eq!(world.view_contribution(*taskid, worker).status, 0);
            return None;
        };
        done.unwrap();
        let contribution = world.view_contribution(*taskid, worker);
        let log = U256::from(weight.bit_len() - 1);
        assert_eq!((contribution.status, contribution.weight), (1, log));
        assert_eq!(contribution.resultHash, hash.0);
        assert_eq!(world.score(address), score, "the stake beside it moved, the score did not");
        let task = world.view_task(*taskid);
        assert_eq!(task.contributors.last(), Some(&address));
        assert_eq!(task.status, if won { 2 } else { 1 });
        assert_eq!(task.consensusValue, if won { hash.0 } else { B256::ZERO });
        Some(won)
    }
}

#[test]
fn a_score_of_any_width_reads_as_it_was_written() {
    let mut scores = edges(64).to_vec();
    scores.extend([U256::ONE << 200, U256::MAX]);
    let (mut world, ..) = market();
    import_scores(&mut world, &scores);
    for (worker, score) in scores.iter().enumerate() {
        let worker = world.cast.workers[worker].address();
        assert_eq!(world.score(worker), *score);
        assert_eq!(world.account(worker), (U256::from(1_000 * RLC), U256::ZERO));
        world.tx(worker, world.hub, &hub::withdrawCall { amount: U256::from(RLC) });
        assert_eq!(world.score(worker), *score, "money moves in the same word");
    }
    world.assert_conserved();
}

#[test]
fn scores_grow_and_shrink_across_their_width() {
    let [below, edge, wide, _] = edges(64);
    // One liar against three, none of whom wins before the third agrees.
    let scores = [wide, below, edge, below];
    let mut vote = Vote::new(&scores, U256::ONE << 63);
    let votes = [1, 0, 0, 0].into_iter().enumerate();
    let won: Vec<_> = votes.map(|(worker, result)| vote.cast(worker, result)).collect();
    assert_eq!(won, [Some(false), Some(false), Some(false), Some(true)]);
    let Vote { mut world, taskid, .. } = vote;
    for worker in 1..4 {
        world.reveal(taskid, worker, Vote::digest(0));
    }
    world.try_finalize(taskid, b"").unwrap();
    let one = U256::ONE;
    let after = [wide * U256::from(2) / U256::from(3), below + one, edge + one, below + one];
    for (worker, score) in after.into_iter().enumerate() {
        assert_eq!(world.score(world.cast.workers[worker].address()), score, "worker {worker}");
    }
    // Equal logarithms, equal shares of price and lost stake.
    let share = (RLC + RLC * 30 / 100) * 99 / 100 / 3;
    for worker in 1..4 {
        let earned = world.account(world.cast.workers[worker].address()).0;
        assert_eq!(earned, U256::from(1_000 * RLC + share));
    }
    world.assert_conserved();
}

#[test]
fn a_score_that_can_grow_no_more_ends_the_arithmetic() {
    let mut vote = Vote::new(&[score_of(U256::from(9)), U256::MAX], U256::from(11));
    assert_eq!(vote.cast(0, 0), Some(false));
    // 9 × (2^256 / 3) is beyond every number.
    assert_eq!(vote.cast(1, 0), None);
    let Vote { mut world, taskid, .. } = vote;
    world.contribute(taskid, 2, Vote::digest(0));
    assert_eq!(world.view_task(taskid).status, 2, "others go on as if nothing had been");
}

#[test]
fn a_groups_weight_of_any_width_counts_exactly() {
    for weight in edges(73) {
        // One worker misses by a hair; the next, who is new, decides.
        let mut vote = Vote::new(&[score_of(weight)], weight + U256::ONE);
        assert_eq!(vote.cast(0, 0), Some(false), "{weight}");
        assert_eq!(vote.cast(1, 0), Some(true), "{weight}");
        let mut reopened = vote.clone();

        let Vote { world, taskid, .. } = &mut vote;
        assert_eq!(world.view_task(*taskid).winnerCounter, U256::from(2));
        world.reveal(*taskid, 1, Vote::digest(0));
        assert_eq!(world.view_contribution(*taskid, 0).weight, U256::from(weight.bit_len() - 1));
        world.reveal(*taskid, 0, Vote::digest(0));
        world.try_finalize(*taskid, b"").unwrap();
        let task = world.view_task(*taskid);
        assert_eq!((task.status, task.resultDigest), (3, Vote::digest(0)));
        assert_eq!(world.view_contribution(*taskid, 0).weight, U256::from(weight.bit_len() - 1));
        world.assert_conserved();

        // Rejected, the group counts no more, and the same result makes another.
        let Vote { world, taskid, ballot } = &mut reopened;
        world.now += 2 * 300;
        let scheduler = world.cast.scheduler.address();
        world.tx(scheduler, world.hub, &hub::reopenCall { taskid: *taskid });
        let hash = verdict::result_hash(TaskId(*taskid), ResultDigest(Vote::digest(0)));
        ballot.strike(hash);
        assert_eq!(ballot.total(), U256::ONE);
        assert_eq!(world.view_contribution(*taskid, 0).status, 3);
        assert_eq!(world.view_contribution(*taskid, 1).status, 3);
        assert_eq!(reopened.cast(2, 0), Some(false));
        assert_eq!(reopened.cast(3, 1), Some(false));
    }
}

#[test]
fn votes_of_any_weight_go_as_the_rules_say() {
    let (world, app, _, pool) = market();
    let shift = prop_oneof![Just(0usize), 1..8usize, 55..80usize, 120..256usize];
    let number = (shift, 0..9u8).prop_map(|(shift, off)| {
        (U256::ONE << shift).saturating_add(U256::from(off)).saturating_sub(U256::from(4))
    });
    let votes = prop::collection::vec((number.clone(), 0..3u8), 1..6);
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(votes, number), |(votes, trust)| {
            let scores: Vec<_> = votes.iter().map(|(score, _)| *score).collect();
            let mut vote = Vote::of(world.clone(), app, pool, &scores, trust);
            for (worker, (_, result)) in votes.iter().enumerate() {
                if vote.cast(worker, *result) != Some(false) {
                    break;
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_consumed_volume_of_any_width_is_exact() {
    for volume in edges(96) {
        let (mut world, app, _, pool) = market();
        let mut quartet = plain(&world, app, pool);
        (quartet.app.price, quartet.workerpool.price) = (U256::ZERO, U256::ZERO);
        (quartet.app.volume, quartet.workerpool.volume) = (U256::MAX, U256::MAX);
        quartet.request.volume = volume;
        let domain = world.domain();
        let consumed =
            |world: &World, hash| world.view(world.hub, &hub::viewConsumedCall { orderHash: hash });
        let first = world.deal(quartet.clone());
        assert_eq!(world.view_deal(first).botSize, volume);
        let hash = quartet.request.hash(&domain).0;
        assert_eq!(consumed(&world, hash), volume);
        quartet.request.salt = B256::repeat_byte(0x31);
        quartet.request.volume = U256::ONE;
        world.deal(quartet.clone());
        for hash in [quartet.app.hash(&domain).0, quartet.workerpool.hash(&domain).0] {
            assert_eq!(consumed(&world, hash), volume + U256::ONE);
        }
        // What is presigned shares the word.
        assert_eq!(
            world.view(world.hub, &hub::viewPresignedCall { orderHash: hash }),
            Address::ZERO
        );
    }
}

#[test]
fn a_second_deal_begins_at_a_first_index_of_any_width() {
    for volume in edges(96) {
        let (mut world, app, _, pool) = market();
        let mut quartet = plain(&world, app, pool);
        (quartet.app.price, quartet.workerpool.price) = (U256::ZERO, U256::ZERO);
        (quartet.app.volume, quartet.request.volume) = (U256::MAX, U256::MAX);
        quartet.workerpool.volume = volume;
        world.deal(quartet.clone());
        quartet.workerpool.salt = B256::repeat_byte(0x32);
        let dealid = world.deal(quartet.clone());
        let deal = world.view_deal(dealid);
        assert_eq!((deal.botFirst, deal.botSize), (volume, volume));
        let hash = quartet.request.hash(&world.domain()).0;
        let consumed = world.view(world.hub, &hub::viewConsumedCall { orderHash: hash });
        assert_eq!(consumed, volume * U256::from(2));
        let idx = volume + U256::from(3);
        let done = world.tx(Address::ZERO, world.hub, &hub::initializeCall { dealid, idx });
        assert_eq!(world.view_task(B256::from_slice(&done.output)).idx, idx);
        let before = hub::initializeCall { dealid, idx: volume - U256::ONE };
        assert_eq!(world.try_tx(Address::ZERO, world.hub, &before).unwrap_err(), Refused::Empty);
    }
}

#[test]
fn a_task_index_of_any_width_is_exact() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    (quartet.app.price, quartet.workerpool.price) = (U256::ZERO, U256::ZERO);
    (quartet.app.volume, quartet.workerpool.volume) = (U256::MAX, U256::MAX);
    quartet.request.volume = U256::ONE << 40;
    let dealid = world.deal(quartet);
    for (worker, idx) in edges(35).into_iter().enumerate() {
        let idx = idx.to::<u64>();
        let settled = try_settle(&mut world.clone(), dealid, worker, &[idx]);
        let beyond = hub::IndexNotSettleable { index: U256::from(idx) }.abi_encode();
        let expected = (worker > 0).then(|| Refused::Data(beyond.into()));
        assert_eq!(settled.err(), expected, "index {idx}");
        let taskid = world.initialize(dealid, idx);
        assert_eq!(world.view_task(taskid).idx, U256::from(idx));
        world.try_alone(taskid, worker, Vote::digest(0), b"").unwrap();
        let task = world.view_task(taskid);
        assert_eq!((task.status, task.idx, task.dealid), (3, U256::from(idx), dealid));
    }
}

#[test]
fn a_reveal_deadline_of_any_width_is_exact() {
    for deadline in edges(40) {
        let (mut world, app, _, pool) = market();
        world.now = (deadline - U256::from(2 * 300)).to();
        let mut quartet = plain(&world, app, pool);
        quartet.request.volume = U256::from(3);
        let dealid = world.deal(quartet);
        let voted = world.initialize(dealid, 0);
        world.contribute(voted, 0, Vote::digest(0));
        let alone = world.initialize(dealid, 1);
        world.try_alone(alone, 0, Vote::digest(0), b"").unwrap();
        try_settle(&mut world, dealid, 0, &[2]).unwrap();
        let settled = orders::task_id(primitives::DealId(dealid), U256::from(2)).0;
        for taskid in [voted, alone, settled] {
            assert_eq!(world.view_task(taskid).revealDeadline, deadline);
        }
        world.now += 2 * 300 - 1;
        let mut late = world.clone();
        world.reveal(voted, 0, Vote::digest(0));
        late.now += 1;
        assert_eq!(late.try_reveal(voted, 0, Vote::digest(0)).unwrap_err(), Refused::Empty);
    }
}

#[test]
fn amounts_of_any_width_are_exact() {
    for amount in edges(96) {
        let (mut world, app, _, pool) = market();
        // A token that says yes to everything gives stake without end.
        world.replace_code(world.rlc, code::ONE);
        let (requester, scheduler) =
            (world.cast.requester.address(), world.cast.scheduler.address());
        let stake = amount * U256::from(30) / U256::from(100);
        for (who, wanted) in [(requester, amount), (scheduler, stake)] {
            let more = wanted - world.account(who).0;
            world.tx(who, world.hub, &hub::depositCall { amount: more });
            assert_eq!(world.account(who), (wanted, U256::ZERO));
        }
        let mut quartet = plain(&world, app, pool);
        quartet.app.price = U256::ZERO;
        (quartet.workerpool.price, quartet.request.workerpool_max_price) = (amount, amount);
        let held = world.account(world.hub).0;
        let dealid = world.deal(quartet);
        assert_eq!(world.account(requester), (U256::ZERO, amount));
        assert_eq!(world.account(scheduler), (U256::ZERO, stake));
        assert_eq!(world.account(world.hub).0, held + amount + stake);
        let taskid = world.initialize(dealid, 0);
        let mut failed = world.clone();
        world.try_alone(taskid, 0, Vote::digest(0), b"").unwrap();
        let reward = amount * U256::from(99) / U256::from(100);
        let worker = world.cast.workers[0].address();
        assert_eq!(world.account(worker).0, U256::from(1_000 * RLC) + reward);
        assert_eq!(world.account(requester), (U256::ZERO, U256::ZERO));
        assert_eq!(world.account(scheduler), (stake + amount - reward, U256::ZERO));
        assert_eq!(world.account(world.hub).0, held);
        failed.now += 10 * 300;
        failed.tx(worker, failed.hub, &hub::claimCall { taskid });
        assert_eq!(failed.account(requester), (amount, U256::ZERO));
        assert_eq!(failed.account(scheduler), (U256::ZERO, U256::ZERO));
        assert_eq!(failed.account(verdict::money::KITTY).1, stake);

        // The supply, at the same edge and back.
        let supply = world.view(world.hub, &hub::totalSupplyCall {});
        let surplus = supply - amount;
        world.tx(worker, world.hub, &hub::withdrawCall { amount: surplus });
        assert_eq!(world.view(world.hub, &hub::totalSupplyCall {}), amount);
        world.tx(worker, world.hub, &hub::depositCall { amount: U256::from(2) });
        assert_eq!(world.view(world.hub, &hub::totalSupplyCall {}), amount + U256::from(2));
        world.tx(worker, world.hub, &hub::withdrawCall { amount: U256::from(3) });
        assert_eq!(world.view(world.hub, &hub::totalSupplyCall {}), amount - U256::ONE);
    }
}
