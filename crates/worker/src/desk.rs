//! What a worker does about each thing that its scheduler says.
//!
//! Nothing here blocks the connection: every message starts a job or is answered at once. Jobs end by themselves, by the
//! release of their task, or with the worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{Address, Bytes, Keccak256, U256};
use chain::{Client, Wallet};
use parking_lot::Mutex;
use primitives::{ResultDigest, Tag, TaskId};
use sandbox::{CallFacts, Job, Outcome, Sandbox, env_for};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::link::{EnclaveTask, ToScheduler, ToWorker};
use wire::scheduler::SchedulerClient;

use crate::deals::{Deals, Facts};
use crate::fetch::Fetcher;
use crate::inputs::Inputs;
use crate::journal::Journal;
use crate::link::Voice;
use crate::programs::{Program, Programs};
use crate::space::{Space, remove_file};
use crate::stake::Stake;
use crate::table::{Admission, Assignment, Finding, Life, Printed, Stage, Step, Table};
use crate::tap::Tap;
use crate::trouble::{Trouble, printed_tail};
use crate::vigil::Promises;

/// Everything that jobs share.
pub(crate) struct Desk {
    pub(crate) worker: Address,
    pub(crate) client: Client,
    pub(crate) wallet: Wallet,
    pub(crate) sandbox: Sandbox,
    pub(crate) fetcher: Fetcher,
    pub(crate) space: Space,
    pub(crate) programs: Programs,
    pub(crate) deals: Deals,
    pub(crate) journal: Journal,
    pub(crate) stake: Stake,
    pub(crate) uploads: SchedulerClient,
    pub(crate) table: Mutex<Table>,
    /// Locked after the table, if both are.
    pub(crate) promises: Mutex<Promises>,
    pub(crate) voice: Voice,
    /// Tasks that may come to run at once.
    pub(crate) slots: Semaphore,
    /// Memory for programs, in MiB.
    pub(crate) memory: Semaphore,
    /// Of the memory, what there is in all.
    pub(crate) memory_mib: u32,
    /// Programs at hand, the latest last, by the address that they are registered with.
    pub(crate) warm: Mutex<Vec<String>>,
    /// Its owner uses the machine.
    pub(crate) paused: AtomicBool,
    pub(crate) lie: bool,
    pub(crate) draining: AtomicBool,
    /// Something was finished; one who waits for all to be finished looks again.
    pub(crate) finished: Notify,
    /// The worker ends: computations are given up.
    pub(crate) stop: CancellationToken,
    pub(crate) jobs: TaskTracker,
}

/// What a run needs, fetched.
pub(crate) struct Ready {
    pub(crate) facts: Arc<Facts>,
    pub(crate) program: Arc<Program>,
    /// None when they are not the deal's but the run's own.
    pub(crate) inputs: Option<Arc<Inputs>>,
}

impl Desk {
    /// Does what the scheduler says.
    pub(crate) fn hear(self: &Arc<Self>, message: ToWorker) {
        match message {
            ToWorker::Assign { task_id, deal_id, index, tee } => {
                self.assign(task_id, Assignment { deal: deal_id, index }, tee);
            }
            ToWorker::Contribute { task_id, authorization, enclave_challenge } => {
                self.authorised(task_id, authorization, enclave_challenge);
            }
            ToWorker::Settle { deal_id, task_ids, authorization } => {
                self.settle_together(deal_id, task_ids, authorization);
            }
            ToWorker::Reveal { task_id } => self.consensus(task_id),
            ToWorker::Release { task_id } => self.release(task_id),
        }
    }

    fn assign(self: &Arc<Self>, task: TaskId, assignment: Assignment, tee: Option<EnclaveTask>) {
        let why = if self.draining.load(Ordering::Relaxed) {
            Some("it is draining")
        } else if self.paused.load(Ordering::Relaxed) {
            Some("its owner uses the machine")
        } else {
            None
        };
        if let Some(why) = why.filter(|_| !self.table.lock().knows(task)) {
            return self.return_untouched(task, why);
        }
        let admission = self.table.lock().admit(task, &self.stop);
        match admission {
            Admission::New(life) => {
                let desk = Arc::clone(self);
                self.jobs.spawn(async move { desk.compute(life, assignment, tee).await });
            }
            Admission::Known(words) => self.repeat(words),
            Admission::Full => self.decline(task, &Trouble::Busy("it has too many in hand")),
        }
    }

