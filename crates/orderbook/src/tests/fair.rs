//! A market of a few wallets, and a chain that is whatever the test makes of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use chain::{AssetKind, AssetTerms, Category, ChainEvent, Deal, MarketEvent};
use orders::{AppOrder, DatasetOrder, Domain, OrderKind, RequestOrder, WorkerpoolOrder};
use parking_lot::Mutex;
use primitives::{CategoryId, DealId, Nrlc, OrderHash, Tag, TaskId, UnixSeconds};
use store::{Cursor, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::market::{ApiError, MarketApi, Order, OrderStatus, Published};

use crate::book::Book;
use crate::ledger::{Block, Heard, Ledger, News};
use crate::service::{Handle, Limits, resume_at, run};
use crate::{Error, rows};

pub(super) const APP: Address = Address::repeat_byte(0xa0);
pub(super) const DATASET: Address = Address::repeat_byte(0xd0);
pub(super) const POOL: Address = Address::repeat_byte(0xb0);
pub(super) const OWNER: Address = Address::repeat_byte(0x01);
pub(super) const REQUESTER: Address = Address::repeat_byte(0x02);
pub(super) const STRANGER: Address = Address::repeat_byte(0x03);

/// What the chain says at this moment.
#[derive(Default)]
pub(super) struct World {
    pub(super) owners: HashMap<Address, Address>,
    pub(super) consumed: HashMap<OrderHash, u64>,
    pub(super) stakes: HashMap<Address, u64>,
    pub(super) forged: HashSet<OrderHash>,
    pub(super) contracts: HashSet<Address>,
    pub(super) unreachable: bool,
    /// Whether deals are of a branch that is gone.
    pub(super) dealless: bool,
    pub(super) reads: usize,
}

#[derive(Default)]
pub(super) struct Fake {
    pub(super) world: Mutex<World>,
}

impl Fake {
    fn read<T>(&self, read: impl FnOnce(&World) -> T) -> Result<T, Error> {
        let mut world = self.world.lock();
        world.reads += 1;
        if world.unreachable {
            return Err(Error::Chain { source: "unplugged".into(), retryable: true });
        }
        Ok(read(&world))
    }
}

#[async_trait]
impl Ledger for Fake {
    fn chain_id(&self) -> u64 {
        65_535
    }

    fn domain(&self) -> Domain {
        Domain { chain_id: 65_535, hub: Address::repeat_byte(0x88) }
    }

    fn registry(&self, kind: AssetKind) -> Address {
        match kind {
            AssetKind::App => Address::repeat_byte(0xa1),
            AssetKind::Dataset => Address::repeat_byte(0xd1),
            AssetKind::Workerpool => Address::repeat_byte(0xb1),
        }
    }

    fn head(&self) -> u64 {
        0
    }

    async fn is_registered(&self, _: AssetKind, asset: Address) -> Result<bool, Error> {
        self.read(|world| world.owners.contains_key(&asset))
    }

    async fn owner(&self, asset: Address) -> Result<Address, Error> {
        self.read(|world| world.owners.get(&asset).copied().unwrap_or_default())
    }

    async fn is_signed_by(&self, _: Address, hash: OrderHash, _: &Bytes) -> Result<bool, Error> {
        self.read(|world| !world.forged.contains(&hash))
    }

    async fn consumed(&self, order: OrderHash) -> Result<U256, Error> {
        self.read(|world| U256::from(world.consumed.get(&order).copied().unwrap_or_default()))
    }

    async fn consumed_all(&self, orders: &[OrderHash]) -> Result<Vec<U256>, Error> {
        let questions = orders.iter().map(|order| self.consumed(*order));
        futures::future::try_join_all(questions).await
    }

    async fn has_code(&self, account: Address) -> Result<bool, Error> {
        self.read(|world| world.contracts.contains(&account))
    }

    async fn stake(&self, account: Address) -> Result<Nrlc, Error> {
        self.read(|world| Nrlc::new(world.stakes.get(&account).copied().unwrap_or_default()))
    }

    async fn deal(&self, _: DealId) -> Result<Deal, Error> {
        let terms = |pointer| AssetTerms { pointer, owner: OWNER, price: Nrlc::new(1) };
        if self.world.lock().dealless {
            return Err(Error::Chain { source: "there is no such deal".into(), retryable: false });
        }
        self.read(|_| Deal {
            app: terms(APP),
            dataset: AssetTerms { pointer: Address::ZERO, owner: Address::ZERO, price: Nrlc::ZERO },
            workerpool: terms(POOL),
            trust: U256::from(1),
            category: CategoryId::new(0),
            tag: Tag::NONE,
            requester: REQUESTER,
            beneficiary: REQUESTER,
            callback: Address::ZERO,
            params: "{}".into(),
            start: UnixSeconds(1_700_000_000),
            first: U256::ZERO,
            size: U256::from(2),
            worker_stake: Nrlc::new(1),
            scheduler_reward_ratio: U256::from(5),
            sponsor: REQUESTER,
        })
    }

    async fn deal_of(&self, _: TaskId) -> Result<DealId, Error> {
        self.read(|_| DealId(B256::repeat_byte(0x99)))
    }

    async fn category(&self, _: CategoryId) -> Result<Category, Error> {
        self.read(|_| Category {
            name: "XS".into(),
            description: "short".into(),
            work_clock_seconds: 300,
        })
    }
}

struct Paper(mpsc::UnboundedReceiver<Heard>);

#[async_trait]
impl News for Paper {
    async fn next(&mut self) -> Option<Heard> {
        self.0.recv().await
    }
}

/// A running book and everything around it.
pub(super) struct Fair {
    pub(super) fake: Arc<Fake>,
    pub(super) book: Arc<dyn MarketApi>,
    pub(super) handle: Handle,
    pub(super) store: Store,
    news: mpsc::UnboundedSender<Heard>,
    cancel: CancellationToken,
    height: u64,
}

impl Fair {
    /// The owner owns everything and has stake, as has the requester.
    pub(super) async fn open() -> Self {
        let fake = Arc::new(Fake::default());
        {
            let mut world = fake.world.lock();
            world.owners.extend([(APP, OWNER), (DATASET, OWNER), (POOL, OWNER)]);
            world.stakes.extend([(OWNER, 1_000), (REQUESTER, 1_000)]);
        }
        Self::start(fake, Store::in_memory().await.expect("opens"), 0).await
    }

    async fn start(fake: Arc<Fake>, store: Store, height: u64) -> Self {
        let limits = Limits { open_orders_max: 5, ..Limits::default() };
        let (news, paper) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let from = resume_at(&store, 0).await.expect("reads");
        let book = Book::open(fake.clone(), store.clone(), limits).await.expect("opens");
        let handle = run(book, from, Paper(paper), cancel.clone());
        Self { fake, book: handle.api(), handle, store, news, cancel, height }
    }

    /// Stops the book and starts another one on the same store.
    pub(super) async fn restart(self) -> Self {
        self.cancel.cancel();
        self.handle.stopped().await;
        Self::start(self.fake, self.store, self.height).await
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.fake.world.lock());
    }

    pub(super) async fn publish(
        &self,
        order: impl Into<Order>,
        wallet: Address,
    ) -> Result<Published, ApiError> {
        self.book.publish(wallet, order.into()).await
    }

    /// Publishes what must be accepted.
    pub(super) async fn offer(&self, order: impl Into<Order>) -> Published {
        let order = order.into();
        let wallet = if order.kind() == OrderKind::Request { REQUESTER } else { OWNER };
        self.publish(order, wallet).await.expect("is published")
    }

    /// Says what happened without waiting for the book to hear it.
    pub(super) fn tell(&mut self, events: impl IntoIterator<Item = MarketEvent>) {
        self.height += 1;
        let wrapped = events.into_iter().enumerate().map(|(index, event)| ChainEvent {
            event,
            tx: B256::repeat_byte(0x77),
            log_index: index as u64,
        });
        let block = Block {
            at: Cursor { number: self.height, hash: B256::from(U256::from(self.height)) },
            time: UnixSeconds(1_700_000_000 + self.height),
            events: wrapped.collect(),
        };
        self.news.send(Heard::Block(block)).expect("the book listens");
    }

    /// Mines a block and waits until the book has taken it in.
    pub(super) async fn block(&mut self, events: impl IntoIterator<Item = MarketEvent>) {
        self.tell(events);
        assert!(self.handle.caught_up(self.height).await, "the book runs");
    }

    /// The account has that much stake from now on, and the book has heard that money moved.
    pub(super) async fn restake(&mut self, account: Address, stake: u64) {
        self.change(|world| {
            world.stakes.insert(account, stake);
        });
        self.block([paid(account)]).await;
    }

    /// Takes the last blocks back, and mines an empty one.
    pub(super) async fn rewind(&mut self, blocks: u64) {
        self.height -= blocks;
        let to = Cursor { number: self.height, hash: B256::from(U256::from(self.height)) };
        self.news.send(Heard::Rewound(to)).expect("the book listens");
        let settled = async {
            while self.handle.last_block() != to.number {
                tokio::task::yield_now().await;
            }
        };
        settled.await;
        self.block([]).await;
    }

    pub(super) async fn state(&self, published: &Published) -> (OrderStatus, u64) {
        let found = self.book.order(published.order.kind(), published.hash).await;
        let found = found.expect("is in the book");
        (found.status, found.remaining)
    }

    /// The chain uses up that much of the order.
    pub(super) fn consume(&self, order: &Published, consumed: u64) {
        self.change(|world| {
            world.consumed.insert(order.hash, consumed);
        });
    }
}

