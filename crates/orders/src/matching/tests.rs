use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder};

const REQUESTER: Address = Address::repeat_byte(0xaa);

fn quartet() -> Quartet {
    let (app, dataset, pool) =
        (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
    let n = U256::from;
    Quartet {
        app: AppOrder { app, price: n(3), volume: n(10), ..AppOrder::default() },
        dataset: DatasetOrder { dataset, price: n(2), volume: n(10), ..DatasetOrder::default() },
        workerpool: WorkerpoolOrder {
            workerpool: pool,
            price: n(25),
            volume: n(5),
            trust: n(4),
            ..WorkerpoolOrder::default()
        },
        request: RequestOrder {
            app,
            app_max_price: n(3),
            dataset,
            dataset_max_price: n(2),
            workerpool_max_price: n(25),
            requester: REQUESTER,
            volume: n(7),
            ..RequestOrder::default()
        },
    }
}

fn facts() -> Facts {
    let asset = |byte| AssetFacts {
        owner: Some(Address::repeat_byte(byte)),
        registered: true,
        signed: true,
    };
    Facts {
        categories: U256::from(5),
        app: asset(0x11),
        dataset: asset(0x12),
        workerpool: asset(0x13),
        request_signed: true,
        consumed: Consumed::default(),
        policy: PoolPolicy {
            worker_stake_percent: U256::from(30),
            scheduler_reward_percent: U256::from(1),
        },
        members: BTreeSet::new(),
        funds: None,
    }
}

/// Spoils a good match and shows how it is refused.
fn check(spoil: impl FnOnce(&mut Quartet, &mut Facts), expected: &Expect) {
    let (mut quartet, mut facts) = (quartet(), facts());
    spoil(&mut quartet, &mut facts);
    let shown = match super::check(&quartet, &facts) {
        Ok(terms) => format!(
            "tag {} volume {}; locks: payer {:?}, scheduler {:?}, worker {:?}; dataset {:?}",
            bits(terms.tag),
            terms.volume,
            terms.payer_lock,
            terms.scheduler_lock,
            terms.worker_stake,
            terms.dataset_price
        ),
        Err(refusal) => format!("{}: {}\n-> {}", refusal.code, refusal.what, refusal.remedy),
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_good_match_says_what_will_be_locked() {
    check(
        |_, _| {},
        &expect![
            "tag  volume 5; locks: payer 150 nRLC, scheduler 35 nRLC, worker 7 nRLC; dataset 2 nRLC"
        ],
    );
    check(
        |_, facts| {
            facts.funds = Some(Funds {
                payer: Nrlc::new(150),
                scheduler: Nrlc::new(35),
                same_account: false,
            });
        },
        &expect![
            "tag  volume 5; locks: payer 150 nRLC, scheduler 35 nRLC, worker 7 nRLC; dataset 2 nRLC"
        ],
    );
}

#[test]
fn demands_prices_and_tags() {
    check(
        |q, _| q.workerpool.category = U256::from(2),
        &expect![[r#"
        0x00: the request wants category 0, the workerpool offers 2
        -> set the request's category to 2"#]],
    );
    check(
        |q, _| {
            q.workerpool.category = U256::from(5);
            q.request.category = U256::from(5);
        },
        &expect![[r#"
            0x01: category 5 does not exist
            -> choose a category below 5"#]],
    );
    check(
        |q, _| q.request.trust = U256::from(5),
        &expect![[r#"
        0x02: the request wants trust 5, the workerpool offers 4
        -> lower the request's trust to 4"#]],
    );
    check(
        |q, _| q.app.price = U256::from(4),
        &expect![[r#"
        0x03: the app costs 0.000000004 RLC per task, the request allows 0.000000003 RLC
        -> raise app max price by 1 nRLC"#]],
    );
    check(
        |q, _| q.dataset.price = U256::from(4),
        &expect![[r#"
        0x04: the dataset costs 0.000000004 RLC per task, the request allows 0.000000002 RLC
        -> raise dataset max price by 2 nRLC"#]],
    );
    check(
        |q, _| q.workerpool.price = U256::from(28),
        &expect![[r#"
        0x05: the workerpool costs 0.000000028 RLC per task, the request allows 0.000000025 RLC
        -> raise workerpool max price by 3 nRLC"#]],
    );
    check(
        |q, _| q.request.tag = Tag::GPU | Tag::TEE,
        &expect![[r#"
        0x06: the workerpool does not offer what is demanded: tag bits 0, 8
        -> choose a workerpool whose tag has bits 0, 8"#]],
    );
    check(
        |q, _| {
            q.request.tag = Tag::TEE;
            q.workerpool.tag = Tag::TEE;
        },
        &expect![[r#"
            0x07: a trusted execution environment is demanded, but the app is not made for one
            -> choose an app whose tag has bit 0, or drop bit 0 from the request and dataset"#]],
    );
    check(
        |q, _| q.dataset.tag = Tag::SCONE | Tag::TDX,
        &expect![
            "tag  volume 5; locks: payer 150 nRLC, scheduler 35 nRLC, worker 7 nRLC; dataset 2 nRLC"
        ],
    );
}

#[test]
fn names_and_restrictions() {
    let other = Address::repeat_byte(0xee);
    check(
        |q, _| q.request.app = other,
        &expect![[r#"
        0x10: the request is for app 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE, the app order for 0x0101010101010101010101010101010101010101
        -> use an order of app 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"#]],
    );
    check(
        |q, _| q.request.dataset = other,
        &expect![[r#"
        0x11: the request is for dataset 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE, the dataset order for 0x0202020202020202020202020202020202020202
        -> use an order of dataset 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"#]],
    );
    let spoils: [fn(&mut Quartet) -> &mut Address; 10] = [
        |q| &mut q.request.workerpool,
        |q| &mut q.app.dataset_restrict,
        |q| &mut q.app.workerpool_restrict,
        |q| &mut q.app.requester_restrict,
        |q| &mut q.dataset.app_restrict,
        |q| &mut q.dataset.workerpool_restrict,
        |q| &mut q.dataset.requester_restrict,
        |q| &mut q.workerpool.app_restrict,
        |q| &mut q.workerpool.dataset_restrict,
        |q| &mut q.workerpool.requester_restrict,
    ];
    for (code, field) in (0x12..).zip(spoils) {
        let (mut quartet, mut facts) = (quartet(), facts());
        *field(&mut quartet) = other;
        let refused = super::check(&quartet, &facts).unwrap_err();
        assert_eq!(refused.code, Code::Number(code), "{refused}");
        for account in
            [quartet.app.app, quartet.dataset.dataset, quartet.workerpool.workerpool, REQUESTER]
        {
            facts.members.insert((other, account));
        }
        assert!(super::check(&quartet, &facts).is_ok(), "a member of the group is accepted");
    }
    check(
        |q, _| q.workerpool.requester_restrict = other,
        &expect![[r#"
        0x1b: the workerpool order is restricted to requester 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE, this one is 0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa
        -> use requester 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE or a member of it, or another workerpool order"#]],
    );
}

#[test]
fn assets_signatures_and_volume() {
    check(
        |_, f| f.app.owner = None,
        &expect![[r#"
            no-app-owner: there is no app contract at 0x0101010101010101010101010101010101010101
            -> check the app's address and the chain"#]],
    );
    check(
        |_, f| f.app.registered = false,
        &expect![[r#"
        0x20: app 0x0101010101010101010101010101010101010101 is not in the hub's registry
        -> create the app through the registry, or check its address"#]],
    );
    check(
        |_, f| f.dataset.signed = false,
        &expect![[r#"
        0x31: the dataset order is not signed by the dataset's owner 0x1212121212121212121212121212121212121212
        -> get a dataset order signed by 0x1212121212121212121212121212121212121212"#]],
    );
    check(
        |_, f| f.workerpool.registered = false,
        &expect![[r#"
        0x40: workerpool 0x0303030303030303030303030303030303030303 is not in the hub's registry
        -> create the workerpool through the registry, or check its address"#]],
    );
    check(
        |_, f| f.request_signed = false,
        &expect![[r#"
        0x50: the request order is not signed by its requester 0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa
        -> sign the request with the key of 0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa"#]],
    );
    check(
        |_, f| f.consumed.workerpool = U256::from(5),
        &expect![[r#"
        0x60: the workerpool order is used up or closed
        -> use a fresh workerpool order"#]],
    );
    check(
        |_, f| f.consumed.workerpool = U256::from(6),
        &expect![[r#"
        overflow: prices times volume do not fit in 256 bits, or an order is used beyond its volume
        -> lower the volume"#]],
    );
    check(
        |q, _| {
            q.workerpool.price = U256::MAX;
            q.request.workerpool_max_price = U256::MAX;
        },
        &expect![[r#"
            overflow: prices times volume do not fit in 256 bits, or an order is used beyond its volume
            -> lower the volume"#]],
    );
    check(
        |_, f| {
            f.funds = Some(Funds {
                payer: Nrlc::new(149),
                scheduler: Nrlc::new(35),
                same_account: false,
            });
        },
        &expect![[r#"
            payer-funds: the payer must lock 0.00000015 RLC and has 0.000000149 RLC in the hub
            -> deposit 1 nRLC more"#]],
    );
    check(
        |_, f| {
            f.funds =
                Some(Funds { payer: Nrlc::new(160), scheduler: Nrlc::ZERO, same_account: true });
        },
        &expect![[r#"
            scheduler-funds: the workerpool's owner must lock 0.000000035 RLC and has 0.00000001 RLC in the hub
            -> deposit 25 nRLC more"#]],
    );
}

#[test]
fn without_a_dataset_its_order_is_neither_signed_nor_paid_but_still_bounds() {
    let without = |q: &mut Quartet, f: &mut Facts| {
        q.dataset = DatasetOrder { price: U256::from(2), ..DatasetOrder::none() };
        q.request.dataset = Address::ZERO;
        f.dataset = AssetFacts { owner: None, registered: false, signed: false };
    };
    check(
        without,
        &expect![
            "tag  volume 5; locks: payer 140 nRLC, scheduler 35 nRLC, worker 7 nRLC; dataset 0 nRLC"
        ],
    );
    check(
        |q, f| {
            without(q, f);
            q.dataset.price = U256::from(3);
        },
        &expect![[r#"
            0x04: the dataset costs 0.000000003 RLC per task, the request allows 0.000000002 RLC
            -> raise dataset max price by 1 nRLC"#]],
    );
}

proptest! {
    #[test]
    fn extremes_are_refused_or_accepted_but_never_panic(
        price in prop_oneof![Just(U256::MAX), Just(U256::ZERO), Just(U256::from(1u8) << 255)],
        volume in prop_oneof![Just(U256::MAX), Just(U256::ONE)],
        percent in prop_oneof![Just(U256::MAX), Just(U256::ZERO)],
    ) {
        let (mut quartet, mut facts) = (quartet(), facts());
        quartet.workerpool.price = price;
        quartet.request.workerpool_max_price = U256::MAX;
        for order in [&mut quartet.app.volume, &mut quartet.workerpool.volume, &mut quartet.request.volume] {
            *order = volume;
        }
        facts.policy.worker_stake_percent = percent;
        if let Err(refusal) = super::check(&quartet, &facts) {
            prop_assert_eq!(refusal.code, Code::Overflow);
        }
    }
}
