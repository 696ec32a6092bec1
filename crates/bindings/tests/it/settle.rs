//! A bag of tasks settled in one transaction is the same bag done call by call: events, views and money.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall as _, SolError as _};
use bindings::hub;

use crate::world::{Actor, Done, RESULTS, RLC, Refused, World, event_name};

/// Results as a real task has them, another for each.
pub(crate) fn results(index: u64) -> Bytes {
    let name = format!("{}", keccak256(index.to_be_bytes()));
    format!("{}{}\" }}", &RESULTS[..34], &name[2..49]).into_bytes().into()
}

pub(crate) fn digest(index: u64) -> B256 {
    keccak256(format!("result {index}"))
}

/// One settlement for each index, authorised by the scheduler.
pub(crate) fn settle_call(
    world: &World,
    dealid: B256,
    worker: usize,
    indices: &[u64],
) -> hub::settleCall {
    let worker = world.cast.workers[worker].address();
    let items: Vec<_> = indices
        .iter()
        .map(|&index| hub::IHubSettlement::Settlement {
            index: U256::from(index),
            resultDigest: digest(index),
            results: results(index),
        })
        .collect();
    let authorization = authorize(&world.cast.scheduler, worker, dealid, indices);
    hub::settleCall { dealid, items, authorization }
}

fn authorize(authority: &Actor, worker: Address, dealid: B256, indices: &[u64]) -> Bytes {
    let indices: Vec<_> = indices.iter().map(|&index| U256::from(index)).collect();
    authority.sign_message(verdict::settlement_hash(worker, primitives::DealId(dealid), &indices))
}

pub(crate) fn try_settle(
    world: &mut World,
    dealid: B256,
    worker: usize,
    indices: &[u64],
) -> Result<Done, Refused> {
    let call = settle_call(world, dealid, worker, indices);
    let from = world.cast.workers[worker].address();
    world.try_tx(from, world.hub, &call)
}

/// The same by the official calls; what they emitted, in order.
fn one_by_one(world: &mut World, dealid: B256, worker: usize, indices: &[u64]) -> Vec<Done> {
    let mut done = Vec::new();
    for &index in indices {
        let taskid = orders::task_id(primitives::DealId(dealid), U256::from(index)).0;
        if world.view_task(taskid).status == 0 {
            let idx = U256::from(index);
            let call = hub::initializeCall { dealid, idx };
            done.push(world.tx(Address::ZERO, world.hub, &call));
        }
        let mut call = world.alone_call(taskid, worker, digest(index), b"", None);
        call.results = results(index);
        let from = world.cast.workers[worker].address();
        done.push(world.tx(from, world.hub, &call));
    }
    done
}

struct Bag {
    world: World,
    dealid: B256,
}

