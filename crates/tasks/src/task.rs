//! The machine.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256, keccak256};
use primitives::{DealId, ResultDigest, ResultHash, TaskId, UnixSeconds};
use verdict::late::{Candidate, Decision, decide};
use verdict::{Ballot, Confidence, FRESH_WEIGHT, Quorum, late};

use crate::{Action, Blame, Call, Event, Failure, Replica, ReplicaState, Report, Upload, Wait};

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

/// What a deal says about each of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How much agreement is wanted, at least 1.
    pub trust: U256,
    /// Whether a contract is called with the result.
    pub callback: bool,
    /// Whether it may be settled together with others of its deal, uninitialised before: only where the hub can, trust is
    /// 1 and there is neither enclave nor callback.
    pub batch: bool,
    /// Whether it runs in an enclave.
    pub enclave: bool,
    /// How long a program may run: the category's unit of time.
    pub run_seconds: u64,
    /// Contributions are taken before this.
    pub contribution_deadline: UnixSeconds,
    /// It can be claimed from then on.
    pub final_deadline: UnixSeconds,
}

/// How patient a scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For downloads, on top of the run time, before a computing worker counts as lost.
    pub run_grace_seconds: u64,
    /// From a grant to its contribution on chain.
    pub grant_seconds: u64,
    /// From being told to settle many tasks at once, with an upload for each, to their end on chain.
    pub settle_seconds: u64,
    /// Until a request to reveal and upload is repeated.
    pub ask_again_seconds: u64,
    /// Until a transaction that showed no effect is sent again.
    pub resend_seconds: u64,
    /// Until a transaction that was refused, or a question that was not answered, is sent again.
    pub retry_seconds: u64,
    /// How often a transaction is tried before the pauses between attempts grow.
    pub call_attempts_max: u32,
    /// Failures of workers before the task is given up.
    pub tries_max: u32,
    /// Workers that disappear before the task is given up. More than failures, since a machine that is switched off says
    /// nothing about the task; but bounded, since a task may be what brings machines down.
    pub losses_max: u32,
    /// How often one worker may try in a row.
    pub tries_per_worker_max: u32,
    /// How long a worker that tried that often leaves it to others before it may try once more. In a small pool there may
    /// be nobody else.
    pub rest_seconds: u64,
    /// Failures over the input before the task is given up.
    pub input_failures_max: usize,
    /// The most workers on one task; trust that needs more is not served.
    pub replicas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run_grace_seconds: 60,
            grant_seconds: 120,
            settle_seconds: 600,
            ask_again_seconds: 30,
            resend_seconds: 120,
            retry_seconds: 5,
            call_attempts_max: 5,
            tries_max: 8,
            losses_max: 24,
            tries_per_worker_max: 2,
            rest_seconds: 60,
            input_failures_max: 2,
            replicas_max: 24,
        }
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

/// What the machine decides by.
struct Count {
    ballot: Ballot,
    contributed: BTreeMap<ResultHash, usize>,
    candidates: Vec<Candidate>,
}

