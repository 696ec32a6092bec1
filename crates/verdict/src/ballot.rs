//! The count of contributions.

use alloy_primitives::U256;
use primitives::ResultHash;

use crate::Overflow;

/// The weight of a worker without a score.
pub const FRESH_WEIGHT: U256 = U256::from_limbs([2, 0, 0, 0]);

/// Contributions to one task, grouped by what they say. A group's weight is the *product* of its members' weights; all groups
/// and one unit of doubt add up to the total. A group wins iff `group × trust > total × (trust − 1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    trust: U256,
    total: U256,
    /// Sorted by hash; there are seldom more than two.
    groups: Vec<(ResultHash, U256)>,
}

impl Ballot {
    /// An empty ballot. A trust of 0 counts as 1, as in deals.
    pub fn new(trust: U256) -> Self {
        Self { trust: trust.max(U256::ONE), total: U256::ONE, groups: Vec::new() }
    }

    /// The same contributions, where that much is asked for.
    pub fn asking(mut self, trust: U256) -> Self {
        self.trust = trust.max(U256::ONE);
        self
    }

    /// The trust asked for, at least 1.
    pub fn trust(&self) -> U256 {
        self.trust
    }

    /// All groups together and one.
    pub fn total(&self) -> U256 {
        self.total
    }

    /// The weight behind a result; zero if nobody found it.
    pub fn group(&self, hash: ResultHash) -> U256 {
        self.place(hash).map(|place| self.groups[place].1).unwrap_or_default()
    }

    /// Counts one contribution. On overflow nothing changes.
    pub fn add(&mut self, hash: ResultHash, weight: U256) -> Result<(), Overflow> {
        let place = self.place(hash);
        let before = place.map(|place| self.groups[place].1).unwrap_or_default();
        let after = product(before.max(U256::ONE), weight).ok_or(Overflow)?;
        self.total = self.total.checked_add(after).ok_or(Overflow)? - before;
        match place {
            Ok(place) => self.groups[place].1 = after,
            Err(place) => self.groups.insert(place, (hash, after)),
        }
        Ok(())
    }

    /// Strikes a group out, as a reopened task does with the group that won and revealed nothing.
    pub fn strike(&mut self, hash: ResultHash) {
        if let Ok(place) = self.place(hash) {
            self.total -= self.groups.remove(place).1;
        }
    }

    /// The result that has won, if one has.
    pub fn consensus(&self) -> Result<Option<ResultHash>, Overflow> {
        for (hash, _) in &self.groups {
            if self.wins(*hash)? {
                return Ok(Some(*hash));
            }
        }
        Ok(None)
    }

    /// Whether that result has won.
    pub fn wins(&self, hash: ResultHash) -> Result<bool, Overflow> {
        let group = self.group(hash);
        let belief = product(group, self.trust).ok_or(Overflow)?;
        let doubt = product(self.total, self.trust - U256::ONE).ok_or(Overflow)?;
        Ok(belief > doubt)
    }

    /// Whether that result would win if workers of these weights contributed it too. Overflow counts as no.
    pub fn can_win(&self, hash: ResultHash, weights: &[U256]) -> bool {
        let mut trial = self.clone();
        weights.iter().all(|weight| trial.add(hash, *weight).is_ok())
            && trial.wins(hash).unwrap_or(false)
    }

    /// Where a group is, or would be.
    fn place(&self, hash: ResultHash) -> Result<usize, usize> {
        self.groups.binary_search_by_key(&hash, |(hash, _)| *hash)
    }
}

/// A product, if it leaves no more than 256 bits. Nearly always both are small, which takes a fraction of the time.
fn product(a: U256, b: U256) -> Option<U256> {
    match (u64::try_from(a), u64::try_from(b)) {
        (Ok(a), Ok(b)) => Some(U256::from(u128::from(a) * u128::from(b))),
        _ => a.checked_mul(b),
    }
}

