//! Callers who send what they should not: each gets a clear refusal, nobody else notices, and nothing is lost.

mod fuzz;
mod raw;

use std::str::FromStr;

use alloy_primitives::{Address, B256, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, ensure};
use chain::{Wallet, calls};
use futures::future::try_join_all;
use orders::{Domain, OrderKind, RequestOrder};
use primitives::Nrlc;
use serde_json::{Value, json};
use testkit::{House, HouseConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use url::Url;
use wire::auth::Challenge;
use wire::description;
use wire::market::{MarketClient, Order, OrderQuery};

use crate::gristmill;
use fuzz::{Dice, Operation};
use raw::{Answer, Caller};

/// Requests of a run by chance, unless told otherwise.
const FUZZ_REQUESTS: u64 = 2_500;
/// Callers of a run by chance.
const FUZZ_CALLERS: u64 = 4;

async fn small_house() -> Result<House> {
    House::start(&gristmill()?, HouseConfig { workers: 1, ..HouseConfig::default() }).await
}

/// Somebody with a wallet, at a market.
struct Visitor {
    origin: Url,
    chain_id: u64,
    domain: Domain,
    app: Address,
    signer: PrivateKeySigner,
}

impl Visitor {
    async fn at(house: &House) -> Result<Self> {
        let origin = house.origin()?;
        let described = description::fetch(&origin).await?;
        let app = described.apps.first().context("a market has apps")?.address;
        let signer = house.key(0)?;
        let client = house.client().await?;
        let stake = calls::stake(&client.contracts(), Nrlc::from_rlc(1));
        Wallet::new(&client, signer.clone()).await?.execute(stake).await?;
        let domain = Domain { chain_id: described.chain_id, hub: described.contracts.hub };
        Ok(Self { chain_id: described.chain_id, origin, domain, app, signer })
    }

    fn caller(&self) -> Caller {
        Caller::new(&self.origin)
    }

    /// A request that the wallet's stake is enough for.
    fn order(&self, salt: u64) -> Result<Order> {
        let order = RequestOrder {
            app: self.app,
            app_max_price: U256::from(1_000_000),
            requester: self.signer.address(),
            beneficiary: self.signer.address(),
            volume: U256::from(1),
            trust: U256::from(1),
            salt: B256::from(U256::from(salt)),
            ..RequestOrder::default()
        };
        let hash = Order::from(order.clone()).hash(&self.domain);
        let sign = self.signer.sign_hash_sync(&hash.0)?;
        Ok(order.signed(sign.as_bytes().to_vec()).into())
    }

    /// A fresh login, signed by `by`.
    async fn login(&self, by: &PrivateKeySigner) -> Result<String> {
        let target =
            format!("/challenge?chainId={}&address={}", self.chain_id, self.signer.address());
        let answer = self.caller().ask("GET", &target, &[], b"").await?;
        let challenge = Challenge::from_json(&answer.json()?["data"])?;
        let mut login = challenge.sign(by).map_err(anyhow::Error::msg)?;
        login.wallet = self.signer.address();
        Ok(login.to_string())
    }

    async fn publish(&self, login: &str, body: &[u8]) -> Result<Answer> {
        let target = format!("/requestorders?chainId={}", self.chain_id);
        let headers = [("authorization", login), ("content-type", "application/json")];
        self.caller().ask("POST", &target, &headers, body).await
    }
}

fn refused(answer: &Answer, status: u16, reason: &str) -> Result<()> {
    let said = answer.json()?;
    let text = said["error"].as_str().unwrap_or_default();
    ensure!(
        answer.status == status && said["ok"] == false && text.contains(reason),
        "expected {status} {reason}, got {} {said}",
        answer.status
    );
    Ok(())
}

#[tokio::test]
async fn wrong_requests_are_refused_and_nothing_is_lost() -> Result<()> {
    let house = small_house().await?;
    let visitor = Visitor::at(&house).await?;
    // Callers who connect and say nothing, or half a sentence, keep nobody else from being heard.
    let mut idle = Vec::new();
    for start in ["", "GET / HT", "POST /requestorders HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(visitor.origin.authority()).await?;
            stream.write_all(start.as_bytes()).await?;
            idle.push(stream);
        }
    }
    wrong_logins(&visitor).await?;
    wrong_bodies(&visitor).await?;
    wrong_targets(&visitor).await?;
    wrong_secrets(&visitor).await?;
    many_at_once(&visitor).await?;
    drop(idle);
    Ok(())
}

