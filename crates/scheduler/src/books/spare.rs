//! What workers have to spare: their machine less what their tasks take up, and the times when they take nothing.
//!
//! A worker takes no new task while it drains, while its owner uses the machine, and for a moment after its machine has
//! failed: a machine with a full disk would otherwise swallow one task after the other, because it is always free.

use std::collections::{BTreeMap, HashSet};

use alloy_primitives::Address;
use primitives::{DealId, Nrlc, TaskId, UnixSeconds};
use tasks::{Blame, Event, Failure};
use wire::link::{Capabilities, LogStream};
use wire::market::Machines;
use wire::scheduler::PoolNetwork;

use super::{Books, Effect, Entry, WorkerEntry, cut_end};
use crate::deal::DealSpec;
use crate::plan::Need;
use crate::room::Room;

/// What the books know beyond each worker.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// The latest time that anybody told.
    pub(super) clock: UnixSeconds,
    /// Apps registered as images that a worker found to be images indeed.
    images: HashSet<Address>,
    /// Deals that no connected worker could ever serve, and since when.
    unable: BTreeMap<DealId, UnixSeconds>,
}

/// When a worker takes nothing.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Why its owner's use of the machine keeps it from working; nothing if it does not.
    pub(super) paused: Option<String>,
    /// Failures of its machine in a row.
    failures: u32,
    /// It is left alone before that.
    until: UnixSeconds,
    /// The code of the last of those failures.
    pub(super) code: String,
}

/// What the connected workers can do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abilities {
    /// How many are there to stay.
    pub(crate) workers: usize,
    /// Whether any has a GPU.
    pub(crate) has_gpu: bool,
    /// The least that any of them works for; nothing if there is none.
    pub(crate) price_floor: Option<Nrlc>,
}

impl Abilities {
    /// Whether any of them works for that price; when nobody has come yet, the operator's word is taken for it.
    pub(crate) fn would_do(&self, price: Nrlc) -> bool {
        self.price_floor.is_none_or(|floor| floor <= price)
    }
}

/// How long a deal may be one that no connected worker could ever serve before its tasks are given up: one that could may
/// be on its way back.
const UNABLE_SECONDS: u64 = 120;
/// The longest that a worker is left alone after failures of its machine.
const REST_SECONDS_MAX: u64 = 300;
/// Failures that are the machine's own and would hit the next task too: disk, chain, stake, storage. What is fetched from
/// strangers is not among them, or a stranger could send a whole pool to rest.
const MACHINE_CODES: [&str; 5] = ["GM-4191", "GM-4220", "GM-4223", "GM-4225", "GM-4228"];
/// Images that are remembered to be such.
const IMAGES_MAX: usize = 4_096;
const REASON_BYTES_MAX: usize = 200;
/// How a worker that runs images says so.
const IMAGES: &str = "oci";
/// A program that does not run on the worker's machine because it is an image.
const NO_RUNTIME: &str = "GM-4160";

impl Books {
    /// What the connected workers can do.
    pub(crate) fn abilities(&self) -> Abilities {
        let staying = self.workers.values().filter(|worker| !worker.draining);
        let mut abilities = Abilities::default();
        for worker in staying {
            abilities.workers += 1;
            abilities.has_gpu |= !worker.capabilities.gpus.is_empty();
            let floor = worker.capabilities.price_floor();
            let least = abilities.price_floor.map_or(floor, |known| known.min(floor));
            abilities.price_floor = Some(least);
        }
        abilities
    }

    /// The connected workers, alike ones together, the largest group first.
    pub(crate) fn machines(&self) -> Vec<Machines> {
        let mut groups: BTreeMap<(bool, Option<&str>), u32> = BTreeMap::new();
        for worker in self.workers.values().filter(|worker| !worker.draining) {
            let told = &worker.capabilities;
            let region = told.region.as_deref().filter(|region| Machines::is_region(region));
            *groups.entry((!told.gpus.is_empty(), region)).or_default() += 1;
        }
        let group = |((gpu, region), workers): ((bool, Option<&str>), u32)| Machines {
            workers,
            gpu,
            region: region.map(str::to_owned),
        };
        let mut machines: Vec<_> = groups.into_iter().map(group).collect();
        machines.sort_by(|one, other| other.cmp(one));
        machines.truncate(Machines::GROUPS_MAX);
        machines
    }

