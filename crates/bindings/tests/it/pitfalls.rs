//! Every trap of the official rules, and the test that holds it. Here are those that are in no other place.
//!
//! | trap | test |
//! |---|---|
//! | what reverts without data does so here | [`what_reverts_empty_reverts_empty`], `traps::unknown_things_read_as_nothing_or_revert_as_ever` |
//! | `Panic(0x01)`: a callback without its gas | `traps::a_callback_without_its_gas_is_a_panic` |
//! | `Panic(0x11)`: arithmetic | `traps::extreme_values_are_legal_when_they_are_free`, `traps::a_stake_ratio_has_no_bound`, `traps::a_category_without_end_matches_but_never_starts`, `widths::votes_of_any_weight_go_as_the_rules_say` |
//! | `Panic(0x32)`: legacy view of an unknown category | `traps::unknown_things_read_as_nothing_or_revert_as_ever` |
//! | order of checks: a match | [`the_checks_of_a_match_come_in_their_order`], `traps::an_entry_is_asked_for_its_owner_before_its_registry` |
//! | order of checks: a Boost match asks the registry first | [`boost_asks_the_registry_before_the_entry`] |
//! | order of checks: a contribution | [`the_checks_of_a_contribution_come_in_their_order`] |
//! | order of checks: a dataset for a deal | [`the_checks_of_a_dataset_for_a_deal_come_in_their_order`] |
//! | volume 2^256 − 1, trust 2^255 | `traps::extreme_values_are_legal_when_they_are_free` |
//! | stake ratio 10^40 | `traps::a_stake_ratio_has_no_bound`, [`a_stake_nobody_has_keeps_out_all_but_one_who_works_alone`] |
//! | every other number beyond its usual width | `widths` |
//! | zero amounts are events | `traps::zero_amounts_are_events_too`, [`a_failure_of_nothing_tells_it_all`] |
//! | without a dataset its order still counts | `traps::without_a_dataset_its_order_still_limits`, [`without_a_dataset_its_order_still_restricts_but_is_not_used_up`] |
//! | `renounceOwnership` is published and refused | [`the_hub_cannot_be_renounced_but_given_to_nobody`] |
//! | the domain separator is cached | [`a_fork_keeps_the_domain_until_somebody_updates_it`] |
//! | "not-configured" | [`a_domain_is_not_updated_before_there_is_one`] |
//! | ERC-1271 and ERC-734 answers below 32 bytes revert all of it | `traps::contracts_sign_for_themselves`, `traps::restrictions_may_be_groups`, [`a_short_answer_of_a_wallet_reverts_whatever_asked`] |
//! | an account with delegated code is a contract | [`a_key_whose_account_delegates_signs_no_more`] |
//! | malformed signatures are the zero address's | `traps::signatures_are_short_or_long_but_low`, `traps::nobody_may_be_sponsored_but_cannot_pay`, [`nobodys_malformed_word_counts`] |
//! | presignatures count for orders only, and for who made them | `traps::orders_are_signed_and_closed_on_chain`, [`an_entry_takes_its_orders_along_when_it_is_sold`] |
//! | closing is final | `traps::orders_are_signed_and_closed_on_chain` |
//! | a rejected worker's stake | `traps::reopening_rejects_the_winners_for_good`, [`a_rejected_worker_gets_the_stake_back_when_the_task_fails`] |
//! | who does not reveal is at fault | [`a_winner_who_does_not_reveal_is_at_fault`] |
//! | a score needs company | [`a_worker_without_company_earns_no_score`] |
//! | a task must be initialized to be claimed | [`a_task_is_claimed_only_once_it_is_there`] |
//! | the token's answers | [`a_token_that_says_no_is_believed_only_when_it_takes`] |
//! | `approveAndCall` must be answered | [`an_approval_must_be_received`] |
//! | the hub's own balance is an account | [`what_is_sent_to_the_hub_itself_stays_apart_from_what_is_locked`] |
//! | names are refused, with two voices | [`names_are_refused_everywhere`] |
//! | deposits by approval | `traps::deposits_by_approval_come_from_the_token_and_match_only_their_own` |

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall as _, SolError as _};
use bindings::{app, app_registry, hub, rlc, workerpool};
use orders::{Domain, Quartet};
use primitives::{Tag, TaskId};

use crate::traps::{code, code_of_match, market, plain};
use crate::world::{
    Actor, CHAIN_ID, RLC, Refused, World, app_order, dataset_order, match_call, request_order, text,
};

const NOBODY: Address = Address::repeat_byte(9);

fn malformed() -> Bytes {
    vec![1; 65].into()
}

fn digest() -> B256 {
    keccak256("x")
}