async fn wrong_logins(visitor: &Visitor) -> Result<()> {
    let order = json!({"order": visitor.order(0)?.to_json()?}).to_string();
    let stranger = PrivateKeySigner::random();
    let forged = visitor.login(&stranger).await?;
    for login in [forged.as_str(), "", "0x_0x_0x", "Bearer x", &"_".repeat(10_000)] {
        refused(&visitor.publish(login, order.as_bytes()).await?, 403, "invalid authorization")?;
    }
    let login = visitor.login(&visitor.signer).await?;
    let first = visitor.publish(&login, order.as_bytes()).await?;
    ensure!(first.status == 200, "{}", first.text());
    refused(&visitor.publish(&login, order.as_bytes()).await?, 403, "invalid authorization")?;
    let login = visitor.login(&visitor.signer).await?;
    refused(&visitor.publish(&login, order.as_bytes()).await?, 403, "order already published")?;
    // Signed by the wallet that is logged in, but in another's name.
    let mut stolen = visitor.order(1)?.to_json()?;
    stolen["requester"] = Address::repeat_byte(9).to_string().into();
    let login = visitor.login(&visitor.signer).await?;
    let answer = visitor.publish(&login, json!({"order": stolen}).to_string().as_bytes()).await?;
    refused(&answer, 403, "only order signer")
}

async fn wrong_bodies(visitor: &Visitor) -> Result<()> {
    let order = visitor.order(2)?.to_json()?;
    let with = |field: &str, value: Value| {
        let mut order = order.clone();
        order[field] = value;
        json!({"order": order}).to_string().into_bytes()
    };
    let huge = br#"{"order":{"volume":1e999}}"#.to_vec();
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let bodies = [
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"\0\0\0".to_vec(),
        b"\xff\xfe{\"order\":{}}".to_vec(),
        br#"{"order":null}"#.to_vec(),
        br#"{"order":"app"}"#.to_vec(),
        huge,
        deep,
        with("volume", json!(0)),
        with("volume", json!(-1)),
        with("volume", json!(1.5)),
        with("volume", json!(9_007_199_254_740_992_u64)),
        with(
            "volume",
            json!("115792089237316195423570985008687907853269984665640564039457584007913129639936"),
        ),
        with("category", json!({})),
        with("tag", json!("0x1")),
        with("app", json!("0x\u{0}")),
        with("sign", json!("signed")),
        with("params", json!(["--help"])),
    ];
    for body in bodies {
        let login = visitor.login(&visitor.signer).await?;
        refused(&visitor.publish(&login, &body).await?, 400, "")
            .with_context(|| String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned())?;
    }
    let login = visitor.login(&visitor.signer).await?;
    let large = with("params", "x".repeat(10 << 20).into());
    refused(&visitor.publish(&login, &large).await?, 413, "")?;

    // More is announced than will ever come: it is not waited for once there is too much already.
    let login = visitor.login(&visitor.signer).await?;
    let head = format!(
        "POST /requestorders?chainId={} HTTP/1.1\r\nhost: x\r\nauthorization: {login}\r\n\
         content-length: 10000000000\r\n\r\n",
        visitor.chain_id
    );
    let part = [head.as_bytes(), &vec![b' '; 3 << 20]].concat();
    refused(&visitor.caller().send(&part, false).await?, 413, "")
}

