//! What surprises in the official rules, one test each: shapes of reverts, order of checks, extreme values.

use alloy_primitives::{Address, B256, Bytes, U256, b256, keccak256};
use alloy_sol_types::{SolCall as _, SolError as _};
use bindings::{app, app_registry, dataset, hub, rlc, workerpool};
use orders::{Operation, Quartet};
use primitives::Tag;

use crate::world::{
    Actor, RESULTS, RLC, Refused, World, app_call, app_order, dataset_order, match_call,
    pool_order, request_order, text,
};

/// Small contracts, as code: what they answer to anything.
pub(crate) mod code {
    /// Four bytes, where a word is expected.
    pub(crate) const SHORT: &[u8] = &[0x60, 4, 0x5f, 0xf3];
    /// Nothing.
    pub(crate) const NOTHING: &[u8] = &[0];
    /// A revert.
    pub(crate) const REVERT: &[u8] = &[0x5f, 0x5f, 0xfd];
    /// The word 1: true, or a place in memory, or an owner.
    pub(crate) const ONE: &[u8] = &[0x60, 1, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    /// The word 0.
    pub(crate) const ZERO: &[u8] = &[0x5f, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    /// What ERC-1271 asks for.
    pub(crate) const MAGIC: &[u8] =
        &[0x63, 0x16, 0x26, 0xba, 0x7e, 0x60, 0xe0, 0x1b, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    /// Never ends.
    pub(crate) const BURN: &[u8] = &[0x5b, 0x5f, 0x56];
}

pub(crate) fn market() -> (World, Address, Address, Address) {
    let mut world = World::new();
    let (app, dataset, pool) = (world.create_app(), world.create_dataset(), world.create_pool());
    (world, app, dataset, pool)
}

pub(crate) fn plain(world: &World, app: Address, pool: Address) -> Quartet {
    world.quartet(app, Address::ZERO, pool)
}

/// A change to four orders that match, and how the match is refused then.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the expectation is written where it is passed")]
fn check_refused(change: impl FnOnce(&mut World, &mut Quartet), refused: Refused) {
    let (mut world, app, dataset, pool) = market();
    let mut quartet = world.quartet(app, dataset, pool);
    change(&mut world, &mut quartet);
    let signed = world.sign(quartet);
    assert_eq!(world.try_match(&signed).unwrap_err(), refused);
}

pub(crate) fn code_of_match(code: &str) -> Refused {
    text(&format!("iExecV5-matchOrders-0x{code}"))
}

#[test]
fn type_hashes_are_the_published_ones() {
    let order = "(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)";
    let hash = keccak256(format!("AppOrder{order}")).to_string();
    assert!(hash.starts_with("0x60815a0e") && hash.ends_with("d008"));
    let (world, app, dataset, pool) = market();
    let domain = world.domain();
    assert_eq!(world.view(world.hub, &hub::eip712domain_separatorCall {}), domain.separator());
    // That the hub hashes each order as `orders` does shows in that it accepts what is signed over that hash.
    let quartet = world.sign(world.quartet(app, dataset, pool));
    for (who, hash, sign) in [
        (&world.cast.developer, quartet.app.hash(&domain), &quartet.app.sign),
        (&world.cast.scheduler, quartet.workerpool.hash(&domain), &quartet.workerpool.sign),
    ] {
        let call = hub::verifySignatureCall {
            account: who.address(),
            hash: hash.0,
            signature: sign.clone(),
        };
        assert!(world.view(world.hub, &call));
    }
}

#[test]
fn every_refusal_of_a_match_has_its_number() {
    let big = U256::from(1_000);
    check_refused(|_, q| q.request.category = U256::ONE, code_of_match("00"));
    check_refused(
        |_, q| (q.request.category, q.workerpool.category) = (U256::from(5), U256::from(5)),
        code_of_match("01"),
    );
    check_refused(|_, q| q.request.trust = U256::from(1_001), code_of_match("02"));
    check_refused(|_, q| q.request.app_max_price -= U256::ONE, code_of_match("03"));
    check_refused(|_, q| q.request.dataset_max_price -= U256::ONE, code_of_match("04"));
    check_refused(|_, q| q.request.workerpool_max_price -= U256::ONE, code_of_match("05"));
    check_refused(|_, q| q.request.tag = Tag::bit(9), code_of_match("06"));
    check_refused(|_, q| q.request.tag = Tag::TEE, code_of_match("07"));
    check_refused(|_, q| q.request.app = Address::repeat_byte(9), code_of_match("10"));
    check_refused(|_, q| q.request.dataset = Address::repeat_byte(9), code_of_match("11"));
    let other = Address::repeat_byte(9);
    check_refused(|_, q| q.request.workerpool = other, code_of_match("12"));
    check_refused(|_, q| q.app.dataset_restrict = other, code_of_match("13"));
    check_refused(|_, q| q.app.workerpool_restrict = other, code_of_match("14"));
    check_refused(|_, q| q.app.requester_restrict = other, code_of_match("15"));
    check_refused(|_, q| q.dataset.app_restrict = other, code_of_match("16"));
    check_refused(|_, q| q.dataset.workerpool_restrict = other, code_of_match("17"));
    check_refused(|_, q| q.dataset.requester_restrict = other, code_of_match("18"));
    check_refused(|_, q| q.workerpool.app_restrict = other, code_of_match("19"));
    check_refused(|_, q| q.workerpool.dataset_restrict = other, code_of_match("1a"));
    check_refused(|_, q| q.workerpool.requester_restrict = other, code_of_match("1b"));
    check_refused(|_, q| q.request.volume = U256::ZERO, code_of_match("60"));
    check_refused(|w, _| w.cast.developer = Actor::new("thief"), code_of_match("21"));
    check_refused(|w, _| w.cast.data_owner = Actor::new("thief"), code_of_match("31"));
    check_refused(|w, _| w.cast.scheduler = Actor::new("thief"), code_of_match("41"));
    check_refused(|_, q| q.request.requester = other, code_of_match("50"));
    check_refused(
        |_, q| (q.app.price, q.request.app_max_price) = (U256::MAX, U256::MAX),
        Refused::Panic(0x11),
    );
    check_refused(
        |_, q| q.request.volume = big,
        text("IexecEscrow: Transfer amount exceeds balance"),
    );
}

#[test]
fn an_entry_is_asked_for_its_owner_before_its_registry() {
    // Nobody is there: no data.
    let nobody = Address::repeat_byte(7);
    check_refused(|_, q| (q.app.app, q.request.app) = (nobody, nobody), Refused::Empty);
    // A contract that has an owner, but is not registered.
    for (number, place) in [("20", 0), ("30", 1), ("40", 2)] {
        check_refused(
            |world, q| {
                let stranger = world.put_code("stranger", code::ONE);
                match place {
                    0 => (q.app.app, q.request.app) = (stranger, stranger),
                    1 => (q.dataset.dataset, q.request.dataset) = (stranger, stranger),
                    _ => q.workerpool.workerpool = stranger,
                }
            },
            code_of_match(number),
        );
    }
}

#[test]
fn restrictions_may_be_groups() {
    for (group, refused) in [
        (code::ONE, None),
        (code::ZERO, Some(code_of_match("15"))),
        (code::REVERT, Some(code_of_match("15"))),
        (code::NOTHING, Some(Refused::Empty)),
        (code::SHORT, Some(Refused::Empty)),
    ] {
        let (mut world, app, _, pool) = market();
        let mut quartet = plain(&world, app, pool);
        quartet.app.requester_restrict = world.put_code("group", group);
        let signed = world.sign(quartet);
        assert_eq!(world.try_match(&signed).err(), refused, "{group:?}");
    }
}

#[test]
fn contracts_sign_for_themselves() {
    for (wallet, refused) in [
        (code::MAGIC, None),
        (code::ONE, Some(Refused::Empty)), // not four bytes and zeros
        (code::ZERO, Some(code_of_match("50"))),
        (code::REVERT, Some(code_of_match("50"))),
        (code::NOTHING, Some(Refused::Empty)),
        (code::SHORT, Some(Refused::Empty)),
    ] {
        let (mut world, app, _, pool) = market();
        let mut quartet = plain(&world, app, pool);
        quartet.request.requester = world.put_code("wallet", wallet);
        world.give(quartet.request.requester, 10 * RLC);
        let signed = world.sign(quartet);
        assert_eq!(world.try_match(&signed).err(), refused, "{wallet:?}");
    }
}

#[test]
fn signatures_are_short_or_long_but_low() {
    let world = World::new();
    let someone = Actor::new("someone");
    let hash = keccak256("message");
    let sign = someone.sign(hash);
    let verify = |account: Address, signature: Bytes| {
        world
            .try_view(world.hub, &hub::verifySignatureCall { account, hash, signature })
            .map(|output| output.last() == Some(&1))
    };
    assert_eq!(verify(someone.address(), sign.clone()), Ok(true));
    let mut short = sign[..64].to_vec();
    short[32] |= (sign[64] - 27) << 7;
    assert_eq!(verify(someone.address(), short.into()), Ok(true));
    for length in [0, 1, 63, 66] {
        assert_eq!(
            verify(someone.address(), vec![1; length].into()),
            Err(text("invalid-signature-format"))
        );
    }
    let mut wrong_v = sign.to_vec();
    wrong_v[64] = 29;
    assert_eq!(verify(someone.address(), wrong_v.clone().into()), Ok(false));
    assert_eq!(
        verify(Address::ZERO, wrong_v.into()),
        Ok(true),
        "what recovers to nobody is nobody's signature"
    );
    // The other signature of the pair: s becomes the order less s.
    let order = b256!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let mut high = sign.to_vec();
    let s = U256::from_be_slice(&sign[32..64]);
    high[32..64].copy_from_slice(&(U256::from_be_bytes(order.0) - s).to_be_bytes::<32>());
    high[64] = 55 - sign[64];
    assert_eq!(verify(someone.address(), high.into()), Ok(false));
}

#[test]
fn nobody_may_be_sponsored_but_cannot_pay() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.requester = Address::ZERO;
    let mut signed = world.sign(quartet);
    signed.request.sign = vec![0; 65].into();
    let refused = world.try_match(&signed).unwrap_err();
    assert_eq!(refused, text("IexecEscrow: Transfer from empty address"));
    let call = match_call(&signed);
    let call = hub::sponsorMatchOrdersCall {
        apporder: call.apporder,
        datasetorder: call.datasetorder,
        workerpoolorder: call.workerpoolorder,
        requestorder: call.requestorder,
    };
    let sponsor = world.cast.sponsor.address();
    let done = world.tx(sponsor, world.hub, &call);
    assert_eq!(done.events().last().unwrap(), "DealSponsored");
    assert_eq!(world.view_deal(B256::from_slice(&done.output)).sponsor, sponsor);
    world.assert_conserved();
}

#[test]
fn without_a_dataset_its_order_still_limits() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.dataset.tag = Tag(B256::with_last_byte(0x0e));
    quartet.dataset.price = U256::from(5);
    quartet.request.dataset_max_price = U256::from(5);
    let signed = world.sign(quartet.clone());
    let done = world.try_match(&signed).unwrap();
    let matched = done.all::<hub::OrdersMatched>().remove(0);
    assert_eq!(matched.datasetHash, B256::ZERO);
    let deal = world.view_deal(matched.dealid);
    assert_eq!(deal.dataset.price, U256::ZERO, "nobody is there to be paid");
    assert_eq!(deal.tag, B256::ZERO, "frameworks are masked");

    let mut tagged = quartet.clone();
    tagged.request.salt = B256::repeat_byte(0x77);
    tagged.workerpool.tag = Tag(B256::with_last_byte(0xff));
    tagged.dataset.tag = Tag::bit(5);
    let dealid = world.deal(tagged);
    assert_eq!(
        world.view_deal(dealid).tag,
        B256::with_last_byte(1 << 5),
        "whoever matches may add bits"
    );

    quartet.dataset.price = U256::from(6);
    let signed = world.sign(quartet);
    assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match("04"));
}