#[test]
fn the_table_names_tests_that_are_there() {
    let here = include_str!("pitfalls.rs");
    let texts =
        [("", here), ("traps", include_str!("traps.rs")), ("widths", include_str!("widths.rs"))];
    let rows = here.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut named = 0;
    for row in rows {
        let (_, tests) = row.rsplit_once(" | ").unwrap();
        for test in tests.trim_end_matches(" |").split(", ") {
            let test = test.trim_matches(['[', ']', '`']);
            let (module, name) = test.split_once("::").unwrap_or(("", test));
            let of_module = texts.iter().any(|(other, _)| *other == test);
            let text = texts.iter().find(|(other, _)| *other == module).unwrap().1;
            let there = text.contains(&format!("#[test]\nfn {name}() {{"));
            assert!(of_module || there, "{test} of {row}");
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests in the table");
}

#[test]
fn what_reverts_empty_reverts_empty() {
    let (mut world, app, dataset, pool) = market();
    let mut quartet = plain(&world, app, pool);
    (quartet.workerpool.trust, quartet.request.trust) = (U256::from(2), U256::from(2));
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let (idx, none) = (U256::ZERO, Bytes::new);
    let worker = world.cast.workers[0].address();
    let unknown = B256::repeat_byte(7);
    let finalize = |taskid| hub::finalizeCall { taskid, results: none(), resultsCallback: none() };
    let calls: Vec<(&str, Vec<u8>)> = vec![
        ("there already", hub::initializeCall { dealid, idx }.abi_encode()),
        ("beyond the deal", hub::initializeCall { dealid, idx: U256::ONE }.abi_encode()),
        ("no deal", hub::initializeCall { dealid: unknown, idx }.abi_encode()),
        ("lengths", hub::initializeArrayCall { dealids: vec![dealid], idxs: vec![] }.abi_encode()),
        (
            "lengths",
            hub::initializeAndClaimArrayCall { dealids: vec![], idxs: vec![idx] }.abi_encode(),
        ),
        ("no task", hub::claimCall { taskid: unknown }.abi_encode()),
        ("not yet", hub::claimCall { taskid }.abi_encode()),
        ("not all", hub::claimArrayCall { taskids: vec![taskid] }.abi_encode()),
        ("nothing to reveal", hub::revealCall { taskid, resultDigest: digest() }.abi_encode()),
        ("nothing to reopen", hub::reopenCall { taskid }.abi_encode()),
        ("nothing to finalize", finalize(taskid).abi_encode()),
        ("no task to finalize", finalize(unknown).abi_encode()),
        (
            "more than one is asked for",
            world.alone_call(taskid, 0, digest(), b"", None).abi_encode(),
        ),
        (
            "no task to contribute to",
            world.contribute_call(unknown, 0, digest(), None).abi_encode(),
        ),
        ("no app", hub::viewAppCall { app: NOBODY }.abi_encode()),
        ("no dataset", hub::viewDatasetCall { dataset: NOBODY }.abi_encode()),
        ("no workerpool", hub::viewWorkerpoolCall { workerpool: NOBODY }.abi_encode()),
        ("an app is no dataset", hub::viewDatasetCall { dataset: app }.abi_encode()),
        ("no category", hub::viewCategoryCall { catid: U256::MAX }.abi_encode()),
        ("no older hub", hub::importScoreCall { worker }.abi_encode()),
        ("more than there is", hub::withdrawCall { amount: U256::MAX }.abi_encode()),
        (
            "more than allowed",
            hub::transferFromCall { sender: pool, recipient: dataset, amount: U256::ONE }
                .abi_encode(),
        ),
    ];
    for (why, call) in calls {
        let refused = world.raw(worker, world.hub, call.into()).unwrap_err();
        assert_eq!(refused, Refused::Empty, "{why}");
    }
    // An asset that is nobody has no owner to manage its orders.
    let mut order = world.quartet(app, dataset, pool).app;
    order.app = NOBODY;
    let apporderoperation = hub::IexecLibOrders_v5::AppOrderOperation {
        order: app_order(&order),
        operation: 0,
        sign: none(),
    };
    let manage = hub::manageAppOrderCall { apporderoperation };
    assert_eq!(world.try_tx(worker, world.hub, &manage).unwrap_err(), Refused::Empty);
}

#[test]
fn the_checks_of_a_match_come_in_their_order() {
    type Fix = fn(&mut Quartet, [Address; 3]);
    // Everything is wrong; what is refused is set right, one after the other.
    let steps: Vec<(&str, Fix)> = vec![
        ("00", |q, _| q.workerpool.category = q.request.category),
        ("01", |q, _| (q.request.category, q.workerpool.category) = (U256::ZERO, U256::ZERO)),
        ("02", |q, _| q.request.trust = U256::ONE),
        ("03", |q, _| q.request.app_max_price = q.app.price),
        ("04", |q, _| q.request.dataset_max_price = q.dataset.price),
        ("05", |q, _| q.request.workerpool_max_price = q.workerpool.price),
        ("06", |q, _| q.request.tag = Tag::TEE),
        ("07", |q, _| q.request.tag = Tag::NONE),
        ("10", |q, _| q.request.app = q.app.app),
        ("11", |q, _| q.request.dataset = q.dataset.dataset),
        ("12", |q, _| q.request.workerpool = Address::ZERO),
        ("13", |q, _| q.app.dataset_restrict = Address::ZERO),
        ("14", |q, _| q.app.workerpool_restrict = Address::ZERO),
        ("15", |q, _| q.app.requester_restrict = Address::ZERO),
        ("16", |q, _| q.dataset.app_restrict = Address::ZERO),
        ("17", |q, _| q.dataset.workerpool_restrict = Address::ZERO),
        ("18", |q, _| q.dataset.requester_restrict = Address::ZERO),
        ("19", |q, _| q.workerpool.app_restrict = Address::ZERO),
        ("1a", |q, _| q.workerpool.dataset_restrict = Address::ZERO),
        ("1b", |q, _| q.workerpool.requester_restrict = Address::ZERO),
        ("20", |q, [app, _, _]| (q.app.app, q.request.app) = (app, app)),
        ("21", |_, _| ()),
        ("30", |q, [_, data, _]| (q.dataset.dataset, q.request.dataset) = (data, data)),
        ("31", |_, _| ()),
        ("40", |q, [_, _, pool]| q.workerpool.workerpool = pool),
        ("41", |_, _| ()),
        ("50", |_, _| ()),
        ("60", |q, _| q.request.volume = U256::from(5_000)),
    ];
    let (mut world, app, dataset, pool) = market();
    let stranger = world.put_code("stranger", code::ONE);
    let mut quartet = world.quartet(stranger, stranger, stranger);
    (quartet.app.volume, quartet.workerpool.volume) = (U256::MAX, U256::MAX);
    quartet.dataset.volume = U256::MAX;
    (quartet.request.category, quartet.workerpool.category) = (U256::from(9), U256::from(8));
    quartet.request.trust = U256::MAX;
    quartet.request.app_max_price = U256::ZERO;
    quartet.request.dataset_max_price = U256::ZERO;
    quartet.request.workerpool_max_price = U256::ZERO;
    quartet.request.tag = Tag::bit(200);
    (quartet.request.app, quartet.request.dataset) = (NOBODY, NOBODY);
    quartet.request.workerpool = NOBODY;
    quartet.request.volume = U256::ZERO;
    for restriction in [
        &mut quartet.app.dataset_restrict,
        &mut quartet.app.workerpool_restrict,
        &mut quartet.app.requester_restrict,
        &mut quartet.dataset.app_restrict,
        &mut quartet.dataset.workerpool_restrict,
        &mut quartet.dataset.requester_restrict,
        &mut quartet.workerpool.app_restrict,
        &mut quartet.workerpool.dataset_restrict,
        &mut quartet.workerpool.requester_restrict,
    ] {
        *restriction = NOBODY;
    }
    for (refused, fix) in steps {
        let mut signed = world.sign(quartet.clone());
        for (signs, sign) in [
            ("21", &mut signed.app.sign),
            ("31", &mut signed.dataset.sign),
            ("41", &mut signed.workerpool.sign),
            ("50", &mut signed.request.sign),
        ] {
            if refused <= signs {
                *sign = malformed();
            }
        }
        assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match(refused));
        fix(&mut quartet, [app, dataset, pool]);
    }
    // Money comes last.
    let signed = world.sign(quartet.clone());
    let poor = text("IexecEscrow: Transfer amount exceeds balance");
    assert_eq!(world.try_match(&signed).unwrap_err(), poor);
    quartet.request.volume = U256::ONE;
    world.deal(quartet);
    world.assert_conserved();
}

#[test]
fn boost_asks_the_registry_before_the_entry() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    (quartet.app.app, quartet.request.app) = (NOBODY, NOBODY);
    let signed = world.sign(quartet);
    assert_eq!(world.try_match(&signed).unwrap_err(), Refused::Empty);
    let refused = crate::boost::try_match(&mut world, &signed).unwrap_err();
    assert_eq!(refused, text("PocoBoost: App not registered"));
}

