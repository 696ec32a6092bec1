//! The part that does: one loop that hears everything and carries out what the books answer.
//!
//! **Layout:** `feed` hears the chain · `outbox` sends transactions.

mod feed;
mod outbox;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use chain::calls;
use parking_lot::Mutex;
use primitives::{DealId, TaskId, UnixSeconds};
use tasks::{Call, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::link::{Enclave, EnclaveTask, Gate, LinkSender, ToWorker};
use wire::scheduler::{SchedulerApi, Waiting};

use crate::api::Desk;
use crate::books::{Abilities, BlockNews, Books, Effect};
use crate::config::Config;
use crate::deal::DealReader;
use crate::error::Error;
use crate::gate::{Doorkeeper, WorkerNews};
use crate::logs::{Print, Shelf};
use crate::memory;
use crate::model::results_text;
use crate::offers;
use crate::sms::Challenges;
use feed::{ChainNews, Feed};
use outbox::{Outbox, Outgoing};

const TICK: Duration = Duration::from_secs(1);
const TICKS_PER_REPORT: u32 = 30;
const CHAIN_QUEUE: usize = 256;
const WORKER_QUEUE: usize = 4_096;
const OUTBOX_QUEUE: usize = 16_384;
const ORDER_QUEUE: usize = 1_024;
/// Messages taken in one go, so that what they lead to travels together.
const BATCH: usize = 256;

/// Starts schedulers.
#[derive(Debug, Clone, Copy)]
pub struct Scheduler;

/// A running scheduler. Cheap to clone; it runs until [`Handle::shutdown`].
#[derive(Clone)]
pub struct Handle {
    workerpool: Address,
    gate: Arc<Doorkeeper>,
    desk: Arc<Desk>,
    books: Arc<Mutex<Books>>,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
    running: TaskTracker,
}

impl Scheduler {
    /// Starts one. Returns once it is known that the wallet may speak for the pool; catching up goes on behind.
    pub async fn start(config: Config) -> Result<Handle, Error> {
        check_owner(&config).await?;
        let cursor_name = format!("scheduler:{}", config.workerpool);
        let head = config.client.head().await.map_err(Error::Chain)?;
        let from = cursor(&config, &cursor_name, head.number).await?;

        let ledger = memory::read(&config.store, config.workerpool).await?;
        let books = Books::new(config.workerpool, config.limits);
        // Lots that nobody but this process can foresee.
        let books = books.trusting(config.checks, B256::random(), ledger);
        let books = Arc::new(Mutex::new(books));
        let stop = CancellationToken::new();
        let running = TaskTracker::new();
        // Written by the feed, read by the loop.
        let (chain_sender, chain_news) = mpsc::channel(CHAIN_QUEUE);
        // Written by each worker's connection, read by the loop.
        let (worker_sender, worker_news) = mpsc::channel(WORKER_QUEUE);
        // Written by the loop, read by the outbox.
        let (outbox, outgoing) = mpsc::channel(OUTBOX_QUEUE);
        // Written by the outbox, what waits for its transactions, and who asks the secret manager; read by the loop.
        let (answer_sender, answers) = mpsc::channel(OUTBOX_QUEUE);
        // Written by the loop, read by who asks the secret manager.
        let (questions, asked) = mpsc::channel(OUTBOX_QUEUE);
        // Written by the feed, read by the keeper of offers.
        let (order_sender, order_news) = mpsc::channel(ORDER_QUEUE);

        let gate = Arc::new(Doorkeeper::new(config.clone(), Arc::clone(&books), worker_sender));
        let shelf = Shelf::open(config.workerpool, config.store.clone(), config.logs);
        let shelf = shelf.await.map_err(Error::Store)?;
        let desk =
            Arc::new(Desk::new(&config, Arc::clone(&books), Arc::clone(&gate), shelf.clone()));

        let feed = Feed {
            client: config.client.clone(),
            reader: DealReader::new(config.client.clone()),
            workerpool: config.workerpool,
            target: head.number,
            news: chain_sender,
            orders: order_sender,
        };
        // Written by the loop, read by the keeper of offers.
        let (abilities, able) = watch::channel(Abilities::default());
        let act = Act {
            config: config.clone(),
            abilities,
            cursor_name,
            books: Arc::clone(&books),
            shelf: shelf.clone(),
            senders: HashMap::new(),
            outbox: outbox.clone(),
            questions,
            initialize: Vec::new(),
            claim: Vec::new(),
            read: None,
            kept: Some(from),
            live: false,
            ticks: 0,
        };
        let (live_sender, live) = watch::channel(false);
        let challenges = Challenges::new(&config, answer_sender.clone())?;
        let outbox = Outbox { config: config.clone(), again: outbox, answers: answer_sender };
        let (ready_sender, ready) = watch::channel(false);
        let keeper = offers::Keeper::new(config, Arc::clone(&books), live, ready_sender, able);

        let spawn = |work: futures::future::BoxFuture<'static, ()>| {
            let stop = stop.clone();
            running.spawn(async move {
                let _ = stop.run_until_cancelled_owned(work).await;
            });
        };
        spawn(Box::pin(feed.run(from)));
        spawn(Box::pin(outbox.run(outgoing)));
        spawn(Box::pin(challenges.run(asked)));
        spawn(Box::pin(keeper.run(order_news)));
        running.spawn(act.run(chain_news, worker_news, answers, live_sender, stop.clone()));
        running.spawn(shelf.keep(stop.clone()));
        running.close();
        let workerpool = gate.identity().workerpool;
        Ok(Handle { workerpool, gate, desk, books, ready, stop, running })
    }
}

