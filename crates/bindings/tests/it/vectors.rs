//! The rules in Rust and the contract agree: on who wins a vote, and on every hash that is signed.

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::hub;
use primitives::{DealId, ResultDigest, TaskId};
use verdict::Ballot;

use crate::settle::try_settle;
use crate::world::World;

/// Fresh workers vote in this order; after each vote both must say the same.
#[track_caller]
fn check_votes(trust: u64, votes: &[u8]) {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.trust = U256::from(trust);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let mut ballot = Ballot::new(U256::from(trust));
    for (worker, &vote) in votes.iter().enumerate() {
        let digest = keccak256([vote]);
        let hash = verdict::result_hash(TaskId(taskid), ResultDigest(digest));
        world.contribute(taskid, worker, digest);
        let score = world.score(world.cast.workers[worker].address());
        ballot.add(hash, verdict::weight(score)).unwrap();
        let task = world.view_task(taskid);
        let winner = ballot.consensus().unwrap();
        assert_eq!(task.status, if winner.is_some() { 2 } else { 1 }, "vote {worker} of {votes:?}");
        assert_eq!(task.consensusValue, winner.map_or(B256::ZERO, |it| it.0));
        if winner.is_some() {
            return;
        }
    }
}

#[test]
fn consensus_is_reached_where_the_rules_say_so() {
    for trust in [1, 2, 3, 4, 5, 8, 16, 17, 100] {
        for votes in [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 1, 0, 0, 0, 0],
            [0, 1, 2, 0, 0, 0, 0, 0],
            [0, 1, 2, 3, 4, 4, 4, 4],
        ] {
            check_votes(trust, &votes);
        }
    }
}

#[test]
fn ids_hashes_and_permissions_are_the_contracts() {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    let mut quartet = world.quartet(app, dataset, pool);
    quartet.request.volume = U256::from(3);
    let signed = world.sign(quartet);
    // Matching takes the four EIP-712 hashes as signed, and tells them.
    let done = world.try_match(&signed).unwrap();
    let told = &done.all::<hub::OrdersMatched>()[0];
    let domain = world.domain();
    assert_eq!(told.appHash, signed.app.hash(&domain).0);
    assert_eq!(told.datasetHash, signed.dataset.hash(&domain).0);
    assert_eq!(told.workerpoolHash, signed.workerpool.hash(&domain).0);
    assert_eq!(told.requestHash, signed.request.hash(&domain).0);
    assert_eq!(told.dealid, signed.deal_id(&domain, U256::ZERO).0);
    let task = |index: u64| orders::task_id(DealId(told.dealid), U256::from(index));
    assert_eq!(world.initialize(told.dealid, 0), task(0).0);

    let digest = keccak256("result");
    world.try_alone(task(0).0, 0, digest, b"").unwrap();
    let kept = world.view_contribution(task(0).0, 0);
    let worker = world.cast.workers[0].address();
    assert_eq!(kept.resultHash, verdict::result_hash(task(0), ResultDigest(digest)).0);
    assert_eq!(kept.resultSeal, verdict::result_seal(worker, task(0), ResultDigest(digest)).0);
    // Authorised by the settlement hash of `verdict`.
    try_settle(&mut world, told.dealid, 0, &[2, 1]).unwrap();
    assert_eq!(world.view_task(task(2).0).status, 3);
}
