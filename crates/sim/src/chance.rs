//! Chance from a seed: the same on every machine, today and in ten years. Not for secrets.

/// A stream of numbers that look like chance.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

/// The step of the sequence: an odd number near 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// The stream of that seed and purpose; streams of one seed do not depend on one another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self { state: mix(seed ^ mix(purpose.wrapping_add(STEP))) }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product is even enough: `end` is tiny beside 2^64.
        let product = u128::from(self.number()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// Whether something happens that does so in that many of a million cases.
    pub fn happens(&mut self, parts_per_million: u32) -> bool {
        parts_per_million > 0 && self.below(1_000_000) < u64::from(parts_per_million)
    }

    /// A place in a list of that length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }
}

/// Spreads every bit over all others.
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_purpose_always_give_the_same_stream() {
        let first = |seed, purpose| Chance::new(seed, purpose).number();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }

    #[test]
    fn numbers_are_even_over_a_range() {
        let mut chance = Chance::new(7, 0);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[chance.place(10)] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let happened = (0..100_000).filter(|_| chance.happens(250_000)).count();
        assert!((24_000..26_000).contains(&happened), "{happened}");
    }
}
