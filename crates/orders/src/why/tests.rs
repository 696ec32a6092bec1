use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use primitives::Nrlc;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::matching::{self, AssetFacts, Consumed, Facts, PoolPolicy};

const APP: Address = Address::repeat_byte(1);
const DATASET: Address = Address::repeat_byte(2);
const POOL: Address = Address::repeat_byte(3);
const OTHER_POOL: Address = Address::repeat_byte(4);
const REQUESTER: Address = Address::repeat_byte(5);

fn n(number: u64) -> U256 {
    U256::from(number)
}

fn app() -> AppOrder {
    AppOrder { app: APP, price: n(3), volume: n(10), ..AppOrder::default() }
}

fn pool(price: u64) -> WorkerpoolOrder {
    WorkerpoolOrder {
        workerpool: POOL,
        price: n(price),
        volume: n(10),
        trust: n(4),
        ..WorkerpoolOrder::default()
    }
}

fn request() -> RequestOrder {
    RequestOrder {
        app: APP,
        app_max_price: n(3),
        workerpool_max_price: n(9),
        requester: REQUESTER,
        volume: n(1),
        ..RequestOrder::default()
    }
}

fn check(request: &RequestOrder, pools: &[WorkerpoolOrder], expected: &Expect) {
    let apps = [app()];
    let offers = Offers { apps: &apps, datasets: &[], workerpools: pools };
    let shown = match least_change(request, offers, 3) {
        Err(no_way) => format!("{no_way:?}"),
        Ok(ways) => ways.iter().map(shown).collect::<Vec<_>>().join("\n"),
    };
    expected.assert_eq(&shown);
}

fn shown(way: &Way) -> String {
    let changes: Vec<_> =
        way.changes.iter().map(|change| format!("{}: {change}", change.obstacle())).collect();
    format!("pool {}: {}", way.workerpool, changes.join("; "))
}

#[test]
fn what_matches_needs_no_change() {
    check(&request(), &[pool(20), pool(9)], &expect!["pool 1: "]);
}

#[test]
fn the_least_rise_is_found() {
    check(
        &request(),
        &[pool(20), pool(12), pool(15)],
        &expect![
            "pool 1: workerpoolmaxprice 9 nRLC is too low by 3: raise workerpoolmaxprice by 3 to 12 nRLC"
        ],
    );
}