    /// How many of the connected workers give that app's containers a network in that category. Those that run no images
    /// are not asked: they do not run the app.
    pub(crate) fn network(&self, app: Address, category: u64) -> PoolNetwork {
        let mut pool = PoolNetwork::default();
        for worker in self.workers.values().filter(|worker| !worker.draining) {
            if !worker.capabilities.runtimes.iter().any(|runtime| runtime == IMAGES) {
                continue;
            }
            pool.workers += 1;
            match &worker.capabilities.network {
                Some(grant) => pool.granting += u32::from(grant.has(app, category)),
                None => pool.silent += 1,
            }
        }
        pool
    }

    /// The task as the plan sees it.
    pub(super) fn need<'a>(&'a self, now: UnixSeconds, entry: &'a Entry) -> Need<'a> {
        let mut need = entry.need(now);
        need.runtime = self.runtime_of(&entry.deal);
        need
    }

    /// What a worker must be able to run for that deal. What is registered as an image may be WebAssembly, until somebody
    /// looked.
    pub(super) fn runtime_of<'a>(&self, deal: &'a DealSpec) -> &'a str {
        let may_be_either = deal.runtime == "docker";
        let is_image = may_be_either && self.spare.images.contains(&deal.deal.app.pointer);
        if is_image { "oci" } else { &deal.runtime }
    }

    /// What keeps a worker from ever serving that deal, whatever becomes of its other tasks.
    pub(super) fn never(&self, worker: &WorkerEntry, deal: &DealSpec) -> Option<Never> {
        let told = &worker.capabilities;
        let runtime = self.runtime_of(deal);
        if !told.runtimes.iter().any(|it| it == runtime) {
            Some(Never::Runtime)
        } else if deal.enclave.is_some_and(|enclave| told.tee != Some(enclave)) {
            Some(Never::Enclave)
        } else if deal.deal.workerpool.price < told.price_floor() {
            Some(Never::Price)
        } else {
            whole(told).lacks(&Room::of_task(deal.deal.tag)).map(Never::Room)
        }
    }

    /// The owner of a worker's machine uses it, or lets go of it.
    pub(super) fn pause(&mut self, worker: Address, reason: Option<String>) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.rest.paused = reason.map(|reason| cut_end(reason, REASON_BYTES_MAX));
        }
    }

    /// The programs at hand at a worker have changed.
    pub(super) fn warmed(&mut self, worker: Address, images: Vec<String>) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.capabilities.images = wire::link::warm(images);
        }
    }

    /// A worker failed at a task: what that says of its machine, and of the program.
    pub(super) fn note_failure(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        task: TaskId,
        failure: &Failure,
    ) {
        if failure.blame != Blame::Worker {
            return;
        }
        if failure.code == NO_RUNTIME
            && self.spare.images.len() < IMAGES_MAX
            && let Some(entry) = self.entries.get(&task)
        {
            self.spare.images.insert(entry.deal.deal.app.pointer);
        }
        if MACHINE_CODES.contains(&failure.code.as_str())
            && let Some(entry) = self.workers.get_mut(&worker)
        {
            entry.rest.failed(now, &failure.code);
        }
    }

    /// A worker did well.
    pub(super) fn note_success(&mut self, worker: Address) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.rest.failures = 0;
            entry.rest.until = UnixSeconds(0);
        }
    }

    /// A piece of what a program printed, from who computes the task.
    pub(super) fn printed(
        &mut self,
        worker: Address,
        task: TaskId,
        stream: LogStream,
        text: String,
        missed: u64,
    ) -> Vec<Effect> {
        let Some(entry) = self.entries.get_mut(&task) else { return Vec::new() };
        if !entry.task.replica(worker).is_some_and(tasks::Replica::is_computing) {
            return Vec::new();
        }
        let is_error = stream == LogStream::Stderr;
        entry.streamed.insert((worker, is_error));
        vec![Effect::Print { task, worker, is_error, text, missed }]
    }

    /// The end of what a program printed, told with its result: all there is of it, if it was not told before.
    pub(super) fn printed_at_last(
        &mut self,
        worker: Address,
        task: TaskId,
        stdout: &str,
        stderr: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(&task) else { return };
        if !entry.task.replica(worker).is_some_and(tasks::Replica::is_computing) {
            return;
        }
        for (text, is_error) in [(stdout, false), (stderr, true)] {
            if !text.is_empty() && entry.streamed.insert((worker, is_error)) {
                let text = text.to_owned();
                effects.push(Effect::Print { task, worker, is_error, text, missed: 0 });
            }
        }
    }

    /// Gives up tasks that nobody here could ever do, once that has lasted.
    pub(super) fn refuse_unservable(&mut self, now: UnixSeconds, effects: &mut Vec<Effect>) {
        self.spare.clock = self.spare.clock.max(now);
        let mut unable = BTreeMap::new();
        for (id, book) in &self.deals {
            let nobody = !self.workers.is_empty()
                && self.workers.values().all(|it| self.never(it, &book.spec).is_some());
            if nobody {
                let since = self.spare.unable.get(id).copied().unwrap_or(now);
                unable.insert(*id, since);
            }
        }
        self.spare.unable = unable;
        let over: HashSet<DealId> = self
            .spare
            .unable
            .iter()
            .filter(|(id, since)| now >= since.saturating_add(self.patience(**id)))
            .map(|(id, _)| *id)
            .collect();
        if over.is_empty() {
            return;
        }
        let wanting = self.wanting.iter().map(|(.., task)| *task);
        let lost: Vec<(TaskId, Failure)> = wanting
            .filter_map(|task| {
                let entry = self.entries.get(&task).filter(|it| over.contains(&it.deal.id))?;
                let told = entry.task.replicas().filter_map(|replica| replica.failure.as_ref());
                let looked = told.filter(|failure| failure.code == NO_RUNTIME).last().cloned();
                let what = || unservable(&self.entry_waits_for(entry).text);
                Some((task, looked.unwrap_or_else(what)))
            })
            .collect();
        for (task, failure) in lost {
            self.drive(now, task, Event::Unservable { failure }, effects);
        }
    }

    /// How long a deal that nobody could serve is kept. What was looked at and found to be an image needs no second look:
    /// whoever bought it wants to know.
    fn patience(&self, deal: DealId) -> u64 {
        let book = self.deals.get(&deal);
        let is_image =
            book.is_some_and(|book| self.spare.images.contains(&book.spec.deal.app.pointer));
        if is_image { 0 } else { UNABLE_SECONDS }
    }
}

