//! What the votes on a task amount to, and who is still missing.

use std::collections::BTreeMap;

use alloy_primitives::U256;
use primitives::ResultHash;
use verdict::late::{Candidate, Decision, decide};
use verdict::{Ballot, Confidence, Quorum, late};

use super::{Check, Task};
use crate::ReplicaState;

/// The trust of a vote on a result that is checked. Two fresh workers who agree make it.
const CHECK_TRUST: U256 = U256::from_limbs([4, 0, 0, 0]);

/// What the machine decides by.
pub(super) struct Count {
    pub(super) ballot: Ballot,
    contributed: BTreeMap<ResultHash, usize>,
    candidates: Vec<Candidate>,
}

impl Task {
    pub(super) fn lacking(&self) -> usize {
        if !self.is_open() || self.lacks_challenge() {
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

    pub(super) fn decide(&self) -> Decision {
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
    pub(super) fn agreeing_min(&self) -> usize {
        if self.terms.trust > U256::ONE || self.check == Check::Open { 2 } else { 1 }
    }

    /// How sure a result must be: in a check, where the chain asks for nothing, so sure that a few liars who happen to meet do
    /// not outvote the honest.
    fn trust_counted(&self) -> U256 {
        if self.check == Check::Open { self.terms.trust.max(CHECK_TRUST) } else { self.terms.trust }
    }

    /// What was contributed or let in, and who else has a result. Nothing if the numbers outgrow 256 bits.
    pub(super) fn count(&self) -> Option<Count> {
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
}
