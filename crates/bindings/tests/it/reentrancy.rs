//! Contracts that call the hub back, from every place where the hub calls somebody: it does them no good.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use bindings::{boost, hub, workerpool_registry};
use primitives::{DealId, Tag, TaskId};

use crate::settle::{settle_call, try_settle};
use crate::traps::code;
use crate::world::{Actor, Done, RESULTS, RLC, Refused, World, match_call, pool_call, text};

/// A contract that, whatever it is asked, calls `target` with `payload` and answers whether that went well.
pub(crate) fn caller(target: Address, payload: &[u8]) -> Bytes {
    answering(target, payload, &[])
}

/// The same, but answers like a wallet that accepts every signature.
fn sly_wallet(target: Address, payload: &[u8]) -> Bytes {
    // pop, push4 isValidSignature's selector, shl 224
    answering(target, payload, &[0x50, 0x63, 0x16, 0x26, 0xba, 0x7e, 0x60, 0xe0, 0x1b])
}

/// Calls, makes of the outcome on the stack what it is told to, and returns that as a word.
fn answering(target: Address, payload: &[u8], make: &[u8]) -> Bytes {
    let prefix = u8::try_from(43 + make.len()).unwrap();
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut code = vec![0x61, length[0], length[1], 0x60, prefix, 0x5f, 0x39]; // codecopy(0, prefix, length)
    code.extend([0x5f, 0x5f, 0x61, length[0], length[1], 0x5f, 0x5f, 0x73]);
    code.extend(target);
    code.extend([0x5a, 0xf1]); // call(gas, target, 0, 0, length, 0, 0)
    code.extend(make);
    code.extend([0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]);
    assert_eq!(code.len(), usize::from(prefix));
    code.extend(payload);
    code.into()
}

fn market() -> (World, Address, Address) {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    (world, app, pool)
}

#[test]
fn a_callback_finds_its_task_completed() {
    let answer = b"answer";
    type Payload = fn(&World, B256, B256) -> Vec<u8>;
    let payloads: [Payload; 4] = [
        |_, _, taskid| hub::claimCall { taskid }.abi_encode(),
        |world, _, taskid| {
            world.alone_call(taskid, 0, keccak256(b"answer"), b"answer", None).abi_encode()
        },
        |_, dealid, _| hub::initializeCall { dealid, idx: U256::ZERO }.abi_encode(),
        |_, _, _| hub::withdrawCall { amount: U256::ONE }.abi_encode(),
    ];
    for payload in payloads {
        let (mut world, app, pool) = market();
        let consumer = world.put_code("consumer", Bytes::new());
        let mut quartet = world.quartet(app, Address::ZERO, pool);
        quartet.request.callback = consumer;
        let dealid = world.deal(quartet);
        let taskid = world.initialize(dealid, 0);
        world.put_code("consumer", caller(world.hub, &payload(&world, dealid, taskid)));

        let done = world.try_alone(taskid, 0, keccak256(answer), answer).unwrap();

        assert_eq!(
            done.events().last().unwrap(),
            "TaskFinalize",
            "nothing happened in the callback"
        );
        assert_eq!(world.view_task(taskid).status, 3);
        world.assert_conserved();
    }
}

#[test]
fn a_callback_may_go_on_with_another_task() {
    let (mut world, app, pool) = market();
    let consumer = world.put_code("consumer", Bytes::new());
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.callback = consumer;
    quartet.request.volume = U256::from(2);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let payload = hub::initializeCall { dealid, idx: U256::ONE }.abi_encode();
    world.put_code("consumer", caller(world.hub, &payload));
    let done = world.try_alone(taskid, 0, keccak256("x"), b"x").unwrap();
    assert_eq!(done.events().last().unwrap(), "TaskInitialize");
    world.assert_conserved();
}

#[test]
fn wallets_and_groups_are_only_ever_asked_by_static_call() {
    let deposit = hub::depositCall { amount: U256::ZERO }.abi_encode();
    let (mut world, app, pool) = market();
    let wallet = world.put_code("wallet", caller(world.hub, &deposit));
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.requester = wallet;
    let signed = world.sign(quartet);
    // It could write nothing, and "0" is no signature.
    assert_eq!(world.try_match(&signed).unwrap_err(), text("iExecV5-matchOrders-0x50"));

    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.app.requester_restrict = wallet;
    let signed = world.sign(quartet);
    assert_eq!(world.try_match(&signed).unwrap_err(), text("iExecV5-matchOrders-0x15"));
    world.assert_conserved();
}

