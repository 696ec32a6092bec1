//! What is known of workers beyond their score on chain: a fold over how their tasks ended. Pure.
//!
//! ```text
//! a task ends ── lessons ──▶ (worker, what it did) ── learn ──▶ Record ── standing ──▶ New │ Proven │ Barred
//! ```
//!
//! The chain's score knows only workers that were let in, and nothing of lone ones. Here also counts whose result differed
//! and was left out, who disappeared, who blamed the program for a failure that others did not have, who said two things,
//! who agreed on a result and did not bring it.
//!
//! A worker is believed as far as it was *confirmed*: found what another worker found too. One that was wrong is
//! [`Barred`](Standing::Barred): it computes only where its stake answers for it, until it was confirmed often enough again.
//! Where the vote was close, the one that lost may be the one that was right: that is a *doubt*, and only a second one, before
//! it was confirmed some times in a row, bars it. So a few liars who happen to meet cannot drive honest workers out.
//! A new wallet starts at the bottom, so leaving one behind is no way out. [`checks`](crate::checks) says how often whose
//! results are confirmed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use primitives::ResultHash;
use serde::{Deserialize, Serialize};
use tasks::{Blame, Replica, ReplicaState, Status, Task};
use verdict::Confidence;

/// How far a worker is trusted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Not confirmed often enough: is checked often.
    #[default]
    New,
    /// Confirmed often enough to be checked as rarely as anybody.
    Proven,
    /// Was wrong: takes no task that rests on its word alone.
    Barred,
}

/// What a worker did in a task that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lesson {
    /// Its result was let in and won.
    Completed {
        /// From the assignment to the result, if that is known.
        run_seconds: Option<u64>,
    },
    /// Another worker found the same. If the deal asked for one worker only, that was a canary.
    Confirmed {
        /// Whether the deal did.
        canary: bool,
    },
    /// Alone, it found what was known before it was asked: that was a canary too. It confirms nothing, since an answer that
    /// was asked for before need not be computed to be known.
    Recalled,
    /// Its result differed from what won.
    Wrong {
        /// Whether the deal asked for one worker only.
        canary: bool,
        /// Whether the winner, against what this one said, is believed less than [`CERTAIN_TRUST`] asks for.
        close: bool,
    },
    /// It said two different things.
    Equivocated,
    /// It blamed the program or its input for a failure, and others had a result.
    FalseAlarm,
    /// It contributed what won and did not reveal it.
    Unrevealed,
    /// It revealed and brought no result, and nobody else did.
    Withheld,
    /// It disappeared, or took too long.
    Lost,
    /// It could not do its part, by its own account.
    Failed,
}

impl Lesson {
    /// Whether it may show dishonesty.
    pub fn is_fraud(self) -> bool {
        matches!(self, Self::Wrong { .. } | Self::Equivocated | Self::FalseAlarm)
    }
}

/// What all workers of a task that has ended did. Nothing for one that has not.
pub fn lessons(task: &Task) -> Vec<(Address, Lesson)> {
    let mut all = Vec::new();
    if task.status().is_final() {
        for replica in task.replicas() {
            all.extend(of_replica(task, replica).into_iter().map(|it| (replica.worker, it)));
        }
    }
    all
}

/// What is to be said besides, where the answer was known before the task was done.
pub fn recalled(task: &Task, known: ResultHash) -> Vec<(Address, Lesson)> {
    let lone = task.terms.trust <= U256::ONE && !task.is_checked();
    if !lone || task.status() != Status::Completed || task.consensus() != Some(known) {
        return Vec::new();
    }
    let found = task.replicas().filter(|it| it.state == ReplicaState::Revealed);
    found.map(|it| (it.worker, Lesson::Recalled)).collect()
}

fn of_replica(task: &Task, replica: &Replica) -> Vec<Lesson> {
    let mut lessons = Vec::new();
    if replica.equivocated {
        lessons.push(Lesson::Equivocated);
    }
    let winner = task.consensus().filter(|_| task.status() == Status::Completed);
    match (winner, replica.hash) {
        (Some(winner), Some(hash)) => lessons.extend(of_result(task, replica, hash == winner)),
        (None, Some(_)) => lessons.extend(of_no_result(task, replica)),
        (_, None) => {}
    }
    match (&replica.failure, replica.state) {
        (Some(failure), ReplicaState::Failed) if failure.blame == Blame::Worker => {
            lessons.push(Lesson::Failed);
        }
        // Where the chain knows a result, the program runs.
        (Some(_), ReplicaState::Failed) if winner.is_some() => lessons.push(Lesson::FalseAlarm),
        (_, ReplicaState::Lost) => lessons.push(Lesson::Lost),
        _ => {}
    }
    lessons
}

