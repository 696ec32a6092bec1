//! The live feed as a socket.io client meets it: engine.io packets by hand, over polling and over websockets.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use expect_test::{Expect, expect};
use futures::{SinkExt, StreamExt};
use orders::{OrderKind, RequestOrder};
use primitives::{CategoryId, DealId, OrderHash, Tag, UnixSeconds};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Sender};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;
use wire::UnixMillis;
use wire::market::{Asset, Change, Deal, FeedLimits, Order, OrderStatus, Published, feed};

use crate::{CHAIN_ID, address, serve};

/// No test waits this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

async fn serve_feed(limits: FeedLimits) -> (Url, Sender<Change>) {
    let (changes, heard) = broadcast::channel(4_096);
    (serve(feed(CHAIN_ID, heard, limits)).await, changes)
}

fn record(price: u64, params: &str, status: OrderStatus) -> Arc<Published> {
    let order = RequestOrder {
        app: address(0xaa),
        app_max_price: U256::from(price),
        volume: U256::from(1),
        params: params.to_owned(),
        ..RequestOrder::default()
    };
    Arc::new(Published {
        order: Order::from(order),
        hash: OrderHash(B256::from(U256::from(price))),
        chain_id: CHAIN_ID,
        published_at: UnixMillis(1_568_196_218_068),
        signer: address(1),
        status,
        remaining: 1,
        track_record: None,
        claimed: None,
    })
}

fn deal() -> Arc<Deal> {
    Arc::new(Deal {
        id: DealId(B256::repeat_byte(7)),
        chain_id: CHAIN_ID,
        app: Asset::default(),
        dataset: Asset::default(),
        workerpool: Asset::default(),
        requester: address(1),
        beneficiary: address(1),
        callback: Address::ZERO,
        app_hash: OrderHash::default(),
        dataset_hash: OrderHash::default(),
        workerpool_hash: OrderHash::default(),
        request_hash: OrderHash::default(),
        params: String::new(),
        volume: U256::from(1),
        category: CategoryId::new(0),
        tag: Tag::NONE,
        trust: U256::from(1),
        start_time: UnixSeconds(1),
        bot_first: U256::ZERO,
        bot_size: U256::from(1),
        scheduler_reward_ratio: U256::ZERO,
        worker_stake: U256::ZERO,
        block_number: 1,
        block_time: UnixSeconds(1),
        tx_hash: B256::ZERO,
    })
}

/// A client over a websocket.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects and joins the namespace.
    async fn connect(url: &Url) -> Self {
        let mut client = Self::open(url).await;
        client.send("40").await;
        let joined = client.next().await.expect("an answer");
        assert!(joined.starts_with("40{"), "{joined}");
        client
    }

    async fn open(url: &Url) -> Self {
        let mut url = url.join("/ws/?EIO=4&transport=websocket").expect("a url");
        url.set_scheme("ws").expect("a scheme");
        let (socket, _) =
            tokio_tungstenite::connect_async(url.as_str()).await.expect("a websocket");
        let mut client = Self(socket);
        let opened = client.next().await.expect("an answer");
        assert!(opened.starts_with("0{"), "{opened}");
        client
    }

    async fn send(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.expect("is sent");
    }

    /// The next packet but pings; nothing at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time");
            match next {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.send("3").await,
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn join(&mut self, topic: &str) {
        let asked = json!(["join", {"chainId": CHAIN_ID.to_string(), "topic": topic}]);
        self.ask(&asked, &expect!["431[true]"]).await;
    }

    async fn ask(&mut self, event: &Value, expected: &Expect) {
        self.send(&format!("421{event}")).await;
        expected.assert_eq(&self.next().await.unwrap_or_default());
    }

    async fn hears(&mut self, expected: &Expect) {
        expected.assert_eq(&self.next().await.unwrap_or_default());
    }
}