async fn wrong_targets(visitor: &Visitor) -> Result<()> {
    let mut caller = visitor.caller();
    let zero = format!("0x{}", "0".repeat(64));
    let chain = format!("chainId={}", visitor.chain_id);
    for (target, status, reason) in [
        ("/deals?chainId=1".to_owned(), 400, "chainId 1 is not supported"),
        ("/deals?chainId=%00".to_owned(), 400, "is not supported"),
        ("/deals".to_owned(), 400, "chainId is a required field"),
        (format!("/deals?{chain}&pageIndex=99999999999999999999999999"), 400, "pageIndex"),
        (format!("/deals?{chain}&requester=0x"), 400, "ethereum address"),
        (format!("/deals/{zero}?{chain}"), 404, "deal not found"),
        (format!("/deals/%ff?{chain}"), 400, ""),
        (format!("/deals/%00?{chain}"), 400, "bytes32"),
        (format!("/apporders/{zero}?{chain}"), 404, "apporder not found"),
        (format!("/categories/77?{chain}"), 404, "category not found"),
    ] {
        refused(&caller.ask("GET", &target, &[], b"").await?, status, reason).context(target)?;
    }
    for (method, target, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "//deals", 404),
        ("DELETE", "/deals", 405),
        ("PATCH", "/apporders", 405),
        ("BREW", "/version", 405),
    ] {
        let answer = caller.ask(method, target, &[], b"").await?;
        ensure!(answer.status == status, "{method} {target}: {} {}", answer.status, answer.text());
    }
    let long = format!("/deals?{chain}&x={}", "x".repeat(200_000));
    let answer = visitor.caller().ask("GET", &long, &[], b"").await?;
    ensure!(matches!(answer.status, 414 | 431), "{}", answer.status);
    for nonsense in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = visitor.caller().send(nonsense.as_bytes(), false).await?;
        ensure!((400..500).contains(&answer.status), "{nonsense:?}: {}", answer.status);
    }
    let deep = "[".repeat(100_000);
    let answer = caller.ask("POST", "/", &[], deep.as_bytes()).await?;
    ensure!(answer.json()?["error"]["code"] == -32700, "{}", answer.text());
    Ok(())
}

async fn wrong_secrets(visitor: &Visitor) -> Result<()> {
    let mut caller = visitor.caller();
    let wallet = visitor.signer.address();
    let target = format!("/requesters/{wallet}/secrets/key");
    for login in ["", "0x", "0x1234", &format!("0x{}", "11".repeat(65))] {
        let answer = caller.ask("POST", &target, &[("authorization", login)], b"secret").await?;
        ensure!(answer.status == 401, "{login}: {} {}", answer.status, answer.text());
    }
    let large = vec![b'x'; 10 << 20];
    let answer = visitor.caller().ask("POST", &target, &[], &large).await?;
    ensure!(matches!(answer.status, 400 | 401 | 413), "{}", answer.status);
    let nobody = format!("/secrets/web3?secretAddress={}", Address::repeat_byte(7));
    let answer = caller.ask("POST", &nobody, &[], b"secret").await?;
    ensure!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    let answer = caller.ask("HEAD", &target, &[], b"").await?;
    ensure!(answer.status == 404, "nothing was kept: {}", answer.status);
    Ok(())
}

/// One wallet publishes many orders at once: all are taken, and all are found again.
async fn many_at_once(visitor: &Visitor) -> Result<()> {
    let client = MarketClient::new(&visitor.origin, visitor.chain_id)?;
    let orders: Vec<Order> = (100..124).map(|salt| visitor.order(salt)).collect::<Result<_>>()?;
    let publishing = orders.iter().map(|order| client.publish(order, &visitor.signer));
    let published = try_join_all(publishing).await?;
    for record in &published {
        let found = client.order(OrderKind::Request, record.hash).await?;
        ensure!(found.as_ref() == Some(record), "{found:?} is not {record:?}");
    }
    let mut query = OrderQuery::all(OrderKind::Request);
    query.requester = wire::market::PartyFilter::Exactly(visitor.signer.address());
    let open = client.orders(&query).await?.count;
    ensure!(open == published.len() as u64 + 1, "{open} are open");
    Ok(())
}

