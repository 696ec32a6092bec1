//! Contracts that call the hub back, from every place where the hub calls somebody: it does them no good.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use bindings::hub;

use crate::world::{World, text};

/// A contract that, whatever it is asked, calls `target` with `payload` and answers whether that went well.
pub(crate) fn caller(target: Address, payload: &[u8]) -> Bytes {
    const PREFIX: u8 = 43;
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut code = vec![0x61, length[0], length[1], 0x60, PREFIX, 0x5f, 0x39]; // codecopy(0, PREFIX, length)
    code.extend([0x5f, 0x5f, 0x61, length[0], length[1], 0x5f, 0x5f, 0x73]);
    code.extend(target);
    code.extend([0x5a, 0xf1]); // call(gas, target, 0, 0, length, 0, 0)
    code.extend([0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]); // return it as a word
    assert_eq!(code.len(), usize::from(PREFIX));
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