#[test]
fn extreme_values_are_legal_when_they_are_free() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    for price in [&mut quartet.app.price, &mut quartet.workerpool.price] {
        *price = U256::ZERO;
    }
    let trust = U256::ONE << 255;
    (quartet.workerpool.trust, quartet.request.trust) = (trust, trust);
    quartet.app.volume = U256::MAX;
    quartet.workerpool.volume = U256::MAX;
    quartet.request.volume = U256::MAX;
    let domain = world.domain();
    let request = quartet.request.hash(&domain).0;
    let dealid = world.deal(quartet);
    let deal = world.view_deal(dealid);
    assert_eq!((deal.botSize, deal.trust), (U256::MAX, trust));
    assert_eq!(world.view(world.hub, &hub::viewConsumedCall { orderHash: request }), U256::MAX);

    let idx = U256::MAX - U256::ONE;
    let anyone = world.cast.developer.address();
    let done = world.tx(anyone, world.hub, &hub::initializeCall { dealid, idx });
    let taskid = B256::from_slice(&done.output);
    assert_eq!(world.view_task(taskid).idx, idx);
    assert_eq!(world.try_contribute(taskid, 0, keccak256("x")).unwrap_err(), Refused::Panic(0x11));
    let beyond = hub::initializeCall { dealid, idx: U256::MAX };
    assert_eq!(world.try_tx(anyone, world.hub, &beyond).unwrap_err(), Refused::Empty);
}