#[test]
fn the_checks_of_a_contribution_come_in_their_order() {
    let (mut world, app, _, pool) = market();
    let tee = Tag(B256::with_last_byte(9));
    let mut quartet = plain(&world, app, pool);
    (quartet.app.tag, quartet.request.tag) = (tee, tee);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let worker = world.cast.workers[0].address();
    let (stake, _) = world.account(worker);
    world.tx(worker, world.hub, &hub::withdrawCall { amount: stake });
    let format = text("invalid-signature-format");
    let short: Bytes = vec![1; 3].into();
    let enclave = Actor::new("enclave");
    let good = world.contribute_call(taskid, 0, digest(), Some(&enclave));

    // Nothing is right; "the task is not there" and "an enclave is missing" come before all signatures.
    let mut call = good.clone();
    call.taskid = B256::repeat_byte(7);
    call.enclaveChallenge = Address::ZERO;
    (call.enclaveSign, call.authorizationSign) = (short.clone(), short.clone());
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    call.taskid = taskid;
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    // The permission before the enclave's word,
    call.enclaveChallenge = enclave.address();
    call.authorizationSign = malformed();
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    call.authorizationSign = short;
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), format);
    call.authorizationSign = good.authorizationSign.clone();
    call.enclaveSign = malformed();
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    call.enclaveSign = vec![1; 66].into();
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), format);
    // and the stake last.
    let poor = text("IexecEscrow: Transfer amount exceeds balance");
    assert_eq!(world.try_tx(worker, world.hub, &good).unwrap_err(), poor);
    world.give(worker, RLC);
    world.tx(worker, world.hub, &good);
    assert_eq!(world.try_tx(worker, world.hub, &good).unwrap_err(), Refused::Empty, "once");
}