#[test]
fn each_kind_of_change_has_its_way() {
    let gpu = RequestOrder { tag: Tag::GPU, trust: n(5), ..request() };
    let with_gpu = WorkerpoolOrder { tag: Tag::GPU, trust: n(9), ..pool(50) };
    let without = WorkerpoolOrder { trust: n(9), ..pool(5) };
    check(
        &gpu,
        &[pool(1), with_gpu, without],
        &expect![[r#"
            pool 1: workerpoolmaxprice 9 nRLC is too low by 41: raise workerpoolmaxprice by 41 to 50 nRLC
            pool 2: no such offer with tag gpu: do without tag gpu
            pool 0: trust 5 is wanted and at most 4 is on offer: lower trust to 4; no such offer with tag gpu: do without tag gpu"#]],
    );
    let elsewhere = RequestOrder { workerpool: OTHER_POOL, category: n(2), ..request() };
    check(
        &elsewhere,
        &[pool(9)],
        &expect![
            "pool 0: the workerpool named makes no such offer: set workerpool to 0x0303030303030303030303030303030303030303, or to none; no such offer in category 2: set category to 0"
        ],
    );
}

#[test]
fn where_there_is_no_way_it_says_what_is_missing() {
    check(&request(), &[], &expect!["NoOffer(Workerpool)"]);
    let for_others = WorkerpoolOrder { requester_restrict: POOL, ..pool(1) };
    check(&request(), &[for_others], &expect!["Restricted"]);
    let with_dataset = RequestOrder { dataset: DATASET, ..request() };
    check(&with_dataset, &[pool(1)], &expect!["NoOffer(Dataset)"]);
}

/// A chain on which everything is signed and nothing used.
fn facts() -> Facts {
    let asset = AssetFacts { owner: Some(Address::repeat_byte(9)), registered: true, signed: true };
    Facts {
        categories: n(10),
        app: asset,
        dataset: asset,
        workerpool: asset,
        request_signed: true,
        consumed: Consumed::default(),
        policy: PoolPolicy {
            worker_stake_percent: U256::ZERO,
            scheduler_reward_percent: U256::ZERO,
        },
        members: BTreeSet::new(),
        funds: None,
    }
}

fn matches(quartet: &Quartet) -> bool {
    matching::check(quartet, &facts()).is_ok()
}

fn tag() -> impl Strategy<Value = Tag> {
    select(vec![
        Tag::NONE,
        Tag::NONE,
        Tag::GPU,
        Tag::TEE,
        Tag::TEE | Tag::TDX,
        Tag::TEE | Tag::SCONE | Tag::GPU,
    ])
}

fn one_of(party: Address) -> impl Strategy<Value = Address> {
    select(vec![Address::ZERO, Address::ZERO, Address::ZERO, party, OTHER_POOL])
}

prop_compose! {
    fn any_app()(price in 0u64..9, tag in tag(), w in one_of(POOL), r in one_of(REQUESTER), d in one_of(DATASET)) -> AppOrder {
        AppOrder {
            price: n(price), tag, workerpool_restrict: w, requester_restrict: r, dataset_restrict: d, ..app()
        }
    }
}

prop_compose! {
    fn any_dataset()(price in 0u64..9, tag in tag(), w in one_of(POOL), r in one_of(REQUESTER), a in one_of(APP)) -> DatasetOrder {
        DatasetOrder {
            dataset: DATASET, price: n(price), volume: n(5), tag, workerpool_restrict: w,
            requester_restrict: r, app_restrict: a, ..DatasetOrder::default()
        }
    }
}

prop_compose! {
    fn any_pool()(
        price in 0u64..30, tag in tag(), category in 0u64..3, trust in 0u64..5,
        r in one_of(REQUESTER), a in one_of(APP), at in select(vec![POOL, OTHER_POOL]),
    ) -> WorkerpoolOrder {
        WorkerpoolOrder {
            workerpool: at, tag, category: n(category), trust: n(trust), requester_restrict: r,
            app_restrict: a, ..pool(price)
        }
    }
}

prop_compose! {
    fn any_request()(
        prices in [0u64..9, 0u64..9, 0u64..30], tag in tag(), category in 0u64..3, trust in 0u64..5,
        workerpool in one_of(POOL), dataset in select(vec![Address::ZERO, DATASET]),
    ) -> RequestOrder {
        let [a, d, w] = prices.map(n);
        RequestOrder {
            app_max_price: a, dataset_max_price: d, workerpool_max_price: w, tag, category: n(category),
            trust: n(trust), workerpool, dataset, ..request()
        }
    }
}

proptest! {
    /// Every way suggested is one that the contract goes along with; nothing in it is needless; and nothing is
    /// suggested to whoever could be matched as it is.
    #[test]
    fn what_is_suggested_works_and_no_less_does(
        request in any_request(),
        apps in proptest::collection::vec(any_app(), 0..4),
        datasets in proptest::collection::vec(any_dataset(), 0..4),
        workerpools in proptest::collection::vec(any_pool(), 0..8),
    ) {
        let offers = Offers { apps: &apps, datasets: &datasets, workerpools: &workerpools };
        let none = [DatasetOrder::none()];
        let wanted: &[DatasetOrder] = if request.dataset.is_zero() { &none } else { &datasets };
        let as_it_is = apps.iter().any(|app| wanted.iter().any(|dataset| {
            workerpools.iter().any(|pool| matches(&Quartet {
                app: app.clone(),
                dataset: dataset.clone(),
                workerpool: pool.clone(),
                request: request.clone(),
            }))
        }));
        match least_change(&request, offers, 5) {
            Err(_) => prop_assert!(!as_it_is),
            Ok(ways) => {
                prop_assert_eq!(ways[0].changes.is_empty(), as_it_is);
                for way in &ways {
                    let whole = quartet(&request, offers, way).expect("orders that there are");
                    prop_assert!(matches(&whole), "{:?}", way);
                    for left_out in 0..way.changes.len() {
                        let mut fewer = way.changes.clone();
                        fewer.remove(left_out);
                        let less = Way { changes: fewer, ..way.clone() };
                        let partly = quartet(&request, offers, &less).expect("orders that there are");
                        prop_assert!(!matches(&partly), "{:?}", less);
                    }
                }
                let lengths: Vec<_> = ways.iter().map(|way| way.changes.len()).collect();
                prop_assert!(lengths.is_sorted());
            }
        }
    }

    /// Price alone: the rise is exactly what the cheapest offer asks for more.
    #[test]
    fn a_rise_is_no_larger_than_needed(most in 0u64..50, prices in proptest::collection::vec(0u64..100, 1..9)) {
        let request = RequestOrder { workerpool_max_price: n(most), ..request() };
        let pools: Vec<_> = prices.iter().map(|price| pool(*price)).collect();
        let apps = [app()];
        let offers = Offers { apps: &apps, datasets: &[], workerpools: &pools };
        let ways = least_change(&request, offers, 1).expect("a way");
        let cheapest = prices.iter().min().copied().unwrap_or_default();
        let paid = changed(&request, &ways[0].changes).workerpool_max_price;
        prop_assert_eq!(paid, n(most.max(cheapest)));
        prop_assert_eq!(Nrlc(paid).0, paid);
    }
}
