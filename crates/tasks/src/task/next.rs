//! What a task owes next, as it stands: whom to let in, what to ask for, what to send.

use alloy_primitives::{Address, U256, keccak256};
use primitives::{ResultHash, UnixSeconds};
use verdict::late::Decision;

use super::{Status, Task};
use crate::{Action, Blame, Call, Failure, Replica, ReplicaState, Report, Upload};

impl Task {
    pub(super) fn advance(&mut self, now: UnixSeconds, actions: &mut Vec<Action>) {
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

    pub(super) fn doom(&mut self, now: UnixSeconds, failure: Failure, actions: &mut Vec<Action>) {
        self.failure = Some(failure.clone());
        self.enter(Status::Doomed, now);
        self.release(now, actions, Replica::is_at_work);
        actions.push(Action::Report(Report::Doomed(failure)));
        // It will have to exist to be refunded, and its requester may want to see it before.
        if !self.initialized {
            self.initialize(now, actions);
        }
    }

    pub(super) fn end(
        &mut self,
        now: UnixSeconds,
        status: Status,
        report: Report,
        actions: &mut Vec<Action>,
    ) {
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

    pub(super) fn release(
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
    pub(super) fn postpone(&mut self, call: Call, now: UnixSeconds) -> bool {
        let current = self.sent.is_some_and(|(sent, _)| sent == call);
        if current {
            let pause = self.pause(call, self.limits.retry_seconds);
            self.sent = Some((call, now.saturating_add(pause)));
        }
        current
    }

    /// The chain shows that a transaction did its work.
    pub(super) fn settled(&mut self, call: Call) {
        if self.sent.is_some_and(|(sent, _)| sent == call) {
            self.sent = None;
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
