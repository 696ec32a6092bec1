//! Start, stay connected, end.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use chain::{Client, Cursor, TaskStatus, Wallet};
use futures::StreamExt;
use parking_lot::Mutex;
use sandbox::{Kind, Limits, Sandbox};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use wire::link::{
    Capabilities, ClientConfig, Enclave, Gpu, LinkClient, LinkError, ToScheduler, WorkerLink,
};
use wire::scheduler::SchedulerClient;

use crate::config::{Config, Tee};
use crate::deals::Deals;
use crate::desk::Desk;
use crate::error::Error;
use crate::fetch::Fetcher;
use crate::idle::{Mood, Sample, Watch};
use crate::journal::{Journal, Row};
use crate::link::Voice;
use crate::machine::{Gauge, WhenIdle};
use crate::programs::Programs;
use crate::settle::AtStake;
use crate::space::{Space, remove_file};
use crate::stake::Stake;
use crate::table::{Stage, Table};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// For what only an operator can mend: a scheduler that refuses, or is not the one that the chain names.
const BACKOFF_REFUSED: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one: the next attempt comes at once.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// How long what is on its way to the chain may take to get there when the worker ends.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// A contribution may be on its way for so long after it was noted.
const ON_ITS_WAY: Duration = Duration::from_secs(120);
/// How long the last words may take to leave.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// How often a worker that gives way looks at its machine.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REPLAY_AT_ONCE: usize = 16;
/// Jobs under way at once: several for each task that a worker has in hand at most. A scheduler that asks for more than are
/// done, and does not listen to the answers, is not heard until it comes anew.
const JOBS_MAX: usize = 16_384;
/// A login with more would not fit into a frame.
const HOLDING_MAX: usize = 2_000;

/// The service.
#[derive(Debug, Clone, Copy)]
pub struct Worker;

/// How a worker's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// On its way to the scheduler, perhaps not for the first time.
    Connecting,
    /// Logged in.
    Connected,
    /// The worker has ended.
    Stopped,
}

/// A running worker. It runs on when all handles are dropped, until its token is cancelled.
#[derive(Debug, Clone)]
pub struct Handle {
    address: Address,
    state: watch::Receiver<LinkState>,
    drain: CancellationToken,
}

impl Handle {
    /// The worker's wallet.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether the worker is logged in at its scheduler.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == LinkState::Connected
    }

    /// How the connection is, and when that changes.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Waits until the worker is logged in; `false` if it has ended instead.
    pub async fn connected(&self) -> bool {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| *state != LinkState::Connecting).await;
        settled.is_ok_and(|state| *state == LinkState::Connected)
    }

    /// Takes no more tasks, and ends when those in hand are finished.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits until the worker has ended: what was on its way to the chain is there, and what was contributed is in the
    /// journal.
    pub async fn stopped(&self) {
        let mut state = self.state.clone();
        // An error means that it ended without a word, which is an end too.
        let _ = state.wait_for(|state| *state == LinkState::Stopped).await;
    }
}

impl Worker {
    /// Starts a worker. It keeps trying to reach its scheduler until the token is cancelled; then it gives up what it
    /// computes, finishes what is on its way to the chain, and ends.
    ///
    /// # Errors
    /// The directory, the chain or the journal cannot be used, or there is no such workerpool.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Handle, Error> {
        let address = config.signer.address();
        // Ended by its owner's token, or by itself once drained.
        let stop = stop.child_token();
        let owner = pool_owner(&config.client, config.workerpool).await;
        owner.map_err(|error| match error {
            error if error.is_unknown() => {
                Error::UnknownWorkerpool { workerpool: config.workerpool }
            }
            error => Error::Chain(error),
        })?;
        let drain_time = config.drain;
        let when_idle = config.machine.when_idle.clone();
        let mut door = Door::new(&config);
        let machine = config.machine.clone();
        let desk = Arc::new(desk(config, &stop).await?);
        // Asked once its directory is there.
        door.capabilities.disk_bytes = machine.disk_bytes(&desk.space.results());
        // Before the journal is read: what happens from here on is heard, and what was before is looked at.
        let head = desk.client.last_head();
        let from = Cursor { number: head.number, hash: head.hash };
        desk.replay().await?;
        desk.jobs.spawn(Arc::clone(&desk).keep_vigil(from));
        desk.jobs.spawn(Arc::clone(&desk).sweep());
        let (state, seen) = watch::channel(LinkState::Connecting);
        let drain = CancellationToken::new();
        let handle = Handle { address, state: seen, drain: drain.clone() };
        let service = Service { desk, door, state, drain, drain_time, when_idle, stop };
        tokio::spawn(service.run());
        Ok(handle)
    }
}

