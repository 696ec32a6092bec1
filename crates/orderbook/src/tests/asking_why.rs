//! What keeps a request from being matched, over the route.

use alloy_primitives::{Address, B256, U256};
use alloy_signer_local::PrivateKeySigner;
use axum::body::Body;
use axum::http::Request;
use expect_test::{Expect, expect};
use orders::{AppOrder, RequestOrder, WorkerpoolOrder};
use primitives::Tag;
use serde_json::Value;
use wire::UnixMillis;
use wire::market::{Claim, Machines, Order, SignedClaim, Why};
use wire::scheduler::Reputation;

use super::fair::{
    Fair, OWNER, POOL, REQUESTER, STRANGER, app_order, dataset_order, pool_order, request_order,
};

const FAR_POOL: Address = Address::repeat_byte(0xb2);

async fn ask(fair: &Fair, query: &str) -> Value {
    use tower::ServiceExt;
    let request = Request::get(format!("/why?chainId=65535&{query}")).body(Body::empty());
    let answer = fair.handle.router().oneshot(request.expect("a request")).await.expect("answers");
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn about(request: &RequestOrder) -> String {
    let mut json = Order::from(request.clone()).to_json().expect("fits");
    if let Some(fields) = json.as_object_mut() {
        fields.remove("sign");
    }
    let encoded: String = json.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("requestorder={encoded}")
}

/// Asks about the request, and again with the first remedy's change made, which must match.
async fn check(fair: &Fair, request: &RequestOrder, expected: &Expect) {
    let answer = ask(fair, &about(request)).await;
    let why: Why = serde_json::from_value(answer).expect("an explanation");
    let mut shown = format!("{}: {}", why.code.as_deref().unwrap_or("-"), why.what);
    for remedy in &why.remedies {
        shown.push_str(&format!("\n-> {} {}", remedy.text, Value::Object(remedy.change.clone())));
    }
    expected.assert_eq(&shown);
    let Some(first) = why.remedies.first().filter(|remedy| !remedy.change.is_empty()) else {
        return;
    };
    let mut changed = Order::from(request.clone()).to_json().expect("fits");
    changed.as_object_mut().expect("an object").extend(first.change.clone());
    let Ok(Order::Request(changed)) = Order::from_json(orders::OrderKind::Request, &changed) else {
        panic!("still a request");
    };
    let again = ask(fair, &about(&changed)).await;
    assert_eq!(again["matches"], true, "{again}");
    assert_eq!(again["offers"], serde_json::json!(first.offers));
}

fn pool(salt: u8, price: u64, tag: Tag) -> WorkerpoolOrder {
    let price = U256::from(price);
    WorkerpoolOrder { salt: B256::repeat_byte(salt), price, tag, ..pool_order() }
}

/// A book in which the chain has its five categories.
async fn market() -> Fair {
    let mut fair = Fair::open().await;
    let category = |number: u64| chain::MarketEvent::CategoryCreated {
        category: primitives::CategoryId::new(number),
        name: "XS".into(),
        work_clock_seconds: 300,
    };
    fair.block((0..5).map(category)).await;
    fair
}

#[tokio::test]
async fn a_price_that_is_too_low_is_told_with_what_is_missing() {
    let fair = market().await;
    fair.offer(app_order()).await;
    fair.offer(pool(1, 12, Tag::NONE)).await;
    fair.offer(pool(2, 90, Tag::NONE)).await;
    let poor = RequestOrder { workerpool_max_price: U256::from(9), ..request_order() };
    check(
        &fair,
        &poor,
        &expect![[r#"
            0x05: workerpoolmaxprice 9 nRLC is too low by 3
            -> raise workerpoolmaxprice by 3 to 12 nRLC {"workerpoolmaxprice":12}"#]],
    )
    .await;
    check(&fair, &request_order(), &expect!["-: it can be matched, for 17 nRLC per task"]).await;
}

#[tokio::test]
async fn demands_that_nobody_meets_are_told_with_what_there_is_without_them() {
    let fair = market().await;
    fair.offer(app_order()).await;
    fair.offer(pool(1, 12, Tag::NONE)).await;
    fair.offer(pool(2, 15, Tag::NONE)).await;
    let gpu = RequestOrder { tag: Tag::GPU, trust: U256::ZERO, ..request_order() };
    check(
        &fair,
        &gpu,
        &expect![[r#"
            0x06: no such offer with tag gpu; 2 without it
            -> do without tag gpu {"tag":"0x0000000000000000000000000000000000000000000000000000000000000000"}"#]],
    )
    .await;
    let later = RequestOrder { category: U256::from(3), ..request_order() };
    check(
        &fair,
        &later,
        &expect![[r#"
            0x00: no such offer in category 3
            -> set category to 0 {"category":0}"#]],
    )
    .await;
}

#[tokio::test]
async fn what_no_change_of_the_request_mends_is_told_too() {
    let mut fair = market().await;
    check(
        &fair,
        &request_order(),
        &expect![[r#"
            no-apporder: the book has no open offer of app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0 for this requester
            -> ask the owner of 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0 to publish one {}"#]],
    )
    .await;
    fair.offer(AppOrder { workerpool_restrict: STRANGER, ..app_order() }).await;
    check(
        &fair,
        &request_order(),
        &expect![[r#"
            no-workerpoolorder: the book has no offer of computing for this requester
            -> wait for a workerpool to publish one, or run one: gristmill up {}"#]],
    )
    .await;
    fair.offer(pool_order()).await;
    check(
        &fair,
        &request_order(),
        &expect![[r#"
            restricted: there are offers, but their owners restrict them to others
            -> ask the owners for orders without these restrictions {}"#]],
    )
    .await;
    fair.offer(app_order()).await;
    fair.restake(REQUESTER, 100).await;
    let poor = RequestOrder { workerpool_max_price: U256::from(99), ..request_order() };
    let answer = ask(&fair, &about(&poor)).await;
    let last = answer["remedies"].as_array().and_then(|remedies| remedies.last().cloned());
    let last = last.unwrap_or_default();
    assert_eq!((&last["besides"], &last["text"]), (&true.into(), &"deposit 110 nRLC more".into()));
    check(
        &fair,
        &request_order(),
        &expect![[r#"
            payer-funds: the payer must lock 0.00000021 RLC and has 0.0000001 RLC in the hub
            -> deposit 110 nRLC more {}"#]],
    )
    .await;
}

#[tokio::test]
async fn four_orders_are_judged_as_the_contract_will() {
    let fair = market().await;
    let app = fair.offer(app_order()).await;
    let dataset = fair.offer(dataset_order()).await;
    let dear = fair.offer(pool(1, 200, Tag::NONE)).await;
    fair.offer(pool(2, 10, Tag::NONE)).await;
    let request = fair.offer(request_order()).await;
    let four = format!(
        "requestorder={}&apporder={}&workerpoolorder={}",
        request.hash, app.hash, dear.hash
    );
    let answer = ask(&fair, &four).await;
    assert_eq!(answer["code"], "0x05", "{answer}");
    assert_eq!(answer["remedies"][0]["change"]["workerpoolmaxprice"], 200);
    let answer = ask(&fair, &format!("{four}&datasetorder={}", dataset.hash)).await;
    assert_eq!(answer["code"], "0x04", "{answer}");
    let answer = ask(&fair, &format!("requestorder={}", request.hash)).await;
    assert_eq!(answer["matches"], true, "{answer}");

    fair.change(|world| {
        world.forged.insert(app.hash);
    });
    let answer = ask(&fair, &format!("requestorder={}", request.hash)).await;
    assert_eq!(answer["code"], "0x21", "{answer}");
    let missing = ask(&fair, &format!("requestorder={}", app.hash)).await;
    assert_eq!(missing["error"], "requestorder not found");
    assert_eq!(OWNER, app.signer);
}

/// A book with two workerpools that say where their workers are: `POOL` in eu without a GPU, another in us with one.
async fn regions() -> Fair {
    let fair = market().await;
    fair.offer(app_order()).await;
    let key = |number: u8| PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).expect("a key");
    for (number, workerpool, region, tag, prices) in
        [(1, POOL, "eu", Tag::NONE, [12, 15]), (2, FAR_POOL, "us", Tag::GPU, [20, 21])]
    {
        let owner = key(number).address();
        fair.change(|world| {
            world.owners.insert(workerpool, owner);
            world.stakes.insert(owner, 10_000);
        });
        for price in prices {
            let order = WorkerpoolOrder { workerpool, ..pool(number, price, tag) };
            fair.publish(order, owner).await.expect("is published");
        }
        let machines =
            vec![Machines { workers: 3, gpu: tag == Tag::GPU, region: Some(region.into()) }];
        let claim = Claim {
            version: Claim::VERSION,
            chain_id: 65_535,
            workerpool,
            issued_at: UnixMillis::now(),
            canary_rate_ppm: 0,
            canaries_passed: 0,
            canaries_failed: 0,
            total: Reputation::default(),
            machines,
        };
        let signed = SignedClaim::of(&claim, &key(number)).expect("signs");
        fair.book.put_claim(workerpool, signed).await.expect("is taken");
    }
    fair
}

async fn check_in(fair: &Fair, region: &str, request: &RequestOrder, expected: &Expect) {
    let answer = ask(fair, &format!("{}&region={region}", about(request))).await;
    let why: Why = serde_json::from_value(answer).expect("an explanation");
    let mut shown = format!("{}: {}", why.code.as_deref().unwrap_or("-"), why.what);
    for remedy in &why.remedies {
        shown.push_str(&format!("\n-> {} {}", remedy.text, Value::Object(remedy.change.clone())));
    }
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn a_region_is_where_workerpools_say_that_their_workers_are() {
    let fair = regions().await;
    let gpu = RequestOrder { tag: Tag::GPU, ..request_order() };
    let poor = RequestOrder { workerpool_max_price: U256::from(9), ..request_order() };
    check_in(&fair, "EU", &request_order(), &expect![[r#"
        -: it can be matched, for 17 nRLC per task in region EU
        -> set workerpool to 0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0, which is in region EU {"workerpool":"0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0"}"#]]).await;
    check_in(&fair, "eu", &gpu, &expect![[r#"
        0x06: no such offer with tag gpu in region eu; 2 without it
        -> do without tag gpu and set workerpool to 0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0, which is in region eu {"tag":"0x0000000000000000000000000000000000000000000000000000000000000000","workerpool":"0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0"}"#]]).await;
    check_in(&fair, "eu", &poor, &expect![[r#"
        0x05: workerpoolmaxprice 9 nRLC is too low by 3
        -> raise workerpoolmaxprice by 3 to 12 nRLC and set workerpool to 0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0, which is in region eu {"workerpool":"0xB0B0b0B0B0B0B0b0B0B0B0b0b0b0b0B0b0b0B0B0","workerpoolmaxprice":12}"#]]).await;
    check_in(&fair, "us", &gpu, &expect![[r#"
        -: it can be matched, for 25 nRLC per task in region us
        -> set workerpool to 0xb2b2b2b2b2B2b2B2B2b2b2B2B2b2B2B2b2b2b2b2, which is in region us {"workerpool":"0xb2b2b2b2b2B2b2B2B2b2b2B2B2b2B2B2b2b2b2b2"}"#]]).await;
    check_in(
        &fair,
        "ap",
        &request_order(),
        &expect![[r#"
        region: no offer in region ap; 4 elsewhere or unsaid
        -> leave the region out, or ask for one of: eu, us {}"#]],
    )
    .await;
    let there = RequestOrder { workerpool: POOL, ..request_order() };
    check_in(
        &fair,
        "eu",
        &there,
        &expect!["-: it can be matched, for 17 nRLC per task in region eu"],
    )
    .await;
}
