//! What crosses the wire, word for word.

use alloy_primitives::{B256, Bytes, U256};
use expect_test::{Expect, expect};
use orders::{AppOrder, DatasetOrder, OrderKind, RequestOrder, WorkerpoolOrder};
use primitives::{DealId, OrderHash, ResultHash, Tag, TaskId};
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::link::{Blame, Capabilities, Enclave, EnclaveTask, RunFailure, ToScheduler, ToWorker};
use wire::market::{Deal, Order, OrderStatus, Published};
use wire::{Failure, UnixMillis};

use crate::{CHAIN_ID, address};

fn check(shape: &Value, expected: &Expect) {
    expected.assert_eq(&format!("{shape:#}"));
}

fn sign() -> Bytes {
    Bytes::from_static(&[0xab, 0xcd])
}

fn all_orders() -> [Order; 4] {
    [
        Order::from(AppOrder {
            app: address(0xaa),
            price: U256::from(1),
            volume: U256::from(2),
            tag: Tag::TEE,
            sign: sign(),
            ..AppOrder::default()
        }),
        Order::from(DatasetOrder {
            dataset: address(0xbb),
            price: U256::ZERO,
            volume: U256::from((1u64 << 53) - 1),
            sign: sign(),
            ..DatasetOrder::default()
        }),
        Order::from(WorkerpoolOrder {
            workerpool: address(0xcc),
            price: U256::from(3),
            volume: U256::from(4),
            category: U256::from(5),
            trust: U256::from(6),
            requester_restrict: address(0xdd),
            salt: B256::repeat_byte(0x5a),
            sign: sign(),
            ..WorkerpoolOrder::default()
        }),
        Order::from(RequestOrder {
            app: address(0xaa),
            app_max_price: U256::from(7),
            requester: address(0xdd),
            beneficiary: address(0xee),
            volume: U256::from(1),
            params: r#"{"iexec_args":"é"}"#.into(),
            sign: sign(),
            ..RequestOrder::default()
        }),
    ]
}