#[test]
fn a_stake_ratio_has_no_bound() {
    let (mut world, app, _, pool) = market();
    let scheduler = world.cast.scheduler.address();
    let ratio = U256::from(10).pow(U256::from(40));
    let policy = |stake, reward| workerpool::changePolicyCall {
        workerStakeRatioPolicy: stake,
        schedulerRewardRatioPolicy: reward,
    };
    let thief = world.cast.requester.address();
    assert_eq!(
        world.try_tx(thief, pool, &policy(ratio, U256::ONE)).unwrap_err(),
        text("caller is not the owner"),
    );
    assert_eq!(
        world.try_tx(scheduler, pool, &policy(ratio, U256::from(101))).unwrap_err(),
        Refused::Empty
    );
    let done = world.tx(scheduler, pool, &policy(ratio, U256::from(100)));
    let update = done.all::<workerpool::PolicyUpdate>().remove(0);
    assert_eq!(update.oldWorkerStakeRatioPolicy, U256::from(30));
    assert_eq!(update.oldSchedulerRewardRatioPolicy, U256::ONE);
    let dealid = world.deal(plain(&world, app, pool));
    let deal = world.view_deal(dealid);
    assert_eq!(deal.workerStake, U256::from(10).pow(U256::from(47)));
    assert_eq!(deal.schedulerRewardRatio, U256::from(100));

    world.tx(scheduler, pool, &policy(U256::MAX, U256::ZERO));
    assert_eq!(world.view(pool, &workerpool::m_workerStakeRatioPolicyCall {}), U256::MAX);
    assert_eq!(world.view(pool, &workerpool::m_schedulerRewardRatioPolicyCall {}), U256::ZERO);
    let mut overflows = plain(&world, app, pool);
    overflows.request.salt = B256::repeat_byte(0x55);
    let signed = world.sign(overflows);
    assert_eq!(world.try_match(&signed).unwrap_err(), Refused::Panic(0x11));
}

#[test]
fn amounts_and_times_may_be_wider_than_their_share_of_a_word() {
    let (mut world, app, _, pool) = market();
    // A token that says yes to everything gives stake without end.
    world.replace_code(world.rlc, code::ONE);
    let owner = world.cast.owner.address();
    let (requester, scheduler) = (world.cast.requester.address(), world.cast.scheduler.address());
    let worker = world.cast.workers[0].address();
    let amount = U256::ONE << 200;
    let before = world.account(requester).0;
    for who in [requester, scheduler, worker] {
        world.tx(who, world.hub, &hub::depositCall { amount });
    }
    assert_eq!(world.account(requester).0, before + amount);
    let seconds = U256::ONE << 60;
    let category = hub::createCategoryCall {
        name: "ages".into(),
        description: String::new(),
        workClockTimeRef: seconds,
    };
    world.tx(owner, world.hub, &category);

    let mut quartet = plain(&world, app, pool);
    let price = U256::ONE << 190;
    (quartet.workerpool.price, quartet.request.workerpool_max_price) = (price, price);
    (quartet.workerpool.category, quartet.request.category) = (U256::from(5), U256::from(5));
    quartet.request.volume = U256::from(2);
    let dealid = world.deal(quartet);
    let deal = world.view_deal(dealid);
    let stake = price * U256::from(30) / U256::from(100);
    assert_eq!((deal.workerpool.price, deal.workerStake), (price, stake));
    assert_eq!(world.account(requester).1, (price + U256::from(1_000)) * U256::from(2));

    let (done, failed) = (world.initialize(dealid, 0), world.initialize(dealid, 1));
    world.contribute(done, 0, keccak256("x"));
    let task = world.view_task(done);
    assert_eq!(task.revealDeadline, U256::from(world.now) + seconds * U256::from(2));
    assert_eq!(task.finalDeadline, U256::from(world.now) + seconds * U256::from(10));
    world.reveal(done, 0, keccak256("x"));
    world.try_finalize(done, b"").unwrap();
    let claim = hub::claimCall { taskid: failed };
    assert_eq!(world.try_tx(owner, world.hub, &claim).unwrap_err(), Refused::Empty);
    assert_eq!(world.account(requester).1, price + U256::from(1_000));
    assert_eq!(world.account(scheduler).1, stake);
    assert_eq!(world.account(worker).1, U256::ZERO);
    // Back below, and all of it out.
    let (free, _) = world.account(worker);
    world.tx(worker, world.hub, &hub::withdrawCall { amount: free });
    assert_eq!(world.account(worker).0, U256::ZERO);
}

