//! A worker: what production's does with assignments, grants and requests to reveal, and how each strategy departs from it.

use alloy_primitives::B256;
use primitives::{ResultDigest, ResultHash};
use tasks::Blame;

use crate::hub::{Call, Contribution, Phase, Standing, TaskNo, Who};
use crate::market::{Event, Market, Order, Word};
use crate::scenario::{RequesterConduct, Strategy};

/// How soon who runs nothing has an answer.
const IDLE_RUN_MS: u64 = 200;
/// How often a free-rider looks for something to copy.
const PEEK_MS: u64 = 5_000;
/// How often a worker looks after a contribution of its own.
const LOOK_MS: u64 = 30_000;
/// How long after the consensus it reveals without being asked, and how long it waits for a reveal to arrive.
const PATIENCE_SECONDS: u64 = 60;
/// How long it remembers a result after the task's end or its contribution's refusal: both may be taken back.
const REMEMBER_SECONDS: u64 = 300;
/// How long a scheduler takes to notice that a connection has ended.
const SILENCE_MS: u64 = 15_000;
/// How long a Sybil takes to come back under another name.
const RENAME_MS: u64 = 30_000;

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) wallets: Vec<Who>,
    wallet: usize,
    /// Crashes that it has not come back from.
    down: u32,
    /// Disconnections that last.
    pub(crate) cut: u32,
    /// The connection, if there is one.
    pub(crate) line: Option<u32>,
    lines: u32,
    lives: u32,
    hands: Vec<Hand>,
    /// Assignments.
    pub(crate) taken: u32,
    /// Programs run.
    pub(crate) runs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Computing,
    Computed,
    Contributing,
}

/// A task in hand.
#[derive(Debug, Clone, Copy)]
struct Hand {
    task: TaskNo,
    life: u32,
    stage: Stage,
    /// Whether the scheduler wants it no more.
    released: bool,
    /// Whether it is in the journal, and so outlives a crash.
    journaled: bool,
    announced: ResultDigest,
    digest: ResultDigest,
    sealed: bool,
    /// When the task was given, in ms.
    since_ms: u64,
    revealed_at: Option<u64>,
    /// When a contribution was last sent, in seconds.
    sent_at: u64,
    /// The look after it that counts; those put off before do not.
    look: u32,
}

impl Worker {
    pub(crate) fn new(wallets: Vec<Who>) -> Self {
        Self {
            wallets,
            wallet: 0,
            down: 0,
            cut: 0,
            line: None,
            lines: 0,
            lives: 0,
            hands: Vec::new(),
            taken: 0,
            runs: 0,
        }
    }

    pub(crate) fn wallet(&self) -> Who {
        self.wallets[self.wallet]
    }

    fn hand(&mut self, task: TaskNo) -> Option<&mut Hand> {
        self.hands.iter_mut().find(|hand| hand.task == task)
    }

    fn drop_hand(&mut self, task: TaskNo) {
        self.hands.retain(|hand| hand.task != task);
    }
}

/// What a task's program finds.
pub fn truth(task: TaskNo) -> ResultDigest {
    said(1, task, 0)
}

/// Whether a digest is what the program finds.
pub fn is_true(task: TaskNo, digest: ResultDigest) -> bool {
    digest == truth(task)
}

/// What a group of liars says.
fn lie_of_group(task: TaskNo, group: u8) -> ResultDigest {
    said(2, task, u32::from(group))
}

/// What somebody says who agrees with nobody.
fn lie_of_one(task: TaskNo, who: Who) -> ResultDigest {
    said(3, task, who)
}

/// Whether nothing is going to happen to it but by accident.
fn is_quiet(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Failed)
}

fn said(kind: u8, task: TaskNo, by: u32) -> ResultDigest {
    let mut word = B256::ZERO;
    word[0] = kind;
    word[4..8].copy_from_slice(&by.to_be_bytes());
    word[28..].copy_from_slice(&task.to_be_bytes());
    ResultDigest(word)
}