/// A worker with a result, where one won.
fn of_result(task: &Task, replica: &Replica, won: bool) -> Vec<Lesson> {
    let canary = task.is_checked();
    if !won {
        let close = task.confidence() <= Confidence::asked(U256::from(CERTAIN_TRUST));
        return vec![Lesson::Wrong { canary, close }];
    }
    let mut lessons = Vec::new();
    let agreeing = task.replicas().filter(|other| other.hash == replica.hash).count();
    match replica.state {
        ReplicaState::Contributed | ReplicaState::Rejected => lessons.push(Lesson::Unrevealed),
        ReplicaState::Revealed => {
            let run = replica.run();
            let run_seconds = run.map(|(from, to)| to.0.saturating_sub(from.0));
            lessons.push(Lesson::Completed { run_seconds });
        }
        _ => {}
    }
    if agreeing > 1 {
        lessons.push(Lesson::Confirmed { canary });
    }
    lessons
}

/// A worker with a result, where none was accepted.
fn of_no_result(task: &Task, replica: &Replica) -> Option<Lesson> {
    let agreed = task.consensus() == replica.hash;
    match replica.state {
        ReplicaState::Rejected => Some(Lesson::Unrevealed),
        ReplicaState::Contributed if agreed => Some(Lesson::Unrevealed),
        ReplicaState::Revealed => Some(Lesson::Withheld),
        _ => None,
    }
}

/// Run times that a median is taken of.
const LATENCIES_MAX: usize = 32;
/// Confirmations after which a worker that was wrong is let back.
const ATONED: u64 = 100;
/// The trust that a vote must be worth to bar those who lost it at once.
pub const CERTAIN_TRUST: u64 = 4;
/// Confirmations in a row after which a lost close vote is forgiven.
const FORGIVEN: u64 = 4;

/// What is known of a worker, or of a workerpool: all its workers together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// Results that were let in and won.
    pub completed: u64,
    /// Results that another worker found too.
    pub confirmed: u64,
    /// Results of deals for one worker only that another worker found too, or that were known before.
    pub canaries_passed: u64,
    /// Wrong results where the deal asked for one worker only.
    pub canaries_failed: u64,
    /// Wrong results in all.
    pub wrong: u64,
    /// Such of them as count as bad luck: the vote was close, and it lost no other shortly before.
    pub doubted: u64,
    /// Tasks of which it said two different things.
    pub equivocated: u64,
    /// Failures that only it saw.
    pub false_alarms: u64,
    /// Agreed results that it did not reveal.
    pub unrevealed: u64,
    /// Revealed results that it did not bring.
    pub withheld: u64,
    /// Tasks that it disappeared from.
    pub lost: u64,
    /// Tasks that it could not do.
    pub failed: u64,
    /// Confirmations since it was last wrong.
    pub streak: u64,
    /// Whether it lost a close vote not long ago.
    is_doubted: bool,
    /// The last run times, in seconds, oldest first.
    latencies: Vec<u32>,
}