#[test]
fn long_texts_take_another_way_to_the_same_views() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.params = "p".repeat(30_000);
    quartet.request.volume = U256::from(2);
    let dealid = world.deal(quartet.clone());
    assert_eq!(world.view_deal(dealid).params, quartet.request.params);
    let signed = world.sign(quartet);
    assert_eq!(
        world.try_match(&signed).unwrap_err(),
        code_of_match("60"),
        "the request is used up"
    );
    let taskid = world.initialize(dealid, 1);
    let mut call = world.alone_call(taskid, 0, keccak256("x"), b"", None);
    call.results = vec![b'r'; 25_000].into();
    let worker = world.cast.workers[0].address();
    world.tx(worker, world.hub, &call);
    let task = world.view_task(taskid);
    assert_eq!((task.results.len(), task.status), (25_000, 3));

    let developer = world.cast.developer.address();
    let mut long = app_call(developer, "long");
    long.mrenclave = vec![b'm'; 25_000].into();
    let predicted = app_registry::predictAppCall {
        owner: developer,
        name: long.name.clone(),
        appType: long.appType.clone(),
        multiaddr: long.multiaddr.clone(),
        checksum: long.checksum,
        mrenclave: long.mrenclave.clone(),
    };
    let predicted = world.view(world.apps, &predicted);
    let done = world.tx(developer, world.apps, &long);
    let entry = app_registry::createAppCall::abi_decode_returns(&done.output).unwrap();
    assert_eq!(entry, predicted);
    assert_eq!(world.view(entry, &app::m_appMREnclaveCall {}).len(), 25_000);
}

#[test]
fn zero_amounts_are_events_too() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    (quartet.app.price, quartet.workerpool.price) = (U256::ZERO, U256::ZERO);
    let signed = world.sign(quartet);
    let done = world.try_match(&signed).unwrap();
    let amounts: Vec<_> = done.all::<hub::Lock>().iter().map(|lock| lock.amount).collect();
    assert_eq!(amounts, [U256::ZERO, U256::ZERO]);
    let taskid = world.initialize(B256::from_slice(&done.output), 0);
    let done = world.try_alone(taskid, 0, keccak256("x"), b"").unwrap();
    // No app reward, but the worker's and the scheduler's.
    assert_eq!(done.all::<hub::Reward>().len(), 2);
}

#[test]
fn orders_are_signed_and_closed_on_chain() {
    let (mut world, app, dataset, pool) = market();
    let domain = world.domain();
    let quartet = world.quartet(app, dataset, pool);
    let (developer, requester) = (world.cast.developer.address(), world.cast.requester.address());
    let operation = |order, operation, sign| hub::manageAppOrderCall {
        apporderoperation: hub::IexecLibOrders_v5::AppOrderOperation { order, operation, sign },
    };
    let order = app_order(&quartet.app);
    // Nobody else, not even with the order's own signature.
    let not_an_operation = world.cast.developer.sign(quartet.app.hash(&domain).0);
    assert_eq!(
        world
            .try_tx(requester, world.hub, &operation(order.clone(), 0, not_an_operation))
            .unwrap_err(),
        text("invalid-sender-or-signature"),
    );
    let sign = world.cast.developer.sign(quartet.app.operation_hash(Operation::Sign, &domain));
    let done = world.tx(requester, world.hub, &operation(order.clone(), 0, sign));
    let hash = quartet.app.hash(&domain).0;
    assert_eq!(done.all::<hub::SignedAppOrder>()[0].appHash, hash);
    assert_eq!(world.view(world.hub, &hub::viewPresignedCall { orderHash: hash }), developer);
    let call = hub::verifyPresignatureCall { account: developer, hash };
    assert!(world.view(world.hub, &call));
    // Presigned: whatever the signature says is not looked at.
    let mut signed = world.sign(quartet.clone());
    signed.app.sign = vec![1, 2, 3].into();
    world.try_match(&signed).unwrap();
    assert_eq!(world.view(world.hub, &hub::viewConsumedCall { orderHash: hash }), U256::ONE);
    // There is no third operation.
    let third = operation(order.clone(), 2, Bytes::new());
    assert_eq!(world.try_tx(developer, world.hub, &third).unwrap_err(), Refused::Empty);
    // Closing is final.
    let done = world.tx(developer, world.hub, &operation(order.clone(), 1, Bytes::new()));
    assert_eq!(done.all::<hub::ClosedAppOrder>()[0].appHash, hash);
    world.tx(developer, world.hub, &operation(order, 0, Bytes::new()));
    assert_eq!(
        world.view(world.hub, &hub::viewConsumedCall { orderHash: hash }),
        quartet.app.volume
    );
    signed.request.salt = B256::repeat_byte(0x66);
    let signed = world.sign(signed);
    assert_eq!(world.try_match(&signed).unwrap_err(), code_of_match("60"));

    // The other three kinds, by their owners.
    let close = 1;
    let none = Bytes::new();
    let datasetorderoperation = hub::IexecLibOrders_v5::DatasetOrderOperation {
        order: dataset_order(&quartet.dataset),
        operation: close,
        sign: none.clone(),
    };
    let from = world.cast.data_owner.address();
    let done = world.tx(from, world.hub, &hub::manageDatasetOrderCall { datasetorderoperation });
    assert_eq!(
        done.all::<hub::ClosedDatasetOrder>()[0].datasetHash,
        quartet.dataset.hash(&domain).0
    );
    let workerpoolorderoperation = hub::IexecLibOrders_v5::WorkerpoolOrderOperation {
        order: pool_order(&quartet.workerpool),
        operation: close,
        sign: none.clone(),
    };
    let from = world.cast.scheduler.address();
    let done =
        world.tx(from, world.hub, &hub::manageWorkerpoolOrderCall { workerpoolorderoperation });
    assert_eq!(
        done.all::<hub::ClosedWorkerpoolOrder>()[0].workerpoolHash,
        quartet.workerpool.hash(&domain).0
    );
    let requestorderoperation = hub::IexecLibOrders_v5::RequestOrderOperation {
        order: request_order(&quartet.request),
        operation: close,
        sign: none,
    };
    let done =
        world.tx(requester, world.hub, &hub::manageRequestOrderCall { requestorderoperation });
    assert_eq!(
        done.all::<hub::ClosedRequestOrder>()[0].requestHash,
        quartet.request.hash(&domain).0
    );
}