#[test]
fn the_checks_of_a_dataset_for_a_deal_come_in_their_order() {
    let (mut world, app, dataset, pool) = market();
    let mut with = world.quartet(app, dataset, pool);
    with.request.salt = B256::repeat_byte(0x42);
    let (with, without) = (world.deal(with), world.deal(plain(&world, app, pool)));
    let mut order = world.quartet(app, dataset, pool).dataset;
    (order.volume, order.tag) = (U256::ZERO, Tag::bit(77));
    (order.app_restrict, order.workerpool_restrict) = (NOBODY, NOBODY);
    order.requester_restrict = NOBODY;
    type Fix = fn(&mut orders::DatasetOrder);
    let steps: [(&str, B256, Fix); 8] = [
        ("Dataset order is revoked or fully consumed", B256::ZERO, |it| it.volume = U256::ONE),
        ("Invalid dataset order signature", B256::ZERO, |_| ()),
        ("Deal not found", B256::ZERO, |_| ()),
        ("Deal already has a dataset", with, |_| ()),
        ("App restriction not satisfied", without, |it| it.app_restrict = Address::ZERO),
        ("Workerpool restriction not satisfied", without, |it| {
            it.workerpool_restrict = Address::ZERO;
        }),
        ("Requester restriction not satisfied", without, |it| {
            it.requester_restrict = Address::ZERO;
        }),
        ("Tag compatibility not satisfied", without, |it| it.tag = Tag(B256::with_last_byte(0x0e))),
    ];
    let ask = |world: &World, order: &orders::DatasetOrder, deal, signed: bool| {
        let mut order = order.clone();
        order.sign = match signed {
            true => world.cast.data_owner.sign(order.hash(&world.domain()).0),
            false => malformed(),
        };
        let call = hub::assertDatasetDealCompatibilityCall {
            datasetOrder: dataset_order(&order),
            dealId: deal,
        };
        world.try_view(world.hub, &call)
    };
    for (step, (reason, deal, fix)) in steps.into_iter().enumerate() {
        let error = hub::IncompatibleDatasetOrder { reason: reason.into() };
        let refused = ask(&world, &order, deal, step > 1).unwrap_err();
        assert_eq!(refused, Refused::Data(error.abi_encode().into()), "{reason}");
        fix(&mut order);
    }
    assert!(ask(&world, &order, without, true).is_ok(), "frameworks are masked");
}

#[test]
fn a_stake_nobody_has_keeps_out_all_but_one_who_works_alone() {
    let (mut world, app, _, pool) = market();
    let scheduler = world.cast.scheduler.address();
    let policy = workerpool::changePolicyCall {
        workerStakeRatioPolicy: U256::from(10).pow(U256::from(40)),
        schedulerRewardRatioPolicy: U256::ONE,
    };
    world.tx(scheduler, pool, &policy);
    let dealid = world.deal(plain(&world, app, pool));
    let taskid = world.initialize(dealid, 0);
    let poor = text("IexecEscrow: Transfer amount exceeds balance");
    assert_eq!(world.try_contribute(taskid, 0, digest()).unwrap_err(), poor);
    world.try_alone(taskid, 0, digest(), b"").unwrap();
    world.assert_conserved();
}

#[test]
fn a_failure_of_nothing_tells_it_all() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    (quartet.app.price, quartet.workerpool.price) = (U256::ZERO, U256::ZERO);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, digest());
    world.now += 10 * 300;
    let done = world.tx(Address::ZERO, world.hub, &hub::claimCall { taskid });
    assert_eq!(
        done.events(),
        ["Transfer", "Unlock", "Seize", "Reward", "Lock", "Transfer", "Unlock", "TaskClaimed"]
    );
    assert!(done.all::<hub::Transfer>().iter().all(|it| it.value.is_zero()));
    assert!(done.all::<hub::Seize>().iter().all(|it| it.amount.is_zero()));
    assert_eq!(done.all::<hub::Reward>()[0].owner, verdict::money::KITTY);
}