pub(super) fn app_order() -> AppOrder {
    AppOrder { app: APP, price: U256::from(5), volume: U256::from(10), ..AppOrder::default() }
}

pub(super) fn dataset_order() -> DatasetOrder {
    DatasetOrder {
        dataset: DATASET,
        price: U256::from(7),
        volume: U256::from(10),
        ..DatasetOrder::default()
    }
}

pub(super) fn pool_order() -> WorkerpoolOrder {
    WorkerpoolOrder {
        workerpool: POOL,
        price: U256::from(100),
        volume: U256::from(10),
        ..WorkerpoolOrder::default()
    }
}

pub(super) fn request_order() -> RequestOrder {
    RequestOrder {
        app: APP,
        app_max_price: U256::from(5),
        workerpool_max_price: U256::from(100),
        requester: REQUESTER,
        beneficiary: REQUESTER,
        volume: U256::from(2),
        params: "{}".into(),
        ..RequestOrder::default()
    }
}

pub(super) fn paid(from: Address) -> MarketEvent {
    MarketEvent::Transfer { from, to: STRANGER, amount: Nrlc::new(1) }
}

pub(super) fn matched(orders: [&Published; 3], volume: u64) -> MarketEvent {
    let [app, workerpool, request] = orders.map(|order| order.hash);
    MarketEvent::OrdersMatched {
        deal: DealId(B256::repeat_byte(0x99)),
        app,
        dataset: OrderHash::default(),
        workerpool,
        request,
        volume: U256::from(volume),
    }
}

#[test]
fn an_order_comes_back_from_its_row() {
    let orders: [Order; 4] =
        [app_order().into(), dataset_order().into(), pool_order().into(), request_order().into()];
    for order in orders {
        let entry = rows::Entry {
            hash: OrderHash::default(),
            signer: OWNER,
            published: wire::UnixMillis(1),
            state: store::OrderState {
                status: store::Status::Open,
                remaining: 1,
                changed_block: 0,
            },
        };
        let row = rows::to_row(&order, entry);
        assert_eq!(rows::published(row, 1).order, order);
    }
}