#[test]
fn a_request_of_many_tasks_is_matched_piece_by_piece() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.volume = U256::from(10);
    let domain = world.domain();
    let hash = quartet.request.hash(&domain).0;
    let mut first = 0u64;
    for (salt, volume) in [(1u8, 3u64), (2, 4), (3, 100)] {
        quartet.workerpool.salt = B256::repeat_byte(salt);
        quartet.workerpool.volume = U256::from(volume);
        let signed = world.sign(quartet.clone());
        let computed = match_call(&signed);
        let computed = hub::computeDealVolumeCall {
            apporder: computed.apporder,
            datasetorder: computed.datasetorder,
            workerpoolorder: computed.workerpoolorder,
            requestorder: computed.requestorder,
        };
        let size = volume.min(10 - first);
        assert_eq!(world.view(world.hub, &computed), U256::from(size));
        let dealid = B256::from_slice(&world.try_match(&signed).unwrap().output);
        assert_eq!(dealid, signed.deal_id(&domain, U256::from(first)).0);
        let deal = world.view_deal(dealid);
        assert_eq!((deal.botFirst, deal.botSize), (U256::from(first), U256::from(size)));
        first += size;
        assert_eq!(
            world.view(world.hub, &hub::viewConsumedCall { orderHash: hash }),
            U256::from(first)
        );
        let taskid = world.initialize(dealid, first - 1);
        assert_eq!(world.view_task(taskid).idx, U256::from(first - 1));
    }
    world.assert_conserved();
}

#[test]
fn deposits_by_approval_come_from_the_token_and_match_only_their_own() {
    let (mut world, app, _, pool) = market();
    let owner = world.cast.owner.address();
    let requester = world.cast.requester.address();
    let amount = U256::from(RLC);
    let (hub, token) = (world.hub, world.rlc);
    for to in [requester, world.cast.sponsor.address()] {
        world.tx(owner, token, &rlc::transferCall { to, amount: amount * U256::from(9) });
    }
    let easy = |data: Bytes| rlc::approveAndCallCall { spender: hub, amount, data };
    let before = world.account(requester).0;
    world.tx(requester, token, &easy(Bytes::new()));
    assert_eq!(world.account(requester).0, before + amount);

    // Not by strangers, even with an allowance.
    world.tx(requester, token, &rlc::approveCall { spender: hub, amount });
    let receive =
        |token| hub::receiveApprovalCall { sender: requester, amount, token, data: Bytes::new() };
    let thief = world.cast.developer.address();
    assert_eq!(world.try_tx(thief, hub, &receive(token)).unwrap_err(), text("wrong-caller"));
    assert_eq!(world.try_tx(thief, hub, &receive(app)).unwrap_err(), text("wrong-token"));

    for length in 1..4 {
        let short = easy(vec![0x15; length].into());
        assert_eq!(world.try_tx(requester, token, &short).unwrap_err(), Refused::Empty);
    }
    let unsupported = hub::UnsupportedOperation { selector: [1, 2, 3, 4].into() };
    assert_eq!(
        world.try_tx(requester, token, &easy(vec![1, 2, 3, 4, 5].into())).unwrap_err(),
        Refused::Data(unsupported.abi_encode().into()),
    );
    let quartet = plain(&world, app, pool);
    let signed = world.sign(quartet);
    let data: Bytes = match_call(&signed).abi_encode().into();
    // Somebody else's request.
    let sponsor = world.cast.sponsor.address();
    assert_eq!(
        world.try_tx(sponsor, token, &easy(data.clone())).unwrap_err(),
        Refused::Data(hub::CallerIsNotTheRequester {}.abi_encode().into()),
    );
    // What the match refuses, with and without words.
    let mut refused = signed;
    refused.request.category = U256::from(3);
    let call = easy(match_call(&refused).abi_encode().into());
    assert_eq!(world.try_tx(requester, token, &call).unwrap_err(), code_of_match("00"));
    let mut nobody = plain(&world, Address::repeat_byte(5), pool);
    nobody.request.salt = B256::repeat_byte(5);
    let nobody = world.sign(nobody);
    let call = easy(match_call(&nobody).abi_encode().into());
    assert_eq!(
        world.try_tx(requester, token, &call).unwrap_err(),
        Refused::Data(hub::OperationFailed {}.abi_encode().into()),
    );
    let done = world.tx(requester, token, &easy(data));
    assert_eq!(done.events().last().unwrap(), "OrdersMatched");
    world.assert_conserved();
}

#[test]
fn callbacks_get_their_gas_and_nothing_else() {
    for (consumer, ok) in [
        (Some(code::NOTHING), true),
        (Some(code::REVERT), true),
        (Some(code::BURN), true),
        (None, true),
    ] {
        let (mut world, app, _, pool) = market();
        let mut quartet = plain(&world, app, pool);
        quartet.request.callback = match consumer {
            Some(code) => world.put_code("consumer", code),
            None => Address::repeat_byte(3),
        };
        let dealid = world.deal(quartet);
        let taskid = world.initialize(dealid, 0);
        let answer = b"an answer";
        let refused = world.try_alone(taskid, 0, keccak256("another"), answer).unwrap_err();
        assert_eq!(refused, Refused::Empty, "the digest is of the answer");
        let pending = world.try_view(world.hub, &hub::resultForCall { taskid });
        assert_eq!(pending.unwrap_err(), text("task-pending"));
        let done = world.try_alone(taskid, 0, keccak256(answer), answer);
        assert_eq!(done.is_ok(), ok, "{consumer:?}");
        let result = world.view(world.hub, &hub::resultForCall { taskid });
        assert_eq!(result.as_ref(), answer);
        assert_eq!(world.view_task(taskid).results.as_ref(), RESULTS.as_bytes());
    }
}

