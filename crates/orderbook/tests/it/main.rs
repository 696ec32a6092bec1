//! The book over HTTP, on the embedded chain with the real contracts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use axum::serve::ListenerExt;
use chain::calls::{self, NewApp, NewWorkerpool};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, Receipt, TxRequest, Wallet};
use devchain::DevChain;
use orderbook::{Handle, Orderbook};
use orders::{
    AppOrder, DatasetOrder, Operation, OrderKind, Quartet, RequestOrder, WorkerpoolOrder,
};
use primitives::Nrlc;
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;
use url::Url;
use wire::market::{MarketClient, Order, OrderQuery, OrderStatus, Published, Unpublish};

const PATIENCE: Duration = Duration::from_secs(120);

/// A market of three wallets, an app and a pool, and its book.
struct Market {
    client: Client,
    book: Handle,
    api: MarketClient,
    owner: Wallet,
    requester: Wallet,
    scheduler: Wallet,
    app: Address,
    workerpool: Address,
    salts: AtomicU8,
    _chain: DevChain,
}

impl Market {
    async fn open() -> Self {
        let chain = DevChain::open(devchain::Config::default()).expect("a chain");
        let signer = |index: usize| chain.accounts()[index].signer.clone();
        let [owner, requester, scheduler] = [0, 1, 2].map(signer);
        let node = serve(chain.router()).await;
        let rpc: Url = node.as_str().replacen("http", "ws", 1).parse().expect("a url");
        let everything = vec![(owner.address(), Nrlc::from_rlc(87_000_000))];
        let deployed = deploy(&rpc, owner.clone(), DeployConfig::new(everything)).await;
        let client = Client::connect(&rpc, deployed.expect("is deployed").hub).await;
        let client = client.expect("connects");

        let store = Store::in_memory().await.expect("opens");
        let config = orderbook::Config::new(client.clone(), store);
        let book = Orderbook::start(config, CancellationToken::new()).await.expect("starts");
        let api = MarketClient::new(&serve(book.router()).await, client.chain_id());

        let wallet = async |signer| Wallet::new(&client, signer).await.expect("a wallet");
        let (owner, requester, scheduler) =
            (wallet(owner).await, wallet(requester).await, wallet(scheduler).await);
        let app = NewApp {
            owner: owner.address(),
            name: "echo".into(),
            kind: "WASM".into(),
            multiaddr: Bytes::from_static(b"/ipfs/none"),
            checksum: B256::repeat_byte(5),
            ..NewApp::default()
        };
        let pool = NewWorkerpool { owner: scheduler.address(), description: "a pool".into() };
        let app_address = app.address(&client).await.expect("an address");
        let workerpool = pool.address(&client).await.expect("an address");
        let market = Self {
            api: api.expect("a client"),
            book,
            owner,
            requester,
            scheduler,
            app: app_address,
            workerpool,
            salts: AtomicU8::new(1),
            client,
            _chain: chain,
        };
        let contracts = market.client.contracts();
        market.mine(&market.owner, calls::create_app(&contracts, app)).await;
        market.mine(&market.owner, calls::create_workerpool(&contracts, pool)).await;
        for wallet in [&market.requester, &market.scheduler] {
            let gift = calls::transfer_rlc(&contracts, wallet.address(), Nrlc::from_rlc(100));
            market.mine(&market.owner, gift).await;
            market.mine(wallet, calls::stake(&contracts, Nrlc::from_rlc(100))).await;
        }
        market
    }

    /// Sends, and waits until the book has heard of it.
    async fn mine(&self, wallet: &Wallet, request: TxRequest) -> Receipt {
        let receipt = wallet.execute(request).await.expect("is mined");
        let caught_up = self.book.caught_up(receipt.block_number);
        let caught_up = tokio::time::timeout(PATIENCE, caught_up).await;
        assert_eq!(caught_up, Ok(true), "the book follows");
        receipt
    }

    fn salt(&self) -> B256 {
        B256::repeat_byte(self.salts.fetch_add(1, Ordering::Relaxed))
    }

    fn app_order(&self) -> AppOrder {
        let order = AppOrder {
            app: self.app,
            price: Nrlc::from_rlc(1).0,
            volume: U256::from(3),
            salt: self.salt(),
            ..AppOrder::default()
        };
        AppOrder { sign: sign(&self.owner, order.hash(&self.client.domain()).0), ..order }
    }

