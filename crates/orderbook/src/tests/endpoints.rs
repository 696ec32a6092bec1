//! The routes from end to end: what a client sends, and the status and words that it gets back.

use alloy_primitives::{Address, B256, U256};
use alloy_signer_local::PrivateKeySigner;
use axum::body::Body;
use axum::http::Request;
use expect_test::{Expect, expect};
use orders::{AppOrder, WorkerpoolOrder};
use serde_json::{Value, json};
use tower::ServiceExt;
use wire::auth::Challenge;
use wire::market::Order;

use super::fair::{
    APP, DATASET, Fair, POOL, app_order, dataset_order, matched, pool_order, request_order,
};

const CHAIN: &str = "chainId=65535";

async fn send(fair: &Fair, request: Request<Body>) -> (u16, Value) {
    let answer = fair.handle.router().oneshot(request).await.expect("answers");
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 24).await.expect("a body");
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

async fn get(fair: &Fair, path: &str) -> (u16, Value) {
    send(fair, Request::get(path).body(Body::empty()).expect("a request")).await
}

/// What is refused: status and words.
async fn refused(answer: (u16, Value), expected: &Expect) {
    assert_eq!(answer.1["ok"], false, "{answer:?}");
    expected.assert_eq(&format!("{} {}", answer.0, answer.1["error"].as_str().unwrap_or_default()));
}

async fn login(fair: &Fair, wallet: &PrivateKeySigner) -> String {
    let (status, answer) =
        get(fair, &format!("/challenge?{CHAIN}&address={}", wallet.address())).await;
    assert_eq!(status, 200, "{answer}");
    let challenge = Challenge::from_json(&answer["data"]).expect("a challenge");
    challenge.sign(wallet).expect("signs").to_string()
}

async fn logged_in(
    fair: &Fair,
    method: &str,
    path: &str,
    authorization: &str,
    body: &Value,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?{CHAIN}"))
        .header("authorization", authorization)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    send(fair, request.expect("a request")).await
}

async fn publish(fair: &Fair, wallet: &PrivateKeySigner, order: impl Into<Order>) -> (u16, Value) {
    let order: Order = order.into();
    let path = format!("/{}orders", order.kind());
    let body = json!({ "order": order.to_json().expect("fits") });
    logged_in(fair, "POST", &path, &login(fair, wallet).await, &body).await
}

async fn unpublish(
    fair: &Fair,
    wallet: &PrivateKeySigner,
    kind: &str,
    body: Value,
) -> (u16, Value) {
    let authorization = login(fair, wallet).await;
    logged_in(fair, "PUT", &format!("/{kind}orders"), &authorization, &body).await
}

/// A market whose assets belong to a key.
async fn market() -> (Fair, PrivateKeySigner) {
    let fair = Fair::open().await;
    let owner = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).expect("a key");
    fair.change(|world| {
        for asset in [APP, DATASET, POOL] {
            world.owners.insert(asset, owner.address());
        }
        world.stakes.insert(owner.address(), 10_000);
    });
    (fair, owner)
}

fn app(salt: u8, price: u64) -> AppOrder {
    AppOrder { salt: B256::repeat_byte(salt), price: U256::from(price), ..app_order() }
}

#[tokio::test]
async fn a_record_has_the_official_shape_when_published_found_and_listed() {
    let (fair, owner) = market().await;
    let (status, answer) = publish(&fair, &owner, dataset_order()).await;
    assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{answer}");
    let published = &answer["published"];
    let mut names: Vec<_> = published.as_object().expect("a record").keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "bulk",
            "chainId",
            "order",
            "orderHash",
            "publicationTimestamp",
            "remaining",
            "signer",
            "status"
        ]
    );
    assert_eq!(published["chainId"], 65_535);
    assert_eq!(published["order"]["datasetprice"], 7);
    assert_eq!(published["order"]["dataset"], DATASET.to_checksum(None));
    let (_, listed) = get(&fair, &format!("/datasetorders?{CHAIN}&dataset={DATASET}")).await;
    assert_eq!(listed, json!({"ok": true, "orders": [published], "count": 1}));

    let hash = published["orderHash"].as_str().expect("a hash").to_owned();
    let (_, found) = get(&fair, &format!("/datasetorders/{hash}?{CHAIN}")).await;
    // The one place of the order routes where the chain id is text.
    assert_eq!(found["chainId"], "65535");
    assert_eq!(found["order"], published["order"]);
    let upper = hash.to_uppercase().replace("0X", "0x");
    assert_eq!(get(&fair, &format!("/datasetorders/{upper}?{CHAIN}")).await.1["orderHash"], hash);
    refused(
        get(&fair, &format!("/apporders/{hash}?{CHAIN}")).await,
        &expect!["404 apporder not found"],
    )
    .await;
}

