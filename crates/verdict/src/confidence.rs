//! How sure a result is, and how few workers make it so.
//!
//! Read as odds, the hub's rule is Bayes' rule for independent witnesses: a worker of weight `w` is `w` times as likely to be
//! right as not, witnesses who agree multiply their odds, and what is believed of a result is its group's share of all groups
//! and one unit of doubt.
//!
//! ```text
//! asked for    trust t             ── more than (t − 1) / t
//! reached      A A, weights 2 4    ── 8 / (1 + 8)            = 88 %
//!              A A B, weights 2 4 2 ─ 8 / (1 + 8 + 2)        = 72 %
//! ```
//!
//! A [`Quorum`] is what a task lacks until a result wins if all that are asked agree: heavy workers make it with fewer runs
//! than fresh ones, and nobody is asked beyond it. That they agree is a supposition; when one does not, the quorum grows.

use std::fmt;

use alloy_primitives::{U256, U512};
use primitives::ResultHash;

use crate::{Ballot, FRESH_WEIGHT, Overflow};

/// A share of belief, exact: `part` of `whole`, from nothing to nearly all.
#[derive(Debug, Clone, Copy)]
pub struct Confidence {
    part: U256,
    whole: U256,
}

impl Confidence {
    /// No belief at all.
    pub const NONE: Self = Self { part: U256::ZERO, whole: U256::ONE };

    /// What a deal of that trust asks for, and a result must *exceed*: `(trust − 1) / trust`. A trust of 0 counts as 1.
    pub fn asked(trust: U256) -> Self {
        let whole = trust.max(U256::ONE);
        Self { part: whole - U256::ONE, whole }
    }

    /// What is believed of a result as the ballot stands.
    pub fn reached(ballot: &Ballot, hash: ResultHash) -> Self {
        Self { part: ballot.group(hash), whole: ballot.total() }
    }

    /// What is believed of a result that these found, and nobody anything else.
    pub fn of_agreeing(weights: impl IntoIterator<Item = U256>) -> Result<Self, Overflow> {
        let (mut ballot, hash) = (Ballot::new(U256::ONE), ResultHash::default());
        for weight in weights {
            ballot.add(hash, weight)?;
        }
        Ok(Self::reached(&ballot, hash))
    }

    /// For display and plots: between 0 and 1, to about 15 digits.
    pub fn as_f64(self) -> f64 {
        f64::from(self.part) / f64::from(self.whole)
    }

    /// In millionths, rounded down.
    pub fn millionths(self) -> u32 {
        const MILLION: u64 = 1_000_000;
        let share =
            self.part.widening_mul::<256, 4, 512, 8>(U256::from(MILLION)) / U512::from(self.whole);
        // The part is never more than the whole.
        share.saturating_to::<u32>().min(1_000_000)
    }
}

impl PartialEq for Confidence {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Confidence {}

impl PartialOrd for Confidence {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Confidence {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let product = |a: U256, b: U256| -> U512 { a.widening_mul(b) };
        product(self.part, other.whole).cmp(&product(other.part, self.whole))
    }
}

/// In percent, with one digit.
impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = self.millionths() / 1_000;
        write!(f, "{}.{} %", permille / 10, permille % 10)
    }
}

/// What one task lacks until a result wins, if everybody that is asked agrees with those who lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    ballot: Ballot,
    hash: ResultHash,
    members: usize,
    members_min: usize,
    rival: U256,
}

impl Quorum {
    /// `ballot` counts all that found anything, whether they were let in or not; `members` of them found `hash`. `members_min`
    /// wallets must agree, whatever they weigh, and weigh more than the heaviest other group, `rival`.
    pub fn new(
        ballot: Ballot,
        hash: ResultHash,
        members: usize,
        members_min: usize,
        rival: U256,
    ) -> Self {
        Self { ballot, hash, members, members_min, rival }
    }

    /// A task that nobody has looked at.
    pub fn fresh(trust: U256, members_min: usize) -> Self {
        Self::new(Ballot::new(trust), ResultHash::default(), 0, members_min, U256::ZERO)
    }

    /// The result that leads.
    pub fn hash(&self) -> ResultHash {
        self.hash
    }

    /// Whether it is there.
    pub fn is_met(&self) -> bool {
        self.members >= self.members_min
            && self.members > 0
            && self.ballot.group(self.hash) > self.rival
            && self.ballot.wins(self.hash) == Ok(true)
    }

    /// Supposes that one more worker agrees.
    pub fn suppose(&mut self, weight: U256) -> Result<(), Overflow> {
        self.ballot.add(self.hash, weight)?;
        self.members = self.members.saturating_add(1);
        Ok(())
    }

    /// Whether it would be there if workers of these weights agreed too. Overflow counts as no.
    pub fn is_met_with(&self, weights: impl IntoIterator<Item = U256>) -> bool {
        let mut trial = self.clone();
        weights.into_iter().all(|weight| trial.suppose(weight).is_ok()) && trial.is_met()
    }

    /// How few more workers do, if these are at hand, heaviest first, and then fresh ones as many as it takes. Nothing if no
    /// number does because the contract's arithmetic ends first.
    pub fn fewest(&self, weights: impl IntoIterator<Item = U256>) -> Option<usize> {
        let mut trial = self.clone();
        let asked = weights.into_iter().chain(std::iter::repeat(FRESH_WEIGHT));
        // A product of weights of at least 2 leaves 256 bits after 256 factors, so this ends.
        for (before, weight) in asked.enumerate() {
            if trial.is_met() {
                return Some(before);
            }
            trial.suppose(weight.max(FRESH_WEIGHT)).ok()?;
            // Where winning cannot even be computed, the contract panics.
            trial.ballot.wins(trial.hash).ok()?;
        }
        None
    }

