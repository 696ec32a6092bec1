//! What a task waits for, in words for the person who does.

use alloy_primitives::Address;
use primitives::TaskId;
use tasks::Blame;
use wire::scheduler::Waiting;

use super::spare::Never;
use super::{Books, Entry, WorkerEntry};
use crate::plan::Unfit;
use crate::room::Lack;

/// What keeps a worker from taking a task. The later in this list, the nearer it is to taking it, and the nearest worker's
/// reason is the task's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    Runtime,
    Enclave,
    Price,
    Barred,
    Machine(Lack),
    Leaving,
    Tried,
    Paused(String),
    Resting {
        seconds: u64,
        code: String,
    },
    Room(Lack),
    /// Nothing that does not pass by itself in a moment.
    Busy,
}

impl Books {
    /// What a task waits for, for a person.
    pub(crate) fn waiting_for(&self, task: TaskId) -> Option<Waiting> {
        self.entries.get(&task).map(|entry| self.entry_waits_for(entry))
    }

    /// The same for an entry of these books.
    pub(crate) fn entry_waits_for(&self, entry: &Entry) -> Waiting {
        // Whether it is one worker or two, nobody is told.
        if self.is_veiled(entry)
            && (entry.task.wanted() > 0 || entry.task.replicas().any(tasks::Replica::is_computing))
        {
            let wait = tasks::Wait::Computing(1);
            return Waiting { code: wait.code().to_owned(), text: wait.to_string() };
        }
        let nearest =
            self.workers.iter().map(|(worker, it)| self.obstacle(entry, *worker, it)).max();
        let (code, text) = match nearest {
            _ if entry.task.wanted() == 0 => as_it_goes(entry),
            Some(Obstacle::Busy) => as_it_goes(entry),
            Some(Obstacle::Runtime | Obstacle::Enclave) => ("able-worker", self.able(entry)),
            Some(obstacle) => told(entry, &obstacle),
            None => ("able-worker", format!("{}: none is connected", self.able(entry))),
        };
        Waiting { code: code.to_owned(), text }
    }

    /// What no connected worker is, in words.
    fn able(&self, entry: &Entry) -> String {
        let kind = &entry.deal.app_kind;
        match entry.deal.enclave {
            Some(_) => format!("a worker that can run {kind} in an enclave"),
            None if self.runtime_of(&entry.deal) == "oci" => {
                "a worker that can run container images".to_owned()
            }
            None => format!("a worker that can run {kind}"),
        }
    }

    fn obstacle(&self, entry: &Entry, worker: Address, it: &WorkerEntry) -> Obstacle {
        let now = self.spare.clock;
        match self.never(it, &entry.deal) {
            Some(Never::Runtime) => return Obstacle::Runtime,
            Some(Never::Enclave) => return Obstacle::Enclave,
            Some(Never::Price) => return Obstacle::Price,
            Some(Never::Room(lack)) => return Obstacle::Machine(lack),
            None => {}
        }
        if !entry.task.may_take(worker) {
            // Who still computes it may make the others needless.
            let computes = entry.task.replica(worker).is_some_and(tasks::Replica::is_computing);
            return if computes { Obstacle::Busy } else { Obstacle::Tried };
        }
        if it.draining {
            return Obstacle::Leaving;
        }
        if let Some(reason) = &it.rest.paused {
            return Obstacle::Paused(reason.clone());
        }
        let seconds = it.rest.seconds_left(now);
        if seconds > 0 {
            return Obstacle::Resting { seconds, code: it.rest.code.clone() };
        }
        let view = self.view(worker, it);
        match view.and_then(|view| self.need(now, entry).unfit(&view)) {
            Some(Unfit::Barred) => Obstacle::Barred,
            Some(Unfit::Room(lack @ (Lack::Gpu | Lack::Disk { .. }))) => Obstacle::Room(lack),
            _ => Obstacle::Busy,
        }
    }
}

fn as_it_goes(entry: &Entry) -> (&'static str, String) {
    let wait = entry.task.waiting_for();
    (wait.code(), format!("{wait}{}", failed_before(entry)))
}

fn told(entry: &Entry, obstacle: &Obstacle) -> (&'static str, String) {
    match obstacle {
        Obstacle::Runtime => ("able-worker", "a worker that can run it".to_owned()),
        Obstacle::Enclave => ("able-worker", "a worker with an enclave".to_owned()),
        Obstacle::Price => {
            let price = entry.deal.deal.workerpool.price;
            ("able-worker", format!("a worker that works for {price}"))
        }
        Obstacle::Barred => ("able-worker", "a worker that was not wrong before".to_owned()),
        Obstacle::Machine(lack) => ("able-worker", format!("a worker with {lack}")),
        Obstacle::Leaving => {
            ("able-worker", "a worker: the one that could take it leaves".to_owned())
        }
        Obstacle::Tried => {
            let text = "another worker: each that could take it had its turn".to_owned();
            ("other-worker", format!("{text}{}", failed_before(entry)))
        }
        Obstacle::Paused(reason) => ("paused-worker", format!("a worker that is paused: {reason}")),
        Obstacle::Resting { seconds, code } => {
            let text = format!("a worker that failed ({code}) and is asked again in {seconds} s");
            ("resting-worker", text)
        }
        Obstacle::Room(lack) => ("free-workers", format!("a worker with {lack} free")),
        Obstacle::Busy => as_it_goes(entry),
    }
}

/// Of failures that are nobody's but the workers', and led to another try.
fn failed_before(entry: &Entry) -> String {
    let failures = entry.task.replicas().filter_map(|replica| replica.failure.as_ref());
    let ours: Vec<_> = failures.filter(|failure| failure.blame == Blame::Worker).collect();
    match ours.last() {
        None => String::new(),
        Some(last) => {
            format!(" ({} worker(s) failed at it; {}: {})", ours.len(), last.code, last.message)
        }
    }
}
