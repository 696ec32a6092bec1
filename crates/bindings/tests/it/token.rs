//! RLC: an ERC-20 whose allowance is transient while `approveAndCall` calls.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall as _;
use bindings::rlc;

use crate::reentrancy::caller;
use crate::world::World;

fn allowance(world: &World, owner: Address, spender: Address) -> U256 {
    world.view(world.rlc, &rlc::allowanceCall { owner, spender })
}

/// What is left when the spender, called, does this with the token.
#[track_caller]
fn check_left(before: u64, given: U256, spends: Option<u64>, left: U256) {
    let mut world = World::new();
    let owner = world.cast.owner.address();
    let payload = match spends {
        Some(amount) => rlc::transferFromCall {
            from: owner,
            to: world.cast.requester.address(),
            amount: U256::from(amount),
        }
        .abi_encode(),
        None => rlc::totalSupplyCall {}.abi_encode(),
    };
    let spender = world.put_code("spender", caller(world.rlc, &payload));
    let amount = U256::from(before);
    world.tx(owner, world.rlc, &rlc::approveCall { spender, amount });
    let call = rlc::approveAndCallCall { spender, amount: given, data: Bytes::new() };
    let done = world.tx(owner, world.rlc, &call);
    assert_eq!(done.events()[0], "Approval");
    assert_eq!(allowance(&world, owner, spender), left);
}

#[test]
fn what_the_spender_leaves_of_an_allowance_stays() {
    for before in [0, 5, 100] {
        check_left(before, U256::from(100), None, U256::from(100));
        check_left(before, U256::from(100), Some(60), U256::from(40));
        check_left(before, U256::from(100), Some(100), U256::ZERO);
        check_left(before, U256::from(100), Some(101), U256::from(100));
        check_left(before, U256::ZERO, Some(1), U256::ZERO);
        check_left(before, U256::MAX, Some(1), U256::MAX - U256::ONE);
        check_left(before, U256::MAX, None, U256::MAX);
        check_left(before, U256::MAX - U256::ONE, Some(1), U256::MAX - U256::from(2));
    }
}

#[test]
fn an_allowance_ends_with_its_call() {
    let mut world = World::new();
    let (owner, requester) = (world.cast.owner.address(), world.cast.requester.address());
    let spend = rlc::transferFromCall { from: owner, to: requester, amount: U256::from(100) };
    let spender = world.put_code("spender", caller(world.rlc, &spend.abi_encode()));
    let amount = U256::from(100);
    world.tx(owner, world.rlc, &rlc::approveAndCallCall { spender, amount, data: Bytes::new() });
    assert!(world.try_tx(spender, world.rlc, &spend).is_err(), "all of it was spent in the call");
}