    fn authorised(self: &Arc<Self>, task: TaskId, authorization: Bytes, challenge: Address) {
        let answered = self.table.lock().challenge(task);
        if answered.is_some_and(|answered| answered != challenge) {
            let what = "an enclave that answers this challenge".to_owned();
            return self.decline(task, &Trouble::Demand { what });
        }
        let step = self.table.lock().contribute(task);
        match step {
            Step::Go(life, finding) => {
                let desk = Arc::clone(self);
                self.jobs.spawn(async move {
                    if let Err(trouble) = desk.contribute(&life, &finding, authorization).await {
                        desk.fail(&life, &trouble).await;
                    }
                });
            }
            Step::Known(words) => self.repeat(words),
            Step::NotHeld => self.decline(task, &Trouble::NotHeld),
        }
    }

    fn consensus(self: &Arc<Self>, task: TaskId) {
        let step = self.table.lock().reveal(task);
        match step {
            Step::Go(life, finding) => self.show(life, finding),
            Step::Known(words) => self.repeat(words),
            Step::NotHeld => {
                let desk = Arc::clone(self);
                self.jobs.spawn(async move { desk.take_up(task).await });
            }
        }
    }

    /// Takes up again what was let go of and is promised all the same. A scheduler lets go of a task when the chain takes
    /// blocks back; a contribution that was among them, or on its way, may be on the chain once more.
    async fn take_up(self: &Arc<Self>, task: TaskId) {
        let is_promised = self.promises.lock().knows(task);
        let noted = if is_promised { self.journal.find(task).await } else { None };
        let is_there = match &noted {
            Some(finding) => tokio::fs::try_exists(&finding.archive).await.unwrap_or(false),
            None => false,
        };
        let Some(finding) = noted.filter(|finding| is_there && !finding.needs_one) else {
            return self.decline(task, &Trouble::NotHeld);
        };
        {
            let mut table = self.table.lock();
            if !table.knows(task) {
                table.restore(task, finding, Stage::Contributed, &self.stop);
            }
        }
        // Assigned anew meanwhile, it is still being computed: then it is asked for again.
        let step = self.table.lock().reveal(task);
        if let Step::Go(life, finding) = step {
            self.show(life, finding);
        }
    }

    fn show(self: &Arc<Self>, life: Life, finding: Arc<Finding>) {
        let desk = Arc::clone(self);
        self.jobs.spawn(async move {
            if let Err(trouble) = desk.reveal(&life, &finding).await {
                desk.fail(&life, &trouble).await;
            }
        });
    }

    pub(crate) fn release(self: &Arc<Self>, task: TaskId) {
        let Some(released) = self.table.lock().release(task) else { return };
        self.finished.notify_waiters();
        let Some(finding) = released.finding else { return };
        let desk = Arc::clone(self);
        self.jobs.spawn(async move { desk.let_go(task, &finding).await });
    }

    /// Gives a task back that was not begun.
    fn return_untouched(self: &Arc<Self>, task: TaskId, why: &'static str) {
        if !self.voice.is_understood() {
            return self.decline(task, &Trouble::Busy(why));
        }
        self.repeat(vec![ToScheduler::Returned { task_id: task, reason: why.to_owned() }]);
    }

    /// Hands back what can be: see [`Table::give_back`].
    pub(crate) async fn hand_back(&self, keeps_results: bool, why: &'static str) {
        let given = self.table.lock().give_back(keeps_results);
        if given.is_empty() {
            return;
        }
        let count = given.len();
        tracing::info!(worker = %self.worker, count, why, "tasks are handed back");
        for (task, finding) in given {
            let word = if self.voice.is_understood() {
                ToScheduler::Returned { task_id: task, reason: why.to_owned() }
            } else {
                ToScheduler::Failed { task_id: task, failure: Trouble::Busy(why).report() }
            };
            self.voice.say(&word).await;
            if let Some(finding) = finding {
                remove_file(&finding.archive).await;
            }
        }
        self.finished.notify_waiters();
    }

