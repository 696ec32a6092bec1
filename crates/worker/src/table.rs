//! The tasks in hand and how far each is.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::{Address, Bytes};
use chain::calls::EnclaveProof;
use primitives::{DealId, Nrlc, ResultDigest, TaskId};
use tokio_util::sync::CancellationToken;
use wire::link::ToScheduler;

/// Tasks in hand at once. More than that, and the scheduler has lost its measure.
const TASKS_MAX: usize = 4_096;

/// Which task of which deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) deal: DealId,
    pub(crate) index: u64,
}

/// What a run brought and what it takes to stand for it.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) assignment: Assignment,
    pub(crate) digest: ResultDigest,
    pub(crate) archive: PathBuf,
    /// The contract that receives the result; zero for none.
    pub(crate) callback: Address,
    /// What it receives; empty without callback.
    pub(crate) callback_data: Bytes,
    /// Whether one contribution is enough.
    pub(crate) needs_one: bool,
    /// What a contribution locks.
    pub(crate) stake: Nrlc,
    /// The ends of what the program printed, for the requester.
    pub(crate) printed: Printed,
    /// Of a confidential task, its enclave's word.
    pub(crate) enclave: Option<EnclaveProof>,
}

/// The ends of what a program printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) stdout_tail: String,
    pub(crate) stderr_tail: String,
}

impl Finding {
    /// What the scheduler is told about it.
    pub(crate) fn word(&self, task: TaskId) -> ToScheduler {
        ToScheduler::Computed {
            task_id: task,
            result_hash: verdict::result_hash(task, self.digest),
            stdout_tail: self.printed.stdout_tail.clone(),
            stderr_tail: self.printed.stderr_tail.clone(),
        }
    }
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Computing,
    Computed,
    /// A contribution is on its way.
    Contributing,
    Contributed,
    /// A reveal or an upload is on its way.
    Revealing,
    Revealed,
    Failed,
}

/// One life of a task: a task that was released and assigned again has another.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) task: TaskId,
    number: u64,
    /// Cancelled by the release.
    pub(crate) over: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    life: Life,
    stage: Stage,
    finding: Option<Arc<Finding>>,
    /// What was said last about it, to be said again on a new connection.
    words: Vec<ToScheduler>,
    /// Whether it was taken up from the journal of an earlier process.
    restored: bool,
}

/// What to do about an assignment.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Compute it.
    New(Life),
    /// It is in hand; this is where it stands.
    Known(Vec<ToScheduler>),
    /// There is no room.
    Full,
}

/// What to do about a request to go on with a task.
#[derive(Debug)]
pub(crate) enum Step {
    /// Do it.
    Go(Life, Arc<Finding>),
    /// It is being done, or done: this is where it stands.
    Known(Vec<ToScheduler>),
    /// There is nothing to go on with.
    NotHeld,
}

/// A task of a batch, on its way to be settled.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) life: Life,
    pub(crate) finding: Arc<Finding>,
}

/// What to do about a request to settle a batch.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Settle all of it.
    Go(Vec<Member>),
    /// All of it is being settled, or is settled: this is where it stands.
    Known(Vec<ToScheduler>),
    /// This one cannot be settled, hence none.
    Not(TaskId),
}

/// A task that was let go.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) finding: Option<Arc<Finding>>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: HashMap<TaskId, Entry>,
    lives: u64,
}

impl Table {
    /// Takes a task in. One whose run failed before starts anew; one that failed later has its result already.
    pub(crate) fn admit(&mut self, task: TaskId, parent: &CancellationToken) -> Admission {
        match self.entries.get_mut(&task) {
            Some(entry) if entry.stage != Stage::Failed => {
                return Admission::Known(entry.words.clone());
            }
            Some(Entry { stage, finding: Some(finding), words, .. }) => {
                *stage = Stage::Computed;
                *words = vec![finding.word(task)];
                return Admission::Known(words.clone());
            }
            _ => {}
        }
        let fits = self.knows(task) || self.entries.len() < TASKS_MAX || self.forget_failed();
        if !fits {
            return Admission::Full;
        }
        let life = self.new_life(task, parent);
        let stage = Stage::Computing;
        let entry =
            Entry { life: life.clone(), stage, finding: None, words: vec![], restored: false };
        self.entries.insert(task, entry);
        Admission::New(life)
    }