#[test]
fn without_a_dataset_its_order_still_restricts_but_is_not_used_up() {
    type Change = fn(&mut Quartet);
    let changes: [(&str, Change); 4] = [
        ("16", |q| q.dataset.app_restrict = NOBODY),
        ("17", |q| q.dataset.workerpool_restrict = NOBODY),
        ("18", |q| q.dataset.requester_restrict = NOBODY),
        ("06", |q| q.dataset.tag = Tag::bit(200)),
    ];
    let (world, app, _, pool) = market();
    for (refused, change) in changes {
        let mut world = world.clone();
        let mut quartet = plain(&world, app, pool);
        change(&mut quartet);
        let signed = world.sign(quartet);
        assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match(refused));
    }
    // Neither its volume nor its signature is looked at, and nothing of it is consumed.
    let mut world = world;
    let mut quartet = plain(&world, app, pool);
    quartet.dataset.volume = U256::ZERO;
    quartet.dataset.sign = vec![1].into();
    let hash = quartet.dataset.hash(&world.domain()).0;
    let dealid = world.deal(quartet);
    assert_eq!(world.view(world.hub, &hub::viewConsumedCall { orderHash: hash }), U256::ZERO);
    let deal = world.view_deal(dealid);
    assert_eq!((deal.dataset.pointer, deal.dataset.owner), (Address::ZERO, Address::ZERO));
}

#[test]
fn the_hub_cannot_be_renounced_but_given_to_nobody() {
    let mut world = World::new();
    let owner = world.cast.owner.address();
    let renounce = hub::renounceOwnershipCall {};
    let disabled = text("fallback-disabled");
    for who in [owner, world.cast.developer.address()] {
        assert_eq!(world.try_tx(who, world.hub, &renounce).unwrap_err(), disabled);
    }
    assert_eq!(world.view(world.hub, &hub::ownerCall {}), owner);
    let nobody = hub::transferOwnershipCall { newOwner: Address::ZERO };
    let done = world.tx(owner, world.hub, &nobody);
    let told = &done.all::<hub::OwnershipTransferred>()[0];
    assert_eq!((told.previousOwner, told.newOwner), (owner, Address::ZERO));
    // Registries are the other way round.
    let nobody = app_registry::transferOwnershipCall { newOwner: Address::ZERO };
    let invalid = app_registry::OwnableInvalidOwner { owner: Address::ZERO };
    assert_eq!(
        world.try_tx(owner, world.apps, &nobody).unwrap_err(),
        Refused::Data(invalid.abi_encode().into())
    );
    world.tx(owner, world.apps, &app_registry::renounceOwnershipCall {});
    assert_eq!(world.view(world.apps, &app_registry::ownerCall {}), Address::ZERO);
}

#[test]
fn a_fork_keeps_the_domain_until_somebody_updates_it() {
    let (mut world, app, _, pool) = market();
    let old = world.domain();
    let new = Domain { chain_id: 7, hub: world.hub };
    world.chain_id = 7;
    let separator = |world: &World| world.view(world.hub, &hub::eip712domain_separatorCall {});
    let live = |world: &World| world.view(world.hub, &hub::domainCall {}).chainId;
    assert_eq!(live(&world), U256::from(7), "the description is live");
    assert_eq!(separator(&world), old.separator(), "what is hashed is not");
    let quartet = plain(&world, app, pool);
    let renewed = world.sign_for(&new, quartet.clone());
    assert_eq!(world.try_match(&renewed).unwrap_err(), code_of_match("21"));
    let signed = world.sign(quartet);
    let mut before = world.clone();
    before.try_match(&signed).unwrap();

    let anyone = world.cast.developer.address();
    for world in [&mut world, &mut before] {
        world.tx(anyone, world.hub, &hub::updateDomainSeparatorCall {});
        assert_eq!(separator(world), new.separator());
        assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match("21"));
        // Under its new hash an order was never used.
        let done = world.try_match(&renewed).unwrap();
        assert_eq!(done.output.as_ref(), renewed.deal_id(&new, U256::ZERO).0.as_slice());
        world.assert_conserved();
    }
    let old_deal = signed.deal_id(&old, U256::ZERO).0;
    assert_eq!(before.view_deal(old_deal).requester, before.cast.requester.address());
    world.chain_id = CHAIN_ID;
    world.tx(anyone, world.hub, &hub::updateDomainSeparatorCall {});
    assert_eq!(separator(&world), old.separator());
}

#[test]
fn a_domain_is_not_updated_before_there_is_one() {
    let mut world = World::new();
    let owner = world.cast.owner.address();
    let extension = world.deploy(hub::extension_creation_code());
    let implementation = world.deploy(hub::creation_code(extension));
    let fresh = world.deploy(hub::proxy_creation_code(implementation, owner));
    let update = hub::updateDomainSeparatorCall {};
    assert_eq!(world.try_tx(owner, fresh, &update).unwrap_err(), text("not-configured"));
    assert_eq!(world.view(fresh, &hub::eip712domain_separatorCall {}), B256::ZERO);
}