/* THE TOKEN */

/// What somebody does, with a token that does this on its own whenever it is called, and with one that does nothing but
/// was told to do `plain` before: the same money afterwards.
#[track_caller]
fn check_token(
    start: &World,
    payload: &[u8],
    plain: impl FnOnce(&mut World),
    act: impl Fn(&mut World) -> Result<Done, Refused>,
) {
    let token = start.rlc;
    let mut honest = start.clone();
    honest.replace_code(token, code::ONE);
    honest.clone().raw(token, start.hub, payload.to_vec().into()).unwrap();
    let mut attacked = start.clone();
    attacked.replace_code(token, caller(start.hub, payload));
    act(&mut attacked).unwrap();
    plain(&mut honest);
    act(&mut honest).unwrap();
    assert_eq!(attacked.books(&[token]), honest.books(&[token]));
}

/// A market whose token holds stake in it.
fn staked_token() -> World {
    let (mut world, ..) = market();
    let requester = world.cast.requester.address();
    let amount = U256::from(100 * RLC);
    world.tx(requester, world.hub, &hub::transferCall { recipient: world.rlc, amount });
    world
}

#[test]
fn a_token_that_withdraws_while_it_is_deposited_gets_what_it_had() {
    let world = staked_token();
    let all = hub::withdrawCall { amount: U256::from(100 * RLC) };
    check_token(
        &world,
        &all.abi_encode(),
        |world| {
            world.tx(world.rlc, world.hub, &all);
        },
        |world| {
            let sponsor = world.cast.sponsor.address();
            world.try_tx(sponsor, world.hub, &hub::depositCall { amount: U256::from(RLC) })
        },
    );
}

#[test]
fn nobody_withdraws_twice_by_withdrawing_meanwhile() {
    let world = staked_token();
    let all = hub::withdrawCall { amount: U256::from(100 * RLC) };
    // The token itself withdraws, and again when it is told to pay.
    check_token(
        &world,
        &all.abi_encode(),
        |_| (),
        |world| world.try_tx(world.rlc, world.hub, &all),
    );
    // Or takes what it may of somebody who is just leaving with all there is.
    let mut world = world;
    let (sponsor, token) = (world.cast.sponsor.address(), world.rlc);
    world.tx(sponsor, world.hub, &hub::approveCall { spender: token, value: U256::MAX });
    let amount = world.account(sponsor).0;
    let take = hub::transferFromCall { sender: sponsor, recipient: token, amount };
    check_token(
        &world,
        &take.abi_encode(),
        |_| (),
        |world| world.try_tx(sponsor, world.hub, &hub::withdrawCall { amount }),
    );
}

#[test]
fn a_token_that_gives_its_stake_away_while_it_is_deposited_gives_it_once() {
    let world = staked_token();
    let owner = world.cast.owner.address();
    let give = hub::transferCall { recipient: owner, amount: U256::from(100 * RLC) };
    check_token(
        &world,
        &give.abi_encode(),
        |world| {
            world.tx(world.rlc, world.hub, &give);
        },
        |world| world.try_tx(owner, world.hub, &hub::depositCall { amount: U256::from(7) }),
    );
}

#[test]
fn a_token_that_matches_the_orders_it_was_approved_for_matches_them_once() {
    let (mut world, app, pool) = market();
    let signed = world.sign(world.quartet(app, Address::ZERO, pool));
    let (token, requester) = (world.rlc, world.cast.requester.address());
    let data: Bytes = match_call(&signed).abi_encode().into();
    let receive = hub::receiveApprovalCall {
        sender: requester,
        amount: U256::from(RLC),
        token,
        data: data.clone(),
    };
    let before = world.books(&[token]);
    world.replace_code(token, caller(world.hub, &data));
    let refused = world.try_tx(token, world.hub, &receive).unwrap_err();
    assert_eq!(refused, text("iExecV5-matchOrders-0x60"));
    assert_eq!(world.books(&[token]), before);
    // With a token that minds its business, the match is one.
    world.replace_code(token, code::ONE);
    let done = world.tx(token, world.hub, &receive);
    assert_eq!(done.all::<hub::OrdersMatched>().len(), 1);
}

/* CALLBACKS */

/// Orders of a pool that a contract owns, which is also called back.
struct Powerful {
    world: World,
    who: Address,
    quartet: orders::Quartet,
}