    /// Puts back a task from the journal.
    pub(crate) fn restore(
        &mut self,
        task: TaskId,
        finding: Finding,
        stage: Stage,
        parent: &CancellationToken,
    ) {
        let life = self.new_life(task, parent);
        let words = if stage == Stage::Computed { vec![finding.word(task)] } else { vec![] };
        let finding = Some(Arc::new(finding));
        self.entries.insert(task, Entry { life, stage, finding, words, restored: true });
    }

    /// Tasks in hand that were computed.
    pub(crate) fn with_results(&self) -> HashSet<TaskId> {
        let computed = self.entries.iter().filter(|(_, entry)| entry.finding.is_some());
        computed.map(|(task, _)| *task).collect()
    }

    /// Whether the task is in hand.
    pub(crate) fn knows(&self, task: TaskId) -> bool {
        self.entries.contains_key(&task)
    }

    /// The run brought that; gives back what to say, or nothing if nobody wants it any more.
    pub(crate) fn computed(&mut self, life: &Life, finding: Finding) -> Option<ToScheduler> {
        let word = finding.word(life.task);
        let entry = self.alive(life)?;
        entry.finding = Some(Arc::new(finding));
        entry.stage = Stage::Computed;
        entry.words = vec![word.clone()];
        Some(word)
    }

    /// Who signed for the enclave of a computed task; zero if it ran without one.
    pub(crate) fn challenge(&self, task: TaskId) -> Option<Address> {
        let finding = self.entries.get(&task)?.finding.as_ref()?;
        Some(finding.enclave.as_ref().map_or(Address::ZERO, |enclave| enclave.challenge))
    }

    /// Goes on to contribute, once.
    pub(crate) fn contribute(&mut self, task: TaskId) -> Step {
        self.step(task, Stage::Contributing, |stage, _| {
            matches!(stage, Stage::Computed | Stage::Failed)
        })
    }

    /// Goes on to settle all of them together, once.
    pub(crate) fn contribute_all(&mut self, tasks: &[TaskId]) -> Batch {
        let mut words = Vec::new();
        let mut begun = 0;
        for task in tasks {
            let Some(Entry { finding: Some(_), stage, words: said, .. }) = self.entries.get(task)
            else {
                return Batch::Not(*task);
            };
            if !matches!(stage, Stage::Computed | Stage::Failed) {
                begun += 1;
                words.extend(said.iter().cloned());
            }
        }
        if begun == tasks.len() {
            return Batch::Known(words);
        }
        let mut members = Vec::with_capacity(tasks.len());
        for task in tasks {
            // One task twice in a batch is refused here too, by the second step.
            match self.contribute(*task) {
                Step::Go(life, finding) => members.push(Member { life, finding }),
                Step::Known(_) | Step::NotHeld => {
                    self.not_contributed(members.iter().map(|member| &member.life));
                    return Batch::Not(*task);
                }
            }
        }
        Batch::Go(members)
    }