impl Handle {
    /// The pool it serves.
    pub fn workerpool(&self) -> Address {
        self.workerpool
    }

    /// For [`wire::link::router`]: where its workers connect.
    pub fn gate(&self) -> Arc<dyn Gate> {
        Arc::clone(&self.gate) as Arc<dyn Gate>
    }

    /// For [`wire::scheduler::router`]: what it answers.
    pub fn api(&self) -> Arc<dyn SchedulerApi> {
        Arc::clone(&self.desk) as Arc<dyn SchedulerApi>
    }

    /// How many workers are connected.
    pub fn worker_count(&self) -> usize {
        self.books.lock().worker_count()
    }

    /// What a task waits for; nothing if it is not known here.
    pub fn waiting_for(&self, task: TaskId) -> Option<Waiting> {
        self.books.lock().waiting_for(task)
    }

    /// How many tasks are not finished.
    pub fn unfinished_count(&self) -> usize {
        self.books.lock().unfinished_count()
    }

    /// Waits until the past is read and every offer stands in the market. `false` if it stopped before.
    pub async fn ready(&self) -> bool {
        let mut ready = self.ready.clone();
        ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Stops and waits until everything has. What is unfinished is found again at the next start.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.running.wait().await;
    }
}

async fn check_owner(config: &Config) -> Result<(), Error> {
    let pool = config.client.workerpool(config.workerpool).await.map_err(Error::Chain)?;
    let (owner, wallet) = (pool.owner, config.wallet.address());
    if owner == wallet {
        return Ok(());
    }
    Err(Error::NotTheOwner { workerpool: config.workerpool, owner, wallet })
}

/// Where to read on. A cursor beyond the head is another chain's.
async fn cursor(config: &Config, name: &str, head: u64) -> Result<chain::Cursor, Error> {
    let start = chain::Cursor { number: config.from_block.saturating_sub(1), hash: B256::ZERO };
    let kept = config.store.cursor(name).await.map_err(Error::Store)?;
    Ok(match kept {
        Some(kept) if kept.number <= head => chain::Cursor { number: kept.number, hash: kept.hash },
        _ => start,
    })
}

/// The loop.
struct Act {
    config: Config,
    abilities: watch::Sender<Abilities>,
    cursor_name: String,
    books: Arc<Mutex<Books>>,
    shelf: Shelf,
    senders: HashMap<Address, (u64, LinkSender<ToWorker>)>,
    outbox: mpsc::Sender<Outgoing>,
    questions: mpsc::Sender<(TaskId, Enclave)>,
    initialize: Vec<(TaskId, DealId, U256)>,
    claim: Vec<TaskId>,
    /// The last block dealt with.
    read: Option<chain::Cursor>,
    /// The cursor as it is in the store.
    kept: Option<chain::Cursor>,
    live: bool,
    ticks: u32,
}