fn powerful() -> Powerful {
    let (mut world, app, _) = market();
    let owner = world.cast.owner.address();
    // A callback may do a lot with so much gas.
    let callbackgas = U256::from(5_000_000);
    world.tx(owner, world.hub, &hub::setCallbackGasCall { callbackgas });
    let who = world.put_code("powerful", code::MAGIC);
    world.give(who, 1_000 * RLC);
    let done = world.tx(owner, world.pools, &pool_call(who, "its own"));
    let pool = workerpool_registry::createWorkerpoolCall::abi_decode_returns(&done.output).unwrap();
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.volume = U256::from(3);
    quartet.request.callback = who;
    Powerful { world, who, quartet }
}

/// Runs `act` with a callback that does this, and with one that does nothing: the same events, the same money.
#[track_caller]
fn check_callback(
    start: &World,
    who: Address,
    payload: &[u8],
    act: impl Fn(&mut World) -> Result<Done, Refused>,
) {
    let mut attacked = start.clone();
    attacked.replace_code(who, sly_wallet(start.hub, payload));
    let mut honest = start.clone();
    honest.replace_code(who, code::MAGIC);
    let (done, plain) = (act(&mut attacked).unwrap(), act(&mut honest).unwrap());
    assert_eq!(done.logs, plain.logs);
    assert_eq!(attacked.books(&[who]), honest.books(&[who]));
}

#[test]
fn a_boost_callback_finds_its_task_pushed_and_paid() {
    let (mut world, app, pool) = market();
    let owner = world.cast.owner.address();
    let callbackgas = U256::from(5_000_000);
    world.tx(owner, world.hub, &hub::setCallbackGasCall { callbackgas });
    // The callback is also the worker.
    let who = world.put_code("consumer", code::NOTHING);
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    (quartet.request.volume, quartet.request.callback) = (U256::from(3), who);
    let signed = world.sign(quartet);
    let dealid = B256::from_slice(&crate::boost::try_match(&mut world, &signed).unwrap().output);
    let tasks = [0u64, 1].map(|index| orders::task_id(DealId(dealid), U256::from(index)).0);
    let words = tasks.map(|taskid| world.authorization(who, taskid, Address::ZERO));
    let push = |index: usize| boost::pushResultBoostCall {
        dealId: dealid,
        index: U256::from(index),
        results: RESULTS.as_bytes().into(),
        resultsCallback: b"answer".into(),
        authorizationSign: words[index].clone(),
        enclaveChallenge: Address::ZERO,
        enclaveSign: Bytes::new(),
    };
    let payloads = [
        push(0).abi_encode(),
        boost::claimBoostCall { dealId: dealid, index: U256::ZERO }.abi_encode(),
        boost::claimBoostCall { dealId: dealid, index: U256::ONE }.abi_encode(),
        crate::boost::boost_call(&signed).abi_encode(),
        hub::withdrawCall { amount: U256::from(1_000_000 * RLC) }.abi_encode(),
    ];
    for payload in payloads {
        check_callback(&world, who, &payload, |world| world.try_tx(who, world.hub, &push(0)));
    }

    // The next task is another matter: pushed from the callback, it is pushed as ever.
    let mut nested = world.clone();
    nested.replace_code(who, caller(world.hub, &push(1).abi_encode()));
    nested.tx(who, nested.hub, &push(0));
    world.tx(who, world.hub, &push(0));
    world.tx(who, world.hub, &push(1));
    assert_eq!(nested.books(&[who]), world.books(&[who]));
    for taskid in tasks {
        assert_eq!(nested.view_task(taskid).status, 3);
    }
}

#[test]
fn a_callback_of_the_scheduler_itself_finalizes_once() {
    let Powerful { mut world, who, quartet } = powerful();
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let answer = b"answer";
    world.contribute(taskid, 0, keccak256(answer));
    world.reveal(taskid, 0, keccak256(answer));
    let finalize = hub::finalizeCall {
        taskid,
        results: RESULTS.as_bytes().into(),
        resultsCallback: answer.into(),
    };
    let payloads = [
        finalize.abi_encode(),
        hub::reopenCall { taskid }.abi_encode(),
        hub::claimCall { taskid }.abi_encode(),
        hub::revealCall { taskid, resultDigest: keccak256(answer) }.abi_encode(),
        hub::initializeCall { dealid, idx: U256::ZERO }.abi_encode(),
    ];
    for payload in payloads {
        check_callback(&world, who, &payload, |world| world.try_tx(who, world.hub, &finalize));
    }
}