#[test]
fn a_callback_without_its_gas_is_a_panic() {
    let (mut world, app, _, pool) = market();
    let owner = world.cast.owner.address();
    world.tx(
        owner,
        world.hub,
        &hub::setCallbackGasCall { callbackgas: U256::from(10_000_000_000u64) },
    );
    let mut quartet = plain(&world, app, pool);
    quartet.request.callback = world.put_code("consumer", code::BURN);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let refused = world.try_alone(taskid, 0, keccak256("x"), b"x").unwrap_err();
    assert_eq!(refused, Refused::Panic(1));
}

#[test]
fn an_enclave_is_demanded_and_vouched_for() {
    let (mut world, app, _, pool) = market();
    let tee = Tag(B256::with_last_byte(3));
    let mut quartet = plain(&world, app, pool);
    (quartet.app.tag, quartet.request.tag) = (tee, tee);
    quartet.request.trust = U256::from(4);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    assert_eq!(world.try_contribute(taskid, 0, keccak256("x")).unwrap_err(), Refused::Empty);
    let enclave = Actor::new("enclave");
    let worker = world.cast.workers[0].address();
    let mut call = world.contribute_call(taskid, 0, keccak256("x"), Some(&enclave));
    let good = call.enclaveSign.clone();
    call.enclaveSign = call.authorizationSign.clone();
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    call.enclaveSign = good;
    world.tx(worker, world.hub, &call);
    assert_eq!(world.view_contribution(taskid, 0).enclaveChallenge, enclave.address());
    // With a broker, only the broker authorises enclaves.
    let broker = Actor::new("broker");
    let owner = world.cast.owner.address();
    world.tx(owner, world.hub, &hub::setTeeBrokerCall { teebroker: broker.address() });
    let worker = world.cast.workers[1].address();
    let mut call = world.contribute_call(taskid, 1, keccak256("x"), Some(&enclave));
    assert_eq!(world.try_tx(worker, world.hub, &call).unwrap_err(), Refused::Empty);
    let hash = verdict::authorization_hash(worker, primitives::TaskId(taskid), enclave.address());
    call.authorizationSign = broker.sign_message(hash);
    world.tx(worker, world.hub, &call);
    assert_eq!(world.view_task(taskid).status, 2);
}

#[test]
fn reopening_rejects_the_winners_for_good() {
    let (mut world, app, _, pool) = market();
    let mut quartet = plain(&world, app, pool);
    quartet.request.trust = U256::from(2);
    let dealid = world.deal(quartet);
    let taskid = world.initialize(dealid, 0);
    let first = keccak256("first");
    world.contribute(taskid, 0, first);
    let scheduler = world.cast.scheduler.address();
    let reopen = hub::reopenCall { taskid };
    assert_eq!(
        world.try_tx(scheduler, world.hub, &reopen).unwrap_err(),
        Refused::Empty,
        "too early"
    );
    world.now += 2 * 300;
    assert_eq!(world.try_reveal(taskid, 0, first).unwrap_err(), Refused::Empty, "too late");
    assert_eq!(world.try_tx(Address::ZERO, world.hub, &reopen).unwrap_err(), Refused::Empty);
    world.tx(scheduler, world.hub, &reopen);
    let task = world.view_task(taskid);
    assert_eq!((task.status, task.winnerCounter, task.revealDeadline), (1, U256::ZERO, U256::ZERO));
    assert_eq!(task.consensusValue, B256::ZERO);
    assert_eq!(world.view_contribution(taskid, 0).status, 3);
    assert_eq!(world.try_contribute(taskid, 0, first).unwrap_err(), Refused::Empty, "once only");
    // The same result again is a new group.
    world.contribute(taskid, 1, first);
    assert_eq!(world.view_task(taskid).status, 2);
    assert_eq!(world.view_task(taskid).winnerCounter, U256::ONE);
    world.reveal(taskid, 1, first);
    assert_eq!(world.try_reveal(taskid, 0, first).unwrap_err(), Refused::Empty);
    world.try_finalize(taskid, b"").unwrap();
    assert_eq!(
        world.account(world.cast.workers[0].address()).1,
        U256::ZERO,
        "the rejected one paid"
    );
    assert_eq!(world.view_contribution(taskid, 0).status, 3);
    assert_eq!(
        world.view_contribution(taskid, 0).resultHash,
        world.view_contribution(taskid, 1).resultHash
    );
    world.assert_conserved();
}

#[test]
fn a_hash_is_no_digest() {
    // The winners' hash is public before anybody opens it; given as a digest it must not pass for one.
    let (mut world, app, _, pool) = market();
    let dealid = world.deal(plain(&world, app, pool));
    let taskid = world.initialize(dealid, 0);
    world.contribute(taskid, 0, keccak256("truth"));
    let hash = world.view_task(taskid).consensusValue;
    assert_eq!(world.try_reveal(taskid, 0, hash).unwrap_err(), Refused::Empty);
    assert_eq!(world.try_reveal(taskid, 1, keccak256("truth")).unwrap_err(), Refused::Empty);
    world.reveal(taskid, 0, keccak256("truth"));
    assert_eq!(
        world.try_reveal(taskid, 0, keccak256("truth")).unwrap_err(),
        Refused::Empty,
        "once"
    );
    let contribution = world.view_contribution(taskid, 0);
    assert_eq!((contribution.status, contribution.weight), (2, U256::ONE));
    assert_eq!(contribution.resultHash, hash);
}