#[tokio::test]
async fn a_login_is_good_once_for_whom_it_is_and_for_this_chain() {
    let (fair, owner) = market().await;
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(2)).expect("a key");
    let body = json!({ "order": Order::from(app_order()).to_json().expect("fits") });
    let first = login(&fair, &owner).await;
    let second = login(&fair, &owner).await;
    assert_ne!(first, second, "several logins of a wallet are open at once");
    for authorization in [&second, &first] {
        let (status, answer) = logged_in(&fair, "POST", "/apporders", authorization, &body).await;
        let word = if status == 200 { "published" } else { "error" };
        assert!(answer[word] != Value::Null, "{answer}");
        refused(
            logged_in(&fair, "POST", "/apporders", authorization, &body).await,
            &expect!["403 invalid authorization"],
        )
        .await;
    }
    let theirs = login(&fair, &stranger).await;
    let forged = theirs.replace(&stranger.address().to_string(), &owner.address().to_string());
    refused(
        logged_in(&fair, "POST", "/apporders", &forged, &body).await,
        &expect!["403 invalid authorization"],
    )
    .await;
    refused(
        send(&fair, Request::post(format!("/apporders?{CHAIN}")).body(Body::empty()).expect("one"))
            .await,
        &expect!["403 invalid authorization"],
    )
    .await;
    refused(
        publish(&fair, &stranger, app(9, 1)).await,
        &expect![
            "403 only order signer 0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1 can publish an order"
        ],
    )
    .await;
    refused(
        get(&fair, &format!("/challenge?chainId=1&address={}", owner.address())).await,
        &expect!["400 chainId 1 is not supported"],
    )
    .await;
}

#[tokio::test]
async fn at_once_a_login_opens_one_door_and_a_wallet_stays_within_its_limit() {
    let (fair, owner) = market().await;
    let body = |salt: u8| json!({ "order": Order::from(app(salt, 1)).to_json().expect("fits") });
    let bodies: Vec<_> = (0..8).map(body).collect();
    let once = login(&fair, &owner).await;
    let replayed = bodies.iter().map(|body| logged_in(&fair, "POST", "/apporders", &once, body));
    let mut open = 0;
    for answer in futures::future::join_all(replayed).await {
        if answer.0 == 200 {
            open += 1;
        } else {
            refused(answer, &expect!["403 invalid authorization"]).await;
        }
    }
    assert_eq!(open, 1, "a login is good once");
    // Eight logins of one wallet at once, with room for four more orders, and one of the eight is in the book.
    let published = (0..8).map(|salt| publish(&fair, &owner, app(salt, 1)));
    for (status, answer) in futures::future::join_all(published).await {
        let reason = answer["error"].as_str().unwrap_or_default();
        let known = reason == "order already published" || reason.starts_with("maximum of 5 ");
        assert!(status == 200 || (status == 403 && known), "{status} {answer}");
        open += usize::from(status == 200);
    }
    assert_eq!(open, 5, "the limit is reached and not passed");
    let (_, listed) = get(&fair, &format!("/apporders?{CHAIN}&app={APP}")).await;
    assert_eq!(listed["count"], 5, "nothing that was taken is lost");
}

#[tokio::test]
async fn orders_are_taken_back_one_the_last_or_all() {
    let (fair, owner) = market().await;
    let mut hashes = Vec::new();
    for salt in 1..=4 {
        let (_, answer) = publish(&fair, &owner, app(salt, 1)).await;
        hashes.push(answer["published"]["orderHash"].clone());
        // Publication times tell the last from the others, and have milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let target = json!({ "orderHash": hashes[0] });
    let (_, answer) = unpublish(&fair, &owner, "app", target.clone()).await;
    assert_eq!(answer, json!({"ok": true, "unpublished": [hashes[0]]}));
    refused(
        unpublish(&fair, &owner, "app", json!({ "orderHash": B256::ZERO })).await,
        &expect!["403 apporder with orderHash 0x0000000000000000000000000000000000000000000000000000000000000000 is not published"],
    )
    .await;
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(2)).expect("a key");
    refused(
        unpublish(&fair, &stranger, "app", json!({ "orderHash": hashes[1] })).await,
        &expect!["403 only order signer 0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1 can unpublish an order"],
    )
    .await;
    let last = json!({ "target": "unpublish_last", "app": APP });
    assert_eq!(unpublish(&fair, &owner, "app", last).await.1["unpublished"], json!([hashes[3]]));
    let all = json!({ "target": "unpublish_all", "app": APP });
    let (_, answer) = unpublish(&fair, &owner, "app", all.clone()).await;
    assert_eq!(answer["unpublished"].as_array().map(Vec::len), Some(2));
    refused(
        unpublish(&fair, &owner, "app", all).await,
        &expect!["403 no open apporder published by signer 0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1 for app 0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0"],
    )
    .await;
    refused(
        unpublish(&fair, &owner, "app", json!({})).await,
        &expect!["400 orderHash is a required field"],
    )
    .await;
    refused(
        unpublish(&fair, &owner, "app", json!({ "target": "unpublish_all" })).await,
        &expect!["400 app is a required field"],
    )
    .await;
    refused(
        unpublish(&fair, &owner, "app", json!({ "target": "both" })).await,
        &expect!["400 target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all"],
    )
    .await;
}

