//! Late authorisation: who may contribute, decided after workers have said what they found.
//!
//! A contribution needs the pool owner's signature, so a scheduler can let workers compute first and announce only
//! `keccak256(task ‖ digest)`, which nobody can turn into a contribution of their own. Once enough of them agree:
//!
//! ```text
//! announced:   A A A A B                trust 4
//! order:       B, then A A A A, lightest first
//! outcome:     B on the losing side: loses stake and score;  those who found A are paid
//! ```
//!
//! Nobody is let in before A wins with B counted: else a few liars who happened to come first would win more often than the
//! trust allows. Only where B would win on arrival, before A's contributions are there, is B left out.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use primitives::ResultHash;

use crate::{Ballot, Quorum};

/// A worker that announced a result and has not been let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its wallet.
    pub worker: Address,
    /// What it says it found.
    pub hash: ResultHash,
    /// How much its word counts.
    pub weight: U256,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No result can win yet. Ask that many more workers (at least one), counting those still computing.
    NeedMore(usize),
    /// Let these contribute, in this order; what they agree on then wins.
    Authorize {
        /// What will win.
        winner: ResultHash,
        /// Whom to let in, in order: disagreeing workers that lose safely, then those who agree, lightest first.
        order: Vec<Address>,
        /// Disagreeing workers that must be kept out, since they would win before the others are there.
        dissent: Vec<Address>,
        /// Agreeing workers that are not needed: the winner wins before their turn.
        spare: Vec<Address>,
    },
    /// No number of workers can reach this trust.
    Hopeless,
}

/// Decides. `ballot` holds what was contributed already, `agreed` how many contributors of each result it counts.
/// `min_agreeing`: how many wallets must agree at least, whatever their weight.
pub fn decide(
    ballot: &Ballot,
    contributed: &BTreeMap<ResultHash, usize>,
    candidates: &[Candidate],
    min_agreeing: usize,
) -> Decision {
    let Some(quorum) = quorum(ballot, contributed, candidates, min_agreeing) else {
        return Decision::Hopeless;
    };
    if !quorum.is_met() {
        return quorum.fewest([]).map_or(Decision::Hopeless, Decision::NeedMore);
    }
    let winner = quorum.hash();
    let (mut agreeing, others): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().partition(|candidate| candidate.hash == winner);
    if ballot.trust() <= U256::ONE {
        agreeing.sort_by_key(lot);
    } else {
        agreeing.sort_by_key(|candidate| (candidate.weight, candidate.worker));
    }
    authorize(ballot, winner, &agreeing, others)
}

/// What is lacking until the result that leads wins against everything that anybody found, let in or not: who is kept out of
/// the chain's count is no less of a doubt. Nothing if the numbers outgrow 256 bits.
pub fn quorum(
    ballot: &Ballot,
    contributed: &BTreeMap<ResultHash, usize>,
    candidates: &[Candidate],
    min_agreeing: usize,
) -> Option<Quorum> {
    let (full, groups) = tally(ballot, contributed, candidates)?;
    let leader = groups.iter().max_by_key(|group| (group.weight, group.members));
    let (hash, members) = leader.map_or_else(Default::default, |it| (it.hash, it.members));
    let others = groups.iter().filter(|group| group.hash != hash);
    let rival = others.map(|group| group.weight).max().unwrap_or_default();
    Some(Quorum::new(full, hash, members, min_agreeing, rival))
}

/// Where one of several is enough, a fair coin says which of them is paid: its sides hang on the task, so that no wallet is
/// lucky in all of them.
fn lot(candidate: &Candidate) -> Address {
    let mut lot = candidate.worker;
    for (byte, salt) in lot.0.iter_mut().zip(candidate.hash.0) {
        *byte ^= salt;
    }
    lot
}

struct Group {
    hash: ResultHash,
    weight: U256,
    members: usize,
}

/// The ballot with all candidates let in, and its groups.
fn tally(
    ballot: &Ballot,
    contributed: &BTreeMap<ResultHash, usize>,
    candidates: &[Candidate],
) -> Option<(Ballot, Vec<Group>)> {
    let mut full = ballot.clone();
    let mut members = contributed.clone();
    for candidate in candidates {
        full.add(candidate.hash, candidate.weight).ok()?;
        *members.entry(candidate.hash).or_default() += 1;
    }
    let group = |(hash, members)| Group { hash, weight: full.group(hash), members };
    let groups = members.into_iter().map(group).collect();
    Some((full, groups))
}

