//! Watching over stakes: what the worker has promised on the chain, until no reorganisation can bring it up again.
//!
//! A stake is lost without a reveal, whoever is to blame. So the worker does not wait to be asked: it hears of the
//! consensus from the chain, and some time after it reveals by itself. And it keeps the digest for some time after all is
//! decided, for the chain may take a decision back.
//!
//! Events say where a promise stands, so nothing is asked of the node in the common case; after a reorganisation, and now
//! and then, the task itself is looked at. Bringing the result is not the vigil's: that is for the scheduler to ask for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use chain::{Cursor, MarketEvent, Update, calls};
use futures::StreamExt as _;
use primitives::{ResultDigest, ResultHash, TaskId, UnixSeconds};
use tokio::time::Instant;
use verdict::result_hash;

use crate::desk::Desk;
use crate::settle::{AtStake, Stand};
use crate::space::remove_file;
use crate::table::Finding;

/// How long after the consensus it reveals without being asked, and how long it waits for a reveal to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a promise is remembered after nothing depends on it any more, in the chain's time.
pub(crate) const REMEMBERED_SECONDS: u64 = 300;
/// After a reorganisation, transactions that were in the old branch come back by themselves within that.
const RETURN: Duration = Duration::from_secs(3);
/// How often to look at what events say nothing about.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon to look again when a node does not answer.
const AGAIN: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(500);
const LOOKS_AT_ONCE: usize = 16;
const LOOKS_PER_TICK: usize = 256;
/// Promises remembered at once. Most of them are decided, and those go first.
const PROMISES_MAX: usize = 16_384;

/// Where a promise stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The others have not decided, as far as is known.
    Waiting,
    /// The consensus is ours, and no reveal of ours is on the chain. `heard` by the worker's clock, `since` by the chain's.
    Ours { heard: Instant, since: UnixSeconds },
    /// Nothing depends on this worker.
    Quiet { since: UnixSeconds },
}

#[derive(Debug)]
struct Promise {
    digest: ResultDigest,
    hash: ResultHash,
    /// Removed once nothing is at stake and nobody wants it.
    archive: Option<PathBuf>,
    /// Whether the result is not wanted any more: it is final, or another one has won.
    decided: bool,
    standing: Standing,
    /// When to look at the task itself.
    look: Instant,
    /// When a reveal was last sent.
    tried: Option<Instant>,
    /// Whether what is known of it may be wrong, as after a reorganisation: then it is looked at, and a reveal is not put
    /// off, for whoever asked for it believes to have it.
    shaken: bool,
}

/// All promises.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    all: HashMap<TaskId, Promise>,
    /// Archives of results that were promised once more, found anew.
    replaced: Vec<PathBuf>,
}

/// What there is to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    looks: Vec<TaskId>,
    forgotten: Vec<TaskId>,
    archives: Vec<PathBuf>,
}

impl Promises {
    pub(crate) fn knows(&self, task: TaskId) -> bool {
        self.all.contains_key(&task)
    }

    /// Whether one more can be kept.
    pub(crate) fn has_room(&self) -> bool {
        let is_open = |promise: &&Promise| !matches!(promise.standing, Standing::Quiet { .. });
        self.all.len() < PROMISES_MAX || self.all.values().filter(is_open).count() < PROMISES_MAX
    }

    /// Remembers it from now on. Looked at at once if it is not new.
    pub(crate) fn keep(&mut self, task: TaskId, finding: &Finding, is_new: bool, now: Instant) {
        let promise = Promise {
            digest: finding.digest,
            hash: result_hash(task, finding.digest),
            archive: Some(finding.archive.clone()),
            decided: false,
            standing: Standing::Waiting,
            look: if is_new { now + LOOK_EVERY } else { now },
            tried: None,
            shaken: false,
        };
        let before = self.all.insert(task, promise).and_then(|before| before.archive);
        self.replaced.extend(before.filter(|before| *before != finding.archive));
    }

    /// A reveal was sent.
    pub(crate) fn tried(&mut self, task: TaskId, now: Instant) {
        if let Some(promise) = self.all.get_mut(&task) {
            promise.tried = Some(now);
        }
    }