#[tokio::test]
async fn pages_are_counted_the_two_ways() {
    let mut fair = Fair::open().await;
    fair.block([]).await;
    let limits = 21_u8;
    for salt in 0..limits {
        let order = WorkerpoolOrder {
            salt: B256::repeat_byte(salt),
            price: U256::from(salt),
            volume: U256::from(1),
            ..pool_order()
        };
        // Five orders are the most of a wallet here.
        let owner = Address::repeat_byte(0x60 + salt / 5);
        let pool = Address::repeat_byte(0x80 + salt / 5);
        fair.change(|world| {
            world.owners.insert(pool, owner);
            world.stakes.insert(owner, 1_000);
        });
        fair.publish(WorkerpoolOrder { workerpool: pool, ..order }, owner)
            .await
            .expect("published");
    }
    let page = async |query: &str| {
        let (_, answer) = get(&fair, &format!("/workerpoolorders?{CHAIN}&{query}")).await;
        let orders = answer["orders"].as_array().expect("orders");
        let first = orders.first().map(|record| record["order"]["workerpoolprice"].clone());
        (orders.len(), first, answer["count"].clone(), answer["nextPage"].clone())
    };
    assert_eq!(page("").await, (20, Some(json!(0)), json!(21), json!(20)));
    assert_eq!(page("page=20").await, (1, Some(json!(20)), json!(21), Value::Null));
    assert_eq!(page("page=1").await, (20, Some(json!(1)), json!(21), json!(21)));
    let by_ten = "pageIndex=1&pageSize=10";
    assert_eq!(page(by_ten).await, (10, Some(json!(10)), json!(21), json!(20)));
    assert_eq!(page("pageIndex=3&pageSize=10").await, (0, None, json!(21), Value::Null));
    assert_eq!(page("pageSize=21").await, (21, Some(json!(0)), json!(21), json!(21)));
    assert_eq!(page("minVolume=2").await, (0, None, json!(0), Value::Null));
    assert_eq!(page("category=1").await, (0, None, json!(0), Value::Null));
}

#[tokio::test]
async fn deals_categories_and_prices_are_told() {
    let mut fair = Fair::open().await;
    let app = fair.offer(app_order()).await;
    let pool = fair.offer(pool_order()).await;
    let request = fair.offer(request_order()).await;
    let category = chain::MarketEvent::CategoryCreated {
        category: primitives::CategoryId::new(0),
        name: "XS".into(),
        work_clock_seconds: 300,
    };
    fair.block([category, matched([&app, &pool, &request], 2)]).await;
    let (_, prices) = get(&fair, &format!("/ohlc?{CHAIN}&category=0")).await;
    assert_eq!(prices, json!({"ok": true, "ohlc": [["2023-11-14T22:13:21.000Z", 1, 2]]}));
    let (_, none) = get(&fair, &format!("/ohlc?{CHAIN}&category=1")).await;
    assert_eq!(none["ohlc"], json!([]));
    refused(
        get(&fair, &format!("/ohlc?{CHAIN}")).await,
        &expect!["400 category is a required field"],
    )
    .await;

    let (_, one) = get(&fair, &format!("/categories/0?{CHAIN}")).await;
    assert_eq!((&one["catid"], &one["chainId"]), (&json!(0), &json!("65535")));
    assert_eq!((&one["name"], &one["workClockTimeRef"]), (&json!("XS"), &json!(300)));
    let (_, all) = get(&fair, &format!("/categories?{CHAIN}&minWorkClockTimeRef=300")).await;
    assert_eq!(all["count"], 1);
    let (_, none) = get(&fair, &format!("/categories?{CHAIN}&maxWorkClockTimeRef=299")).await;
    assert_eq!(none, json!({"ok": true, "categories": [], "count": 0}));
    refused(
        get(&fair, &format!("/categories/7?{CHAIN}")).await,
        &expect!["404 category not found"],
    )
    .await;

    let by_order = format!("/deals?{CHAIN}&requestorderHash={}", request.hash);
    let (_, deals) = get(&fair, &by_order).await;
    assert_eq!((&deals["count"], &deals["deals"][0]["volume"]), (&json!(1), &json!(2)));
    let id = deals["deals"][0]["dealid"].as_str().expect("an id").to_owned();
    let (_, deal) = get(&fair, &format!("/deals/{id}?{CHAIN}")).await;
    assert_eq!((&deal["dealid"], &deal["chainId"]), (&json!(id), &json!(65_535)));
    assert_eq!(deal["dataset"]["pointer"], "0x0000000000000000000000000000000000000000");
    refused(
        get(&fair, &format!("/deals/{}?{CHAIN}", B256::ZERO)).await,
        &expect!["404 deal not found"],
    )
    .await;
    let (_, metrics) = get(&fair, &format!("/metrics?{CHAIN}")).await;
    assert_eq!((&metrics["apporders"], &metrics["datasetorders"]), (&json!(1), &json!(0)));
    assert_eq!(get(&fair, "/version").await.0, 200);
}