async fn pool_owner(client: &Client, workerpool: Address) -> chain::Result<Address> {
    client.workerpool(workerpool).await.map(|pool| pool.owner)
}

async fn desk(config: Config, stop: &CancellationToken) -> Result<Desk, Error> {
    let worker = config.signer.address();
    let http = |error: &dyn fmt::Display| Error::Http(error.to_string());
    let fetcher =
        Fetcher::new(&config.gateway, config.allow_private).map_err(|error| http(&error))?;
    let uploads = SchedulerClient::new(&config.scheduler, config.client.chain_id())
        .map_err(|error| http(&error))?;
    let dir = config.dir.clone();
    let space = tokio::task::spawn_blocking(move || Space::open(&dir))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|source| Error::Dir { dir: config.dir, source })?;
    let wallet = Wallet::new(&config.client, config.signer).await?;
    let memory = config.machine.memory_bytes(task_memory_bytes());
    let memory_mib = u32::try_from(memory >> 20).unwrap_or(u32::MAX);
    Ok(Desk {
        worker,
        programs: Programs::new(
            space.programs(),
            fetcher.clone(),
            config.sandbox.runs(Kind::Container).then(|| config.sandbox.clone()),
        ),
        deals: Deals::new(config.client.clone(), config.workerpool, config.tee)
            .with_gpu(!config.machine.gpus.is_empty())
            .with_network(config.machine.networked),
        journal: Journal::new(config.store, worker),
        stake: Stake::new(wallet.clone()),
        client: config.client,
        wallet,
        memory: Semaphore::new(memory_mib as usize),
        memory_mib,
        warm: Mutex::default(),
        paused: AtomicBool::new(false),
        sandbox: config.sandbox,
        fetcher,
        space,
        uploads,
        table: Mutex::new(Table::default()),
        promises: Mutex::default(),
        voice: Voice::new(),
        slots: Semaphore::new(config.slots.max(1)),
        lie: config.lie,
        draining: AtomicBool::new(false),
        finished: Notify::new(),
        stop: stop.clone(),
        jobs: TaskTracker::new(),
    })
}

impl Desk {
    /// Takes up what an earlier process has promised, and clears away the rest.
    async fn replay(&self) -> Result<(), Error> {
        let rows = self.journal.all().await?;
        let mut kept: HashSet<PathBuf> = HashSet::new();
        let mut judged = futures::stream::iter(rows)
            .map(async |row| (self.is_open(&row).await, row))
            .buffer_unordered(REPLAY_AT_ONCE);
        while let Some((open, row)) = judged.next().await {
            let Row { task, finding, .. } = row;
            if !finding.needs_one {
                self.promises.lock().keep(task, &finding, false, Instant::now());
            }
            if open {
                tracing::info!(worker = %self.worker, %task, "taking up a task from the journal");
                kept.insert(finding.archive.clone());
                let stage = if finding.needs_one { Stage::Computed } else { Stage::Contributed };
                self.table.lock().restore(task, finding, stage, &self.stop);
            } else {
                // What was promised the vigil forgets in its time.
                if finding.needs_one {
                    self.journal.strike(task).await;
                }
                if finding.archive.starts_with(self.space.results()) {
                    remove_file(&finding.archive).await;
                }
            }
        }
        drop(judged);
        if let Err(error) = self.space.keep_results(&kept) {
            tracing::warn!(worker = %self.worker, %error, "old results stay behind");
        }
        Ok(())
    }

    /// Whether a task from the journal still needs this worker. When in doubt it does.
    async fn is_open(&self, row: &Row) -> bool {
        if row.finding.needs_one {
            return self.is_unsettled(row).await;
        }
        let stand = self.stand(row.task, row.finding.digest).await;
        match stand.map(|stand| stand.at_stake) {
            Ok(AtStake::Waiting | AtStake::Reveal | AtStake::Upload) => true,
            Ok(AtStake::Nothing) => row.age < ON_ITS_WAY && self.may_arrive(row.task).await,
            Err(error) => {
                tracing::warn!(task = %row.task, %error, "keeping a task that cannot be looked up");
                true
            }
        }
    }
}

impl Desk {
    /// Whether a task that was to be settled still is. A transaction that is on its way does not show; asking for it
    /// again then fails and harms nobody.
    async fn is_unsettled(&self, row: &Row) -> bool {
        if !tokio::fs::try_exists(&row.finding.archive).await.unwrap_or(false) {
            return false;
        }
        match self.client.task(row.task).await {
            Ok(task) => match task.status {
                TaskStatus::Unset => true,
                TaskStatus::Active => task.contributors.is_empty(),
                TaskStatus::Revealing | TaskStatus::Completed | TaskStatus::Failed => false,
            },
            Err(error) => {
                tracing::warn!(task = %row.task, %error, "keeping a task that cannot be looked up");
                true
            }
        }
    }
}

