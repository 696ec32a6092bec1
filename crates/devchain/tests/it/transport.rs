//! HTTP: requests, batches, and what is not a request at all.

use serde_json::{Value, json};

use crate::support::*;

async fn post(server: &Server, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let answer = client().post(server.http()).body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[tokio::test]
async fn requests_are_answered_with_their_ids() {
    let server = Server::start(instant()).await;
    let (status, answer) = post(&server, request(7, "eth_chainId", json!([])).to_string()).await;
    assert_eq!((status, answer), (200, json!({ "jsonrpc": "2.0", "id": 7, "result": "0x7a69" })));
    let text = json!({ "jsonrpc": "2.0", "id": "a", "method": "net_version" });
    assert_eq!(post(&server, text.to_string()).await.1["result"], "31337");
    let notification = json!({ "jsonrpc": "2.0", "method": "eth_chainId" });
    assert_eq!(post(&server, notification.to_string()).await.0, 204);
}

#[tokio::test]
async fn what_is_wrong_has_its_own_code() {
    let server = Server::start(instant()).await;
    let check = async |body: String, code: i64| {
        let (status, answer) = post(&server, body.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(code)), "{body}");
    };
    check("{".into(), -32700).await;
    check("7".into(), -32600).await;
    check("[]".into(), -32600).await;
    check(json!({ "id": 1 }).to_string(), -32600).await;
    check(request(1, "eth_nonsense", json!([])).to_string(), -32601).await;
    check(request(1, "nonsense", json!([])).to_string(), -32601).await;
    check(request(1, "eth_subscribe", json!(["newHeads"])).to_string(), -32601).await;
    check(request(1, "eth_getBalance", json!([])).to_string(), -32602).await;
    check(request(1, "eth_getBalance", json!(["0x12"])).to_string(), -32602).await;
    check(request(1, "eth_getBalance", json!({ "address": SINK })).to_string(), -32602).await;
    check(request(1, "eth_getBlockByNumber", json!(["yesterday", false])).to_string(), -32602)
        .await;
    check("x".repeat(9 * 1024 * 1024), -32600).await;
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_writes_before_it_reads() {
    let server = Server::start(instant()).await;
    let key = signer(0);
    let sends =
        (0..30).map(|n| request(n, "eth_sendRawTransaction", json!([payment(&key, n, GWEI)])));
    let mut batch: Vec<Value> = sends.collect();
    batch.push(request(30, "eth_getBalance", json!([SINK, "latest"])));
    batch.push(json!("nonsense"));
    batch.push(request(31, "eth_nonsense", json!([])));
    let (_, answers) = post(&server, json!(batch).to_string()).await;
    let answers = answers.as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|it| it["id"].clone()).collect();
    let mut expected: Vec<Value> = (0..31).map(|it| json!(it)).collect();
    expected.extend([Value::Null, json!(31)]);
    assert_eq!(ids, expected);
    assert_eq!(answers[30]["result"], "0x1e");
    assert!(server.chain.handle().head().number < 30, "they share blocks");

    let too_many: Vec<Value> = (0..2_001).map(|n| request(n, "eth_chainId", json!([]))).collect();
    let (_, answer) = post(&server, json!(too_many).to_string()).await;
    assert_eq!(answer["error"]["code"], -32005);
}

#[tokio::test]
async fn pages_of_any_origin_may_ask_and_a_browser_gets_a_hint() {
    let server = Server::start(instant()).await;
    let client = client();
    let asked = client
        .request(reqwest::Method::OPTIONS, server.http())
        .header("origin", "http://example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.headers()["access-control-allow-origin"], "*");
    let page = client.get(server.http()).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 426);
    assert!(page.text().await.unwrap().contains("JSON-RPC"));
}