fn authorize(
    ballot: &Ballot,
    winner: ResultHash,
    agreeing: &[Candidate],
    mut others: Vec<Candidate>,
) -> Decision {
    let weights: Vec<_> = agreeing.iter().map(|candidate| candidate.weight).collect();
    let mut counted = ballot.clone();
    let (mut order, mut dissent) = (Vec::new(), Vec::new());
    others.sort_by_key(|candidate| (candidate.weight, candidate.worker));
    for other in others {
        let mut trial = counted.clone();
        // Let in only if it does not win on arrival and the winner still wins after it.
        let harmless = trial.add(other.hash, other.weight).is_ok()
            && trial.consensus() == Ok(None)
            && trial.can_win(winner, &weights);
        if harmless {
            counted = trial;
            order.push(other.worker);
        } else {
            dissent.push(other.worker);
        }
    }
    let mut spare = Vec::new();
    for candidate in agreeing {
        if counted.wins(winner) == Ok(true) || counted.add(winner, candidate.weight).is_err() {
            spare.push(candidate.worker);
        } else {
            order.push(candidate.worker);
        }
    }
    Decision::Authorize { winner, order, dissent, spare }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FRESH_WEIGHT;
    use alloy_primitives::B256;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn hash(name: char) -> ResultHash {
        ResultHash(B256::repeat_byte(u8::try_from(name).unwrap()))
    }

    /// `found`: letters with weights, e.g. `A2 A2 B4`; workers are numbered from 1.
    fn candidates(found: &str) -> Vec<Candidate> {
        let one = |(number, word): (u8, &str)| Candidate {
            worker: Address::with_last_byte(number),
            hash: hash(word.chars().next().unwrap()),
            weight: word[1..].parse().unwrap(),
        };
        (1..).zip(found.split_whitespace()).map(one).collect()
    }

    fn check(trust: u64, found: &str, expected: &Expect) {
        let ballot = Ballot::new(U256::from(trust));
        let min = if trust > 1 { 2 } else { 1 };
        let numbers = |workers: &[Address]| {
            workers.iter().map(|worker| worker[19].to_string()).collect::<Vec<_>>().join(" ")
        };
        let shown = match decide(&ballot, &BTreeMap::new(), &candidates(found), min) {
            Decision::Authorize { order, dissent, spare, .. } => format!(
                "let in [{}] keep out [{}] spare [{}]",
                numbers(&order),
                numbers(&dissent),
                numbers(&spare)
            ),
            other => format!("{other:?}"),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn agreement_lets_in_and_disagreement_asks_on() {
        check(1, "", &expect!["NeedMore(1)"]);
        check(1, "A2", &expect!["let in [1] keep out [] spare []"]);
        check(4, "", &expect!["NeedMore(2)"]);
        check(4, "A2", &expect!["NeedMore(1)"]);
        check(4, "A2 A2", &expect!["let in [1 2] keep out [] spare []"]);
        check(4, "A2 B2", &expect!["NeedMore(3)"]);
        check(8, "A2 A2", &expect!["NeedMore(1)"]);
        check(4, "A4 A2", &expect!["let in [2 1] keep out [] spare []"]);
    }

    #[test]
    fn liars_are_let_in_first_when_they_lose_for_sure() {
        check(4, "B2 A4 A4", &expect!["let in [1 2 3] keep out [] spare []"]);
        check(4, "A2 A2 B2", &expect!["NeedMore(2)"]);
        check(4, "A2 A2 A2 A2 B2", &expect!["let in [5 1 2 3 4] keep out [] spare []"]);
        check(4, "A4 A4 B2 C2", &expect!["let in [3 4 1 2] keep out [] spare []"]);
    }

    #[test]
    fn a_liar_who_would_win_on_arrival_is_kept_out() {
        check(2, "A2 A2 B2", &expect!["let in [1] keep out [3] spare [2]"]);
        check(2, "A2 A2", &expect!["let in [1] keep out [] spare [2]"]);
    }

    #[test]
    fn one_heavy_worker_does_not_win_alone_and_is_not_ignored_either() {
        check(4, "A30", &expect!["NeedMore(1)"]);
        check(4, "A30 B2 B2", &expect!["NeedMore(1)"]);
        check(4, "A30 B2 B2 B2 B2 B2", &expect!["NeedMore(2)"]);
    }

    #[test]
    fn what_was_contributed_counts() {
        let mut ballot = Ballot::new(U256::from(4));
        ballot.add(hash('A'), FRESH_WEIGHT).unwrap();
        let contributed = BTreeMap::from([(hash('A'), 1)]);
        let decision = decide(&ballot, &contributed, &candidates("A2"), 2);
        let expected = Address::with_last_byte(1);
        assert!(matches!(decision, Decision::Authorize { order, .. } if order == [expected]));
    }

    #[test]
    fn an_unreachable_trust_is_hopeless() {
        let ballot = Ballot::new(U256::ONE << 255);
        assert_eq!(decide(&ballot, &BTreeMap::new(), &candidates("A2 A2"), 2), Decision::Hopeless);
    }

    proptest! {
        /// Playing the order out, contribution by contribution, ends in the winner winning, and nobody else on the way.
        #[test]
        fn whoever_is_let_in_the_winner_wins(
            found in proptest::collection::vec((0u8..3, 0u64..90), 0..8),
            trust in 1u64..70,
        ) {
            let all: Vec<_> = (0u8..)
                .zip(&found)
                .map(|(number, (byte, score))| Candidate {
                    worker: Address::with_last_byte(number),
                    hash: ResultHash(B256::repeat_byte(*byte)),
                    weight: crate::weight(U256::from(*score)),
                })
                .collect();
            let ballot = Ballot::new(U256::from(trust));
            let min = if trust > 1 { 2 } else { 1 };
            match decide(&ballot, &BTreeMap::new(), &all, min) {
                Decision::Authorize { winner, order, dissent, spare } => {
                    prop_assert_eq!(order.len() + dissent.len() + spare.len(), all.len());
                    let mut count = ballot.clone();
                    for (position, worker) in order.iter().enumerate() {
                        prop_assert_eq!(count.consensus(), Ok(None), "consensus before {}", position);
                        let who = all.iter().find(|one| one.worker == *worker).unwrap();
                        count.add(who.hash, who.weight).unwrap();
                    }
                    prop_assert_eq!(count.consensus(), Ok(Some(winner)));
                }
                Decision::NeedMore(more) => prop_assert!(more >= 1),
                Decision::Hopeless => prop_assert!(false, "small trust is never hopeless"),
            }
        }
    }
}