/// Makes connections.
struct Door {
    scheduler: Url,
    workerpool: Address,
    client: Client,
    signer: PrivateKeySigner,
    capabilities: Capabilities,
}

impl Door {
    fn new(config: &Config) -> Self {
        let machine = &config.machine;
        let slots = config.slots.max(1);
        let gpu = |name: &String| Gpu { name: name.clone(), memory_bytes: 0 };
        let capabilities = Capabilities {
            cpus: u32::try_from(machine.cpus()).unwrap_or(u32::MAX),
            memory_bytes: machine.memory_bytes(task_memory_bytes()),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            runtimes: runtimes(&config.sandbox),
            settles: true,
            tee: match config.tee {
                Tee::Off => None,
                Tee::SimulatedTdx => Some(Enclave::SimulatedTdx),
            },
            disk_bytes: 0,
            gpus: machine.gpus.iter().map(gpu).collect(),
            region: machine.region.clone(),
            host: machine.host(),
            owner: machine.owner,
            images: Vec::new(),
            price_floor_nrlc: machine.price_floor.0.saturating_to(),
            when_idle: machine.when_idle.is_some(),
            network: Some(machine.networked.told()),
        };
        Self {
            scheduler: config.scheduler.clone(),
            workerpool: config.workerpool,
            client: config.client.clone(),
            signer: config.signer.clone(),
            capabilities,
        }
    }

    async fn connect(&self, desk: &Desk) -> Result<WorkerLink, LinkError> {
        // Asked each time: a workerpool may be sold, and its new owner's scheduler is then the right one.
        let pool_owner = pool_owner(&self.client, self.workerpool).await.map_err(|error| {
            LinkError::Unreachable { url: "the chain".to_owned(), reason: error.to_string() }
        })?;
        let mut holding = desk.table.lock().holding();
        holding.truncate(HOLDING_MAX);
        let config = ClientConfig {
            scheduler: self.scheduler.clone(),
            workerpool: self.workerpool,
            pool_owner,
            chain_id: self.client.chain_id(),
            hub: self.client.hub(),
            signer: self.signer.clone(),
            capabilities: Capabilities {
                images: wire::link::warm(desk.warm.lock().clone()),
                ..self.capabilities.clone()
            },
            holding,
        };
        LinkClient::connect(&config).await
    }
}

/// Kinds of app that are taken. The official client registers every app as `DOCKER`, WebAssembly too, so that is taken
/// wherever WebAssembly runs; images need `oci` as well.
fn runtimes(sandbox: &Sandbox) -> Vec<String> {
    let mut names = vec!["wasm", "docker"];
    if sandbox.runs(Kind::Container) {
        names.push("oci");
    }
    names.into_iter().map(str::to_owned).collect()
}

struct Service {
    desk: Arc<Desk>,
    door: Door,
    state: watch::Sender<LinkState>,
    drain: CancellationToken,
    drain_time: Duration,
    when_idle: Option<WhenIdle>,
    stop: CancellationToken,
}