    fn hear(&mut self, event: &MarketEvent, at: UnixSeconds, me: Address, now: Instant) {
        let Some(promise) = event.task().and_then(|task| self.all.get_mut(&task)) else { return };
        let quiet = Standing::Quiet { since: at };
        let stands = match (event, promise.standing) {
            (MarketEvent::Contributed { worker, .. }, _) if *worker == me => Standing::Waiting,
            (MarketEvent::Consensus { hash, .. }, _) if *hash == promise.hash => {
                Standing::Ours { heard: now, since: at }
            }
            (MarketEvent::Revealed { worker, .. }, _) if *worker == me => quiet,
            // Those who were agreed on did not reveal, and are thrown out; the others may still win.
            (MarketEvent::Reopened { .. }, Standing::Ours { .. }) => quiet,
            (MarketEvent::Reopened { .. }, _) => Standing::Waiting,
            (
                MarketEvent::Consensus { .. }
                | MarketEvent::Finalized { .. }
                | MarketEvent::Claimed { .. },
                _,
            ) => quiet,
            _ => return,
        };
        promise.decided = stands == quiet && !matches!(event, MarketEvent::Revealed { .. });
        promise.stands(stands, now);
    }

    /// A branch was replaced: whatever was heard may not hold.
    fn shake(&mut self, now: Instant) {
        for promise in self.all.values_mut() {
            promise.shaken = true;
            promise.look = now + RETURN;
        }
    }

    /// What the chain itself says. Gives back the digest if it is time to reveal.
    fn looked(
        &mut self,
        task: TaskId,
        seen: Stand,
        head: UnixSeconds,
        in_hand: bool,
        now: Instant,
    ) -> Option<ResultDigest> {
        let promise = self.all.get_mut(&task)?;
        let quiet = Standing::Quiet { since: head };
        let standing = match (seen.at_stake, promise.standing) {
            (AtStake::Waiting, _) => Standing::Waiting,
            (AtStake::Reveal, known @ Standing::Ours { .. }) => known,
            (AtStake::Reveal, _) => Standing::Ours { heard: now, since: seen.consensus_at },
            (AtStake::Nothing | AtStake::Upload, known @ Standing::Quiet { .. }) => known,
            (AtStake::Nothing | AtStake::Upload, _) => quiet,
        };
        let shaken = std::mem::take(&mut promise.shaken);
        promise.decided = seen.at_stake == AtStake::Nothing;
        promise.stands(standing, now);
        if !matches!(standing, Standing::Ours { .. }) {
            return None;
        }
        let at = if shaken { now } else { promise.reveal_at(head, in_hand, now) };
        promise.look = at;
        (at <= now).then(|| {
            promise.tried = Some(now);
            promise.look = now + PATIENCE;
            promise.digest
        })
    }

    /// A look or a reveal that failed is made again.
    fn failed(&mut self, task: TaskId, next: Instant) {
        if let Some(promise) = self.all.get_mut(&task) {
            promise.tried = None;
            promise.shaken = true;
            promise.look = next;
        }
    }

    /// What there is to do now; what is forgotten is forgotten with this.
    fn due(&mut self, head: UnixSeconds, in_hand: impl Fn(TaskId) -> bool, now: Instant) -> Due {
        let archives = std::mem::take(&mut self.replaced);
        let mut due = Due { archives, ..Due::default() };
        let mut quiet = Vec::new();
        for (task, promise) in &mut self.all {
            let held = in_hand(*task);
            if let Standing::Quiet { since } = promise.standing {
                if head.0 >= since.0.saturating_add(REMEMBERED_SECONDS) && !held {
                    due.forgotten.push(*task);
                } else {
                    quiet.push((since, *task));
                }
                if !held && promise.decided {
                    due.archives.extend(promise.archive.take());
                }
            }
            let is_due = match promise.standing {
                Standing::Ours { .. } if !promise.shaken => {
                    promise.reveal_at(head, held, now) <= now
                }
                Standing::Quiet { .. } => promise.shaken && promise.look <= now,
                _ => promise.look <= now,
            };
            if is_due && due.looks.len() < LOOKS_PER_TICK {
                due.looks.push(*task);
            }
        }
        let over = (self.all.len() - due.forgotten.len()).saturating_sub(PROMISES_MAX);
        quiet.sort_unstable();
        due.forgotten.extend(quiet.into_iter().take(over).map(|(_, task)| task));
        for task in &due.forgotten {
            due.archives.extend(self.all.remove(task).and_then(|promise| promise.archive));
        }
        due.looks.retain(|task| self.all.contains_key(task));
        due
    }
}

