//! Boost: the same money in fewer steps, and none of the original's ways to lose it.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use bindings::{boost, hub};
use expect_test::expect;
use orders::Quartet;
use primitives::Tag;

use crate::world::{Actor, Done, PARAMS, RESULTS, RLC, Refused, World, match_call, text};

pub(crate) fn boost_call(quartet: &Quartet) -> boost::matchOrdersBoostCall {
    // The types of the two bindings are the same but for their names.
    let mut data = match_call(quartet).abi_encode();
    data[..4].copy_from_slice(&boost::matchOrdersBoostCall::SELECTOR);
    boost::matchOrdersBoostCall::abi_decode(&data).unwrap()
}

pub(crate) fn sponsor_call(quartet: &Quartet) -> boost::sponsorMatchOrdersBoostCall {
    let mut data = match_call(quartet).abi_encode();
    data[..4].copy_from_slice(&boost::sponsorMatchOrdersBoostCall::SELECTOR);
    boost::sponsorMatchOrdersBoostCall::abi_decode(&data).unwrap()
}

pub(crate) fn try_match(world: &mut World, quartet: &Quartet) -> Result<Done, Refused> {
    let from = world.cast.requester.address();
    world.try_tx(from, world.hub, &boost_call(quartet))
}

fn task(dealid: B256, index: u64) -> B256 {
    orders::task_id(primitives::DealId(dealid), U256::from(index)).0
}

/// A push as the worker sends it, of an enclave if there is one.
pub(crate) fn push_call(
    world: &World,
    dealid: B256,
    index: u64,
    worker: usize,
    callback: &[u8],
    enclave: Option<&Actor>,
) -> boost::pushResultBoostCall {
    let worker = world.cast.workers[worker].address();
    let taskid = task(dealid, index);
    let challenge = enclave.map(Actor::address).unwrap_or_default();
    let digest = keccak256(if callback.is_empty() { RESULTS.as_bytes() } else { callback });
    let seal = keccak256([worker.as_slice(), taskid.as_slice(), digest.as_slice()].concat());
    boost::pushResultBoostCall {
        dealId: dealid,
        index: U256::from(index),
        results: RESULTS.as_bytes().into(),
        resultsCallback: callback.to_vec().into(),
        authorizationSign: world.authorization(worker, taskid, challenge),
        enclaveChallenge: challenge,
        enclaveSign: enclave.map(|it| it.sign_message(seal)).unwrap_or_default(),
    }
}

pub(crate) fn try_push(
    world: &mut World,
    dealid: B256,
    index: u64,
    worker: usize,
) -> Result<Done, Refused> {
    let call = push_call(world, dealid, index, worker, b"", None);
    let from = world.cast.workers[worker].address();
    world.try_tx(from, world.hub, &call)
}

struct Market {
    world: World,
    app: Address,
    dataset: Address,
    pool: Address,
}

fn market() -> Market {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    Market { world, app, dataset, pool }
}

impl Market {
    fn quartet(&self, with_dataset: bool) -> Quartet {
        let dataset = if with_dataset { self.dataset } else { Address::ZERO };
        self.world.quartet(self.app, dataset, self.pool)
    }

    fn deal(&mut self, quartet: Quartet) -> B256 {
        let signed = self.world.sign(quartet);
        B256::from_slice(&try_match(&mut self.world, &signed).unwrap().output)
    }

    fn locked(&self, who: &Actor) -> U256 {
        self.world.account(who.address()).1
    }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut World, &mut Quartet), refusal: &str) {
    let mut market = market();
    let mut quartet = market.quartet(true);
    change(&mut market.world, &mut quartet);
    let signed = market.world.sign(quartet);
    assert_eq!(try_match(&mut market.world, &signed).unwrap_err(), text(refusal));
}