/// The trust of a vote on a result that is checked. Two fresh workers who agree make it.
const CHECK_TRUST: U256 = U256::from_limbs([4, 0, 0, 0]);
/// How often a task is settled together with others; then it goes on by itself.
const SETTLEMENTS_MAX: u32 = 2;
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

    fn lacking(&self) -> usize {
        let open = matches!(self.status, Status::Received | Status::Active);
        if !open || self.lacks_challenge() {
            return 0;
        }
        let Some(count) = self.count() else { return 0 };
        // What is let in already is enough: wait for the chain to say so.
        if matches!(count.ballot.consensus(), Ok(Some(_))) {
            return 0;
        }
        let Some(found) = self.found(&count) else { return 0 };
        let fresh = found.fewest([]).filter(|more| *more <= self.limits.replicas_max);
        if fresh.is_none_or(|more| more == 0) {
            return 0;
        }
        self.supposing(found).and_then(|quorum| quorum.fewest([])).unwrap_or_default()
    }

    /// What is lacking until a result wins, if all that compute it now agree with those who lead. Nothing if the numbers
    /// outgrow the contract's.
    pub fn quorum(&self) -> Option<Quorum> {
        self.supposing(self.found(&self.count()?)?)
    }

    /// What is lacking to those who have a result.
    fn found(&self, count: &Count) -> Option<Quorum> {
        let Count { ballot, contributed, candidates } = count;
        let ballot = ballot.clone().asking(self.trust_counted());
        late::quorum(&ballot, contributed, candidates, self.agreeing_min())
    }

    /// The same if those who compute agree.
    fn supposing(&self, mut quorum: Quorum) -> Option<Quorum> {
        for replica in self.replicas().filter(|replica| replica.is_computing()) {
            quorum.suppose(replica.weight).ok()?;
        }
        Some(quorum)
    }

    /// What is believed of the result that won: of all that was announced or contributed, how much agrees with it. A run
    /// that nobody let in counts too.
    pub fn confidence(&self) -> Confidence {
        let Some(winner) = self.consensus() else { return Confidence::NONE };
        let mut ballot = Ballot::new(self.terms.trust);
        for replica in self.replicas() {
            if let Some(hash) = replica.hash
                && ballot.add(hash, replica.weight).is_err()
            {
                return Confidence::NONE;
            }
        }
        Confidence::reached(&ballot, winner)
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

    /// Whether it waits to be settled together with others, rather than to be initialised by itself.
    fn is_batched(&self) -> bool {
        self.terms.batch && !self.single
    }

    /// Whether nobody can compute it because its enclave has no key yet.
    fn lacks_challenge(&self) -> bool {
        self.terms.enclave && self.challenge.is_none()
    }

    fn note(&mut self, now: UnixSeconds, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Noticed => {
                if self.history.is_empty() {
                    self.history.push((self.status, now));
                }
            }
            Event::Tick => self.doubt_weights(),
            Event::Taken { worker, weight } => self.take(now, worker, weight, actions),
            Event::Computed { worker, hash } => {
                // A lost worker that is found again may have gone on computing; if it was let in, it may never have
                // heard so, and letting it in again is the same permission.
                if let Some(replica) = self.replicas.get_mut(&worker) {
                    replica.equivocated |= replica.hash.is_some_and(|said| said != hash);
                }
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && matches!(replica.state, ReplicaState::Assigned | ReplicaState::Lost)
                {
                    replica.granted = false;
                    replica.hash = Some(hash);
                    replica.enter(ReplicaState::Computed, now);
                }
            }
            Event::Failed { worker, failure } => self.drop_out(now, worker, Some(failure)),
            Event::Lost { worker } => self.drop_out(now, worker, None),
            Event::Returned { worker } => self.give_back(now, worker),
            Event::Unservable { failure } => {
                let open = matches!(self.status, Status::Received | Status::Active);
                let begun = |it: &Replica| it.is_computing() || it.hash.is_some();
                if open && !self.replicas().any(begun) {
                    self.doom(now, failure, actions);
                }
            }
            Event::Back { worker } => {
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && replica.counts()
                    && replica.upload.is_none()
                    && replica.asked.is_some_and(|asked| asked < now)
                {
                    // Ask at once rather than when the last request has aged.
                    replica.asked = None;
                }
            }
            Event::Check => self.begin_check(),
            Event::Unchecked => {
                if self.check == Check::Open {
                    self.check = Check::None;
                }
            }
            Event::Single => self.single = true,
            Event::Settling { worker } => {
                if self.ripe() == Some(worker)
                    && let Some(replica) = self.replicas.get_mut(&worker)
                {
                    self.settlements += 1;
                    self.check = self.check.ended();
                    replica.granted = true;
                    replica.enter(ReplicaState::Granted, now);
                }
            }
            Event::Unsettled { worker } => {
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && replica.state == ReplicaState::Granted
                    && self.settlements > 0
                {
                    replica.granted = false;
                    replica.enter(ReplicaState::Computed, now);
                    self.single |= self.settlements >= SETTLEMENTS_MAX;
                }
            }
            Event::Challenged { challenge } => {
                self.settled(Call::Challenge);
                if self.terms.enclave && !challenge.is_zero() {
                    self.challenge = Some(challenge);
                    self.no_challenge = None;
                }
            }
            Event::Unchallenged { failure, is_final } => {
                let open = matches!(self.status, Status::Received | Status::Active);
                if open && self.lacks_challenge() {
                    self.no_challenge = Some(failure.clone());
                    self.postpone(Call::Challenge, now);
                    if is_final {
                        self.doom(now, failure, actions);
                    }
                }
            }
            Event::Uploaded { worker, location, callback_data } => {
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && replica.counts()
                {
                    replica.upload = Some(Upload { location, callback_data });
                }
            }
            Event::Initialized => {
                self.initialized = true;
                self.settled(Call::Initialize);
                if self.status == Status::Received {
                    self.enter(Status::Active, now);
                }
            }
            Event::Contributed { worker, hash, weight } => {
                self.contributed(now, worker, hash, weight);
            }
            Event::Consensus { hash, at } => self.agreed(now, hash, at, actions),
            Event::Revealed { worker, digest } => {
                self.digest = Some(digest);
                if let Some(replica) = self.replicas.get_mut(&worker)
                    && replica.state == ReplicaState::Contributed
                {
                    replica.enter(ReplicaState::Revealed, now);
                }
            }
            Event::Reopened => self.reopened(now),
            Event::Finalized => {
                self.failure = None;
                self.end(now, Status::Completed, Report::Completed, actions);
            }
            Event::Claimed => self.end(now, Status::Failed, Report::Failed, actions),
            Event::Refused { call } => {
                if self.postpone(call, now)
                    && call == Call::Finalize
                    && self.status == Status::Finalizing
                {
                    self.enter(Status::Revealing, now);
                }
            }
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
    fn expire(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
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

    fn advance(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        if !self.status.is_final() && now >= self.terms.final_deadline {
            return self.bury(now, actions);
        }
        match self.status {
            Status::Received | Status::Active => self.gather(now, actions),
            Status::Revealing | Status::Finalizing => self.conclude(now, actions),
            Status::Doomed if !self.initialized => self.initialize(now, actions),
            Status::Doomed | Status::Completed | Status::Failed => {}
        }
    }

    fn initialize(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        if self.may_send(Call::Initialize, now) {
            actions.push(Action::Initialize);
        }
    }

    /// Before the consensus: give up if it must be, initialise, let workers in.
    fn gather(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        let decision = self.decide();
        let hopeless = || (decision == Decision::Hopeless).then(hopeless);
        if let Some(failure) = self.verdict_of_failures(now).or_else(hopeless) {
            return self.doom(now, failure, actions);
        }
        if self.status == Status::Received {
            if !self.is_batched() {
                self.initialize(now, actions);
            }
            return;
        }
        if self.lacks_challenge() {
            if self.may_send(Call::Challenge, now) {
                actions.push(Action::AskChallenge);
            }
            return;
        }
        if let Decision::Authorize { winner, order, .. } = decision {
            self.grant(now, winner, &order, actions);
        }
    }

    /// What was contributed or let in, and who else has a result. Nothing if the numbers outgrow 256 bits.
    fn count(&self) -> Option<Count> {
        let mut ballot = Ballot::new(self.terms.trust);
        let mut contributed: BTreeMap<ResultHash, usize> = BTreeMap::new();
        let mut candidates = Vec::new();
        for replica in self.replicas() {
            let Some(hash) = replica.hash else { continue };
            let pending = replica.state == ReplicaState::Granted;
            if replica.counts() || pending {
                ballot.add(hash, replica.weight).ok()?;
                *contributed.entry(hash).or_default() += 1;
            } else if replica.state == ReplicaState::Computed && !replica.granted {
                let (worker, weight) = (replica.worker, replica.weight);
                candidates.push(Candidate { worker, hash, weight });
            }
        }
        Some(Count { ballot, contributed, candidates })
    }

    fn decide(&self) -> Decision {
        let Some(count) = self.count() else { return Decision::Hopeless };
        // What is let in already is enough: wait for the chain to say so.
        if let Ok(Some(winner)) = count.ballot.consensus() {
            let (order, dissent, spare) = (Vec::new(), Vec::new(), Vec::new());
            return Decision::Authorize { winner, order, dissent, spare };
        }
        if self.check == Check::Open {
            let Some(found) = self.found(&count) else { return Decision::Hopeless };
            if !found.is_met() {
                return Decision::NeedMore(found.fewest([]).unwrap_or(1));
            }
        }
        let Count { ballot, contributed, candidates } = count;
        match decide(&ballot, &contributed, &candidates, self.agreeing_min()) {
            Decision::NeedMore(more) if more > self.limits.replicas_max => Decision::Hopeless,
            decision => decision,
        }
    }

    /// Two wallets at least must agree wherever agreement is asked for at all.
    fn agreeing_min(&self) -> usize {
        if self.terms.trust > U256::ONE || self.check == Check::Open { 2 } else { 1 }
    }

    /// How sure a result must be: in a check, where the chain asks for nothing, so sure that a few liars who happen to meet do
    /// not outvote the honest.
    fn trust_counted(&self) -> U256 {
        if self.check == Check::Open { self.terms.trust.max(CHECK_TRUST) } else { self.terms.trust }
    }

    /// Begins a check, as long as nobody is let in. In an enclave the enclave vouches for the result.
    fn begin_check(&mut self) {
        let open = matches!(self.status, Status::Received | Status::Active);
        let touched = self.replicas().any(|it| it.granted || it.is_on_chain());
        let alone = self.terms.trust <= U256::ONE && !self.terms.enclave;
        if open && alone && !touched && self.check == Check::None {
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

    /// Lets workers in. One that is going to lose must be on chain before the next is let in, so that the winner's
    /// consensus cannot come first and spare it.
    fn grant(
        &mut self,
        now: UnixSeconds,
        winner: ResultHash,
        order: &[Address],
        actions: &mut Vec<Action>,
    ) {
        let pending_loser = self
            .replicas
            .values()
            .any(|replica| replica.state == ReplicaState::Granted && replica.hash != Some(winner));
        if pending_loser {
            return;
        }
        for worker in order {
            let Some(replica) = self.replicas.get_mut(worker) else { continue };
            replica.granted = true;
            self.check = self.check.ended();
            replica.enter(ReplicaState::Granted, now);
            actions.push(Action::Grant { worker: *worker });
            if replica.hash != Some(winner) {
                break;
            }
        }
    }

    /// After the consensus: collect reveals and an upload, then finish; reopen if nobody revealed.
    fn conclude(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        let Some((winner, since)) = self.consensus else { return };
        let in_time = self.reveal_deadline().is_some_and(|deadline| now < deadline);
        let winners = self
            .replicas
            .values()
            .filter(|replica| replica.counts() && replica.hash == Some(winner));
        let (mut all, mut revealed) = (0, 0);
        for replica in winners {
            all += 1;
            revealed += usize::from(replica.state == ReplicaState::Revealed);
        }
        if revealed == 0 && !in_time {
            if self.may_send(Call::Reopen, now) {
                actions.push(Action::Reopen);
            }
            return;
        }
        if revealed > 0
            && (revealed == all || !in_time)
            && let Some((worker, upload)) = self.usable_upload()
        {
            if self.may_send(Call::Finalize, now) {
                let Upload { location, callback_data } = upload.clone();
                self.result = Some((worker, upload));
                self.enter(Status::Finalizing, now);
                actions.push(Action::Finalize { location, callback_data });
            }
            return;
        }
        // A lone worker contributes, reveals and finalizes in one transaction: its consensus is followed by the end.
        let patience = if self.terms.trust > U256::ONE { 0 } else { self.limits.ask_again_seconds };
        if now >= since.saturating_add(patience) {
            self.ask_reveals(now, winner, in_time, actions);
        }
    }

    fn ask_reveals(
        &mut self,
        now: UnixSeconds,
        winner: ResultHash,
        in_time: bool,
        actions: &mut Vec<Action>,
    ) {
        let again = self.limits.ask_again_seconds;
        for replica in self.replicas.values_mut() {
            let unrevealed = replica.state == ReplicaState::Contributed && in_time;
            let unstored = replica.state == ReplicaState::Revealed && replica.upload.is_none();
            let due = replica.asked.is_none_or(|asked| now >= asked.saturating_add(again));
            if replica.hash == Some(winner) && (unrevealed || unstored) && due {
                replica.asked = Some(now);
                actions.push(Action::AskReveal { worker: replica.worker });
            }
        }
    }

    /// The first upload of a worker that revealed; with a callback it must hash to the digest, or the chain refuses it.
    fn usable_upload(&self) -> Option<(Address, Upload)> {
        let fits = |upload: &Upload| {
            if self.terms.callback {
                self.digest.is_some_and(|digest| keccak256(&upload.callback_data) == digest.0)
            } else {
                upload.is_named() && upload.callback_data.is_empty()
            }
        };
        let revealed = self.replicas().filter(|replica| replica.state == ReplicaState::Revealed);
        let mut uploads =
            revealed.filter_map(|replica| Some((replica.worker, replica.upload.as_ref()?)));
        uploads.find(|(_, upload)| fits(upload)).map(|(worker, upload)| (worker, upload.clone()))
    }

    /// Past the final deadline: nothing but a claim is possible, and that only once the task exists on chain.
    fn bury(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
        if self.status != Status::Doomed {
            let failure = if self.consensus.is_some() { not_shown() } else { too_late() };
            self.doom(now, failure, actions);
        }
        if !self.initialized {
            self.initialize(now, actions);
        } else if self.may_send(Call::Claim, now) {
            actions.push(Action::Claim);
        }
    }

    /// Why there can be no result, if what went wrong makes that certain.
    fn verdict_of_failures(&self, now: UnixSeconds) -> Option<Failure> {
        let of = |blame| {
            let failures = self.replicas().filter_map(|replica| replica.failure.as_ref());
            failures.filter(|failure| failure.blame == blame).collect::<Vec<_>>()
        };
        let (app, input) = (of(Blame::App), of(Blame::Input));
        if app.len() >= self.agreeing_min() {
            return app.first().map(|failure| (*failure).clone());
        }
        let input_tries: u32 = self
            .replicas
            .values()
            .filter(|replica| replica.failure.as_ref().is_some_and(|it| it.blame == Blame::Input))
            .map(|replica| replica.tries)
            .sum();
        if usize::try_from(input_tries).is_ok_and(|tries| tries >= self.limits.input_failures_max) {
            return input.first().map(|failure| (*failure).clone());
        }
        if self.tries >= self.limits.tries_max || self.losses >= self.limits.losses_max {
            return Some(
                of(Blame::Worker).first().map_or_else(all_lost, |failure| (*failure).clone()),
            );
        }
        if now >= self.terms.contribution_deadline {
            return Some(self.no_challenge.clone().unwrap_or_else(too_late));
        }
        None
    }

    fn doom(&mut self, now: UnixSeconds, failure: Failure, actions: &mut Vec<Action>) {
        self.failure = Some(failure.clone());
        self.enter(Status::Doomed, now);
        self.release(now, actions, Replica::is_at_work);
        actions.push(Action::Report(Report::Doomed(failure)));
        // It will have to exist to be refunded, and its requester may want to see it before.
        if !self.initialized {
            self.initialize(now, actions);
        }
    }

    fn end(&mut self, now: UnixSeconds, status: Status, report: Report, actions: &mut Vec<Action>) {
        self.enter(status, now);
        for replica in self.replicas.values_mut() {
            if !replica.is_idle() {
                actions.push(Action::Release { worker: replica.worker });
            }
            if matches!(replica.state, ReplicaState::Assigned | ReplicaState::Granted) {
                replica.enter(ReplicaState::Released, now);
            }
        }
        actions.push(Action::Report(report));
    }

    fn release(
        &mut self,
        now: UnixSeconds,
        actions: &mut Vec<Action>,
        whom: impl Fn(&Replica) -> bool,
    ) {
        for replica in self.replicas.values_mut().filter(|replica| whom(replica)) {
            replica.enter(ReplicaState::Released, now);
            actions.push(Action::Release { worker: replica.worker });
        }
    }

    /// Whether to send that transaction now; if so, remembers that it was sent.
    fn may_send(&mut self, call: Call, now: UnixSeconds) -> bool {
        let attempts = match self.sent {
            Some((sent, again_at)) if sent == call => {
                if now < again_at {
                    return false;
                }
                self.attempts
            }
            Some(_) | None => 0,
        };
        self.attempts = attempts.saturating_add(1);
        self.sent = Some((call, now.saturating_add(self.pause(call, self.limits.resend_seconds))));
        true
    }

    /// How long to wait before sending it again. What failed often is tried ever more rarely, and never given up: a node
    /// may be out of reach for hours, and somebody's money depends on it. A question costs nothing and stays frequent.
    fn pause(&self, call: Call, seconds: u64) -> u64 {
        const PAUSE_SECONDS_MAX: u64 = 3_600;
        let beyond = self.attempts.saturating_sub(self.limits.call_attempts_max).min(10);
        if call == Call::Challenge {
            return seconds;
        }
        seconds.saturating_mul(1 << beyond).min(PAUSE_SECONDS_MAX.max(seconds))
    }

    /// What was sent had no effect: it may be sent again soon. `false` if something else was sent since.
    fn postpone(&mut self, call: Call, now: UnixSeconds) -> bool {
        let current = self.sent.is_some_and(|(sent, _)| sent == call);
        if current {
            let pause = self.pause(call, self.limits.retry_seconds);
            self.sent = Some((call, now.saturating_add(pause)));
        }
        current
    }

    /// The chain shows that a transaction did its work.
    fn settled(&mut self, call: Call) {
        if self.sent.is_some_and(|(sent, _)| sent == call) {
            self.sent = None;
        }
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

fn too_late() -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4201",
        "no consensus before the deadline for contributions",
        "buy the run again, from a workerpool with more workers or in a longer category",
    )
}

fn not_shown() -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4208",
        "workers agreed on a result, but none of them brought it before the final deadline",
        "buy the run again, from another workerpool",
    )
}

fn all_lost() -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4202",
        "every worker that tried disappeared before it had a result",
        "buy the run again, from another workerpool",
    )
}

fn hopeless() -> Failure {
    Failure::new(
        Blame::Worker,
        "GM-4203",
        "the trust asked for needs more workers than can take part in one task",
        "ask for less trust",
    )
}

#[cfg(test)]
mod tests;
