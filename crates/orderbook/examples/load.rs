//! How quick the order book is, over HTTP, with very many open orders.
//!
//! ```text
//! cargo run --release --package orderbook --example load -- [--sizes 10k,100k,1m] [--queries N] [--publishes N] [--books DIR]
//! ```
//!
//! For each size: fills a database file, starts the book on it with an embedded chain and the real contracts, asks the
//! questions that the official SDK asks, then publishes: each publication is a login challenge, its signature, and the
//! order. Orders are signed before the clock starts, challenges while it runs, by Bitcoin's library, so that little of what is
//! measured is the clients' own work. Clients, chain and book share this process and its processors, so the figures are what is
//! left for the book. Prints
//! one table in Markdown; latencies are as the client sees them, and processor time is that of clients, chain and book.
//! With `--books`, filled books are kept in that directory and used again, always by way of a copy.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use chain::calls::{self, NewApp};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, Wallet};
use devchain::DevChain;
use orderbook::{Limits, Orderbook};
use orders::{AppOrder, Domain, OrderKind, RequestOrder};
use primitives::{Nrlc, OrderHash, Tag};
use secp256k1::{Message, Secp256k1, SecretKey, SignOnly};
use store::{Change, OrderRow, OrderState, Status, Store};
use tokio_util::sync::CancellationToken;
use url::Url;
use wire::auth::{Authorization, Challenge};
use wire::market::{MarketClient, Order};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Clients that ask at the same time, and clients that publish at the same time.
const ASKING: usize = 2;
const PUBLISHING: usize = 32;
/// Wallets that publish. Publications of one wallet go one after the other.
const WALLETS: usize = 256;
/// Orders written at once when filling.
const FILL_LIST: usize = 500;