#[tokio::test]
async fn who_joins_a_topic_hears_its_events() {
    let (url, changes) = serve_feed(FeedLimits::default()).await;
    let mut client = Client::connect(&url).await;
    client.join("orders").await;
    let tell = |change| changes.send(change).expect("somebody listens");

    tell(Change::Published(record(5, "", OrderStatus::Open)));
    let heard = client.next().await.expect("an event");
    let (head, body) = heard.split_once(',').expect("an event with a record");
    assert_eq!(head, r#"42["requestorder_published""#);
    let body: Value = serde_json::from_str(body.trim_end_matches(']')).expect("JSON");
    let names: Vec<&String> = body.as_object().expect("a record").keys().collect();
    expect![[r#"["order", "orderHash", "publicationTimestamp", "remaining", "signer", "status"]"#]]
        .assert_eq(&format!("{names:?}"));

    tell(Change::Updated(record(5, "", OrderStatus::Open)));
    let heard = client.next().await.expect("an event");
    assert!(heard.starts_with(r#"42["requestorder_updated",{"#), "{heard}");
    tell(Change::Updated(record(5, "", OrderStatus::Filled)));
    client.hears(&expect![[r#"42["requestorder_unpublished","0x0000000000000000000000000000000000000000000000000000000000000005"]"#]]).await;
    tell(Change::Unpublished { kind: OrderKind::Dataset, hash: OrderHash::default() });
    client.hears(&expect![[r#"42["datasetorder_unpublished","0x0000000000000000000000000000000000000000000000000000000000000000"]"#]]).await;

    // Deals have a topic of their own; what was said before it was joined is not heard.
    tell(Change::DealCreated(deal()));
    client.join("deals").await;
    client
        .ask(&json!(["leave", {"chainId": CHAIN_ID, "topic": "orders"}]), &expect!["431[true]"])
        .await;
    tell(Change::Updated(record(5, "", OrderStatus::Dead)));
    tell(Change::DealCreated(deal()));
    let heard = client.next().await.expect("an event");
    assert!(heard.starts_with(r#"42["deal_created",{"#), "{heard}");
    assert!(heard.contains(r#""chainId":65535"#), "{heard}");
    client.ask(&json!(["leaveAll", {}]), &expect!["431[true]"]).await;
    tell(Change::DealCreated(deal()));
    client.ask(&json!(["leaveAll", {}]), &expect!["431[true]"]).await;
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused_and_nonsense_is_ignored() {
    let (url, _changes) = serve_feed(FeedLimits::default()).await;
    let mut client = Client::connect(&url).await;
    let wrong = [
        json!(["join", {"chainId": 1, "topic": "orders"}]),
        json!(["join", {"chainId": CHAIN_ID, "topic": "secrets"}]),
        json!(["join", {"topic": "orders"}]),
        json!(["join", {"chainId": {}, "topic": []}]),
        json!(["join", "orders"]),
        json!(["join", []]),
        json!(["leave", null]),
    ];
    for asked in wrong {
        client.ask(&asked, &expect!["431[false]"]).await;
    }
    client.send(r#"42["unknown",1]"#).await;
    client.join("orders").await;
    for hostile in ["9", "4", "42", "42[", "421[]", "40/other,", "451-[\"x\"]", "é", "4\u{0}"] {
        let mut other = Client::connect(&url).await;
        other.send(hostile).await;
    }
    client.join("deals").await;
}

#[tokio::test]
async fn long_polling_works_as_well() {
    let (url, changes) = serve_feed(FeedLimits::default()).await;
    wire::install_crypto_provider();
    let http = reqwest::Client::new();
    let at = |rest: &str| url.join(&format!("/ws/?EIO=4&transport=polling{rest}")).expect("a url");
    let read = async |rest: &str| {
        let answer = http.get(at(rest)).send().await.expect("answers");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.expect("text")
    };
    let opened = read("").await;
    let opened: Value = serde_json::from_str(&opened[1..]).expect("JSON");
    assert_eq!(opened["upgrades"], json!(["websocket"]));
    let session = format!("&sid={}", opened["sid"].as_str().expect("a session"));
    let say = async |packet: &str| {
        let answer = http.post(at(&session)).body(packet.to_owned()).send().await.expect("answers");
        assert_eq!(answer.text().await.expect("text"), "ok");
    };
    // Packets may come together; a ping may be among them.
    let hear = async || {
        loop {
            let packets = read(&session).await;
            let (pings, mut others): (Vec<&str>, Vec<&str>) =
                packets.split('\x1e').partition(|packet| *packet == "2");
            if !pings.is_empty() {
                say("3").await;
            }
            assert!(others.len() < 2, "{others:?}");
            if let Some(packet) = others.pop() {
                return packet.to_owned();
            }
        }
    };
    say("40").await;
    assert!(hear().await.starts_with("40{"));
    say(&format!(r#"427["join",{{"chainId":{CHAIN_ID},"topic":"orders"}}]"#)).await;
    assert_eq!(hear().await, "437[true]");
    changes
        .send(Change::Unpublished { kind: OrderKind::App, hash: OrderHash::default() })
        .expect("somebody listens");
    let heard = hear().await;
    assert!(heard.starts_with(r#"42["apporder_unpublished","0x00"#), "{heard}");
}

#[tokio::test]
async fn a_client_that_does_not_read_hears_no_gap_and_is_disconnected() {
    let limits = FeedLimits { waiting_max: 8, ..FeedLimits::default() };
    let (url, changes) = serve_feed(limits).await;
    let mut slow = Client::connect(&url).await;
    slow.join("orders").await;
    let large = "x".repeat(512 * 1024);
    // More than all buffers on the way can hold.
    for price in 0..64 {
        changes
            .send(Change::Published(record(price, &large, OrderStatus::Open)))
            .expect("somebody listens");
    }
    // Another one that comes later is served meanwhile.
    let mut other = Client::connect(&url).await;
    other.join("deals").await;
    changes.send(Change::DealCreated(deal())).expect("somebody listens");
    assert!(other.next().await.expect("an event").starts_with(r#"42["deal_created""#));

    let mut heard = 0;
    while let Some(packet) = slow.next().await {
        if packet == "41" {
            break;
        }
        let price = format!(r#""appmaxprice":{heard},"#);
        assert!(packet.contains(&price), "event {heard} is missing");
        heard += 1;
    }
    assert!(heard < 64, "somewhere it was too slow");
}

#[tokio::test]
async fn seats_are_counted_and_come_back() {
    let limits = FeedLimits { clients_max: 1, ..FeedLimits::default() };
    let (url, _changes) = serve_feed(limits).await;
    wire::install_crypto_provider();
    let open = async || {
        let url = url.join("/ws/?EIO=4&transport=polling").expect("a url");
        reqwest::get(url).await.expect("answers").status()
    };
    let first = Client::connect(&url).await;
    assert_eq!(open().await, StatusCode::TOO_MANY_REQUESTS);
    drop(first);
    let freed = async {
        while open().await != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the seat is free again");
}