/// A deal of `volume` tasks, with a dataset and something in the kitty if asked for.
fn bag(volume: u64, dataset: bool, kitty: bool) -> Bag {
    let mut world = World::new();
    let (app, data, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    if kitty {
        world.fill_kitty(app, pool);
    }
    let mut quartet = world.quartet(app, if dataset { data } else { Address::ZERO }, pool);
    quartet.request.volume = U256::from(volume);
    let dealid = world.deal(quartet);
    Bag { world, dealid }
}

/// Settles the tasks at once in one world and one by one in another; both must be the same afterwards.
#[track_caller]
fn check_same(bag: &Bag, worker: usize, indices: &[u64]) -> Done {
    let (mut at_once, mut by_steps) = (bag.world.clone(), bag.world.clone());
    let done = try_settle(&mut at_once, bag.dealid, worker, indices).unwrap();
    let steps = one_by_one(&mut by_steps, bag.dealid, worker, indices);

    let told: Vec<_> = steps.into_iter().flat_map(|step| step.logs).collect();
    let names = |logs: &[alloy_primitives::Log]| logs.iter().map(event_name).collect::<Vec<_>>();
    assert_eq!(names(&done.logs), names(&told));
    assert_eq!(done.logs, told);
    for &index in indices {
        let taskid = orders::task_id(primitives::DealId(bag.dealid), U256::from(index)).0;
        let legacy = hub::viewTaskABILegacyCall { taskid }.abi_encode();
        for call in [
            hub::viewTaskCall { taskid }.abi_encode(),
            hub::resultForCall { taskid }.abi_encode(),
            legacy,
        ] {
            assert_eq!(
                at_once.raw(Address::ZERO, at_once.hub, call.clone().into()).unwrap().output,
                by_steps.raw(Address::ZERO, by_steps.hub, call.into()).unwrap().output
            );
        }
        for of in 0..2 {
            let (ours, theirs) =
                (at_once.view_contribution(taskid, of), by_steps.view_contribution(taskid, of));
            assert_eq!(
                (ours.status, ours.resultHash, ours.resultSeal, ours.enclaveChallenge, ours.weight),
                (
                    theirs.status,
                    theirs.resultHash,
                    theirs.resultSeal,
                    theirs.enclaveChallenge,
                    theirs.weight
                )
            );
        }
    }
    let mut everyone = at_once.everyone();
    everyone.push(at_once.hub);
    for who in everyone {
        assert_eq!(at_once.account(who), by_steps.account(who), "{who}");
        assert_eq!(at_once.score(who), by_steps.score(who), "{who}");
    }
    at_once.assert_conserved();
    done
}

#[track_caller]
fn check_refused(bag: &Bag, worker: usize, indices: &[u64], refusal: &[u8]) {
    let mut world = bag.world.clone();
    let refused = try_settle(&mut world, bag.dealid, worker, indices).unwrap_err();
    assert_eq!(refused, Refused::Data(Bytes::copy_from_slice(refusal)));
}

#[test]
fn a_bag_settled_at_once_is_the_bag_settled_task_by_task() {
    for (dataset, kitty) in [(false, false), (true, false), (false, true), (true, true)] {
        check_same(&bag(7, dataset, kitty), 0, &[0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn a_batch_of_one_is_a_batch() {
    check_same(&bag(3, false, false), 1, &[1]);
}

#[test]
fn tasks_of_a_batch_come_in_any_order_and_may_be_open_already() {
    let mut bag = bag(6, true, true);
    bag.world.initialize(bag.dealid, 4);
    bag.world.initialize(bag.dealid, 1);
    check_same(&bag, 0, &[5, 1, 0, 4]);
}

#[test]
fn a_deal_is_settled_batch_by_batch_by_several_workers() {
    let mut bag = bag(6, false, true);
    try_settle(&mut bag.world, bag.dealid, 0, &[3, 0]).unwrap();
    check_same(&bag, 1, &[1, 2]);
    try_settle(&mut bag.world, bag.dealid, 1, &[1, 2]).unwrap();
    check_same(&bag, 0, &[5, 4]);
}

#[test]
fn a_second_deal_of_a_request_counts_its_tasks_from_its_own_first() {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.volume = U256::from(10);
    quartet.workerpool.volume = U256::from(4);
    world.deal(quartet.clone());
    quartet.workerpool.salt = B256::repeat_byte(9);
    let dealid = world.deal(quartet);
    let bag = Bag { world, dealid };
    check_same(&bag, 0, &[5, 4, 7]);
    check_refused(&bag, 0, &[4, 3], &hub::IndexNotSettleable { index: U256::from(3) }.abi_encode());
    check_refused(&bag, 0, &[8], &hub::IndexNotSettleable { index: U256::from(8) }.abi_encode());
}

#[test]
fn all_of_a_batch_or_nothing() {
    let mut bag = bag(4, false, false);
    let taken = bag.world.initialize(bag.dealid, 2);
    bag.world.contribute(taken, 1, digest(2));
    let revealing = hub::TaskNotSettleable { index: U256::from(2), status: U256::from(2) };
    check_refused(&bag, 0, &[0, 1, 2], &revealing.abi_encode());
    let twice = hub::TaskNotSettleable { index: U256::from(1), status: U256::from(3) };
    check_refused(&bag, 0, &[1, 0, 1], &twice.abi_encode());
    let beyond = hub::IndexNotSettleable { index: U256::from(4) };
    check_refused(&bag, 0, &[3, 4], &beyond.abi_encode());
    check_same(&bag, 0, &[3, 0, 1]);
}

#[test]
fn a_task_whose_winners_were_rejected_is_not_settled() {
    let mut bag = bag(2, false, false);
    let taskid = bag.world.initialize(bag.dealid, 0);
    bag.world.contribute(taskid, 1, digest(0));
    bag.world.now += 2 * 300;
    let scheduler = bag.world.cast.scheduler.address();
    bag.world.tx(scheduler, bag.world.hub, &hub::reopenCall { taskid });
    let open = hub::TaskNotSettleable { index: U256::ZERO, status: U256::ONE };
    check_refused(&bag, 0, &[0], &open.abi_encode());
}

#[test]
fn only_deals_of_one_plain_word_are_settled() {
    type Change = fn(&mut World, &mut orders::Quartet);
    let changes: [Change; 3] = [
        |_, quartet| quartet.request.trust = U256::from(2),
        |world, quartet| quartet.request.callback = world.hub,
        |_, quartet| {
            quartet.app.tag = primitives::Tag(B256::with_last_byte(9));
            quartet.request.tag = quartet.app.tag;
        },
    ];
    for change in changes {
        let mut world = World::new();
        let (app, pool) = (world.create_app(), world.create_pool());
        let mut quartet = world.quartet(app, Address::ZERO, pool);
        change(&mut world, &mut quartet);
        let dealid = world.deal(quartet);
        let refusal = hub::DealNotSettleable { dealid }.abi_encode();
        check_refused(&Bag { world, dealid }, 0, &[0], &refusal);
    }
}

#[test]
fn a_hub_that_settles_says_so_when_asked_with_nothing() {
    let mut world = World::new();
    let call =
        hub::settleCall { dealid: B256::ZERO, items: Vec::new(), authorization: Bytes::new() };
    let refusal = hub::DealNotSettleable { dealid: B256::ZERO }.abi_encode();
    assert_eq!(
        world.try_tx(Address::ZERO, world.hub, &call).unwrap_err(),
        Refused::Data(refusal.into())
    );
}

#[test]
fn nothing_is_no_batch_and_the_deadline_ends_them() {
    let mut bag = bag(2, false, false);
    let mut world = bag.world.clone();
    assert_eq!(try_settle(&mut world, bag.dealid, 0, &[]).unwrap_err(), Refused::Empty);
    bag.world.now += 7 * 300 - 1;
    check_same(&bag, 0, &[0]);
    bag.world.now += 1;
    check_refused(&bag, 0, &[0], &hub::DealExpired { dealid: bag.dealid }.abi_encode());
}

#[test]
fn a_batch_is_authorised_for_its_worker_deal_and_indices_only() {
    let bag = bag(3, false, false);
    let good = settle_call(&bag.world, bag.dealid, 0, &[0, 1]);
    let worker = bag.world.cast.workers[0].address();
    let scheduler = &bag.world.cast.scheduler;
    let others = [
        authorize(&bag.world.cast.requester, worker, bag.dealid, &[0, 1]),
        authorize(scheduler, bag.world.cast.workers[1].address(), bag.dealid, &[0, 1]),
        authorize(scheduler, worker, B256::ZERO, &[0, 1]),
        authorize(scheduler, worker, bag.dealid, &[1, 0]),
        authorize(scheduler, worker, bag.dealid, &[0]),
        // The official authorisation of a task of the deal is another message.
        bag.world.authorization(worker, bag.dealid, Address::ZERO),
    ];
    let refusal = Refused::Data(
        hub::SettlementNotAuthorized { worker, dealid: bag.dealid }.abi_encode().into(),
    );
    for authorization in others {
        let mut world = bag.world.clone();
        let call = hub::settleCall { authorization, ..good.clone() };
        assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), refusal);
    }
    let mut world = bag.world.clone();
    world.tx(worker, world.hub, &good);
}

#[test]
fn results_without_anything_in_common_and_none_at_all_read_as_given() {
    let bag = bag(5, false, false);
    let given: [&[u8]; 5] = [b"", b"a", b"ab", b"zz", &[0xef; 40]];
    for indices in [vec![0, 1, 2, 3, 4], vec![1, 2], vec![2], vec![0], vec![4, 3]] {
        let mut world = bag.world.clone();
        let mut call = settle_call(&world, bag.dealid, 0, &indices);
        for (item, &index) in call.items.iter_mut().zip(&indices) {
            item.results = Bytes::copy_from_slice(given[usize::try_from(index).unwrap()]);
        }
        let from = world.cast.workers[0].address();
        world.tx(from, world.hub, &call);
        for &index in &indices {
            let taskid = orders::task_id(primitives::DealId(bag.dealid), U256::from(index)).0;
            let task = world.view_task(taskid);
            assert_eq!(task.results.as_ref(), given[usize::try_from(index).unwrap()]);
            assert_eq!(task.resultDigest, digest(index));
        }
    }
}

#[test]
fn results_too_long_for_one_record_take_several_or_go_to_storage() {
    let bag = bag(6, false, false);
    let mut call = settle_call(&bag.world, bag.dealid, 0, &[0, 1, 2, 3, 4, 5]);
    for (index, item) in call.items.iter_mut().enumerate() {
        let letter = b'a' + u8::try_from(index).unwrap();
        let length = if index == 3 { 24_500 } else { 6_000 };
        item.results = [b"same".as_slice(), &vec![letter; length]].concat().into();
    }
    let mut world = bag.world.clone();
    let from = world.cast.workers[0].address();
    world.tx(from, world.hub, &call);
    for (index, item) in call.items.iter().enumerate() {
        let taskid = orders::task_id(primitives::DealId(bag.dealid), U256::from(index)).0;
        assert_eq!(world.view_task(taskid).results, item.results, "task {index}");
        assert_eq!(world.view_contribution(taskid, 0).status, 2);
    }
}

#[test]
fn one_who_plays_every_part_is_paid_for_all_of_them() {
    let mut world = World::new();
    // The scheduler is also the worker, the app's owner and the sponsor.
    let scheduler = world.cast.scheduler.clone();
    world.cast.workers[0] = scheduler.clone();
    world.cast.developer = scheduler.clone();
    world.cast.requester = scheduler;
    let (app, pool) = (world.create_app(), world.create_pool());
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.volume = U256::from(5);
    let dealid = world.deal(quartet);
    let mut steps = world.clone();
    try_settle(&mut world, dealid, 0, &[0, 1, 2, 3, 4]).unwrap();
    one_by_one(&mut steps, dealid, 0, &[0, 1, 2, 3, 4]);
    let who = world.cast.scheduler.address();
    assert_eq!(world.account(who), steps.account(who));
    assert_eq!(world.account(who), (U256::from(1_000 * RLC), U256::ZERO));
}

#[test]
fn a_settled_task_is_over() {
    let mut bag = bag(2, false, false);
    try_settle(&mut bag.world, bag.dealid, 0, &[0, 1]).unwrap();
    let world = &mut bag.world;
    for index in 0..2u64 {
        let taskid = orders::task_id(primitives::DealId(bag.dealid), U256::from(index)).0;
        let idx = U256::from(index);
        let again = hub::initializeCall { dealid: bag.dealid, idx };
        assert_eq!(world.try_tx(Address::ZERO, world.hub, &again).unwrap_err(), Refused::Empty);
        assert_eq!(world.try_contribute(taskid, 1, digest(index)).unwrap_err(), Refused::Empty);
        assert_eq!(world.try_reveal(taskid, 0, digest(index)).unwrap_err(), Refused::Empty);
        assert_eq!(world.try_finalize(taskid, b"").unwrap_err(), Refused::Empty);
        assert_eq!(world.try_alone(taskid, 1, digest(index), b"").unwrap_err(), Refused::Empty);
    }
    world.now += 10 * 300;
    let taskid = orders::task_id(primitives::DealId(bag.dealid), U256::ZERO).0;
    let claim = hub::claimCall { taskid };
    assert_eq!(world.try_tx(Address::ZERO, world.hub, &claim).unwrap_err(), Refused::Empty);
}

#[test]
fn a_hundred_tasks_cost_less_than_eighty_thousand_gas_each() {
    let mut bag = bag(100, false, true);
    let indices: Vec<_> = (0..100).collect();
    let done = try_settle(&mut bag.world, bag.dealid, 0, &indices).unwrap();
    assert_eq!(done.all::<hub::Seize>().len(), 200, "payer and kitty, for every task");
    let each = done.gas / 100;
    assert!(each <= 80_000, "{each} gas per task");
}