    fn pool_order(&self) -> WorkerpoolOrder {
        let order = WorkerpoolOrder {
            workerpool: self.workerpool,
            price: Nrlc::from_rlc(10).0,
            volume: U256::from(3),
            salt: self.salt(),
            ..WorkerpoolOrder::default()
        };
        WorkerpoolOrder {
            sign: sign(&self.scheduler, order.hash(&self.client.domain()).0),
            ..order
        }
    }

    fn request_order(&self) -> RequestOrder {
        let order = RequestOrder {
            app: self.app,
            app_max_price: Nrlc::from_rlc(1).0,
            workerpool_max_price: Nrlc::from_rlc(10).0,
            requester: self.requester.address(),
            volume: U256::from(2),
            params: "{}".into(),
            salt: self.salt(),
            ..RequestOrder::default()
        };
        RequestOrder { sign: sign(&self.requester, order.hash(&self.client.domain()).0), ..order }
    }

    async fn publish(&self, order: impl Into<Order>) -> Published {
        let order = order.into();
        let signer = match order.kind() {
            OrderKind::App | OrderKind::Dataset => &self.owner,
            OrderKind::Workerpool => &self.scheduler,
            OrderKind::Request => &self.requester,
        };
        self.api.publish(&order, signer.signer()).await.expect("is published")
    }

    async fn state(&self, published: &Published) -> (OrderStatus, u64) {
        let found = self.api.order(published.order.kind(), published.hash).await;
        let found = found.expect("answers").expect("is in the book");
        (found.status, found.remaining)
    }
}

fn sign(wallet: &Wallet, hash: B256) -> Bytes {
    let signer: &PrivateKeySigner = wallet.signer();
    Bytes::from(signer.sign_hash_sync(&hash).expect("signs").as_bytes())
}

