//! The machine: what it remembers, its one writer, and what can be asked of it.
//!
//! **Layout:** `note` what each event means · `votes` what the votes amount to · `next` what follows.

mod next;
mod note;
mod votes;

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use primitives::{DealId, ResultDigest, ResultHash, TaskId, UnixSeconds};
use verdict::late::Decision;

use crate::{
    Action, Blame, Call, Event, Failure, Limits, Replica, ReplicaState, Terms, Upload, Wait,
};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Known from its deal, not initialised on chain. Workers may compute already.
    Received,
    /// Takes contributions.
    Active,
    /// There is a consensus; winners reveal and upload.
    Revealing,
    /// The scheduler has asked the chain to finish it.
    Finalizing,
    /// There will be no result, unless a contribution that is on its way still wins. Claimed after the final deadline.
    Doomed,
    /// Done and paid. Final.
    Completed,
    /// Claimed and refunded. Final.
    Failed,
}

impl Status {
    /// Whether nothing can change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// Whether a lone worker's result is confirmed by another's before it is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// No, or not any more.
    None,
    /// Yes; there is no such agreement yet.
    Open,
    /// It was.
    Passed,
}

impl Check {
    /// Whoever is let in was confirmed, if that was awaited.
    fn ended(self) -> Self {
        if self == Self::Open { Self::Passed } else { self }
    }
}

/// The units of time that winners have to reveal.
const REVEAL_RATIO: u64 = 2;

/// One task as its scheduler remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its deal.
    pub deal: DealId,
    /// Its index, counted in the request order.
    pub index: U256,
    /// What the deal says.
    pub terms: Terms,
    limits: Limits,
    status: Status,
    initialized: bool,
    /// Boxed: a map makes room for eleven at once, and most tasks have one.
    replicas: BTreeMap<Address, Box<Replica>>,
    /// Whether it goes on by itself although it might have been settled with others.
    single: bool,
    /// How often it was told to be settled with others.
    settlements: u32,
    check: Check,
    /// The key that its enclave signs with.
    challenge: Option<Address>,
    /// Why there is no such key yet.
    no_challenge: Option<Failure>,
    consensus: Option<(ResultHash, UnixSeconds)>,
    digest: Option<ResultDigest>,
    failure: Option<Failure>,
    result: Option<(Address, Upload)>,
    /// The transaction under way and when it may be sent again.
    sent: Option<(Call, UnixSeconds)>,
    attempts: u32,
    tries: u32,
    losses: u32,
    /// Counted whenever something happens, since it is asked for far more often.
    wanted: usize,
    history: Vec<(Status, UnixSeconds)>,
}

impl Task {
    /// A task nobody has looked at. The first event is [`Event::Noticed`].
    pub fn new(id: TaskId, deal: DealId, index: U256, terms: Terms, limits: Limits) -> Self {
        let mut task = Self {
            id,
            deal,
            index,
            terms,
            limits,
            status: Status::Received,
            initialized: false,
            replicas: BTreeMap::new(),
            single: false,
            settlements: 0,
            check: Check::None,
            challenge: None,
            no_challenge: None,
            consensus: None,
            digest: None,
            failure: None,
            result: None,
            sent: None,
            attempts: 0,
            tries: 0,
            losses: 0,
            wanted: 0,
            history: Vec::new(),
        };
        task.wanted = task.lacking();
        task
    }

    /// Takes note of an event and says what follows. `now` is the chain's time, as far as known.
    pub fn apply(&mut self, now: UnixSeconds, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.status.is_final() {
            return actions;
        }
        // News that arrives late still counts, so time is looked at afterwards; but nobody new starts before the late
        // are counted out.
        if matches!(event, Event::Taken { .. }) {
            self.expire(now, &mut actions);
        }
        let is_tick = event == Event::Tick;
        self.note(now, event, &mut actions);
        self.expire(now, &mut actions);
        self.advance(now, &mut actions);
        // Most ticks change nothing, and there are many.
        if !is_tick || !actions.is_empty() {
            self.wanted = self.lacking();
        }
        debug_assert_eq!(self.wanted, self.lacking(), "what is wanted changed unnoticed");
        actions
    }

    /// Takes note of an event from the past, without acting on it: for catching up. Once caught up, [`Event::Noticed`]
    /// brings forth whatever is to be done.
    pub fn record(&mut self, then: UnixSeconds, event: Event) {
        if !self.status.is_final() {
            self.note(then, event, &mut Vec::new());
            self.wanted = self.lacking();
        }
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// How it came there, oldest first.
    pub fn history(&self) -> &[(Status, UnixSeconds)] {
        &self.history
    }

    /// Whether it takes contributions or did.
    pub fn is_initialized(&self) -> bool {
        self.initialized
    }

    /// Who takes part or took part.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values().map(Box::as_ref)
    }