#[test]
fn a_short_answer_of_a_wallet_reverts_whatever_asked() {
    for (answer, plain_refusal) in
        [(code::SHORT, None), (code::NOTHING, None), (code::ZERO, Some("no"))]
    {
        let (mut world, app, dataset, pool) = market();
        let wallet = world.put_code("wallet", answer);
        // Empty when it answers nonsense; a plain no is refused in each place's own way.
        let refusal = |no: Refused| plain_refusal.map_or(Refused::Empty, |_| no);
        let verify =
            hub::verifySignatureCall { account: wallet, hash: digest(), signature: malformed() };
        let verified = world.try_view(world.hub, &verify);
        if plain_refusal.is_some() {
            assert_eq!(verified.unwrap().as_ref(), B256::ZERO.as_slice());
        } else {
            assert_eq!(verified.unwrap_err(), Refused::Empty);
        }
        let mut order = world.quartet(app, dataset, pool).request;
        order.requester = wallet;
        let requestorderoperation = hub::IexecLibOrders_v5::RequestOrderOperation {
            order: request_order(&order),
            operation: 1,
            sign: malformed(),
        };
        let manage = hub::manageRequestOrderCall { requestorderoperation };
        let anyone = world.cast.developer.address();
        assert_eq!(
            world.try_tx(anyone, world.hub, &manage).unwrap_err(),
            refusal(text("invalid-sender-or-signature")),
        );
        // As a broker it is asked for permissions.
        let owner = world.cast.owner.address();
        world.tx(owner, world.hub, &hub::setTeeBrokerCall { teebroker: wallet });
        let dealid = world.deal(plain(&world, app, pool));
        let taskid = world.initialize(dealid, 0);
        let enclave = Actor::new("enclave");
        let call = world.contribute_call(taskid, 0, digest(), Some(&enclave));
        let worker = world.cast.workers[0].address();
        assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
        // As an enclave, whose word must be its own.
        world.tx(owner, world.hub, &hub::setTeeBrokerCall { teebroker: Address::ZERO });
        let mut call = call;
        call.enclaveChallenge = wallet;
        let hash = verdict::authorization_hash(worker, TaskId(taskid), wallet);
        call.authorizationSign = world.cast.scheduler.sign_message(hash);
        assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    }
}

#[test]
fn a_key_whose_account_delegates_signs_no_more() {
    let (mut world, app, _, pool) = market();
    let signed = world.sign(plain(&world, app, pool));
    let requester = world.cast.requester.address();
    let delegate = |world: &mut World, to: Address| {
        world.replace_code(requester, [&[0xef, 0x01, 0x00], to.as_slice()].concat());
    };
    let (refuses, accepts) =
        (world.put_code("no", code::REVERT), world.put_code("yes", code::MAGIC));
    let call = match_call(&signed);
    let anyone = world.cast.developer.address();
    delegate(&mut world, refuses);
    let refused = world.try_tx(anyone, world.hub, &call).unwrap_err();
    assert_eq!(refused, code_of_match("50"), "the key's signature is not looked at");
    delegate(&mut world, accepts);
    let mut unsigned = signed;
    unsigned.request.sign = Bytes::new();
    world.tx(anyone, world.hub, &match_call(&unsigned));
    world.assert_conserved();
}

#[test]
fn nobodys_malformed_word_counts() {
    let (mut world, app, _, pool) = market();
    let (account, hash) = (Address::ZERO, digest());
    let either = hub::verifyPresignatureOrSignatureCall { account, hash, signature: malformed() };
    assert!(world.view(world.hub, &either));
    // But nobody has announced anything.
    assert!(!world.view(world.hub, &hub::verifyPresignatureCall { account, hash }));
    let short =
        hub::verifyPresignatureOrSignatureCall { account, hash, signature: vec![0; 20].into() };
    assert_eq!(world.try_view(world.hub, &short).unwrap_err(), text("invalid-signature-format"));
    // A signature that is one is somebody's.
    let signature = world.cast.developer.sign(hash);
    let good = hub::verifySignatureCall { account, hash, signature };
    assert!(!world.view(world.hub, &good));
    // So whoever likes may close nobody's orders.
    let mut order = plain(&world, app, pool).request;
    order.requester = Address::ZERO;
    let requestorderoperation = hub::IexecLibOrders_v5::RequestOrderOperation {
        order: request_order(&order),
        operation: 1,
        sign: malformed(),
    };
    let anyone = world.cast.developer.address();
    let done = world.tx(anyone, world.hub, &hub::manageRequestOrderCall { requestorderoperation });
    let closed = order.hash(&world.domain()).0;
    assert_eq!(done.all::<hub::ClosedRequestOrder>()[0].requestHash, closed);
}

