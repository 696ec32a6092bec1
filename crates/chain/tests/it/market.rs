//! A market on the embedded chain: put up, used, watched.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall as _;
use chain::calls::{self, NewApp, NewWorkerpool, Settlement};
use chain::deploy::{DeployConfig, deploy};
use chain::{
    AssetKind, Client, ContributionStatus, Cursor, Follower, MarketEvent, TaskStatus, TxRequest,
    Update, Wallet, deposit_and_match,
};
use devchain::Mining;
use orders::{AppOrder, DatasetOrder, OrderKind, Quartet, RequestOrder, WorkerpoolOrder, task_id};
use primitives::{CategoryId, DealId, Nrlc, ResultDigest, TaskId};
use serde_json::json;
use verdict::{authorization_hash, result_hash, result_seal, settlement_hash};

use crate::embedded::Embedded;

const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const RESULTS: &[u8] = br#"{ "storage": "ipfs", "location": "/ipfs/none" }"#;
const CATEGORY: u64 = 0;
const BLOCKS_LATER: u64 = 2_100;

/// A market with an app, a pool and people who have money.
pub(crate) struct Market {
    pub(crate) node: Embedded,
    pub(crate) client: Client,
    pub(crate) owner: Wallet,
    pub(crate) requester: Wallet,
    pub(crate) scheduler: Wallet,
    pub(crate) app: Address,
    pub(crate) workerpool: Address,
}

impl Market {
    pub(crate) async fn open() -> Self {
        let node = Embedded::start(Mining::Instant).await;
        let everything = vec![(node.signer(0).address(), Nrlc::from_rlc(87_000_000))];
        let contracts =
            deploy(&node.ws, node.signer(0), DeployConfig::new(everything)).await.unwrap();
        let client = Client::connect(&node.ws, contracts.hub).await.unwrap();
        assert_eq!(client.contracts(), contracts);
        let owner = Wallet::new(&client, node.signer(0)).await.unwrap();
        let requester = Wallet::new(&client, node.signer(1)).await.unwrap();
        let scheduler = Wallet::new(&client, node.signer(2)).await.unwrap();
        let new_app = NewApp {
            owner: owner.address(),
            name: "echo".into(),
            kind: "WASM".into(),
            multiaddr: Bytes::from_static(b"/ipfs/none"),
            checksum: B256::repeat_byte(5),
            ..NewApp::default()
        };
        let new_pool = NewWorkerpool { owner: scheduler.address(), description: "a pool".into() };
        let (app, workerpool) =
            (new_app.address(&client).await.unwrap(), new_pool.address(&client).await.unwrap());
        owner.execute(calls::create_app(&contracts, new_app)).await.unwrap();
        owner.execute(calls::create_workerpool(&contracts, new_pool)).await.unwrap();
        let market = Self { node, client, owner, requester, scheduler, app, workerpool };
        market.fund(market.requester.address(), 100).await;
        market.stake(&market.scheduler, 100).await;
        market
    }

    pub(crate) async fn fund(&self, who: Address, rlc: u64) {
        let call = calls::transfer_rlc(&self.client.contracts(), who, Nrlc::from_rlc(rlc));
        self.owner.execute(call).await.unwrap();
    }

    pub(crate) async fn stake(&self, wallet: &Wallet, rlc: u64) {
        self.fund(wallet.address(), rlc).await;
        let call = calls::stake(&self.client.contracts(), Nrlc::from_rlc(rlc));
        wallet.execute(call).await.unwrap();
    }

    pub(crate) async fn worker(&self, index: usize) -> Wallet {
        let wallet = Wallet::new(&self.client, self.node.signer(index)).await.unwrap();
        self.stake(&wallet, 10).await;
        wallet
    }

    /// Four signed orders: the app costs 1 RLC, computing 10.
    pub(crate) fn quartet(&self, trust: u64, volume: u64) -> Quartet {
        let domain = self.client.domain();
        let volume = U256::from(volume);
        let trust = U256::from(trust);
        let app =
            AppOrder { app: self.app, price: Nrlc::from_rlc(1).0, volume, ..AppOrder::default() };
        let workerpool = WorkerpoolOrder {
            workerpool: self.workerpool,
            price: Nrlc::from_rlc(10).0,
            volume,
            category: U256::from(CATEGORY),
            trust,
            ..WorkerpoolOrder::default()
        };
        let request = RequestOrder {
            app: self.app,
            app_max_price: app.price,
            workerpool_max_price: workerpool.price,
            requester: self.requester.address(),
            volume,
            category: U256::from(CATEGORY),
            trust,
            params: r#"{"iexec_args":"hello"}"#.into(),
            ..RequestOrder::default()
        };
        let sign = |signer: &PrivateKeySigner, hash: B256| {
            Bytes::from(signer.sign_hash_sync(&hash).unwrap().as_bytes().to_vec())
        };
        Quartet {
            app: app.clone().signed(sign(self.owner.signer(), app.hash(&domain).0)),
            dataset: DatasetOrder::none(),
            workerpool: workerpool
                .clone()
                .signed(sign(self.scheduler.signer(), workerpool.hash(&domain).0)),
            request: request.clone().signed(sign(self.requester.signer(), request.hash(&domain).0)),
        }
    }

