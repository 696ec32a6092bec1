//! The hub's code may be replaced, by its owner only; what it keeps stays where it is.

use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256, b256, keccak256};
use alloy_sol_types::{SolCall as _, SolError as _, SolValue as _};
use bindings::{
    app, app_registry, dataset, dataset_registry, hub, workerpool, workerpool_registry,
};

use crate::reentrancy::caller;
use crate::world::{RLC, Refused, World, text};

/// keccak256("eip1967.proxy.implementation") - 1
const IMPLEMENTATION: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");
const LAYOUT: &str = include_str!("../../../../contracts/artifacts/storage-layout.json");

#[test]
fn the_storage_layout_is_as_committed() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/snapshots/storage-layout.json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, LAYOUT).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, LAYOUT,
        "a deployed hub keeps its storage: fields may only be appended. If that is what you did, \
         UPDATE_SNAPSHOTS=1 cargo test -p bindings layout"
    );
}

#[test]
fn the_namespace_is_the_one_of_its_name() {
    let world = World::new();
    let name = U256::from_be_bytes(keccak256("gristmill.storage.Hub").0) - U256::ONE;
    let mut namespace = keccak256(name.abi_encode());
    namespace[31] = 0;
    let owner = world.cast.owner.address();
    assert_eq!(world.storage(world.hub, namespace), owner.into_word());
}

#[test]
fn what_is_initialised_is_so_for_good() {
    let mut world = World::new();
    let owner = world.cast.owner.address();
    let configure = hub::configureCall {
        token: owner,
        name: String::new(),
        symbol: String::new(),
        decimals: 0,
        appregistry: owner,
        datasetregistry: owner,
        workerpoolregistry: owner,
        v3_iexecHub: owner,
    };
    let again = world.try_tx(owner, world.hub, &configure).unwrap_err();
    assert_eq!(again, text("already-configured"));
    // The code behind the hub has nobody for an owner.
    let implementation = Address::from_word(world.storage(world.hub, IMPLEMENTATION));
    let refused = world.try_tx(owner, implementation, &configure).unwrap_err();
    assert_eq!(refused, text("Ownable: caller is not the owner"));

    let twice = text("already initialized");
    let previous = owner;
    for registry in [world.apps, world.datasets, world.pools] {
        let call = app_registry::initializeCall { previous };
        assert_eq!(world.try_tx(owner, registry, &call).unwrap_err(), twice);
    }
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    let app_master = world.view(world.apps, &app_registry::masterCall {});
    let dataset_master = world.view(world.datasets, &dataset_registry::masterCall {});
    let pool_master = world.view(world.pools, &workerpool_registry::masterCall {});
    let none = Bytes::new;
    for entry in [app, app_master] {
        let call = app::initializeCall {
            name: String::new(),
            appType: String::new(),
            multiaddr: none(),
            checksum: B256::ZERO,
            mrenclave: none(),
        };
        assert_eq!(world.try_tx(owner, entry, &call).unwrap_err(), twice);
    }
    for entry in [dataset, dataset_master] {
        let call = dataset::initializeCall {
            name: String::new(),
            multiaddr: none(),
            checksum: B256::ZERO,
        };
        assert_eq!(world.try_tx(owner, entry, &call).unwrap_err(), twice);
    }
    for entry in [pool, pool_master] {
        let call = workerpool::initializeCall { description: String::new() };
        assert_eq!(world.try_tx(owner, entry, &call).unwrap_err(), twice);
    }
}