#[test]
fn an_entry_takes_its_orders_along_when_it_is_sold() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.volume = U256::from(2);
    let open = world.deal(quartet.clone());
    let (old, heir) = (world.cast.developer.clone(), Actor::new("heir"));
    // One order of the old owner's is signed, one announced.
    let mut announced = quartet.clone();
    announced.app.salt = B256::repeat_byte(0x51);
    announced.request.salt = B256::repeat_byte(0x52);
    let apporderoperation = hub::IexecLibOrders_v5::AppOrderOperation {
        order: app_order(&announced.app),
        operation: 0,
        sign: Bytes::new(),
    };
    world.tx(old.address(), world.hub, &hub::manageAppOrderCall { apporderoperation });
    let token = U256::from_be_slice(app.as_slice());
    let sell =
        app_registry::transferFromCall { from: old.address(), to: heir.address(), tokenId: token };
    world.tx(old.address(), world.apps, &sell);
    quartet.request.salt = B256::repeat_byte(0x53);
    let signed = world.sign(quartet);
    assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match("21"));
    let mut announced = world.sign(announced);
    announced.app.sign = malformed();
    let refused = world.try_match(&announced).unwrap_err();
    assert_eq!(refused, code_of_match("21"), "the announcement was another's");
    // What was agreed before pays who owned it then.
    let taskid = world.initialize(open, 0);
    world.try_alone(taskid, 0, digest(), b"").unwrap();
    assert_eq!(world.account(old.address()).0, U256::from(1_000));
    assert_eq!(world.account(heir.address()).0, U256::ZERO);
}

#[test]
fn a_rejected_worker_gets_the_stake_back_when_the_task_fails() {
    let (mut world, app, _, pool) = market();
    let dealid = world.deal(plain(&world, app, pool));
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, digest());
    world.now += 2 * 300;
    let scheduler = world.cast.scheduler.address();
    world.tx(scheduler, world.hub, &hub::reopenCall { taskid });
    let worker = world.cast.workers[0].address();
    assert_eq!(world.account(worker).1, U256::from(RLC * 30 / 100), "still locked");
    let alone = world.try_alone(taskid, 1, digest(), b"").unwrap_err();
    assert_eq!(alone, Refused::Empty, "it was contributed to");
    world.now += 8 * 300;
    world.tx(worker, world.hub, &hub::claimCall { taskid });
    assert_eq!(world.account(worker), (U256::from(1_000 * RLC), U256::ZERO));
    assert_eq!(world.view_contribution(taskid, 0).status, 3);
    assert_eq!(world.score(worker), U256::ZERO);
    world.assert_conserved();
}

#[test]
fn a_winner_who_does_not_reveal_is_at_fault() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.trust = U256::from(4);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, digest());
    world.contribute(taskid, 1, digest());
    world.reveal(taskid, 1, digest());
    assert_eq!(world.try_finalize(taskid, b"").unwrap_err(), Refused::Empty, "one may still");
    world.now += 2 * 300;
    let scheduler = world.cast.scheduler.address();
    let reopen = hub::reopenCall { taskid };
    assert_eq!(world.try_tx(scheduler, world.hub, &reopen).unwrap_err(), Refused::Empty);
    let done = world.try_finalize(taskid, b"").unwrap();
    let silent = world.cast.workers[0].address();
    assert_eq!(done.all::<hub::FaultyContribution>()[0].worker, silent);
    let stake = U256::from(RLC * 30 / 100);
    assert_eq!(world.account(silent), (U256::from(1_000 * RLC) - stake, U256::ZERO));
    assert_eq!(world.view_contribution(taskid, 0).status, 1, "neither proved nor rejected");
    let earned = world.account(world.cast.workers[1].address()).0 - U256::from(1_000 * RLC);
    assert_eq!(earned, (U256::from(RLC) + stake) * U256::from(99) / U256::from(100));
    world.assert_conserved();
}

#[test]
fn a_worker_without_company_earns_no_score() {
    let (mut world, app, _, pool) = market();
    let dealid = world.deal(plain(&world, app, pool));
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, digest());
    world.reveal(taskid, 0, digest());
    let done = world.try_finalize(taskid, b"").unwrap();
    assert!(done.all::<hub::AccurateContribution>().is_empty());
    assert_eq!(world.score(world.cast.workers[0].address()), U256::ZERO);
}