    /// Deposits what is missing and makes the deal, at once.
    pub(crate) async fn buy(&self, quartet: &Quartet, price: Nrlc) -> DealId {
        deposit_and_match(&self.requester, price, quartet).await.unwrap();
        quartet.deal_id(&self.client.domain(), U256::ZERO)
    }

    pub(crate) fn authorization(&self, worker: Address, task: TaskId) -> Bytes {
        let hash = authorization_hash(worker, task, Address::ZERO);
        let signature = self.scheduler.signer().sign_message_sync(hash.as_slice()).unwrap();
        signature.as_bytes().to_vec().into()
    }
}

async fn until(follower: &mut Follower, wanted: impl Fn(&MarketEvent) -> bool) -> Vec<MarketEvent> {
    let mut seen = Vec::new();
    let all = async {
        while let Some(update) = follower.next().await {
            if let Update::Block(block) = update {
                seen.extend(block.events.iter().map(|event| event.event.clone()));
                if seen.iter().any(&wanted) {
                    return;
                }
            }
        }
        panic!("the follower ended");
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the event in time");
    seen
}

#[tokio::test]
async fn a_fresh_market_is_as_the_public_one() {
    let market = Market::open().await;
    let client = &market.client;
    assert_eq!(client.category_count().await.unwrap(), 5);
    let category = client.category(CategoryId::new(4)).await.unwrap();
    assert_eq!((category.name.as_str(), category.work_clock_seconds), ("XL", 36_000));
    assert!(client.category(CategoryId::new(5)).await.unwrap_err().is_unknown());

    let app = client.app(market.app).await.unwrap();
    assert_eq!((app.name.as_str(), app.kind.as_str()), ("echo", "WASM"));
    assert!(client.app(market.workerpool).await.unwrap_err().is_unknown());
    assert!(client.app(Address::repeat_byte(9)).await.unwrap_err().is_unknown());
    assert!(client.owner_of_asset(Address::repeat_byte(9)).await.unwrap_err().is_unknown());
    assert_eq!(client.owner_of_asset(market.app).await.unwrap(), market.owner.address());
    assert!(client.is_registered(AssetKind::Workerpool, market.workerpool).await.unwrap());

    let call = calls::set_policy(market.workerpool, 50, 20);
    market.scheduler.execute(call).await.unwrap();
    let pool = client.workerpool(market.workerpool).await.unwrap();
    assert_eq!(pool.worker_stake_ratio, U256::from(50));
    assert_eq!(pool.scheduler_reward_ratio, U256::from(20));
    let refused = market.owner.execute(calls::set_policy(market.workerpool, 1, 1)).await;
    assert_eq!(refused.unwrap_err().reason(), "caller is not the owner");
}

#[tokio::test]
async fn a_deal_of_trust_1_is_done_by_one_worker() {
    let market = Market::open().await;
    let client = &market.client;
    let worker = market.worker(3).await;
    let mut news = client.follow(Cursor::START);
    let quartet = market.quartet(1, 2);
    let deal_id = market.buy(&quartet, Nrlc::from_rlc(22)).await;
    until(&mut news, |event| event.deal() == Some(deal_id)).await;

    let deal = client.deal(deal_id).await.unwrap();
    assert_eq!(deal.params, quartet.request.params);
    assert_eq!((deal.trust, deal.size), (U256::ONE, U256::from(2)));
    assert!(client.deal(DealId(B256::ZERO)).await.unwrap_err().is_unknown());
    let request = quartet.request.hash(&client.domain());
    assert_eq!(client.consumed(request).await.unwrap(), U256::from(2));

    let (first, second) = (task_id(deal_id, U256::ZERO), task_id(deal_id, U256::ONE));
    let both = [(deal_id, U256::ZERO), (deal_id, U256::ONE)];
    let opening = market.scheduler.send(calls::initialize_array(client.hub(), &both)).await;
    opening.unwrap().mined().await.unwrap();
    assert_eq!(client.task(first).await.unwrap().status, TaskStatus::Active);

    let digest = ResultDigest(B256::repeat_byte(7));
    let done = calls::contribute_and_finalize(
        client.hub(),
        first,
        digest,
        Bytes::from_static(RESULTS),
        Bytes::new(),
        market.authorization(worker.address(), first),
    );
    let receipt = worker.execute(done.clone()).await.unwrap();
    let finalized = MarketEvent::Finalized { task: first, results: Bytes::from_static(RESULTS) };
    let told = receipt.events(client.hub());
    assert!(told.iter().any(|event| event.event == finalized), "{told:?}");
    until(&mut news, |event| *event == finalized).await;

    let task = client.task(first).await.unwrap();
    assert_eq!((task.status, task.digest), (TaskStatus::Completed, digest));
    assert_eq!(task.contributors, [worker.address()]);
    assert_eq!(client.task(second).await.unwrap().status, TaskStatus::Active);
    // 10 RLC for computing, of which the scheduler keeps 1 per cent.
    let earned = client.account(worker.address()).await.unwrap().stake;
    assert_eq!(earned, Nrlc::new(10_000_000_000 + 9_900_000_000));

    let refused = worker.execute(done).await.unwrap_err();
    assert!(refused.is_revert() && !refused.is_retryable(), "{refused}");
    assert_eq!(refused.reason(), "no reason given");

    // Both stories are told behind more blocks than one search spans, of which one task's are all before its end.
    market.node.ask("anvil_mine", json!([BLOCKS_LATER])).await;
    for (task, ended) in [(first, true), (second, false)] {
        let story = client.task_events(task, deal.start, 0).await.unwrap();
        let opened = |event: &MarketEvent| matches!(event, MarketEvent::TaskInitialized { .. });
        assert!(story.iter().any(|(_, known)| opened(&known.event)), "{story:?}");
        assert_eq!(story.iter().any(|(_, known)| known.event.ends_task()), ended, "{story:?}");
    }
}

#[tokio::test]
async fn a_deal_of_trust_4_is_done_by_two_workers_who_agree() {
    let market = Market::open().await;
    let (client, hub) = (&market.client, market.client.hub());
    let workers = [market.worker(3).await, market.worker(4).await];
    let mut news = client.follow(Cursor::START);
    let deal = market.buy(&market.quartet(4, 1), Nrlc::from_rlc(11)).await;
    let task = task_id(deal, U256::ZERO);
    let digest = ResultDigest(B256::repeat_byte(7));
    let opening = calls::initialize_array(hub, &[(deal, U256::ZERO)]);
    market.scheduler.execute(opening).await.unwrap();
    for worker in &workers {
        let address = worker.address();
        let call = calls::contribute(
            hub,
            task,
            result_hash(task, digest),
            result_seal(address, task, digest),
            market.authorization(address, task),
        );
        worker.execute(call).await.unwrap();
    }
    until(&mut news, |event| matches!(event, MarketEvent::Consensus { .. })).await;
    for worker in &workers {
        worker.execute(calls::reveal(hub, task, digest)).await.unwrap();
        let contribution = client.contribution(task, worker.address()).await.unwrap();
        assert_eq!(contribution.status, ContributionStatus::Proved);
    }
    let end = calls::finalize(hub, task, Bytes::from_static(RESULTS), Bytes::new());
    market.scheduler.execute(end).await.unwrap();
    until(&mut news, |event| matches!(event, MarketEvent::Finalized { .. })).await;
    for worker in &workers {
        assert_eq!(client.score(worker.address()).await.unwrap(), U256::ONE);
    }
}

#[tokio::test]
async fn what_calls_back_has_the_gas_that_the_hub_gives() {
    const ALLOTTED: u64 = 3_000_000;
    let market = Market::open().await;
    let (client, hub) = (&market.client, market.client.hub());
    let end = calls::finalize(hub, TaskId::default(), Bytes::new(), Bytes::from_static(b"data"));
    assert_eq!(client.calling_back(end.clone()).await, end, "as hubs usually have it");
    let set = async |gas: u64| {
        let call = bindings::hub::Hub::setCallbackGasCall { callbackgas: U256::from(gas) };
        market.owner.execute(TxRequest::call(hub, call.abi_encode())).await.unwrap();
        client.calling_back(end.clone()).await.gas_limit.unwrap()
    };
    let usual = end.gas_limit.unwrap();
    let more = set(ALLOTTED).await;
    assert!(more > ALLOTTED / 63 * 64 && more > usual, "{more}");
    assert!(set(u64::MAX).await <= 1 << 24, "no chain takes more");
}

#[tokio::test]
async fn a_hundred_tasks_are_settled_in_one_transaction() {
    const TASKS: u64 = 100;
    let market = Market::open().await;
    let (client, hub) = (&market.client, market.client.hub());
    assert!(client.has_settle().await);
    market.fund(market.requester.address(), 11 * TASKS).await;
    market.stake(&market.scheduler, 3 * TASKS).await;
    let worker = market.worker(3).await;
    let deal = market.buy(&market.quartet(1, TASKS), Nrlc::from_rlc(11 * TASKS)).await;

    let indices: Vec<U256> = (0..TASKS).map(U256::from).collect();
    let hash = settlement_hash(worker.address(), deal, &indices);
    let sign = |wallet: &Wallet| {
        let signature = wallet.signer().sign_message_sync(hash.as_slice()).unwrap();
        Bytes::from(signature.as_bytes().to_vec())
    };
    let items: Vec<Settlement> = indices
        .iter()
        .map(|index| Settlement {
            index: *index,
            digest: ResultDigest(B256::from(*index)),
            results: Bytes::from_static(RESULTS),
        })
        .collect();
    let settle = |authorization| calls::settle(hub, deal, items.clone(), authorization);
    let refused = worker.execute(settle(sign(&worker))).await.unwrap_err().reason();
    assert_eq!(refused, format!("SettlementNotAuthorized({}, {})", worker.address(), deal.0));

    let receipt = worker.execute(settle(sign(&market.scheduler))).await.unwrap();
    assert!(receipt.gas_used < 80_000 * TASKS, "{}", receipt.gas_used);
    let told = receipt.events(hub);
    for index in indices {
        let task = task_id(deal, index);
        let finalized = MarketEvent::Finalized { task, results: Bytes::from_static(RESULTS) };
        assert!(told.iter().any(|event| event.event == finalized), "{index}");
    }
    let last = client.task(task_id(deal, U256::from(TASKS - 1))).await.unwrap();
    assert_eq!(last.status, TaskStatus::Completed);
    let again = worker.execute(settle(sign(&market.scheduler))).await.unwrap_err().reason();
    assert_eq!(again, "TaskNotSettleable(0, 3)");
}

#[tokio::test]
async fn a_match_that_is_refused_says_by_which_rule() {
    let market = Market::open().await;
    let mut quartet = market.quartet(1, 1);
    quartet.request.params.push(' ');
    let call = calls::match_orders(market.client.hub(), &quartet);
    let refused = market.requester.execute(call.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), "iExecV5-matchOrders-0x50");
    let estimated = TxRequest { gas_limit: None, ..call };
    let refused = market.requester.send(estimated).await.err().unwrap();
    assert_eq!(refused.reason(), "iExecV5-matchOrders-0x50");
    let short = calls::match_orders(market.client.hub(), &market.quartet(1, 1));
    let refused = market.requester.execute(short).await.unwrap_err();
    assert_eq!(refused.reason(), "IexecEscrow: Transfer amount exceeds balance");
}