#[test]
fn a_boost_deal_is_matched_pushed_and_paid() {
    let mut market = market();
    let mut quartet = market.quartet(true);
    quartet.request.volume = U256::from(2);
    let signed = market.world.sign(quartet);
    let matched = try_match(&mut market.world, &signed).unwrap();
    let dealid = B256::from_slice(&matched.output);
    assert_eq!(dealid, signed.deal_id(&market.world.domain(), U256::ZERO).0);
    expect![[r#"
        [
            "Transfer",
            "Lock",
            "Transfer",
            "Lock",
            "SchedulerNoticeBoost",
            "OrdersMatched",
        ]
    "#]]
    .assert_debug_eq(&matched.events());
    let notice = &matched.all::<boost::SchedulerNoticeBoost>()[0];
    assert_eq!((notice.dealId, notice.params.as_str()), (dealid, PARAMS));
    market.world.assert_conserved();

    let world = &mut market.world;
    let deal = world.view(world.hub, &boost::viewDealBoostCall { dealId: dealid });
    assert_eq!(deal.appOwner, world.cast.developer.address());
    assert_eq!(deal.datasetOwner, world.cast.data_owner.address());
    assert_eq!(deal.workerpoolOwner, world.cast.scheduler.address());
    assert_eq!(deal.sponsor, world.cast.requester.address());
    assert_eq!((deal.botFirst, deal.botSize), (0, 2));
    assert_eq!(deal.deadline.to::<u64>(), world.now + 7 * 300);
    assert_eq!(deal.workerReward.to::<u64>(), RLC * 99 / 100);

    let done = try_push(world, dealid, 0, 0).unwrap();
    expect![[r#"
        [
            "Seize",
            "Transfer",
            "Reward",
            "Transfer",
            "Reward",
            "Transfer",
            "Reward",
            "Transfer",
            "Unlock",
            "Transfer",
            "Reward",
            "ResultPushedBoost",
        ]
    "#]]
    .assert_debug_eq(&done.events());
    world.assert_conserved();
    let worker = world.cast.workers[0].address();
    assert_eq!(world.account(worker), (U256::from(1_000 * RLC + RLC * 99 / 100), U256::ZERO));
    assert_eq!(world.account(world.cast.developer.address()).0, U256::from(1_000));
    assert_eq!(world.account(world.cast.data_owner.address()).0, U256::from(1_000_000));
    let kept = world.view_task(task(dealid, 0));
    assert_eq!((kept.status, kept.dealid), (3, B256::ZERO), "a status is all there is");
    assert_eq!(
        try_push(world, dealid, 0, 1).unwrap_err(),
        text("PocoBoost: Task status not unset")
    );
    assert_eq!(try_push(world, dealid, 2, 1).unwrap_err(), text("PocoBoost: Unknown task"));
}

#[test]
fn every_refusal_of_a_boost_match_has_its_text() {
    type Change = fn(&mut World, &mut Quartet);
    let one = |byte| Tag(B256::with_last_byte(byte));
    check_refused(|_, it| it.request.trust = U256::from(2), "PocoBoost: Bad trust level");
    check_refused(|_, it| it.request.category = U256::ONE, "PocoBoost: Category mismatch");
    check_refused(
        |_, it| {
            it.request.category = U256::from(5);
            it.workerpool.category = U256::from(5);
        },
        "PocoBoost: Unknown category",
    );
    check_refused(|_, it| it.request.app_max_price = U256::ZERO, "PocoBoost: Overpriced app");
    check_refused(
        |_, it| it.request.dataset_max_price = U256::ZERO,
        "PocoBoost: Overpriced dataset",
    );
    check_refused(
        |_, it| it.request.workerpool_max_price = U256::ZERO,
        "PocoBoost: Overpriced workerpool",
    );
    check_refused(
        move |_, it| it.request.tag = one(0x80),
        "PocoBoost: Workerpool tag does not match demand",
    );
    check_refused(
        move |_, it| it.request.tag = one(0x01),
        "PocoBoost: App tag does not match demand",
    );
    check_refused(|world, it| it.request.app = world.hub, "PocoBoost: App mismatch");
    check_refused(|world, it| it.request.dataset = world.hub, "PocoBoost: Dataset mismatch");
    let restrictions: [(Change, &str); 10] = [
        (|world, it| it.request.workerpool = world.rlc, "Workerpool restricted by request order"),
        (|world, it| it.app.dataset_restrict = world.rlc, "Dataset restricted by app order"),
        (|world, it| it.app.workerpool_restrict = world.rlc, "Workerpool restricted by app order"),
        (|world, it| it.app.requester_restrict = world.rlc, "Requester restricted by app order"),
        (|world, it| it.dataset.app_restrict = world.rlc, "App restricted by dataset order"),
        (
            |world, it| it.dataset.workerpool_restrict = world.rlc,
            "Workerpool restricted by dataset order",
        ),
        (
            |world, it| it.dataset.requester_restrict = world.rlc,
            "Requester restricted by dataset order",
        ),
        (|world, it| it.workerpool.app_restrict = world.rlc, "App restricted by workerpool order"),
        (
            |world, it| it.workerpool.dataset_restrict = world.rlc,
            "Dataset restricted by workerpool order",
        ),
        (
            |world, it| it.workerpool.requester_restrict = world.rlc,
            "Requester restricted by workerpool order",
        ),
    ];
    for (change, refusal) in restrictions {
        check_refused(change, &format!("PocoBoost: {refusal}"));
    }
    check_refused(
        |world, it| (it.app.app, it.request.app) = (world.rlc, world.rlc),
        "PocoBoost: App not registered",
    );
    check_refused(
        |world, it| (it.dataset.dataset, it.request.dataset) = (world.rlc, world.rlc),
        "PocoBoost: Dataset not registered",
    );
    check_refused(
        |world, it| it.workerpool.workerpool = world.rlc,
        "PocoBoost: Workerpool not registered",
    );
    check_refused(|_, it| it.app.volume = U256::ZERO, "PocoBoost: One or more orders consumed");
}

#[test]
fn every_order_of_a_boost_match_is_signed() {
    type Change = fn(&mut Quartet);
    let spoil: [(Change, &str); 4] = [
        (|it| it.app.sign = Bytes::from(vec![1; 65]), "Invalid app order signature"),
        (|it| it.dataset.sign = Bytes::from(vec![1; 65]), "Invalid dataset order signature"),
        (|it| it.workerpool.sign = Bytes::from(vec![1; 65]), "Invalid workerpool order signature"),
        (|it| it.request.sign = Bytes::from(vec![1; 65]), "Invalid request order signature"),
    ];
    for (change, refusal) in spoil {
        let mut market = market();
        let mut signed = market.world.sign(market.quartet(true));
        change(&mut signed);
        assert_eq!(
            try_match(&mut market.world, &signed).unwrap_err(),
            text(&format!("PocoBoost: {refusal}"))
        );
    }
}

#[test]
fn what_does_not_fit_a_boost_deal_is_refused() {
    let too_wide = |bits: u8, value: U256| {
        Refused::Data(
            alloy_sol_types::SolError::abi_encode(&boost::SafeCastOverflowedUintDowncast {
                bits,
                value,
            })
            .into(),
        )
    };
    let mut market = market();
    let mut quartet = market.quartet(false);
    quartet.request.volume = U256::from(1 << 16);
    let signed = market.world.sign(quartet.clone());
    let refused = try_match(&mut market.world, &signed).unwrap_err();
    assert_eq!(refused, too_wide(16, U256::from(1 << 16)));
    let wide = U256::ONE << 96;
    quartet.app.price = wide;
    quartet.request.app_max_price = wide;
    let signed = market.world.sign(quartet);
    assert_eq!(try_match(&mut market.world, &signed).unwrap_err(), too_wide(96, wide));
}

#[test]
fn success_takes_the_price_from_the_sponsor_not_from_the_requester() {
    let mut market = market();
    let signed = market.world.sign(market.quartet(true));
    let sponsor = market.world.cast.sponsor.clone();
    let requester = market.world.cast.requester.clone();
    let matched = market.world.tx(sponsor.address(), market.world.hub, &sponsor_call(&signed));
    assert_eq!(matched.events().last().unwrap(), "DealSponsoredBoost");
    let dealid = B256::from_slice(&matched.output);
    let price = U256::from(1_000 + 1_000_000 + RLC);
    assert_eq!(market.locked(&sponsor), price);
    // Something else of the requester's is locked, and must stay so.
    let mut other = market.quartet(true);
    other.request.salt = B256::repeat_byte(0x77);
    market.world.deal(other);
    assert_eq!(market.locked(&requester), price);

    try_push(&mut market.world, dealid, 0, 0).unwrap();

    assert_eq!(market.locked(&sponsor), U256::ZERO);
    assert_eq!(market.locked(&requester), price);
    market.world.assert_conserved();
}

#[test]
fn without_a_dataset_nothing_is_locked_for_one() {
    let mut market = market();
    let mut quartet = market.quartet(false);
    quartet.dataset.price = U256::from(12_345);
    quartet.request.dataset_max_price = U256::from(12_345);
    let dealid = market.deal(quartet);
    let requester = market.world.cast.requester.clone();
    assert_eq!(market.locked(&requester), U256::from(1_000 + RLC));
    try_push(&mut market.world, dealid, 0, 0).unwrap();
    assert_eq!(market.locked(&requester), U256::ZERO);
    market.world.assert_conserved();
}

#[test]
fn a_boost_task_nobody_did_is_claimed_once() {
    let mut market = market();
    let signed = market.world.sign(market.quartet(true));
    let sponsor = market.world.cast.sponsor.address();
    let matched = market.world.tx(sponsor, market.world.hub, &sponsor_call(&signed));
    let dealid = B256::from_slice(&matched.output);
    let world = &mut market.world;
    let claim = boost::claimBoostCall { dealId: dealid, index: U256::ZERO };
    let early = world.try_tx(Address::ZERO, world.hub, &claim).unwrap_err();
    assert_eq!(early, text("PocoBoost: Deadline not reached"));
    world.now += 7 * 300;
    assert_eq!(try_push(world, dealid, 0, 0).unwrap_err(), text("PocoBoost: Deadline reached"));
    let done = world.tx(Address::ZERO, world.hub, &claim);
    expect![[r#"
        [
            "Transfer",
            "Unlock",
            "Seize",
            "Reward",
            "Lock",
            "TaskClaimed",
        ]
    "#]]
    .assert_debug_eq(&done.events());
    assert_eq!(world.account(sponsor), (U256::from(1_000 * RLC), U256::ZERO));
    assert_eq!(world.account(verdict::money::KITTY).1, U256::from(RLC * 30 / 100));
    assert_eq!(world.view_task(task(dealid, 0)).status, 4);
    let again = world.try_tx(Address::ZERO, world.hub, &claim).unwrap_err();
    assert_eq!(again, text("PocoBoost: Task status not unset"));
    let none = boost::claimBoostCall { dealId: B256::ZERO, index: U256::ZERO };
    assert_eq!(
        world.try_tx(Address::ZERO, world.hub, &none).unwrap_err(),
        text("PocoBoost: Unknown task")
    );
    world.assert_conserved();
}

#[test]
fn boost_and_classic_deals_share_what_is_left_of_a_request() {
    let mut market = market();
    let mut quartet = market.quartet(false);
    quartet.request.volume = U256::from(9);
    quartet.workerpool.volume = U256::from(2);
    let pools = |quartet: &mut Quartet, salt| quartet.workerpool.salt = B256::repeat_byte(salt);
    pools(&mut quartet, 21);
    let first = market.world.deal(quartet.clone());
    pools(&mut quartet, 22);
    let second = market.deal(quartet.clone());
    pools(&mut quartet, 23);
    let third = market.world.deal(quartet.clone());
    pools(&mut quartet, 24);
    let fourth = market.deal(quartet.clone());
    let world = &market.world;
    let boosted = |dealid| world.view(world.hub, &boost::viewDealBoostCall { dealId: dealid });
    assert_eq!(world.view_deal(first).botFirst, U256::ZERO);
    assert_eq!(boosted(second).botFirst, 2);
    assert_eq!(world.view_deal(third).botFirst, U256::from(4));
    assert_eq!(boosted(fourth).botFirst, 6);
    assert_eq!(boosted(first).botSize, 0, "a classic deal is none of Boost's");
    assert_eq!(world.view_deal(second).botSize, U256::ZERO, "nor the other way round");
    let order = quartet.request.hash(&world.domain()).0;
    let consumed = world.view(world.hub, &hub::viewConsumedCall { orderHash: order });
    assert_eq!(consumed, U256::from(8));
}

#[test]
fn the_first_boost_deal_of_a_request_consumes_it() {
    let mut market = market();
    let quartet = market.quartet(false);
    market.deal(quartet.clone());
    let signed = market.world.sign(quartet);
    let refused = text("PocoBoost: One or more orders consumed");
    assert_eq!(try_match(&mut market.world, &signed).unwrap_err(), refused);
    assert_eq!(market.world.try_match(&signed).unwrap_err(), text("iExecV5-matchOrders-0x60"));
}

#[test]
fn an_enclave_signs_what_it_pushes() {
    let mut market = market();
    let mut quartet = market.quartet(false);
    quartet.app.tag = Tag(B256::with_last_byte(9));
    quartet.request.tag = quartet.app.tag;
    let dealid = market.deal(quartet);
    let world = &mut market.world;
    let worker = world.cast.workers[0].address();
    assert_eq!(
        try_push(world, dealid, 0, 0).unwrap_err(),
        text("PocoBoost: Tag requires enclave challenge")
    );
    let enclave = Actor::new("enclave");
    let good = push_call(world, dealid, 0, 0, b"", Some(&enclave));
    let mut bad = good.clone();
    bad.enclaveSign = world.cast.requester.sign_message(B256::ZERO);
    assert_eq!(
        world.try_tx(worker, world.hub, &bad).unwrap_err(),
        text("PocoBoost: Invalid enclave signature")
    );
    let other = world.cast.workers[1].address();
    assert_eq!(
        world.try_tx(other, world.hub, &good).unwrap_err(),
        text("PocoBoost: Invalid contribution authorization signature")
    );
    world.tx(worker, world.hub, &good);
    world.assert_conserved();
}

#[test]
fn a_boost_callback_needs_data_and_gets_it_last() {
    let mut market = market();
    let consumer = market.world.put_code("consumer", Bytes::from_static(&[0x00]));
    let mut quartet = market.quartet(false);
    quartet.request.callback = consumer;
    let dealid = market.deal(quartet);
    let world = &mut market.world;
    assert_eq!(
        try_push(world, dealid, 0, 0).unwrap_err(),
        text("PocoBoost: Callback requires data")
    );
    let call = push_call(world, dealid, 0, 0, b"answer", None);
    let worker = world.cast.workers[0].address();
    world.tx(worker, world.hub, &call);
    assert_eq!(world.view_task(task(dealid, 0)).status, 3);
}

#[test]
fn classic_calls_do_not_touch_boost_tasks() {
    let mut market = market();
    let dealid = market.deal(market.quartet(false));
    let world = &mut market.world;
    let idx = U256::ZERO;
    let initialize = hub::initializeCall { dealid, idx };
    assert_eq!(world.try_tx(Address::ZERO, world.hub, &initialize).unwrap_err(), Refused::Empty);
    let taskid = task(dealid, 0);
    assert_eq!(world.try_alone(taskid, 0, B256::ZERO, b"").unwrap_err(), Refused::Empty);
    try_push(world, dealid, 0, 0).unwrap();
    world.now += 10 * 300;
    let claim = hub::claimCall { taskid };
    assert_eq!(world.try_tx(Address::ZERO, world.hub, &claim).unwrap_err(), Refused::Empty);
    let answer = world.view(world.hub, &hub::resultForCall { taskid });
    assert!(answer.is_empty());
}
