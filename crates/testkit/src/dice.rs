//! Chance that can be played again: the same seed and name always give the same throws.
//!
//! SplitMix64, which is small, quick and even enough for choosing whom to kill. Nothing secret may come of it.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The stream of that name and seed; each name has one of its own.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut dice = Self { state: seed ^ named };
        // Neighbouring seeds part at once.
        dice.throw();
        dice
    }

    /// Any number.
    pub fn throw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.throw()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// Whether something happens that happens `permille` times of 1000.
    pub fn is_one_of(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// One of these, each as likely as its weight among all weights. Nothing if all are 0.
    pub fn choose<'a, T>(&mut self, from: &'a [(u32, T)]) -> Option<&'a T> {
        let mut place = self.below(from.iter().map(|(weight, _)| u64::from(*weight)).sum());
        for (weight, one) in from {
            match place.checked_sub(u64::from(*weight)) {
                Some(left) => place = left,
                None => return Some(one),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(seed: u64, name: &str) -> Vec<u64> {
        let mut dice = Dice::new(seed, name);
        (0..8).map(|_| dice.below(1_000)).collect()
    }

    #[test]
    fn a_seed_and_a_name_say_it_all() {
        assert_eq!(throws(7, "worker"), throws(7, "worker"));
        assert_ne!(throws(7, "worker"), throws(8, "worker"));
        assert_ne!(throws(7, "worker"), throws(7, "chain"));
    }

    #[test]
    fn weights_are_kept_to() {
        let mut dice = Dice::new(1, "weights");
        let mut often = 0;
        for _ in 0..10_000 {
            match dice.choose(&[(3, "often"), (1, "seldom"), (0, "never")]) {
                Some(&"often") => often += 1,
                Some(&"seldom") => {}
                other => panic!("{other:?}"),
            }
        }
        assert!((7_000..8_000).contains(&often), "{often}");
        assert_eq!(dice.choose::<()>(&[]), None);
        assert!(!dice.is_one_of(0) && dice.is_one_of(1_000));
    }
}