    /// Says no without taking the task in.
    fn decline(self: &Arc<Self>, task: TaskId, trouble: &Trouble) {
        tracing::info!(worker = %self.worker, %task, %trouble, "declined");
        self.repeat(vec![ToScheduler::Failed { task_id: task, failure: trouble.report() }]);
    }

    pub(crate) fn repeat(self: &Arc<Self>, words: Vec<ToScheduler>) {
        if words.is_empty() {
            return;
        }
        let desk = Arc::clone(self);
        self.jobs.spawn(async move {
            for word in words {
                desk.voice.say(&word).await;
            }
        });
    }

    /// Notes that the task failed, and says so.
    pub(crate) async fn fail(&self, life: &Life, trouble: &Trouble) {
        tracing::info!(worker = %self.worker, task = %life.task, code = trouble.code(), %trouble, "task failed");
        let word = ToScheduler::Failed { task_id: life.task, failure: trouble.report() };
        self.reached(life, Stage::Failed, word).await;
        self.finished.notify_waiters();
    }

    /// Notes how far the task came, and says so.
    pub(crate) async fn reached(&self, life: &Life, stage: Stage, word: ToScheduler) {
        let wanted = self.table.lock().reached(life, stage, word.clone());
        if wanted {
            self.voice.say(&word).await;
        }
    }

    async fn compute(&self, life: Life, assignment: Assignment, tee: Option<EnclaveTask>) {
        let found = match tee {
            Some(tee) => Box::pin(self.run_in_enclave(&life, assignment, &tee)).await,
            None => self.run(&life, assignment).await,
        };
        match found {
            Ok(Some(finding)) => {
                let archive = finding.archive.clone();
                let wanted = self.table.lock().computed(&life, finding);
                match wanted {
                    Some(word) => self.voice.say(&word).await,
                    None => remove_file(&archive).await,
                }
            }
            // Nobody wants it any more.
            Ok(None) => {}
            Err(trouble) => self.fail(&life, &trouble).await,
        }
    }

    /// From the assignment to the finding; nothing if the task was released meanwhile.
    async fn run(&self, life: &Life, assignment: Assignment) -> Result<Option<Finding>, Trouble> {
        let ready = life.over.run_until_cancelled(self.prepare(life.task, assignment));
        let Some(ready) = ready.await else { return Ok(None) };
        let ready = ready?;
        let Some(turn) = life.over.run_until_cancelled(self.turn(&ready.facts)).await else {
            return Ok(None);
        };
        let _turn = turn?;
        let archive = self.space.new_result(life.task);
        let job = job(life.task, assignment, &ready, archive.clone());
        let tap = Tap::new(life.task);
        let run = self.sandbox.run_aloud(job, tap.ear(), life.over.clone());
        let outcome = tap.tell_while(&self.voice, run).await;
        if life.over.is_cancelled() {
            remove_file(&archive).await;
            return Ok(None);
        }
        let outcome = outcome?;
        match self.finding(assignment, &ready.facts, outcome) {
            Ok(finding) => Ok(Some(finding)),
            Err(trouble) => {
                remove_file(&archive).await;
                Err(trouble)
            }
        }
    }

    async fn prepare(&self, task: TaskId, assignment: Assignment) -> Result<Ready, Trouble> {
        let facts = self.facts(task, assignment, false).await?;
        let (program, inputs) = futures::try_join!(
            self.program(&facts),
            facts.inputs.get(&facts, &self.space, &self.fetcher),
        )?;
        Ok(Ready { facts, program, inputs: Some(inputs) })
    }

    /// Without inputs: those of a confidential task are the enclave's.
    pub(crate) async fn prepare_program(
        &self,
        task: TaskId,
        assignment: Assignment,
    ) -> Result<Ready, Trouble> {
        let facts = self.facts(task, assignment, true).await?;
        let program = self.program(&facts).await?;
        Ok(Ready { facts, program, inputs: None })
    }