async fn serve(router: axum::Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).expect("a socket option"));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    format!("http://{address}").parse().expect("a url")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_live_from_publication_to_the_last_task() {
    let market = Market::open().await;
    let app = market.publish(market.app_order()).await;
    let pool = market.publish(market.pool_order()).await;
    let request = market.publish(market.request_order()).await;
    let best = market.api.best_order(&OrderQuery::all(OrderKind::Workerpool)).await;
    assert_eq!(best.expect("answers").as_ref(), Some(&pool));

    // What the book gives back still makes a deal, signatures and all.
    let found = async |published: &Published| {
        let found = market.api.order(published.order.kind(), published.hash).await;
        found.expect("answers").expect("is in the book").order
    };
    let (Order::App(app_order), Order::Workerpool(pool_order), Order::Request(request_order)) =
        (found(&app).await, found(&pool).await, found(&request).await)
    else {
        panic!("orders of their kinds");
    };
    let quartet = Quartet {
        app: app_order,
        dataset: DatasetOrder::none(),
        workerpool: pool_order,
        request: *request_order,
    };
    let hub = market.client.hub();
    let receipt = market.mine(&market.requester, calls::match_orders(hub, &quartet)).await;

    assert_eq!(market.state(&app).await, (OrderStatus::Open, 1));
    assert_eq!(market.state(&pool).await, (OrderStatus::Open, 1));
    assert_eq!(market.state(&request).await, (OrderStatus::Filled, 0));
    let id = quartet.deal_id(&market.client.domain(), U256::ZERO);
    let deal = market.api.deal(id).await.expect("answers").expect("is in the book");
    assert_eq!((deal.requester, deal.bot_size), (market.requester.address(), U256::from(2)));
    assert_eq!((deal.block_number, deal.tx_hash), (receipt.block_number, receipt.hash));
    let categories = market.api.categories(&wire::market::CategoryQuery::default()).await;
    assert!(categories.expect("answers").count > 0, "the market's categories are known");

    let close = calls::manage_app_order(hub, &quartet.app, Operation::Close);
    market.mine(&market.owner, close).await;
    assert_eq!(market.state(&app).await, (OrderStatus::Canceled, 0));
    // The pool's owner takes back what does not lie locked.
    let stake = market.client.account(market.scheduler.address()).await.expect("answers").stake;
    market.mine(&market.scheduler, calls::withdraw(hub, stake)).await;
    assert_eq!(market.state(&pool).await, (OrderStatus::Dead, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_book_asks_the_contracts() {
    let market = Market::open().await;
    let refusal = async |order: Order, wallet: &Wallet| {
        let refused = market.api.publish(&order, wallet.signer()).await.expect_err("refused");
        refused.refusal().expect("a reason").to_owned()
    };
    let forged = AppOrder { sign: sign(&market.scheduler, B256::ZERO), ..market.app_order() };
    assert_eq!(refusal(forged.into(), &market.owner).await, "invalid sign");
    let garbage = AppOrder { sign: Bytes::from_static(&[1, 2, 3]), ..market.app_order() };
    assert_eq!(refusal(garbage.into(), &market.owner).await, "invalid sign");
    let unknown = AppOrder { app: market.workerpool, ..market.app_order() };
    assert_eq!(refusal(unknown.into(), &market.owner).await, "Resource not deployed");
    let greedy = WorkerpoolOrder { price: Nrlc::from_rlc(1_000).0, ..market.pool_order() };
    let greedy = WorkerpoolOrder {
        sign: sign(&market.scheduler, greedy.hash(&market.client.domain()).0),
        ..greedy
    };
    assert_eq!(
        refusal(greedy.into(), &market.scheduler).await,
        "workerpool owner's stake is too low to cover required workerpool lock"
    );

    // A signature given on the chain is as good.
    let unsigned = AppOrder { sign: Bytes::new(), ..market.app_order() };
    let hub = market.client.hub();
    market.mine(&market.owner, calls::manage_app_order(hub, &unsigned, Operation::Sign)).await;
    let published = market.publish(unsigned).await;
    let target = Unpublish::All(market.app);
    let taken = market.api.unpublish(OrderKind::App, target, market.owner.signer()).await;
    assert_eq!(taken.expect("answers"), [published.hash]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_rewound_takes_the_book_along() {
    let market = Market::open().await;
    let app = market.publish(market.app_order()).await;
    let snapshot = market.client.request("evm_snapshot", json!([])).await.expect("a snapshot");
    let before = market.book.last_block();
    let Order::App(order) = app.order.clone() else { panic!("an app order") };
    let close = calls::manage_app_order(market.client.hub(), &order, Operation::Close);
    // By the node itself: a wallet would send again what its chain takes back.
    let (owner, hub) = (market.owner.address(), market.client.hub());
    let sent = json!([{ "from": owner, "to": hub, "data": close.data }]);
    market.client.request("eth_sendTransaction", sent).await.expect("is mined");
    let head = market.client.head().await.expect("a head").number;
    let caught_up = tokio::time::timeout(PATIENCE, market.book.caught_up(head)).await;
    assert_eq!(caught_up, Ok(true), "the book follows");
    assert_eq!(market.state(&app).await, (OrderStatus::Canceled, 0));

    market.client.request("evm_revert", json!([snapshot])).await.expect("is reverted");
    market.client.request("evm_mine", json!([])).await.expect("a block");
    let reopened = async {
        while market.state(&app).await != (OrderStatus::Open, 3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reopened).await.expect("the order is open again");
    assert!(market.book.last_block() >= before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_an_app_that_the_chain_takes_back_hold_nothing_up() {
    let market = Market::open().await;
    let snapshot = market.client.request("evm_snapshot", json!([])).await.expect("a snapshot");
    let app = NewApp {
        owner: market.owner.address(),
        name: "second".into(),
        kind: "WASM".into(),
        checksum: B256::repeat_byte(6),
        ..NewApp::default()
    };
    let address = app.address(&market.client).await.expect("an address");
    let create = calls::create_app(&market.client.contracts(), app);
    // By the node itself: a wallet would send again what its chain takes back.
    let sent =
        json!([{ "from": market.owner.address(), "to": create.to.to(), "data": create.data }]);
    market.client.request("eth_sendTransaction", sent).await.expect("is mined");
    let head = market.client.head().await.expect("a head").number;
    let caught_up = tokio::time::timeout(PATIENCE, market.book.caught_up(head)).await;
    assert_eq!(caught_up, Ok(true), "the book follows");
    let order = AppOrder { app: address, ..market.app_order() };
    let order =
        AppOrder { sign: sign(&market.owner, order.hash(&market.client.domain()).0), ..order };
    let published = market.publish(order).await;

    market.client.request("evm_revert", json!([snapshot])).await.expect("is reverted");
    market.client.request("evm_mine", json!([])).await.expect("a block");
    let forgotten = async {
        while market.state(&published).await != (OrderStatus::Dead, 3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("nobody is offered it");
}