/* WALLETS */

/// What a wallet with stake might do while it is asked for its signature. All of it goes well by itself.
fn temptations(world: &World, who: Address, dealid: B256) -> Vec<Bytes> {
    let recipient = world.cast.requester.address();
    let amount = U256::from(RLC);
    let all = [
        hub::withdrawCall { amount }.abi_encode(),
        hub::transferCall { recipient, amount }.abi_encode(),
        hub::approveCall { spender: recipient, value: amount }.abi_encode(),
        hub::initializeCall { dealid, idx: U256::from(2) }.abi_encode(),
    ];
    let all = all.map(Bytes::from);
    for payload in &all {
        world.clone().raw(who, world.hub, payload.clone()).unwrap();
    }
    all.into()
}

#[test]
fn a_pool_owner_asked_for_its_word_can_do_nothing_but_give_it() {
    type Act = fn(&mut World, B256, B256) -> Result<Done, Refused>;
    let acts: [Act; 3] = [
        |world, _, taskid| world.try_contribute(taskid, 0, keccak256("x")),
        |world, _, taskid| world.try_alone(taskid, 0, keccak256("x"), b""),
        |world, dealid, _| try_settle(world, dealid, 0, &[1, 0]),
    ];
    let Powerful { mut world, who, mut quartet } = powerful();
    quartet.request.callback = Address::ZERO;
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    for payload in temptations(&world, who, dealid) {
        for act in acts {
            check_callback(&world, who, &payload, |world| act(world, dealid, taskid));
        }
    }
}

#[test]
fn a_pool_owner_that_settles_while_it_is_asked_whether_to_settle_settles_once() {
    let Powerful { mut world, who, mut quartet } = powerful();
    quartet.request.callback = Address::ZERO;
    let dealid = world.deal(quartet);
    let payload = settle_call(&world, dealid, 0, &[0, 1]).abi_encode();
    check_callback(&world, who, &payload, |world| try_settle(world, dealid, 0, &[0, 1]));
}

#[test]
fn a_broker_or_an_enclave_that_is_a_contract_can_only_give_its_word() {
    let (mut world, app, pool) = market();
    let who = world.put_code("powerful", code::MAGIC);
    world.give(who, 1_000 * RLC);
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    let tee = Tag(B256::with_last_byte(9));
    (quartet.app.tag, quartet.request.tag) = (tee, tee);
    quartet.request.volume = U256::from(3);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let worker = world.cast.workers[0].address();
    // The contract is the enclave; or it is the broker, and the enclave has a key.
    let mut as_enclave = world.contribute_call(taskid, 0, keccak256("x"), None);
    as_enclave.enclaveChallenge = who;
    let hash = verdict::authorization_hash(worker, TaskId(taskid), who);
    as_enclave.authorizationSign = world.cast.scheduler.sign_message(hash);
    let enclave = Actor::new("enclave");
    let as_broker = world.contribute_call(taskid, 0, keccak256("x"), Some(&enclave));
    let mut brokered = world.clone();
    let owner = world.cast.owner.address();
    brokered.tx(owner, world.hub, &hub::setTeeBrokerCall { teebroker: who });
    for payload in temptations(&world, who, dealid) {
        for (world, call) in [(&world, &as_enclave), (&brokered, &as_broker)] {
            check_callback(world, who, &payload, |world| world.try_tx(worker, world.hub, call));
        }
    }
}

#[test]
fn a_group_asked_for_its_members_can_do_nothing_but_name_them() {
    let (mut world, app, pool) = market();
    let group = world.put_code("group", code::ONE);
    world.give(group, 1_000 * RLC);
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.app.requester_restrict = group;
    let signed = world.sign(quartet);
    let withdraw = hub::withdrawCall { amount: U256::from(RLC) };
    world.clone().tx(group, world.hub, &withdraw);
    let mut attacked = world.clone();
    // pop, push the word 1
    let sly = answering(world.hub, &withdraw.abi_encode(), &[0x50, 0x60, 1]);
    attacked.replace_code(group, sly);
    let (done, plain) = (attacked.try_match(&signed).unwrap(), world.try_match(&signed).unwrap());
    assert_eq!(done.logs, plain.logs);
    assert_eq!(attacked.books(&[group]), world.books(&[group]));
}