impl Promise {
    fn stands(&mut self, standing: Standing, now: Instant) {
        self.standing = standing;
        if !self.shaken {
            self.look = now + LOOK_EVERY;
        }
    }

    /// When to reveal without being asked. Whoever was let go of the task will not be asked.
    fn reveal_at(&self, head: UnixSeconds, in_hand: bool, now: Instant) -> Instant {
        let Standing::Ours { heard, since } = self.standing else { return now + LOOK_EVERY };
        let passed = head.0 >= since.0.saturating_add(PATIENCE.as_secs());
        let at = if !in_hand || passed { heard } else { heard + PATIENCE };
        // Neither sooner than what was sent had its time.
        at.max(self.tried.map_or(at, |tried| tried + PATIENCE))
    }
}

impl Desk {
    /// Watches until the worker ends.
    pub(crate) async fn keep_vigil(self: Arc<Self>, from: Cursor) {
        let mut news = self.client.follow(from);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                update = news.next() => match update {
                    Some(Update::Block(block)) => {
                        let mut promises = self.promises.lock();
                        for known in &block.events {
                            promises.hear(&known.event, block.timestamp, self.worker, Instant::now());
                        }
                    }
                    Some(Update::Rewound { to }) => {
                        tracing::info!(worker = %self.worker, block = to.number, "a branch was replaced; looking again");
                        self.promises.lock().shake(Instant::now());
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    if self.stop.run_until_cancelled(self.watch()).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn watch(self: &Arc<Self>) {
        let head = self.client.last_head().timestamp;
        let due = {
            let table = self.table.lock();
            self.promises.lock().due(head, |task| table.knows(task), Instant::now())
        };
        for task in due.forgotten {
            self.journal.strike(task).await;
        }
        for archive in due.archives {
            remove_file(&archive).await;
        }
        let looks = futures::stream::iter(due.looks);
        looks.for_each_concurrent(LOOKS_AT_ONCE, async |task| self.look_after(task).await).await;
    }

    async fn look_after(self: &Arc<Self>, task: TaskId) {
        let promised = self.promises.lock().all.get(&task).map(|promise| promise.digest);
        let Some(digest) = promised else { return };
        let seen = match self.stand(task, digest).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%task, %error, "looking at what was promised");
                return self.promises.lock().failed(task, Instant::now() + AGAIN);
            }
        };
        let head = self.client.last_head().timestamp;
        let in_hand = self.table.lock().knows(task);
        let now = Instant::now();
        let reveal = self.promises.lock().looked(task, seen, head, in_hand, now);
        if let Some(digest) = reveal {
            let desk = Arc::clone(self);
            self.jobs.spawn(async move { desk.reveal_unasked(task, digest).await });
        }
    }