/// Why a worker never serves a deal. The later in this list, the nearer it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Never {
    Runtime,
    Enclave,
    Price,
    Room(crate::room::Lack),
}

impl Rest {
    fn failed(&mut self, now: UnixSeconds, code: &str) {
        let seconds = (1 << self.failures.min(10)).min(REST_SECONDS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.until = now.saturating_add(seconds);
        code.clone_into(&mut self.code);
    }

    /// How long it is still left alone.
    pub(super) fn seconds_left(&self, now: UnixSeconds) -> u64 {
        self.until.0.saturating_sub(now.0)
    }
}

impl WorkerEntry {
    /// Whether it takes no new task now.
    pub(super) fn is_off(&self, now: UnixSeconds) -> bool {
        self.draining || self.rest.paused.is_some() || self.rest.seconds_left(now) > 0
    }

    /// What its tasks have left of its machine. Tasks in hand wait for processors and memory, but not for a disk or a GPU:
    /// so many more than can compute at once are taken that no processor ever waits for the next.
    pub(super) fn room(&self) -> Room {
        let whole = whole(&self.capabilities);
        let depth = u64::from(self.capabilities.slots.div_ceil(self.capabilities.cpus.max(1)));
        let deep = Room {
            cpu_millis: whole.cpu_millis.saturating_mul(depth),
            memory_bytes: whole.memory_bytes.saturating_mul(depth),
            ..whole
        };
        deep.without(self.taken)
    }
}

/// All of a worker's machine that it offers. One that says nothing of its disk has enough.
fn whole(told: &Capabilities) -> Room {
    Room {
        cpu_millis: u64::from(told.cpus).saturating_mul(1_000),
        memory_bytes: told.memory_bytes,
        disk_bytes: if told.disk_bytes == 0 { u64::MAX } else { told.disk_bytes },
        gpus: u32::try_from(told.gpus.len()).unwrap_or(u32::MAX),
    }
}

fn unservable(what: &str) -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-8501",
        &format!("the workerpool has no worker that could run it: it waited for {what}"),
        "buy the run again, from a workerpool that has such a worker",
    )
}
