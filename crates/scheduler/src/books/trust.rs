//! What the books do about trust: whose result is confirmed, who takes part with whom, and what is learnt when a task ends.

use alloy_primitives::{Address, B256, U256, keccak256};
use primitives::{ResultHash, TaskId, UnixSeconds};
use tasks::{Event, Task};

use super::{Books, Effect, Entry, WorkerEntry};
use crate::checks::{Answers, Policy, lot};
use crate::choice::Peer;
use crate::deal::DealSpec;
use crate::plan::WorkerView;
use crate::reputation::{Ledger, Standing};

/// What the books know of trust.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) policy: Policy,
    /// What lots are drawn with; nobody else knows it.
    secret: B256,
    pub(super) ledger: Ledger,
    answers: Answers,
}

impl Trust {
    pub(super) fn new(policy: Policy, secret: B256, ledger: Ledger) -> Self {
        Self { policy, secret, ledger, answers: Answers::default() }
    }
}

impl Books {
    /// How results are checked, a secret to draw lots with, and what is known of workers already.
    pub(crate) fn trusting(mut self, policy: Policy, secret: B256, ledger: Ledger) -> Self {
        self.trust = Trust::new(policy, secret, ledger);
        self
    }

    /// What is known of workers.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.trust.ledger
    }

    /// The same, to ask what has changed.
    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.trust.ledger
    }

    /// How results are checked.
    pub(crate) fn policy(&self) -> Policy {
        self.trust.policy
    }

    /// The workerpool that these books are of.
    pub(crate) fn workerpool(&self) -> Address {
        self.workerpool
    }

    /// A connected worker's score on chain.
    pub(crate) fn score(&self, worker: Address) -> Option<U256> {
        self.workers.get(&worker).map(|entry| entry.score)
    }

    /// Whether nobody is told who works on the task until it has ended: who knows that there are two could know that one is
    /// a check. Told of all tasks that could be checked, it tells nothing.
    pub(crate) fn is_veiled(&self, entry: &Entry) -> bool {
        let open = !entry.task.status().is_final() && entry.task.replicas().next().is_some();
        open && self.is_checkable(&entry.deal)
    }

    /// A worker as the plan sees it, with what is known of it.
    pub(super) fn view<'a>(
        &'a self,
        worker: Address,
        entry: &'a WorkerEntry,
    ) -> Option<WorkerView<'a>> {
        let mut view = entry.view(worker)?;
        (view.standing, view.unreliable) = self.opinion(worker);
        Some(view)
    }

    fn opinion(&self, worker: Address) -> (Standing, u8) {
        let record = self.trust.ledger.get(worker);
        record.map_or_else(
            || (self.trust.policy.standing(&Default::default()), 0),
            |record| (self.trust.policy.standing(record), record.unreliable()),
        )
    }

    /// Before the first worker takes a task that asks for one only: draws whether its result is confirmed by another.
    pub(super) fn draw_check(
        &mut self,
        now: UnixSeconds,
        task: TaskId,
        worker: Address,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get(&task) else { return };
        if entry.task.replicas().next().is_some() || !self.can_be_checked(&entry.deal, worker) {
            return;
        }
        let lot = lot(self.trust.secret, task);
        let known = self.trust.ledger.get(worker);
        let is_due = match known {
            Some(record) => self.trust.policy.is_due(record, lot),
            None => self.trust.policy.is_due(&Default::default(), lot),
        };
        if is_due {
            self.drive(now, task, Event::Check, effects);
        }
    }

    /// A worker has a result: if the same was asked before and the answer was another, a second worker is asked.
    pub(super) fn compare(
        &mut self,
        now: UnixSeconds,
        task: TaskId,
        worker: Address,
        said: ResultHash,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get(&task) else { return };
        let Some(answer) = self.known_answer(entry) else { return };
        if answer != said && self.can_be_checked(&entry.deal, worker) {
            self.note_peer(task, worker);
            self.drive(now, task, Event::Check, effects);
        }
    }

    /// Remembers whom a worker belongs to, where others must not be of the same.
    pub(super) fn note_peer(&mut self, task: TaskId, worker: Address) {
        let Some(entry) = self.entries.get(&task) else { return };
        if entry.task.terms.trust <= U256::ONE && !entry.task.is_checked() {
            return;
        }
        let peer = self.workers.get(&worker).and_then(|it| self.view(worker, it));
        let Some(peer) = peer.map(|view| Peer::of(&view)) else { return };
        if let Some(entry) = self.entries.get_mut(&task) {
            entry.peers.retain(|known| known.worker != worker);
            entry.peers.push(peer);
        }
    }

    /// A task has ended in that block.
    pub(super) fn learn(&mut self, task: TaskId) {
        let Some(entry) = self.entries.get_mut(&task) else { return };
        entry.peers = Vec::new();
        let Some(entry) = self.entries.get(&task) else { return };
        let block = entry.log.last().map_or(0, |logged| logged.block);
        let known = self.known_answer(entry);
        let fresh: Vec<_> = self.trust.ledger.learn_knowing(block, &entry.task, known);
        for (worker, lesson) in fresh {
            if lesson.is_fraud() {
                tracing::warn!(%task, %worker, ?lesson, "a worker is trusted less");
            }
        }
        let agreed = entry.task.replicas().filter(|it| it.hash == entry.task.consensus()).count();
        if let Some(digest) = entry.task.digest().filter(|_| agreed > 1 && entry.deal.repeatable) {
            self.trust.answers.put(question(&entry.deal, &entry.task), digest);
        }
    }

    /// What the right result is, if the same was asked and confirmed before.
    fn known_answer(&self, entry: &Entry) -> Option<ResultHash> {
        let digest = self.trust.answers.get(question(&entry.deal, &entry.task))?;
        Some(verdict::result_hash(entry.task.id, digest))
    }

    /// Whether a result of that deal can be confirmed, and there is somebody else to do it.
    fn can_be_checked(&self, deal: &DealSpec, worker: Address) -> bool {
        let able = |(address, entry): (&Address, &WorkerEntry)| {
            *address != worker
                && !entry.draining
                && self.never(entry, deal).is_none()
                && self.opinion(*address).0 != Standing::Barred
        };
        self.is_checkable(deal) && self.workers.iter().any(able)
    }

    fn is_checkable(&self, deal: &DealSpec) -> bool {
        self.trust.policy != Policy::NEVER
            && deal.repeatable
            && deal.deal.trust <= U256::ONE
            && deal.enclave.is_none()
    }
}

/// What a task asks, apart from its own id: programs see their arguments, their index and how many they are.
fn question(deal: &DealSpec, task: &Task) -> B256 {
    let terms = &deal.deal;
    let mut asked = Vec::with_capacity(200);
    asked.extend_from_slice(terms.app.pointer.as_slice());
    asked.extend_from_slice(terms.dataset.pointer.as_slice());
    for number in [terms.first, terms.size, task.index] {
        asked.extend_from_slice(&number.to_be_bytes::<32>());
    }
    asked.extend_from_slice(terms.params.as_bytes());
    keccak256(asked)
}

#[cfg(test)]
mod tests;