    async fn reveal_unasked(&self, task: TaskId, digest: ResultDigest) {
        let revealing = self.wallet.execute(calls::reveal(self.client.hub(), task, digest));
        let Some(revealed) = self.stop.run_until_cancelled(revealing).await else { return };
        match revealed {
            Ok(_) => tracing::warn!(%task, "revealed without being asked"),
            Err(error) => {
                tracing::warn!(%task, %error, "a reveal that nobody asked for failed");
                // What the contract refuses costs gas each time.
                let pause = if error.is_revert() { PATIENCE } else { AGAIN };
                self.promises.lock().failed(task, Instant::now() + pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Bytes};
    use primitives::Nrlc;

    use super::*;
    use crate::table::{Assignment, Printed};

    const TASK: TaskId = TaskId(B256::repeat_byte(7));
    const ME: Address = Address::repeat_byte(1);
    const DIGEST: ResultDigest = ResultDigest(B256::repeat_byte(3));
    const START: u64 = 1_000;

    fn finding() -> Finding {
        Finding {
            assignment: Assignment { deal: primitives::DealId::default(), index: 0 },
            digest: DIGEST,
            archive: PathBuf::from("archive"),
            callback: Address::ZERO,
            callback_data: Bytes::new(),
            needs_one: false,
            stake: Nrlc::ZERO,
            printed: Printed::default(),
            enclave: None,
        }
    }

    /// One promise, and clocks that go together.
    struct World {
        promises: Promises,
        began: Instant,
        seconds: u64,
        in_hand: bool,
        at_stake: AtStake,
        reveals: usize,
    }

    impl World {
        fn new() -> Self {
            let mut promises = Promises::default();
            let began = Instant::now();
            promises.keep(TASK, &finding(), true, began);
            let at_stake = AtStake::Waiting;
            Self { promises, began, seconds: 0, in_hand: true, at_stake, reveals: 0 }
        }

        fn now(&self) -> Instant {
            self.began + Duration::from_secs(self.seconds)
        }

        fn hear(&mut self, event: &MarketEvent) {
            let (at, now) = (UnixSeconds(START + self.seconds), self.now());
            self.promises.hear(event, at, ME, now);
        }

        fn consensus(&mut self) {
            self.at_stake = AtStake::Reveal;
            let hash = result_hash(TASK, DIGEST);
            self.hear(&MarketEvent::Consensus { task: TASK, hash });
        }

        fn revealed(&mut self) {
            self.at_stake = AtStake::Upload;
            self.hear(&MarketEvent::Revealed { task: TASK, worker: ME, digest: DIGEST });
        }

        /// Goes on, second by second; every look finds what is at stake.
        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.seconds += 1;
                let (head, now) = (UnixSeconds(START + self.seconds), self.now());
                let due = self.promises.due(head, |_| self.in_hand, now);
                for task in due.looks {
                    let seen = Stand { at_stake: self.at_stake, consensus_at: head };
                    let reveal = self.promises.looked(task, seen, head, self.in_hand, now);
                    self.reveals += usize::from(reveal == Some(DIGEST));
                }
            }
        }

        #[track_caller]
        fn check(&self, reveals: usize, remembers: bool) {
            let found = (self.reveals, self.promises.knows(TASK));
            assert_eq!(found, (reveals, remembers), "after {} s", self.seconds);
        }
    }

    #[test]
    fn who_is_not_asked_reveals_after_a_minute_and_once() {
        let mut world = World::new();
        world.pass(200);
        world.consensus();
        world.pass(59);
        world.check(0, true);
        world.pass(2);
        world.check(1, true);
        world.revealed();
        world.pass(299);
        world.check(1, true);
    }

    #[test]
    fn who_was_let_go_does_not_wait() {
        let mut world = World::new();
        world.in_hand = false;
        world.consensus();
        world.pass(1);
        world.check(1, true);
        // Not in every block; but a reveal that does not arrive is sent anew.
        world.pass(50);
        world.check(1, true);
        world.pass(15);
        world.check(2, true);
    }

    #[test]
    fn a_decision_is_remembered_for_its_time_and_no_longer() {
        let mut world = World::new();
        world.consensus();
        world.revealed();
        world.in_hand = false;
        world.pass(299);
        world.check(0, true);
        world.pass(2);
        world.check(0, false);
    }

    #[test]
    fn a_reveal_that_was_taken_back_is_made_again() {
        let mut world = World::new();
        world.consensus();
        world.revealed();
        world.hear(&MarketEvent::Finalized { task: TASK, results: Bytes::new() });
        world.in_hand = false;
        world.pass(200);
        let now = world.now();
        world.at_stake = AtStake::Reveal;
        world.promises.shake(now);
        world.pass(10);
        world.check(1, true);
        world.revealed();
        world.pass(299);
        world.check(1, true);
        world.pass(2);
        world.check(1, false);
    }

    #[test]
    fn those_whom_a_reopening_spares_wait_again() {
        let mut world = World::new();
        world.hear(&MarketEvent::Consensus { task: TASK, hash: ResultHash(B256::ZERO) });
        world.pass(250);
        world.hear(&MarketEvent::Reopened { task: TASK });
        world.in_hand = false;
        world.pass(400);
        world.check(0, true);
        world.consensus();
        world.pass(1);
        world.check(1, true);
    }
}