#[test]
fn a_task_is_claimed_only_once_it_is_there() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.volume = U256::from(3);
    let dealid = world.deal(quartet);
    let task = |index: u64| orders::task_id(primitives::DealId(dealid), U256::from(index)).0;
    world.initialize(dealid, 0);
    world.now += 10 * 300;
    let anyone = world.cast.developer.address();
    let claim = hub::claimArrayCall { taskids: vec![task(0), task(1)] };
    assert_eq!(world.try_tx(anyone, world.hub, &claim).unwrap_err(), Refused::Empty, "all or none");
    assert_eq!(world.view_task(task(0)).status, 1);
    let idxs = vec![U256::ONE, U256::from(2)];
    let both = hub::initializeAndClaimArrayCall { dealids: vec![dealid; 2], idxs };
    let done = world.tx(anyone, world.hub, &both);
    assert_eq!(done.all::<hub::TaskClaimed>().len(), 2);
    let twice = hub::claimArrayCall { taskids: vec![task(0), task(0)] };
    assert_eq!(world.try_tx(anyone, world.hub, &twice).unwrap_err(), Refused::Empty);
    world.tx(anyone, world.hub, &hub::claimArrayCall { taskids: vec![task(0)] });
    let requester = world.cast.requester.address();
    assert_eq!(world.account(requester), (U256::from(1_000 * RLC), U256::ZERO));
    world.assert_conserved();
}

#[test]
fn a_token_that_says_no_is_believed_only_when_it_takes() {
    let mut world = World::new();
    let (requester, amount) = (world.cast.requester.address(), U256::from(RLC));
    let deposit = hub::depositCall { amount };
    let withdraw = hub::withdrawCall { amount };
    world.replace_code(world.rlc, code::ZERO);
    let refused = world.try_tx(requester, world.hub, &deposit).unwrap_err();
    assert_eq!(refused, text("failed-transferFrom"));
    world.tx(requester, world.hub, &withdraw);
    assert_eq!(world.account(requester).0, U256::from(999 * RLC));
    let nowhere = hub::depositForCall { amount, target: Address::ZERO };
    world.replace_code(world.rlc, code::ONE);
    let refused = world.try_tx(requester, world.hub, &nowhere).unwrap_err();
    assert_eq!(refused, text("ERC20: mint to the zero address"));
    world.replace_code(world.rlc, code::NOTHING);
    assert_eq!(world.try_tx(requester, world.hub, &deposit).unwrap_err(), Refused::Empty);
    assert_eq!(world.try_tx(requester, world.hub, &withdraw).unwrap_err(), Refused::Empty);
}

#[test]
fn an_approval_must_be_received() {
    let mut world = World::new();
    let requester = world.cast.requester.address();
    for (answer, refused) in [
        (code::ONE, None),
        (code::ZERO, Some(text("approval-refused"))),
        (code::NOTHING, Some(Refused::Empty)),
        (code::REVERT, Some(Refused::Empty)),
    ] {
        let spender = world.put_code("spender", answer);
        let value = U256::from(5);
        let call = hub::approveAndCallCall { spender, value, extraData: Bytes::new() };
        assert_eq!(world.clone().try_tx(requester, world.hub, &call).err(), refused);
    }
}

#[test]
fn what_is_sent_to_the_hub_itself_stays_apart_from_what_is_locked() {
    let (mut world, app, _, pool) = market();
    let (requester, hub) = (world.cast.requester.address(), world.hub);
    let amount = U256::from(RLC);
    world.tx(requester, hub, &hub::transferCall { recipient: hub, amount });
    let owner = world.cast.owner.address();
    world.tx(owner, world.rlc, &rlc::approveCall { spender: hub, amount });
    world.tx(owner, hub, &hub::depositForCall { amount, target: hub });
    let gift = amount + amount;
    assert_eq!(world.account(hub), (gift, U256::ZERO));
    let dealid = world.deal(plain(&world, app, pool));
    let locked = U256::from(RLC + 1_000 + RLC * 30 / 100);
    assert_eq!(world.account(hub).0, gift + locked);
    let taskid = world.initialize(dealid, 0);
    world.try_alone(taskid, 0, digest(), b"").unwrap();
    assert_eq!(world.account(hub).0, gift);
    world.tx(owner, hub, &hub::recoverCall {});
    assert_eq!(world.account(owner).0, U256::ZERO, "it is no excess");
    let supply = world.view(hub, &hub::totalSupplyCall {});
    assert_eq!(supply, world.view(world.rlc, &rlc::balanceOfCall { account: hub }));
}

#[test]
fn names_are_refused_everywhere() {
    let (mut world, app, dataset, pool) = market();
    let [owner, developer, data_owner, scheduler] =
        [&world.cast.owner, &world.cast.developer, &world.cast.data_owner, &world.cast.scheduler]
            .map(Actor::address);
    let name = app::setNameCall { ens: Address::ZERO, name: "x".into() };
    for (place, theirs, refused) in [
        (world.apps, owner, "Ownable: caller is not the owner"),
        (world.datasets, owner, "Ownable: caller is not the owner"),
        (world.pools, owner, "Ownable: caller is not the owner"),
        (app, developer, "caller is not the owner"),
        (dataset, data_owner, "caller is not the owner"),
        (pool, scheduler, "caller is not the owner"),
    ] {
        let unsupported = text("Operation not supported on this chain");
        assert_eq!(world.try_tx(theirs, place, &name).unwrap_err(), unsupported);
        assert_eq!(world.try_tx(NOBODY, place, &name).unwrap_err(), text(refused));
    }
}