    /// Waits for a turn to run, and for the memory that it takes.
    pub(crate) async fn turn(
        &self,
        facts: &Facts,
    ) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), Trouble> {
        let mib = facts.limits.memory_bytes.div_ceil(1 << 20);
        let mib = u32::try_from(mib).unwrap_or(u32::MAX);
        if mib > self.memory_mib {
            let what = format!("{mib} MiB of memory; it has {}", self.memory_mib);
            return Err(Trouble::Lacks { what });
        }
        let closed = |_| Trouble::Busy("it ends");
        let slot = self.slots.acquire().await.map_err(closed)?;
        let memory = self.memory.acquire_many(mib).await.map_err(closed)?;
        Ok((slot, memory))
    }

    async fn program(&self, facts: &Facts) -> Result<Arc<Program>, Trouble> {
        let program = self.programs.get(facts).await?;
        self.sandbox.check(program.kind())?;
        self.note_warm(&facts.program.address);
        Ok(program)
    }

    /// Remembers that a program is at hand, and says so if that is news.
    fn note_warm(&self, address: &str) {
        if address.len() > wire::link::TEXT_BYTES_MAX {
            return;
        }
        let images = {
            let mut warm = self.warm.lock();
            if let Some(place) = warm.iter().position(|it| it == address) {
                let known = warm.remove(place);
                warm.push(known);
                return;
            }
            if warm.len() >= wire::link::IMAGES_MAX {
                warm.remove(0);
            }
            warm.push(address.to_owned());
            warm.clone()
        };
        self.voice.mention(&ToScheduler::Warm { images });
    }

    async fn facts(
        &self,
        task: TaskId,
        assignment: Assignment,
        confidential: bool,
    ) -> Result<Arc<Facts>, Trouble> {
        let facts = self.deals.facts(assignment.deal).await?;
        facts.check_task(task, assignment.index)?;
        if facts.is_confidential() != confidential {
            let wrong = "a task runs in an enclave if and only if its deal demands one";
            return Err(Trouble::Assignment(wrong.to_owned()));
        }
        Ok(facts)
    }

    pub(crate) fn finding(
        &self,
        assignment: Assignment,
        facts: &Facts,
        outcome: Outcome,
    ) -> Result<Finding, Trouble> {
        let callback = facts.deal.callback;
        // Without a callback nobody receives the data, and the chain takes none.
        let callback_data = match outcome.callback_data {
            _ if callback == Address::ZERO => Bytes::new(),
            Some(data) if !data.is_empty() => data,
            _ => return Err(Trouble::NoCallbackData),
        };
        Ok(Finding {
            assignment,
            digest: if self.lie { wrong(outcome.digest, self.worker) } else { outcome.digest },
            archive: outcome.archive,
            callback,
            callback_data,
            needs_one: facts.needs_one(),
            stake: facts.deal.worker_stake,
            printed: Printed {
                stdout_tail: printed_tail(&outcome.stdout),
                stderr_tail: printed_tail(&outcome.stderr),
            },
            enclave: None,
        })
    }
}

pub(crate) fn job(task: TaskId, assignment: Assignment, ready: &Ready, archive: PathBuf) -> Job {
    let Ready { facts, program, inputs } = ready;
    let call = CallFacts {
        task,
        deal: assignment.deal,
        index: U256::from(assignment.index),
        bot_first: facts.deal.first,
        bot_size: facts.deal.size,
        dataset: facts.deal.dataset.pointer,
        input_names: inputs.as_ref().map(|inputs| inputs.names().to_vec()).unwrap_or_default(),
    };
    Job {
        kind: program.kind(),
        program: program.path().to_owned(),
        pin: program.pin(&facts.program),
        args: facts.args.clone(),
        env: env_for(&call),
        inputs: inputs.as_ref().map(|inputs| inputs.dir().to_owned()).unwrap_or_default(),
        archive,
        seed: task.0,
        clock: facts.deal.start,
        limits: facts.limits.clone(),
        gpus: u32::from(facts.deal.tag.contains(Tag::GPU)),
    }
}

/// A digest that no honest worker finds, another for each liar.
fn wrong(digest: ResultDigest, worker: Address) -> ResultDigest {
    let mut hash = Keccak256::new();
    hash.update(digest.0);
    hash.update(worker);
    ResultDigest(hash.finalize())
}
