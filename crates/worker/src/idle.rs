//! When a worker gives way to the owner of its machine. Samples in, moods out: no clock and no file is read here.
//!
//! ```text
//!          twice busy                     busy for the owner's patience
//!  Free ───────────────▶ Paused ─────────────────────────────────────▶ Yielding
//!   ▲   takes tasks        │ takes none, finishes what it has            │ hands back what it has not finished
//!   └──────────────────────┴──────── calm for long enough ◀──────────────┘
//! ```
//!
//! A single busy sample is a page being loaded, not somebody at work. Calm is less than half of busy, so that a load at the
//! threshold does not make the worker come and go.

use std::time::Duration;

/// What counts as use of the machine by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Busy: others use that much of all processors, in per cent.
    pub busy_percent: u32,
    /// How long it must be calm before tasks are taken again.
    pub calm: Duration,
    /// How long it must be busy before tasks are handed back that are not finished.
    pub patience: Duration,
}

impl Default for Policy {
    /// A quarter of the machine; calm for a minute; patience for half a minute.
    fn default() -> Self {
        Self { busy_percent: 25, calm: Duration::from_secs(60), patience: Duration::from_secs(30) }
    }
}

/// How the worker stands to its owner's use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes tasks.
    Free,
    /// Takes none, and finishes what it has.
    Paused,
    /// Hands back what it has not finished.
    Yielding,
}

/// A look at the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When, since any moment that stays the same.
    pub(crate) at: Duration,
    /// What others than the worker use of all processors, in per cent.
    pub(crate) others_percent: u32,
}

/// Decides from sample to sample.
#[derive(Debug)]
pub(crate) struct Watch {
    policy: Policy,
    mood: Mood,
    /// Since when it is busy, and how many samples said so in a row.
    busy: Option<(Duration, u32)>,
    calm_since: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, mood: Mood::Free, busy: None, calm_since: None }
    }

    /// The mood after that sample.
    pub(crate) fn see(&mut self, sample: Sample) -> Mood {
        let Sample { at, others_percent } = sample;
        let is_busy = others_percent >= self.policy.busy_percent.max(1);
        let is_calm = others_percent.saturating_mul(2) < self.policy.busy_percent.max(1);
        self.busy = match self.busy {
            Some((since, count)) if is_busy => Some((since, count.saturating_add(1))),
            None if is_busy => Some((at, 1)),
            _ => None,
        };
        self.calm_since = if is_calm { self.calm_since.or(Some(at)) } else { None };
        let calm_for = self.calm_since.map(|since| at.saturating_sub(since));
        self.mood = match (self.mood, self.busy) {
            (Mood::Free, Some((_, 2..))) => Mood::Paused,
            (Mood::Paused, Some((since, _)))
                if at.saturating_sub(since) >= self.policy.patience =>
            {
                Mood::Yielding
            }
            (Mood::Paused | Mood::Yielding, _)
                if calm_for.is_some_and(|calm| calm >= self.policy.calm) =>
            {
                Mood::Free
            }
            (mood, _) => mood,
        };
        self.mood
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Loads a second apart, and the moods: `f`, `p`, `y`.
    fn moods(loads: &[u32]) -> String {
        let policy = Policy {
            busy_percent: 20,
            calm: Duration::from_secs(3),
            patience: Duration::from_secs(4),
        };
        let mut watch = Watch::new(policy);
        let see = |(second, load): (u64, &u32)| {
            let sample = Sample { at: Duration::from_secs(second), others_percent: *load };
            match watch.see(sample) {
                Mood::Free => 'f',
                Mood::Paused => 'p',
                Mood::Yielding => 'y',
            }
        };
        (0..).zip(loads).map(see).collect()
    }

    fn check(loads: &[u32], expected: &str) {
        assert_eq!(moods(loads), expected, "{loads:?}");
    }

    #[test]
    fn one_spike_is_nothing_and_two_are_somebody() {
        check(&[0, 90, 0, 90, 0], "fffff");
        check(&[0, 90, 90, 0], "ffpp");
    }

    #[test]
    fn calm_must_last_and_be_calm_indeed() {
        check(&[90, 90, 0, 0, 0, 0], "fppppf");
        check(&[90, 90, 0, 15, 0, 0, 0, 0], "fppppppf");
    }

    #[test]
    fn what_goes_on_for_long_takes_the_machine() {
        check(&[90, 90, 90, 90, 90, 90], "fpppyy");
        check(&[90, 90, 90, 10, 90, 90, 90, 90], "fppppppp");
        check(&[90, 90, 90, 90, 90, 0, 0, 0, 0], "fpppyyyyf");
    }

    proptest! {
        #[test]
        fn tasks_are_taken_only_after_calm_and_never_while_it_is_busy(
            loads in proptest::collection::vec(0u32..100, 1..60),
        ) {
            let moods = moods(&loads);
            for (place, two) in loads.windows(2).enumerate() {
                if two.iter().all(|load| *load >= 20) {
                    prop_assert_ne!(moods.as_bytes()[place + 1], b'f');
                }
            }
            for (place, pair) in moods.as_bytes().windows(2).enumerate() {
                let came_back = pair[0] != b'f' && pair[1] == b'f';
                if came_back {
                    prop_assert!(loads[place - 2..=place + 1].iter().all(|load| *load < 10));
                }
                prop_assert!(pair != b"fy", "nothing is handed back without a pause");
            }
        }
    }
}