#[test]
fn orders_have_the_official_fields() {
    let [app, dataset, workerpool, request] =
        all_orders().map(|order| order.to_json().expect("fits"));
    check(
        &app,
        &expect![[r#"
        {
          "app": "0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa",
          "appprice": 1,
          "datasetrestrict": "0x0000000000000000000000000000000000000000",
          "requesterrestrict": "0x0000000000000000000000000000000000000000",
          "salt": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "sign": "0xabcd",
          "tag": "0x0000000000000000000000000000000000000000000000000000000000000001",
          "volume": 2,
          "workerpoolrestrict": "0x0000000000000000000000000000000000000000"
        }"#]],
    );
    check(
        &dataset,
        &expect![[r#"
        {
          "apprestrict": "0x0000000000000000000000000000000000000000",
          "dataset": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB",
          "datasetprice": 0,
          "requesterrestrict": "0x0000000000000000000000000000000000000000",
          "salt": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "sign": "0xabcd",
          "tag": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "volume": 9007199254740991,
          "workerpoolrestrict": "0x0000000000000000000000000000000000000000"
        }"#]],
    );
    check(
        &workerpool,
        &expect![[r#"
        {
          "apprestrict": "0x0000000000000000000000000000000000000000",
          "category": 5,
          "datasetrestrict": "0x0000000000000000000000000000000000000000",
          "requesterrestrict": "0xDDdDddDdDdddDDddDDddDDDDdDdDDdDDdDDDDDDd",
          "salt": "0x5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
          "sign": "0xabcd",
          "tag": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "trust": 6,
          "volume": 4,
          "workerpool": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
          "workerpoolprice": 3
        }"#]],
    );
    check(
        &request,
        &expect![[r#"
        {
          "app": "0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa",
          "appmaxprice": 7,
          "beneficiary": "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE",
          "callback": "0x0000000000000000000000000000000000000000",
          "category": 0,
          "dataset": "0x0000000000000000000000000000000000000000",
          "datasetmaxprice": 0,
          "params": "{\"iexec_args\":\"é\"}",
          "requester": "0xDDdDddDdDdddDDddDDddDDDDdDdDDdDDdDDDDDDd",
          "salt": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "sign": "0xabcd",
          "tag": "0x0000000000000000000000000000000000000000000000000000000000000000",
          "trust": 0,
          "volume": 1,
          "workerpool": "0x0000000000000000000000000000000000000000",
          "workerpoolmaxprice": 0
        }"#]],
    );
}

#[test]
fn orders_read_back_as_they_were_written() {
    for order in all_orders() {
        let json = order.to_json().expect("fits");
        assert_eq!(Order::from_json(order.kind(), &json), Ok(order));
    }
}

#[test]
fn a_published_order_is_the_official_record() {
    let record = Published {
        order: all_orders()[1].clone(),
        hash: OrderHash(B256::repeat_byte(1)),
        chain_id: CHAIN_ID,
        published_at: UnixMillis(1_568_196_218_068),
        signer: address(0xee),
        status: OrderStatus::Open,
        remaining: 12,
        track_record: None,
        claimed: None,
    };
    let json = Value::Object(record.to_json().expect("fits"));
    assert_eq!(Published::from_json(OrderKind::Dataset, &json), Ok(record));
    let mut without_order = json;
    without_order["order"] = Value::Null;
    check(
        &without_order,
        &expect![[r#"
        {
          "bulk": true,
          "chainId": 65535,
          "order": null,
          "orderHash": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "publicationTimestamp": "2019-09-11T10:03:38.068Z",
          "remaining": 12,
          "signer": "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE",
          "status": "open"
        }"#]],
    );
}

/// Changes one field of a good order and compares what is said about it.
fn refused(kind: OrderKind, field: &str, value: Value, expected: &Expect) {
    let orders = all_orders();
    let order = orders.iter().find(|order| order.kind() == kind).expect("all kinds");
    let mut json = order.to_json().expect("fits");
    json[field] = value;
    let error = Order::from_json(kind, &json).expect_err(field);
    expected.assert_eq(&error.to_string());
}

#[test]
fn what_is_wrong_with_an_order_is_named() {
    use OrderKind::{App, Request, Workerpool};
    refused(App, "app", json!("0x12"), &expect!["app is not a valid ethereum address"]);
    refused(App, "app", json!(12), &expect!["app must be a string"]);
    refused(App, "appprice", json!(-1), &expect!["appprice must be greater than or equal to 0"]);
    refused(App, "appprice", json!(1.5), &expect!["appprice must be an integer"]);
    refused(
        App,
        "appprice",
        json!("nine"),
        &expect![[
            r#"appprice must be a `number` type, but the final value was: `NaN` (cast from the value `"nine"`)."#
        ]],
    );
    refused(
        App,
        "appprice",
        json!(1u64 << 53),
        &expect!["appprice must be less than or equal to 9007199254740991"],
    );
    refused(
        App,
        "appprice",
        json!("99999999999999999999999"),
        &expect!["appprice must be less than or equal to 9007199254740991"],
    );
    refused(App, "volume", json!(0), &expect!["volume must be greater than or equal to 1"]);
    refused(App, "tag", json!("0x1"), &expect!["tag must be a bytes32 hexstring"]);
    refused(App, "sign", json!("abcd"), &expect!["sign must be a hexstring"]);
    refused(App, "sign", Value::Null, &expect!["sign is a required field"]);
    refused(
        Workerpool,
        "category",
        json!([]),
        &expect!["category must be a `number` type, but the final value was: `[]`."],
    );
    refused(Request, "params", json!({}), &expect!["params must be a string"]);
}

#[test]
fn numbers_may_come_as_text() {
    let mut json = all_orders()[0].to_json().expect("fits");
    json["appprice"] = json!("1000");
    json["volume"] = json!(2.0);
    let Ok(Order::App(order)) = Order::from_json(OrderKind::App, &json) else {
        panic!("an app order");
    };
    assert_eq!((order.price, order.volume), (U256::from(1_000), U256::from(2)));
}

#[test]
fn an_order_that_javascript_cannot_hold_is_not_written() {
    let order = AppOrder { price: U256::from(1u64 << 53), ..AppOrder::default() };
    let error = Order::from(order).to_json().expect_err("too large");
    expect!["appprice must be less than or equal to 9007199254740991"]
        .assert_eq(&error.to_string());
}

/// A worker of an earlier version says less, and one of a later version says more.
#[test]
fn what_a_worker_offers_may_be_said_in_older_and_newer_words() {
    let old = json!({"cpus": 2, "memoryBytes": 1024, "slots": 2, "runtimes": ["wasm"]});
    let read: Capabilities = serde_json::from_value(old.clone()).expect("reads");
    assert_eq!((read.settles, read.tee), (false, None));
    assert_eq!(json!(read), old);
    let tee = |said: &str| {
        let mut new = old.clone();
        (new["settles"], new["tee"], new["spaceships"]) = (json!(true), json!(said), json!(3));
        let read: Capabilities = serde_json::from_value(new).expect("reads");
        assert!(read.settles);
        read.tee
    };
    assert_eq!(tee("simulated-tdx"), Some(Enclave::SimulatedTdx));
    assert_eq!(tee("moon-dust"), Some(Enclave::Unknown));
}

#[test]
fn words_of_the_link_keep_their_shape() {
    let task_id = TaskId(B256::repeat_byte(1));
    let contribute =
        ToWorker::Contribute { task_id, authorization: sign(), enclave_challenge: address(0) };
    check(
        &json!(contribute),
        &expect![[r#"
        {
          "authorization": "0xabcd",
          "enclaveChallenge": "0x0000000000000000000000000000000000000000",
          "taskId": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "type": "contribute"
        }"#]],
    );
    let computed = ToScheduler::Computed {
        task_id,
        result_hash: ResultHash(B256::repeat_byte(2)),
        stdout_tail: String::new(),
        stderr_tail: String::new(),
    };
    check(
        &json!(computed),
        &expect![[r#"
        {
          "resultHash": "0x0202020202020202020202020202020202020202020202020202020202020202",
          "taskId": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "type": "computed"
        }"#]],
    );
    let settle = ToWorker::Settle {
        deal_id: DealId(B256::repeat_byte(3)),
        task_ids: vec![task_id],
        authorization: sign(),
    };
    check(
        &json!(settle),
        &expect![[r#"
        {
          "authorization": "0xabcd",
          "dealId": "0x0303030303030303030303030303030303030303030303030303030303030303",
          "taskIds": [
            "0x0101010101010101010101010101010101010101010101010101010101010101"
          ],
          "type": "settle"
        }"#]],
    );
    let unsettled = ToScheduler::Unsettled { task_ids: vec![task_id], reason: "reverted".into() };
    check(
        &json!(unsettled),
        &expect![[r#"
        {
          "reason": "reverted",
          "taskIds": [
            "0x0101010101010101010101010101010101010101010101010101010101010101"
          ],
          "type": "unsettled"
        }"#]],
    );
    let tee = EnclaveTask {
        sms_url: "http://127.0.0.1:1/sms".into(),
        enclave_challenge: address(4),
        authorization: sign(),
    };
    let deal_id = DealId(B256::repeat_byte(3));
    let assign = ToWorker::Assign { task_id, deal_id, index: 7, tee: Some(tee) };
    check(
        &json!(assign),
        &expect![[r#"
        {
          "dealId": "0x0303030303030303030303030303030303030303030303030303030303030303",
          "index": 7,
          "taskId": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "tee": {
            "authorization": "0xabcd",
            "enclaveChallenge": "0x0404040404040404040404040404040404040404",
            "smsUrl": "http://127.0.0.1:1/sms"
          },
          "type": "assign"
        }"#]],
    );
    for word in [contribute, settle, assign] {
        assert_eq!(serde_json::from_value::<ToWorker>(json!(word)).expect("reads"), word);
    }
    for word in [computed, unsettled] {
        assert_eq!(serde_json::from_value::<ToScheduler>(json!(word)).expect("reads"), word);
    }
    let failure = RunFailure {
        failure: Failure::new("GM-0401", "the program trapped", "run it locally"),
        exit_code: Some(134),
        stdout_tail: "…".into(),
        stderr_tail: String::new(),
        blame: Blame::App,
    };
    let failed = ToScheduler::Failed { task_id, failure };
    check(
        &json!(failed),
        &expect![[r#"
        {
          "failure": {
            "blame": "app",
            "code": "GM-0401",
            "exitCode": 134,
            "message": "the program trapped",
            "remedy": "run it locally",
            "stderrTail": "",
            "stdoutTail": "…"
          },
          "taskId": "0x0101010101010101010101010101010101010101010101010101010101010101",
          "type": "failed"
        }"#]],
    );
    assert_eq!(serde_json::from_value::<ToScheduler>(json!(failed)).expect("reads"), failed);
    check(
        &json!(ToScheduler::Draining {}),
        &expect![[r#"
        {
          "type": "draining"
        }"#]],
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(0x)?[0-9a-fA-F]{0,80}".prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_order_with_any_field_replaced_reads_or_is_refused(
        kind in 0usize..4,
        field in any::<proptest::sample::Index>(),
        value in any_json(),
    ) {
        let order = &all_orders()[kind];
        let mut json = order.to_json().expect("fits");
        let names: Vec<String> = json.as_object().expect("an object").keys().cloned().collect();
        json[field.get(&names)] = value;
        if let Ok(read) = Order::from_json(order.kind(), &json) {
            prop_assert!(read.to_json().is_ok());
        }
    }

    #[test]
    fn any_json_at_all_is_read_or_refused(value in any_json(), text in "\\PC{0,60}") {
        for kind in OrderKind::ALL {
            let _ = Order::from_json(kind, &value);
            let _ = Published::from_json(kind, &value);
        }
        let _ = Deal::from_json(&value);
        let _ = wire::auth::Challenge::from_json(&value);
        let _ = serde_json::from_value::<ToScheduler>(value.clone());
        let _ = serde_json::from_value::<ToWorker>(value);
        let _ = serde_json::from_str::<ToScheduler>(&text);
    }
}