impl Service {
    async fn run(self) {
        let work = async {
            tokio::select! {
                () = self.stay_connected() => {}
                () = self.drained() => self.stop.cancel(),
                () = self.mind_the_owner() => {}
            }
            self.settle().await;
        };
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(SETTLE_TIME).await;
        };
        tokio::select! {
            () = work => {}
            () = late => {
                let worker = self.desk.worker;
                tracing::warn!(%worker, "ended before all was settled; the journal knows");
            }
        }
        self.desk.voice.detach();
        self.state.send_replace(LinkState::Stopped);
    }

    /// Ends when the worker drains and has nothing in hand.
    async fn drained(&self) {
        self.drain.cancelled().await;
        self.desk.draining.store(true, Ordering::Relaxed);
        self.desk.voice.say(&ToScheduler::Draining {}).await;
        if tokio::time::timeout(self.drain_time, self.nothing_in_hand()).await.is_err() {
            self.desk.hand_back(false, "the worker ends").await;
            // What is on its way to the chain gets there; what is promised there and waits for others is in the journal.
            let _ = tokio::time::timeout(SETTLE_TIME, self.nothing_in_hand()).await;
        }
        let _ = tokio::time::timeout(FLUSH_TIME, self.desk.voice.flushed()).await;
    }

    async fn nothing_in_hand(&self) {
        loop {
            let finished = self.desk.finished.notified();
            if self.desk.table.lock().in_hand() == 0 {
                return;
            }
            finished.await;
        }
    }

    /// Gives way to the owner of the machine, for as long as the worker lives.
    async fn mind_the_owner(&self) {
        let Some(WhenIdle { policy, file }) = self.when_idle.clone() else {
            return std::future::pending().await;
        };
        let (mut gauge, mut watch) = (Gauge::new(file), Watch::new(policy));
        let (began, mut mood) = (Instant::now(), Mood::Free);
        loop {
            if let Some(others_percent) = gauge.look() {
                let next = watch.see(Sample { at: began.elapsed(), others_percent });
                if next != mood {
                    mood = next;
                    tracing::info!(worker = %self.desk.worker, ?mood, others_percent, "the machine's owner");
                    self.be(mood).await;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn be(&self, mood: Mood) {
        self.desk.paused.store(mood != Mood::Free, Ordering::Relaxed);
        match mood {
            Mood::Free => self.desk.voice.say_new(&ToScheduler::Resumed {}).await,
            Mood::Paused => self.desk.voice.say_new(&paused()).await,
            Mood::Yielding => self.desk.hand_back(true, PAUSED).await,
        }
    }

    async fn stay_connected(&self) {
        let mut backoff = Backoff::new();
        while !self.stop.is_cancelled() {
            let connecting = Box::pin(self.door.connect(&self.desk));
            let connecting = self.stop.run_until_cancelled(connecting);
            let pause = match connecting.await {
                None => return,
                Some(Ok(link)) => {
                    tracing::info!(worker = %self.desk.worker, "connected");
                    let began = Instant::now();
                    self.serve(link).await;
                    if began.elapsed() >= GOOD_CONNECTION {
                        backoff = Backoff::new();
                    }
                    backoff.next()
                }
                Some(Err(error)) if error.is_retryable() => {
                    tracing::debug!(worker = %self.desk.worker, %error, "not connected");
                    backoff.next()
                }
                Some(Err(error)) => {
                    tracing::warn!(worker = %self.desk.worker, %error, "not let in");
                    backoff.next().max(BACKOFF_REFUSED)
                }
            };
            let waited = self.stop.run_until_cancelled(tokio::time::sleep(pause));
            if waited.await.is_none() {
                return;
            }
        }
    }

    /// One connection, to its end. When the worker ends, jobs may still speak through it until they are done.
    async fn serve(&self, link: WorkerLink) {
        let WorkerLink { token, revision, sender, mut receiver } = link;
        self.desk.voice.attach(sender, token, revision);
        self.state.send_replace(LinkState::Connected);
        let words = self.desk.table.lock().words();
        for word in &words {
            self.desk.voice.say(word).await;
        }
        if self.desk.paused.load(Ordering::Relaxed) {
            self.desk.voice.say_new(&paused()).await;
        }
        if self.desk.draining.load(Ordering::Relaxed) {
            self.desk.voice.say(&ToScheduler::Draining {}).await;
        }
        loop {
            let heard = tokio::select! {
                () = self.stop.cancelled() => {
                    self.desk.voice.say(&ToScheduler::Draining {}).await;
                    self.settle().await;
                    break;
                }
                heard = receiver.recv() => heard,
            };
            match heard {
                Some(Ok(_)) if self.desk.jobs.len() >= JOBS_MAX => {
                    tracing::warn!(worker = %self.desk.worker, "the scheduler asks for too much");
                    break;
                }
                Some(Ok(message)) => self.desk.hear(message),
                Some(Err(error)) => {
                    tracing::info!(worker = %self.desk.worker, %error, "connection lost");
                    break;
                }
                None => {
                    tracing::info!(worker = %self.desk.worker, "connection closed");
                    break;
                }
            }
        }
        self.desk.voice.detach();
        self.state.send_replace(LinkState::Connecting);
    }

    /// Waits for all jobs; none is begun any more.
    async fn settle(&self) {
        self.desk.jobs.close();
        self.desk.jobs.wait().await;
    }
}

/// What a task's program may have at most.
fn task_memory_bytes() -> u64 {
    u64::try_from(Limits::for_timeref(0).memory_bytes).unwrap_or(u64::MAX)
}

/// Why a worker takes nothing for now, to be read after "a worker that is paused".
const PAUSED: &str = "its owner uses the machine";

fn paused() -> ToScheduler {
    ToScheduler::Paused { reason: PAUSED.to_owned() }
}

/// Pauses between attempts: doubling, and each anywhere in its upper half, so that a hundred workers do not all come back
/// at the same moment.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: BACKOFF_MIN }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(BACKOFF_MAX);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}