    /// Nothing of what was on its way came about: the results wait again for leave to contribute.
    pub(crate) fn not_contributed<'a>(&mut self, lives: impl IntoIterator<Item = &'a Life>) {
        for life in lives {
            if let Some(entry) = self.alive(life)
                && let Some(finding) = &entry.finding
            {
                entry.stage = Stage::Computed;
                entry.words = vec![finding.word(life.task)];
            }
        }
    }

    /// Goes on to reveal, once. A contribution that is not known to have arrived may be revealed too: the chain knows. So
    /// may a result that was computed anew after the chain took a contribution back, for that may have returned meanwhile.
    pub(crate) fn reveal(&mut self, task: TaskId) -> Step {
        self.step(task, Stage::Revealing, |stage, finding| match stage {
            Stage::Computed => !finding.needs_one,
            Stage::Contributing | Stage::Contributed | Stage::Failed => true,
            Stage::Computing | Stage::Revealing | Stage::Revealed => false,
        })
    }

    fn step(&mut self, task: TaskId, to: Stage, may: impl Fn(Stage, &Finding) -> bool) -> Step {
        let Some(entry) = self.entries.get_mut(&task) else { return Step::NotHeld };
        match &entry.finding {
            None => Step::NotHeld,
            Some(finding) if may(entry.stage, finding) => {
                entry.stage = to;
                Step::Go(entry.life.clone(), Arc::clone(finding))
            }
            Some(_) => Step::Known(entry.words.clone()),
        }
    }

    /// It came that far, and this is the word about it. `false` if nobody wants to know any more.
    pub(crate) fn reached(&mut self, life: &Life, stage: Stage, word: ToScheduler) -> bool {
        let Some(entry) = self.alive(life) else { return false };
        entry.stage = stage;
        // What came before the contribution no longer matters; of what comes after, both words do.
        let stays = |said: &ToScheduler| {
            matches!(said, ToScheduler::Revealed { .. } | ToScheduler::Uploaded { .. })
        };
        entry.words.retain(stays);
        entry.words.push(word);
        true
    }

    /// It is revealed and uploaded.
    pub(crate) fn revealed(&mut self, life: &Life) {
        if let Some(entry) = self.alive(life) {
            entry.stage = Stage::Revealed;
        }
    }

    /// Lets a task go and ends what is being done for it.
    pub(crate) fn release(&mut self, task: TaskId) -> Option<Released> {
        let entry = self.entries.remove(&task)?;
        entry.life.over.cancel();
        Some(Released { finding: entry.finding })
    }

    /// Lets go of what has not come to a promise on the chain: computations, and results that wait for leave to be
    /// contributed unless they are to be kept. Gives back the tasks, with what is left of them.
    pub(crate) fn give_back(&mut self, keeps_results: bool) -> Vec<(TaskId, Option<Arc<Finding>>)> {
        let is_free = |entry: &Entry| match entry.stage {
            Stage::Computing => true,
            Stage::Computed => !keeps_results && !entry.restored,
            _ => false,
        };
        let free = self.entries.iter().filter(|(_, entry)| is_free(entry));
        let free: Vec<TaskId> = free.map(|(task, _)| *task).collect();
        let taken = free.into_iter().filter_map(|task| Some((task, self.entries.remove(&task)?)));
        let given = taken.map(|(task, entry)| {
            entry.life.over.cancel();
            (task, entry.finding)
        });
        given.collect()
    }

    /// The last word about every task.
    pub(crate) fn words(&self) -> Vec<ToScheduler> {
        self.entries.values().flat_map(|entry| entry.words.iter().cloned()).collect()
    }

    /// Tasks that were contributed to and need a reveal yet, or an upload; and what an earlier process left unsettled.
    pub(crate) fn holding(&self) -> Vec<TaskId> {
        let held = self.entries.iter().filter(|(_, entry)| {
            let others_too = entry.finding.as_ref().is_some_and(|finding| !finding.needs_one);
            let promised = matches!(
                entry.stage,
                Stage::Contributing | Stage::Contributed | Stage::Revealing | Stage::Revealed
            );
            (others_too && promised) || entry.restored
        });
        held.map(|(task, _)| *task).collect()
    }

    /// How many are worked on or promised.
    pub(crate) fn in_hand(&self) -> usize {
        self.entries.values().filter(|entry| entry.stage != Stage::Failed).count()
    }

    /// How many contributions that lock a stake may come, or are on their way.
    pub(crate) fn to_be_staked(&self) -> usize {
        let coming = self.entries.values().filter(|entry| {
            let others_too = entry.finding.as_ref().is_some_and(|finding| !finding.needs_one);
            others_too && matches!(entry.stage, Stage::Computed | Stage::Contributing)
        });
        coming.count()
    }

    fn alive(&mut self, life: &Life) -> Option<&mut Entry> {
        self.entries.get_mut(&life.task).filter(|entry| entry.life.number == life.number)
    }

    fn new_life(&mut self, task: TaskId, parent: &CancellationToken) -> Life {
        self.lives += 1;
        Life { task, number: self.lives, over: parent.child_token() }
    }

    /// Makes room by forgetting a failure that was said and never answered.
    fn forget_failed(&mut self) -> bool {
        let failed = self
            .entries
            .iter()
            .find(|(_, entry)| entry.stage == Stage::Failed && entry.finding.is_none())
            .map(|(task, _)| *task);
        failed.is_some_and(|task| self.entries.remove(&task).is_some())
    }
}

#[cfg(test)]
mod tests;