#[test]
fn unknown_things_read_as_nothing_or_revert_as_ever() {
    let mut world = World::new();
    let catid = U256::from(5);
    assert_eq!(
        world.try_view(world.hub, &hub::viewCategoryCall { catid }).unwrap_err(),
        Refused::Empty
    );
    let legacy = hub::viewCategoryABILegacyCall { catid };
    assert_eq!(world.try_view(world.hub, &legacy).unwrap_err(), Refused::Panic(0x32));
    let nothing = B256::repeat_byte(1);
    assert_eq!(world.view_deal(nothing).requester, Address::ZERO);
    assert_eq!(world.view_task(nothing).status, 0);
    assert_eq!(world.view_contribution(nothing, 0).status, 0);
    let nobody = hub::viewAppCall { app: Address::repeat_byte(1) };
    assert_eq!(world.try_view(world.hub, &nobody).unwrap_err(), Refused::Empty);
    let worker = world.cast.workers[0].address();
    let import = hub::importScoreCall { worker };
    assert_eq!(world.try_tx(worker, world.hub, &import).unwrap_err(), Refused::Empty);
    let initialize = hub::initializeCall { dealid: nothing, idx: U256::ZERO };
    assert_eq!(world.try_tx(worker, world.hub, &initialize).unwrap_err(), Refused::Empty);
    let lengths = hub::initializeArrayCall { dealids: vec![nothing], idxs: vec![] };
    assert_eq!(world.try_tx(worker, world.hub, &lengths).unwrap_err(), Refused::Empty);
}

#[test]
fn only_the_owner_administers() {
    let mut world = World::new();
    let (owner, thief) = (world.cast.owner.address(), world.cast.developer.address());
    let not_owner = text("Ownable: caller is not the owner");
    let hub = world.hub;
    let category = hub::createCategoryCall {
        name: "XXL".into(),
        description: String::new(),
        workClockTimeRef: U256::MAX,
    };
    assert_eq!(world.try_tx(thief, hub, &category).unwrap_err(), not_owner);
    assert_eq!(world.try_tx(thief, hub, &hub::recoverCall {}).unwrap_err(), not_owner);
    let configure = hub::configureCall {
        token: thief,
        name: String::new(),
        symbol: String::new(),
        decimals: 0,
        appregistry: thief,
        datasetregistry: thief,
        workerpoolregistry: thief,
        v3_iexecHub: thief,
    };
    assert_eq!(world.try_tx(thief, hub, &configure).unwrap_err(), not_owner);
    assert_eq!(world.try_tx(owner, hub, &configure).unwrap_err(), text("already-configured"));
    // Tokens sent without a deposit are the owner's to recover.
    let amount = U256::from(RLC);
    world.tx(owner, world.rlc, &rlc::transferCall { to: hub, amount });
    world.tx(owner, hub, &hub::recoverCall {});
    assert_eq!(world.account(owner).0, amount);
    world.assert_conserved();
    let transfer = hub::transferOwnershipCall { newOwner: Address::ZERO };
    let refused = hub::NotContractOwner { caller: thief, owner };
    assert_eq!(
        world.try_tx(thief, hub, &transfer).unwrap_err(),
        Refused::Data(refused.abi_encode().into()),
    );
    let upgrade = hub::upgradeToAndCallCall { implementation: world.rlc, data: Bytes::new() };
    assert_eq!(
        world.try_tx(thief, hub, &upgrade).unwrap_err(),
        Refused::Data(refused.abi_encode().into())
    );
    world.tx(owner, hub, &transfer);
    assert_eq!(world.try_tx(owner, hub, &hub::recoverCall {}).unwrap_err(), not_owner);
}

#[test]
fn a_category_without_end_matches_but_never_starts() {
    let (mut world, app, _, pool) = market();
    let owner = world.cast.owner.address();
    let category = hub::createCategoryCall {
        name: "∞".into(),
        description: String::new(),
        workClockTimeRef: U256::MAX,
    };
    world.tx(owner, world.hub, &category);
    let mut quartet = plain(&world, app, pool);
    (quartet.request.category, quartet.workerpool.category) = (U256::from(5), U256::from(5));
    let dealid = world.deal(quartet);
    let initialize = hub::initializeCall { dealid, idx: U256::ZERO };
    assert_eq!(world.try_tx(owner, world.hub, &initialize).unwrap_err(), Refused::Panic(0x11));
}

#[test]
fn entries_are_tokens_at_predicted_places() {
    let (mut world, app, dataset, _) = market();
    let developer = world.cast.developer.address();
    assert_eq!(world.view(app, &app::m_appNameCall {}), "wordcount");
    assert_eq!(world.view(app, &app::m_appTypeCall {}), "WASM");
    assert_eq!(world.view(app, &app::m_appChecksumCall {}), keccak256("checksum"));
    assert!(world.view(app, &app::m_appMultiaddrCall {}).starts_with(b"/ipfs/"));
    assert_eq!(world.view(app, &app::ownerCall {}), developer);
    assert_eq!(world.view(app, &app::registryCall {}), world.apps);
    assert_eq!(world.view(dataset, &dataset::m_datasetNameCall {}), "alice");
    let info = world.view(world.hub, &hub::viewAppCall { app });
    assert_eq!((info.owner, info.m_appName.as_str()), (developer, "wordcount"));
    let again = world.try_tx(developer, world.apps, &app_call(developer, "wordcount")).unwrap_err();
    assert_eq!(again, text("Create2: Failed on deploy"));
    let call = app::initializeCall {
        name: String::new(),
        appType: String::new(),
        multiaddr: Bytes::new(),
        checksum: B256::ZERO,
        mrenclave: Bytes::new(),
    };
    assert_eq!(world.try_tx(developer, app, &call).unwrap_err(), text("already initialized"));
    let rename = app::setNameCall { ens: Address::ZERO, name: "x".into() };
    let refused = world.try_tx(developer, app, &rename).unwrap_err();
    assert_eq!(refused, text("Operation not supported on this chain"));
    assert_eq!(world.try_tx(dataset, app, &rename).unwrap_err(), text("caller is not the owner"));

    // The address is what anyone computes from the registry's proxy code and the call that would initialise it.
    let hash = world.view(world.apps, &app_registry::proxyCodeHashCall {});
    let info = app_call(developer, "wordcount");
    let call = app::initializeCall {
        name: info.name,
        appType: info.appType,
        multiaddr: info.multiaddr,
        checksum: info.checksum,
        mrenclave: info.mrenclave,
    };
    let salt = keccak256([call.abi_encode().as_slice(), developer.as_slice()].concat());
    assert_eq!(world.apps.create2(salt, hash), app);

    // Whoever owns the token owns the entry.
    let id = U256::from_be_slice(app.as_slice());
    let second = world.create_app_named("second");
    let to = world.cast.requester.address();
    let transfer = app_registry::transferFromCall { from: developer, to, tokenId: id };
    world.tx(developer, world.apps, &transfer);
    assert_eq!(world.view(app, &app::ownerCall {}), to);
    let of = |owner, index: u64| app_registry::tokenOfOwnerByIndexCall {
        owner,
        index: U256::from(index),
    };
    assert_eq!(world.view(world.apps, &of(to, 0)), id);
    assert_eq!(world.view(world.apps, &of(developer, 0)), U256::from_be_slice(second.as_slice()));
    assert!(world.try_view(world.apps, &of(developer, 1)).is_err());
    assert_eq!(world.view(world.apps, &app_registry::totalSupplyCall {}), U256::from(2));
    let uri = world.view(world.apps, &app_registry::tokenURICall { tokenId: id });
    assert_eq!(uri, format!("https://nfts.example/app/{id}"));
    assert!(world.view(world.apps, &app_registry::isRegisteredCall { entry: app }));
    assert!(!world.view(world.apps, &app_registry::isRegisteredCall { entry: dataset }));
}