struct Options {
    sizes: Vec<usize>,
    queries: usize,
    publishes: usize,
    books: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    let chain = DevChain::open(devchain::Config::default())?;
    let market = Market::open(&chain).await?;
    let mut out = std::io::stdout();
    writeln!(out, "| open orders | what | measured | how |\n|---|---|---|---|")?;
    for size in options.sizes.iter().copied() {
        let dir =
            std::env::temp_dir().join(format!("gristmill-book-{}-{size}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let outcome = measure(&market, &dir, size, &options).await;
        std::fs::remove_dir_all(&dir)?;
        for line in outcome? {
            writeln!(out, "| {size} | {line} |")?;
        }
        out.flush()?;
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options {
        sizes: vec![10_000, 100_000, 1_000_000],
        queries: 4_000,
        publishes: 20_000,
        books: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--sizes" => options.sizes = value.split(',').map(number).collect::<Result<_>>()?,
            "--queries" => options.queries = number(&value)?,
            "--publishes" => options.publishes = number(&value)?,
            "--books" => options.books = Some(value.into()),
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<usize> {
    let lower = text.to_ascii_lowercase();
    let (digits, times) = match lower.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => lower.strip_suffix('m').map_or((lower.as_str(), 1), |digits| (digits, 1_000_000)),
    };
    Ok(digits.parse::<usize>()? * times)
}

/// The chain with the contracts and one free app.
struct Market {
    client: Client,
    owner: PrivateKeySigner,
    app: Address,
}

impl Market {
    async fn open(chain: &DevChain) -> Result<Self> {
        let owner = chain.accounts()[0].signer.clone();
        let node = serve(chain.router()).await?;
        let rpc: Url = node.as_str().replacen("http", "ws", 1).parse()?;
        let everything = vec![(owner.address(), Nrlc::from_rlc(87_000_000))];
        let deployed = deploy(&rpc, owner.clone(), DeployConfig::new(everything)).await?;
        let client = Client::connect(&rpc, deployed.hub).await?;
        let app = NewApp {
            owner: owner.address(),
            name: "load".into(),
            kind: "WASM".into(),
            multiaddr: Bytes::from_static(b"/ipfs/none"),
            checksum: B256::repeat_byte(5),
            ..NewApp::default()
        };
        let address = app.address(&client).await?;
        let wallet = Wallet::new(&client, owner.clone()).await?;
        wallet.execute(calls::create_app(&client.contracts(), app)).await?;
        Ok(Self { client, owner, app: address })
    }
}

async fn measure(
    market: &Market,
    dir: &Path,
    size: usize,
    options: &Options,
) -> Result<Vec<String>> {
    let file = dir.join("book.sqlite");
    let filling = filled(&file, size, options.books.as_deref()).await?;
    let store = Store::open(&file).await?;
    let limits = Limits { open_orders_max: u64::MAX >> 1, rate_limit: None, ..Limits::default() };
    let config = orderbook::Config {
        limits,
        ..orderbook::Config::new(market.client.clone(), store.clone())
    };
    let cancel = CancellationToken::new();
    let book = Orderbook::start(config, cancel.clone()).await?;
    let origin = serve(book.router()).await?;
    let rate = filling.map(|time| size as f64 / time.as_secs_f64());
    let rate = rate.map_or_else(|| "kept".to_owned(), |rate| format!("{rate:.0} orders/s"));
    let mut lines =
        vec![format!("filling | {rate} | straight into the store, {FILL_LIST} at a time")];
    lines.extend(ask(&origin, market.client.chain_id(), options.queries).await?);
    lines.push(publish(&origin, market, options.publishes).await?);
    lines.push(format!(
        "resident memory | {} MB | VmRSS of the process, with clients and chain",
        resident_mb()
    ));
    cancel.cancel();
    book.stopped().await;
    store.close().await;
    Ok(lines)
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Steele and others' splitmix.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn tag(&mut self) -> Tag {
        match self.roll(1_000) {
            0 => Tag::GPU,
            1..=300 => Tag::TEE | Tag::TDX,
            301..=350 => Tag::TEE | Tag::SCONE,
            _ => Tag::NONE,
        }
    }

    /// Nobody, mostly.
    fn restriction(&mut self, party: u8) -> Address {
        if self.roll(10) == 0 { party_address(party, self.roll(1_000)) } else { Address::ZERO }
    }
}

fn party_address(party: u8, number: u64) -> Address {
    Address::from_word(keccak256([&[party], number.to_be_bytes().as_slice()].concat()))
}

const APPS: u8 = 1;
const DATASETS: u8 = 2;
const POOLS: u8 = 3;
const WALLETS_OF: u8 = 4;

/// Mostly offers of computing and requests, of wallets with fifty orders each, a tenth of them restricted.
fn synthetic(number: usize, dice: &mut Dice) -> OrderRow {
    let wallet = party_address(WALLETS_OF, number as u64 / 50);
    let subject = |party| party_address(party, number as u64 / 50);
    let kind = match dice.roll(10) {
        0 | 1 => OrderKind::App,
        2 => OrderKind::Dataset,
        3..=6 => OrderKind::Workerpool,
        _ => OrderKind::Request,
    };
    let price = dice.roll(1_000_000);
    let remaining = 1 + dice.roll(1_000);
    let works = matches!(kind, OrderKind::Workerpool | OrderKind::Request);
    let request = kind == OrderKind::Request;
    let row = OrderRow {
        hash: OrderHash(keccak256(number.to_be_bytes())),
        kind,
        signer: wallet,
        published_ms: 1_700_000_000_000 + number as u64,
        state: OrderState { status: Status::Open, remaining, changed_block: 0 },
        app: dice.restriction(APPS),
        dataset: dice.restriction(DATASETS),
        workerpool: dice.restriction(POOLS),
        requester: dice.restriction(WALLETS_OF),
        app_price: price,
        dataset_price: price,
        workerpool_price: price,
        volume: remaining,
        category: if works { dice.roll(5) } else { 0 },
        trust: if works { dice.roll(4) } else { 0 },
        tag: dice.tag(),
        beneficiary: if request { wallet } else { Address::ZERO },
        callback: Address::ZERO,
        params: if request { r#"{"iexec_args":"--epochs 3"}"#.to_owned() } else { String::new() },
        salt: keccak256((number as u64).to_le_bytes()),
        sign: Bytes::from(vec![7; 65]),
    };
    match kind {
        OrderKind::App => OrderRow { app: subject(APPS), ..row },
        OrderKind::Dataset => OrderRow { dataset: subject(DATASETS), ..row },
        OrderKind::Workerpool => OrderRow { workerpool: subject(POOLS), ..row },
        OrderKind::Request => OrderRow {
            app: party_address(APPS, dice.roll(1_000)),
            dataset: if dice.roll(2) == 0 {
                party_address(DATASETS, dice.roll(1_000))
            } else {
                Address::ZERO
            },
            requester: wallet,
            ..row
        },
    }
}

/// Makes a book of that size, or copies one that was kept; gives back how long making it took.
async fn filled(file: &Path, size: usize, books: Option<&Path>) -> Result<Option<Duration>> {
    let kept = books.map(|books| books.join(format!("{size}.sqlite")));
    if let Some(kept) = kept.as_deref().filter(|kept| kept.exists()) {
        std::fs::copy(kept, file)?;
        return Ok(None);
    }
    let store = Store::open(file).await?;
    let filling = fill(&store, size).await?;
    store.close().await;
    if let Some(kept) = kept {
        std::fs::copy(file, kept)?;
    }
    Ok(Some(filling))
}

async fn fill(store: &Store, size: usize) -> Result<Duration> {
    let start = Instant::now();
    let mut dice = Dice(1);
    let mut number = 0;
    while number < size {
        let until = size.min(number + FILL_LIST);
        let list = (number..until).map(|n| Change::PutOrder(Box::new(synthetic(n, &mut dice))));
        store.apply(list.collect()).await?;
        number = until;
    }
    Ok(start.elapsed())
}

/// The questions that buyers and sellers ask, by the name of their shape.
fn question(dice: &mut Dice) -> (&'static str, String) {
    let tee = Tag::TEE | Tag::TDX;
    let (app, dataset) =
        (party_address(APPS, dice.roll(1_000)), party_address(DATASETS, dice.roll(1_000)));
    let (pool, wallet) =
        (party_address(POOLS, dice.roll(200)), party_address(WALLETS_OF, dice.roll(1_000)));
    let category = dice.roll(5);
    match dice.roll(8) {
        0 | 1 => (
            "cheapest computing for a job",
            format!(
                "/workerpoolorders?category={category}&app={app}&requester={wallet}&minTag={}&minTrust=2",
                Tag::NONE
            ),
        ),
        2 => (
            "cheapest computing in an enclave",
            format!(
                "/workerpoolorders?category={category}&app={app}&dataset={dataset}&requester={wallet}&minTag={tee}"
            ),
        ),
        3 => (
            "cheapest computing with a rare demand",
            format!("/workerpoolorders?category={category}&minTag={}", Tag::GPU),
        ),
        4 => (
            "cheapest offer of an app",
            format!(
                "/apporders?app={}&workerpool={pool}&requester={wallet}",
                party_address(APPS, dice.roll(200))
            ),
        ),
        5 => (
            "cheapest offer of a dataset",
            format!(
                "/datasetorders?dataset={}&app={app}&requester={wallet}",
                party_address(DATASETS, dice.roll(200))
            ),
        ),
        6 => (
            "best paid requests for a pool",
            format!("/requestorders?category={category}&workerpool={pool}&maxTag={tee}&maxTrust=2"),
        ),
        _ => (
            "cheapest computing of any kind",
            "/workerpoolorders?pageIndex=0&pageSize=20".to_owned(),
        ),
    }
}

async fn ask(origin: &Url, chain_id: u64, queries: usize) -> Result<Vec<String>> {
    let http = reqwest::Client::new();
    let busy = processor_ms();
    let asking = (0..ASKING).map(|client| {
        let (http, origin) = (http.clone(), origin.clone());
        tokio::spawn(async move {
            let mut dice = Dice(1_000 + client as u64);
            let mut taken = Vec::new();
            for _ in 0..queries / ASKING {
                let (shape, path) = question(&mut dice);
                let url = origin.join(&format!("{path}&chainId={chain_id}"))?;
                let start = Instant::now();
                let answer = http.get(url).send().await?.error_for_status()?;
                let _ = answer.bytes().await?;
                taken.push((shape, start.elapsed()));
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(taken)
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut by_shape: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for client in asking {
        for (shape, time) in client.await?? {
            by_shape.entry(shape).or_default().push(time);
            by_shape.entry(" all questions").or_default().push(time);
        }
    }
    let busy = (processor_ms() - busy) / queries as f64;
    let busy =
        format!("processor time of a question | {busy:.2} ms | clients and book, of {queries}");
    let lines = by_shape.into_iter().map(|(shape, times)| {
        let count = times.len();
        format!("{} | {} | {count} GETs by {ASKING} clients at once", shape.trim(), spread(times))
    });
    Ok(lines.chain([busy]).collect())
}

async fn publish(origin: &Url, market: &Market, publishes: usize) -> Result<String> {
    let domain = market.client.domain();
    let api = MarketClient::new(origin, market.client.chain_id())?;
    api.publish(&app_order(market, &domain)?, &market.owner).await?;
    let http = reqwest::Client::builder().pool_max_idle_per_host(PUBLISHING).build()?;
    // Signing orders is the clients' work at another time; logging in is part of publishing.
    let curve = Arc::new(Secp256k1::signing_only());
    let mut orders: Vec<Vec<_>> = (0..PUBLISHING).map(|_| Vec::new()).collect();
    for number in 0..publishes {
        let key = keccak256(((number % WALLETS) as u64).to_be_bytes());
        let signer = PrivateKeySigner::from_bytes(&key)?;
        let order = request(market, &domain, &signer, number as u64)?;
        let wallet = (signer.address(), SecretKey::from_byte_array(key.0)?);
        orders[number % PUBLISHING].push((wallet, order.to_json()?));
    }
    let (start, busy) = (Instant::now(), processor_ms());
    let clients = orders.into_iter().map(|orders| {
        let (http, origin, chain_id) = (http.clone(), origin.clone(), market.client.chain_id());
        let curve = Arc::clone(&curve);
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for (wallet, order) in orders {
                let start = Instant::now();
                let challenge = challenge(&http, &origin, chain_id, wallet.0).await?;
                let login = sign(&curve, &challenge, wallet);
                publish_one(&http, &origin, chain_id, &login, order).await?;
                taken.push(start.elapsed());
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(taken)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await??);
    }
    let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
    let busy = (processor_ms() - busy) / publishes as f64;
    Ok(format!(
        "publishing | {rate:.0} orders/s; {} | {publishes} request orders of {WALLETS} wallets by {PUBLISHING} clients, login and order each; \
         {busy:.2} ms of processor time each",
        spread(taken)
    ))
}

async fn challenge(
    http: &reqwest::Client,
    origin: &Url,
    chain_id: u64,
    wallet: Address,
) -> Result<Challenge> {
    let url = origin.join(&format!("/challenge?chainId={chain_id}&address={wallet}"))?;
    let answer = http.get(url).send().await?.error_for_status()?.bytes().await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(Challenge::from_json(&answer["data"])?)
}

fn sign(
    curve: &Secp256k1<SignOnly>,
    challenge: &Challenge,
    (wallet, key): (Address, SecretKey),
) -> Authorization {
    let hash = challenge.hash();
    let signature = curve.sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
    let (parity, compact) = signature.serialize_compact();
    let mut signature = compact.to_vec();
    signature.push(if i32::from(parity) == 0 { 27 } else { 28 });
    Authorization { hash, signature: signature.into(), wallet }
}

async fn publish_one(
    http: &reqwest::Client,
    origin: &Url,
    chain_id: u64,
    authorization: &Authorization,
    order: serde_json::Value,
) -> Result<()> {
    let body = serde_json::json!({"order": order}).to_string();
    let answer = http
        .post(origin.join(&format!("/requestorders?chainId={chain_id}"))?)
        .header("authorization", authorization.to_string())
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await?;
    if !answer.status().is_success() {
        return Err(format!("refused: {}", answer.text().await?).into());
    }
    let _ = answer.bytes().await?;
    Ok(())
}

fn app_order(market: &Market, domain: &Domain) -> Result<Order> {
    let order = AppOrder { app: market.app, volume: U256::from(1_000_000), ..AppOrder::default() };
    let sign = market.owner.sign_hash_sync(&order.hash(domain).0)?;
    Ok(AppOrder { sign: Bytes::from(sign.as_bytes()), ..order }.into())
}

/// A request that pays nothing, so that its wallet needs no stake.
fn request(
    market: &Market,
    domain: &Domain,
    signer: &PrivateKeySigner,
    number: u64,
) -> Result<Order> {
    let order = RequestOrder {
        app: market.app,
        requester: signer.address(),
        beneficiary: signer.address(),
        volume: U256::ONE,
        params: r#"{"iexec_args":"--epochs 3"}"#.into(),
        salt: B256::from(U256::from(number)),
        ..RequestOrder::default()
    };
    let sign = signer.sign_hash_sync(&order.hash(domain).0)?;
    Ok(RequestOrder { sign: Bytes::from(sign.as_bytes()), ..order }.into())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    };
    format!("p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", at(50), at(95), at(99))
}

/// What this process has used of its processors so far.
fn processor_ms() -> f64 {
    const TICK_MS: f64 = 10.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in brackets, may have spaces in it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() * TICK_MS
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}

async fn serve(router: axum::Router) -> Result<Url> {
    use axum::serve::ListenerExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // A socket that refuses the option works all the same, only slower.
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    Ok(format!("http://{address}").parse()?)
}