impl Record {
    /// Takes note.
    pub fn learn(&mut self, lesson: Lesson) {
        let counter = match lesson {
            Lesson::Completed { run_seconds } => {
                self.note_run(run_seconds);
                &mut self.completed
            }
            Lesson::Confirmed { canary } => {
                self.canaries_passed = self.canaries_passed.saturating_add(u64::from(canary));
                self.streak = self.streak.saturating_add(1);
                self.is_doubted &= self.streak < FORGIVEN;
                &mut self.confirmed
            }
            Lesson::Recalled => &mut self.canaries_passed,
            Lesson::Wrong { canary, close } => {
                self.canaries_failed = self.canaries_failed.saturating_add(u64::from(canary));
                let is_luck = close && !self.is_doubted;
                self.doubted = self.doubted.saturating_add(u64::from(is_luck));
                self.is_doubted = is_luck;
                &mut self.wrong
            }
            Lesson::Equivocated => &mut self.equivocated,
            Lesson::FalseAlarm => &mut self.false_alarms,
            Lesson::Unrevealed => &mut self.unrevealed,
            Lesson::Withheld => &mut self.withheld,
            Lesson::Lost => &mut self.lost,
            Lesson::Failed => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        if lesson.is_fraud() {
            self.streak = 0;
        }
    }

    /// Tasks in which it was dishonest.
    pub fn frauds(&self) -> u64 {
        let wrong = self.wrong.saturating_sub(self.doubted);
        wrong.saturating_add(self.equivocated).saturating_add(self.false_alarms)
    }

    /// Tasks in which it let others down, whether it meant to or not.
    pub fn faults(&self) -> u64 {
        [self.frauds(), self.doubted, self.unrevealed, self.withheld, self.lost, self.failed]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// How far it is trusted, where `proof` confirmations are taken as proof.
    pub fn standing(&self, proof: u64) -> Standing {
        if self.frauds() > 0 && self.streak < ATONED.max(proof) {
            Standing::Barred
        } else if self.streak >= proof {
            Standing::Proven
        } else {
            Standing::New
        }
    }

    /// How often it lets others down: 0 hardly ever, 1 now and then (one task in ten), 2 as often as not.
    pub fn unreliable(&self) -> u8 {
        let faults = self.faults();
        let tasks = faults.saturating_add(self.completed.max(self.confirmed));
        // One accident does not mark a newcomer.
        if faults < 2 || faults.saturating_mul(10) < tasks {
            0
        } else if faults.saturating_mul(2) < tasks {
            1
        } else {
            2
        }
    }

    /// The median of its last run times, in seconds.
    pub fn run_seconds_median(&self) -> Option<u32> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn note_run(&mut self, seconds: Option<u64>) {
        let Some(seconds) = seconds else { return };
        self.latencies.push(u32::try_from(seconds).unwrap_or(u32::MAX));
        if self.latencies.len() > LATENCIES_MAX {
            self.latencies.remove(0);
        }
    }
}

/// The records of a workerpool and its workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    workers: BTreeMap<Address, Record>,
    pool: Record,
    /// The last block whose tasks have taught their lessons.
    block: u64,
    /// Whose records have changed since [`changed`](Self::changed) was last asked.
    changed: BTreeSet<Address>,
}

/// Workers that are remembered. Whoever comes when there are so many stays a newcomer.
const WORKERS_MAX: usize = 100_000;

impl Ledger {
    /// What was kept: a pool's record, its workers', and the last block whose tasks are in them.
    pub fn kept(
        pool: Record,
        workers: impl IntoIterator<Item = (Address, Record)>,
        block: u64,
    ) -> Self {
        let workers = workers.into_iter().take(WORKERS_MAX).collect();
        Self { workers, pool, block, changed: BTreeSet::new() }
    }

    /// Takes note of how a task ended in that block. A block that is in already, as after a restart, is left out: the lesson
    /// counts once. Gives what was learnt.
    pub fn learn(&mut self, block: u64, task: &Task) -> Vec<(Address, Lesson)> {
        self.learn_knowing(block, task, None)
    }

    /// The same where the answer was known before, or not.
    pub fn learn_knowing(
        &mut self,
        block: u64,
        task: &Task,
        known: Option<ResultHash>,
    ) -> Vec<(Address, Lesson)> {
        if block <= self.block {
            return Vec::new();
        }
        let mut lessons = lessons(task);
        lessons.extend(known.into_iter().flat_map(|known| recalled(task, known)));
        for (worker, lesson) in lessons.iter().copied() {
            self.pool.learn(lesson);
            if self.workers.len() < WORKERS_MAX || self.workers.contains_key(&worker) {
                self.workers.entry(worker).or_default().learn(lesson);
                self.changed.insert(worker);
            }
        }
        lessons
    }

    /// All tasks that ended up to that block are in.
    pub fn close(&mut self, block: u64) {
        self.block = self.block.max(block);
    }

    /// What is known of a worker; an empty record if nothing is.
    pub fn worker(&self, worker: Address) -> Record {
        self.workers.get(&worker).cloned().unwrap_or_default()
    }

    /// The same, without copying.
    pub fn get(&self, worker: Address) -> Option<&Record> {
        self.workers.get(&worker)
    }

    /// All of them.
    pub fn workers(&self) -> impl Iterator<Item = (Address, &Record)> {
        self.workers.iter().map(|(worker, record)| (*worker, record))
    }

    /// All workers together.
    pub fn pool(&self) -> &Record {
        &self.pool
    }

    /// The last block that is in.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// These count as changed again: they could not be written.
    pub fn again(&mut self, workers: impl IntoIterator<Item = Address>) {
        self.changed.extend(workers);
    }

    /// Whose records have changed since this was last asked.
    pub fn changed(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
