//! Stories from deal to payment, told in events and balances.

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::hub;
use expect_test::expect;

use crate::world::{PARAMS, RESULTS, RLC, World};

fn digest(text: &str) -> B256 {
    keccak256(text)
}

#[test]
fn one_worker_does_it_all_at_once() {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    let quartet = world.quartet(app, Address::ZERO, pool);
    let signed = world.sign(quartet);
    let matched = world.try_match(&signed).unwrap();
    let dealid = B256::from_slice(&matched.output);
    expect![[r#"
        [
            "Transfer",
            "Lock",
            "Transfer",
            "Lock",
            "SchedulerNotice",
            "OrdersMatched",
        ]
    "#]]
    .assert_debug_eq(&matched.events());
    assert_eq!(dealid, signed.deal_id(&world.domain(), U256::ZERO).0);
    world.assert_conserved();

    let deal = world.view_deal(dealid);
    assert_eq!(deal.app.pointer, app);
    assert_eq!(deal.app.owner, world.cast.developer.address());
    assert_eq!(deal.workerpool.price, U256::from(RLC));
    assert_eq!(deal.params, PARAMS);
    assert_eq!(deal.trust, U256::ONE);
    assert_eq!(deal.workerStake, U256::from(RLC * 30 / 100));
    assert_eq!(deal.sponsor, world.cast.requester.address());

    let taskid = world.initialize(dealid, 0);
    assert_eq!(taskid, orders::task_id(primitives::DealId(dealid), U256::ZERO).0);
    let done = world.try_alone(taskid, 0, digest("result"), b"").unwrap();
    expect![[r#"
        [
            "Seize",
            "Transfer",
            "Reward",
            "Transfer",
            "Unlock",
            "Transfer",
            "Reward",
            "Transfer",
            "Reward",
            "TaskContribute",
            "TaskConsensus",
            "TaskReveal",
            "TaskFinalize",
        ]
    "#]]
    .assert_debug_eq(&done.events());
    world.assert_conserved();

    let task = world.view_task(taskid);
    assert_eq!(task.status, 3);
    assert_eq!(task.dealid, dealid);
    assert_eq!(task.resultDigest, digest("result"));
    assert_eq!(task.results.as_ref(), RESULTS.as_bytes());
    assert_eq!(task.contributors, [world.cast.workers[0].address()]);
    assert_eq!(
        task.consensusValue,
        verdict::result_hash(
            primitives::TaskId(taskid),
            primitives::ResultDigest(digest("result"))
        )
        .0
    );
    assert_eq!(world.view_contribution(taskid, 0).status, 2);
    let earned = world.account(world.cast.workers[0].address()).0 - U256::from(1_000 * RLC);
    assert_eq!(earned, U256::from(RLC * 99 / 100));
}

#[test]
fn four_workers_and_a_liar() {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    let mut quartet = world.quartet(app, dataset, pool);
    quartet.request.trust = U256::from(4);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let (truth, lie) = (digest("truth"), digest("lie"));

    world.contribute(taskid, 0, lie);
    world.contribute(taskid, 1, truth);
    world.assert_conserved();
    assert_eq!(world.view_task(taskid).status, 1);
    // Three newcomers against one weigh 8 of 11, which is not yet three quarters.
    world.contribute(taskid, 2, truth);
    world.contribute(taskid, 3, truth);
    assert_eq!(world.view_task(taskid).status, 1);
    let last = world.contribute(taskid, 4, truth);
    assert_eq!(last.events(), ["Transfer", "Lock", "TaskContribute", "TaskConsensus"]);
    let task = world.view_task(taskid);
    assert_eq!((task.status, task.winnerCounter), (2, U256::from(4)));

    for worker in 1..5 {
        world.reveal(taskid, worker, truth);
    }
    let before = world.account(world.cast.workers[0].address());
    let done = world.try_finalize(taskid, b"").unwrap();
    assert_eq!(done.all::<hub::FaultyContribution>().len(), 1);
    assert_eq!(done.all::<hub::AccurateContribution>().len(), 4);
    world.assert_conserved();
    let after = world.account(world.cast.workers[0].address());
    assert_eq!(before.1 - after.1, U256::from(RLC * 30 / 100), "the liar's stake is gone");
    assert_eq!(before.0, after.0);
    assert_eq!(world.score(world.cast.workers[1].address()), U256::ONE);
    assert_eq!(world.score(world.cast.workers[0].address()), U256::ZERO);
}

#[test]
fn a_task_nobody_did_is_claimed() {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    let quartet = world.quartet(app, Address::ZERO, pool);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, digest("alone"));
    let claim = hub::claimCall { taskid };
    let anyone = world.cast.developer.address();
    assert_eq!(world.try_tx(anyone, world.hub, &claim).unwrap_err(), crate::world::Refused::Empty);
    world.now += 10 * 300;
    let done = world.tx(anyone, world.hub, &claim);
    expect![[r#"
        [
            "Transfer",
            "Unlock",
            "Seize",
            "Reward",
            "Lock",
            "Transfer",
            "Unlock",
            "TaskClaimed",
        ]
    "#]]
    .assert_debug_eq(&done.events());
    world.assert_conserved();
    assert_eq!(world.view_task(taskid).status, 4);
    assert_eq!(world.account(verdict::money::KITTY).1, U256::from(RLC * 30 / 100));
    assert_eq!(
        world.account(world.cast.requester.address()),
        (U256::from(1_000 * RLC), U256::ZERO)
    );
    assert_eq!(
        world.account(world.cast.workers[0].address()),
        (U256::from(1_000 * RLC), U256::ZERO)
    );
}
