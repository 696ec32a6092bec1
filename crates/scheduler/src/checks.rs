//! Whose results are confirmed by a second worker although the deal asks for one only. Pure; chance is handed in.
//!
//! A worker is told nothing of it: it is assigned a task of a real deal like any other, and whether anybody else was is known
//! only to the scheduler, which compares before it lets anyone in. The requester pays what it would have paid. One of those
//! who agree is paid, by lot; the others have worked for their reputation, which is how a newcomer comes by one.
//!
//! **How often.** A worker that was confirmed `k` times in a row, [`PROBATION`] at least, is checked with probability
//! `2 / (2 + k)`, and never less often than `rate`. One that starts to cheat then is caught after `(2 + k) / 2` tasks in the mean, the last of which is not
//! paid; to come so far it has worked `k` times for half the pay. So what it can save by cheating, `(2 + k) / 2` runs, is less
//! than the `1 + k / 2` prices it has missed, as long as a run costs less than it earns. After that it is barred.
//!
//! The first [`PROBATION`] results are confirmed without exception: two of one mind that happen to meet once have gained nothing
//! by it.
//!
//! **Known answers.** The digest of a task that was confirmed is the answer to every later task of the same program, arguments
//! and index; a worker that says something else is checked at once. Only programs whose result hangs on nothing else can be
//! confirmed: see [`is_repeatable`].

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;

use alloy_primitives::{B256, keccak256};
use primitives::ResultDigest;

use crate::reputation::{Record, Standing};

/// So many confirmations in a row come before any unchecked work.
pub const PROBATION: u64 = 8;

/// The largest rate: every task.
pub const MILLION: u32 = 1_000_000;

/// How often results are confirmed that need not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    rate_millionths: u32,
}

impl Policy {
    /// No checks at all.
    pub const NEVER: Self = Self { rate_millionths: 0 };

    /// At least that share of tasks, in millionths; newcomers' more often. 0 is never, for anybody.
    pub fn of_millionths(rate: u32) -> Self {
        Self { rate_millionths: rate.min(MILLION) }
    }

    /// The same as a share between 0 and 1; nothing if it is no such share.
    pub fn of_share(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is in range"
        )]
        let millionths = || (share * f64::from(MILLION)).round() as u32;
        (0.0..=1.0).contains(&share).then(|| Self::of_millionths(millionths()))
    }

    /// The least share of tasks, in millionths.
    pub fn rate_millionths(self) -> u32 {
        self.rate_millionths
    }

    /// How often in a row a worker is confirmed before it is checked as rarely as anybody.
    pub fn proof(self) -> u64 {
        match self.rate_millionths {
            0 => 0,
            rate => (2 * u64::from(MILLION)).div_ceil(u64::from(rate)).saturating_sub(2),
        }
    }

    /// How far a worker with that record is trusted.
    pub fn standing(self, record: &Record) -> Standing {
        record.standing(self.proof())
    }

    /// How often that worker is checked, in millionths.
    pub fn share_of(self, record: &Record) -> u32 {
        if self.rate_millionths == 0 {
            return 0;
        }
        if record.streak < PROBATION {
            return MILLION;
        }
        let share = 2 * u64::from(MILLION) / record.streak.saturating_add(2);
        u32::try_from(share).unwrap_or(MILLION).max(self.rate_millionths)
    }

    /// Whether this worker's result for this task is to be confirmed. `lot` must be a number that workers cannot foresee, and
    /// the same whenever it is asked about the same task.
    pub fn is_due(self, record: &Record, lot: B256) -> bool {
        let drawn = u64::from_be_bytes(lot.0[..8].try_into().unwrap_or_default());
        let below = (u128::from(drawn) * u128::from(MILLION)) >> 64;
        below < u128::from(self.share_of(record))
    }
}

/// A share of tasks, between 0 and 1.
impl FromStr for Policy {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        text.trim().parse().ok().and_then(Self::of_share).ok_or(NoShare)
    }
}

/// It is no share of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share of tasks is a number from 0 (none) to 1 (all)")]
pub struct NoShare;

impl Default for Policy {
    /// One task in twenty.
    fn default() -> Self {
        Self::of_millionths(50_000)
    }
}

/// The lot of a task, from a secret of the scheduler's.
pub fn lot(secret: B256, task: primitives::TaskId) -> B256 {
    keccak256([secret.0, task.0.0].concat())
}

/// Whether every honest run of such a task gives the same bytes: programs in WebAssembly, which see no clock and no chance,
/// and no network, and inputs that are named by their content.
pub fn is_repeatable(runtime: &str, inputs: &[String]) -> bool {
    let by_content = |input: &String| {
        input.starts_with("/ipfs/") || input.starts_with("ipfs://") || input.contains("/ipfs/Qm")
    };
    runtime == "wasm" && inputs.iter().all(by_content)
}