#[tokio::test]
async fn whatever_is_sent_to_what_is_described_is_answered_in_order() -> Result<()> {
    let house = small_house().await?;
    let origin = house.origin()?;
    let described = description::fetch(&origin).await?;
    let document = Caller::new(&origin).ask("GET", "/docs/openapi.json", &[], b"").await?.json()?;
    let operations = fuzz::operations(&document);
    every_path_answers(&origin, &document, &operations).await?;
    every_path_is_open_to_pages(&origin, &operations).await?;

    let seed: u64 = from_environment("GRISTMILL_FUZZ_SEED", 1)?;
    let requests = from_environment("GRISTMILL_FUZZ_REQUESTS", FUZZ_REQUESTS)?;
    let callers = (0..FUZZ_CALLERS).map(|caller| {
        let (origin, document, operations) = (&origin, &document, &operations);
        async move {
            let mut dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(caller));
            let mut connection = Caller::new(origin);
            let mut granted = 0;
            for number in 0..requests / FUZZ_CALLERS {
                let index = usize::try_from(number * FUZZ_CALLERS + caller)?;
                let operation = &operations[index % operations.len()];
                let request = fuzz::request(&mut dice, document, operation, described.chain_id);
                let headers: Vec<(&str, &str)> =
                    request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let asked = connection
                    .ask(&request.method, &request.target, &headers, &request.body)
                    .await
                    .and_then(|answer| in_order(operation, &answer).map(|()| answer.status));
                let status = asked.with_context(|| format!("seed {seed}: {request:?}"))?;
                granted += u64::from((200..300).contains(&status));
            }
            Ok::<_, anyhow::Error>(granted)
        }
    });
    let granted: u64 = try_join_all(callers).await?.into_iter().sum();
    // Chance that only makes nonsense would meet nothing but the first check.
    ensure!(granted > requests / 10, "{granted} of {requests} were right");
    let version = Caller::new(&origin).ask("GET", "/version", &[], b"").await?;
    ensure!(version.json()?["ok"] == true, "{}", version.text());
    Ok(())
}

fn from_environment<T: FromStr>(name: &str, otherwise: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name} is not a number: {text}")),
        Err(_) => Ok(otherwise),
    }
}

/// No answer tells of a fault of ours, and each refusal says why.
fn in_order(operation: &Operation, answer: &Answer) -> Result<()> {
    ensure!(answer.status < 500, "{} {}", answer.status, answer.text());
    let told_in_json = answer.status >= 400
        && operation.method != "HEAD"
        // A path that chance has made into another one, a head that cannot be read, and what only speaks websocket.
        && !(answer.status == 404 && answer.text() == "Not Found")
        && !matches!(answer.status, 405 | 414 | 426 | 431);
    if told_in_json {
        let said = answer.json()?;
        let reason =
            ["error", "message", "Message", "code"].iter().any(|name| said.get(name).is_some());
        ensure!(reason, "no reason: {} {said}", answer.status);
    }
    Ok(())
}

/// Each described path exists: asked for a method that nothing has, it names those it has.
async fn every_path_answers(
    origin: &Url,
    document: &Value,
    operations: &[Operation],
) -> Result<()> {
    let mut caller = Caller::new(origin);
    for (path, methods) in document["paths"].as_object().context("paths")? {
        let target = path.replace(['{', '}'], "x");
        let answer = caller.ask("PROPFIND", &target, &[], b"").await?;
        if path.trim_end_matches('/') == "/ws" {
            ensure!(answer.status == 400, "{path}: {}", answer.status);
            continue;
        }
        ensure!(answer.status == 405, "{path}: {} {}", answer.status, answer.text());
        let allowed = answer.header("allow").join(",");
        for method in methods.as_object().context("methods")?.keys() {
            let method = method.to_uppercase();
            ensure!(allowed.contains(&method), "{path} takes {allowed}, not {method}");
        }
    }
    ensure!(operations.len() > 40, "{} operations", operations.len());
    Ok(())
}

async fn every_path_is_open_to_pages(origin: &Url, operations: &[Operation]) -> Result<()> {
    const PAGE: &str = "https://page.example";
    let mut caller = Caller::new(origin);
    for operation in operations {
        let target = operation.path.replace(['{', '}'], "x");
        let asked = [
            ("origin", PAGE),
            ("access-control-request-method", operation.method.as_str()),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let answer = caller.ask("OPTIONS", &target, &asked, b"").await?;
        let open = answer.status == 200
            && answer.header("access-control-allow-origin") == [PAGE]
            && answer.header("access-control-allow-headers") == ["authorization,content-type"]
            && answer.header("access-control-allow-methods").join(",").contains(&operation.method);
        ensure!(open, "{} {target}: {answer:?}", operation.method);
        let answer = caller.ask("GET", &target, &[("origin", PAGE)], b"").await?;
        ensure!(answer.header("access-control-allow-origin").len() == 1, "{target}: {answer:?}");
    }
    Ok(())
}