    /// One worker's part.
    pub fn replica(&self, worker: Address) -> Option<&Replica> {
        self.replicas.get(&worker).map(Box::as_ref)
    }

    /// The key that its enclave signs with; zero for a task without enclave, or before it is known.
    pub fn challenge(&self) -> Address {
        self.challenge.unwrap_or_default()
    }

    /// The worker that may settle it now, together with others of its deal.
    pub fn ripe(&self) -> Option<Address> {
        if self.status != Status::Received || !self.is_batched() {
            return None;
        }
        match self.decide() {
            Decision::Authorize { order, .. } => order.first().copied(),
            Decision::NeedMore(_) | Decision::Hopeless => None,
        }
    }

    /// The result that won.
    pub fn consensus(&self) -> Option<ResultHash> {
        self.consensus.map(|(hash, _)| hash)
    }

    /// What was revealed.
    pub fn digest(&self) -> Option<ResultDigest> {
        self.digest
    }

    /// Until when winners may reveal.
    pub fn reveal_deadline(&self) -> Option<UnixSeconds> {
        let window = self.terms.run_seconds.saturating_mul(REVEAL_RATIO);
        self.consensus.map(|(_, since)| since.saturating_add(window))
    }

    /// Why there will be no result.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whose upload the result is, and where.
    pub fn result(&self) -> Option<(Address, &Upload)> {
        self.result.as_ref().map(|(worker, upload)| (*worker, upload))
    }

    /// Workers that announced something other than what won and were not let in.
    pub fn dissent(&self) -> Vec<Address> {
        let Some(winner) = self.consensus() else { return Vec::new() };
        let differs = |replica: &&Replica| {
            !replica.is_on_chain() && replica.hash.is_some_and(|hash| hash != winner)
        };
        self.replicas().filter(differs).map(|replica| replica.worker).collect()
    }

    /// How many more workers should compute it now, if they are fresh ones; heavier ones may be fewer: see
    /// [`quorum`](Self::quorum).
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether its result is or was to be confirmed by a second worker, although the deal asks for one only.
    pub fn is_checked(&self) -> bool {
        self.check != Check::None
    }

    /// Whether that confirmation is still awaited.
    pub fn awaits_check(&self) -> bool {
        self.check == Check::Open
    }

    /// Whether this worker may compute it: not if it has a result, found the program broken, or tried too often of late. One
    /// that was let in and then lost what it had may: it contributes once at most, and the permission is the same.
    pub fn may_take(&self, worker: Address) -> bool {
        let Some(replica) = self.replicas.get(&worker) else {
            return self.replicas.len() < self.limits.replicas_max;
        };
        let hopeless = replica.failure.as_ref().is_some_and(|failure| failure.blame == Blame::App);
        replica.is_idle() && !hopeless && replica.tries < self.limits.tries_per_worker_max
    }

    /// What it waits for.
    pub fn waiting_for(&self) -> Wait {
        let count = |state| self.replicas().filter(|replica| replica.state == state).count();
        match self.status {
            Status::Received | Status::Active if self.lacks_challenge() => {
                if self.initialized {
                    let trouble = self.no_challenge.as_ref().map(|failure| failure.message.clone());
                    Wait::Challenge { trouble }
                } else {
                    Wait::Initialisation
                }
            }
            Status::Received | Status::Active => {
                match (self.wanted(), count(ReplicaState::Assigned)) {
                    (0, 0) if self.initialized => Wait::Contributions(count(ReplicaState::Granted)),
                    (0, 0) if self.is_batched() => Wait::Settlement,
                    (0, 0) => Wait::Initialisation,
                    (0, computing) => Wait::Computing(computing),
                    (wanted, computing) => Wait::Workers { wanted, computing },
                }
            }
            Status::Revealing => Wait::Reveals(count(ReplicaState::Contributed)),
            Status::Finalizing => Wait::Finalisation,
            Status::Doomed => Wait::Refund { at: self.terms.final_deadline },
            Status::Completed | Status::Failed => Wait::Nothing,
        }
    }

    /// Whether workers may still take it.
    fn is_open(&self) -> bool {
        matches!(self.status, Status::Received | Status::Active)
    }

    /// Whether it waits to be settled together with others, rather than to be initialised by itself.
    fn is_batched(&self) -> bool {
        self.terms.batch && !self.single
    }

    /// Whether nobody can compute it because its enclave has no key yet.
    fn lacks_challenge(&self) -> bool {
        self.terms.enclave && self.challenge.is_none()
    }

    fn enter(&mut self, status: Status, now: UnixSeconds) {
        /// A task that is reopened for ever must not fill the memory.
        const HISTORY_MAX: usize = 64;
        if self.status != status {
            self.status = status;
            if self.history.len() < HISTORY_MAX {
                self.history.push((status, now));
            }
        }
    }
}

#[cfg(test)]
mod tests;