/// Answers that are remembered.
const ANSWERS_MAX: usize = 4_096;

/// Digests of results that were confirmed, by what was asked.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    known: HashMap<B256, ResultDigest>,
    by_age: VecDeque<B256>,
}

impl Answers {
    /// The answer, if that question was asked before.
    pub fn get(&self, question: B256) -> Option<ResultDigest> {
        self.known.get(&question).copied()
    }

    /// Remembers an answer; the oldest are forgotten.
    pub fn put(&mut self, question: B256, digest: ResultDigest) {
        if self.known.insert(question, digest).is_none() {
            self.by_age.push_back(question);
        }
        if self.by_age.len() > ANSWERS_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reputation::Lesson;
    use proptest::prelude::*;

    fn confirmed(times: u64) -> Record {
        let mut record = Record::default();
        for _ in 0..times {
            record.learn(Lesson::Confirmed { canary: true });
        }
        record
    }

    fn lot_of(number: u64) -> B256 {
        keccak256(number.to_be_bytes())
    }

    #[test]
    fn newcomers_are_checked_always_and_the_proven_at_the_rate() {
        let policy = Policy::default();
        let share = |times| policy.share_of(&confirmed(times));
        assert_eq!(
            [0, 1, 7, 8, 38, 99].map(share),
            [1_000_000, 1_000_000, 1_000_000, 200_000, 50_000, 50_000]
        );
        assert_eq!(policy.proof(), 38);
        assert_eq!(policy.standing(&confirmed(37)), Standing::New);
        assert_eq!(policy.standing(&confirmed(38)), Standing::Proven);
    }

    #[test]
    fn one_lie_is_remembered_for_long() {
        let policy = Policy::default();
        let mut record = confirmed(200);
        record.learn(Lesson::Wrong { canary: true, close: false });
        assert_eq!(
            (policy.standing(&record), policy.share_of(&record)),
            (Standing::Barred, MILLION)
        );
        for _ in 0..99 {
            record.learn(Lesson::Confirmed { canary: false });
        }
        assert_eq!(policy.standing(&record), Standing::Barred);
        record.learn(Lesson::Confirmed { canary: false });
        assert_eq!(policy.standing(&record), Standing::Proven);
    }

    #[test]
    fn without_a_rate_nobody_is_checked_and_everybody_is_proven() {
        let never = Policy::NEVER;
        assert!((0..100).all(|number| !never.is_due(&Record::default(), lot_of(number))));
        assert_eq!(never.standing(&Record::default()), Standing::Proven);
        let always: Policy = "1".parse().unwrap();
        assert!((0..100).all(|number| always.is_due(&confirmed(1_000), lot_of(number))));
        for text in ["-0.1", "1.1", "NaN", "", "often"] {
            assert_eq!(text.parse::<Policy>(), Err(NoShare));
        }
        assert_eq!("0.05".parse(), Ok(Policy::default()));
    }

    #[test]
    fn what_hangs_on_more_than_the_program_is_not_compared() {
        let check = |runtime, input: &str| is_repeatable(runtime, &[input.to_owned()]);
        assert!(is_repeatable("wasm", &[]) && check("wasm", "/ipfs/QmX"));
        assert!(!check("wasm", "https://example.org/weather") && !is_repeatable("oci", &[]));
    }

    #[test]
    fn the_oldest_answers_are_forgotten() {
        let mut answers = Answers::default();
        for number in 0..=ANSWERS_MAX as u64 {
            answers.put(lot_of(number), ResultDigest(lot_of(number)));
        }
        assert_eq!(answers.get(lot_of(0)), None);
        assert_eq!(answers.get(lot_of(1)), Some(ResultDigest(lot_of(1))));
    }

    proptest! {
        /// The share of tasks drawn is the share asked for, whoever draws.
        #[test]
        fn the_share_is_kept(rate in 1u32..=MILLION, times in 0u64..300, from in any::<u32>()) {
            let (policy, record) = (Policy::of_millionths(rate), confirmed(times));
            let drawn = (0..2_000u64).filter(|n| policy.is_due(&record, lot_of(u64::from(from) + n))).count();
            let wanted = f64::from(policy.share_of(&record)) * 2_000.0 / f64::from(MILLION);
            // Five standard deviations of a binomial, at their largest.
            prop_assert!((drawn as f64 - wanted).abs() < 5.0 * 22.4, "{drawn} of {wanted}");
        }

        /// Better known is never checked more often.
        #[test]
        fn checks_are_monotone(rate in 0u32..=MILLION, times in 0u64..300) {
            let policy = Policy::of_millionths(rate);
            prop_assert!(policy.share_of(&confirmed(times + 1)) <= policy.share_of(&confirmed(times)));
        }
    }
}