    /// What is believed of the leading result.
    pub fn confidence(&self) -> Confidence {
        Confidence::reached(&self.ballot, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn fewest(trust: u64, min: usize, weights: &[u64]) -> Option<usize> {
        let heaviest_first = weights.iter().map(|weight| U256::from(*weight));
        Quorum::fresh(U256::from(trust), min).fewest(heaviest_first)
    }

    fn check(trust: u64, weights: &[u64], expected: &Expect) {
        let weights = weights.iter().map(|weight| U256::from(*weight));
        let reached = Confidence::of_agreeing(weights).unwrap();
        let asked = Confidence::asked(U256::from(trust));
        let word = if reached > asked { "enough" } else { "too little" };
        expected.assert_eq(&format!("{reached} of more than {asked}: {word}"));
    }

    #[test]
    fn what_is_asked_and_what_is_reached() {
        check(1, &[2], &expect!["66.6 % of more than 0.0 %: enough"]);
        check(2, &[2], &expect!["66.6 % of more than 50.0 %: enough"]);
        check(4, &[2], &expect!["66.6 % of more than 75.0 %: too little"]);
        check(4, &[2, 2], &expect!["80.0 % of more than 75.0 %: enough"]);
        check(8, &[4, 2], &expect!["88.8 % of more than 87.5 %: enough"]);
        check(100, &[99], &expect!["99.0 % of more than 99.0 %: too little"]);
        check(100, &[100], &expect!["99.0 % of more than 99.0 %: enough"]);
        assert_eq!(Confidence::NONE, Confidence::asked(U256::ZERO));
    }

    #[test]
    fn reputation_saves_runs() {
        assert_eq!(fewest(8, 2, &[]), Some(3));
        assert_eq!(fewest(8, 2, &[4]), Some(2));
        assert_eq!(fewest(8, 2, &[9]), Some(2));
        assert_eq!(fewest(8, 1, &[9]), Some(1));
        assert_eq!(fewest(1, 1, &[9, 9]), Some(1));
        assert_eq!(fewest(64, 2, &[6, 6, 6]), Some(3));
    }

    #[test]
    fn a_tie_is_no_quorum() {
        let mut ballot = Ballot::new(U256::ONE);
        let (a, b) = (ResultHash::default(), ResultHash(alloy_primitives::B256::repeat_byte(1)));
        ballot.add(a, U256::from(2)).unwrap();
        let alone = Quorum::new(ballot.clone(), a, 1, 1, U256::ZERO);
        assert_eq!((alone.is_met(), alone.fewest([])), (true, Some(0)));
        ballot.add(b, U256::from(2)).unwrap();
        let tied = Quorum::new(ballot, a, 1, 1, U256::from(2));
        assert_eq!((tied.is_met(), tied.fewest([])), (false, Some(1)));
    }

    #[test]
    fn extremes_have_no_quorum() {
        assert_eq!(Quorum::fresh(U256::ONE << 255, 1).fewest([]), None);
        assert!(!Quorum::fresh(U256::from(4), 2).is_met_with([U256::MAX, U256::MAX]));
        assert_eq!(Confidence::of_agreeing([U256::MAX]), Err(Overflow));
    }

    proptest! {
        /// The contract's rule in its own words: exactly what exceeds the confidence asked for wins.
        #[test]
        fn winning_is_exceeding_what_is_asked(
            weights in proptest::collection::vec((0u8..3, 2u64..40), 1..8),
            trust in 1u64..2_000,
        ) {
            let mut ballot = Ballot::new(U256::from(trust));
            let hash = |byte| ResultHash(alloy_primitives::B256::repeat_byte(byte));
            for (byte, weight) in &weights {
                ballot.add(hash(*byte), U256::from(*weight)).unwrap();
            }
            for byte in 0..3 {
                let reached = Confidence::reached(&ballot, hash(byte));
                prop_assert_eq!(
                    ballot.wins(hash(byte)).unwrap(),
                    reached > Confidence::asked(U256::from(trust))
                );
                prop_assert!((reached.as_f64() - f64::from(reached.millionths()) / 1e6).abs() < 1.1e-6);
            }
        }

        /// A heavier worker never makes more runs necessary, a higher trust never fewer.
        #[test]
        fn fewest_is_monotone(
            mut weights in proptest::collection::vec(2u64..60, 0..8),
            which in any::<prop::sample::Index>(), more in 1u64..60,
            trust in 1u64..100_000, min in 1usize..3,
        ) {
            let heaviest_first = |weights: &[u64]| {
                let mut sorted = weights.to_vec();
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                sorted
            };
            let before = fewest(trust, min, &heaviest_first(&weights));
            prop_assert!(fewest(trust + 1, min, &heaviest_first(&weights)) >= before);
            if !weights.is_empty() {
                *which.get_mut(&mut weights) += more;
                prop_assert!(fewest(trust, min, &heaviest_first(&weights)) <= before);
            }
        }

        /// It is enough, and one less is not.
        #[test]
        fn fewest_is_enough_and_least(
            mut weights in proptest::collection::vec(2u64..60, 12..16),
            trust in 1u64..5_000, min in 1usize..3,
        ) {
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let quorum = Quorum::fresh(U256::from(trust), min);
            let count = fewest(trust, min, &weights).unwrap();
            let first = |count: usize| weights[..count].iter().map(|weight| U256::from(*weight));
            prop_assert!(count >= min);
            prop_assert!(quorum.is_met_with(first(count)));
            prop_assert!(!quorum.is_met_with(first(count - 1)));
        }
    }
}