/// How many workers must agree for a task of that trust when these are asked first and fresh ones after them. Nothing if no
/// number suffices because the contract's arithmetic ends first.
pub fn workers_needed(trust: U256, weights: &[U256]) -> Option<usize> {
    let mut ballot = Ballot::new(trust);
    let hash = ResultHash::default();
    let asked = weights.iter().copied().chain(std::iter::repeat(FRESH_WEIGHT));
    // A product of weights of at least 2 leaves 256 bits after 256 factors, so this ends.
    for (before, weight) in asked.enumerate() {
        ballot.add(hash, weight.max(FRESH_WEIGHT)).ok()?;
        if ballot.wins(hash).ok()? {
            return Some(before + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use proptest::prelude::*;

    fn hash(byte: u8) -> ResultHash {
        ResultHash(B256::repeat_byte(byte))
    }

    fn needed(trust: u64) -> Option<usize> {
        workers_needed(U256::from(trust), &[])
    }

    #[test]
    fn fresh_workers_needed_follow_the_powers_of_two() {
        let table: Vec<_> =
            [0, 1, 2, 3, 4, 5, 8, 9, 16, 17].map(needed).into_iter().flatten().collect();
        assert_eq!(table, [1, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!(workers_needed(U256::from(8), &[U256::from(9)]), Some(1));
        assert_eq!(workers_needed(U256::ONE << 255, &[]), None);
    }

    #[test]
    fn two_veterans_outweigh_a_fresh_liar_at_trust_4_but_two_fresh_do_not() {
        let trust = U256::from(4);
        let mut ballot = Ballot::new(trust);
        ballot.add(hash(9), FRESH_WEIGHT).unwrap();
        let veteran = crate::weight(U256::from(15));
        assert!(ballot.can_win(hash(1), &[veteran, veteran]));
        assert!(!ballot.can_win(hash(1), &[FRESH_WEIGHT, FRESH_WEIGHT]));
        assert!(Ballot::new(trust).can_win(hash(1), &[FRESH_WEIGHT, FRESH_WEIGHT]));
    }

    #[test]
    fn striking_a_group_forgets_it() {
        let mut ballot = Ballot::new(U256::from(4));
        ballot.add(hash(1), U256::from(2)).unwrap();
        ballot.add(hash(2), U256::from(4)).unwrap();
        ballot.strike(hash(2));
        ballot.strike(hash(2));
        assert_eq!((ballot.total(), ballot.group(hash(2))), (U256::from(3), U256::ZERO));
    }

    #[test]
    fn extremes_are_errors() {
        let mut ballot = Ballot::new(U256::ONE << 255);
        ballot.add(hash(1), U256::from(2)).unwrap();
        assert_eq!(ballot.consensus(), Err(Overflow));
        let before = ballot.clone();
        assert_eq!(ballot.add(hash(1), U256::MAX), Err(Overflow));
        assert_eq!(ballot, before);
    }

    proptest! {
        #[test]
        fn the_order_of_contributions_does_not_matter(
            votes in proptest::collection::vec((0u8..3, 0u64..60), 0..8),
            trust in 1u64..100,
            seed in any::<u64>(),
        ) {
            let count = |votes: &[(u8, u64)]| {
                let mut ballot = Ballot::new(U256::from(trust));
                for (byte, score) in votes {
                    ballot.add(hash(*byte), crate::weight(U256::from(*score))).unwrap();
                }
                ballot
            };
            let mut shuffled = votes.clone();
            shuffled.sort_by_key(|(byte, score)| (seed.rotate_left(u32::from(*byte)) ^ score).wrapping_mul(31));
            prop_assert_eq!(count(&votes), count(&shuffled));
        }

        #[test]
        fn at_most_one_result_wins_when_trust_asks_for_agreement(
            votes in proptest::collection::vec((0u8..3, 0u64..60), 0..8),
            trust in 2u64..100,
        ) {
            let mut ballot = Ballot::new(U256::from(trust));
            for (byte, score) in votes {
                ballot.add(hash(byte), crate::weight(U256::from(score))).unwrap();
            }
            let winners = (0u8..3).filter(|byte| ballot.wins(hash(*byte)).unwrap()).count();
            prop_assert!(winners <= 1);
        }
    }
}