#[tokio::test]
async fn a_rolled_back_chain_is_told_of_and_wallets_send_again() {
    let market = Market::open().await;
    let client = &market.client;
    let mut news = client.follow(Cursor::START);
    let order = market.quartet(1, 1).app;
    let close = || calls::manage_app_order(client.hub(), &order, orders::Operation::Close);
    let is_closed = |event: &MarketEvent| {
        matches!(event, MarketEvent::ClosedOrder { kind: OrderKind::App, .. })
    };
    market.owner.execute(close()).await.unwrap();
    until(&mut news, is_closed).await;

    market.node.ask("anvil_rollback", json!([1])).await;
    let other = calls::transfer_rlc(&client.contracts(), Address::repeat_byte(1), Nrlc::new(1));
    market.requester.execute(other).await.unwrap();
    let rewound = async {
        loop {
            match news.next().await.unwrap() {
                Update::Rewound { to } => break to,
                Update::Block(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, rewound).await.expect("a rewind");
    // The owner's wallet sends again what the chain forgot.
    until(&mut news, is_closed).await;
    assert_ne!(client.consumed(order.hash(&client.domain())).await.unwrap(), U256::ZERO);
    // What would fail by now is not: the order is closed, and nonces are free for others.
    let other = calls::transfer_rlc(&client.contracts(), Address::repeat_byte(1), Nrlc::new(1));
    market.owner.execute(other).await.unwrap();
}

#[tokio::test]
async fn the_same_news_come_by_polling() {
    let market = Market::open().await;
    let client = Client::connect(&market.node.http, market.client.hub()).await.unwrap();
    let mut news = client.follow(Cursor::START);
    let deal = market.buy(&market.quartet(1, 1), Nrlc::from_rlc(11)).await;
    let seen = until(&mut news, |event| event.deal() == Some(deal)).await;
    let created = |wanted| {
        let of = move |event: &&MarketEvent| matches!(event, MarketEvent::AssetTransferred { asset, .. } if *asset == wanted);
        seen.iter().filter(of).count()
    };
    assert_eq!((created(market.app), created(market.workerpool)), (1, 1));
}