#[test]
fn an_upgrade_by_a_timelock_keeps_deals_and_money() {
    let mut world = World::new();
    let (app, pool) = (world.create_app(), world.create_pool());
    let mut quartet = world.quartet(app, Address::ZERO, pool);
    quartet.request.volume = U256::from(2);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let owner = world.cast.owner.address();

    let extension = world.deploy(hub::extension_creation_code());
    let implementation = world.deploy(hub::creation_code(extension));
    let upgrade = hub::upgradeToAndCallCall { implementation, data: Bytes::new() };
    // Does the one thing it was made for, whoever says that it is time.
    let timelock = world.put_code("timelock", caller(world.hub, &upgrade.abi_encode()));
    let stranger = world.cast.requester.address();
    let not_owner =
        |caller, owner| Refused::Data(hub::NotContractOwner { caller, owner }.abi_encode().into());
    let refused = world.try_tx(stranger, world.hub, &upgrade).unwrap_err();
    assert_eq!(refused, not_owner(stranger, owner));
    world.tx(owner, world.hub, &hub::transferOwnershipCall { newOwner: timelock });
    let refused = world.try_tx(owner, world.hub, &upgrade).unwrap_err();
    assert_eq!(refused, not_owner(owner, timelock));

    let everyone = world.everyone();
    let before: Vec<_> = everyone.iter().map(|who| world.account(*who)).collect();
    let deal_before = world.view_deal(dealid).abi_encode();
    let done = world.raw(stranger, timelock, Bytes::new()).unwrap();

    assert_eq!(done.all::<hub::Upgraded>()[0].implementation, implementation);
    assert_eq!(world.storage(world.hub, IMPLEMENTATION), implementation.into_word());
    let after: Vec<_> = everyone.iter().map(|who| world.account(*who)).collect();
    assert_eq!(after, before);
    assert_eq!(world.view_deal(dealid).abi_encode(), deal_before);
    assert_eq!(world.view_task(taskid).status, 1);
    world.try_alone(taskid, 0, keccak256("result"), b"").unwrap();
    crate::settle::try_settle(&mut world, dealid, 0, &[1]).unwrap();
    world.assert_conserved();
    let worker = world.cast.workers[0].address();
    let earned = world.account(worker).0 - U256::from(1_000 * RLC);
    assert_eq!(earned, U256::from(2 * RLC * 99 / 100));
}

#[test]
fn nothing_that_is_not_a_contract_becomes_the_code_of_the_hub() {
    let mut world = World::new();
    let owner = world.cast.owner.address();
    let call = hub::upgradeToAndCallCall { implementation: owner, data: Bytes::new() };
    assert_eq!(world.try_tx(owner, world.hub, &call).unwrap_err(), Refused::Empty);
}

#[test]
fn a_pools_owner_and_policy_share_a_word_and_leave_each_other_alone() {
    let mut world = World::new();
    let pool = world.create_pool();
    let (scheduler, heir) = (world.cast.scheduler.address(), world.cast.requester.address());
    let policy = workerpool::changePolicyCall {
        workerStakeRatioPolicy: U256::from(77),
        schedulerRewardRatioPolicy: U256::from(42),
    };
    world.tx(scheduler, pool, &policy);
    assert_eq!(world.view(pool, &workerpool::ownerCall {}), scheduler);
    let (from, to) = (scheduler, heir);
    let token = U256::from_be_slice(pool.as_slice());
    let transfer = workerpool_registry::transferFromCall { from, to, tokenId: token };
    world.tx(scheduler, world.pools, &transfer);
    assert_eq!(world.view(pool, &workerpool::ownerCall {}), heir);
    let read = |world: &World| {
        (
            world.view(pool, &workerpool::m_workerStakeRatioPolicyCall {}),
            world.view(pool, &workerpool::m_schedulerRewardRatioPolicyCall {}),
        )
    };
    assert_eq!(read(&world), (U256::from(77), U256::from(42)));
    assert!(world.try_tx(scheduler, pool, &policy).is_err(), "it is the heir's now");
    // ownerAndPolicyOf and setPolicy are not for strangers.
    let set = [keccak256("setPolicy(uint256,uint256)")[..4].to_vec(), vec![0; 64]].concat();
    assert_eq!(world.raw(scheduler, world.pools, set.into()).unwrap_err(), Refused::Empty);
    assert_eq!(read(&world), (U256::from(77), U256::from(42)));
}