#[test]
fn the_ledger_is_an_erc20_with_manners_of_its_own() {
    let mut world = World::new();
    let (requester, spender) = (world.cast.requester.address(), world.cast.sponsor.address());
    let hub = world.hub;
    let lots = U256::from(5_000 * RLC);
    let transfer = hub::transferCall { recipient: spender, amount: lots };
    assert_eq!(world.try_tx(requester, hub, &transfer).unwrap_err(), Refused::Empty);
    let nowhere = hub::transferCall { recipient: Address::ZERO, amount: U256::ONE };
    assert_eq!(
        world.try_tx(requester, hub, &nowhere).unwrap_err(),
        text("ERC20: transfer to the zero address"),
    );
    let approve = hub::approveCall { spender: Address::ZERO, value: U256::ONE };
    assert_eq!(
        world.try_tx(requester, hub, &approve).unwrap_err(),
        text("ERC20: approve to the zero address"),
    );
    world.tx(requester, hub, &hub::approveCall { spender, value: U256::MAX });
    let take = hub::transferFromCall { sender: requester, recipient: spender, amount: U256::ONE };
    let done = world.tx(spender, hub, &take);
    assert_eq!(done.events(), ["Transfer", "Approval"]);
    let left = hub::allowanceCall { account: requester, spender };
    assert_eq!(world.view(hub, &left), U256::MAX - U256::ONE, "no allowance is infinite");
    let decrease = hub::decreaseAllowanceCall { spender, subtractedValue: U256::MAX };
    assert_eq!(world.try_tx(requester, hub, &decrease).unwrap_err(), Refused::Empty);
    let withdraw = hub::withdrawCall { amount: lots };
    assert_eq!(world.try_tx(requester, hub, &withdraw).unwrap_err(), Refused::Empty);
    let arrays = hub::depositForArrayCall { amounts: vec![U256::ONE], targets: vec![] };
    assert_eq!(world.try_tx(requester, hub, &arrays).unwrap_err(), text("invalid-array-length"));
    world.tx(requester, hub, &hub::withdrawToCall { amount: U256::from(RLC), target: spender });
    assert_eq!(world.view(world.rlc, &rlc::balanceOfCall { account: spender }), U256::from(RLC));
    world.assert_conserved();
}

#[test]
fn a_dataset_may_join_a_deal_without_one() {
    let (mut world, app, dataset, pool) = market();
    let dealid = world.deal(plain(&world, app, pool));
    let quartet = world.quartet(app, dataset, pool);
    let signed = world.sign(quartet);
    let ask = |order: &orders::DatasetOrder, deal| hub::assertDatasetDealCompatibilityCall {
        datasetOrder: dataset_order(order),
        dealId: deal,
    };
    let why = |reason: &str| {
        let error = hub::IncompatibleDatasetOrder { reason: reason.into() };
        Some(Refused::Data(error.abi_encode().into()))
    };
    let check = |world: &World, order: &orders::DatasetOrder, deal: B256| {
        world.try_view(world.hub, &ask(order, deal)).err()
    };
    assert_eq!(check(&world, &signed.dataset, dealid), None);
    assert_eq!(check(&world, &signed.dataset, B256::ZERO), why("Deal not found"));
    let mut used_up = signed.dataset.clone();
    used_up.volume = U256::ZERO;
    assert_eq!(check(&world, &used_up, dealid), why("Dataset order is revoked or fully consumed"));
    let mut unsigned = signed.dataset.clone();
    unsigned.price += U256::ONE;
    assert_eq!(check(&world, &unsigned, dealid), why("Invalid dataset order signature"));
    let resigned = |world: &World, change: &dyn Fn(&mut orders::DatasetOrder)| {
        let mut order = signed.dataset.clone();
        change(&mut order);
        order.sign = world.cast.data_owner.sign(order.hash(&world.domain()).0);
        order
    };
    let other = Address::repeat_byte(8);
    let order = resigned(&world, &|order| order.app_restrict = other);
    assert_eq!(check(&world, &order, dealid), why("App restriction not satisfied"));
    let order = resigned(&world, &|order| order.workerpool_restrict = other);
    assert_eq!(check(&world, &order, dealid), why("Workerpool restriction not satisfied"));
    let order = resigned(&world, &|order| order.requester_restrict = other);
    assert_eq!(check(&world, &order, dealid), why("Requester restriction not satisfied"));
    let order = resigned(&world, &|order| order.tag = Tag::TEE);
    assert_eq!(check(&world, &order, dealid), why("Tag compatibility not satisfied"));
    let mut with = world.quartet(app, dataset, pool);
    with.request.salt = B256::repeat_byte(0x42);
    let with = world.deal(with);
    assert_eq!(check(&world, &signed.dataset, with), why("Deal already has a dataset"));
}