impl Act {
    async fn run(
        mut self,
        mut chain: mpsc::Receiver<ChainNews>,
        mut workers: mpsc::Receiver<WorkerNews>,
        mut answers: mpsc::Receiver<(TaskId, Event)>,
        live: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Before the news, which may never end: deadlines pass however much workers have to say.
                _ = tick.tick() => {
                    let now = self.now();
                    let effects = self.books.lock().tick(now);
                    self.perform(effects);
                    self.keep_reputations().await;
                    self.keep_cursor().await;
                    self.ticks = self.ticks.wrapping_add(1);
                    if self.ticks.is_multiple_of(TICKS_PER_REPORT) {
                        self.report();
                    }
                }
                Some(news) = chain.recv() => self.on_chain(news),
                Some((task, answer)) = answers.recv() => self.on_answer(task, answer),
                Some(news) = workers.recv() => {
                    self.on_worker(news);
                    for _ in 0..BATCH {
                        let Ok(news) = workers.try_recv() else { break };
                        self.on_worker(news);
                    }
                }
            }
            self.flush();
            if self.live && !*live.borrow() {
                live.send_replace(true);
            }
        }
        self.keep_reputations().await;
        self.keep_cursor().await;
    }

    /// The chain's time, or the machine's if no block has come for a while: deadlines pass without blocks.
    fn now(&self) -> UnixSeconds {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.config.client.last_head().timestamp.max(UnixSeconds(clock))
    }

    fn on_chain(&mut self, news: ChainNews) {
        let now = self.now();
        let effects = match news {
            ChainNews::Block { block, deals } => {
                let news = BlockNews {
                    number: block.number,
                    timestamp: block.timestamp,
                    events: &block.events,
                };
                let effects = self.books.lock().block(now, &news, deals);
                self.read = Some(chain::Cursor::from(&*block));
                effects
            }
            ChainNews::Rewound(to) => {
                self.read = Some(to);
                self.books.lock().rewound(now, to.number)
            }
            ChainNews::Live => {
                self.live = true;
                self.books.lock().go_live(now)
            }
        };
        self.perform(effects);
    }

    fn on_worker(&mut self, news: WorkerNews) {
        let now = self.now();
        let effects = match news {
            WorkerNews::Joined { worker, connection, capabilities, score, holding, sender } => {
                tracing::debug!(%worker, "a worker has come");
                self.senders.insert(worker, (connection, sender));
                let mut books = self.books.lock();
                let effects = books.joined(now, worker, connection, capabilities, score, &holding);
                self.tell_abilities(&books);
                effects
            }
            WorkerNews::Said { worker, connection, message } => {
                // What was said over a connection that another has replaced is not heard.
                if self.senders.get(&worker).is_none_or(|(its, _)| *its != connection) {
                    return;
                }
                self.books.lock().said(now, worker, message)
            }
            WorkerNews::Left { worker, connection } => {
                tracing::debug!(%worker, "a worker has left");
                if self.senders.get(&worker).is_some_and(|(its, _)| *its == connection) {
                    self.senders.remove(&worker);
                }
                let mut books = self.books.lock();
                let effects = books.left(now, worker, connection);
                self.tell_abilities(&books);
                effects
            }
        };
        self.perform(effects);
    }

    fn tell_abilities(&self, books: &Books) {
        let abilities = books.abilities();
        self.abilities.send_if_modified(|known| {
            let is_new = *known != abilities;
            *known = abilities;
            is_new
        });
    }

    fn on_answer(&mut self, task: TaskId, answer: Event) {
        let now = self.now();
        let effects = self.books.lock().answered(now, task, answer);
        self.perform(effects);
    }

    /// Carries out effects and what follows from those that fail, until nothing is left.
    fn perform(&mut self, effects: Vec<Effect>) {
        let mut left = effects;
        while !left.is_empty() {
            let mut gone = Vec::new();
            for effect in std::mem::take(&mut left) {
                if let Some(worker) = self.perform_one(effect) {
                    gone.push(worker);
                }
            }
            for worker in gone {
                if let Some((connection, _)) = self.senders.remove(&worker) {
                    let now = self.now();
                    left.extend(self.books.lock().left(now, worker, connection));
                }
            }
        }
    }

    /// Gives back the worker that cannot be reached, if it was to be told something.
    fn perform_one(&mut self, effect: Effect) -> Option<Address> {
        let hub = self.config.client.hub();
        let mut calls_back = false;
        let (request, task, call) = match effect {
            Effect::Tell { worker, message } => return self.tell(worker, &message),
            Effect::Grant { worker, task, challenge } => {
                let hash = verdict::authorization_hash(worker, task, challenge);
                let authorization = self.sign(hash)?;
                let enclave_challenge = challenge;
                let message =
                    ToWorker::Contribute { task_id: task, authorization, enclave_challenge };
                return self.tell(worker, &message);
            }
            Effect::AssignEnclave { worker, task, deal, index, challenge } => {
                let tee = Some(self.enclave_task(worker, task, challenge)?);
                let message = ToWorker::Assign { task_id: task, deal_id: deal, index, tee };
                return self.tell(worker, &message);
            }
            Effect::Settle { worker, deal, tasks } => {
                let (task_ids, indices): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
                let authorization = self.sign(verdict::settlement_hash(worker, deal, &indices))?;
                let message = ToWorker::Settle { deal_id: deal, task_ids, authorization };
                return self.tell(worker, &message);
            }
            Effect::AskChallenge { task, enclave } => {
                if let Err(error) = self.questions.try_send((task, enclave)) {
                    // The task asks again when its time has come.
                    tracing::warn!(%error, "too many questions to the secret manager");
                }
                return None;
            }
            Effect::Initialize { task, deal, index } => {
                self.initialize.push((task, deal, index));
                return None;
            }
            Effect::Claim { task } => {
                self.claim.push(task);
                return None;
            }
            Effect::Print { task, worker, is_error, text, missed } => {
                self.shelf.put(Print { task, worker, is_error, text, missed });
                return None;
            }
            Effect::Reopen { task } => (calls::reopen(hub, task), task, Call::Reopen),
            Effect::Finalize { task, location, callback, callback_data } => {
                let callback = Some(callback).filter(|callback| !callback.is_zero());
                let results = Bytes::from(results_text(&location, callback).into_bytes());
                calls_back = callback.is_some();
                (calls::finalize(hub, task, results, callback_data), task, Call::Finalize)
            }
        };
        self.post(Outgoing::One { request: Box::new(request), task, call, calls_back });
        None
    }

    /// Tells a worker something. A worker whose queue is full is as good as gone: it would hold up the others.
    fn tell(&self, worker: Address, message: &ToWorker) -> Option<Address> {
        let (_, sender) = self.senders.get(&worker)?;
        match sender.try_send(message) {
            Ok(true) => None,
            Ok(false) => {
                tracing::warn!(%worker, "a worker does not listen and is sent away");
                Some(worker)
            }
            Err(_) => Some(worker),
        }
    }

    fn enclave_task(
        &self,
        worker: Address,
        task: TaskId,
        enclave_challenge: Address,
    ) -> Option<EnclaveTask> {
        let sms_url = self.config.sms.as_ref()?.to_string();
        let hash = verdict::authorization_hash(worker, task, enclave_challenge);
        Some(EnclaveTask { sms_url, enclave_challenge, authorization: self.sign(hash)? })
    }

    /// The pool owner's signature, as over an Ethereum message.
    fn sign(&self, hash: B256) -> Option<Bytes> {
        match self.config.wallet.signer().sign_message_sync(hash.as_slice()) {
            Ok(signature) => Some(Bytes::from(signature.as_bytes())),
            Err(error) => {
                tracing::error!(%error, "the pool owner's key does not sign");
                None
            }
        }
    }

    /// Sends what was gathered for sending together.
    fn flush(&mut self) {
        let now = self.now();
        let settlements = self.books.lock().settlements(now);
        self.perform(settlements);
        let size = self.config.limits.initialize_batch.max(1);
        let (late, due): (Vec<_>, Vec<_>) = {
            let books = self.books.lock();
            let is_late = |(task, ..): &(TaskId, DealId, U256)| {
                books.entry(*task).is_some_and(|entry| now >= entry.task.terms.final_deadline)
            };
            std::mem::take(&mut self.initialize).into_iter().partition(is_late)
        };
        for batch in due.chunks(size) {
            self.post(Outgoing::Initialize(batch.to_vec()));
        }
        for batch in late.chunks(size) {
            self.post(Outgoing::Bury(batch.to_vec()));
        }
        for batch in std::mem::take(&mut self.claim).chunks(size) {
            self.post(Outgoing::Claim(batch.to_vec()));
        }
    }

    fn post(&self, outgoing: Outgoing) {
        if let Err(error) = self.outbox.try_send(outgoing) {
            // Each task sends it again when its time has come.
            tracing::warn!(%error, "too many transactions wait to be sent");
        }
    }

    /// Says now and then what everything waits for, so that a pool without workers is noticed.
    fn report(&self) {
        if let Some((count, task, reason)) = self.books.lock().waiting() {
            tracing::info!(count, %task, waiting_for = reason, "tasks want workers");
        }
    }

    /// Before the cursor, behind which nothing is read again.
    async fn keep_reputations(&self) {
        let (workers, changes) =
            memory::changes(self.books.lock().ledger_mut(), self.config.workerpool);
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.config.store.apply(changes).await {
            tracing::warn!(%error, "what is known of workers was not kept");
            self.books.lock().ledger_mut().again(workers);
        }
    }

    async fn keep_cursor(&mut self) {
        if !self.live {
            return;
        }
        let oldest = self.books.lock().oldest_unfinished_block();
        let cursor = match oldest {
            Some(block) => {
                Some(chain::Cursor { number: block.saturating_sub(1), hash: B256::ZERO })
            }
            None => self.read,
        };
        if cursor.is_none() || cursor == self.kept {
            return;
        }
        if let Some(chain::Cursor { number, hash }) = cursor {
            match self
                .config
                .store
                .set_cursor(&self.cursor_name, store::Cursor { number, hash })
                .await
            {
                Ok(()) => self.kept = cursor,
                Err(error) => tracing::warn!(%error, "the cursor was not kept"),
            }
        }
    }
}