impl Market<'_> {
    fn strategy(&self, worker: usize) -> Strategy {
        self.scenario.workers[worker].strategy
    }

    fn say(&mut self, worker: usize, task: TaskNo, word: Word) {
        if let Some(line) = self.workers[worker].line {
            self.post(Event::ToPool { worker, line, task, word });
        }
    }

    fn hash(&self, task: TaskNo, digest: ResultDigest) -> ResultHash {
        verdict::result_hash(self.chain.hub.task(task).id, digest)
    }

    pub(crate) fn connects(&mut self, worker: usize) {
        let pool = self.scenario.workers[worker].pool;
        let it = &mut self.workers[worker];
        if it.down > 0 || it.cut > 0 || it.line.is_some() || !self.pools[pool].up {
            return;
        }
        it.lines += 1;
        let line = it.lines;
        it.line = Some(line);
        let journaled = it.hands.iter().filter(|hand| hand.journaled && !hand.released);
        let holding: Vec<TaskNo> = journaled.map(|hand| hand.task).collect();
        self.pool_welcomes(worker, line, &holding);
        for place in 0..self.workers[worker].hands.len() {
            let hand = self.workers[worker].hands[place];
            if hand.stage == Stage::Computed {
                let word = Word::Computed(self.hash(hand.task, hand.announced));
                self.say(worker, hand.task, word);
            } else if hand.revealed_at.is_some() {
                self.say(worker, hand.task, Word::Uploaded);
            }
        }
    }

    pub(crate) fn hang_up(&mut self, worker: usize) {
        if let Some(line) = self.workers[worker].line.take() {
            self.after(SILENCE_MS, Event::Left { worker, line });
        }
    }

    pub(crate) fn worker_dies(&mut self, worker: usize) {
        self.workers[worker].down += 1;
        self.hang_up(worker);
        self.workers[worker].hands.retain(|hand| hand.journaled);
    }

    pub(crate) fn worker_restarts(&mut self, worker: usize) {
        self.workers[worker].down -= 1;
        if self.workers[worker].down > 0 {
            return;
        }
        self.after(100, Event::Connects(worker));
        for place in 0..self.workers[worker].hands.len() {
            let task = self.workers[worker].hands[place].task;
            self.look_in(1_000, worker, task);
        }
    }

    /// Goes on under another name, if the one that was lost is the one in use and there is another.
    pub(crate) fn next_wallet(&mut self, worker: usize, lost: Who) {
        let it = &mut self.workers[worker];
        if it.wallet() != lost || it.wallet + 1 >= it.wallets.len() {
            return;
        }
        self.hang_up(worker);
        let it = &mut self.workers[worker];
        it.wallet += 1;
        it.hands.clear();
        self.after(RENAME_MS, Event::Connects(worker));
    }

    pub(crate) fn worker_hears(&mut self, worker: usize, task: TaskNo, order: Order) {
        match order {
            Order::Assign => self.assigned(worker, task),
            Order::Grant => self.granted(worker, task),
            Order::Reveal => self.asked_to_reveal(worker, task),
            Order::Release => self.released(worker, task),
            Order::Settle(batch) => self.told_to_settle(worker, batch),
        }
    }

    fn assigned(&mut self, worker: usize, task: TaskNo) {
        if let Some(hand) = self.workers[worker].hand(task).copied() {
            if hand.stage == Stage::Computed {
                let word = Word::Computed(self.hash(task, hand.announced));
                self.say(worker, task, word);
            }
            return;
        }
        let strategy = self.strategy(worker);
        let deal = self.chain.hub.task(task).deal as usize;
        let length = self.scenario.bags[deal].run_ms;
        let delay = match strategy.computes() {
            true => length * self.scenario.workers[worker].pace / 1_000,
            false => IDLE_RUN_MS,
        };
        let (announced, digest) = self.answers(worker, task);
        let it = &mut self.workers[worker];
        it.lives += 1;
        let life = it.lives;
        it.hands.push(Hand {
            task,
            life,
            stage: Stage::Computing,
            released: false,
            journaled: false,
            announced,
            digest,
            sealed: true,
            since_ms: self.now_ms,
            revealed_at: None,
            sent_at: 0,
            look: 0,
        });
        self.after(delay, Event::Ran { worker, life, task });
    }

    /// What it will announce, and what it will contribute.
    fn answers(&self, worker: usize, task: TaskNo) -> (ResultDigest, ResultDigest) {
        let wallet = self.workers[worker].wallet();
        let both = |digest| (digest, digest);
        match self.strategy(worker) {
            Strategy::Honest | Strategy::Withholder => both(truth(task)),
            Strategy::Lazy | Strategy::FreeRider => both(lie_of_one(task, wallet)),
            Strategy::Colluder(group) | Strategy::Sybil(group) => both(lie_of_group(task, group)),
            Strategy::Sleeper(group) => {
                let score = self.chain.hub.scores[wallet as usize];
                let rules = &self.scenario.rules;
                let done = self.workers[worker].taken;
                let awake = score >= rules.sleeper_score || done >= rules.sleeper_tasks;
                both(if awake { lie_of_group(task, group) } else { truth(task) })
            }
            Strategy::Equivocator(group) => (truth(task), lie_of_group(task, group)),
        }
    }

    pub(crate) fn ran(&mut self, worker: usize, life: u32, task: TaskNo) {
        let strategy = self.strategy(worker);
        let deal = self.chain.hub.task(task).deal as usize;
        let bag = &self.scenario.bags[deal];
        let (run_ms, conduct) = (bag.run_ms, bag.conduct);
        let now_ms = self.now_ms;
        let wallet = self.workers[worker].wallet();
        let of_another = |it: &&Contribution| it.worker != wallet;
        let seen = self.chain.hub.task(task).contributions.iter().find(of_another).copied();
        let it = &mut self.workers[worker];
        let Some(hand) = it.hand(task) else { return };
        if hand.life != life || hand.stage != Stage::Computing {
            return;
        }
        if strategy == Strategy::FreeRider {
            match seen {
                Some(other) => {
                    (hand.announced, hand.digest, hand.sealed) =
                        (other.digest, other.digest, false);
                }
                None if now_ms < hand.since_ms + 2 * run_ms => {
                    self.after(PEEK_MS, Event::Ran { worker, life, task });
                    return;
                }
                None => {}
            }
        }
        let announced = hand.announced;
        if strategy.computes() {
            it.runs += 1;
            if conduct == RequesterConduct::Griefing {
                it.drop_hand(task);
                self.say(worker, task, Word::Failed(Blame::App));
                return;
            }
        }
        if let Some(hand) = self.workers[worker].hand(task) {
            hand.stage = Stage::Computed;
        }
        let word = Word::Computed(self.hash(task, announced));
        self.say(worker, task, word);
    }

    fn granted(&mut self, worker: usize, task: TaskNo) {
        let alone = self.chain.hub.deal_of(task).offer.trust <= 1;
        let now = self.now();
        let from = self.workers[worker].wallet();
        let Some(hand) = self.workers[worker].hand(task) else {
            self.say(worker, task, Word::Failed(Blame::Worker));
            return;
        };
        if hand.stage != Stage::Computed {
            return;
        }
        hand.stage = Stage::Contributing;
        hand.sent_at = now;
        let Hand { digest, sealed, .. } = *hand;
        if alone {
            self.send(from, Call::Alone { task, digest, authorised: true });
            return;
        }
        hand.journaled = true;
        self.send(from, Call::Contribute { task, digest, sealed, authorised: true });
        self.look_in(LOOK_MS, worker, task);
    }

    /// Settles a batch, if it has a result for each of its tasks.
    fn told_to_settle(&mut self, worker: usize, batch: u32) {
        let now = self.now();
        let from = self.workers[worker].wallet();
        let Some(tasks) = self.batches.get(batch as usize).cloned() else { return };
        let it = &mut self.workers[worker];
        let stage = |task| it.hands.iter().find(|hand| hand.task == task).map(|hand| hand.stage);
        if tasks.iter().any(|task| stage(*task) == Some(Stage::Contributing)) {
            return;
        }
        if !tasks.iter().all(|task| stage(*task) == Some(Stage::Computed)) {
            return self.unsettled(worker, batch);
        }
        let mut items = Vec::with_capacity(tasks.len());
        for task in &tasks {
            if let Some(hand) = it.hand(*task) {
                hand.stage = Stage::Contributing;
                hand.sent_at = now;
                items.push((*task, hand.digest));
            }
        }
        self.send(from, Call::Settle { items: items.into(), authorised: true, batch });
    }

    fn unsettled(&mut self, worker: usize, batch: u32) {
        let first = self.batches.get(batch as usize).and_then(|tasks| tasks.first().copied());
        if let Some(first) = first {
            self.say(worker, first, Word::Unsettled(batch));
        }
    }

    /// The hub took no contribution or reveal of it.
    pub(crate) fn worker_refused(&mut self, worker: usize, task: TaskNo, call: &Call) {
        if let Call::Settle { items, batch, .. } = call {
            for (task, _) in items {
                if let Some(hand) = self.workers[worker].hand(*task) {
                    hand.stage = Stage::Computed;
                }
            }
            return self.unsettled(worker, *batch);
        }
        let Some(hand) = self.workers[worker].hand(task) else { return };
        match call {
            Call::Reveal { .. } => hand.revealed_at = None,
            _ => {
                hand.stage = Stage::Computed;
                self.say(worker, task, Word::Failed(Blame::Worker));
            }
        }
    }

    fn asked_to_reveal(&mut self, worker: usize, task: TaskNo) {
        if self.must_reveal(worker, task).is_some() {
            self.reveal(worker, task);
        }
        let brings = self.strategy(worker) != Strategy::Withholder;
        let Some(hand) = self.workers[worker].hand(task) else { return };
        if brings && hand.stage == Stage::Contributing && hand.sealed {
            self.say(worker, task, Word::Uploaded);
        }
    }

    fn released(&mut self, worker: usize, task: TaskNo) {
        let Some(hand) = self.workers[worker].hand(task) else { return };
        if hand.journaled {
            hand.released = true;
            self.look_in(1_000, worker, task);
        } else {
            self.workers[worker].drop_hand(task);
        }
    }

    /// Looks after its stake in a task by then, and not before.
    fn look_in(&mut self, delay_ms: u64, worker: usize, task: TaskNo) {
        let it = &mut self.workers[worker];
        it.lives += 1;
        let look = it.lives;
        if let Some(hand) = it.hand(task) {
            hand.look = look;
            self.after(delay_ms, Event::Looks { worker, look, task });
        }
    }

    /// Looks after its stake in a task, asked or not.
    pub(crate) fn looks(&mut self, worker: usize, look: u32, task: TaskNo) {
        let now = self.now();
        if self.workers[worker].down > 0 {
            return;
        }
        let Some(hand) = self.workers[worker].hand(task).copied() else { return };
        if hand.look != look {
            return;
        }
        let wallet = self.workers[worker].wallet();
        let state = self.chain.hub.task(task);
        let stands = state.contributions.iter().any(|it| it.worker == wallet);
        // What was refused, or has ended the task, may be taken back, and the contribution be made after all.
        let last = match state.ended {
            Some(ended) => ended,
            None if stands => self.chain.hub.final_deadline(task),
            None => hand.sent_at,
        };
        if now >= last + REMEMBER_SECONDS {
            self.workers[worker].drop_hand(task);
            return;
        }
        if let Some(since) = self.must_reveal(worker, task)
            && (hand.released || now >= since + PATIENCE_SECONDS)
        {
            self.reveal(worker, task);
        }
        let pause = if is_quiet(self.chain.hub.task(task).phase) { 4 * LOOK_MS } else { LOOK_MS };
        self.look_in(pause, worker, task);
    }

    /// Since when its stake depends on its reveal, if it does.
    fn must_reveal(&self, worker: usize, task: TaskNo) -> Option<u64> {
        if self.strategy(worker) == Strategy::Withholder {
            return None;
        }
        let state = self.chain.hub.task(task);
        if state.phase != Phase::Revealing {
            return None;
        }
        let wallet = self.workers[worker].wallet();
        let mine = state.contributions.iter().find(|it| it.worker == wallet)?;
        let open = mine.standing == Standing::Contributed && mine.sealed;
        (open && state.consensus == Some(mine.hash)).then_some(mine.window?.0)
    }

    fn reveal(&mut self, worker: usize, task: TaskNo) {
        let now = self.now();
        let from = self.workers[worker].wallet();
        let Some(hand) = self.workers[worker].hand(task) else { return };
        if hand.revealed_at.is_some_and(|sent| now < sent + PATIENCE_SECONDS) {
            return;
        }
        hand.revealed_at = Some(now);
        let digest = hand.digest;
        self.send(from, Call::Reveal { task, digest });
    }
}
