//! What each event means to a task. Nothing is decided here but what the event itself decides.

use alloy_primitives::{Address, U256};
use primitives::{ResultDigest, ResultHash, UnixSeconds};
use verdict::FRESH_WEIGHT;

use super::{Check, Status, Task};
use crate::{Action, Blame, Call, Event, Failure, Limits, Replica, ReplicaState, Report, Upload};

/// How often a task is settled together with others; then it goes on by itself.
const SETTLEMENTS_MAX: u32 = 2;

impl Task {
    pub(super) fn note(&mut self, now: UnixSeconds, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Noticed => {
                if self.history.is_empty() {
                    self.history.push((self.status, now));
                }
            }
            Event::Tick => self.doubt_weights(),
            Event::Taken { worker, weight } => self.take(now, worker, weight, actions),
            Event::Computed { worker, hash } => self.computed(now, worker, hash),
            Event::Failed { worker, failure } => self.drop_out(now, worker, Some(failure)),
            Event::Lost { worker } => self.drop_out(now, worker, None),
            Event::Returned { worker } => self.give_back(now, worker),
            Event::Unservable { failure } => self.unservable(now, failure, actions),
            Event::Back { worker } => self.back(now, worker),
            Event::Check => self.begin_check(),
            Event::Unchecked => {
                if self.check == Check::Open {
                    self.check = Check::None;
                }
            }
            Event::Single => self.single = true,
            Event::Settling { worker } => self.settling(now, worker),
            Event::Unsettled { worker } => self.unsettled(now, worker),
            Event::Challenged { challenge } => self.challenged(challenge),
            Event::Unchallenged { failure, is_final } => {
                self.unchallenged(now, failure, is_final, actions);
            }
            Event::Uploaded { worker, location, callback_data } => {
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && replica.counts()
                {
                    replica.upload = Some(Upload { location, callback_data });
                }
            }
            Event::Initialized => self.began(now),
            Event::Contributed { worker, hash, weight } => {
                self.contributed(now, worker, hash, weight);
            }
            Event::Consensus { hash, at } => self.agreed(now, hash, at, actions),
            Event::Revealed { worker, digest } => self.revealed(now, worker, digest),
            Event::Reopened => self.reopened(now),
            Event::Finalized => {
                self.failure = None;
                self.end(now, Status::Completed, Report::Completed, actions);
            }
            Event::Claimed => self.end(now, Status::Failed, Report::Failed, actions),
            Event::Refused { call } => self.refused(now, call),
        }
    }

    /// A lost worker that is found again may have gone on computing; if it was let in, it may never have heard so, and
    /// letting it in again is the same permission.
    fn computed(&mut self, now: UnixSeconds, worker: Address, hash: ResultHash) {
        let Some(replica) = self.replicas.get_mut(&worker) else { return };
        replica.equivocated |= replica.hash.is_some_and(|said| said != hash);
        if matches!(replica.state, ReplicaState::Assigned | ReplicaState::Lost) {
            replica.granted = false;
            replica.hash = Some(hash);
            replica.enter(ReplicaState::Computed, now);
        }
    }

    fn unservable(&mut self, now: UnixSeconds, failure: Failure, actions: &mut Vec<Action>) {
        let begun = |it: &Replica| it.is_computing() || it.hash.is_some();
        if self.is_open() && !self.replicas().any(begun) {
            self.doom(now, failure, actions);
        }
    }

    /// Whoever still has to reveal or to upload is asked at once rather than when the last request has aged.
    fn back(&mut self, now: UnixSeconds, worker: Address) {
        if let Some(replica) = self.replicas.get_mut(&worker)
            && replica.counts()
            && replica.upload.is_none()
            && replica.asked.is_some_and(|asked| asked < now)
        {
            replica.asked = None;
        }
    }

    fn settling(&mut self, now: UnixSeconds, worker: Address) {
        if self.ripe() == Some(worker)
            && let Some(replica) = self.replicas.get_mut(&worker)
        {
            self.settlements += 1;
            self.check = self.check.ended();
            replica.granted = true;
            replica.enter(ReplicaState::Granted, now);
        }
    }

    fn unsettled(&mut self, now: UnixSeconds, worker: Address) {
        if let Some(replica) = self.replicas.get_mut(&worker)
            && replica.state == ReplicaState::Granted
            && self.settlements > 0
        {
            replica.granted = false;
            replica.enter(ReplicaState::Computed, now);
            self.single |= self.settlements >= SETTLEMENTS_MAX;
        }
    }

    fn challenged(&mut self, challenge: Address) {
        self.settled(Call::Challenge);
        if self.terms.enclave && !challenge.is_zero() {
            self.challenge = Some(challenge);
            self.no_challenge = None;
        }
    }

    fn unchallenged(
        &mut self,
        now: UnixSeconds,
        failure: Failure,
        is_final: bool,
        actions: &mut Vec<Action>,
    ) {
        if self.is_open() && self.lacks_challenge() {
            self.no_challenge = Some(failure.clone());
            self.postpone(Call::Challenge, now);
            if is_final {
                self.doom(now, failure, actions);
            }
        }
    }

    fn began(&mut self, now: UnixSeconds) {
        self.initialized = true;
        self.settled(Call::Initialize);
        if self.status == Status::Received {
            self.enter(Status::Active, now);
        }
    }

    fn revealed(&mut self, now: UnixSeconds, worker: Address, digest: ResultDigest) {
        self.digest = Some(digest);
        if let Some(replica) = self.replicas.get_mut(&worker)
            && replica.state == ReplicaState::Contributed
        {
            replica.enter(ReplicaState::Revealed, now);
        }
    }

    fn refused(&mut self, now: UnixSeconds, call: Call) {
        let was_sent = self.postpone(call, now);
        if was_sent && call == Call::Finalize && self.status == Status::Finalizing {
            self.enter(Status::Revealing, now);
        }
    }

    /// The contribution that makes a consensus is followed by it in the same block. Where there should be one and is none,
    /// somebody weighs less on the chain than was thought: nobody is taken for more than a fresh worker then.
    fn doubt_weights(&mut self) {
        let is_pending = |replica: &Replica| replica.state == ReplicaState::Granted;
        // Most tasks have nothing on chain yet, and counting takes longer than looking.
        let nothing_counts = !self.replicas().any(Replica::counts);
        if self.status != Status::Active || nothing_counts || self.replicas().any(is_pending) {
            return;
        }
        if self.count().is_some_and(|count| matches!(count.ballot.consensus(), Ok(Some(_)))) {
            self.replicas.values_mut().for_each(|replica| replica.weight = FRESH_WEIGHT);
            self.wanted = self.lacking();
        }
    }

    fn take(&mut self, now: UnixSeconds, worker: Address, weight: U256, actions: &mut Vec<Action>) {
        if self.lacking() == 0 || !self.may_take(worker) {
            return;
        }
        let fresh = || Replica::new(worker, weight, ReplicaState::Assigned, now);
        let replica = self.replicas.entry(worker).or_insert_with(|| Box::new(fresh()));
        replica.enter(ReplicaState::Assigned, now);
        replica.weight = weight;
        replica.hash = None;
        replica.tries += 1;
        actions.push(Action::Assign { worker });
    }

    /// A worker that has nothing on chain failed or is gone. What is on chain stays and counts.
    fn drop_out(&mut self, now: UnixSeconds, worker: Address, failure: Option<Failure>) {
        let Some(replica) = self.replicas.get_mut(&worker) else { return };
        if !replica.is_at_work() {
            return;
        }
        let state = match &failure {
            Some(failure) => {
                self.tries += u32::from(failure.blame == Blame::Worker);
                ReplicaState::Failed
            }
            None => {
                self.losses += 1;
                ReplicaState::Lost
            }
        };
        replica.hash = None;
        // Nobody else's contribution depends on a lone worker's.
        replica.granted &= self.terms.trust > U256::ONE;
        replica.failure = failure;
        replica.enter(state, now);
    }

    /// A worker hands over to another: that counts as a try of neither, unless it happens all the time.
    fn give_back(&mut self, now: UnixSeconds, worker: Address) {
        const RETURNS_MAX: u32 = 8;
        let Some(replica) = self.replicas.get_mut(&worker) else { return };
        if !matches!(replica.state, ReplicaState::Assigned | ReplicaState::Computed) {
            return;
        }
        replica.returns = replica.returns.saturating_add(1);
        if replica.returns <= RETURNS_MAX {
            replica.tries = replica.tries.saturating_sub(1);
        } else {
            self.tries += 1;
        }
        replica.hash = None;
        replica.enter(ReplicaState::Released, now);
    }

    fn contributed(
        &mut self,
        now: UnixSeconds,
        worker: Address,
        hash: ResultHash,
        weight: Option<U256>,
    ) {
        let unknown =
            || Replica::new(worker, weight.unwrap_or(FRESH_WEIGHT), ReplicaState::Contributed, now);
        let replica = self.replicas.entry(worker).or_insert_with(|| Box::new(unknown()));
        replica.granted = true;
        if !replica.is_on_chain() {
            replica.enter(ReplicaState::Contributed, now);
        }
        if replica.counts() {
            replica.equivocated |= replica.hash.is_some_and(|said| said != hash);
            replica.hash = Some(hash);
        }
    }

    fn agreed(
        &mut self,
        now: UnixSeconds,
        hash: ResultHash,
        at: UnixSeconds,
        actions: &mut Vec<Action>,
    ) {
        let late = now >= self.terms.final_deadline;
        if late || matches!(self.status, Status::Revealing | Status::Finalizing) {
            return;
        }
        self.initialized = true;
        self.consensus = Some((hash, at));
        self.failure = None;
        self.enter(Status::Revealing, now);
        self.release(now, actions, Replica::is_computing);
    }

    fn reopened(&mut self, now: UnixSeconds) {
        let Some((hash, _)) = self.consensus.take() else { return };
        self.digest = None;
        self.settled(Call::Reopen);
        for replica in self.replicas.values_mut() {
            if replica.counts() && replica.hash == Some(hash) {
                replica.enter(ReplicaState::Rejected, now);
                replica.upload = None;
            }
        }
        self.enter(Status::Active, now);
    }

    /// Whom time has run out for.
    pub(super) fn expire(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        let run = self.terms.run_seconds.saturating_add(self.limits.run_grace_seconds);
        let settling = self.status == Status::Received;
        let grant = if settling { self.limits.settle_seconds } else { self.limits.grant_seconds };
        let late: Vec<_> = self
            .replicas
            .values()
            .filter(|replica| match replica.state {
                ReplicaState::Assigned => now > replica.since.saturating_add(run),
                ReplicaState::Granted => now > replica.since.saturating_add(grant),
                _ => false,
            })
            .map(|replica| replica.worker)
            .collect();
        for worker in late {
            self.drop_out(now, worker, None);
            actions.push(Action::Release { worker });
        }
        self.forgive(now);
        self.expire_check(now);
    }

    /// Who has left it to others for a while may try once more.
    fn forgive(&mut self, now: UnixSeconds) {
        let Limits { tries_per_worker_max, rest_seconds, .. } = self.limits;
        for replica in self.replicas.values_mut() {
            let rested = now >= replica.since.saturating_add(rest_seconds);
            if replica.is_idle() && replica.tries >= tries_per_worker_max && rested {
                replica.tries = tries_per_worker_max.saturating_sub(1);
            }
        }
    }

    /// Begins a check, as long as nobody is let in. In an enclave the enclave vouches for the result.
    fn begin_check(&mut self) {
        let touched = self.replicas().any(|it| it.granted || it.is_on_chain());
        let alone = self.terms.trust <= U256::ONE && !self.terms.enclave;
        if self.is_open() && alone && !touched && self.check == Check::None {
            self.check = Check::Open;
        }
    }

    /// Whoever confirms a result has as long as a run may take; then the result counts as it is.
    fn expire_check(&mut self, now: UnixSeconds) {
        let patience = self.terms.run_seconds.saturating_add(self.limits.run_grace_seconds);
        let waits = |replica: &Replica| {
            replica.state == ReplicaState::Computed && now > replica.since.saturating_add(patience)
        };
        if self.check == Check::Open && self.replicas().any(waits) {
            self.check = Check::None;
            self.wanted = self.lacking();
        }
    }
}
